//! Input that goes away: what is needed of it is rescued while it can be read, and what can't be is journalled with its name and
//! its range.

use super::Inputs;
use crate::journal::{Record, Whereabouts};
use crate::mutation;
use crate::ports::{Clock, JournalError, ReadError, ReadLimits};
use crate::tasks::Tasks;
use event_listener::Event;
use futures_util::future::{BoxFuture, select};
use sawlog_record::id::Generation;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the end of a source waits for input that is to be rescued and can't be read, or is not taken.
pub const RESCUE_AT_END_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to rescue the same; twice as long each time, for each reads the same bytes again and syncs the journal.
const RESCUE_RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest: nobody tells what a sink has read meanwhile, so that nothing is to be rescued any more.
const RESCUE_RETRY_MAX: Duration = Duration::from_secs(5);

/// Input that was to be rescued, and could not be read until its source had to end. Whoever takes the source's place counts it
/// as lost, unless it can be read there again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("positions {lo} to {hi} of {generation} vanished and could not be rescued: {reason}")]
pub struct Unrescued {
    /// Whose.
    pub generation: Generation,
    /// The first position that was not rescued.
    pub lo: u64,
    /// The end.
    pub hi: u64,
    /// Why it could not be read, or was not taken.
    pub reason: String,
}

/// Histories that lost their last name, in the order in which they are let go: beside the events of their source, which has more to
/// tell while a rescue waits for room.
pub(super) struct Leaving<'a> {
    tasks: &'a Tasks,
    inner: Mutex<Inner>,
    more: Event,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<(Generation, u64)>,
    is_closed: bool,
    /// Since when the source ends and something could not be rescued, by the clock's elapsed time.
    waits_since: Option<Duration>,
}

impl<'a> Leaving<'a> {
    /// Nothing yet, of a source that ends with `tasks`.
    pub(super) fn new(tasks: &'a Tasks) -> Self {
        Self { tasks, inner: Mutex::default(), more: Event::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a history that is known to `end`.
    pub(super) fn push(&self, generation: Generation, end: u64) {
        self.inner().queue.push_back((generation, end));
        self.more.notify(usize::MAX);
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.inner().is_closed = true;
        self.more.notify(usize::MAX);
    }

    /// The next one; `None` when nothing comes any more.
    async fn next(&self) -> Option<(Generation, u64)> {
        loop {
            let more = self.more.listen();
            {
                let mut inner = self.inner();
                let next = inner.queue.pop_front();
                if next.is_some() || inner.is_closed {
                    return next;
                }
            }
            more.await;
        }
    }

    /// Waits until the same is tried again: for `pause`, or until there is room, or the source ends. Gives the pause after this one.
    async fn pause(&self, clock: &dyn Clock, pause: Duration, freed: BoxFuture<'static, ()>) -> Duration {
        if self.tasks.is_ending() {
            clock.sleep(RESCUE_RETRY_MIN).await;
        } else {
            self.tasks.until_ending(select(clock.sleep(pause), freed)).await;
        }
        (pause * 2).min(RESCUE_RETRY_MAX)
    }

    /// Whether the source ends, and what could not be rescued was waited for long enough.
    fn has_waited(&self, now: Duration) -> bool {
        let mut inner = self.inner();
        self.tasks.is_ending() && now.saturating_sub(*inner.waits_since.get_or_insert(now)) >= RESCUE_AT_END_MAX
    }
}

impl Inputs {
    /// What could not be rescued before the source ended.
    pub fn unrescued(&self) -> Vec<Unrescued> {
        self.unrescued.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of what leaves, one after the other, until nothing is added any more.
    pub(super) async fn let_go_of(&self, leaving: &Leaving<'_>) -> Result<(), JournalError> {
        while let Some((generation, end)) = leaving.next().await {
            self.let_go(generation, end, leaving).await?;
        }
        Ok(())
    }

    /// Rescues what is needed of a history that loses its last name, part by part, then lets it go. Meanwhile sinks may come to need
    /// less of it, and a person may have more of it come again. What can't be read or is not taken is tried again, and given up
    /// where the source ends and has waited long enough.
    pub(super) async fn let_go(
        &self,
        generation: Generation,
        mut end: u64,
        leaving: &Leaving<'_>,
    ) -> Result<(), JournalError> {
        if mutation::on("never_let_go") {
            return Ok(());
        }
        let (mut pause, mut oldest) = (RESCUE_RETRY_MIN, 0);
        loop {
            let (letting_go, freed) = (self.letting_go.lock().await, self.rescue.freed());
            let floor = self.floor_on_disk(generation).await?.max(oldest);
            let part = self.part_to_rescue(generation, floor, end).filter(|_| !mutation::on("rescue_skipped"));
            let Some((lo, hi)) = part else {
                self.extend(generation, |e| e.vanished = true);
                self.source.release(generation).await;
                return Ok(());
            };
            drop(letting_go);
            if mutation::on("written_off_unrescued") {
                self.lose(generation).await?;
                self.source.release(generation).await;
                return Ok(());
            }
            match self.rescue(generation, lo, hi).await {
                Ok(hi) => {
                    self.journal.commit(vec![Record::Rescue { generation, lo, hi }]).await?;
                    pause = RESCUE_RETRY_MIN;
                }
                // Sinks came to need less of it meanwhile, and the source let go of that: what lies behind is still to be had.
                Err(ReadError::Gone) if self.journal.state().replay_floor(generation) > lo => {}
                // Where a sink may come to want all of it, what it has begun with may long be gone: the rest is still to be had.
                Err(ReadError::Gone) => match self.source.oldest(generation).await {
                    Some(at) if at > lo && !mutation::on("rescue_gives_up") => oldest = at,
                    _ => end = lo,
                },
                Err(ReadError::Unavailable(reason)) if leaving.has_waited(self.clock.elapsed()) => {
                    let given_up = Unrescued { generation, lo, hi: end, reason };
                    self.unrescued.lock().unwrap_or_else(PoisonError::into_inner).push(given_up);
                    return Ok(());
                }
                Err(ReadError::Unavailable(_)) => pause = leaving.pause(self.clock.as_ref(), pause, freed).await,
            }
        }
    }

    /// The first part of `[from, end)` that is not rescued.
    fn part_to_rescue(&self, generation: Generation, from: u64, end: u64) -> Option<(u64, u64)> {
        let state = self.journal.state();
        let rescued = state.generations.get(&generation).map_or(&[][..], |known| &known.rescued);
        let mut lo = from;
        while let Some((_, hi)) = rescued.iter().find(|(from, hi)| *from <= lo && lo < *hi) {
            lo = *hi;
        }
        let next = rescued.iter().map(|(from, _)| *from).filter(|from| *from > lo).min();
        (lo < end).then(|| (lo, next.map_or(end, |next| next.min(end))))
    }

    /// Up to where no sink will read a history again, also after a crash: what moves the floor, such as a saved state, may be a
    /// hint that is not durable yet.
    pub(super) async fn floor_on_disk(&self, generation: Generation) -> Result<u64, JournalError> {
        let floor = self.journal.state().replay_floor(generation);
        if !mutation::on("let_go_by_hints") {
            self.journal.settle().await?;
        }
        // A sink that was added meanwhile may begin below it.
        Ok(floor.min(self.journal.state().replay_floor(generation)))
    }

    /// Copies what one read gives of a range to the queue; up to where. What the queue does not take (it is full, its fsync failed)
    /// stays where it is.
    async fn rescue(&self, generation: Generation, lo: u64, hi: u64) -> Result<u64, ReadError> {
        let limits = ReadLimits { bytes_max: 1 << 20, records_max: 16_384 };
        let input = self.source.read(generation, lo, hi, limits).await?;
        let hi = input.records.last().map(|r| r.end).ok_or(ReadError::Gone)?;
        match self.rescue.put(input, lo, hi).await {
            Err(error) if !mutation::on("rescued_unsynced") => Err(ReadError::Unavailable(error.to_string())),
            _ => Ok(hi),
        }
    }

    /// A history can't be read any more. What was never planned of it is lost from here on.
    pub(super) async fn lose(&self, generation: Generation) -> Result<(), JournalError> {
        let whereabouts = self.whereabouts(generation);
        let ((), durable) = self.journal.append_with(true, |_, time| {
            let named = whereabouts.clone().map(|whereabouts| Record::Vanished { generation, time, whereabouts });
            (vec![Record::Together(std::iter::once(Record::Gone { generation }).chain(named).collect())], ())
        });
        // Nobody plans what is written off, from now on: a lane that is offered it would ask for it again and again.
        if whereabouts.is_some() {
            let planned = self.journal.state().reaches(generation);
            self.extend(generation, |e| e.end = e.end.min(planned));
        }
        self.journal.checked(durable.await)?;
        self.extend(generation, |e| e.vanished = true);
        Ok(())
    }

    /// Histories whose rescue did not come to its end before the process did: the rest of them is nowhere.
    pub(super) async fn lose_unrescued(&self) -> Result<(), JournalError> {
        let rescued: Vec<Generation> = {
            let state = self.journal.state();
            let mine =
                state.generations.iter().filter(|(_, g)| g.source == self.id && !g.gone && !g.rescued.is_empty());
            mine.map(|(generation, _)| *generation).collect()
        };
        for generation in rescued {
            let Some(whereabouts) = self.whereabouts(generation) else { continue };
            let ((), durable) = self.journal.append_with(true, |state, time| {
                let rescued = state.generations.get(&generation).into_iter().flat_map(|known| &known.rescued);
                let is_whole = rescued.map(|(_, hi)| *hi).max() >= Some(whereabouts.end);
                let named = Record::Vanished { generation, time, whereabouts };
                ((!is_whole && !state.missing.names(generation)).then_some(named).into_iter().collect(), ())
            });
            self.journal.checked(durable.await)?;
        }
        Ok(())
    }

    /// What the source knew of a history, as the journal has it.
    fn whereabouts(&self, generation: Generation) -> Option<Whereabouts> {
        let identity = self.journal.state().generations.get(&generation)?.identity.clone();
        self.source.whereabouts(&identity).filter(|_| !mutation::on("vanished_unnamed"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::identity::Held;
    use crate::journal::{Epoch, Journal, Mark, Registration, Snap};
    use crate::plan::{Entry, Planned};
    use crate::ports::{RescueQueue, Source, SourceEvent};
    use crate::{EpochId, SinkId, SourceId};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::{Input, InputRecord, Span};
    use sawlog_record::id::{Cursor, PartitionId};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    const GONE: Generation = Generation([7; 16]);
    const NEXT: Generation = Generation([8; 16]);

    /// A file that loses its last name and can't be read.
    #[derive(Default)]
    struct Stuck(AtomicUsize);

    #[async_trait]
    impl Source for Stuck {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
        async fn event(&self) -> SourceEvent {
            let partition = PartitionId::derive("test", &[]);
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => SourceEvent::Opened { generation: GONE, partition, identity: [].into(), start: 0 },
                1 => SourceEvent::Vanishing { generation: GONE, end: 10 },
                _ => std::future::pending().await,
            }
        }
        async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            Err(ReadError::Unavailable("the disk hangs".to_owned()))
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        async fn trim(&self, _: Generation, _: u64) {}
        async fn release(&self, _: Generation) {
            panic!("its descriptor is all that is left of it");
        }
    }

    /// A file that loses its last name, all of it planned.
    #[derive(Default)]
    struct Leaving {
        is_told: AtomicBool,
        is_released: AtomicBool,
    }

    #[async_trait]
    impl Source for Leaving {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
        async fn event(&self) -> SourceEvent {
            match self.is_told.swap(true, Ordering::Relaxed) {
                false => SourceEvent::Vanishing { generation: GONE, end: 10 },
                true => std::future::pending().await,
            }
        }
        async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            panic!("by the saved state nothing of it is needed");
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        async fn trim(&self, _: Generation, _: u64) {}
        async fn release(&self, _: Generation) {
            self.is_released.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_file_is_let_go_only_when_the_saved_state_that_spares_reading_it_again_is_durable() {
        let (clock, syncs) = (Arc::new(Waiting::default()), Arc::new(AtomicBool::new(true)));
        let journal = fakes::journal_on(syncs.clone(), clock.clone());
        let (id, partition) = (SourceId::new("app"), PartitionId::derive("test", &[]));
        let (epoch, sink) = (EpochId::derive(&[b"one"]), SinkId::new("out"));
        let fed = Registration { sources: BTreeSet::from([id.clone()]), ..Registration::default() };
        let (stateful, sinks) = (BTreeMap::from([(1, [5; 32])]), BTreeMap::from([(sink.clone(), fed)]));
        let entry = Entry::Range { generation: GONE, lo: 0, hi: 10 };
        let mark = Mark::at(Cursor::at(10));
        let delivered = vec![
            Record::Epoch(Epoch { id: epoch, stateful, blobs: Vec::new(), sinks }),
            Record::Generation { generation: GONE, partition, source: id.clone(), identity: [].into(), start: 0 },
            Record::Plan { entries: vec![(partition, Planned { time: 1, epoch, entry })] },
            Record::Cursor { sink, marks: vec![(GONE, mark)], facts: None },
        ];
        journal.commit(delivered).now_or_never().unwrap().unwrap();
        assert_eq!(journal.state().replay_floor(GONE), 0, "the state of its plugins comes from all of it");
        syncs.store(false, Ordering::Relaxed);
        let snap = Snap { after: (GONE, Cursor::at(10)), states: BTreeMap::new(), epoch };
        journal.hint(vec![Record::Snap { partition, snap }]);
        assert_eq!(journal.state().replay_floor(GONE), 10);

        let source = Arc::new(Leaving::default());
        let inputs = Inputs::new(id, source.clone(), Arc::new(Nothing), journal, clock);
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        assert!(run.as_mut().now_or_never().is_none());
        let is_released = || source.is_released.load(Ordering::Relaxed);
        assert!(source.is_told.load(Ordering::Relaxed) && !is_released(), "a crash now needs all of it again");
        syncs.store(true, Ordering::Relaxed);
        assert!(run.as_mut().now_or_never().is_none());
        assert!(is_released());
    }

    /// A journal by which one sink needs everything of `source`.
    fn needed_by_one(source: &SourceId, clock: &Arc<Waiting>) -> Arc<Journal> {
        let journal = fakes::journal(clock.clone());
        let fed = Registration { sources: BTreeSet::from([source.clone()]), ..Registration::default() };
        let sinks = BTreeMap::from([(SinkId::new("out"), fed)]);
        let epoch = Epoch { id: EpochId::derive(&[b"one"]), stateful: BTreeMap::new(), blobs: Vec::new(), sinks };
        journal.commit(vec![Record::Epoch(epoch)]).now_or_never().unwrap().unwrap();
        journal
    }

    /// A file that loses its last name and can be read, five bytes at a time; then another one comes.
    #[derive(Default)]
    struct Needed {
        told: AtomicUsize,
        reads: AtomicUsize,
        is_released: AtomicBool,
        /// What lies below was let go of before.
        oldest: u64,
    }

    #[async_trait]
    impl Source for Needed {
        async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
        async fn event(&self) -> SourceEvent {
            let partition = PartitionId::derive("test", &[]);
            match self.told.fetch_add(1, Ordering::Relaxed) {
                0 => SourceEvent::Opened { generation: GONE, partition, identity: [].into(), start: 0 },
                1 => SourceEvent::Vanishing { generation: GONE, end: 10 },
                2 => SourceEvent::Opened { generation: NEXT, partition, identity: [].into(), start: 0 },
                _ => std::future::pending().await,
            }
        }
        async fn read(&self, generation: Generation, pos: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if pos < self.oldest {
                return Err(ReadError::Gone);
            }
            let text = Span { start: 0, len: 0 };
            let record = InputRecord { pos, end: pos + 5, text, received: 0, flags: 0 };
            Ok(Input { generation, arena: Vec::new(), records: vec![record], open: Vec::new() })
        }
        async fn oldest(&self, _: Generation) -> Option<u64> {
            Some(self.oldest)
        }
        async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
            Vec::new()
        }
        async fn trim(&self, _: Generation, _: u64) {}
        async fn release(&self, _: Generation) {
            self.is_released.store(true, Ordering::Relaxed);
        }
    }

    /// A queue that takes every third offer, where it has room.
    #[derive(Default)]
    struct Failing {
        is_full: AtomicBool,
        offers: AtomicUsize,
        taken: Mutex<Vec<(u64, u64)>>,
        freed: Event,
    }

    #[async_trait]
    impl RescueQueue for Failing {
        async fn put(&self, _: Input, lo: u64, hi: u64) -> Result<(), JournalError> {
            if self.is_full.load(Ordering::Relaxed) || self.offers.fetch_add(1, Ordering::Relaxed) % 3 < 2 {
                return Err(JournalError("its fsync failed".to_owned()));
            }
            self.taken.lock().unwrap().push((lo, hi));
            Ok(())
        }
        async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Option<Input>, JournalError> {
            Ok(None)
        }
        async fn release(&self, _: Generation) {}
        fn freed(&self) -> BoxFuture<'static, ()> {
            Box::pin(self.freed.listen())
        }
    }

    #[test]
    fn what_the_rescue_queue_does_not_take_is_tried_again_and_its_source_goes_on() {
        let (clock, source) = (Arc::new(Waiting::default()), SourceId::new("app"));
        let journal = needed_by_one(&source, &clock);
        let (leaving, failing) = (Arc::new(Needed::default()), Arc::new(Failing::default()));
        let inputs = Inputs::new(source, leaving.clone(), failing.clone(), journal.clone(), clock);
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        for _ in 0..100 {
            assert!(run.as_mut().now_or_never().is_none(), "it follows its source for ever");
        }
        assert_eq!(*failing.taken.lock().unwrap(), [(0, 5), (5, 10)]);
        assert_eq!(journal.state().generations[&GONE].rescued, [(0, 10)], "they touch");
        assert!(leaving.is_released.load(Ordering::Relaxed), "and then it is let go");
    }

    #[test]
    fn what_is_left_of_trimmed_input_is_rescued() {
        let (clock, source) = (Arc::new(Waiting::default()), SourceId::new("app"));
        let journal = needed_by_one(&source, &clock);
        let trimmed = Arc::new(Needed { oldest: 5, ..Needed::default() });
        let inputs = Inputs::new(source, trimmed.clone(), Arc::new(Failing::default()), journal.clone(), clock);
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        for _ in 0..100 {
            assert!(run.as_mut().now_or_never().is_none());
        }
        assert_eq!(journal.state().generations[&GONE].rescued, [(5, 10)]);
        assert!(trimmed.is_released.load(Ordering::Relaxed));
    }

    #[test]
    fn a_rescue_that_waits_for_room_keeps_its_file_and_nothing_else() {
        let (clock, source) = (Arc::new(Waiting::default()), SourceId::new("app"));
        let journal = needed_by_one(&source, &clock);
        let (leaving, full) = (Arc::new(Needed::default()), Failing { is_full: true.into(), ..Failing::default() });
        let inputs = Inputs::new(source, leaving.clone(), Arc::new(full), journal.clone(), clock);
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        for _ in 0..100 {
            assert!(run.as_mut().now_or_never().is_none());
        }
        assert!(inputs.knows(NEXT), "what came behind it is heard of");
        assert!(!leaving.is_released.load(Ordering::Relaxed));
        // What a sink has read of it meanwhile needs no room any more.
        let mark = Mark::at(Cursor::at(10));
        let read = Record::Cursor { sink: SinkId::new("out"), marks: vec![(GONE, mark)], facts: None };
        journal.commit(vec![read]).now_or_never().unwrap().unwrap();
        for _ in 0..100 {
            assert!(run.as_mut().now_or_never().is_none());
        }
        assert!(leaving.is_released.load(Ordering::Relaxed));
    }

    #[test]
    fn a_full_queue_is_offered_the_same_less_and_less_often() {
        let (clock, source) = (Arc::new(Waiting::default()), SourceId::new("app"));
        let journal = needed_by_one(&source, &clock);
        let (leaving, full) = (Arc::new(Needed::default()), Failing { is_full: true.into(), ..Failing::default() });
        let inputs = Inputs::new(source, leaving.clone(), Arc::new(full), journal, clock.clone());
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        while clock.elapsed() < Duration::from_secs(600) {
            assert!(run.as_mut().now_or_never().is_none());
        }
        let reads = leaving.reads.load(Ordering::Relaxed);
        assert!((120..=130).contains(&reads), "{reads} in ten minutes, and one every five seconds is enough");
    }

    /// Time stands still.
    struct Still;

    #[async_trait]
    impl Clock for Still {
        fn now(&self) -> i64 {
            0
        }
        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
        async fn sleep(&self, _: Duration) {
            std::future::pending().await
        }
        fn nonce(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_rescue_goes_on_as_soon_as_the_queue_has_room() {
        let source = SourceId::new("app");
        let journal = needed_by_one(&source, &Arc::new(Waiting::default()));
        let full = Arc::new(Failing { is_full: true.into(), offers: 2.into(), ..Failing::default() });
        let leaving = Arc::new(Needed::default());
        let inputs = Inputs::new(source, leaving.clone(), full.clone(), journal.clone(), Arc::new(Still));
        let tasks = Tasks::default();
        let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
        let mut goes_on = || (0..10).for_each(|_| assert!(run.as_mut().now_or_never().is_none()));
        goes_on();
        assert_eq!(leaving.reads.load(Ordering::Relaxed), 1, "it waits");
        full.is_full.store(false, Ordering::Relaxed);
        goes_on();
        assert_eq!(leaving.reads.load(Ordering::Relaxed), 1, "nobody told");
        full.freed.notify(usize::MAX);
        goes_on();
        assert_eq!(journal.state().generations[&GONE].rescued, [(0, 5)]);
    }

    #[test]
    fn the_end_of_a_source_waits_for_a_rescue_only_so_long() {
        let (clock, source) = (Arc::new(Waiting::default()), SourceId::new("app"));
        let journal = needed_by_one(&source, &clock);
        let inputs = Inputs::new(source, Arc::new(Stuck::default()), Arc::new(Nothing), journal, clock.clone());
        let tasks = Tasks::default();
        let mut run = Box::pin(tasks.hold(inputs.run(false, Held::default(), &tasks)));
        for _ in 0..1_000 {
            assert!(run.as_mut().now_or_never().is_none(), "while the source lives it is tried again");
        }
        let asked = clock.elapsed();
        assert!(asked > RESCUE_AT_END_MAX);
        let mut end = Box::pin(tasks.end());
        let mut done = None;
        for _ in 0..1_000 {
            assert!(done.is_some() || end.as_mut().now_or_never().is_none(), "the end waits for the rescue");
            done = done.or_else(|| run.as_mut().now_or_never());
        }
        assert!(matches!(done, Some(Ok(()))), "it was given up");
        assert_eq!(end.now_or_never(), Some(()));
        let waited = clock.elapsed() - asked;
        assert!(waited >= RESCUE_AT_END_MAX && waited < RESCUE_AT_END_MAX * 2, "{waited:?}");
        let [given_up] = &inputs.unrescued()[..] else { panic!("{:?}", inputs.unrescued()) };
        assert_eq!((given_up.generation, given_up.lo, given_up.hi), (GONE, 0, 10));
        assert!(given_up.to_string().contains("the disk hangs"));
    }
}
