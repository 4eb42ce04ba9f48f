package main

import (
	"testing"

	"sawlog"
)

func text(s string) *string { return &s }

func TestTidyNatively(t *testing.T) {
	config := `{"at_least":"warn","fields":["body"],"add":{"name":"cluster","text":"eu-1"}}`
	levels := sawlog.TextColumn(text("info"), text("WARNING"), nil)
	bodies := sawlog.TextColumn(text("a@b.co"), text("by ann@example.com, 4111 1111 1111 1111."), text("nothing"))
	edits, err := sawlog.Run(&tidy{}, config, 3, levels, bodies)
	if err != nil {
		t.Fatal(err)
	}
	if edits.Kept(0) || !edits.Kept(1) || !edits.Kept(2) {
		t.Error("rows 1 and 2 are kept")
	}
	if found, _ := edits.Updated("body", 1); found != "by [email], [card]." {
		t.Errorf("redacted to %q", found)
	}
	if _, changed := edits.Updated("body", 2); changed {
		t.Error("row 2 does not change")
	}
}

func TestAWrongLevelIsRefused(t *testing.T) {
	if _, err := sawlog.Run(&tidy{}, `{"at_least":"loud"}`, 0); err == nil {
		t.Error("it was taken")
	}
}
