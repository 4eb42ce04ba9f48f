//! What a plugin costs and how it fails, counted over all its instances; for metrics. It judges nothing.

use crate::host::{LogLine, Telemetry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts of one plugin since it was loaded.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PluginFigures {
    /// Calls with a batch.
    pub calls: u64,
    /// How long they took.
    pub time: Duration,
    /// Fuel that they used.
    pub fuel: u64,
    /// Failed calls by reason: `memory`, `fuel`, `trap`, `bad_output`, `rejected`. A failed batch is cut and called again.
    pub failures: BTreeMap<&'static str, u64>,
    /// The largest memory of an instance, in bytes.
    pub memory_bytes_max: u64,
    /// Sums of its own counters.
    pub counters: BTreeMap<String, u64>,
    /// Last values of its own gauges.
    pub gauges: BTreeMap<String, f64>,
    /// Log lines and metrics of its own that were beyond the limits.
    pub suppressed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    fuel: AtomicU64,
    memory_bytes_max: AtomicU64,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    said: Mutex<Telemetry>,
}

impl Counters {
    pub(crate) fn called(&self, time: Duration, fuel: u64, memory_bytes: usize, failure: Option<&'static str>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
        self.memory_bytes_max.fetch_max(memory_bytes as u64, Ordering::Relaxed);
        if let Some(failure) = failure {
            *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(failure).or_default() += 1;
        }
    }

    /// Adds what an instance said of itself.
    pub(crate) fn said(&self, said: Telemetry) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).merge(said);
    }

    /// The log lines since this was last asked.
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner).lines)
    }

    pub(crate) fn now(&self) -> PluginFigures {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        PluginFigures {
            calls: self.calls.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            fuel: self.fuel.load(Ordering::Relaxed),
            failures: self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            memory_bytes_max: self.memory_bytes_max.load(Ordering::Relaxed),
            counters: said.counters.clone(),
            gauges: said.gauges.clone(),
            suppressed: said.suppressed,
        }
    }
}
