package windows

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

// golden is a case of the suite that all SDKs share: late rows, rows out of order, idle partitions.
type golden struct {
	Name     string
	Kind     map[string]map[string]int64
	Lateness int64
	Late     []int
	Rows     [][2]any
	IdleAt   [][2]int64 `json:"idle_at"`
	Closed   []expected
}

type expected struct {
	After      int
	Key        string
	Start, End int64
	Count      int64
}

func (g golden) kind(t *testing.T) Kind {
	for name, of := range g.Kind {
		switch name {
		case "tumbling":
			return Tumbling(of["length"])
		case "sliding":
			return Sliding(of["length"], of["step"])
		case "session":
			return Session(of["gap"])
		case "count":
			return Count(of["rows"])
		}
	}
	t.Fatalf("%s: an unknown kind", g.Name)
	return Kind{}
}

func sum(earlier *int64, later int64) { *earlier += later }

func one(gathered *int64) { *gathered++ }

// run gives what closes and which rows are late; with crashes the state goes through its bytes after every row.
func (g golden) run(t *testing.T, crashes bool) (closed []expected, late []int) {
	windows := New(g.kind(t), 100, sum)
	watermark := int64(math.MinInt64)
	show := func(after int, all []Closed[int64]) {
		for _, c := range all {
			closed = append(closed, expected{after, c.Key, c.Start, c.End, c.Gathered})
		}
	}
	late = []int{}
	for number, row := range g.Rows {
		time, key := int64(row[0].(float64)), row[1].(string)
		for _, idle := range g.IdleAt {
			if int(idle[0]) == number {
				watermark = max(watermark, idle[1])
				show(number-1, windows.Close(idle[1], math.MaxInt))
			}
		}
		if !windows.Add(key, time, watermark, one) {
			late = append(late, number)
		}
		watermark = max(watermark, time-g.Lateness)
		show(number, windows.Close(watermark, 64))
		if crashes {
			windows = restarted(t, windows, g.kind(t))
		}
	}
	show(len(g.Rows), windows.Close(math.MaxInt64, math.MaxInt))
	fresh, _ := New(g.kind(t), 100, sum).Bytes()
	if left, _ := windows.Bytes(); windows.Len() > 0 || !bytes.Equal(left, fresh) {
		t.Errorf("%s: windows are left: %s", g.Name, left)
	}
	return closed, late
}

func restarted(t *testing.T, windows *Windows[int64], kind Kind) *Windows[int64] {
	before, err := windows.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again := New(kind, 100, sum)
	if err := again.Read(before); err != nil {
		t.Fatal(err)
	}
	if after, _ := again.Bytes(); !bytes.Equal(before, after) {
		t.Errorf("%s became %s", before, after)
	}
	return again
}

func TestEveryKindDoesWhatTheGoldenSuiteSaysWithAndWithoutCrashes(t *testing.T) {
	text, err := os.ReadFile("../../windows/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 10 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, g := range cases {
		for _, crashes := range []bool{false, true} {
			closed, late := g.run(t, crashes)
			if !reflect.DeepEqual(closed, g.Closed) || !reflect.DeepEqual(late, g.Late) {
				t.Errorf("%s (crashes: %v):\n%v late %v, expected\n%v late %v", g.Name, crashes, closed, late, g.Closed, g.Late)
			}
		}
	}
}

func TestTooManyKeysShareOneWindowInEveryKind(t *testing.T) {
	for _, kind := range []Kind{Tumbling(10), Sliding(10, 10), Session(10), Count(100)} {
		windows := New(kind, 2, sum)
		for _, key := range []string{"a", "b", "c", "d", "a"} {
			if !windows.Add(key, 1, 0, one) {
				t.Errorf("%v: %s is late", kind, key)
			}
		}
		counts := map[string]int64{}
		for _, c := range windows.Close(math.MaxInt64, 9) {
			counts[c.Key] = c.Gathered
		}
		if !reflect.DeepEqual(counts, map[string]int64{OtherKey: 2, "a": 2, "b": 1}) {
			t.Errorf("%v: %v", kind, counts)
		}
	}
}

func TestWhatARowMayCloseIsBoundedAndTheRestFollows(t *testing.T) {
	windows := New(Tumbling(10), 100, sum)
	for _, key := range []string{"a", "b", "c"} {
		windows.Add(key, 1, 0, one)
	}
	first, _ := windows.FirstEnd()
	counts := fmt.Sprint(first, len(windows.Close(10, 2)), len(windows.Close(10, 2)), windows.Len())
	if _, open := windows.FirstEnd(); counts != "10 2 1 0" || open {
		t.Error(counts, open)
	}
}

func TestTheEndsOfTimeAndOddKeysAreNoTrouble(t *testing.T) {
	for _, kind := range []Kind{Tumbling(10), Sliding(10, 3), Session(10), Count(2)} {
		windows := New(kind, 100, sum)
		for _, time := range []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1} {
			windows.Add("a\xff"+strings.Repeat("é", 200), time, math.MinInt64, one)
		}
		windows = restarted(t, windows, kind)
		for _, c := range windows.Close(math.MaxInt64, 99) {
			if len(c.Key) > KeyBytesMax || !strings.HasPrefix(c.Key, "a\uFFFDé") || strings.HasSuffix(c.Key, "\uFFFD") {
				t.Errorf("%v: %q", kind, c.Key)
			}
		}
		if windows.Len() > 0 {
			t.Errorf("%v: windows are left", kind)
		}
	}
}
