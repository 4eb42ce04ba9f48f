//! What became of each input record of a batch, for the ledger: counted once per sink, by the worst that any of its rows met.

use sawlog_core::ledger::Counts;
use sawlog_record::batch::Batch;

/// The reason of records that no route to the sink took.
const NOT_ROUTED: &str = "not_routed";

#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    dead: bool,
    absorbed: bool,
    /// Which of the reasons, counted from 1; 0 = it was not dropped.
    reason: u32,
}

impl Fate {
    fn is_none(self) -> bool {
        !self.dead && !self.absorbed && self.reason == 0
    }
}

/// Fates of the input records of one batch.
#[derive(Debug, Default)]
pub(super) struct Fates {
    records: u32,
    /// By the record's index; those behind the last one met nothing.
    of: Vec<Fate>,
    /// Why records were dropped, each reason once.
    reasons: Vec<String>,
}

impl Fates {
    /// Of `records` input records.
    pub fn of(records: usize) -> Self {
        Self { records: records as u32, ..Self::default() }
    }

    fn entry(&mut self, parent: u32) -> &mut Fate {
        let index = parent as usize;
        if self.of.len() <= index {
            // Room for all at once, where it is one of them.
            self.of.reserve((self.records as usize).max(index + 1) - self.of.len());
            self.of.resize(index + 1, Fate::default());
        }
        &mut self.of[index]
    }

    pub fn dead(&mut self, parent: u32) {
        self.entry(parent).dead = true;
    }

    pub fn absorbed(&mut self, parent: u32) {
        self.entry(parent).absorbed = true;
    }

    /// Whether a row of this parent came of an input record, and not of a flush.
    pub fn is_of_input(&self, parent: u32) -> bool {
        parent < self.records
    }

    /// Nothing where the row came of no input record.
    pub fn dropped(&mut self, parent: u32, reason: &str) {
        if !self.is_of_input(parent) || self.entry(parent).reason != 0 {
            return;
        }
        let known = self.reasons.iter().position(|known| known == reason).unwrap_or_else(|| {
            self.reasons.push(reason.to_owned());
            self.reasons.len() - 1
        });
        self.entry(parent).reason = known as u32 + 1;
    }

    /// The ledger of a sink that gets `rows` of `batch`.
    pub fn counts(&self, batch: &Batch, rows: &[u32]) -> Counts {
        let mut reached: Vec<u32> = rows.iter().map(|row| batch.rows[*row as usize].parent).collect();
        reached.dedup();
        let dead = self.deaths();
        let is_dead = |parent: u32| self.of.get(parent as usize).is_some_and(|fate| fate.dead);
        let delivered = reached.iter().filter(|parent| !is_dead(**parent)).count() as u64;
        let mut counts = Counts { delivered, dead_lettered: dead, rows: rows.len() as u64, ..Counts::default() };
        let mut left = u64::from(self.records).saturating_sub(delivered + dead);
        let mut dropped = vec![0; self.reasons.len()];
        for (parent, fate) in self.of.iter().enumerate().filter(|(_, fate)| !fate.is_none() && !fate.dead) {
            if reached.binary_search(&(parent as u32)).is_ok() {
                continue;
            }
            match fate.reason as usize {
                _ if fate.absorbed => counts.absorbed += 1,
                reason => dropped[reason - 1] += 1,
            }
            left = left.saturating_sub(1);
        }
        for (reason, records) in self.reasons.iter().zip(dropped).filter(|(_, records)| *records > 0) {
            counts.dropped.add(reason, records);
        }
        if left > 0 {
            counts.dropped.add(NOT_ROUTED, left);
        }
        counts
    }

    fn deaths(&self) -> u64 {
        self.of.iter().filter(|fate| fate.dead).count() as u64
    }

    /// The ledger of the dead-letter sink itself, whose rows are the dead ones.
    pub fn letters(&self, rows: usize) -> Counts {
        let dead = self.deaths();
        let mut counts = Counts { delivered: dead, rows: rows as u64, ..Counts::default() };
        // A flush has letters without input records.
        let alive = u64::from(self.records).saturating_sub(dead);
        if alive > 0 {
            counts.dropped.add("not_dead", alive);
        }
        counts
    }
}
