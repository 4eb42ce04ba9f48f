//! Event time, row by row: the same however batches are cut.

use crate::{Batch, Row};

/// The event-time watermark while going through a batch.
#[derive(Clone, Copy, Debug)]
pub struct Watermark {
    now: i64,
    lateness: i64,
}

impl Watermark {
    /// Before row 0. `lateness` is that of the registration, nanoseconds; the registration must ask for timestamps.
    pub fn before(batch: Batch<'_>, lateness: i64) -> Self {
        Self { now: batch.raw().watermark, lateness }
    }

    /// The watermark before the rows not yet seen, unix nanoseconds.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Moves past `row`. Returns the new watermark if the row moved it.
    pub fn pass(&mut self, row: Row<'_>) -> Option<i64> {
        let moved = row.time().saturating_sub(self.lateness);
        if moved <= self.now {
            return None;
        }
        self.now = moved;
        Some(moved)
    }
}
