//! Generations that the journal has forgotten on purpose: what sinks still hold of them is to be forgotten too, not believed. It
//! remembers the newest of them only, or it would grow with every file that ever rotated away.

use sawlog_record::id::Generation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// How many are remembered: a day of a hundred files that rotate every six minutes. Every sink has forgotten older ones with one
/// of its commits since, or takes them for what another life has left it, which costs no record.
pub const DROPPED_MAX: usize = 24_000;

/// The newest dropped generations. A snapshot of the first version holds the set; the order stands behind everything else.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Dropped {
    known: BTreeSet<Generation>,
    /// The oldest first.
    #[serde(skip)]
    order: VecDeque<Generation>,
}

impl Dropped {
    /// Whether it was dropped, and not too long ago.
    pub fn contains(&self, generation: &Generation) -> bool {
        self.known.contains(generation)
    }

    /// All that are still known.
    pub fn iter(&self) -> impl Iterator<Item = &Generation> {
        self.known.iter()
    }

    /// It is dropped; the oldest one may be forgotten for it.
    pub fn insert(&mut self, generation: Generation) {
        if self.known.insert(generation) {
            self.order.push_back(generation);
        }
        while self.order.len() > DROPPED_MAX {
            self.order.pop_front().iter().for_each(|oldest| _ = self.known.remove(oldest));
        }
    }

    /// All, the oldest first.
    pub(super) fn in_order(&self) -> &VecDeque<Generation> {
        &self.order
    }

    /// All were dropped in the order that these bytes tell, if there are any. Gives back what stands behind it.
    pub(super) fn set_order<'a>(&mut self, bytes: &'a [u8]) -> postcard::Result<&'a [u8]> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let (order, rest) = postcard::take_from_bytes(bytes)?;
        self.order = order;
        Ok(rest)
    }

    /// Nobody knows in which order they were dropped: before all that come.
    pub(super) fn order_by_id(&mut self) {
        self.order = self.known.iter().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::record::encode;
    use super::super::{JournalState, Record};
    use super::*;
    use crate::SourceId;
    use sawlog_record::id::PartitionId;

    fn rotate_away(state: &mut JournalState, number: u64) -> Generation {
        let mut id = [0; 16];
        // Later ones have lower ids: the set's order is not that of time.
        id[..8].copy_from_slice(&(u64::MAX - number).to_be_bytes());
        let (generation, partition, source) = (Generation(id), PartitionId([1; 16]), SourceId::new("app"));
        state.apply(&Record::Generation { generation, partition, source, identity: [].into(), start: 0 });
        state.apply(&Record::Dropped { generation });
        generation
    }

    #[test]
    fn of_what_rotated_away_the_newest_is_remembered_also_over_a_snapshot_and_the_state_stays_bounded() {
        let mut state = JournalState::default();
        let all: Vec<Generation> = (0..2 * DROPPED_MAX as u64).map(|n| rotate_away(&mut state, n)).collect();
        assert!(all[DROPPED_MAX..].iter().all(|newest| state.dropped.contains(newest)));
        assert!(!all[..DROPPED_MAX].iter().any(|oldest| state.dropped.contains(oldest)));
        let bytes = state.encode();
        assert!(bytes.len() < 40 * DROPPED_MAX, "{} bytes", bytes.len());
        let mut again = JournalState::decode(&bytes).unwrap();
        assert_eq!(again, state);
        let newest = rotate_away(&mut again, 2 * DROPPED_MAX as u64);
        assert!(again.dropped.contains(&newest) && !again.dropped.contains(&all[DROPPED_MAX]), "the oldest goes first");
        assert!(again.dropped.contains(&all[DROPPED_MAX + 1]));
    }

    #[test]
    fn a_snapshot_without_the_order_is_read() {
        let mut state = JournalState::default();
        let dropped = rotate_away(&mut state, 1);
        let old = postcard::to_extend(&state.later, encode(&state)).unwrap();
        let read = JournalState::decode(&old).unwrap();
        state.opened = 0; // nor does it say how many became known
        assert_eq!((read.dropped.contains(&dropped), &read), (true, &state));
    }
}
