package sawlog

// Edits is the answer to one batch. Rows that are not mentioned are kept. Rows must be decided in ascending order, each once.
type Edits struct {
	count    int
	keep     []uint64
	edits    []edit
	routes   []byte
	added    []added
	dropped  []dropped
	absorbed []uint64
	dead     []dead
	wakeAt   *int64
}

type editKind byte

// In the order of the contract.
const (
	setAll editKind = iota
	rename
	remove
	update
	timestamps
)

type edit struct {
	kind   editKind
	a, b   string
	update *Update
	rows   []uint32
	times  []int64
}

type added struct {
	parent  uint32
	inherit bool
	route   byte
	row     Record
}

type dropped struct {
	row    uint32
	reason byte
}

type dead struct {
	row    uint32
	reason string
}

// NewEdits is an answer that keeps all count rows as they are.
func NewEdits(count int) *Edits { return &Edits{count: count} }

func words(count int) int { return (count + 63) / 64 }

// KeepEach decides every row.
func (e *Edits) KeepEach(keep func(row int) bool) {
	e.keep = make([]uint64, words(e.count))
	for row := range e.count {
		if keep(row) {
			e.keep[row>>6] |= 1 << (row & 63)
		}
	}
}

// Drop ends a row: reason 0 is "filtered", n the n-th drop reason of the registration.
func (e *Edits) Drop(row int, reason byte) {
	if e.keep == nil {
		e.keep = make([]uint64, words(e.count))
		for i := range e.keep {
			e.keep[i] = ^uint64(0)
		}
	}
	e.keep[row>>6] &^= 1 << (row & 63)
	if reason > 0 {
		e.dropped = append(e.dropped, dropped{uint32(row), reason})
	}
}

// Route sends a row to the n-th route of the registration (0 is the default output).
func (e *Edits) Route(row int, route byte) {
	if e.routes == nil {
		e.routes = make([]byte, e.count)
	}
	e.routes[row] = route
}

// Absorb ends a row that lives on in the plugin's state only.
func (e *Edits) Absorb(row int) {
	if e.absorbed == nil {
		e.absorbed = make([]uint64, words(e.count))
	}
	e.absorbed[row>>6] |= 1 << (row & 63)
}

// Dead sends a row to the dead letters.
func (e *Edits) Dead(row int, reason string) { e.dead = append(e.dead, dead{uint32(row), reason}) }

// SetAll sets field to the same text in every row. The text must not depend on the batch.
func (e *Edits) SetAll(field, text string) {
	e.edits = append(e.edits, edit{kind: setAll, a: field, b: text})
}

// Rename renames a field, overwriting its target.
func (e *Edits) Rename(from, to string) {
	e.edits = append(e.edits, edit{kind: rename, a: from, b: to})
}

// Remove removes a field from every row.
func (e *Edits) Remove(field string) { e.edits = append(e.edits, edit{kind: remove, a: field}) }

// Update takes new values for some rows of a field; nothing if there are none.
func (e *Edits) Update(u *Update) {
	if len(u.rows) > 0 {
		e.edits = append(e.edits, edit{kind: update, update: u})
	}
}

// SetTimes gives new event times, unix nanoseconds, to rows (strictly ascending).
func (e *Edits) SetTimes(rows []uint32, times []int64) {
	if len(rows) > 0 {
		e.edits = append(e.edits, edit{kind: timestamps, rows: rows, times: times})
	}
}

// Add adds a row behind row parent, which gave rise to it. Parents must ascend.
func (e *Edits) Add(parent int, route byte, row Record) {
	e.added = append(e.added, added{parent: uint32(parent), route: route, row: row})
}

// AddInheriting adds a row that begins as a copy of its parent's fields.
func (e *Edits) AddInheriting(parent int, route byte, row Record) {
	e.added = append(e.added, added{parent: uint32(parent), inherit: true, route: route, row: row})
}

// WakeAt asks to be flushed once event time passes time (unix nanoseconds), because rows are held back.
func (e *Edits) WakeAt(time int64) { e.wakeAt = &time }

// Update is new values for some rows of one field.
type Update struct {
	field   string
	rows    []uint32
	offsets []uint32
	data    []byte
	present []uint64
	json    []uint64
	anyJSON bool
}

// NewUpdate is an update of field, a path.
func NewUpdate(field string) *Update { return &Update{field: field, offsets: []uint32{0}} }

// Text sets the field of row to text, valid UTF-8. Rows must ascend strictly, here and below.
func (u *Update) Text(row int, text []byte) {
	u.data = append(u.data, text...)
	u.end(row, true, false)
}

// JSON sets the field of row to a JSON token.
func (u *Update) JSON(row int, token string) {
	u.data = append(u.data, token...)
	u.end(row, true, true)
	u.anyJSON = true
}

// Remove removes the field from row.
func (u *Update) Remove(row int) { u.end(row, false, false) }

func (u *Update) end(row int, present, json bool) {
	i := len(u.rows)
	if i&63 == 0 {
		u.present, u.json = append(u.present, 0), append(u.json, 0)
	}
	if present {
		u.present[i>>6] |= 1 << (i & 63)
	}
	if json {
		u.json[i>>6] |= 1 << (i & 63)
	}
	u.rows = append(u.rows, uint32(row))
	u.offsets = append(u.offsets, uint32(len(u.data)))
}

// Record is a row that a plugin makes.
type Record struct {
	// Time is its event time, unix nanoseconds.
	Time   int64
	Fields []Field
}

// Field is a member of a Record. Value is nil, bool, int64, float64, string, []byte (text that may hold invalid UTF-8) or JSON.
type Field struct {
	Name  string
	Value any
}

// JSON is a nested value as JSON text.
type JSON string

// Emitted is a row given out by Flush.
type Emitted struct {
	Route byte
	Row   Record
}
