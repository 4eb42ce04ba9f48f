package sawlog

import "unsafe"

//go:wasmimport sawlog:plugin/host@0.1.0 log
func hostLog(level uint32, at unsafe.Pointer, n uint32)

//go:wasmimport sawlog:plugin/host@0.1.0 count
func hostCount(at unsafe.Pointer, n uint32, delta uint64)

//go:wasmimport sawlog:plugin/host@0.1.0 gauge
func hostGauge(at unsafe.Pointer, n uint32, value float64)

func logLine(level Level, message string) {
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

func count(metric string, delta uint64) {
	hostCount(unsafe.Pointer(unsafe.StringData(metric)), uint32(len(metric)), delta)
}

func gauge(metric string, value float64) {
	hostGauge(unsafe.Pointer(unsafe.StringData(metric)), uint32(len(metric)), value)
}
