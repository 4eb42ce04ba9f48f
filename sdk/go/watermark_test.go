package sawlog

import (
	"math"
	"testing"
)

func TestTheWatermarkMovesRowByRowAndNeverFalls(t *testing.T) {
	b := &Batch{Count: 5, Watermark: math.MinInt64, Timestamps: []int64{math.MinInt64 + 1, 10, 12, 3, 30}}
	w := b.WatermarkBefore(5)
	var moved []bool
	var now []int64
	for i := range b.Count {
		moved, now = append(moved, w.Pass(b.Row(i))), append(now, w.Now())
	}
	for i, expected := range []int64{math.MinInt64, 5, 7, 7, 25} {
		if now[i] != expected || moved[i] != (i != 0 && i != 3) {
			t.Errorf("row %d: %d, moved %v", i, now[i], moved[i])
		}
	}
}
