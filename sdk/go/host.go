package sawlog

// Level says how grave a log line is.
type Level byte

// The levels of the contract.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Log logs a line for the operator, of which the host keeps at most 1 KiB. Never in a per-record loop. In native tests it goes
// to standard error.
func Log(level Level, message string) { logLine(level, message) }

// Count adds to a counter.
func Count(metric string, delta uint64) { count(metric, delta) }

// Gauge sets a gauge.
func Gauge(metric string, value float64) { gauge(metric, value) }
