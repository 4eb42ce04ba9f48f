//! What became of each input record of a batch, for the ledger: counted once per sink, by the worst that any of its rows met.

use sawlog_core::ledger::Counts;
use sawlog_record::batch::Batch;
use std::collections::BTreeMap;

/// The reason of records that no route to the sink took.
const NOT_ROUTED: &str = "not_routed";

#[derive(Clone, Debug, Default)]
struct Fate {
    dead: bool,
    absorbed: bool,
    reason: Option<String>,
}

/// Fates of the input records of one batch, by their index.
#[derive(Debug, Default)]
pub(super) struct Fates(BTreeMap<u32, Fate>, u32);

impl Fates {
    /// Of `records` input records.
    pub fn of(records: usize) -> Self {
        Self(BTreeMap::new(), records as u32)
    }

    pub fn dead(&mut self, parent: u32) {
        self.0.entry(parent).or_default().dead = true;
    }

    pub fn absorbed(&mut self, parent: u32) {
        self.0.entry(parent).or_default().absorbed = true;
    }

    /// Whether a row of this parent came of an input record, and not of a flush.
    pub fn is_of_input(&self, parent: u32) -> bool {
        parent < self.1
    }

    /// Nothing where the row came of no input record.
    pub fn dropped(&mut self, parent: u32, reason: &str) {
        if !self.is_of_input(parent) {
            return;
        }
        self.0.entry(parent).or_default().reason.get_or_insert_with(|| reason.to_owned());
    }

    /// The ledger of a sink that gets `rows` of `batch`.
    pub fn counts(&self, batch: &Batch, rows: &[u32]) -> Counts {
        let mut reached: Vec<u32> = rows.iter().map(|row| batch.rows[*row as usize].parent).collect();
        reached.dedup();
        let dead = self.0.values().filter(|fate| fate.dead).count() as u64;
        let delivered =
            reached.iter().filter(|parent| !self.0.get(parent).is_some_and(|fate| fate.dead)).count() as u64;
        let mut counts = Counts { delivered, dead_lettered: dead, rows: rows.len() as u64, ..Counts::default() };
        let mut left = u64::from(self.1).saturating_sub(delivered + dead);
        for (parent, fate) in
            self.0.iter().filter(|(parent, fate)| !fate.dead && reached.binary_search(parent).is_err())
        {
            debug_assert!(*parent < self.1);
            match (&fate.reason, fate.absorbed) {
                (_, true) => counts.absorbed += 1,
                (Some(reason), false) => counts.dropped.add(reason, 1),
                (None, false) => continue,
            }
            left = left.saturating_sub(1);
        }
        if left > 0 {
            counts.dropped.add(NOT_ROUTED, left);
        }
        counts
    }

    /// The ledger of the dead-letter sink itself, whose rows are the dead ones.
    pub fn letters(&self, rows: usize) -> Counts {
        let dead = self.0.values().filter(|fate| fate.dead).count() as u64;
        let mut counts = Counts { delivered: dead, rows: rows as u64, ..Counts::default() };
        let alive = u64::from(self.1) - dead;
        if alive > 0 {
            counts.dropped.add("not_dead", alive);
        }
        counts
    }
}
