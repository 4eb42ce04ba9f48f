//! What a running engine does when its journal's blobs fail it, and when a removed source hears of more.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::fakes::{self, Nothing, Waiting};
use crate::journal::{Mark, Snap};
use crate::plan::{Entry, Planned};
use crate::ports::{JournalStore, Journalled, ReadError, ReadLimits, SinkPort, SourceEvent};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::{Cursor, Generation};
use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

const G: Generation = Generation([7; 16]);
const PARTITION: PartitionId = PartitionId([3; 16]);
const EPOCH: EpochId = EpochId([1; 16]);

/// A journal whose blobs can't be read, or let go of, while the flags say so.
#[derive(Default)]
struct Store {
    holds_blobs: AtomicBool,
    hides_blobs: AtomicBool,
}

#[async_trait]
impl JournalStore for Store {
    async fn load(&self) -> Result<Journalled, JournalError> {
        Ok(Journalled::default())
    }
    fn append(&self, _: Vec<Vec<u8>>, _: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn snapshot(&self, _: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    async fn put_blob(&self, _: Vec<u8>) -> Result<[u8; 32], JournalError> {
        Ok([0; 32])
    }
    async fn get_blob(&self, _: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        match self.hides_blobs.load(Ordering::Relaxed) {
            true => Err(JournalError("too many open files".to_owned())),
            false => Ok(Some(Vec::new())),
        }
    }
    async fn retain_blobs(&self, _: Vec<[u8; 32]>) -> Result<(), JournalError> {
        match self.holds_blobs.load(Ordering::Relaxed) {
            true => Err(JournalError("a blob can't be deleted".to_owned())),
            false => Ok(()),
        }
    }
}

/// Records of ten bytes that were accepted by a promise; it tells what it is given to tell.
#[derive(Default)]
struct Promising {
    events: Mutex<VecDeque<SourceEvent>>,
    trims: AtomicUsize,
}

#[async_trait]
impl Source for Promising {
    async fn restore(&self, _: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {}
    async fn event(&self) -> SourceEvent {
        std::future::poll_fn(|_| self.events.lock().unwrap().pop_front().map_or(Poll::Pending, Poll::Ready)).await
    }
    async fn read(&self, generation: Generation, pos: u64, _: u64, _: ReadLimits) -> Result<Input, ReadError> {
        let record = InputRecord { pos, end: pos + 10, text: Span { start: 0, len: 0 }, received: 0, flags: 0 };
        Ok(Input { generation, arena: Vec::new(), records: vec![record], open: Vec::new() })
    }
    async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
        Vec::new()
    }
    async fn trim(&self, _: Generation, _: u64) {
        self.trims.fetch_add(1, Ordering::Relaxed);
    }
    async fn release(&self, _: Generation) {}
    fn promises(&self) -> bool {
        true
    }
}

type Tasks = Arc<Mutex<Vec<BoxFuture<'static, ()>>>>;

struct Kept(Tasks);

impl Spawner for Kept {
    fn spawn(&self, _: Option<PartitionId>, task: BoxFuture<'static, ()>) {
        self.0.lock().unwrap().push(task);
    }
}

/// An engine over one source, of which ten bytes are planned and delivered, and one sink.
struct World {
    engine: Arc<Engine>,
    store: Arc<Store>,
    source: Arc<Promising>,
    tasks: Tasks,
}

impl World {
    fn new(retired: Option<EpochId>) -> Self {
        let (store, source, tasks) = (Arc::new(Store::default()), Arc::new(Promising::default()), Tasks::default());
        let clock = Arc::new(Waiting::default());
        let journal = Arc::new(Journal::open(store.clone(), clock.clone()).now_or_never().unwrap().unwrap());
        let (id, out) = (SourceId::new("app"), SinkId::new("out"));
        let sink = fakes::sink("out", SinkPort::Documents(Arc::new(Nothing)), &journal, &clock);
        let parts = Parts {
            journal: journal.clone(),
            clock,
            chains: Arc::new(Nothing),
            rescue: Arc::new(Nothing),
            routes: vec![Route { id: id.clone(), source: source.clone(), retired, idle_timeout: Duration::MAX }],
            sinks: BTreeMap::from([(out.clone(), sink)]),
            reseated: Arc::default(),
            tuning: Tuning::default(),
            common: Common::default(),
            checkpoint_interval: Duration::from_secs(1),
            spawner: Arc::new(Kept(tasks.clone())),
        };
        let wanted = reload::Wanted {
            id: EPOCH,
            names: BTreeMap::new(),
            stateful: BTreeMap::from([(id.clone(), BTreeMap::from([(1, [5; 32])]))]),
            blobs: Vec::new(),
            sinks: BTreeMap::from([(out.clone(), BTreeSet::from([id.clone()]))]),
            from_oldest: BTreeMap::new(),
            untold: BTreeSet::new(),
            remove: BTreeMap::new(),
        };
        let Ok(engine) = Engine::start(parts, wanted).now_or_never().unwrap() else { panic!("it starts") };
        let entry = Entry::Range { generation: G, lo: 0, hi: 10 };
        let snap = Snap { after: (G, Cursor::at(10)), states: BTreeMap::from([(1, [6; 32])]), epoch: EPOCH };
        let known = vec![
            Record::Generation { generation: G, partition: PARTITION, source: id, identity: [].into(), start: 0 },
            Record::Plan { entries: vec![(PARTITION, Planned { time: 0, epoch: EPOCH, entry })] },
            Record::Cursor { sink: out, marks: vec![(G, Mark::at(Cursor::at(10)))], facts: None },
            Record::Snap { partition: PARTITION, snap },
        ];
        journal.commit(known).now_or_never().unwrap().unwrap();
        let world = Self { engine, store, source, tasks };
        world.polls(20);
        world
    }

    fn polls(&self, times: usize) {
        for _ in 0..times {
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
            tasks.retain_mut(|task| task.as_mut().now_or_never().is_none());
            self.tasks.lock().unwrap().append(&mut tasks);
        }
    }

    fn tell(&self, event: SourceEvent) {
        self.source.events.lock().unwrap().push_back(event);
        self.polls(20);
    }

    /// Something is journalled again and again, so that each checkpoint has something to write.
    fn checkpoints(&self) -> Checkpoints {
        for _ in 0..20 {
            self.engine.journal().hint(vec![Record::Together(Vec::new())]);
            self.polls(2);
        }
        self.engine.checkpoints()
    }
}

#[test]
fn checkpoints_go_on_and_let_go_of_input_though_a_blob_cannot_be_deleted() {
    let world = World::new(None);
    world.store.holds_blobs.store(true, Ordering::Relaxed);
    let trims = || world.source.trims.load(Ordering::Relaxed);
    let (before, trimmed) = (world.checkpoints(), trims());
    let after = world.checkpoints();
    assert!(after.failures > before.failures && after.kept == before.kept, "{before:?} {after:?}");
    assert!(trims() > trimmed, "the snapshots are durable");
    world.store.holds_blobs.store(false, Ordering::Relaxed);
    assert!(world.checkpoints().kept > after.kept);
}

#[test]
fn a_partition_whose_saved_state_could_not_be_read_goes_on_when_it_can() {
    let world = World::new(None);
    world.store.hides_blobs.store(true, Ordering::Relaxed);
    world.tell(SourceEvent::Available { generation: G, end: 20 });
    let why = || world.engine.stopped().get(&PARTITION).cloned().unwrap_or_default();
    assert!(why().contains("too many open files"), "{}", why());
    world.store.hides_blobs.store(false, Ordering::Relaxed);
    world.polls(100);
    // There is no chain here: that is what it stops for behind its state.
    assert!(why().contains("is not at hand"), "{}", why());
}

#[test]
fn a_removed_source_that_hears_of_more_has_not_planned_all_that_it_owes() {
    let world = World::new(Some(EPOCH));
    let shared = world.engine.sources().remove(0);
    shared.settle(PARTITION);
    assert!(shared.is_settled());
    world.tell(SourceEvent::Available { generation: G, end: 20 });
    assert!(!shared.is_settled(), "a request was on its way into the queue");
}
