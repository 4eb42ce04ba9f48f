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
    /// What the present call counted: it counts where the call succeeds.
    call: Series,
}

/// One thing that a plugin said.
#[derive(Clone, PartialEq, Debug)]
pub enum Word {
    /// A line for the log.
    Log(LogLevel, String),
    /// So many more of a metric.
    Count(String, u64),
    /// The value of a metric.
    Gauge(String, f64),
}

/// What a plugin says in a call, in order; it does not depend on what was said before, so that it can be taken down anywhere.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Said {
    words: Vec<Word>,
    /// Lines of the present call.
    lines: u32,
    /// How many words were beyond the limits of a call.
    beyond: u64,
}

impl Said {
    /// The next call begins.
    pub(super) fn begin(&mut self) {
        self.lines = 0;
    }

    /// Everything that was said, and how many words were beyond the limits.
    pub(crate) fn parts(&self) -> (&[Word], u64) {
        (&self.words, self.beyond)
    }

    /// What another process says was said.
    pub(crate) fn told(words: Vec<Word>, beyond: u64) -> Self {
        let mut said = Self { beyond, ..Self::default() };
        words.into_iter().for_each(|word| said.keep(word));
        said
    }

    /// Keeps a word, as far as the limits of a call allow.
    fn say(&mut self, word: Word) {
        if matches!(word, Word::Log(..)) {
            self.lines += 1;
            if self.lines > LINES_PER_CALL_MAX {
                self.beyond += 1;
                return;
            }
        }
        self.keep(word);
    }

    fn keep(&mut self, mut word: Word) {
        let fits = match &mut word {
            Word::Log(_, message) => {
                message.truncate(message.floor_char_boundary(LINE_BYTES_MAX));
                true
            }
            Word::Count(metric, _) | Word::Gauge(metric, _) => metric.len() <= METRIC_BYTES_MAX,
        };
        match fits {
            true => self.words.push(word),
            false => self.beyond = self.beyond.saturating_add(1),
        }
    }
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

    /// The next call begins, and the last one succeeded unless it was abandoned.
    pub(crate) fn begin(&mut self) {
        self.settle();
    }

    /// Takes over what was said in the present call.
    pub(crate) fn hear(&mut self, said: Said) {
        self.suppressed = self.suppressed.saturating_add(said.beyond);
        for word in said.words {
            match word {
                Word::Log(level, message) => self.log(level, message),
                Word::Count(metric, delta) => self.count(metric, delta),
                Word::Gauge(metric, value) => self.gauge(metric, value),
            }
        }
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

    fn log(&mut self, level: LogLevel, message: String) {
        match self.lines.len() < LINES_MAX {
            true => self.lines.push(LogLine { level, message }),
            false => self.suppressed += 1,
        }
    }

    fn count(&mut self, metric: String, delta: u64) {
        let is_known = self.counters.contains_key(&metric);
        if self.has_room(is_known, self.call.counters.contains_key(&metric)) {
            let sum = self.call.counters.entry(metric).or_default();
            *sum = sum.saturating_add(delta);
        }
    }

    fn gauge(&mut self, metric: String, value: f64) {
        let is_known = self.gauges.contains_key(&metric);
        if self.has_room(is_known, self.call.gauges.contains_key(&metric)) {
            self.call.gauges.insert(metric, value);
        }
    }

    fn has_room(&mut self, is_known: bool, is_in_call: bool) -> bool {
        let is_fresh = !is_known && !is_in_call;
        let room = !is_fresh || self.counters.len() + self.gauges.len() + self.call.fresh < SERIES_MAX;
        self.call.fresh += usize::from(room && is_fresh);
        self.suppressed += u64::from(!room);
        room
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
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        store.data_mut().said.say(Word::Log(level, message));
        Ok(())
    })?;
    host.func_wrap("count", |mut store: StoreContextMut<'_, Guest>, (metric, delta): (String, u64)| {
        charge(&mut store, metric.len() as u64)?;
        store.data_mut().said.say(Word::Count(metric, delta));
        Ok(())
    })?;
    host.func_wrap("gauge", |mut store: StoreContextMut<'_, Guest>, (metric, value): (String, f64)| {
        charge(&mut store, metric.len() as u64)?;
        store.data_mut().said.say(Word::Gauge(metric, value));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talkative_plugin_is_bounded_and_counted() {
        let (mut telemetry, mut said) = (Telemetry::default(), Said::default());
        for i in 0..20 {
            said.say(Word::Log(LogLevel::Info, "é".repeat(2_000)));
            said.say(Word::Count(format!("metric {i}"), 1));
        }
        for i in 0..100 {
            said.say(Word::Gauge(format!("gauge {i}"), 0.5));
        }
        said.say(Word::Count("m".repeat(200), 1));
        telemetry.hear(said);
        telemetry.settle();
        assert_eq!(telemetry.lines.len(), 16);
        assert!(telemetry.lines.iter().all(|l| l.message.len() == 1_024));
        assert_eq!((telemetry.counters.len(), telemetry.gauges.len()), (20, 80));
        assert_eq!(telemetry.suppressed, 4 + 20 + 1);
    }

    #[test]
    fn a_call_that_fails_counts_nothing_and_keeps_its_lines() {
        let mut telemetry = Telemetry::default();
        for (delta, fails) in [(1, false), (10, true), (100, false)] {
            let mut said = Said::default();
            said.say(Word::Log(LogLevel::Info, "called".to_owned()));
            said.say(Word::Count("calls".to_owned(), delta));
            said.say(Word::Gauge(format!("gauge {delta}"), 0.5));
            telemetry.begin();
            telemetry.hear(said);
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
