// Command countwindow does in Go what the plugin count-window does in Rust: it counts records per key in windows. Its
// tests hold it against the same golden files.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"sawlog"
	"sawlog/stateful"
	"sawlog/windows"
)

const (
	second = 1_000_000_000
	// routeWindows is route 1 of the registration.
	routeWindows = 1
	// noKey is what records without the field count as.
	noKey = "(none)"
	// rowsPerRecordMax bounds what one record closes, as the host does; the rest follows at the next ones.
	rowsPerRecordMax = 64
)

func main() {}

func init() { stateful.Register(&countWindow{IdleFlush: true, KeysMax: 10_000}) }

type countWindow struct {
	Key             string `json:"key"`
	WindowSeconds   int64  `json:"window_seconds"`
	SlideSeconds    int64  `json:"slide_seconds"`
	GapSeconds      int64  `json:"gap_seconds"`
	Records         int64  `json:"records"`
	LatenessSeconds int64  `json:"lateness_seconds"`
	Absorb          bool   `json:"absorb"`
	IdleFlush       bool   `json:"idle_flush"`
	KeysMax         int    `json:"keys_max"`
	windows         *windows.Windows[int64]
}

func (c *countWindow) lateness() int64 { return c.LatenessSeconds * second }

// kind says how time is cut: the schema lets one way through.
func (c *countWindow) kind() (windows.Kind, error) {
	switch {
	case c.Records > 0:
		return windows.Count(c.Records), nil
	case c.GapSeconds > 0:
		return windows.Session(c.GapSeconds * second), nil
	case c.SlideSeconds > c.WindowSeconds:
		return windows.Kind{}, errors.New("slide_seconds is longer than window_seconds")
	case c.SlideSeconds > 0:
		return windows.Sliding(c.WindowSeconds*second, c.SlideSeconds*second), nil
	default:
		return windows.Tumbling(c.WindowSeconds * second), nil
	}
}

func (c *countWindow) Configure(config sawlog.Config) (sawlog.Registration, error) {
	if err := json.Unmarshal(config.JSON, c); err != nil {
		return sawlog.Registration{}, err
	}
	add := func(earlier *int64, later int64) { *earlier += later }
	kind, err := c.kind()
	if err != nil {
		return sawlog.Registration{}, err
	}
	c.windows = windows.New(kind, c.KeysMax, add)
	return sawlog.Registration{
		Name: "count-window", Version: "0.1.0", Columns: []string{c.Key}, Timestamps: true, Routes: []string{"windows"},
		StateVersion: 1, Lateness: c.lateness(),
	}, nil
}

func record(closed windows.Closed[int64]) sawlog.Record {
	return sawlog.Record{Time: closed.End, Fields: []sawlog.Field{
		{Name: "window_start", Value: closed.Start},
		{Name: "window_end", Value: closed.End},
		{Name: "key", Value: closed.Key},
		{Name: "count", Value: closed.Gathered},
	}}
}

func (c *countWindow) Process(b *sawlog.Batch, e *sawlog.Edits) error {
	watermark, late := b.WatermarkBefore(c.lateness()), uint64(0)
	for i := range b.Count {
		row := b.Row(i)
		key := noKey
		if word, ok := row.Bytes(0); ok {
			key = string(word)
		}
		// The row itself is judged by the watermark before it: it can't be made late by its own time.
		counted := c.windows.Add(key, row.Time(), watermark.Now(), func(count *int64) { *count++ })
		if !counted {
			late++
		}
		watermark.Pass(row)
		for _, closed := range c.windows.Close(watermark.Now(), rowsPerRecordMax) {
			e.Add(i, routeWindows, record(closed))
		}
		if counted && c.Absorb {
			e.Absorb(i)
		}
	}
	if late > 0 {
		sawlog.Count("late_records", late)
	}
	if end, open := c.windows.FirstEnd(); open && c.IdleFlush {
		e.WakeAt(end)
	}
	return nil
}

func (c *countWindow) Snapshot() []byte {
	bytes, err := c.windows.Bytes()
	if err != nil {
		panic(err) // numbers have a form in JSON
	}
	return bytes
}

func (c *countWindow) Restore(snapshot []byte) error { return c.windows.Read(snapshot) }

func (c *countWindow) Upgrade(version uint32, _ []byte) error {
	return fmt.Errorf("state of version %d is not understood", version)
}

func (c *countWindow) Flush(now int64) ([]sawlog.Emitted, error) {
	var emitted []sawlog.Emitted
	for _, closed := range c.windows.Close(now, math.MaxInt) {
		emitted = append(emitted, sawlog.Emitted{Route: routeWindows, Row: record(closed)})
	}
	return emitted, nil
}
