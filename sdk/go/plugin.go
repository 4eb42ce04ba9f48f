// Package sawlog is for writing Sawlog plugins in Go: say which columns you read, get them once per batch, give back only
// what changed. It hides columns, masks and offsets; what they mean is written in the contract, wit/.
//
// A plugin registers itself in an init function and has an empty main. It must not depend on the order of maps, on time.Now or
// on random numbers: the same input gives the same output wherever batches are cut.
package sawlog

// Registration is what a plugin wants and offers.
type Registration struct {
	Name, Version string
	// Columns are field paths and pseudo-columns ($record, $rid, $received, $source) that it reads, in the order of Row.Bytes.
	Columns []string
	// Timestamps says whether it reads event times.
	Timestamps bool
	// Routes are the names of routes 1, 2, …
	Routes []string
	// DropReasons are the names of drop reasons 1, 2, …
	DropReasons []string
	// StateVersion is the version of the snapshot format.
	StateVersion uint32
	// Lateness says how far event time may run behind the newest row, nanoseconds.
	Lateness int64
}

// Config is what the configuration says for a plugin.
type Config struct {
	// JSON is the plugin's section.
	JSON []byte
	// Files are those that the configuration names for it.
	Files map[string][]byte
}

// Plugin takes batches, gives edits.
type Plugin interface {
	// Configure is called once per instance. The error refuses the configuration and is shown to the operator.
	Configure(Config) (Registration, error)
	// Process decides and edits the rows of a batch. An error makes the host cut the batch until single rows are refused; those
	// go to the dead letters.
	Process(*Batch, *Edits) error
}

// Stateful keeps state over batches. Export it with stateful.Register.
type Stateful interface {
	Plugin
	// Snapshot is the state as bytes. The same state must give the same bytes.
	Snapshot() []byte
	// Restore takes over a snapshot of the same StateVersion.
	Restore(snapshot []byte) error
	// Upgrade takes over a snapshot of an older StateVersion.
	Upgrade(version uint32, old []byte) error
	// Flush gives out what was held back: the partition is idle or has ended and event time is taken to be now (unix
	// nanoseconds).
	Flush(now int64) ([]Emitted, error)
}

var registered Plugin

// Register makes p the plugin that this program is. Call it in an init function.
func Register(p Plugin) { registered = p }

// Filter registers a plugin that keeps the rows for which keep is true; the row has the columns in their order.
func Filter(name, version string, columns []string, keep func(Row) bool) {
	Register(filter{Registration{Name: name, Version: version, Columns: columns}, keep})
}

type filter struct {
	registration Registration
	keep         func(Row) bool
}

func (f filter) Configure(Config) (Registration, error) { return f.registration, nil }

func (f filter) Process(b *Batch, e *Edits) error {
	e.KeepEach(func(row int) bool { return f.keep(b.Row(row)) })
	return nil
}
