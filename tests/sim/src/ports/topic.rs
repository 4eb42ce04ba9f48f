//! What a partition has that moves between agents: its journal in a topic, whose owner is whoever opened it last, and its source.

use super::source::input;
use crate::world::{Fault, Late, World};
use async_trait::async_trait;
use event_listener::Event;
use futures_util::future::BoxFuture;
use futures_util::lock::Mutex as Turn;
use sawlog_core::journal::Record;
use sawlog_core::journal::record::decode;
use sawlog_core::ports::{
    JournalError, JournalStore, Journalled, Ownership, ReadError, ReadLimits, Source, SourceEvent,
};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// Records of a transaction, with their numbers.
type Records = Vec<(u64, Vec<u8>)>;

/// A transaction with these records; `false` where its producer was fenced.
pub fn commit(world: &World, partition: PartitionId, epoch: u64, records: Records) -> bool {
    let mut outside = world.get();
    let topic = outside.topics.entry(partition).or_default();
    if topic.epoch != epoch {
        return false;
    }
    for (number, bytes) in records {
        let record: Record = decode(&bytes).expect("the core wrote it");
        topic.archive.push(record);
        topic.records.push((number, bytes));
        topic.next = topic.next.max(number + 1);
    }
    true
}

#[derive(Default)]
struct Known {
    epoch: u64,
    next: u64,
    waiting: Records,
    committed_below: u64,
    failed: bool,
}

/// The journal of one partition in the hands of one process.
pub struct SimTopicJournal {
    world: World,
    partition: PartitionId,
    known: Arc<Mutex<Known>>,
    /// One thread does everything, in order.
    turn: Arc<Turn<()>>,
    committed: Arc<Event>,
}

impl SimTopicJournal {
    /// A journal that is not open yet.
    pub fn new(world: &World, partition: PartitionId) -> Self {
        Self { world: world.clone(), partition, known: Arc::default(), turn: Arc::default(), committed: Arc::default() }
    }

    /// Whether it is spent: after any error whoever runs over it drops it.
    pub fn has_failed(&self) -> bool {
        self.known.lock().expect("one thread").failed
    }

    fn parts(&self) -> Parts {
        Parts {
            world: self.world.clone(),
            partition: self.partition,
            known: self.known.clone(),
            turn: self.turn.clone(),
            committed: self.committed.clone(),
        }
    }
}

#[derive(Clone)]
struct Parts {
    world: World,
    partition: PartitionId,
    known: Arc<Mutex<Known>>,
    turn: Arc<Turn<()>>,
    committed: Arc<Event>,
}

impl Parts {
    fn spent(&self, why: &str) -> JournalError {
        self.known.lock().expect("one thread").failed = true;
        self.committed.notify(usize::MAX);
        JournalError(why.to_owned())
    }

    /// One transaction: whatever waits, and `with` in it.
    async fn transact(&self, with: impl FnOnce(&mut crate::world::SimTopic) + Send) -> Result<(), JournalError> {
        let _turn = self.turn.lock().await;
        if self.known.lock().expect("one thread").failed {
            return Err(JournalError("it is not open".into()));
        }
        self.world.dawdle("journal").await;
        let fault = self.world.draw_fault("journal");
        self.world.gate().await;
        let (epoch, records) = {
            let mut known = self.known.lock().expect("one thread");
            (known.epoch, std::mem::take(&mut known.waiting))
        };
        match fault {
            Fault::Down | Fault::Dropped | Fault::Conflict => return Err(self.spent("no answer")),
            Fault::Late => {
                self.world.get().late.push(Late::Journal(self.partition, epoch, records));
                return Err(self.spent("no answer"));
            }
            Fault::None | Fault::LostReply | Fault::Duplicated => {}
        }
        let last = records.last().map(|(number, _)| number + 1);
        if !commit(&self.world, self.partition, epoch, records) {
            self.world.count("journal_fenced");
            return Err(self.spent("another agent has the partition now"));
        }
        with(self.world.get().topics.entry(self.partition).or_default());
        self.world.gate().await;
        if fault == Fault::LostReply {
            return Err(self.spent("no answer"));
        }
        if let Some(last) = last {
            self.known.lock().expect("one thread").committed_below = last;
            self.committed.notify(usize::MAX);
        }
        Ok(())
    }

    /// Until all records below `upto` are committed, by a transaction of this caller's where it is `urgent`.
    async fn durable(self, upto: u64, urgent: bool) -> Result<(), JournalError> {
        loop {
            let committed = self.committed.listen();
            {
                let known = self.known.lock().expect("one thread");
                if known.failed {
                    return Err(JournalError("it is not open".into()));
                }
                if known.committed_below >= upto {
                    return Ok(());
                }
            }
            match urgent {
                true => self.transact(|_| {}).await?,
                false => committed.await,
            }
        }
    }
}

#[async_trait]
impl Ownership for SimTopicJournal {
    async fn confirm(&self) -> Result<(), JournalError> {
        self.world.count("confirmed");
        self.parts().transact(|_| {}).await
    }
}

#[async_trait]
impl JournalStore for SimTopicJournal {
    /// Fences whoever had it, and reads behind a barrier.
    async fn load(&self) -> Result<Journalled, JournalError> {
        let read = || {
            let mut outside = self.world.get();
            let topic = outside.topics.entry(self.partition).or_default();
            let records = topic.records.iter().map(|(_, bytes)| bytes.clone()).collect();
            (Journalled { snapshot: topic.snapshot.clone(), records }, topic.next)
        };
        self.world.gate().await;
        if self.world.draw_fault("journal") == Fault::Down {
            return Err(self.parts().spent("connection refused"));
        }
        let early = read();
        let pause = Duration::from_millis(self.world.rng(|r| r.below(40)) as u64);
        if self.world.get().planted == Some("journal_read_unfenced") {
            self.world.sleep(pause).await;
        }
        {
            let mut outside = self.world.get();
            let topic = outside.topics.entry(self.partition).or_default();
            topic.epoch += 1;
            self.known.lock().expect("one thread").epoch = topic.epoch;
        }
        self.world.gate().await;
        let (journalled, next) = if self.world.get().planted == Some("journal_read_unfenced") {
            early
        } else {
            self.world.sleep(pause).await;
            read()
        };
        let mut known = self.known.lock().expect("one thread");
        (known.next, known.committed_below) = (next, next);
        Ok(journalled)
    }

    fn append(&self, records: Vec<Vec<u8>>, urgent: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        let upto = {
            let mut known = self.known.lock().expect("one thread");
            for bytes in records {
                let number = known.next;
                known.next += 1;
                known.waiting.push((number, bytes));
            }
            known.next
        };
        Box::pin(self.parts().durable(upto, urgent))
    }

    fn snapshot(&self, state: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        let upto = self.known.lock().expect("one thread").next;
        let parts = self.parts();
        Box::pin(async move {
            parts.world.count("journal_snapshot");
            let replace = |topic: &mut crate::world::SimTopic| {
                topic.records.retain(|(number, _)| *number >= upto);
                topic.snapshot = Some(state);
            };
            parts.transact(replace).await
        })
    }

    async fn put_blob(&self, bytes: Vec<u8>) -> Result<[u8; 32], JournalError> {
        let digest = *blake3::hash(&bytes).as_bytes();
        self.parts().transact(|topic| _ = topic.blobs.insert(digest, bytes)).await?;
        Ok(digest)
    }

    async fn get_blob(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        self.world.gate().await;
        Ok(self.world.get().topics.get(&self.partition).and_then(|topic| topic.blobs.get(&digest).cloned()))
    }

    async fn retain_blobs(&self, keep: Vec<[u8; 32]>) -> Result<(), JournalError> {
        self.parts().transact(|topic| topic.blobs.retain(|digest, _| keep.contains(digest))).await
    }
}

/// One partition of a topic as a source.
pub struct SimTopicSource {
    world: World,
    partition: PartitionId,
    /// What this process calls its history: its own name in the mistake, the same everywhere else.
    generation: Generation,
    told: Mutex<Option<BTreeMap<Generation, u64>>>,
}

impl SimTopicSource {
    /// A source that knows nothing yet.
    pub fn new(world: &World, partition: PartitionId, agent: usize) -> Self {
        let outside = world.get();
        let file = outside.files.iter().find(|file| file.partition == partition);
        let generation = file.expect("every partition has one").generation;
        let by_agent = Generation::derive("sim", &[&generation.0, &[agent as u8]]);
        let generation = if outside.planted == Some("agent_in_generation") { by_agent } else { generation };
        Self { world: world.clone(), partition, generation, told: Mutex::default() }
    }

    fn content(&self) -> Generation {
        let outside = self.world.get();
        outside.files.iter().find(|file| file.partition == self.partition).map_or(self.generation, |f| f.generation)
    }

    fn end(&self) -> u64 {
        let outside = self.world.get();
        outside.files.iter().find(|file| file.partition == self.partition).map_or(0, crate::world::SimFile::end)
    }

    fn news(&self) -> Option<SourceEvent> {
        let mut told = self.told.lock().expect("one thread");
        let (generation, end) = (self.generation, self.end());
        match told.as_mut()?.insert(generation, end) {
            None => {
                told.as_mut()?.insert(generation, 0);
                let partition = self.partition;
                Some(SourceEvent::Opened { generation, partition, identity: [].into(), start: 0 })
            }
            Some(before) => (before < end).then_some(SourceEvent::Available { generation, end }),
        }
    }
}

#[async_trait]
impl Source for SimTopicSource {
    async fn restore(&self, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {
        self.world.gate().await;
        *self.told.lock().expect("one thread") = Some(known.into_iter().map(|(g, ..)| (g, 0)).collect());
    }

    async fn event(&self) -> SourceEvent {
        poll_fn(|context| match self.news() {
            Some(event) => Poll::Ready(event),
            None => {
                self.world.get().file_wakers.push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    async fn read(&self, generation: Generation, from: u64, to: u64, _: ReadLimits) -> Result<Input, ReadError> {
        self.world.gate().await;
        if self.world.rng(|r| r.hits(20)) {
            return Err(ReadError::Unavailable("simulated".into()));
        }
        let count = 1 + self.world.rng(|r| r.below(5));
        let content = self.content();
        let outside = self.world.get();
        let file = outside.files.iter().find(|file| file.generation == content).ok_or(ReadError::Gone)?;
        let read = input(&outside, file, (from, to), count).ok_or(ReadError::Gone)?;
        Ok(Input { generation, ..read })
    }

    async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
        Vec::new()
    }

    async fn trim(&self, _: Generation, _: u64) {}

    async fn release(&self, _: Generation) {}
}
