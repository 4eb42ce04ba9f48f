package sawlog

import "math"

// Watermark is that of event time while going through a batch, row by row: the same however batches are cut.
type Watermark struct{ now, lateness int64 }

// WatermarkBefore gives the watermark before row 0. The lateness is that of the registration, nanoseconds, which must ask for
// timestamps.
func (b *Batch) WatermarkBefore(lateness int64) Watermark { return Watermark{b.Watermark, lateness} }

// Now is the watermark before the rows not yet seen, unix nanoseconds.
func (w *Watermark) Now() int64 { return w.now }

// Pass moves past a row, and says whether the row moved the watermark.
func (w *Watermark) Pass(r Row) bool {
	moved := int64(math.MinInt64)
	if time := r.Time(); time >= math.MinInt64+w.lateness {
		moved = time - w.lateness
	}
	if moved <= w.now {
		return false
	}
	w.now = moved
	return true
}
