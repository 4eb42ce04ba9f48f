package sawlog

// Batch is the rows of one call. Its memory is the host's and lives until Process returns.
type Batch struct {
	Count int
	// Input is the id of the component that the rows come from.
	Input string
	// Time is the planned time of the batch, unix nanoseconds: the only clock there is.
	Time int64
	// Watermark is that of event time before row 0, unix nanoseconds.
	Watermark int64
	// Timestamps are event times, unix nanoseconds; empty unless the registration asks for them.
	Timestamps []int64
	Columns    []Column
}

// Column has the values of one registered field: value i is Data[Offsets[i]:Offsets[i+1]].
type Column struct {
	Offsets []uint32
	Data    []byte
	// Present has a bit for each row that has the field; empty if all have.
	Present []uint64
	// JSON has a bit for each value that is a JSON token as it stood; the others are unescaped text. Empty if all are text.
	JSON []uint64
}

// Row is one row of a batch.
type Row struct {
	batch *Batch
	Index int
}

// Row gives row i.
func (b *Batch) Row(i int) Row { return Row{b, i} }

func bit(mask []uint64, i int) bool { return mask[i>>6]>>(i&63)&1 == 1 }

// Bytes gives what column c says, whether text or a JSON token; false if the row has no such field. Text may hold invalid UTF-8.
func (r Row) Bytes(c int) ([]byte, bool) {
	column := &r.batch.Columns[c]
	if len(column.Present) > 0 && !bit(column.Present, r.Index) {
		return nil, false
	}
	return column.Data[column.Offsets[r.Index]:column.Offsets[r.Index+1]], true
}

// String gives what column c says as a string; empty if the row has no such field.
func (r Row) String(c int) string {
	value, _ := r.Bytes(c)
	return string(value)
}

// Text gives the text of column c; false if the row has no such field or it is a JSON token.
func (r Row) Text(c int) ([]byte, bool) {
	value, ok := r.Bytes(c)
	return value, ok && !r.IsJSON(c)
}

// IsJSON says whether the value of column c is a JSON token: a number, boolean, null, object or array.
func (r Row) IsJSON(c int) bool {
	mask := r.batch.Columns[c].JSON
	return len(mask) > 0 && bit(mask, r.Index)
}

// Time is the event time, unix nanoseconds; 0 unless the registration asks for timestamps.
func (r Row) Time() int64 {
	if len(r.batch.Timestamps) == 0 {
		return 0
	}
	return r.batch.Timestamps[r.Index]
}
