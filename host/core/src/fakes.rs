//! Ports for unit tests: a journal that remembers nothing, a clock that waiting turns, a source and a sink that have nothing.

use crate::claims::Claim;
use crate::input::Inputs;
use crate::journal::{Journal, Mark};
use crate::ports::{
    Chain, Chains, Clock, DocumentOutcome, DocumentStore, FormerSinks, JournalError, JournalStore, Journalled,
    ObjectStore, Offer, PutOutcome, ReadError, ReadLimits, RescueQueue, SinkError, SinkPort, Source, SourceEvent,
    Staging,
};
use crate::sink::{DeadLetters, IntakeLimits, Sink, SinkIdentity, SinkTuning};
use crate::stream::Place;
use crate::{EpochId, SinkId, SourceId};
use async_trait::async_trait;
use event_listener::Event;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sawlog_record::batch::{Batch, Input, Output};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// A journal that keeps nothing beyond this process, on a disk that syncs while the flag says so.
pub(crate) struct Forgetful(pub(crate) Arc<AtomicBool>);

#[async_trait]
impl JournalStore for Forgetful {
    async fn load(&self) -> Result<Journalled, JournalError> {
        Ok(Journalled::default())
    }
    fn append(&self, _: Vec<Vec<u8>>, _: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        let syncs = self.0.clone();
        Box::pin(std::future::poll_fn(move |_| match syncs.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }))
    }
    fn snapshot(&self, _: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
    async fn put_blob(&self, _: Vec<u8>) -> Result<[u8; 32], JournalError> {
        Ok([0; 32])
    }
    async fn get_blob(&self, _: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(None)
    }
    async fn retain_blobs(&self, _: Vec<[u8; 32]>) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Time passes by waiting only.
#[derive(Default)]
pub(crate) struct Waiting(AtomicU64);

#[async_trait]
impl Clock for Waiting {
    fn now(&self) -> i64 {
        0
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_millis() as u64, Ordering::Relaxed);
        let mut polled = false;
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    fn nonce(&self) -> u64 {
        self.0.load(Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }
}

/// An empty journal.
pub(crate) fn journal(clock: Arc<Waiting>) -> Arc<Journal> {
    journal_on(Arc::new(AtomicBool::new(true)), clock)
}

/// An empty journal on a disk that syncs while `syncs` says so.
#[allow(clippy::unwrap_used)]
pub(crate) fn journal_on(syncs: Arc<AtomicBool>, clock: Arc<Waiting>) -> Arc<Journal> {
    Arc::new(Journal::open(Arc::new(Forgetful(syncs)), clock).now_or_never().unwrap().unwrap())
}

/// A store of objects in memory. It says in which order what was asked of it.
#[derive(Default)]
pub(crate) struct Shelf {
    /// Claims by number.
    pub(crate) claims: Mutex<BTreeMap<u64, Claim>>,
    /// What was asked: `claim 3`, `data KEY`.
    pub(crate) asked: Mutex<Vec<String>>,
}

#[allow(clippy::unwrap_used)]
impl Shelf {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

/// Paths without their rows.
#[derive(Default)]
struct Paths(BTreeSet<String>);

impl Staging for Paths {
    fn add(&mut self, _: &Offer, _: i64) -> Result<(), SinkError> {
        Ok(())
    }
    fn restrict(&mut self, paths: &[String]) {
        self.0.extend(paths.iter().cloned());
    }
    fn paths(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
    fn bytes(&self) -> u64 {
        0
    }
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

#[async_trait]
#[allow(clippy::unwrap_used)]
impl ObjectStore for Shelf {
    async fn place(&self) -> Result<String, SinkError> {
        self.note("place".to_owned());
        Ok("shelf".to_owned())
    }
    fn stage(&self) -> Box<dyn Staging> {
        Box::new(Paths::default())
    }
    fn data_key(&self, path: &str, number: u64, _: &str, _: usize) -> String {
        format!("{path}/{number}")
    }
    async fn put_claim(&self, number: u64, claim: &Claim) -> Result<PutOutcome, SinkError> {
        self.note(format!("claim {number}"));
        let there = self.claims.lock().unwrap().insert(number, claim.clone());
        assert!(there.is_none(), "claim {number} is there");
        Ok(PutOutcome::Created)
    }
    async fn get_claim(&self, number: u64) -> Result<Option<Claim>, SinkError> {
        Ok(self.claims.lock().unwrap().get(&number).cloned())
    }
    async fn list_claims(&self) -> Result<Vec<u64>, SinkError> {
        Ok(self.claims.lock().unwrap().keys().copied().collect())
    }
    async fn delete_claim(&self, number: u64) -> Result<(), SinkError> {
        self.claims.lock().unwrap().remove(&number);
        Ok(())
    }
    async fn put_data(&self, _: &mut dyn Staging, _: &str, key: &str) -> Result<PutOutcome, SinkError> {
        self.note(format!("data {key}"));
        Ok(PutOutcome::Created)
    }
    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        Ok(self.asked.lock().unwrap().contains(&format!("data {key}")))
    }
    async fn publish_complete(&self, closed: i64) -> Result<(), SinkError> {
        self.note(format!("complete below {closed}"));
        Ok(())
    }
}

/// No source, no chain, and nothing that was rescued.
pub(crate) struct Nothing;

#[async_trait]
impl Source for Nothing {
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
    async fn trim(&self, _: Generation, _: u64) {}
    async fn release(&self, _: Generation) {}
}

#[async_trait]
impl RescueQueue for Nothing {
    async fn put(&self, _: Input, _: u64, _: u64) -> Result<(), JournalError> {
        Ok(())
    }
    async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Option<Input>, JournalError> {
        Ok(None)
    }
    async fn release(&self, _: Generation) {}
}

impl FormerSinks for Nothing {
    fn open(&self, sink: &SinkId, _: &[u8]) -> Result<SinkPort, String> {
        Err(format!("{sink} was nowhere else"))
    }
}

impl Chains for Nothing {
    fn chain(&self, _: EpochId, _: &SourceId) -> Option<Arc<dyn Chain>> {
        None
    }
}

/// The input of a source that has nothing.
pub(crate) fn inputs(id: &SourceId, journal: &Arc<Journal>, clock: &Arc<Waiting>) -> Arc<Inputs> {
    Arc::new(Inputs::new(id.clone(), Arc::new(Nothing), Arc::new(Nothing), journal.clone(), clock.clone()))
}

/// A sink that has not begun.
pub(crate) fn sink(name: &str, port: SinkPort, journal: &Arc<Journal>, clock: &Arc<Waiting>) -> Arc<Sink> {
    sink_with(name, port, None, journal, clock)
}

/// A sink that has not begun, and takes documents; what it refuses goes to `letters`.
pub(crate) fn feeder(
    name: &str,
    letters: &Arc<DeadLetters>,
    journal: &Arc<Journal>,
    clock: &Arc<Waiting>,
) -> Arc<Sink> {
    sink_with(name, SinkPort::Documents(Arc::new(Nothing)), Some(letters.clone()), journal, clock)
}

fn sink_with(
    name: &str,
    port: SinkPort,
    letters: Option<Arc<DeadLetters>>,
    journal: &Arc<Journal>,
    clock: &Arc<Waiting>,
) -> Arc<Sink> {
    let limits = IntakeLimits { memory: crate::memory::Share::new(1_000), batches_max: 10 };
    let (tuning, facts) = (SinkTuning::default(), SinkIdentity::default());
    let (journal, clock) = (journal.clone(), clock.clone());
    let reseated = Arc::new(Event::new());
    let (id, former) = (SinkId::new(name), Arc::new(Nothing));
    Arc::new(Sink::new(id, port, limits, tuning, facts, former, journal, clock, letters, None, reseated))
}

/// All rows of `batch` as the batch of a partition's first entry.
pub(crate) fn offer(batch: Batch, from: Cursor, to: Cursor) -> Offer {
    Offer {
        partition: PartitionId([0; 16]),
        source: SourceId::new("app"),
        generation: batch.generation,
        from: Place::default(),
        to: Place { entry: 1, offset: 0 },
        cursor_from: from,
        mark: Mark::at(to),
        records: batch.rows.len() as u64,
        received: 0,
        time: 0,
        epoch: EpochId([0; 16]),
        output: Output { rows: (0..batch.rows.len() as u32).collect(), batch: Arc::new(batch) },
    }
}

#[async_trait]
impl DocumentStore for Nothing {
    async fn place(&self) -> Result<String, SinkError> {
        Ok("here".to_owned())
    }
    async fn create(&self, _: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError> {
        Ok(Vec::new())
    }
    async fn exists(&self, _: &Offer, _: u32) -> Result<bool, SinkError> {
        Ok(false)
    }
}
