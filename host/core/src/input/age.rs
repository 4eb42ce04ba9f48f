//! The order of a partition's histories after a restart: what follows a rotation is read behind it.

use crate::journal::JournalState;
use sawlog_record::id::Generation;

/// How far along its partition a history stands: before all that the stream still has, at its last entry there, or behind all, where
/// nothing of it was planned yet.
pub(super) fn of(state: &JournalState, generation: Generation) -> (u8, u64) {
    let stream = state.generations.get(&generation).and_then(|g| state.partitions.get(&g.partition)).map(|p| &p.stream);
    let entries = stream.into_iter().flat_map(|stream| stream.iter());
    let last =
        entries.filter(|(_, planned)| planned.entry.generation() == generation).map(|(number, _)| number).next_back();
    let was_planned = || state.cursors.values().any(|cursors| cursors.contains_key(&generation));
    match last {
        Some(number) => (1, number),
        None if was_planned() => (0, 0),
        None => (2, state.order_in_history(generation)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::Held;
    use crate::input::Inputs;
    use crate::journal::Record;
    use crate::plan::{Entry, Planned};
    use crate::tasks::Tasks;
    use crate::{EpochId, SourceId};
    use futures_util::FutureExt as _;
    use sawlog_record::id::{Generation, PartitionId};
    use std::sync::Arc;

    /// Names that come in another order than the histories were met in: the order of names means nothing.
    #[test]
    fn what_is_restored_is_read_in_the_order_in_which_it_was_met() {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let (id, partition) = (SourceId::new("app"), PartitionId::derive("test", &[]));
        let [unplanned, second, first] = [1, 2, 3].map(|n| Generation([n; 16]));
        let opened = |generation| {
            let (source, identity) = (id.clone(), [].into());
            Record::Generation { generation, partition, source, identity, start: 0 }
        };
        let planned = |generation| {
            let entry = Entry::Range { generation, lo: 0, hi: 10 };
            (partition, Planned { time: 1, epoch: EpochId([0; 16]), entry })
        };
        let plan = Record::Plan { entries: vec![planned(first), planned(second)] };
        let known = vec![opened(first), opened(second), opened(unplanned), plan];
        journal.commit(known).now_or_never().unwrap().unwrap();
        let inputs = Inputs::new(id, Arc::new(Nothing), Arc::new(Nothing), journal, clock);
        let tasks = Tasks::default();
        assert!(inputs.run(false, Held::default(), &tasks).now_or_never().is_none());
        let order: Vec<Generation> = inputs.readable(partition).into_iter().map(|(generation, _)| generation).collect();
        assert_eq!(order, [first, second, unplanned]);
    }
}
