// Package windows has event-time windows: tumbling, sliding, sessions, and windows of so many records. It knows keys, times and
// watermarks; what is gathered is the plugin's matter. Everything happens row by row, so the cut of batches never shows.
package windows

import (
	"cmp"
	"encoding/json"
	"math"
	"strings"
	"unicode/utf8"
)

// KeyBytesMax is what is kept of a key, bytes.
const KeyBytesMax = 256

// OtherKey is where keys beyond the limit are gathered.
const OtherKey = "(other)"

// Closed is a window that is over.
type Closed[G any] struct {
	// Key is that of its rows.
	Key string
	// Start is its first moment, unix nanoseconds: of sessions and counts the time of the earliest row.
	Start int64
	// End is the moment behind its last, unix nanoseconds; of counts the time of the latest row.
	End int64
	// Gathered is what its rows gave.
	Gathered G
}

// place is where a window is, in the order in which windows close.
type place struct {
	End   int64
	Key   string
	Start int64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.End, q.End), cmp.Compare(p.Key, q.Key), cmp.Compare(p.Start, q.Start))
}

// counted is a window of counts with the rows so far.
type counted[G any] struct {
	Rows   int64
	Window Closed[G]
}

// Windows are open windows: state of a stateful plugin, whose snapshot holds Bytes. G is what a window gathers, beginning with its
// zero value; it must go through encoding/json, and the same value must give the same text.
type Windows[G any] struct {
	kind     Kind
	openMax  int
	merge    func(earlier *G, later G)
	open     ordered[place, G]
	sessions sessions
	counting ordered[string, counted[G]]
	full     []Closed[G]
}

// New gives no windows yet. At most openMax are open at a time; rows of further keys are gathered under OtherKey. merge takes in
// what another part of the same window has gathered: two sessions that a row between them joined.
func New[G any](kind Kind, openMax int, merge func(earlier *G, later G)) *Windows[G] {
	kind.check()
	w := &Windows[G]{kind: kind, openMax: openMax, merge: merge, sessions: sessions{}}
	w.open.compare, w.counting.compare = place.compare, cmp.Compare[string]
	return w
}

// Add gathers a row of key at time in every window that it belongs to and that has not closed by watermark, the watermark before
// the row. False if there is none: the row is late.
func (w *Windows[G]) Add(key string, time, watermark int64, put func(*G)) bool {
	key = cut(key)
	switch w.kind.name {
	case tumbling, sliding:
		any := false
		for _, start := range w.kind.starts(time) {
			any = w.addAt(key, start, watermark, put) || any
		}
		return any
	case session:
		return w.addSession(key, time, watermark, put)
	default:
		w.addCounted(key, time, put)
		return true
	}
}

// cut gives what is kept of a key. Bytes that are no UTF-8 would not come back from a snapshot.
func cut(key string) string {
	key = strings.ToValidUTF8(key, "\uFFFD")
	if len(key) <= KeyBytesMax {
		return key
	}
	end := KeyBytesMax
	for !utf8.RuneStart(key[end]) {
		end--
	}
	return key[:end]
}

func (w *Windows[G]) addAt(key string, start, watermark int64, put func(*G)) bool {
	at := place{add(start, w.kind.length), key, start}
	if at.End <= watermark {
		return false
	}
	if w.open.get(at) == nil && w.open.len() >= w.openMax {
		at.Key = OtherKey
	}
	put(w.open.getOrPut(at))
	return true
}

func (w *Windows[G]) addSession(key string, time, watermark int64, put func(*G)) bool {
	gap := w.kind.length
	isNew := !w.sessions.has(key, time, gap)
	if isNew && add(time, gap) <= watermark {
		return false
	}
	if isNew && w.open.len() >= w.openMax {
		key = OtherKey
	}
	at := place{add(time, gap), key, time}
	var gathered G
	for _, part := range w.sessions.take(key, time, gap) {
		if earlier, ok := w.open.remove(part); ok {
			w.merge(&gathered, earlier)
		}
		at.End, at.Start = max(at.End, part.End), min(at.Start, part.Start)
	}
	put(&gathered)
	w.sessions.insert(at)
	*w.open.getOrPut(at) = gathered
	return true
}

func (w *Windows[G]) addCounted(key string, time int64, put func(*G)) {
	if w.counting.get(key) == nil && w.counting.len() >= w.openMax {
		key = OtherKey
	}
	window := w.counting.getOrPut(key)
	if window.Rows == 0 {
		window.Window.Key, window.Window.Start, window.Window.End = key, time, time
	}
	put(&window.Window.Gathered)
	window.Window.Start, window.Window.End = min(window.Window.Start, time), max(window.Window.End, time)
	window.Rows++
	if window.Rows >= w.kind.rows {
		done, _ := w.counting.remove(key)
		w.full = append(w.full, done.Window)
	}
}

// Close takes out windows that are over at watermark, at most limit, in the order of their ends and keys. What one row gives rise
// to is bounded by the host: call it with a bound after every row, the rest follows at the next ones. The largest watermark, the
// end of the partition, closes every window.
func (w *Windows[G]) Close(watermark int64, limit int) []Closed[G] {
	var closed []Closed[G]
	for len(closed) < limit {
		window, ok := w.next(watermark)
		if !ok {
			break
		}
		closed = append(closed, window)
	}
	return closed
}

func (w *Windows[G]) next(watermark int64) (Closed[G], bool) {
	if len(w.full) > 0 {
		window := w.full[0]
		w.full = w.full[1:]
		return window, true
	}
	if watermark == math.MaxInt64 && w.counting.len() > 0 {
		_, window := w.counting.removeFirst()
		return window.Window, true
	}
	if w.open.len() == 0 || w.open.keys[0].End > watermark {
		return Closed[G]{}, false
	}
	at, gathered := w.open.removeFirst()
	w.sessions.remove(at)
	return Closed[G]{at.Key, at.Start, at.End, gathered}, true
}

// FirstEnd says when the first open window ends, for Edits.WakeAt; false if time closes none.
func (w *Windows[G]) FirstEnd() (int64, bool) {
	if w.open.len() == 0 {
		return 0, false
	}
	return w.open.keys[0].End, true
}

// Len is the number of open windows.
func (w *Windows[G]) Len() int { return w.open.len() + w.counting.len() }

// state is what a snapshot holds. No windows are the same text, whether there were any before or not.
type state[G any] struct {
	Places   []place      `json:",omitempty"`
	Gathered []G          `json:",omitempty"`
	Counting []counted[G] `json:",omitempty"`
	Full     []Closed[G]  `json:",omitempty"`
}

// Bytes is the state as JSON; the same windows give the same bytes.
func (w *Windows[G]) Bytes() ([]byte, error) {
	return json.Marshal(state[G]{w.open.keys, w.open.values, w.counting.values, w.full})
}

// Read takes over what Bytes gave.
func (w *Windows[G]) Read(bytes []byte) error {
	var s state[G]
	if err := json.Unmarshal(bytes, &s); err != nil {
		return err
	}
	w.open.keys, w.open.values, w.counting.values, w.full = s.Places, s.Gathered, s.Counting, s.Full
	w.counting.keys = nil
	for _, one := range s.Counting {
		w.counting.keys = append(w.counting.keys, one.Window.Key)
	}
	w.sessions = sessions{}
	if w.kind.name == session {
		for _, at := range s.Places {
			w.sessions.insert(at)
		}
	}
	return nil
}
