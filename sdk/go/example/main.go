// Command tidy is the example that every SDK has: see sdk/example.
package main

import (
	"encoding/json"
	"fmt"

	"sawlog"
)

func main() {}

func init() { sawlog.Register(&tidy{}) }

type tidy struct {
	AtLeast string   `json:"at_least"`
	Fields  []string `json:"fields"`
	Add     struct{ Name, Text string }
	least   int
}

func (t *tidy) Configure(c sawlog.Config) (sawlog.Registration, error) {
	if err := json.Unmarshal(c.JSON, t); err != nil {
		return sawlog.Registration{}, err
	}
	if t.least = level([]byte(t.AtLeast)); t.least == unknown {
		return sawlog.Registration{}, fmt.Errorf("at_least: %q is no level", t.AtLeast)
	}
	return sawlog.Registration{Name: "tidy", Version: "0.1.0", Columns: append([]string{"level"}, t.Fields...)}, nil
}

func (t *tidy) Process(b *sawlog.Batch, e *sawlog.Edits) error {
	e.KeepEach(func(row int) bool {
		word, ok := b.Row(row).Bytes(0)
		found := unknown
		if ok {
			found = level(word)
		}
		return found == unknown || found >= t.least
	})
	for i, field := range t.Fields {
		update := sawlog.NewUpdate(field)
		for row := range b.Count {
			if text, ok := b.Row(row).Text(i + 1); ok {
				if clean, changed := redact(text); changed {
					update.Text(row, clean)
				}
			}
		}
		e.Update(update)
	}
	e.SetAll(t.Add.Name, t.Add.Text)
	return nil
}
