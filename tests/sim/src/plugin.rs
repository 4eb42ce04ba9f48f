//! The simulated chain: a stateful plugin with a running hash and two count windows, as pure functions that the chain port
//! and the oracle share; and the rows that it makes.

use crate::rng::mix;
use crate::world::{RECORD_BYTES, SimRecord};
use sawlog_record::id::{Generation, PartitionId};

/// The numbers of the stateful components under a configuration: they change when something is put in front of them, and the second
/// plugin is not in all of them.
pub struct Numbers {
    /// The plugin with windows.
    pub main: u8,
    /// The plugin that counts.
    pub counter: Option<u8>,
}

/// The numbers under epoch `epoch`.
pub fn numbers(epoch: u64) -> Numbers {
    let main = 1 + u8::from(epoch / 5 % 2 == 1);
    Numbers { main, counter: (epoch / 4).is_multiple_of(2).then_some(3 - main) }
}

/// One output row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SimRow {
    /// Its partition.
    pub partition: PartitionId,
    /// Its history.
    pub generation: Generation,
    /// Its input's position.
    pub pos: u64,
    /// 0 for the record, 1 + s for FLUSH s.
    pub slot: u16,
    /// Its ordinal.
    pub k: u32,
    /// Its content.
    pub content: u64,
    /// The PLAN's time.
    pub time: i64,
    /// A sink refuses it.
    pub refused: bool,
    /// It is a dead letter.
    pub dead: bool,
    /// The content of the record that triggered it; 0 for a FLUSH.
    pub origin: u64,
}

impl SimRow {
    /// Whether this sink never takes it.
    pub fn refused_by(&self, sink: &str) -> bool {
        self.refused && refuser(self.pos) == sink
    }
}

/// Who refuses what is refused at this position: one half the document store, the other the log.
pub fn refuser(pos: u64) -> &'static str {
    if (pos / RECORD_BYTES).is_multiple_of(2) { "documents" } else { "log" }
}

/// State of the plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// The plugin's version.
    pub digest: u64,
    run: u64,
    windows: [(u64, u64); 2],
}

impl State {
    /// Fresh state of a version.
    pub fn fresh(digest: u64) -> Self {
        Self { digest, run: digest, windows: [(0, 0); 2] }
    }

    /// Whether rows are held back.
    pub fn holds(&self) -> bool {
        self.windows.iter().any(|w| w.0 > 0)
    }

    /// Whether version `digest` can take this state over.
    pub fn can_upgrade(&self, digest: u64) -> bool {
        digest % 2 == 1 && !self.run.is_multiple_of(4)
    }

    /// Takes the state over to version `digest`.
    pub fn upgrade(&mut self, digest: u64) {
        self.run = mix(&[self.run, digest, 5]);
        self.digest = digest;
    }

    /// The bytes of a snapshot.
    pub fn save(&self) -> Vec<u8> {
        let words = [self.digest, self.run, self.windows[0].0, self.windows[0].1, self.windows[1].0, self.windows[1].1];
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    /// Reads a snapshot; state of another plugin is of no version.
    pub fn load(bytes: &[u8]) -> Self {
        let [digest, run, a, b, c, d] = words(bytes).try_into().unwrap_or([u64::MAX, 0, 0, 0, 0, 0]);
        Self { digest, run, windows: [(a, b), (c, d)] }
    }

    /// One record: rows (k, content), or `None` where the plugin fails, after it has dirtied its state.
    pub fn feed(&mut self, record: &SimRecord, epoch: u64, time: i64) -> Option<Vec<(u32, u64)>> {
        self.run = mix(&[self.run, record.value]);
        if record.poison && self.digest % 3 != 2 {
            return None;
        }
        let w = (record.value % 2) as usize;
        self.windows[w] = (self.windows[w].0 + 1, mix(&[self.windows[w].1, record.value]));
        let content = |x: u64| mix(&[epoch, x, time as u64]);
        let mut rows = vec![(0, content(self.run))];
        if self.run.is_multiple_of(3) {
            rows.push((1, content(self.run ^ 7)));
        }
        if self.windows[w].0 == 4 {
            rows.push((2, content(self.windows[w].1)));
            self.windows[w] = (0, 0);
        }
        Some(rows)
    }

    /// A FLUSH: rows (k, content).
    pub fn flush(&mut self, epoch: u64, now: i64, time: i64) -> Vec<(u32, u64)> {
        let mut rows = Vec::new();
        for (k, window) in self.windows.iter_mut().enumerate().filter(|(_, w)| w.0 > 0) {
            rows.push((k as u32, mix(&[epoch, window.0, window.1, now as u64, time as u64])));
            *window = (0, 0);
        }
        rows
    }
}

/// A second plugin with state: it counts records, and tells only when it is flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counter {
    records: u64,
    hash: u64,
}

impl Counter {
    /// Whether a row is held back.
    pub fn holds(&self) -> bool {
        self.records > 0
    }

    /// One record.
    pub fn feed(&mut self, value: u64) {
        (self.records, self.hash) = (self.records + 1, mix(&[self.hash, value]));
    }

    /// A FLUSH: rows (k, content).
    pub fn flush(&mut self, epoch: u64, now: i64, time: i64) -> Vec<(u32, u64)> {
        let Self { records, hash } = std::mem::take(self);
        if records == 0 { Vec::new() } else { vec![(9, mix(&[epoch, records, hash, now as u64, time as u64]))] }
    }

    /// The bytes of a snapshot.
    pub fn save(&self) -> Vec<u8> {
        [self.records, self.hash].iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    /// Reads a snapshot.
    pub fn load(bytes: &[u8]) -> Self {
        let [records, hash] = words(bytes).try_into().unwrap_or_default();
        Self { records, hash }
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes"))).collect()
}

/// Whether a row goes to the routed sink.
pub fn routed(content: u64) -> bool {
    content.is_multiple_of(2)
}
