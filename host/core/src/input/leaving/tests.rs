//! Input that goes away: what is rescued of it, how often, and what waits for that.
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

/// Two files that lose their last names: the first can't be read.
#[derive(Default)]
struct OneBad {
    told: AtomicUsize,
    tries: AtomicUsize,
    is_released: AtomicBool,
}

#[async_trait]
impl Source for OneBad {
    async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
    async fn event(&self) -> SourceEvent {
        let partition = PartitionId::derive("test", &[]);
        match self.told.fetch_add(1, Ordering::Relaxed) {
            0 => SourceEvent::Opened { generation: GONE, partition, identity: [].into(), start: 0 },
            1 => SourceEvent::Opened { generation: NEXT, partition, identity: [].into(), start: 0 },
            2 => SourceEvent::Vanishing { generation: GONE, end: 10 },
            3 => SourceEvent::Vanishing { generation: NEXT, end: 10 },
            _ => std::future::pending().await,
        }
    }
    async fn read(&self, generation: Generation, pos: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
        if generation == GONE {
            self.tries.fetch_add(1, Ordering::Relaxed);
            return Err(ReadError::Unavailable("its blocks are bad".to_owned()));
        }
        let record = InputRecord { pos, end: pos + 5, text: Span { start: 0, len: 0 }, received: 0, flags: 0 };
        Ok(Input { generation, arena: Vec::new(), records: vec![record], open: Vec::new() })
    }
    async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
        Vec::new()
    }
    async fn trim(&self, _: Generation, _: u64) {}
    async fn release(&self, generation: Generation) {
        assert_eq!(generation, NEXT, "its descriptor is all that is left of the other one");
        self.is_released.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_file_that_cannot_be_read_keeps_none_behind_it_and_is_tried_less_and_less_often() {
    let (clock, source) = (Arc::new(Waiting::default()), SourceId::new("app"));
    let journal = needed_by_one(&source, &clock);
    let files = Arc::new(OneBad::default());
    let inputs = Inputs::new(source, files.clone(), Arc::new(Nothing), journal.clone(), clock.clone());
    let tasks = Tasks::default();
    let mut run = Box::pin(inputs.run(false, Held::default(), &tasks));
    for _ in 0..20 {
        assert!(run.as_mut().now_or_never().is_none());
    }
    assert_eq!(journal.state().generations[&NEXT].rescued, [(0, 10)], "they touch");
    assert!(files.is_released.load(Ordering::Relaxed));
    while clock.elapsed() < Duration::from_secs(600) {
        assert!(run.as_mut().now_or_never().is_none());
    }
    let tries = files.tries.load(Ordering::Relaxed);
    assert!((120..=130).contains(&tries), "{tries} in ten minutes, and one every five seconds is enough");
}
