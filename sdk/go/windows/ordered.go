package windows

import "slices"

// ordered is a map that is walked in the order of its keys.
type ordered[K, V any] struct {
	compare func(K, K) int
	keys    []K
	values  []V
}

func (o *ordered[K, V]) len() int { return len(o.keys) }

func (o *ordered[K, V]) find(key K) (int, bool) {
	return slices.BinarySearchFunc(o.keys, key, o.compare)
}

// get gives the value of key; nil if there is none. It stays valid until the next change.
func (o *ordered[K, V]) get(key K) *V {
	if i, ok := o.find(key); ok {
		return &o.values[i]
	}
	return nil
}

// getOrPut gives the value of key, which is zero if it is new.
func (o *ordered[K, V]) getOrPut(key K) *V {
	i, ok := o.find(key)
	if !ok {
		var zero V
		o.keys, o.values = slices.Insert(o.keys, i, key), slices.Insert(o.values, i, zero)
	}
	return &o.values[i]
}

func (o *ordered[K, V]) remove(key K) (V, bool) {
	i, ok := o.find(key)
	if !ok {
		var zero V
		return zero, false
	}
	value := o.values[i]
	o.keys, o.values = slices.Delete(o.keys, i, i+1), slices.Delete(o.values, i, i+1)
	return value, true
}

// removeFirst takes out the first key; there must be one.
func (o *ordered[K, V]) removeFirst() (K, V) {
	key, value := o.keys[0], o.values[0]
	o.keys, o.values = o.keys[1:], o.values[1:]
	return key, value
}
