//! The ledger: what became of every input record, per sink and generation. Counts move with the cursor that covers them.

mod reasons;

pub use reasons::Reasons;

use serde::{Deserialize, Serialize};

/// Why a record is dropped that a sink refused.
const REJECTED: &str = "rejected";

/// Input records by outcome; each counts once, by its worst: lost, dead-lettered, delivered, absorbed, dropped.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// At least one row reached the sink.
    pub delivered: u64,
    /// Lives on in a plugin's state only.
    pub absorbed: u64,
    /// At least one row went to the dead letters.
    pub dead_lettered: u64,
    /// By reason; `not_routed` is one.
    pub dropped: Reasons,
    /// By reason, where the bytes were read and so the records could be counted.
    pub lost: Reasons,
    /// By reason: bytes (offsets) that could not be read any more, in which nobody can count records.
    pub lost_bytes: Reasons,
    /// Output rows, beside the input records.
    pub rows: u64,
}

impl Counts {
    /// Input records of all outcomes.
    pub fn records(&self) -> u64 {
        self.delivered + self.absorbed + self.dead_lettered + self.dropped.sum() + self.lost.sum()
    }

    /// Adds `other` outcome by outcome.
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.absorbed += other.absorbed;
        self.dead_lettered += other.dead_lettered;
        self.rows += other.rows;
        let maps = [
            (&mut self.dropped, &other.dropped),
            (&mut self.lost, &other.lost),
            (&mut self.lost_bytes, &other.lost_bytes),
        ];
        for (mine, theirs) in maps {
            theirs.iter().for_each(|(reason, n)| mine.add(reason, n));
        }
    }

    /// `bytes` lost unread for `reason`.
    pub fn unread(reason: &str, bytes: u64) -> Self {
        Self { lost_bytes: Reasons::of(reason, bytes), ..Self::default() }
    }

    /// Moves `records` from delivered to dead-lettered, or to dropped: the sink refused rows of them.
    pub fn refuse(&mut self, records: u64, rows: u64, is_dropped: bool) {
        self.delivered = self.delivered.saturating_sub(records);
        match is_dropped {
            true => self.dropped.add(REJECTED, records),
            false => self.dead_lettered += records,
        }
        self.rows = self.rows.saturating_sub(rows);
    }
}
