//! `host`: what a plugin says of itself. Bounded per call and kept for the caller to take, who alone knows whether this lane
//! speaks for the partition. Knows nothing of exporters.

use super::{Guest, charge};
use crate::wit::sawlog::plugin::host::Level;
use std::collections::BTreeMap;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

/// Log lines kept of one call; the others are counted.
const LINES_PER_CALL_MAX: u32 = 16;
/// Log lines kept until they are taken.
const LINES_MAX: usize = 1_024;
/// Bytes kept of a log line.
const LINE_BYTES_MAX: usize = 1_024;
/// Metric names kept until they are taken, counters and gauges together.
const SERIES_MAX: usize = 100;
/// Longest metric name, bytes.
const METRIC_BYTES_MAX: usize = 128;

/// How grave a log line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// For the plugin's author.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something is broken.
    Error,
}

/// One line that a plugin logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// How grave it is.
    pub level: LogLevel,
    /// At most 1 KiB of text; may hold what the plugin saw of a record.
    pub message: String,
}

/// What a plugin said since it was last asked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Telemetry {
    /// Log lines, in order.
    pub lines: Vec<LogLine>,
    /// Sums of `count`.
    pub counters: BTreeMap<String, u64>,
    /// Last value of `gauge`.
    pub gauges: BTreeMap<String, f64>,
    /// Lines and series that were beyond the limits.
    pub suppressed: u64,
    lines_of_call: u32,
    /// What the present call counted: it counts where the call succeeds.
    call: Series,
}

/// Metrics of one call.
#[derive(Clone, PartialEq, Debug, Default)]
struct Series {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
    /// Names that were not known before it.
    fresh: usize,
}

impl Telemetry {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.suppressed == 0 && self.lines.is_empty() && self.counters.is_empty() && self.gauges.is_empty()
    }

    /// Its log lines without its metrics.
    pub fn lines_alone(self) -> Self {
        Self { lines: self.lines, ..Self::default() }
    }

    pub(super) fn begin(&mut self) {
        self.settle();
        self.lines_of_call = 0;
    }

    /// The present call succeeded.
    pub(crate) fn settle(&mut self) {
        let Series { counters, gauges, .. } = std::mem::take(&mut self.call);
        for (metric, delta) in counters {
            let sum = self.counters.entry(metric).or_default();
            *sum = sum.saturating_add(delta);
        }
        self.gauges.extend(gauges);
    }

    /// The present call failed: its rows are run again, and counted then. Its lines stay: they may say why.
    pub(crate) fn abandon(&mut self) {
        self.call = Series::default();
    }

    fn log(&mut self, level: Level, mut message: String) {
        self.lines_of_call += 1;
        if self.lines_of_call > LINES_PER_CALL_MAX || self.lines.len() >= LINES_MAX {
            self.suppressed += 1;
            return;
        }
        message.truncate(message.floor_char_boundary(LINE_BYTES_MAX));
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.lines.push(LogLine { level, message });
    }

    fn count(&mut self, metric: String, delta: u64) {
        let is_known = self.counters.contains_key(&metric);
        if self.has_room(is_known, self.call.counters.contains_key(&metric), &metric) {
            let sum = self.call.counters.entry(metric).or_default();
            *sum = sum.saturating_add(delta);
        }
    }

    fn gauge(&mut self, metric: String, value: f64) {
        let is_known = self.gauges.contains_key(&metric);
        if self.has_room(is_known, self.call.gauges.contains_key(&metric), &metric) {
            self.call.gauges.insert(metric, value);
        }
    }

    fn has_room(&mut self, is_known: bool, is_in_call: bool, metric: &str) -> bool {
        let is_fresh = !is_known && !is_in_call;
        let room = !is_fresh || self.counters.len() + self.gauges.len() + self.call.fresh < SERIES_MAX;
        let taken = room && metric.len() <= METRIC_BYTES_MAX;
        self.call.fresh += usize::from(taken && is_fresh);
        self.suppressed += u64::from(!taken);
        taken
    }

    /// Adds what another instance of the plugin said.
    pub fn merge(&mut self, other: Telemetry) {
        let room = LINES_MAX.saturating_sub(self.lines.len());
        self.suppressed += other.suppressed + other.lines.len().saturating_sub(room) as u64;
        self.lines.extend(other.lines.into_iter().take(room));
        other.counters.into_iter().for_each(|(metric, delta)| self.count(metric, delta));
        other.gauges.into_iter().for_each(|(metric, value)| self.gauge(metric, value));
        self.settle();
    }
}

pub(super) fn define(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut host = linker.instance("sawlog:plugin/host@0.1.0")?;
    host.func_wrap("log", |mut store: StoreContextMut<'_, Guest>, (level, message): (Level, String)| {
        charge(&mut store, message.len() as u64)?;
        store.data_mut().telemetry.log(level, message);
        Ok(())
    })?;
    host.func_wrap("count", |mut store: StoreContextMut<'_, Guest>, (metric, delta): (String, u64)| {
        charge(&mut store, metric.len() as u64)?;
        store.data_mut().telemetry.count(metric, delta);
        Ok(())
    })?;
    host.func_wrap("gauge", |mut store: StoreContextMut<'_, Guest>, (metric, value): (String, f64)| {
        charge(&mut store, metric.len() as u64)?;
        store.data_mut().telemetry.gauge(metric, value);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talkative_plugin_is_bounded_and_counted() {
        let mut telemetry = Telemetry::default();
        for i in 0..20 {
            telemetry.log(Level::Info, "é".repeat(2_000));
            telemetry.count(format!("metric {i}"), 1);
        }
        for i in 0..100 {
            telemetry.gauge(format!("gauge {i}"), 0.5);
        }
        telemetry.settle();
        assert_eq!(telemetry.lines.len(), 16);
        assert!(telemetry.lines.iter().all(|l| l.message.len() == 1_024));
        assert_eq!((telemetry.counters.len(), telemetry.gauges.len()), (20, 80));
        assert_eq!(telemetry.suppressed, 4 + 20);
    }

    #[test]
    fn a_call_that_fails_counts_nothing_and_keeps_its_lines() {
        let mut telemetry = Telemetry::default();
        for (delta, fails) in [(1, false), (10, true), (100, false)] {
            telemetry.begin();
            telemetry.log(Level::Info, "called".to_owned());
            telemetry.count("calls".to_owned(), delta);
            telemetry.gauge(format!("gauge {delta}"), 0.5);
            if fails {
                telemetry.abandon();
            }
        }
        telemetry.settle();
        let gauges: Vec<&str> = telemetry.gauges.keys().map(String::as_str).collect();
        assert_eq!(
            (telemetry.counters["calls"], telemetry.lines.len(), gauges),
            (101, 3, vec!["gauge 1", "gauge 100"])
        );
    }
}
