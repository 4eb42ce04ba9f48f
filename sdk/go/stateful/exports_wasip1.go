package stateful

import "sawlog"

//go:wasmexport sawlog:plugin/state@0.1.0#snapshot
func snapshot() uint32 { return sawlog.ExportSnapshot() }

//go:wasmexport sawlog:plugin/state@0.1.0#restore
func restore(at, n uint32) uint32 { return sawlog.ExportRestore(at, n) }

//go:wasmexport sawlog:plugin/state@0.1.0#upgrade
func upgrade(version, at, n uint32) uint32 { return sawlog.ExportUpgrade(version, at, n) }

//go:wasmexport sawlog:plugin/state@0.1.0#flush
func flush(now int64) uint32 { return sawlog.ExportFlush(now) }
