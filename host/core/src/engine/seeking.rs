//! A person has a source go on reading elsewhere: further on, where what lies between is lost, or further back, where it comes
//! again. What that costs is decided on the journal's state and journalled with it, in one step.

use super::Engine;
use super::operating::{Refused, refuse};
use crate::input::Inputs;
use crate::journal::Repeat;
use crate::lane::READ;
use crate::operator::{self, Again, To};
use crate::ports::{ReadError, ReadLimits};
use crate::shared::Shared;
use crate::sink::Sink;
use crate::{SinkId, SourceId};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::sync::Arc;

/// As much as tells whether anything can be read.
const ONE: ReadLimits = ReadLimits { bytes_max: 1, records_max: 1 };

/// Histories, each with from where to where.
pub type Ranges = Vec<(Generation, u64, u64)>;

impl Engine {
    /// Has a source go on reading further on; what lies between is lost to every sink.
    pub async fn seek(&self, source: &SourceId, partition: Option<PartitionId>, to: To) -> Result<Ranges, Refused> {
        let (shared, partitions) = self.meant(source, partition)?;
        // Of the whole source, partitions of which nothing is left have nothing to skip.
        let is_whole = partition.is_none();
        let mut skipped = Vec::new();
        for partition in partitions {
            if is_whole && self.originals(&shared.inputs, partition).is_err() {
                continue;
            }
            for (generation, to) in self.targets(&shared.inputs, partition, to).await? {
                let from = self.skip(&shared, partition, (generation, to)).await?;
                skipped.extend(from.map(|from| (generation, from, to)));
            }
        }
        Ok(skipped)
    }

    /// Has a source deliver again what lies behind `to` and was planned, as far as it can still be read: every sink gets it, and
    /// the ledger counts it once more. What comes on its own account goes on beside it.
    pub async fn seek_back(
        &self,
        source: &SourceId,
        partition: Option<PartitionId>,
        to: To,
    ) -> Result<Ranges, Refused> {
        let (shared, partitions) = self.meant(source, partition)?;
        let kept = shared.inputs.keep_all().await;
        let (mut wanted, is_whole) = (Vec::new(), partition.is_none());
        for partition in partitions {
            if is_whole && self.originals(&shared.inputs, partition).is_err() {
                continue;
            }
            for (generation, from) in self.beginnings(&shared.inputs, partition, to).await? {
                wanted.push((partition, generation, from));
            }
        }
        let again = self.come_again(&shared, &wanted, partition, to).await;
        drop(kept);
        again
    }

    /// The source and the partitions that a person means. Whoever asks with a position names a partition, where there are several:
    /// those of a consumer group have an engine each, so none of these can tell.
    fn meant(
        &self,
        source: &SourceId,
        partition: Option<PartitionId>,
    ) -> Result<(Arc<Shared>, Vec<PartitionId>), Refused> {
        let Some(shared) = self.shared().get(source).cloned() else {
            let known: Vec<String> = self.shared().keys().map(ToString::to_string).collect();
            return refuse(format!("no source `{source}` runs; the sources are: {}", known.join(", ")));
        };
        let partitions = match partition {
            Some(partition) => vec![partition],
            None => shared.inputs.partitions(),
        };
        Ok((shared, partitions))
    }

    /// Histories of a partition that are the source's own, oldest first, each with how far it can be read.
    fn originals(&self, inputs: &Inputs, partition: PartitionId) -> Result<Vec<(Generation, u64)>, Refused> {
        let readable = inputs.readable(partition);
        let state = self.journal().state();
        let own: Vec<_> = readable.into_iter().filter(|(generation, _)| state.repeat(*generation).is_none()).collect();
        match own.is_empty() {
            true => refuse(format!("source `{}` has no partition {partition} that can be read", inputs.id)),
            false => Ok(own),
        }
    }

    fn planned(&self, generation: Generation) -> u64 {
        self.journal().state().generations.get(&generation).map_or(0, |known| known.planned.pos)
    }

    // ------------------------------------------------------------ further on

    /// The histories of a partition that are read on elsewhere, and where.
    async fn targets(
        &self,
        inputs: &Inputs,
        partition: PartitionId,
        to: To,
    ) -> Result<Vec<(Generation, u64)>, Refused> {
        let own = self.originals(inputs, partition)?;
        let position = match to {
            To::Position(position) => position,
            To::End => return Ok(inputs.readable(partition)),
            To::Oldest => {
                return refuse("the oldest input lies behind; to send it again, say --accept-duplicates".into());
            }
        };
        let Some((newest, end)) = own.last().copied() else { return Ok(Vec::new()) };
        let planned = self.planned(newest);
        if position < planned {
            return refuse(format!(
                "position {position} lies before {planned}, up to where {newest} has been read; to send what lies between again, \
                 say --accept-duplicates instead of --accept-loss"
            ));
        }
        if position > end {
            return refuse(format!("position {position} lies behind {end}, the end of {newest}; write `--to end`"));
        }
        let beyond = "so nobody knows where records end behind it; write `--to end`";
        let at = end_of_record(inputs, (newest, planned, position), end, beyond).await?;
        match at == position {
            true => Ok(vec![(newest, position)]),
            false => refuse(format!("no record of {newest} ends at {position}; the next one ends at {at}")),
        }
    }

    /// Plans what lies before `to` as lost; gives back where that begins, or `None` where there is nothing.
    async fn skip(
        &self,
        shared: &Arc<Shared>,
        partition: PartitionId,
        (generation, to): (Generation, u64),
    ) -> Result<Option<u64>, Refused> {
        let (source, mut from) = (shared.inputs.id.clone(), None);
        let sinks: Vec<Arc<Sink>> = shared.sinks();
        let names: Vec<SinkId> = sinks.iter().map(|sink| sink.id.clone()).collect();
        let told = self.give_up(&sinks, |state, now| {
            let planned = state.generations.get(&generation).map_or(Cursor::default(), |known| known.planned);
            from = (planned.pos < to).then_some(planned.pos);
            let skip = operator::Skip { source: &source, partition, generation, to };
            if from.is_some() { operator::skip(state, &names, &skip, now) } else { Vec::new() }
        });
        told.await?;
        Ok(from)
    }

    // ------------------------------------------------------------ further back

    /// The histories of a partition that come again, and from where on.
    async fn beginnings(
        &self,
        inputs: &Inputs,
        partition: PartitionId,
        to: To,
    ) -> Result<Vec<(Generation, u64)>, Refused> {
        let own = self.originals(inputs, partition)?;
        match to {
            To::End => refuse("nothing lies behind the end; write a position that was read, or `oldest`".into()),
            To::Oldest => self.all_beginnings(inputs, own).await,
            To::Position(position) => {
                let Some((newest, _)) = own.last().copied() else { return Ok(Vec::new()) };
                self.beginning(inputs, newest, position).await?;
                Ok(vec![(newest, position)])
            }
        }
    }

    /// Where all histories begin that can still be read.
    async fn all_beginnings(
        &self,
        inputs: &Inputs,
        own: Vec<(Generation, u64)>,
    ) -> Result<Vec<(Generation, u64)>, Refused> {
        let mut beginnings = Vec::new();
        for (generation, _) in own {
            let planned = self.planned(generation);
            let Some(oldest) = inputs.oldest(generation).await else {
                return refuse(format!(
                    "source `{}` can't tell what it can still read at the oldest; name a position",
                    inputs.id
                ));
            };
            if oldest < planned && can_read(inputs, generation, oldest, planned).await? {
                beginnings.push((generation, oldest));
            }
        }
        Ok(beginnings)
    }

    /// Makes certain that a record begins at `position`, and that it was planned and can be read.
    async fn beginning(&self, inputs: &Inputs, generation: Generation, position: u64) -> Result<(), Refused> {
        let planned = self.planned(generation);
        if position >= planned {
            return refuse(format!(
                "position {position} does not lie before {planned}, up to where {generation} has been read: nothing of it would \
                 come again; to go on further on, say --accept-loss instead of --accept-duplicates"
            ));
        }
        let gone = |from: String| {
            refuse(format!("what lies at {position} of {generation} is gone (rotated away, or given back): {from}"))
        };
        if !inputs.begins_anywhere() {
            let Some(oldest) = inputs.oldest(generation).await else { return gone("nobody can read it".into()) };
            if position < oldest {
                return gone(format!("the oldest position that can be read is {oldest}"));
            }
            let beyond = "so nothing of it can come again";
            let at = end_of_record(inputs, (generation, oldest, position), planned, beyond).await?;
            if at != position {
                return refuse(format!("no record of {generation} begins at {position}; the next one begins at {at}"));
            }
        }
        match can_read(inputs, generation, position, planned).await? {
            true => Ok(()),
            false => gone("name a position further on, or `oldest` for all that can still be read".into()),
        }
    }

    /// Journals that the ranges from these positions on come again, and has lanes read them.
    async fn come_again(
        &self,
        shared: &Arc<Shared>,
        wanted: &[(PartitionId, Generation, u64)],
        partition: Option<PartitionId>,
        to: To,
    ) -> Result<Ranges, Refused> {
        let arguments = arguments(&shared.inputs.id, partition, to);
        let sinks: Vec<SinkId> = shared.sinks().iter().map(|sink| sink.id.clone()).collect();
        let nonce = self.ground.clock.nonce();
        let (again, durable) = self.journal().append_with(true, |state, now| {
            let planned = |of: &Generation| state.generations.get(of).map_or(0, |known| known.planned.pos);
            let one = |(partition, of, from): &(PartitionId, Generation, u64)| {
                let repeat = Repeat { of: *of, from: *from, to: planned(of) };
                let parts = [&of.0[..], &from.to_le_bytes(), &repeat.to.to_le_bytes(), &nonce.to_le_bytes()];
                (*partition, Again { generation: Generation::derive("sawlog.again", &parts), repeat })
            };
            let again: Vec<(PartitionId, Again)> = wanted.iter().map(one).collect();
            let told: Vec<Again> = again.iter().map(|(_, again)| *again).collect();
            (operator::again(&sinks, arguments, &told, now), again)
        });
        self.journal().checked(durable.await)?;
        // The source may have begun anew meanwhile.
        let present = self.shared().get(&shared.inputs.id).cloned();
        let inputs = &present.as_ref().unwrap_or(shared).inputs;
        let mut ranges = Vec::new();
        for (partition, Again { generation, repeat }) in again {
            inputs.come_again(partition, generation, repeat).await?;
            ranges.push((repeat.of, repeat.from, repeat.to));
        }
        Ok(ranges)
    }
}

/// What was said, as it is typed.
fn arguments(source: &SourceId, partition: Option<PartitionId>, to: To) -> String {
    let partition = partition.map(|partition| format!(" --partition {partition}")).unwrap_or_default();
    match to {
        To::Position(position) => format!("{source}{partition} --to {position}"),
        To::Oldest => format!("{source}{partition} --to oldest"),
        To::End => format!("{source}{partition} --to end"),
    }
}

async fn can_read(inputs: &Inputs, generation: Generation, from: u64, to: u64) -> Result<bool, Refused> {
    match inputs.read(generation, from, to, ONE).await {
        Ok(_) => Ok(true),
        Err(ReadError::Gone) => Ok(false),
        Err(ReadError::Unavailable(reason)) => {
            refuse(format!("{generation} can't be read at {from} now: {reason}; try again when it can"))
        }
    }
}

/// The first end of a record at or behind `position`, of records from `from` on; `beyond` says what it means that they can't be
/// read.
async fn end_of_record(
    inputs: &Inputs,
    (generation, from, position): (Generation, u64, u64),
    end: u64,
    beyond: &str,
) -> Result<u64, Refused> {
    let mut at = from;
    while at < position {
        at = match inputs.read(generation, at, end, READ).await {
            Ok(input) => match input.records.iter().map(|record| record.end).find(|e| *e >= position) {
                Some(found) => found,
                None => input.records.last().map_or(end, |record| record.end),
            },
            Err(ReadError::Gone | ReadError::Unavailable(_)) => {
                return refuse(format!("{generation} can't be read at {at}, {beyond}"));
            }
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::EpochId;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::Held;
    use crate::journal::{Epoch, Mark, Record, Registration};
    use crate::plan::{Entry, Planned};
    use crate::ports::{Source, SourceEvent};
    use crate::tasks::Tasks;
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::{Input, InputRecord, Span};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    const G: Generation = Generation([7; 16]);
    const AGAIN: Generation = Generation([8; 16]);

    /// Records of ten bytes, of which those below 20 are gone; it tells in turn what it is given to tell.
    #[derive(Default)]
    struct Tens {
        events: Mutex<Vec<SourceEvent>>,
        floors: Mutex<Vec<u64>>,
        read: Mutex<Vec<(Generation, u64)>>,
    }

    #[async_trait]
    impl Source for Tens {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
        async fn event(&self) -> SourceEvent {
            let next = self.events.lock().unwrap().pop();
            match next {
                Some(event) => event,
                None => std::future::pending().await,
            }
        }
        async fn read(&self, generation: Generation, from: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            self.read.lock().unwrap().push((generation, from));
            if from < 20 {
                return Err(ReadError::Gone);
            }
            let text = Span { start: 0, len: 0 };
            let records = vec![InputRecord { pos: from, end: from + 10, text, received: 0, flags: 0 }];
            Ok(Input { generation, arena: Vec::new(), records, open: Vec::new() })
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        async fn trim(&self, _: Generation, floor: u64) {
            self.floors.lock().unwrap().push(floor);
        }
        async fn oldest(&self, _: Generation) -> Option<u64> {
            Some(20)
        }
        async fn release(&self, _: Generation) {}
    }

    /// A history of which 0 to 100 was delivered, and 40 to 100 is to come again.
    fn records() -> Vec<Record> {
        let (source, partition) = (SourceId::new("app"), PartitionId::derive("test", &[]));
        let registration =
            Registration { starts: BTreeMap::new(), until: None, sources: BTreeSet::from([source.clone()]) };
        let sinks = BTreeMap::from([(SinkId::new("out"), registration)]);
        let epoch = EpochId::derive(&[b"one"]);
        let entry = Entry::Range { generation: G, lo: 0, hi: 100 };
        let mark = Mark::at(Cursor::at(100));
        vec![
            Record::Epoch(Epoch { id: epoch, stateful: BTreeMap::new(), blobs: Vec::new(), sinks }),
            Record::Generation { generation: G, partition, source, identity: [].into(), start: 0 },
            Record::Plan { entries: vec![(partition, Planned { time: 0, epoch, entry })] },
            Record::Cursor { sink: SinkId::new("out"), marks: vec![(G, mark)], facts: None },
            Record::Repeat { generation: AGAIN, repeat: Repeat { of: G, from: 40, to: 100 } },
        ]
    }

    #[test]
    fn a_range_that_comes_again_is_read_from_its_history_and_keeps_that_from_being_let_go() {
        let clock = Arc::new(Waiting::default());
        let (journal, source) = (fakes::journal(clock.clone()), Arc::new(Tens::default()));
        let records = records();
        journal.commit(records[..4].to_vec()).now_or_never().unwrap().unwrap();
        let inputs =
            Inputs::new(SourceId::new("app"), source.clone(), Arc::new(Nothing), journal.clone(), clock.clone());
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        assert!(run.as_mut().now_or_never().is_none());
        let (partition, repeat) = (inputs.partitions()[0], Repeat { of: G, from: 40, to: 100 });
        journal.commit(records[4..].to_vec()).now_or_never().unwrap().unwrap();
        inputs.come_again(partition, AGAIN, repeat).now_or_never().unwrap().unwrap();
        assert_eq!(inputs.readable(partition), [(AGAIN, 100), (G, 0)], "before what its history has still to come");
        assert_eq!(*source.floors.lock().unwrap(), [40], "the source keeps it");
        let read = inputs.read(AGAIN, 40, 100, ONE).now_or_never().unwrap().unwrap();
        assert_eq!((read.generation, source.read.lock().unwrap().pop()), (G, Some((G, 40))), "ids stay the same");
        drop(run);

        // The next life finds it in the journal. The history vanishes: what is to come again is rescued.
        source.events.lock().unwrap().push(SourceEvent::Vanishing { generation: G, end: 100 });
        let next = Inputs::new(SourceId::new("app"), source, Arc::new(Nothing), journal.clone(), clock);
        let mut run = Box::pin(next.run(false, Held::default(), &tasks));
        assert!(run.as_mut().now_or_never().is_none());
        assert!(next.readable(partition).contains(&(AGAIN, 100)));
        let rescued = journal.state().generations[&G].rescued.clone();
        assert_eq!((rescued.first().map(|r| r.0), rescued.last().map(|r| r.1)), (Some(40), Some(100)), "{rescued:?}");
    }

    #[test]
    fn ends_of_records_are_found_and_what_is_gone_is_refused() {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let inputs = Inputs::new(SourceId::new("app"), Arc::new(Tens::default()), Arc::new(Nothing), journal, clock);
        let end = |from, position| end_of_record(&inputs, (G, from, position), 100, "so what").now_or_never().unwrap();
        assert_eq!((end(20, 40).unwrap(), end(20, 41).unwrap(), end(20, 20).unwrap()), (40, 50, 20));
        assert!(end(0, 40).unwrap_err().to_string().contains("can't be read at 0, so what"));
        let can_read = |from| can_read(&inputs, G, from, 100).now_or_never().unwrap().unwrap();
        assert_eq!((can_read(10), can_read(20)), (false, true));
    }
}
