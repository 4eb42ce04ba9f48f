package windows

import (
	"cmp"
	"slices"
)

// span is the start and end of an open session.
type span struct{ start, end int64 }

// joins says whether a row at time belongs to the session: it is less than gap from one of its rows.
func (s span) joins(time, gap int64) bool { return time < s.end && sub(s.start, gap) < time }

func (s span) compare(t span) int {
	return cmp.Or(cmp.Compare(s.start, t.start), cmp.Compare(s.end, t.end))
}

// sessions are the open sessions of each key, ascending. They know their places only.
type sessions map[string][]span

// has says whether a row of key at time belongs to an open session.
func (s sessions) has(key string, time, gap int64) bool {
	return slices.ContainsFunc(s[key], func(one span) bool { return one.joins(time, gap) })
}

// take takes out the sessions that a row of key at time belongs to, in their order: two if it joins them.
func (s sessions) take(key string, time, gap int64) []place {
	var taken []place
	s.keep(key, func(one span) bool {
		if one.joins(time, gap) {
			taken = append(taken, place{one.end, key, one.start})
			return false
		}
		return true
	})
	return taken
}

// insert adds a session.
func (s sessions) insert(at place) {
	one := span{at.Start, at.End}
	i, _ := slices.BinarySearchFunc(s[at.Key], one, span.compare)
	s[at.Key] = slices.Insert(s[at.Key], i, one)
}

// remove forgets a session, if it is one.
func (s sessions) remove(at place) {
	s.keep(at.Key, func(one span) bool { return one != span{at.Start, at.End} })
}

func (s sessions) keep(key string, wanted func(span) bool) {
	kept := slices.DeleteFunc(s[key], func(one span) bool { return !wanted(one) })
	if len(kept) == 0 {
		delete(s, key)
	} else {
		s[key] = kept
	}
}
