//! What the journal says about a partition's stream: PLAN entries, and nothing about who runs them.

use crate::EpochId;
use sawlog_record::id::{Cursor, Generation};
use serde::{Deserialize, Serialize};

/// A component of the chain, by its number in topological order.
pub type ComponentId = u8;

/// What became of a stateful component whose plugin digest changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum UpgradeOutcome {
    /// The new plugin took over the old state.
    Carried,
    /// The new plugin starts with fresh state; what was held back had been flushed under the old epoch.
    Fresh,
}

/// One entry of a partition's stream. All but `Range` are empty ranges that change state; they lie at `(generation, at)`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// Inputs `[lo, hi)` of one generation.
    Range {
        /// The history.
        generation: Generation,
        /// Position of the first input.
        lo: u64,
        /// Position after the last input.
        hi: u64,
    },
    /// The component gives out what it held back; event time is taken to be `now`.
    Flush {
        /// The history at whose end the partition stands.
        generation: Generation,
        /// Where, and the slot that this entry takes there.
        at: Cursor,
        /// The component that is flushed.
        component: ComponentId,
        /// Unix nanoseconds; `i64::MAX` at the end of a partition.
        now: i64,
    },
    /// From here on the component runs with the plugin digest of this entry's epoch.
    Upgrade {
        /// The history at whose end the partition stands.
        generation: Generation,
        /// Where, and the slot that this entry takes there.
        at: Cursor,
        /// The component whose digest changed.
        component: ComponentId,
        /// Whether the old state was carried over.
        outcome: UpgradeOutcome,
    },
    /// Fresh state after a counted loss.
    Reset {
        /// The history at whose end the partition stands.
        generation: Generation,
        /// Where, and the slot that this entry takes there.
        at: Cursor,
    },
}

impl Entry {
    /// The history that the entry names.
    pub fn generation(&self) -> Generation {
        match self {
            Self::Range { generation, .. }
            | Self::Flush { generation, .. }
            | Self::Upgrade { generation, .. }
            | Self::Reset { generation, .. } => *generation,
        }
    }

    /// The cursor that covers nothing of the entry but all before it in its generation.
    pub fn start(&self) -> Cursor {
        match self {
            Self::Range { lo, .. } => Cursor::at(*lo),
            Self::Flush { at, .. } | Self::Upgrade { at, .. } | Self::Reset { at, .. } => *at,
        }
    }

    /// The cursor that covers the whole entry.
    pub fn end(&self) -> Cursor {
        match self {
            Self::Range { hi, .. } => Cursor::at(*hi),
            Self::Flush { at, .. } | Self::Upgrade { at, .. } | Self::Reset { at, .. } => {
                Cursor { pos: at.pos, slot: at.slot + 1 }
            }
        }
    }

    /// Bytes (or offsets) of the range; 0 for entries that only change state.
    pub fn len(&self) -> u64 {
        match self {
            Self::Range { lo, hi, .. } => hi - lo,
            _ => 0,
        }
    }

    /// Whether the entry only changes state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An entry with the decisions that are pinned to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// The clock that plugins see and the received time of files and Kafka, unix nanoseconds; monotone over the journal.
    pub time: i64,
    /// The configuration and plugin digests under which the entry runs.
    pub epoch: EpochId,
    /// What is planned.
    pub entry: Entry,
}

impl Planned {
    /// The part of this entry that a journal lacks which has planned its generation up to `have`, cut at `end`.
    pub fn cut_to(mut self, have: Option<Cursor>, end: Option<Cursor>) -> Option<Self> {
        let end = end?;
        match &mut self.entry {
            Entry::Range { lo, hi, .. } => {
                *lo = (*lo).max(have.map_or(*lo, |h| h.pos));
                *hi = (*hi).min(end.pos);
                (*lo < *hi).then_some(self)
            }
            Entry::Flush { at, .. } | Entry::Upgrade { at, .. } | Entry::Reset { at, .. } => {
                let is_new = have.is_none_or(|have| *at >= have);
                (is_new && *at < end).then_some(self)
            }
        }
    }
}
