package sawlog

// The canonical ABI by hand: memory layouts of the contract's types. Plugins need not read on.

import (
	"encoding/binary"
	"math"
	"runtime"
	"unsafe"
)

// What the host passes in and what the last call gave out lives here until the next call: the collector must see it.
var arguments, results [][]uint64

// block gives size bytes, aligned to 8, and where they are.
func block(list *[][]uint64, size uint32) ([]byte, uint32) {
	words := make([]uint64, max(1, (size+7)/8))
	*list = append(*list, words)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size), address(unsafe.Pointer(&words[0]))
}

func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

func pointer(at uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

//go:wasmexport cabi_realloc
func cabiRealloc(old, oldSize, align, size uint32) uint32 {
	bytes, at := block(&arguments, size)
	if oldSize > 0 {
		copy(bytes, unsafe.Slice((*byte)(pointer(old)), oldSize))
	}
	return at
}

func view[T any](at, n uint32) []T {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(pointer(at)), n)
}

// writer lays out a result.
type writer struct {
	bytes []byte
	at    uint32
}

func newWriter(size uint32) writer {
	bytes, at := block(&results, size)
	return writer{bytes, at}
}

func (w writer) u8(at uint32, value byte)    { w.bytes[at] = value }
func (w writer) u32(at uint32, value uint32) { binary.LittleEndian.PutUint32(w.bytes[at:], value) }
func (w writer) u64(at uint32, value uint64) { binary.LittleEndian.PutUint64(w.bytes[at:], value) }

func (w writer) flag(at uint32, value bool) {
	if value {
		w.bytes[at] = 1
	}
}

// list puts where n elements are and how many.
func (w writer) list(at, where uint32, n int) {
	w.u32(at, where)
	w.u32(at+4, uint32(n))
}

// text puts a string or bytes; they are copied, for a string may lie in memory that the collector frees.
func (w writer) text(at uint32, text string) {
	bytes, where := block(&results, uint32(len(text)))
	copy(bytes, text)
	w.list(at, where, len(text))
}

func (w writer) texts(at uint32, texts []string) {
	inner := newWriter(8 * uint32(len(texts)))
	for i, text := range texts {
		inner.text(8*uint32(i), text)
	}
	w.list(at, inner.at, len(texts))
}

// numbers puts a list of numbers without copying it.
func numbers[T any](w writer, at uint32, values []T) {
	if len(values) == 0 {
		w.list(at, 8, 0)
		return
	}
	kept = append(kept, values)
	w.list(at, address(unsafe.Pointer(&values[0])), len(values))
}

// Lists that results refer to.
var kept []any

// begin forgets the last call and gives the arguments of this one.
func begin() [][]uint64 {
	own := arguments
	arguments, results, kept = nil, nil, nil
	return own
}

//go:wasmexport sawlog:plugin/lifecycle@0.1.0#configure
func exportConfigure(config, configLen, files, filesLen uint32) uint32 {
	own := begin()
	defer runtime.KeepAlive(own)
	c := Config{JSON: view[byte](config, configLen), Files: map[string][]byte{}}
	for i := range filesLen {
		f := view[uint32](files+16*i, 4)
		c.Files[string(view[byte](f[0], f[1]))] = append([]byte(nil), view[byte](f[2], f[3])...)
	}
	w := newWriter(64)
	r, err := registered.Configure(c)
	if err != nil {
		w.u8(0, 1)
		w.text(8, err.Error())
		return w.at
	}
	w.text(8, r.Name)
	w.text(16, r.Version)
	w.texts(24, r.Columns)
	w.flag(32, r.Timestamps)
	w.texts(36, r.Routes)
	w.texts(44, r.DropReasons)
	w.u32(52, r.StateVersion)
	w.u64(56, uint64(r.Lateness))
	return w.at
}

//go:wasmexport sawlog:plugin/transform@0.1.0#process
func exportProcess(count, input, inputLen uint32, time, watermark int64, times, timesLen, columns, columnsLen uint32) uint32 {
	own := begin()
	defer runtime.KeepAlive(own)
	b := Batch{
		Count:      int(count),
		Input:      string(view[byte](input, inputLen)),
		Time:       time,
		Watermark:  watermark,
		Timestamps: view[int64](times, timesLen),
		Columns:    make([]Column, columnsLen),
	}
	for i := range b.Columns {
		c := view[uint32](columns+32*uint32(i), 8)
		b.Columns[i] = Column{view[uint32](c[0], c[1]), view[byte](c[2], c[3]), view[uint64](c[4], c[5]), view[uint64](c[6], c[7])}
	}
	e := NewEdits(b.Count)
	w := newWriter(80)
	if err := registered.Process(&b, e); err != nil {
		w.u8(0, 1)
		w.text(12, err.Error())
		return w.at
	}
	e.write(w)
	return w.at
}

func (e *Edits) write(w writer) {
	numbers(w, 8, e.keep)
	edits := newWriter(52 * uint32(len(e.edits)))
	for i := range e.edits {
		e.edits[i].write(edits, 52*uint32(i))
	}
	w.list(16, edits.at, len(e.edits))
	numbers(w, 24, e.routes)
	rows := newWriter(24 * uint32(len(e.added)))
	for i, a := range e.added {
		at := 24 * uint32(i)
		rows.u32(at, a.parent)
		rows.flag(at+4, a.inherit)
		rows.u8(at+5, a.route)
		a.row.write(rows, at+8)
	}
	w.list(32, rows.at, len(e.added))
	drops := newWriter(8 * uint32(len(e.dropped)))
	for i, d := range e.dropped {
		drops.u32(8*uint32(i), d.row)
		drops.u8(8*uint32(i)+4, d.reason)
	}
	w.list(40, drops.at, len(e.dropped))
	numbers(w, 48, e.absorbed)
	deads := newWriter(12 * uint32(len(e.dead)))
	for i, d := range e.dead {
		deads.u32(12*uint32(i), d.row)
		deads.text(12*uint32(i)+4, d.reason)
	}
	w.list(56, deads.at, len(e.dead))
	if e.wakeAt != nil {
		w.u8(64, 1)
		w.u64(72, uint64(*e.wakeAt))
	}
}

func (e *edit) write(w writer, at uint32) {
	w.u8(at, byte(e.kind))
	switch e.kind {
	case setAll, rename:
		w.text(at+4, e.a)
		w.text(at+12, e.b)
	case remove:
		w.text(at+4, e.a)
	case update:
		u := e.update
		if !u.anyJSON {
			u.json = nil // all text: spares the host a look at every value
		}
		w.text(at+4, u.field)
		numbers(w, at+12, u.rows)
		numbers(w, at+20, u.offsets)
		numbers(w, at+28, u.data)
		numbers(w, at+36, u.present)
		numbers(w, at+44, u.json)
	case timestamps:
		numbers(w, at+4, e.rows)
		numbers(w, at+12, e.times)
	}
}

func (r Record) write(w writer, at uint32) {
	w.u64(at, uint64(r.Time))
	fields := newWriter(24 * uint32(len(r.Fields)))
	for i, f := range r.Fields {
		fields.text(24*uint32(i), f.Name)
		fields.value(24*uint32(i)+8, f.Value)
	}
	w.list(at+8, fields.at, len(r.Fields))
}

func (w writer) value(at uint32, value any) {
	switch v := value.(type) {
	case nil:
		w.u8(at, 0)
	case bool:
		w.u8(at, 1)
		w.flag(at+8, v)
	case int64:
		w.u8(at, 2)
		w.u64(at+8, uint64(v))
	case int:
		w.u8(at, 2)
		w.u64(at+8, uint64(v))
	case float64:
		w.u8(at, 3)
		w.u64(at+8, math.Float64bits(v))
	case string:
		w.u8(at, 4)
		w.text(at+8, v)
	case []byte:
		w.u8(at, 5)
		w.text(at+8, string(v))
	case JSON:
		w.u8(at, 6)
		w.text(at+8, string(v))
	default:
		panic("a field's value is nil, bool, int, int64, float64, string, []byte or sawlog.JSON")
	}
}

// What package stateful exports.

// ExportSnapshot is for package stateful.
func ExportSnapshot() uint32 {
	begin()
	w := newWriter(8)
	w.text(0, string(registered.(Stateful).Snapshot()))
	return w.at
}

// ExportRestore is for package stateful.
func ExportRestore(at, n uint32) uint32 {
	own := begin()
	defer runtime.KeepAlive(own)
	return done(registered.(Stateful).Restore(view[byte](at, n)))
}

// ExportUpgrade is for package stateful.
func ExportUpgrade(version, at, n uint32) uint32 {
	own := begin()
	defer runtime.KeepAlive(own)
	return done(registered.(Stateful).Upgrade(version, view[byte](at, n)))
}

func done(err error) uint32 {
	w := newWriter(12)
	if err != nil {
		w.u8(0, 1)
		w.text(4, err.Error())
	}
	return w.at
}

// ExportFlush is for package stateful.
func ExportFlush(now int64) uint32 {
	begin()
	w := newWriter(16)
	rows, err := registered.(Stateful).Flush(now)
	if err != nil {
		w.u8(0, 1)
		w.text(8, err.Error())
		return w.at
	}
	emitted := newWriter(24 * uint32(len(rows)))
	for i, r := range rows {
		emitted.u8(24*uint32(i), r.Route)
		r.Row.write(emitted, 24*uint32(i)+8)
	}
	w.list(4, emitted.at, len(rows))
	return w.at
}
