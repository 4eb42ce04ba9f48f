package windows

import (
	"math"
	"slices"
)

type name byte

const (
	tumbling name = iota
	sliding
	session
	count
)

// Kind says how time is cut. Lengths are nanoseconds, all above 0.
type Kind struct {
	name         name
	length, step int64
	rows         int64
}

// Tumbling windows of length, one after the other.
func Tumbling(length int64) Kind { return Kind{name: tumbling, length: length, step: length} }

// Sliding windows of length begin every step, which is at most length; a row is in all that cover it.
func Sliding(length, step int64) Kind { return Kind{name: sliding, length: length, step: step} }

// Session windows have rows of a key that are less than gap apart, and end gap behind their last row.
func Session(gap int64) Kind { return Kind{name: session, length: gap, step: gap} }

// Count windows have so many rows of a key, whatever their time.
func Count(rows int64) Kind { return Kind{name: count, length: 1, step: 1, rows: rows} }

func (k Kind) check() {
	if k.length < 1 || k.step < 1 || k.step > k.length || k.name == count && k.rows < 1 {
		panic("lengths of windows are above 0, a step is no longer than its window")
	}
}

// starts gives those of the windows that cover time, the earliest first.
func (k Kind) starts(time int64) []int64 {
	var found []int64
	for start := floor(time, k.step); sub(time, start) < k.length; start -= k.step {
		found = append(found, start)
		if start < math.MinInt64+k.step {
			break // time begins here
		}
	}
	slices.Reverse(found)
	return found
}

// floor gives the largest multiple of step that is not above time.
func floor(time, step int64) int64 {
	past := time % step
	if past < 0 {
		past += step
	}
	return sub(time, past)
}

// add and sub stay at the ends of time.
func add(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	if b < 0 && a < math.MinInt64-b {
		return math.MinInt64
	}
	return a + b
}

func sub(a, b int64) int64 {
	if b < 0 && a > math.MaxInt64+b {
		return math.MaxInt64
	}
	if b > 0 && a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}
