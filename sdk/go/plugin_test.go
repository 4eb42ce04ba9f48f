package sawlog

import "testing"

func TestAFilterIsOneFunction(t *testing.T) {
	Filter("no-debug", "0.1.0", []string{"level"}, func(r Row) bool { return r.String(0) != "debug" })
	values := make([]*string, 130)
	debug := "debug"
	for i := 0; i < len(values); i += 2 {
		values[i] = &debug
	}
	edits, err := Run(registered, "{}", len(values), TextColumn(values...))
	if err != nil || len(edits.keep) != 3 || edits.keep[0] != 0xaaaa_aaaa_aaaa_aaaa || edits.keep[2] != 0b10 {
		t.Errorf("%x %v", edits.keep, err)
	}
}

func TestFatesAndUpdatesHaveTheContractsShape(t *testing.T) {
	e := NewEdits(70)
	e.Drop(1, 0)
	e.Drop(2, 3)
	e.Absorb(3)
	e.Route(69, 2)
	u := NewUpdate("a")
	u.Text(0, []byte("x"))
	u.Remove(4)
	u.JSON(5, "1")
	e.Update(u)
	e.Update(NewUpdate("unchanged"))
	if e.keep[0] != ^uint64(0b110) || len(e.dropped) != 1 || e.dropped[0] != (dropped{2, 3}) {
		t.Errorf("%x %v", e.keep, e.dropped)
	}
	if e.absorbed[0] != 0b1000 || e.routes[69] != 2 || len(e.edits) != 1 {
		t.Errorf("%x %v %v", e.absorbed, e.routes, e.edits)
	}
	if u.present[0] != 0b101 || u.json[0] != 0b100 || len(u.offsets) != 4 || u.offsets[3] != 2 {
		t.Errorf("%b %b %v", u.present, u.json, u.offsets)
	}
}
