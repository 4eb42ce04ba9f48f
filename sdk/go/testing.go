package sawlog

// What native tests need: batches without a host.

// TextColumn is a column of texts; nil = the row has no such field.
func TextColumn(values ...*string) Column {
	c := Column{Offsets: []uint32{0}, Present: make([]uint64, words(len(values)))}
	for i, value := range values {
		if value != nil {
			c.Data = append(c.Data, *value...)
			c.Present[i>>6] |= 1 << (i & 63)
		}
		c.Offsets = append(c.Offsets, uint32(len(c.Data)))
	}
	return c
}

// Run configures p and runs one batch of columns.
func Run(p Plugin, config string, count int, columns ...Column) (*Edits, error) {
	if _, err := p.Configure(Config{JSON: []byte(config)}); err != nil {
		return nil, err
	}
	e := NewEdits(count)
	return e, p.Process(&Batch{Count: count, Columns: columns}, e)
}

// Kept says whether the answer keeps row.
func (e *Edits) Kept(row int) bool { return len(e.keep) == 0 || bit(e.keep, row) }

// Updated gives the text that the answer sets field of row to.
func (e *Edits) Updated(field string, row int) (string, bool) {
	for _, edit := range e.edits {
		if edit.kind == update && edit.update.field == field {
			for i, r := range edit.update.rows {
				if int(r) == row {
					return string(edit.update.data[edit.update.offsets[i]:edit.update.offsets[i+1]]), true
				}
			}
		}
	}
	return "", false
}
