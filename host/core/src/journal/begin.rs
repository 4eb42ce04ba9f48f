//! Where a lane may begin so that it reaches a place with the right state.

use super::state::JournalState;
use crate::plan::Planned;
use crate::stream::Place;
use sawlog_record::id::PartitionId;

impl JournalState {
    /// The newest saved state, or fresh start, at or below `place`: where a lane begins to reach it. `None` = the base.
    pub fn snap_below(&self, partition: PartitionId, place: Place) -> Option<Place> {
        let state = self.partitions.get(&partition)?;
        let snap = state.snaps.range(..=place).next_back().map(|(p, _)| *p);
        let fresh = state.stream.iter().take_while(|(n, _)| *n < place.entry).filter(|(_, p)| is_fresh_start(p));
        snap.max(fresh.last().map(|(n, _)| Place { entry: n + 1, offset: 0 }))
    }

    /// The first place at or behind `place` at which a lane can begin without reading what lies before.
    pub fn known_state_at(&self, partition: PartitionId, place: Place) -> Option<Place> {
        let known = self.partitions.get(&partition)?;
        let resets = known.stream.iter().filter(|(_, p)| is_fresh_start(p));
        let resets = resets.map(|(number, _)| Place { entry: number + 1, offset: 0 });
        known.snaps.keys().copied().chain(resets).filter(|known| *known >= place).min()
    }

    /// Whether no lane can come to `place` any more: what is kept of the stream begins there, and the state there is not kept.
    pub fn is_unreachable(&self, partition: PartitionId, place: Place) -> bool {
        let Some(known) = self.partitions.get(&partition) else { return false };
        place <= known.stream.base() && !known.snaps.contains_key(&place) && !self.begins_fresh(partition, place)
    }

    /// Where a lane that is to reach `place` begins, given that state matters from `stateful` on.
    pub fn restart(&self, partition: PartitionId, place: Place) -> Place {
        if !self.partition_is_stateful(partition) {
            return place;
        }
        let base = self.partitions.get(&partition).map_or(Place::default(), |p| p.stream.base());
        // A state that lies before what is kept was made before plugins with state were taken away: what ran since has none.
        self.snap_below(partition, place).filter(|snap| *snap >= base).unwrap_or(base)
    }

    /// Whether a lane may begin at `place` without saved state.
    pub fn begins_fresh(&self, partition: PartitionId, place: Place) -> bool {
        let Some(state) = self.partitions.get(&partition) else { return true };
        // What runs next begins its state anew, or has none: what was before is forgotten there.
        let forgets = |next: &Planned| is_fresh_start(next) || self.is_stateless(next);
        place == Place::default()
            || state.stream.before(place).is_some_and(is_fresh_start)
            || state.stream.at(place).is_some_and(forgets)
            || !self.partition_is_stateful(partition)
    }

    /// Whether any kept entry of the partition runs under a configuration with stateful components.
    pub fn partition_is_stateful(&self, partition: PartitionId) -> bool {
        let Some(state) = self.partitions.get(&partition) else { return false };
        let mut last = None;
        let mut is_new = |p: &Planned| last.replace(p.epoch) != Some(p.epoch);
        let mut epochs = state.stream.iter().map(|(_, p)| p).filter(|p| is_new(p));
        epochs.any(|p| self.epoch_of(p.epoch).is_some_and(|e| !e.stateful.is_empty()))
    }

    fn is_stateless(&self, planned: &Planned) -> bool {
        self.epoch_of(planned.epoch).is_some_and(|epoch| epoch.stateful.is_empty())
    }
}

/// Entries behind which state is fresh, whatever was before.
pub(super) fn is_fresh_start(planned: &Planned) -> bool {
    matches!(planned.entry, crate::plan::Entry::Reset { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Epoch, Record, Snap};
    use crate::plan::Entry;
    use crate::{EpochId, SourceId};
    use sawlog_record::id::{Cursor, Generation};
    use std::collections::BTreeMap;

    const G: Generation = Generation([3; 16]);
    const PARTITION: PartitionId = PartitionId([7; 16]);
    const WITH: EpochId = EpochId([1; 16]);
    const WITHOUT: EpochId = EpochId([2; 16]);

    fn at(entry: u64) -> Place {
        Place { entry, offset: 0 }
    }

    fn epoch(id: EpochId) -> Record {
        let stateful = if id == WITH { BTreeMap::from([(1, [9; 32])]) } else { BTreeMap::new() };
        Record::Epoch(Epoch { id, stateful, blobs: Vec::new(), sinks: BTreeMap::new() })
    }

    fn planned(epoch: EpochId, entry: Entry) -> Record {
        Record::Plan { entries: vec![(PARTITION, Planned { time: 0, epoch, entry })] }
    }

    fn range(epoch: EpochId, number: u64) -> Record {
        planned(epoch, Entry::Range { generation: G, lo: number * 10, hi: number * 10 + 10 })
    }

    /// One entry with a plugin that keeps state, which is saved behind it, then others without, of which all but the newest three
    /// are forgotten.
    fn plugin_taken_away() -> JournalState {
        let mut state = JournalState::default();
        let (source, identity) = (SourceId::new("app"), [].into());
        let snap = Snap { after: (G, Cursor::at(10)), states: BTreeMap::from([(1, [8; 32])]), epoch: WITH };
        let mut records = vec![
            Record::Generation { generation: G, partition: PARTITION, source, identity, start: 0 },
            epoch(WITH),
            range(WITH, 0),
            Record::Snap { partition: PARTITION, snap },
            epoch(WITHOUT),
        ];
        records.extend((1..8).map(|number| range(WITHOUT, number)));
        records.iter().for_each(|record| state.apply(record));
        assert_eq!(state.restart(PARTITION, at(1)), at(1), "its state is saved there");
        state.partitions.entry(PARTITION).or_default().stream.trim(at(5));
        state
    }

    #[test]
    fn who_lags_behind_while_a_plugin_with_state_comes_back_begins_where_the_stream_does() {
        let mut state = plugin_taken_away();
        assert_eq!(state.restart(PARTITION, at(6)), at(6), "any place will do without state");
        let reset = Entry::Reset { generation: G, at: Cursor { pos: 80, slot: 1 } };
        [epoch(WITH), planned(WITH, reset), range(WITH, 8)].iter().for_each(|record| state.apply(record));
        assert_eq!(state.restart(PARTITION, at(6)), at(5), "the saved state lies before what is kept");
        assert!(state.begins_fresh(PARTITION, at(5)) && !state.is_unreachable(PARTITION, at(5)));
        assert!(state.begins_fresh(PARTITION, at(9)) && !state.begins_fresh(PARTITION, at(10)));
        assert_eq!(state.restart(PARTITION, at(10)), at(9), "state begins behind the RESET");
    }

    #[test]
    fn a_place_whose_state_is_not_kept_is_unreachable() {
        let mut state = plugin_taken_away();
        [epoch(WITH), range(WITH, 8), range(WITH, 9)].iter().for_each(|record| state.apply(record));
        state.partitions.entry(PARTITION).or_default().stream.trim(at(9));
        assert!(state.is_unreachable(PARTITION, at(9)), "it runs with a state that nobody has");
    }
}
