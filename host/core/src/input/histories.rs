//! What added sinks get of what was read before: it begins once the source can tell what of it can still be read.

use super::{Inputs, age};
use crate::journal::{History, Part, Record};
use crate::ports::{JournalError, ReadError, ReadLimits};
use sawlog_record::id::{Generation, PartitionId};

/// As much as tells whether anything can be read.
const ONE: ReadLimits = ReadLimits { bytes_max: 1, records_max: 1 };

impl Inputs {
    /// Begins the histories that wait for it. Where the source can't tell just now, all is kept, and the next checkpoint asks again.
    pub(crate) async fn begin_histories(&self) -> Result<(), JournalError> {
        if !self.has_begun() || (self.waiting().is_empty() && self.unheard().is_empty()) {
            return Ok(());
        }
        let _letting_go = self.keep_all().await;
        for (partition, history) in self.waiting() {
            if let Some(from) = self.beginnings(&history).await {
                self.begin_history(partition, from).await?;
            }
        }
        for partition in self.unheard() {
            self.hear_history(partition).await?;
        }
        Ok(())
    }

    /// Those that have not begun.
    fn waiting(&self) -> Vec<(PartitionId, History)> {
        self.journal.state().histories.waiting(&self.id)
    }

    /// Those that have begun and that lanes know nothing of.
    fn unheard(&self) -> Vec<PartitionId> {
        let mut begun = self.journal.state().histories.begun(&self.id);
        let known = self.lock();
        begun.retain(|partition| !known.histories.contains(partition));
        begun
    }

    /// From where on each part can be read, oldest first; `None` where that can't be told now.
    async fn beginnings(&self, history: &History) -> Option<Vec<(Generation, u64)>> {
        let mut parts = Vec::new();
        for part in &history.parts {
            let from = self.beginning(part).await?;
            let written = self.source.written(part.of).await;
            let age = age::of(&self.journal.state(), part.of, |identity| self.born(identity));
            parts.push((age, written, (part.name, from)));
        }
        parts.sort();
        Some(parts.into_iter().map(|(.., begins)| begins).collect())
    }

    /// The first position of a part that can be read: in its source, or in what was rescued of it and is kept still. Its end where
    /// there is none.
    async fn beginning(&self, part: &Part) -> Option<u64> {
        let mut rescued: Vec<u64> = {
            let state = self.journal.state();
            let known = state.generations.get(&part.of)?;
            // What lies before a gap leads nowhere: a rescue stops where no sink needs more, as after a word that gives a range up.
            let leads_on = super::rescued_from(known).unwrap_or(part.to);
            known.rescued.iter().map(|(lo, _)| *lo).filter(|lo| *lo >= leads_on).collect()
        };
        rescued.sort_unstable();
        let is_here = self.lock().extents.get(&part.of).is_some_and(|extent| !extent.vanished);
        let in_source = if is_here { vec![self.source.oldest(part.of).await?] } else { Vec::new() };
        for from in in_source.into_iter().chain(rescued).filter(|from| *from < part.to) {
            match self.read(part.of, from, part.to, ONE).await {
                Ok(_) => return Some(from),
                Err(ReadError::Gone) => {}
                Err(ReadError::Unavailable(_)) => return None,
            }
        }
        Some(part.to)
    }

    async fn begin_history(&self, partition: PartitionId, from: Vec<(Generation, u64)>) -> Result<(), JournalError> {
        let ((), durable) = self.journal.append_with(true, |state, _| {
            let is_waiting = state.history(partition).is_some_and(|history| !history.begun);
            (is_waiting.then_some(Record::HistoryBegins { partition, from }).into_iter().collect(), ())
        });
        self.journal.checked(durable.await)
    }

    /// Lanes see what is to be read for an added sink.
    async fn hear_history(&self, partition: PartitionId) -> Result<(), JournalError> {
        self.lock().histories.insert(partition);
        let Some(history) = self.journal.state().history(partition).cloned() else { return Ok(()) };
        for part in history.parts {
            let repeat = self.journal.state().repeat(part.name);
            if let Some(repeat) = repeat {
                self.come_again(partition, part.name, repeat).await?;
            }
        }
        // Where nothing of it is left, whoever waited for it goes on.
        self.tell(&mut self.lock(), history.of);
        Ok(())
    }

    /// Histories that their sinks have been through, or that went with their sink, are nowhere any more; their tasks end.
    pub(super) fn end_histories(&self) {
        let known: Vec<PartitionId> = self.lock().histories.iter().copied().collect();
        let over: Vec<PartitionId> = {
            let state = self.journal.state();
            known.into_iter().filter(|partition| state.history(*partition).is_none()).collect()
        };
        let mut known = self.lock();
        for partition in over {
            known.histories.remove(&partition);
            known.extents.retain(|_, extent| extent.partition != partition);
            if let Some(input) = known.partitions.remove(&partition) {
                input.changed.notify(usize::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::Held;
    use crate::journal::{Journal, Mark};
    use crate::plan::{Entry, Planned};
    use crate::ports::{Source, SourceEvent};
    use crate::reload::{self, Oldest, Wanted};
    use crate::tasks::Tasks;
    use crate::{EpochId, SinkId, SourceId, budget, operator};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::Input;
    use sawlog_record::id::Cursor;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const PARTITION: PartitionId = PartitionId([1; 16]);
    const G: Generation = Generation([2; 16]);

    /// A source that has everything from 30 on, and can't be asked before the flag says so.
    #[derive(Default)]
    struct Away(AtomicBool);

    #[async_trait]
    impl Source for Away {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
        async fn event(&self) -> SourceEvent {
            std::future::pending().await
        }
        async fn read(&self, generation: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            match self.0.load(Ordering::Relaxed) {
                true => Ok(Input { generation, arena: Vec::new(), records: Vec::new(), open: Vec::new() }),
                false => Err(ReadError::Unavailable("away".to_owned())),
            }
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        async fn trim(&self, _: Generation, _: u64) {}
        async fn release(&self, _: Generation) {}
        async fn oldest(&self, _: Generation) -> Option<u64> {
            Some(30)
        }
    }

    fn wanted(number: u8, sinks: &[&str]) -> Wanted {
        let source = SourceId::new("app");
        let fed = |sink: &&str| (SinkId::new(sink), BTreeSet::from([source.clone()]));
        let oldest = Oldest { sources: BTreeSet::from([source.clone()]), letters: None };
        Wanted {
            id: EpochId([number; 16]),
            stateful: BTreeMap::new(),
            names: BTreeMap::new(),
            blobs: Vec::new(),
            sinks: sinks.iter().map(fed).collect(),
            from_oldest: BTreeMap::from([(SinkId::new("new"), oldest)]),
            untold: BTreeSet::new(),
            remove: BTreeMap::new(),
        }
    }

    fn take(journal: &Journal, wanted: &Wanted) {
        let records = reload::records(&journal.state(), wanted, 5).unwrap();
        journal.commit(records).now_or_never().unwrap().unwrap();
    }

    /// The input of a source that is away, of which 0 to 100 was read when a sink was added; the partition of its history.
    fn added() -> (Arc<Away>, Arc<Journal>, Inputs, PartitionId) {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let source = SourceId::new("app");
        let (partition, identity) = (PARTITION, [7].into());
        let entry = Entry::Range { generation: G, lo: 0, hi: 100 };
        let planned = Planned { time: 1, epoch: EpochId([1; 16]), entry };
        let opened = Record::Generation { generation: G, partition, source: source.clone(), identity, start: 0 };
        take(&journal, &wanted(1, &["old"]));
        let marks = vec![(G, Mark::at(Cursor::at(100)))];
        let delivered = Record::Cursor { sink: SinkId::new("old"), marks, facts: None };
        let known = vec![opened, Record::Plan { entries: vec![(PARTITION, planned)] }, delivered];
        journal.commit(known).now_or_never().unwrap().unwrap();
        take(&journal, &wanted(2, &["old", "new"]));
        let history = *journal.state().histories.known.keys().next().unwrap();
        let away = Arc::new(Away::default());
        let inputs = Inputs::new(source, away.clone(), Arc::new(Nothing), journal.clone(), clock);
        assert!(inputs.run(false, Held::default(), &Tasks::default()).now_or_never().is_none());
        (away, journal, inputs, history)
    }

    /// How far parts of a history can be read, and from where on they are.
    fn readable(inputs: &Inputs, journal: &Journal, history: PartitionId) -> Vec<(u64, u64)> {
        let state = journal.state();
        let readable = inputs.readable(history).into_iter();
        readable.map(|(name, end)| (state.cursor(&SinkId::new("new"), name).pos, end)).collect()
    }

    #[test]
    fn a_history_waits_until_its_source_can_tell_and_all_is_kept_till_then() {
        let (away, journal, inputs, history) = added();
        inputs.begin_histories().now_or_never().unwrap().unwrap();
        assert_eq!((readable(&inputs, &journal, history), journal.state().replay_floor(G)), (vec![], 0));
        away.0.store(true, Ordering::Relaxed);
        inputs.begin_histories().now_or_never().unwrap().unwrap();
        assert_eq!((readable(&inputs, &journal, history), journal.state().replay_floor(G)), (vec![(30, 100)], 30));
    }

    #[test]
    fn what_is_given_up_while_it_waits_is_counted_and_comes_to_its_end() {
        let (_, journal, inputs, history) = added();
        let new = SinkId::new("new");
        let lost = budget::undelivered(&journal.state(), &new, operator::FORGOTTEN);
        assert_eq!(operator::positions(&lost), 100);
        journal.commit(operator::forget(&new, lost, 6)).now_or_never().unwrap().unwrap();
        inputs.begin_histories().now_or_never().unwrap().unwrap();
        assert_eq!(readable(&inputs, &journal, history), [(0, 100)], "a lane leads to where the sink goes on");
        let part = inputs.readable(history)[0].0;
        assert_eq!(journal.state().needed(&new, part).pos, 100, "nothing of it is read for the sink");
    }
}
