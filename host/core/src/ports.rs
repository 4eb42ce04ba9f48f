//! The core's ports: everything that it asks of the outside world. An effect is one call on one of them; the simulator
//! crashes before and after each. Implementations execute calls and decide nothing about delivery.

use crate::claims::Claim;
use crate::identity::Held;
use crate::journal::{Mark, Whereabouts};
use crate::ledger::Counts;
use crate::pace::Pressure;
use crate::plan::{ComponentId, UpgradeOutcome};
use crate::sink::Letter;
use crate::stream::Place;
use crate::{EpochId, SinkId, SourceId};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sawlog_record::batch::{Input, Output};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The only clock and the only random bits that the core sees.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Wall time, unix nanoseconds; may jump.
    fn now(&self) -> i64;
    /// Time since some fixed moment of this process; never falls.
    fn elapsed(&self) -> Duration;
    /// Time since the machine was started, also while it slept or this process was frozen; never falls.
    fn booted(&self) -> Duration {
        self.elapsed()
    }
    /// Waits.
    async fn sleep(&self, duration: Duration);
    /// Unpredictable bits, for attempt ids, nonces and jitter; never for anything that F depends on.
    fn nonce(&self) -> u64;
}

// ---------------------------------------------------------------- journal

/// Why the journal did not take a record. There is no way on but to stop: what is not durable must not take effect.
#[derive(Clone, Debug, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(pub String);

/// What a journal holds when it is opened.
#[derive(Debug, Default)]
pub struct Journalled {
    /// The newest snapshot, as given to [`JournalStore::snapshot`].
    pub snapshot: Option<Vec<u8>>,
    /// Records appended since, in order.
    pub records: Vec<Vec<u8>>,
}

/// A durable append-only log of byte records with snapshots, and a content-addressed store of blobs beside it.
#[async_trait]
pub trait JournalStore: Send + Sync {
    /// Everything durable.
    async fn load(&self) -> Result<Journalled, JournalError>;
    /// Appends records in the order of the calls (the order is fixed when this returns, not when the future is polled).
    /// The future resolves when they are durable; where `urgent` is false that may take until the next urgent append.
    ///
    /// What becomes durable is a prefix of what was appended: each record follows from those before it. So the first failure is
    /// the last word (a failed fsync, delivery.md W7): everything that is not durable by then is refused, and everything later.
    fn append(&self, records: Vec<Vec<u8>>, urgent: bool) -> BoxFuture<'static, Result<(), JournalError>>;
    /// Replaces all records appended before this call by one snapshot, atomically.
    fn snapshot(&self, state: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>>;
    /// Stores `bytes` durably under their BLAKE3 digest.
    async fn put_blob(&self, bytes: Vec<u8>) -> Result<[u8; 32], JournalError>;
    /// Reads a blob; `None` where there is none.
    async fn get_blob(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError>;
    /// Deletes every blob that is not in `keep`.
    async fn retain_blobs(&self, keep: Vec<[u8; 32]>) -> Result<(), JournalError>;
    /// Whether it has all the room that it keeps for itself; where not, the next snapshot tries to get it back.
    fn is_whole(&self) -> bool {
        true
    }
    /// How much of its room it uses.
    fn pressure(&self) -> Pressure {
        Pressure::Low
    }
}

// ---------------------------------------------------------------- sources

/// How much one read may bring.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Stop after this many bytes of input (at least one record comes all the same).
    pub bytes_max: usize,
    /// Stop after this many records.
    pub records_max: usize,
}

/// What a source tells the core.
#[derive(Clone, PartialEq, Debug)]
pub enum SourceEvent {
    /// A generation was found that the source was not given by [`Source::restore`].
    Opened {
        /// Its id.
        generation: Generation,
        /// What it belongs to.
        partition: PartitionId,
        /// What the source needs to find it again.
        identity: Arc<[u8]>,
        /// Where reading begins; 0 unless the source was told to begin at the end.
        start: u64,
    },
    /// The identity record of a generation changed; journalled before anything that depends on it.
    Identity {
        /// Its id.
        generation: Generation,
        /// The new record.
        identity: Arc<[u8]>,
    },
    /// Complete records up to `end` can be read.
    Available {
        /// Its id.
        generation: Generation,
        /// Position after the last complete record.
        end: u64,
    },
    /// The generation got its last byte, which lies at `len`.
    Ended {
        /// Its id.
        generation: Generation,
        /// Position after the last record.
        len: u64,
    },
    /// The generation lost its last name: bytes at or above its replay floor go to the queue, then it is released.
    Vanishing {
        /// Its id.
        generation: Generation,
        /// Position after the last complete record.
        end: u64,
    },
    /// The generation can't be read any more.
    Gone {
        /// Its id.
        generation: Generation,
    },
    /// What was given by [`Source::restore`] was looked for, and what was found of it was said.
    Met,
    /// Nothing will come any more (`--until-eof`).
    Finished,
}

/// Why a read brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are gone for good: counted loss.
    #[error("input is gone")]
    Gone,
    /// They may come back: try again after a while.
    #[error("input can't be read now: {0}")]
    Unavailable(String),
}

/// A replayable log of records in partitions and generations.
#[async_trait]
pub trait Source: Send + Sync {
    /// Hands back what the journal knows: every generation with its identity and replay floor. Called once, first.
    async fn restore(&self, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>);
    /// Whether its generations are found again by the cursors that sinks hold: then [`Source::hold`] comes before
    /// [`Source::restore`].
    fn recognises(&self) -> bool {
        false
    }
    /// What sinks hold of generations that the journal does not know.
    async fn hold(&self, _held: Held) {}
    /// The next event; pending while there is none, when it may be dropped without loss. One caller at a time.
    async fn event(&self) -> SourceEvent;
    /// Consecutive records of `generation` from exactly `from`, none ending above `to`. At least one record.
    async fn read(&self, generation: Generation, from: u64, to: u64, limits: ReadLimits) -> Result<Input, ReadError>;
    /// Proof that the bytes before `pos` are those that were read.
    async fn anchor(&self, generation: Generation, pos: u64) -> Vec<u8>;
    /// Nothing below `floor` will be read again; called after that is durable. Lower than before where input is to come again.
    async fn trim(&self, generation: Generation, floor: u64);
    /// The first position of the generation that can be read now, where a record begins; `None` where that can't be told.
    async fn oldest(&self, _generation: Generation) -> Option<u64> {
        Some(0)
    }
    /// When the generation was written last, unix nanoseconds: where nothing else tells which of two came first, this does.
    async fn written(&self, _generation: Generation) -> Option<i64> {
        None
    }
    /// Whether reading may begin at any position (offsets), not only where a record was found to end.
    fn begins_anywhere(&self) -> bool {
        false
    }
    /// What a generation's identity record tells of where it was, for people who look for what is lost of it, and for the order of
    /// births after a restart.
    fn whereabouts(&self, _identity: &[u8]) -> Option<Whereabouts> {
        None
    }
    /// Nothing of the generation will be read again.
    async fn release(&self, generation: Generation);
    /// Whether it says [`SourceEvent::Met`]: what was rescued waits for older input of its partition until then.
    fn says_met(&self) -> bool {
        false
    }
    /// Takes nothing new any more; reads go on. A source that [`Source::promises`] says [`SourceEvent::Finished`] when all that
    /// it has accepted is announced.
    async fn close(&self) {}
    /// Whether its input was accepted by a promise to a client: then all of it is delivered also where the source is removed.
    fn promises(&self) -> bool {
        false
    }
    /// The lowest received time, unix nanoseconds, that records not yet planned may carry; `None` = that of their PLAN.
    fn oldest_unplanned(&self) -> Option<i64> {
        None
    }
    /// Bytes that should go so that there is room for more input; 0 while there is.
    fn surplus_bytes(&self) -> u64 {
        0
    }
}

/// Rescued input: framed records of generations whose source lost them.
#[async_trait]
pub trait RescueQueue: Send + Sync {
    /// Stores the records of `[lo, hi)` durably.
    async fn put(&self, input: Input, lo: u64, hi: u64) -> Result<(), JournalError>;
    /// Records from `from` on, as [`Source::read`] would give them; `None` where the queue holds none.
    async fn read(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        limits: ReadLimits,
    ) -> Result<Option<Input>, JournalError>;
    /// Forgets a generation.
    async fn release(&self, generation: Generation);
    /// Resolves when there may be more room than there was at this call; never, where nobody can tell.
    fn freed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

// ---------------------------------------------------------------- chain

/// What a chain may know while it runs a batch: decisions, and nothing of the outside.
#[derive(Clone, Debug)]
pub struct Context {
    /// The partition.
    pub partition: PartitionId,
    /// The PLAN's time, unix nanoseconds.
    pub time: i64,
    /// Records (pos, slot) that are poison for a component: replaced by a dead letter at that component.
    pub poison: Vec<(u64, u16, ComponentId)>,
    /// Whether the lane planned this range itself in this life: only then plugins are heard (logs, metrics).
    pub first_run: bool,
    /// Whether another build planned the range: verdict-free records get four times the fuel and memory.
    pub generous: bool,
}

/// What one sink gets of a batch, and what became of its input records for that sink.
#[derive(Clone, Debug)]
pub struct SinkOutput {
    /// Rows for the sink.
    pub output: Output,
    /// Input records by outcome.
    pub counts: Counts,
}

/// The result of a batch: one output per sink that the chain feeds; the dead-letter sink is one of them.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// By sink id.
    pub outputs: BTreeMap<SinkId, SinkOutput>,
}

/// Why a chain did not run a batch to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChainFailure {
    /// These records alone make a component fail. The instance is spent: it is dropped and its state restored.
    #[error("{} poisonous record(s)", .0.len())]
    Poison(Vec<(u64, u16, ComponentId, String)>),
    /// The chain can't go on; the partition stops and says so.
    #[error("chain stopped: {0}")]
    Stopped(String),
}

/// The chain of one partition and lane, with its state. A call that is dropped before its end has run a part of its input:
/// whoever drops it drops the instance too.
#[async_trait]
pub trait ChainInstance: Send {
    /// Runs a batch.
    async fn apply(&mut self, input: Input, context: &Context) -> Result<Applied, ChainFailure>;
    /// Makes a component give out what it holds back; the rows belong to FLUSH `slot` at `pos`.
    async fn flush(
        &mut self,
        component: ComponentId,
        generation: Generation,
        at: Cursor,
        now: i64,
        context: &Context,
    ) -> Result<Applied, ChainFailure>;
    /// State of every stateful component.
    async fn snapshot(&mut self) -> Result<BTreeMap<ComponentId, Vec<u8>>, ChainFailure>;
    /// Puts state back that the same plugin digests made.
    async fn restore(&mut self, states: BTreeMap<ComponentId, Vec<u8>>) -> Result<(), ChainFailure>;
    /// Puts state back that an older digest of `component` made; `Fresh` where the plugin has no way.
    async fn upgrade(&mut self, component: ComponentId, old: Vec<u8>) -> Result<UpgradeOutcome, ChainFailure>;
    /// Components that hold rows back, and until which event time, unix nanoseconds.
    fn wake_at(&self) -> Vec<(ComponentId, i64)>;
}

/// One configuration's chain.
pub trait Chain: Send + Sync {
    /// A fresh instance for a partition.
    fn instance(&self, partition: PartitionId) -> Box<dyn ChainInstance>;
    /// Digests of the stateful components, by number.
    fn stateful(&self) -> BTreeMap<ComponentId, [u8; 32]>;
}

/// All configurations whose blobs are at hand.
pub trait Chains: Send + Sync {
    /// The chain that `source`'s records run through under `epoch`; `None` where the blobs are missing.
    fn chain(&self, epoch: EpochId, source: &SourceId) -> Option<Arc<dyn Chain>>;
}

/// Whether a partition that moves between agents is still this process's.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// Makes certain of it, by an effect that only the owner can have. An error: it is another's now, or nobody can say.
    async fn confirm(&self) -> Result<(), JournalError>;
}

// ---------------------------------------------------------------- sinks

/// Rows of one batch on their way to one sink, with the cursors that they move.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whose rows.
    pub partition: PartitionId,
    /// Which source they come from.
    pub source: SourceId,
    /// Which history they come from.
    pub generation: Generation,
    /// Where the batch begins in the stream.
    pub from: Place,
    /// Where it ends.
    pub to: Place,
    /// The cursor that it starts from.
    pub cursor_from: Cursor,
    /// The cursor that it moves to; its counts are those of this batch alone.
    pub mark: Mark,
    /// Input records of the batch as the source gave them; 0 where it moves no input.
    pub records: u64,
    /// When the oldest of them was received, unix nanoseconds.
    pub received: i64,
    /// The PLAN's time, unix nanoseconds.
    pub time: i64,
    /// The configuration under which it ran.
    pub epoch: EpochId,
    /// The rows.
    pub output: Output,
}

impl Offer {
    /// Whether it only tells of a loss.
    pub fn is_lost(&self) -> bool {
        !self.mark.counts.lost_bytes.is_empty()
    }
}

/// Why a call on a sink failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// Whether it took effect is not known. Find out first, then go on.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Somebody else owns what we wrote to.
    #[error("fenced by another writer: {0}")]
    Fenced(String),
    /// It did not take effect; try again after a while.
    #[error("not now: {0}")]
    Unavailable(String),
    /// It will not take effect until a person mends something; goes on being tried, slowly.
    #[error("refused: {0}")]
    Refused(String),
}

/// Rows that a sink has committed and that readers don't see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hidden {
    /// For how long the oldest of them have been committed.
    pub age: Duration,
    /// Where they lie, and what may hold them back, in a sentence for a person.
    pub detail: String,
}

/// A log that commits rows and cursors in one transaction (Kafka).
#[async_trait]
pub trait TransactionLog: Send + Sync {
    /// The place that it delivers to, in words that differ for places that differ: also in what says where each row goes there, and
    /// what it looks like.
    async fn place(&self) -> Result<String, SinkError>;
    /// Fences older producers of this sink, lets their transactions end, and reads the committed cursors behind a barrier.
    async fn recover(&self) -> Result<BTreeMap<Generation, Mark>, SinkError>;
    /// Another process that the newest recovery met under this sink's name, and this one, by their names; told once.
    fn twin(&self) -> Option<(String, String)> {
        None
    }
    /// What was committed so long ago that readers should see it, and don't.
    fn hidden(&self) -> Option<Hidden> {
        None
    }
    /// One transaction: the rows of all offers, then the cursors, then commit. `forget` names generations whose cursors go.
    /// Rows that can never be taken come back as `Ok(rows)`: nothing was committed, they get a verdict and the rest is sent again.
    async fn commit(
        &self,
        offers: &[Offer],
        marks: &[(Generation, Mark)],
        forget: &[Generation],
    ) -> Result<Vec<RefusedRow>, SinkError>;
}

/// A row that a sink will never take.
#[derive(Clone, PartialEq, Debug)]
pub struct RefusedRow {
    /// Index into the offers.
    pub offer: usize,
    /// Index into that offer's `output.batch.rows`.
    pub row: u32,
    /// The sink's own reason.
    pub reason: String,
}

/// What became of one document.
#[derive(Clone, PartialEq, Debug)]
pub enum DocumentOutcome {
    /// Created now, or there already under the same id.
    Done,
    /// Not now (429, 5xx, blocked): again.
    Again(String),
    /// Never.
    Refused(String),
    /// Not sent: it would be the first of a name that counts against a limit (this is the name's hash). Which names there are decides
    /// where later rows go, so it is sent once this one is admitted for good.
    NewName(u64),
}

/// A store where writing the same id twice is harmless (Elasticsearch).
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// The place that it delivers to, in words that differ for places that differ: also in what says where each row goes there, and
    /// what it looks like.
    async fn place(&self) -> Result<String, SinkError>;
    /// Names of [`DocumentOutcome::NewName`] that are admitted, and durably so. All that the journal knows come before the first row.
    fn admit(&self, _names: &BTreeSet<u64>) {}
    /// Creates documents; one outcome per item, in order. An error means that every item's outcome is unknown.
    async fn create(&self, items: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError>;
    /// Whether the document of this row exists.
    async fn exists(&self, offer: &Offer, row: u32) -> Result<bool, SinkError>;
}

/// What a put-if-absent did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutOutcome {
    /// Created now.
    Created,
    /// There already.
    Exists,
    /// A conflict with a concurrent request: neither; try again.
    Conflict,
}

/// Rows gathered for objects, one per path, encoded and staged where no reader sees them.
pub trait Staging: Send {
    /// Adds rows. `floor` is the lowest received time, unix nanoseconds, that a path may show.
    fn add(&mut self, offer: &Offer, floor: i64) -> Result<(), SinkError>;
    /// Whether the rows may be added without more paths than a claim may name. Whatever comes first fits.
    fn fits(&mut self, _offer: &Offer, _floor: i64) -> bool {
        true
    }
    /// From here on rows go to these paths only, those of any other path to the one that takes what would make too many: so a
    /// claim that named as many paths as it may is made again as it was. Each of them is there also without rows: an object whose
    /// input is lost must keep its key from a request that is still under way.
    fn restrict(&mut self, _paths: &[String]) {}
    /// Paths so far, ascending.
    fn paths(&self) -> Vec<String>;
    /// Encoded bytes so far, of all paths.
    fn bytes(&self) -> u64;
    /// The staging itself, for the store that made it: nobody else knows what it holds.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// A store of immutable objects with put-if-absent (S3, HDFS, a folder).
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// The place that it delivers to, in words that differ for places that differ: also in what says where each row goes there, and
    /// what it looks like.
    async fn place(&self) -> Result<String, SinkError>;
    /// An empty staging area.
    fn stage(&self) -> Box<dyn Staging>;
    /// The data key of the `index`-th path of a claim.
    fn data_key(&self, path: &str, number: u64, attempt: &str, index: usize) -> String;
    /// Creates claim `number`.
    async fn put_claim(&self, number: u64, claim: &Claim) -> Result<PutOutcome, SinkError>;
    /// Reads claim `number`; `None` where there is none.
    async fn get_claim(&self, number: u64) -> Result<Option<Claim>, SinkError>;
    /// Numbers of all claims, ascending.
    async fn list_claims(&self) -> Result<Vec<u64>, SinkError>;
    /// Deletes a claim that nobody needs.
    async fn delete_claim(&self, number: u64) -> Result<(), SinkError>;
    /// Makes the staged object of `path` visible under `key`.
    async fn put_data(&self, staging: &mut dyn Staging, path: &str, key: &str) -> Result<PutOutcome, SinkError>;
    /// Whether `key` exists.
    async fn exists(&self, key: &str) -> Result<bool, SinkError>;
    /// Publishes the time up to which hours are closed, unix nanoseconds.
    async fn publish_complete(&self, closed: i64) -> Result<(), SinkError>;
}

/// One growing local file whose durable length the journal holds.
#[async_trait]
pub trait AppendFile: Send + Sync {
    /// The place that it delivers to, in words that differ for places that differ: also in what says where each row goes there, and
    /// what it looks like.
    async fn place(&self) -> Result<String, SinkError>;
    /// Cuts the file back to the journalled `(number, length)`; `None` = nothing was ever journalled.
    async fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError>;
    /// Appends the rows of all offers, then the letters, and makes them durable; the new `(number, length)`.
    async fn append(&self, offers: &[Offer], letters: &[Letter]) -> Result<(u64, u64), SinkError>;
    /// Whether the file is large or old enough to be rolled now.
    fn due(&self) -> bool;
    /// How long until the present file is old enough; `None` where time alone never makes it so.
    fn due_in(&self) -> Option<Duration> {
        None
    }
    /// Gives the present file its final name and begins the next; harmless to repeat.
    async fn roll(&self) -> Result<(u64, u64), SinkError>;
    /// When this returns no step of this port is under way and none begins any more: another one may take the file over.
    async fn close(&self) {}
}

/// A sink's protocol with the port that executes it.
#[derive(Clone)]
pub enum SinkPort {
    /// Cursor in the transaction.
    Transaction(Arc<dyn TransactionLog>),
    /// Deterministic ids, cursor in the journal.
    Documents(Arc<dyn DocumentStore>),
    /// Numbered claims.
    Objects(Arc<dyn ObjectStore>),
    /// Journalled length.
    Append(Arc<dyn AppendFile>),
}

impl SinkPort {
    /// The place that it delivers to.
    pub async fn place(&self) -> Result<String, SinkError> {
        match self {
            Self::Transaction(port) => port.place().await,
            Self::Documents(port) => port.place().await,
            Self::Objects(port) => port.place().await,
            Self::Append(port) => port.place().await,
        }
    }
}

/// Sinks as former configurations had them.
pub trait FormerSinks: Send + Sync {
    /// The port of `sink` under the configuration of which [`crate::sink::SinkIdentity::config`] was the bytes; why not, in a
    /// sentence for a person. Opens no connection yet.
    fn open(&self, sink: &SinkId, config: &[u8]) -> Result<SinkPort, String>;
}
