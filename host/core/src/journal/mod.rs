//! The journal as the core uses it: the state in memory, and the port that makes records durable in the same order.

mod begin;
mod components;
mod dropped;
mod epochs;
mod floors;
pub(crate) mod histories;
mod losses;
mod missing;
pub mod record;
mod repeats;
mod restored;
mod snapshot;
pub mod state;
#[cfg(test)]
mod tests;

pub use components::Names;
pub(crate) use components::{Components, Heir};
pub use dropped::{DROPPED_MAX, Dropped};
pub(crate) use floors::Floors;
pub use histories::{Histories, History, Part};
pub use missing::{Earlier, MISSING_MAX, Missing, MissingInput, Whereabouts};
pub use record::{Destination, Epoch, Judge, Mark, Record, Registration, SinkFacts, Snap, Standing, Stateful, Verdict};
pub use repeats::{Repeat, Repeats};
pub use state::{GenerationState, JournalState, Later, LostRange, PartitionState, Third};

pub(crate) use losses::end_of;

use crate::mutation;
use crate::pace::Pressure;
use crate::ports::{Clock, JournalError, JournalStore};
use event_listener::Event;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The port failed.
    #[error(transparent)]
    Store(#[from] JournalError),
    /// A record can't be read.
    #[error(transparent)]
    Decode(#[from] record::DecodeError),
}

/// State and store behind one lock: a record takes effect in memory in the order in which it lies in the log.
pub struct Journal {
    store: Arc<dyn JournalStore>,
    clock: Arc<dyn Clock>,
    state: Mutex<JournalState>,
    /// Entries that some sink still needed when it was last trimmed.
    kept_entries: AtomicU64,
    /// Records taken since it was opened; changed with the state.
    taken: AtomicU64,
    /// How many of them the newest durable snapshot holds; [`NOTHING_WRITTEN`] where none holds what was loaded.
    written: AtomicU64,
    /// The first failure; after it nothing is taken any more.
    failed: Mutex<Option<JournalError>>,
    failure: Event,
    /// Held from a blob's storing until a record names it, and while blobs that none names are dropped.
    naming: futures_util::lock::Mutex<()>,
    /// Blobs that stay though no record names them yet.
    held: Mutex<BTreeSet<[u8; 32]>>,
}

const NOTHING_WRITTEN: u64 = u64::MAX;

/// How many entries all streams keep.
fn entries(state: &JournalState) -> u64 {
    state.partitions.values().map(|known| known.stream.len() as u64).sum()
}

impl Journal {
    /// Loads everything durable.
    pub async fn open(store: Arc<dyn JournalStore>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let loaded = store.load().await?;
        let mut state: JournalState = match &loaded.snapshot {
            Some(bytes) => JournalState::decode(bytes)?,
            None => JournalState::default(),
        };
        for bytes in &loaded.records {
            state.apply(&record::decode(bytes)?);
        }
        state.pack();
        let kept_entries = AtomicU64::new(entries(&state));
        let is_written = loaded.snapshot.is_some() && loaded.records.is_empty();
        let written = AtomicU64::new(if is_written { 0 } else { NOTHING_WRITTEN });
        Ok(Self {
            store,
            clock,
            state: Mutex::new(state),
            kept_entries,
            taken: AtomicU64::new(0),
            written,
            failed: Mutex::new(None),
            failure: Event::new(),
            naming: futures_util::lock::Mutex::new(()),
            held: Mutex::default(),
        })
    }

    /// Reads the state. The guard must not live across an await.
    pub fn state(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blob store and the raw log.
    pub fn store(&self) -> &Arc<dyn JournalStore> {
        &self.store
    }

    /// How much of its room it uses.
    pub fn pressure(&self) -> Pressure {
        self.store.pressure()
    }

    /// Entries that some sink still needed at the last checkpoint.
    pub fn kept_entries(&self) -> u64 {
        self.kept_entries.load(Ordering::Relaxed)
    }

    /// Appends what `make` derives from the present state; nothing else is appended between. The order is fixed when this
    /// returns; the future resolves when the records are durable.
    pub fn append_with<R>(
        &self,
        urgent: bool,
        make: impl FnOnce(&JournalState, i64) -> (Vec<Record>, R),
    ) -> (R, BoxFuture<'static, Result<(), JournalError>>) {
        let mut state = self.state();
        let now = self.clock.now();
        let time = if mutation::on("wall_clock_time") { now } else { now.max(state.time) };
        let (records, result) = make(&state, time);
        let mut bytes = Vec::with_capacity(records.len());
        self.taken.fetch_add(records.len() as u64, Ordering::Relaxed);
        for one in &records {
            state.apply(one);
            bytes.push(record::encode(one));
        }
        if bytes.is_empty() {
            return (result, Box::pin(std::future::ready(Ok(()))));
        }
        let durable = self.store.append(bytes, urgent);
        if mutation::on("failed_fsync_trusted") {
            return (result, Box::pin(durable.map(|_| Ok(()))));
        }
        (result, durable)
    }

    /// Appends records and waits until they are durable. A failure is final for the whole process.
    pub async fn commit(&self, records: Vec<Record>) -> Result<(), JournalError> {
        let ((), durable) = self.append_with(true, |_, _| (records, ()));
        self.checked(durable.await)
    }

    /// Stores a blob and appends the records that name it by its digest.
    pub async fn commit_naming(
        &self,
        blob: Vec<u8>,
        records: impl FnOnce([u8; 32]) -> Vec<Record>,
    ) -> Result<(), JournalError> {
        let naming = self.naming.lock().await;
        let digest = self.checked(self.store.put_blob(blob).await)?;
        let ((), durable) = self.append_with(true, |_, _| (records(digest), ()));
        drop(naming);
        self.checked(durable.await)
    }

    /// Stores a blob that no checkpoint drops until [`Self::release_blobs`], though no record may name it by then.
    pub async fn hold_blob(&self, blob: Vec<u8>) -> Result<[u8; 32], JournalError> {
        let _naming = self.naming.lock().await;
        let digest = self.store.put_blob(blob).await?;
        self.held().insert(digest);
        Ok(digest)
    }

    /// Blobs stay from here on only where a record names them.
    pub fn release_blobs(&self) {
        self.held().clear();
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<[u8; 32]>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything that was appended is durable, also what nobody waits for any more.
    pub async fn settle(&self) -> Result<(), JournalError> {
        self.commit(vec![Record::Together(Vec::new())]).await
    }

    /// Appends records that may become durable later; for hints only.
    pub fn hint(&self, records: Vec<Record>) {
        let ((), durable) = self.append_with(false, |_, _| (records, ()));
        drop(durable);
    }

    /// Remembers the first failure.
    pub fn checked<T>(&self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.clone());
            self.failure.notify(usize::MAX);
        }
        result
    }

    /// The first failure, if there was one.
    pub fn failed(&self) -> Option<JournalError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves when the journal has failed.
    pub async fn failure(&self) -> JournalError {
        loop {
            let listener = self.failure.listen();
            if let Some(error) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return error;
            }
            listener.await;
        }
    }

    /// How many records it has taken since it was opened: as long as this stays, the state does.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the newest snapshot, which is durable, holds all of the state, which is locked: another one would be the same, and
    /// free nothing.
    pub fn is_written(&self, _locked: &JournalState) -> bool {
        self.taken.load(Ordering::Relaxed) == self.written.load(Ordering::Relaxed) && self.store.is_whole()
    }

    /// Writes a snapshot of the trimmed state and drops what it replaces.
    pub async fn checkpoint(&self) -> Result<(), JournalError> {
        let _naming = self.naming.lock().await;
        let (durable, blobs, taken) = {
            let mut state = self.state();
            state.trim();
            state.pack();
            self.kept_entries.store(entries(&state), Ordering::Relaxed);
            // Those that are held now: what is let go of while the snapshot is written was named by a record that it lacks.
            let blobs = state.blobs().union(&self.held()).copied().collect();
            (self.store.snapshot(state.encode()), blobs, self.taken.load(Ordering::Relaxed))
        };
        self.checked(durable.await)?;
        self.written.store(taken, Ordering::Relaxed);
        self.store.retain_blobs(blobs).await
    }
}
