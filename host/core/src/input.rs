//! Input as lanes see it: which generations of a partition can be read and how far, from their source or, where that lost
//! them, from the rescue queue. It follows the sources' events; it decides what becomes of input that goes away, and nothing else.

mod age;
mod events;
mod histories;
mod leaving;

pub use leaving::{RESCUE_AT_END_MAX, Unrescued};

use crate::SourceId;
use crate::journal::{self, GenerationState, Journal, JournalState, Record, Repeat};
use crate::memory::pack;
use crate::ports::{Clock, JournalError, ReadError, ReadLimits, RescueQueue, Source};
use event_listener::{Event, EventListener};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thin_vec::ThinVec;

/// How far a generation can be read.
#[derive(Clone, Copy, Debug)]
struct Extent {
    partition: PartitionId,
    end: u64,
    ended: bool,
    vanished: bool,
}

/// All of a repeat is there from the beginning, and nothing holds it but the history whose bytes it has.
fn extent_of(repeat: Repeat, partition: PartitionId) -> Extent {
    Extent { partition, end: repeat.to, ended: true, vanished: true }
}

/// Where the rescued ranges begin that lead to the end of what is planned, or that end itself where none does; `None` where nothing
/// was rescued. A rescue keeps what some sink still needs: there may be a gap behind it.
fn rescued_from(known: &GenerationState) -> Option<u64> {
    let mut at = known.planned.pos;
    while let Some((lo, _)) = known.rescued.iter().find(|(lo, hi)| *lo < at && at <= *hi) {
        at = *lo;
    }
    (!known.rescued.is_empty()).then_some(at)
}

/// One partition's view of its input.
#[derive(Default)]
struct PartitionInput {
    generations: ThinVec<Generation>,
    changed: Event,
    task: Task,
}

impl PartitionInput {
    fn push(&mut self, generation: Generation) {
        self.generations.reserve_exact(1); // most have one for good
        self.generations.push(generation);
    }
}

/// Whether a partition has a task.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Task {
    /// None yet.
    #[default]
    None,
    /// It is to get one.
    Due,
    /// It has one.
    Runs,
    /// It has none, for there is nothing to do; it gets one as soon as that may have changed.
    Rests,
}

#[derive(Default)]
struct Known {
    extents: BTreeMap<Generation, Extent>,
    partitions: BTreeMap<PartitionId, PartitionInput>,
    /// Those that are to get a task.
    due: Vec<PartitionId>,
    finished: bool,
    /// Whether the source has what the journal knew of it.
    begun: bool,
    /// What was rescued of histories behind others that the source has still to find, and where it ends.
    withheld: Vec<(Generation, u64)>,
    /// Partitions that are read for an added sink alone.
    histories: BTreeSet<PartitionId>,
}

impl Known {
    /// A partition, which gets a task where it has none yet.
    fn partition(&mut self, id: PartitionId) -> &mut PartitionInput {
        let input = self.partitions.entry(id).or_default();
        if input.task == Task::None {
            input.task = Task::Due;
            self.due.push(id);
        }
        input
    }

    /// Tells a partition that its input may have changed.
    fn tell(&mut self, id: PartitionId) {
        let Some(input) = self.partitions.get_mut(&id) else { return };
        input.changed.notify(usize::MAX);
        if input.task == Task::Rests {
            input.task = Task::Due;
            self.due.push(id);
        }
    }

    /// Tells all of them.
    fn tell_all(&mut self) {
        let all: Vec<PartitionId> = self.partitions.keys().copied().collect();
        all.into_iter().for_each(|id| self.tell(id));
    }
}

/// What no sink will read again: by generation its position, whether it is gone, whether it was rescued.
pub struct Floors(Vec<(Generation, u64, bool, bool)>);

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
    unrescued: Mutex<Vec<Unrescued>>,
    /// Held while input is let go of, and while a person has it come again.
    letting_go: futures_util::lock::Mutex<()>,
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
        Self {
            id,
            source,
            rescue,
            journal,
            clock,
            known: Mutex::default(),
            opened: Event::new(),
            unrescued: Mutex::default(),
            letting_go: futures_util::lock::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a history was born, nanoseconds, by what its source has the journal keep of it.
    fn born(&self, identity: &[u8]) -> Option<i64> {
        self.source.whereabouts(identity)?.file?.btime
    }

    /// Lanes see what there is once the source can read it.
    async fn restore(&self) {
        let (mut extents, mut handed) = (Vec::new(), Vec::new());
        {
            let state = self.journal.state();
            let mut floors = journal::Floors::new(&state);
            for (generation, g) in state.generations.iter().filter(|(_, g)| g.source == self.id) {
                let rescued = g.rescued.iter().map(|(_, hi)| *hi).max();
                let vanished = rescued.is_some() || g.gone;
                let extent = Extent { partition: g.partition, end: rescued.unwrap_or(0), ended: false, vanished };
                // What comes again is no history that the source knows.
                let extent = state.repeat(*generation).map_or(extent, |repeat| extent_of(repeat, g.partition));
                extents.push((age::of(&state, *generation, |identity| self.born(identity)), *generation, extent));
                if !extent.vanished {
                    handed.push((*generation, g.partition, g.identity.clone(), floors.of(*generation)));
                }
            }
        }
        let histories = self.journal.state().histories.begun(&self.id);
        self.source.restore(handed).await;
        // Oldest first, as they were met or born: what follows a rotation is read behind it.
        extents.sort_by_key(|(age, ..)| *age);
        let (withheld, mut known) = (self.withhold(&mut extents), self.lock());
        known.withheld = withheld;
        for (_, generation, extent) in extents {
            known.partition(extent.partition).push(generation);
            known.extents.insert(generation, extent);
        }
        pack(&mut known.extents);
        pack(&mut known.partitions);
        known.begun = true;
        known.histories.extend(histories);
        known.tell_all();
        drop(known);
        let since: Vec<_> = {
            let state = self.journal.state();
            let mine = state
                .repeats
                .known
                .iter()
                .filter_map(|(name, repeat)| Some((name, repeat, state.generations.get(name)?)));
            mine.filter(|(.., known)| known.source == self.id).map(|(n, r, known)| (known.partition, *n, *r)).collect()
        };
        since.into_iter().for_each(|(partition, name, repeat)| self.hear_again(partition, name, repeat));
        self.opened.notify(usize::MAX);
    }

    /// Partitions that have generations.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.lock().partitions.keys().copied().collect()
    }

    /// Partitions that are to run from now on, and a listener for more.
    pub(crate) fn due(&self) -> (Vec<PartitionId>, EventListener) {
        let more = self.opened.listen();
        let mut known = self.lock();
        let due = std::mem::take(&mut known.due);
        for id in &due {
            known.partitions.get_mut(id).into_iter().for_each(|input| input.task = Task::Runs);
        }
        (due, more)
    }

    /// A partition that runs has nothing to do, and its task ends: it is due again when its input changes, or all are woken. Not so
    /// where it has been told of something since it looked.
    pub(crate) fn rest(&self, partition: PartitionId, is_told: impl FnOnce() -> bool) -> bool {
        let mut known = self.lock();
        let Some(input) = known.partitions.get_mut(&partition) else { return false };
        // Under the lock: who tells it of input behind this look finds it at rest.
        if is_told() {
            return false;
        }
        (input.task, input.changed) = (Task::Rests, Event::new());
        true
    }

    /// All that rest are due: something changed that may concern any of them.
    pub(crate) fn wake_all(&self) {
        let mut known = self.lock();
        let resting = known.partitions.iter().filter(|(_, input)| input.task == Task::Rests);
        let resting: Vec<PartitionId> = resting.map(|(id, _)| *id).collect();
        resting.into_iter().for_each(|id| known.tell(id));
    }

    /// Tells a partition that its input may have changed.
    fn tell(&self, known: &mut Known, partition: PartitionId) {
        known.tell(partition);
        if !known.due.is_empty() {
            self.opened.notify(usize::MAX);
        }
    }

    /// Resolves when input of a partition that runs may have come; listen first, look then.
    pub fn changed(&self, partition: PartitionId) -> EventListener {
        let runs = || PartitionInput { task: Task::Runs, ..PartitionInput::default() };
        self.lock().partitions.entry(partition).or_insert_with(runs).changed.listen()
    }

    /// Generations of the partition, oldest first, each with how far it can be read.
    pub fn readable(&self, partition: PartitionId) -> Vec<(Generation, u64)> {
        let known = self.lock();
        let Some(input) = known.partitions.get(&partition) else { return Vec::new() };
        let extent = |g: &Generation| known.extents.get(g).map(|e| (*g, e.end));
        input.generations.iter().filter_map(extent).collect()
    }

    /// The first position of a history from which on all that was planned can be read now, where the source can tell.
    pub(crate) async fn oldest(&self, generation: Generation) -> Option<u64> {
        let rescued = self.journal.state().generations.get(&generation).and_then(rescued_from);
        let has_vanished = self.lock().extents.get(&generation).is_none_or(|extent| extent.vanished);
        match rescued {
            Some(lo) if has_vanished => Some(lo),
            _ => self.source.oldest(generation).await,
        }
    }

    /// Whether any position is one at which reading may begin.
    pub(crate) fn begins_anywhere(&self) -> bool {
        self.source.begins_anywhere()
    }

    /// A range comes again under the name `generation`, which is journalled: it is there to be read, before what its history has
    /// still to come, and the source keeps its bytes.
    pub(crate) async fn come_again(
        &self,
        partition: PartitionId,
        generation: Generation,
        repeat: Repeat,
    ) -> Result<(), JournalError> {
        self.hear_again(partition, generation, repeat);
        let is_here = self.lock().extents.get(&repeat.of).is_some_and(|extent| !extent.vanished);
        if is_here {
            let floor = self.floor_on_disk(repeat.of).await?;
            self.source.trim(repeat.of, floor).await;
        }
        Ok(())
    }

    /// Lanes see a repeat, once the source has begun; who has its source begin finds it in the journal.
    fn hear_again(&self, partition: PartitionId, generation: Generation, repeat: Repeat) {
        let mut known = self.lock();
        if !known.begun || known.extents.contains_key(&generation) {
            return;
        }
        known.extents.insert(generation, extent_of(repeat, partition));
        let input = known.partition(partition);
        let before = input.generations.iter().position(|g| *g == repeat.of).unwrap_or(input.generations.len());
        input.generations.insert(before, generation);
        known.tell(partition);
        drop(known);
        self.opened.notify(usize::MAX);
    }

    /// What is kept of it takes no more room than it needs.
    pub(crate) fn pack(&self) {
        let mut known = self.lock();
        pack(&mut known.extents);
        pack(&mut known.partitions);
    }

    /// Nothing is let go of while this is held.
    pub(crate) async fn keep_all(&self) -> impl Drop + use<'_> {
        self.letting_go.lock().await
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

    /// Whether the source has begun: before that nobody knows what there is to read.
    pub(crate) fn has_begun(&self) -> bool {
        let known = self.lock();
        known.begun && known.withheld.is_empty()
    }

    /// Whether the source finds generations again by the cursors that sinks hold.
    pub(crate) fn recognises(&self) -> bool {
        self.source.recognises()
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
        let generation = self.journal.state().original(generation);
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
        let generation = self.journal.state().original(generation);
        if self.lock().extents.get(&generation).is_some_and(|e| e.vanished) {
            return Vec::new();
        }
        self.source.anchor(generation, pos).await
    }

    /// Bytes that should go so that the source has room for more input.
    pub fn surplus_bytes(&self) -> u64 {
        self.source.surplus_bytes()
    }

    /// What no sink will read again of this source, by this state.
    pub fn floors(&self, state: &JournalState) -> Floors {
        let of_mine = state.generations.iter().filter(|(_, g)| g.source == self.id);
        let mut floors = journal::Floors::new(state);
        Floors(of_mine.map(|(g, s)| (*g, floors.of(*g), s.gone, !s.rescued.is_empty())).collect())
    }

    /// Tells source and queue what no sink will read again; forgets generations that are done with. What `floors` were taken
    /// from must be durable: a crash would bring back cursors below them.
    pub async fn trim(&self, floors: Floors) -> Result<(), JournalError> {
        self.begin_histories().await?;
        let _letting_go = self.letting_go.lock().await;
        // A range that comes again since may begin below what is durable.
        let now: BTreeMap<Generation, u64> = {
            let state = self.journal.state();
            let mut now = journal::Floors::new(&state);
            floors.0.iter().map(|(generation, ..)| (*generation, now.of(*generation))).collect()
        };
        for (generation, floor, gone, rescued) in floors.0 {
            let Some(extent) = self.lock().extents.get(&generation).copied() else { continue };
            // So may a sink that is added in this moment.
            let is_kept_whole = self.journal.state().histories.keep_whole(generation);
            let floor = if is_kept_whole { 0 } else { now.get(&generation).map_or(floor, |now| floor.min(*now)) };
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
        let mine: BTreeSet<Generation> =
            droppable.into_iter().filter(|g| self.lock().extents.contains_key(g)).collect();
        if !mine.is_empty() {
            self.journal
                .commit(mine.iter().map(|generation| Record::Dropped { generation: *generation }).collect())
                .await?;
            let mut known = self.lock();
            for generation in &mine {
                known.extents.remove(generation);
            }
            known.partitions.values_mut().for_each(|p| p.generations.retain(|g| !mine.contains(g)));
        }
        self.end_histories();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::Held;
    use crate::ports::SourceEvent;
    use crate::tasks::Tasks;
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll};

    const GONE: Generation = Generation([7; 16]);

    /// A source that takes its time to begin.
    #[derive(Default)]
    struct Slow(AtomicBool);

    #[async_trait]
    impl Source for Slow {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {
            let begins =
                |_: &mut Context<'_>| if self.0.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending };
            std::future::poll_fn(begins).await;
        }
        async fn event(&self) -> SourceEvent {
            std::future::pending().await
        }
        async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            Err(ReadError::Gone)
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        async fn trim(&self, _: Generation, _: u64) {}
        async fn release(&self, _: Generation) {}
    }

    #[test]
    fn what_was_rescued_is_readable_as_far_as_it_leads_to_the_end() {
        let mut state = JournalState::default();
        let (partition, source) = (PartitionId::derive("test", &[]), SourceId::new("app"));
        state.apply(&Record::Generation { generation: GONE, partition, source, identity: [].into(), start: 0 });
        let mut known = state.generations[&GONE].clone();
        known.planned = sawlog_record::id::Cursor::at(40);
        assert_eq!(rescued_from(&known), None);
        known.rescued = vec![(0, 20)];
        assert_eq!(rescued_from(&known), Some(40), "the rest was let go of: nobody needed it");
        known.rescued = vec![(0, 10), (20, 30), (30, 50)];
        assert_eq!(rescued_from(&known), Some(20));
        known.rescued = vec![(0, 20), (20, 40)];
        assert_eq!(rescued_from(&known), Some(0));
    }

    #[test]
    fn nobody_is_told_of_a_history_before_its_source_can_read_it() {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let (id, partition) = (SourceId::new("app"), PartitionId::derive("test", &[]));
        let known =
            Record::Generation { generation: GONE, partition, source: id.clone(), identity: [].into(), start: 0 };
        journal.commit(vec![known]).now_or_never().unwrap().unwrap();
        let source = Arc::new(Slow::default());
        let inputs = Inputs::new(id, source.clone(), Arc::new(Nothing), journal, clock);
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        assert!(run.as_mut().now_or_never().is_none());
        assert!(!inputs.has_begun() && !inputs.knows(GONE) && inputs.partitions().is_empty());
        source.0.store(true, Ordering::Relaxed);
        assert!(run.as_mut().now_or_never().is_none());
        assert!(inputs.has_begun() && inputs.knows(GONE) && inputs.partitions() == [partition]);
    }

    #[test]
    fn a_partition_that_rests_is_due_when_its_input_changes_or_all_are_woken_and_rests_on_nothing_that_it_was_told() {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let (id, partition) = (SourceId::new("app"), PartitionId::derive("test", &[]));
        let known =
            Record::Generation { generation: GONE, partition, source: id.clone(), identity: [].into(), start: 0 };
        journal.commit(vec![known]).now_or_never().unwrap().unwrap();
        let inputs = fakes::inputs(&id, &journal, &clock);
        inputs.restore().now_or_never().unwrap();
        let due = || inputs.due().0;
        assert_eq!((due(), due()), (vec![partition], vec![]), "once, until it rests");
        let told = inputs.changed(partition);
        inputs.extend(GONE, |extent| extent.end = 10);
        assert!(!inputs.rest(partition, || told.now_or_never().is_some()) && due().is_empty(), "it goes on itself");
        let told = inputs.changed(partition);
        assert!(inputs.rest(partition, || told.now_or_never().is_some()) && due().is_empty());
        let (_, more) = inputs.due();
        inputs.extend(GONE, |extent| extent.end = 20);
        assert!(more.now_or_never().is_some(), "who starts tasks is told");
        assert_eq!((due(), due()), (vec![partition], vec![]));
        assert!(inputs.rest(partition, || false));
        inputs.wake_all();
        assert_eq!((due(), due()), (vec![partition], vec![]));
        inputs.wake_all();
        assert!(due().is_empty(), "it runs");
    }
}
