//! The order of a partition's histories after a restart, and of what is read once more: what follows a rotation is read behind it.

use super::{Extent, Inputs};
use crate::journal::JournalState;
use crate::mutation;
use sawlog_record::id::Generation;
use std::collections::BTreeSet;

/// Where a history stands among those of its partition: as they became known. What is read once more comes before its history, and the
/// parts of one stand as their histories do.
///
/// A journal of an older version did not say when. Then it is told how far along the partition they stand: before all that the stream
/// still has, at the last entry there, or behind all, where nothing was planned yet. Several of the latter stand in the order of their
/// births, which `born` knows by the source's record of them: a start may find many files at once, and their ids have no order.
pub(super) fn of(
    state: &JournalState,
    generation: Generation,
    born: impl FnOnce(&[u8]) -> Option<i64>,
) -> (u64, bool, (u8, u64, Option<i64>)) {
    let known = state.generations.get(&generation);
    if mutation::on("opened_in_any_order") {
        return (0, false, along(state, generation, |_| None));
    }
    let opened = known.map_or(u64::MAX, |known| known.opened);
    (opened, state.repeat(generation).is_none(), along(state, generation, born))
}

/// A history with its place in the order.
pub(super) type Aged = ((u64, bool, (u8, u64, Option<i64>)), Generation, Extent);

impl Inputs {
    /// What was rescued is at hand at once, and what the source has still to find is not: of all that is not planned, what stands behind
    /// such a history of its partition is taken out, and given back with its end.
    pub(super) fn withhold(&self, in_order: &mut [Aged]) -> Vec<(Generation, u64)> {
        if !self.source.says_met() || mutation::on("rescued_overtakes") {
            return Vec::new();
        }
        let (state, mut sought, mut withheld) = (self.journal.state(), BTreeSet::new(), Vec::new());
        for (_, generation, extent) in in_order {
            if !extent.vanished {
                sought.insert(extent.partition);
                continue;
            }
            let planned = state.generations.get(generation).map_or(0, |known| known.planned.pos);
            if sought.contains(&extent.partition) && extent.end > planned && state.repeat(*generation).is_none() {
                withheld.push((*generation, extent.end));
                extent.end = planned;
            }
        }
        withheld
    }

    /// The source has found what it was given, or not. Whoever asks whether all is planned hears of what was withheld first.
    pub(super) fn give_back(&self) {
        let withheld = self.lock().withheld.clone();
        withheld.into_iter().for_each(|(generation, end)| self.extend(generation, |e| e.end = e.end.max(end)));
        self.lock().withheld.clear();
    }
}

/// How far along its partition a history stands.
fn along(
    state: &JournalState,
    generation: Generation,
    born: impl FnOnce(&[u8]) -> Option<i64>,
) -> (u8, u64, Option<i64>) {
    let stream = state.generations.get(&generation).and_then(|g| state.partitions.get(&g.partition)).map(|p| &p.stream);
    let entries = stream.into_iter().flat_map(|stream| stream.iter());
    let last =
        entries.filter(|(_, planned)| planned.entry.generation() == generation).map(|(number, _)| number).next_back();
    let was_planned = || state.cursors.values().any(|cursors| cursors.contains_key(&generation));
    match last {
        Some(number) => (1, number, None),
        None if was_planned() => (0, 0, None),
        None => {
            let identity = state.generations.get(&generation).map(|g| &*g.identity);
            (2, state.order_in_history(generation), identity.and_then(born))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::Held;
    use crate::input::Inputs;
    use crate::journal::{Record, Repeat};
    use crate::plan::{Entry, Planned};
    use crate::tasks::Tasks;
    use crate::{EpochId, SourceId};
    use futures_util::FutureExt as _;
    use sawlog_record::id::PartitionId;
    use std::sync::Arc;

    fn partition() -> PartitionId {
        PartitionId::derive("test", &[])
    }

    /// These generations become known in this order, each with when it was born; then `planned` are planned.
    fn records(opened: &[(Generation, u8)], planned: &[Generation]) -> Vec<Record> {
        let known = |(generation, born): &(Generation, u8)| {
            let (generation, source, identity) = (*generation, SourceId::new("app"), [*born].into());
            Record::Generation { generation, partition: partition(), source, identity, start: 0 }
        };
        let entry = |generation: &Generation| {
            let entry = Entry::Range { generation: *generation, lo: 0, hi: 10 };
            (partition(), Planned { time: 1, epoch: EpochId([0; 16]), entry })
        };
        let plan = Record::Plan { entries: planned.iter().map(entry).collect() };
        opened.iter().map(known).chain([plan]).collect()
    }

    /// In which order they are read after a start.
    fn restored(records: Vec<Record>) -> Vec<Generation> {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        journal.commit(records).now_or_never().unwrap().unwrap();
        let inputs = Inputs::new(SourceId::new("app"), Arc::new(Nothing), Arc::new(Nothing), journal, clock);
        let tasks = Tasks::default();
        assert!(inputs.run(false, Held::default(), &tasks).now_or_never().is_none());
        inputs.readable(partition()).into_iter().map(|(generation, _)| generation).collect()
    }

    /// Names that come in another order than the histories were met in: the order of names means nothing, nor that of births: what a
    /// file was copied to before it was cut off is younger, and older input.
    #[test]
    fn what_is_restored_is_read_in_the_order_in_which_it_became_known() {
        let [unplanned, second, first, last] = [1, 2, 3, 4].map(|n| Generation([n; 16]));
        let opened = [(first, 0), (second, 9), (unplanned, 8), (last, 7)];
        let order = [first, second, unplanned, last];
        assert_eq!(restored(records(&opened, &[first, second])), order);
        assert_eq!(restored(records(&opened, &[first, second, first])), order, "of what was read on late");
        assert_eq!(restored(records(&opened, &[])), order);
    }

    #[test]
    fn what_comes_again_is_read_before_what_its_history_has_still_to_come() {
        let [again, second, first] = [1, 2, 3].map(|n| Generation([n; 16]));
        let mut records = records(&[(first, 0), (second, 0)], &[first, second]);
        records.push(Record::Repeat { generation: again, repeat: Repeat { of: second, from: 0, to: 10 } });
        assert_eq!(restored(records), [first, again, second]);
    }

    #[test]
    fn in_a_journal_that_does_not_say_when_what_was_planned_tells_and_behind_that_births() {
        let [third, planned, first, second] = [1, 2, 3, 4].map(|n| Generation([n; 16]));
        let opened = [(third, 12), (second, 11), (first, 10), (planned, 13)];
        let mut state = JournalState::default();
        records(&opened, &[planned]).iter().for_each(|record| state.apply(record));
        let mut order = state.generations.keys().copied().collect::<Vec<_>>();
        state.generations.values_mut().for_each(|known| known.opened = 0);
        order.sort_by_key(|generation| of(&state, *generation, |identity| Some(i64::from(identity[0]))));
        assert_eq!(order, [planned, first, second, third]);
    }
}
