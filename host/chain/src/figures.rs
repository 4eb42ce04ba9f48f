//! What a plugin costs and how it fails, counted over all its instances; for metrics. It judges nothing.

use crate::host::{LogLine, Telemetry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A call that takes so long by the clock is worth an alarm, and nothing but an alarm: fuel decides outcomes.
pub const LONG_CALL: Duration = Duration::from_millis(250);

/// Counts of one plugin since it was loaded.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PluginFigures {
    /// Calls with a batch.
    pub calls: u64,
    /// How long they took.
    pub time: Duration,
    /// Fuel that they used.
    pub fuel: u64,
    /// Calls of any kind that took [`LONG_CALL`] or longer by the clock.
    pub long_calls: u64,
    /// The longest call of any kind.
    pub longest_call: Duration,
    /// Failed calls by reason: `memory`, `fuel`, `trap`, `bad_output`, `rejected`, `process`. A failed batch is cut and called again.
    pub failures: BTreeMap<&'static str, u64>,
    /// The largest memory of an instance, in bytes.
    pub memory_bytes_max: u64,
    /// Batches that were run again on a fresh instance with the same state, to compare.
    pub rechecked: u64,
    /// Those of them that gave something else: the plugin is not deterministic.
    pub disagreed: u64,
    /// What came of the component beside it, if there is one.
    pub shadow: Option<crate::shadow::ShadowFigures>,
    /// The processes that it runs in, if it is not this one.
    pub processes: Option<crate::apart::ProcessFigures>,
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
    long_calls: AtomicU64,
    longest_nanoseconds: AtomicU64,
    memory_bytes_max: AtomicU64,
    rechecked: AtomicU64,
    disagreed: AtomicU64,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    said: Mutex<Telemetry>,
}

impl Counters {
    pub(crate) fn called(&self, time: Duration, fuel: u64, memory_bytes: usize, failure: Option<&'static str>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds(time), Ordering::Relaxed);
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
        self.memory_bytes_max.fetch_max(memory_bytes as u64, Ordering::Relaxed);
        if let Some(failure) = failure {
            *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(failure).or_default() += 1;
        }
    }

    /// A call of any kind has come to its end, `time` after it began.
    pub(crate) fn took(&self, time: Duration) {
        self.long_calls.fetch_add(u64::from(time >= LONG_CALL), Ordering::Relaxed);
        self.longest_nanoseconds.fetch_max(nanoseconds(time), Ordering::Relaxed);
    }

    /// A batch was run again on a fresh instance.
    pub(crate) fn rechecked(&self, agrees: bool) {
        self.rechecked.fetch_add(1, Ordering::Relaxed);
        self.disagreed.fetch_add(u64::from(!agrees), Ordering::Relaxed);
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
            long_calls: self.long_calls.load(Ordering::Relaxed),
            longest_call: Duration::from_nanos(self.longest_nanoseconds.load(Ordering::Relaxed)),
            failures: self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            memory_bytes_max: self.memory_bytes_max.load(Ordering::Relaxed),
            rechecked: self.rechecked.load(Ordering::Relaxed),
            disagreed: self.disagreed.load(Ordering::Relaxed),
            shadow: None,
            processes: None,
            counters: said.counters.clone(),
            gauges: said.gauges.clone(),
            suppressed: said.suppressed,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_count_as_long_from_the_alarm_on() {
        let counters = Counters::default();
        let told = |counters: &Counters| (counters.now().long_calls, counters.now().longest_call);
        let short = LONG_CALL - Duration::from_nanos(1);
        counters.took(short);
        assert_eq!(told(&counters), (0, short));
        counters.took(LONG_CALL);
        counters.took(short);
        assert_eq!(told(&counters), (1, LONG_CALL));
    }
}
