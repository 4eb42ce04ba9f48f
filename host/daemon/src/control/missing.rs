//! Input that a sink lacks, by name: what `sawlog loss` tells of it.

use sawlog_core::journal::{Earlier, JournalState, Missing as Known};
use sawlog_core::{SinkId, SourceId};
use serde::{Deserialize, Serialize};

use crate::words;

/// A file, as the file system tells files apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The number of its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was made, unix nanoseconds, where the file system knows.
    pub born: Option<i64>,
}

/// A range of input that a sink lacks. Of a file it is counted from the file's beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// When it was noticed, unix nanoseconds.
    pub time: i64,
    /// Which sink; `None` where all had what was known of a file that may have got more since.
    pub sink: Option<String>,
    /// Which source would have read it.
    pub source: String,
    /// The generation that it belongs to.
    pub generation: String,
    /// The name that its file had last.
    pub path: Option<String>,
    /// Which file that was.
    pub file: Option<File>,
    /// First position (byte, offset) that is missing.
    pub from: u64,
    /// Position after the last that is known.
    pub to: u64,
    /// Nobody looked when it went: there may have been more.
    pub at_least: bool,
    /// Why.
    pub reason: String,
}

/// Ranges that are not told one by one any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Which sink lacks them.
    pub sink: Option<String>,
    /// Which source would have read them.
    pub source: String,
    /// How many.
    pub ranges: u64,
    /// Positions (bytes, offsets) in them.
    pub positions: u64,
}

/// The newest ranges that a journal tells one by one, with those that their sinks have yet to come to, and what older ones add up
/// to.
pub fn told(state: &JournalState) -> (Vec<Missing>, Vec<Sum>) {
    let missing = state.missing_input();
    let sum = |((sink, source), earlier): (&(Option<SinkId>, SourceId), &Earlier)| Sum {
        sink: sink.as_ref().map(SinkId::to_string),
        source: source.to_string(),
        ranges: earlier.ranges,
        positions: earlier.positions,
    };
    (missing.ranges().map(Missing::of).collect(), missing.earlier().iter().map(sum).collect())
}

/// Adds the sums of another engine.
pub fn add(sums: &mut Vec<Sum>, others: Vec<Sum>) {
    for other in others {
        match sums.iter_mut().find(|sum| (&sum.sink, &sum.source) == (&other.sink, &other.source)) {
            Some(sum) => (sum.ranges, sum.positions) = (sum.ranges + other.ranges, sum.positions + other.positions),
            None => sums.push(other),
        }
    }
}

/// A time for people.
pub fn rfc3339(time: i64) -> String {
    let mut text = Vec::new();
    sawlog_record::time::write_rfc3339(time, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl Missing {
    fn of(known: &Known) -> Self {
        let whereabouts = known.whereabouts.as_ref();
        let base = whereabouts.map_or(0, |file| file.base);
        Self {
            time: known.time,
            sink: known.sink.as_ref().map(ToString::to_string),
            source: known.source.to_string(),
            generation: known.generation.to_string(),
            path: whereabouts.map(|file| file.path.clone()),
            file: whereabouts.and_then(|w| w.file).map(|f| File { device: f.dev, inode: f.ino, born: f.btime }),
            from: known.from + base,
            to: known.to + base,
            at_least: whereabouts.is_some_and(|file| file.at_least),
            reason: known.reason.clone(),
        }
    }

    /// A line for people.
    pub fn told(&self) -> String {
        let Self { source, from, to, reason, generation, .. } = self;
        let at = rfc3339(self.time);
        let place = match &self.path {
            Some(path) => format!("{} (source {source})", words::in_line(path)),
            None => format!("source {source}"),
        };
        let file = self.file.as_ref().map_or(String::new(), |file| {
            let born = file.born.map_or(String::new(), |born| format!(", born {}", rfc3339(born)));
            format!("device {}, inode {}{born}, ", file.device, file.inode)
        });
        let more = if self.at_least { ", at least" } else { "" };
        let what = match &self.sink {
            Some(sink) => format!("{sink} lacks positions {from} to {to} of {place}{more}: {reason}"),
            None => format!(
                "{place} went away while nobody looked: every sink has all up to {to}, its last known length; what was \
                 written behind it is lost"
            ),
        };
        format!("{at} {what} ({file}generation {generation})")
    }
}

impl Sum {
    /// A line for people.
    pub fn told(&self) -> String {
        let Self { source, ranges, positions, .. } = self;
        match &self.sink {
            Some(sink) => format!("{sink} lacks {positions} positions of {source} in {ranges} ranges before these"),
            None => format!(
                "{ranges} files of {source} went away before these while nobody looked, read to their last known length"
            ),
        }
    }
}
