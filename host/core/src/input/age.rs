//! The order of a partition's histories after a restart: what follows a rotation is read behind it.

use crate::journal::JournalState;
use sawlog_record::id::Generation;

/// How far along its partition a history stands: before all that the stream still has, at its last entry there, or behind all, where
/// nothing of it was planned yet. Several of the latter stand in the order of their births, which `born` knows by the source's record
/// of them: a start may find many files at once and end before it has planned any, and their ids have no order.
pub(super) fn of(
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

    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::{FileId, Held};
    use crate::input::Inputs;
    use crate::journal::{Record, Whereabouts};
    use crate::plan::{Entry, Planned};
    use crate::ports::{ReadError, ReadLimits, Source, SourceEvent};
    use crate::tasks::Tasks;
    use crate::{EpochId, SourceId};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::Input;
    use sawlog_record::id::{Generation, PartitionId};
    use std::sync::Arc;

    /// Files whose record says when they were born, in one byte.
    struct Born;

    #[async_trait]
    impl Source for Born {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
        async fn event(&self) -> SourceEvent {
            std::future::pending().await
        }
        async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            Err(ReadError::Gone)
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        fn whereabouts(&self, identity: &[u8]) -> Option<Whereabouts> {
            let file = FileId { dev: 0, ino: 0, btime: Some(i64::from(*identity.first()?)) };
            Some(Whereabouts { path: String::new(), file: Some(file), base: 0, end: 0, at_least: false })
        }
        async fn trim(&self, _: Generation, _: u64) {}
        async fn release(&self, _: Generation) {}
    }

    /// The order after a restart of these generations, each with its birth, opened in this order; then `planned` was planned.
    fn restored(opened: &[(Generation, u8)], planned: &[Generation], source: Arc<dyn Source>) -> Vec<Generation> {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let (id, partition) = (SourceId::new("app"), PartitionId::derive("test", &[]));
        let known = |(generation, born): &(Generation, u8)| {
            let (generation, source, identity) = (*generation, id.clone(), [*born].into());
            Record::Generation { generation, partition, source, identity, start: 0 }
        };
        let entry = |generation: &Generation| {
            let entry = Entry::Range { generation: *generation, lo: 0, hi: 10 };
            (partition, Planned { time: 1, epoch: EpochId([0; 16]), entry })
        };
        let plan = Record::Plan { entries: planned.iter().map(entry).collect() };
        let records = opened.iter().map(known).chain([plan]).collect();
        journal.commit(records).now_or_never().unwrap().unwrap();
        let inputs = Inputs::new(id, source, Arc::new(Nothing), journal, clock);
        let tasks = Tasks::default();
        assert!(inputs.run(false, Held::default(), &tasks).now_or_never().is_none());
        inputs.readable(partition).into_iter().map(|(generation, _)| generation).collect()
    }

    /// Names that come in another order than the histories were met in: the order of names means nothing.
    #[test]
    fn what_is_restored_is_read_in_the_order_in_which_it_was_met() {
        let [unplanned, second, first] = [1, 2, 3].map(|n| Generation([n; 16]));
        let opened = [(first, 0), (second, 0), (unplanned, 0)];
        assert_eq!(restored(&opened, &[first, second], Arc::new(Nothing)), [first, second, unplanned]);
    }

    #[test]
    fn of_what_nothing_was_planned_yet_the_oldest_is_read_first() {
        let [third, planned, first, second] = [1, 2, 3, 4].map(|n| Generation([n; 16]));
        let opened = [(planned, 9), (first, 10), (second, 11), (third, 12)];
        assert_eq!(restored(&opened, &[planned], Arc::new(Born)), [planned, first, second, third]);
    }
}
