//! Input as lanes see it: which generations of a partition can be read and how far, from their source or, where that lost
//! them, from the rescue queue. It follows the sources' events; it decides rescue and nothing else.

use crate::SourceId;
use crate::journal::{Journal, Record};
use crate::mutation;
use crate::ports::{Clock, JournalError, ReadError, ReadLimits, RescueQueue, Source, SourceEvent};
use crate::tasks::Tasks;
use event_listener::{Event, EventListener};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two attempts to read what is to be rescued.
const RESCUE_RETRY: Duration = Duration::from_millis(100);

/// How far a generation can be read.
#[derive(Clone, Copy, Debug)]
struct Extent {
    partition: PartitionId,
    end: u64,
    ended: bool,
    vanished: bool,
}

/// One partition's view of its input.
#[derive(Default)]
struct PartitionInput {
    generations: Vec<Generation>,
    changed: Arc<Event>,
}

#[derive(Default)]
struct Known {
    extents: BTreeMap<Generation, Extent>,
    partitions: BTreeMap<PartitionId, PartitionInput>,
    finished: bool,
}

/// All input of one source.
pub struct Inputs {
    /// The source's key in the configuration.
    pub id: SourceId,
    source: Arc<dyn Source>,
    rescue: Arc<dyn RescueQueue>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    opened: Event,
}

impl Inputs {
    /// Input of `source`, of which nothing is known yet.
    pub fn new(
        id: SourceId,
        source: Arc<dyn Source>,
        rescue: Arc<dyn RescueQueue>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { id, source, rescue, journal, clock, known: Mutex::default(), opened: Event::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the source what the journal knows, then follows its events until the journal fails or `tasks` end: never in the
    /// middle of an event, so that what is being rescued is. One that `closes` takes nothing new.
    pub(crate) async fn run(&self, closes: bool, tasks: &Tasks) -> Result<(), JournalError> {
        self.restore().await;
        if closes {
            self.source.close().await;
        }
        while let Some(event) = tasks.until_ending(self.source.event()).await {
            self.follow(event).await?;
        }
        Ok(())
    }

    async fn restore(&self) {
        let mut known = Vec::new();
        {
            let state = self.journal.state();
            let mut inputs = self.lock();
            for (generation, g) in state.generations.iter().filter(|(_, g)| g.source == self.id) {
                inputs.partitions.entry(g.partition).or_default().generations.push(*generation);
                let rescued = g.rescued.iter().map(|(_, hi)| *hi).max();
                let vanished = rescued.is_some() || g.gone;
                let extent = Extent { partition: g.partition, end: rescued.unwrap_or(0), ended: false, vanished };
                inputs.extents.insert(*generation, extent);
                if !extent.vanished {
                    known.push((*generation, g.partition, g.identity.clone(), state.replay_floor(*generation)));
                }
            }
        }
        self.opened.notify(usize::MAX);
        self.source.restore(known).await;
    }

    async fn follow(&self, event: SourceEvent) -> Result<(), JournalError> {
        match event {
            SourceEvent::Opened { generation, partition, identity, start } => {
                let source = self.id.clone();
                self.journal
                    .commit(vec![Record::Generation { generation, partition, source, identity, start }])
                    .await?;
                let mut known = self.lock();
                known.extents.insert(generation, Extent { partition, end: 0, ended: false, vanished: false });
                known.partitions.entry(partition).or_default().generations.push(generation);
                drop(known);
                self.opened.notify(usize::MAX);
            }
            SourceEvent::Identity { generation, identity } => {
                self.journal.commit(vec![Record::Identity { generation, identity }]).await?;
            }
            SourceEvent::Available { generation, end } => self.extend(generation, |e| e.end = e.end.max(end)),
            SourceEvent::Ended { generation, len } => self.extend(generation, |e| {
                e.end = e.end.max(len);
                e.ended = true;
            }),
            SourceEvent::Vanishing { generation, end } => {
                self.extend(generation, |e| e.end = e.end.max(end));
                if !mutation::on("rescue_skipped") {
                    self.rescue(generation, end).await?;
                }
                self.extend(generation, |e| e.vanished = true);
                self.source.release(generation).await;
            }
            SourceEvent::Gone { generation } => {
                self.journal.commit(vec![Record::Gone { generation }]).await?;
                self.extend(generation, |e| e.vanished = true);
            }
            SourceEvent::Finished => {
                let mut known = self.lock();
                known.finished = true;
                known.partitions.values().for_each(|p| _ = p.changed.notify(usize::MAX));
            }
        }
        Ok(())
    }

    fn extend(&self, generation: Generation, change: impl FnOnce(&mut Extent)) {
        let mut known = self.lock();
        let Some(extent) = known.extents.get_mut(&generation) else { return };
        change(extent);
        let partition = extent.partition;
        if let Some(input) = known.partitions.get(&partition) {
            input.changed.notify(usize::MAX);
        }
    }

    /// Copies what any sink may still read to the queue, record by record, and journals each part before the next.
    async fn rescue(&self, generation: Generation, end: u64) -> Result<(), JournalError> {
        let mut at = self.journal.state().replay_floor(generation);
        while at < end {
            let limits = ReadLimits { bytes_max: 1 << 20, records_max: 16_384 };
            let input = match self.source.read(generation, at, end, limits).await {
                Ok(input) => input,
                Err(ReadError::Gone) => return Ok(()),
                Err(ReadError::Unavailable(_)) => {
                    self.clock.sleep(RESCUE_RETRY).await;
                    continue;
                }
            };
            let Some(hi) = input.records.last().map(|r| r.end) else { return Ok(()) };
            self.rescue.put(input, at, hi).await?;
            self.journal.commit(vec![Record::Rescue { generation, lo: at, hi }]).await?;
            at = hi;
        }
        Ok(())
    }

    /// Partitions that have generations, and a listener for more.
    pub fn partitions(&self) -> (Vec<PartitionId>, EventListener) {
        let more = self.opened.listen();
        (self.lock().partitions.keys().copied().collect(), more)
    }

    /// Resolves when input of the partition may have come; listen first, look then.
    pub fn changed(&self, partition: PartitionId) -> EventListener {
        self.lock().partitions.entry(partition).or_default().changed.listen()
    }

    /// Generations of the partition, oldest first, each with how far it can be read.
    pub fn readable(&self, partition: PartitionId) -> Vec<(Generation, u64)> {
        let known = self.lock();
        let Some(input) = known.partitions.get(&partition) else { return Vec::new() };
        let extent = |g: &Generation| known.extents.get(g).map(|e| (*g, e.end));
        input.generations.iter().filter_map(extent).collect()
    }

    /// Whether nothing will come any more in this partition.
    pub fn has_ended(&self, partition: PartitionId) -> bool {
        let known = self.lock();
        let Some(input) = known.partitions.get(&partition) else { return false };
        known.finished
            && input
                .generations
                .iter()
                .all(|g| known.extents.get(g).is_some_and(|e| e.ended || e.vanished || known.finished))
    }

    /// Whether the source, or the rescue queue, has this history.
    pub fn knows(&self, generation: Generation) -> bool {
        self.lock().extents.contains_key(&generation)
    }

    /// The lowest received time, unix nanoseconds, that records not yet planned may carry; `None` = that of their PLAN.
    pub fn oldest_unplanned(&self) -> Option<i64> {
        self.source.oldest_unplanned()
    }

    /// Whether more may still be announced of what a removed source has accepted.
    pub(crate) fn owes(&self) -> bool {
        self.source.promises() && !self.is_finished()
    }

    /// Whether the source promised its clients to deliver all that it took.
    pub(crate) fn promises(&self) -> bool {
        self.source.promises()
    }

    /// Takes nothing new any more.
    pub(crate) async fn close(&self) {
        self.source.close().await;
    }

    /// Whether the source has said that nothing will come any more.
    pub fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Consecutive records from exactly `from`.
    pub async fn read(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        limits: ReadLimits,
    ) -> Result<Input, ReadError> {
        if !self.is_rescued(generation, from) {
            match self.source.read(generation, from, to, limits).await {
                // It may have been rescued while the source was asked.
                Err(ReadError::Gone) if self.is_rescued(generation, from) => {}
                answer => return answer,
            }
        }
        match self.rescue.read(generation, from, to, limits).await {
            Ok(Some(input)) => Ok(input),
            Ok(None) => Err(ReadError::Gone),
            Err(error) => Err(ReadError::Unavailable(error.to_string())),
        }
    }

    fn is_rescued(&self, generation: Generation, pos: u64) -> bool {
        let state = self.journal.state();
        let known = state.generations.get(&generation);
        known.is_some_and(|g| g.rescued.iter().any(|(lo, hi)| *lo <= pos && pos < *hi))
    }

    /// Proof that the bytes before `pos` are those that were read.
    pub async fn anchor(&self, generation: Generation, pos: u64) -> Vec<u8> {
        if self.lock().extents.get(&generation).is_some_and(|e| e.vanished) {
            return Vec::new();
        }
        self.source.anchor(generation, pos).await
    }

    /// Tells source and queue what no sink will read again; forgets generations that are done with.
    pub async fn trim(&self) -> Result<(), JournalError> {
        let floors: Vec<(Generation, u64, bool, bool)> = {
            let state = self.journal.state();
            let of_mine = state.generations.iter().filter(|(_, g)| g.source == self.id);
            of_mine.map(|(g, s)| (*g, state.replay_floor(*g), s.gone, !s.rescued.is_empty())).collect()
        };
        for (generation, floor, gone, rescued) in floors {
            let Some(extent) = self.lock().extents.get(&generation).copied() else { continue };
            let is_read = floor >= extent.end;
            if !extent.vanished {
                self.source.trim(generation, floor).await;
            } else if is_read && !gone {
                self.journal.commit(vec![Record::Gone { generation }]).await?;
            }
            if is_read && extent.vanished && rescued {
                self.rescue.release(generation).await;
            }
        }
        let droppable = self.journal.state().droppable();
        let mine: Vec<Generation> = droppable.into_iter().filter(|g| self.lock().extents.contains_key(g)).collect();
        for generation in mine {
            self.journal.commit(vec![Record::Dropped { generation }]).await?;
            let mut known = self.lock();
            known.extents.remove(&generation);
            known.partitions.values_mut().for_each(|p| p.generations.retain(|g| *g != generation));
        }
        Ok(())
    }
}
