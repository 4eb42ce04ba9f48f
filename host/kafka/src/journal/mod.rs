//! A journal kept in a topic, for a partition that moves between agents (delivery.md §3.3). Whoever opens it fences everybody
//! who had it before: from then on their appends fail. It keeps records, one snapshot and blobs as messages of a compacted
//! topic under keys of their own, so that several journals share a partition of the topic, and what a snapshot replaces is
//! taken away by tombstones in the snapshot's own transaction.
//!
//! ```text
//!   append ─┐
//!   append ─┼─► one transaction ─► durable          open: init (fences) ─► barrier ─► read up to it
//!   append ─┘
//! ```
//!
//! What records mean is not known here.

mod keeper;
mod stored;
#[cfg(test)]
mod tests;

use crate::{Cluster, NewTopic, Worker};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt as _};
use keeper::Keeper;
use sawlog_core::ports::{JournalError, JournalStore, Journalled, Ownership};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Partitions over which journals are spread. Never changed: a journal is found again by this number. A topic may have more.
pub const PARTITIONS: i32 = 16;
/// Segments are closed at this size so that compaction, which never touches an open one, keeps opening short.
const SEGMENT_BYTES: u32 = 16 << 20;

/// Where a journal lies and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicJournalOptions {
    /// The topic.
    pub topic: String,
    /// Names the journal among all of the topic, and its transactional id: `GROUP/SOURCE/TOPIC-PARTITION`.
    pub name: String,
    /// Time after which the broker aborts a transaction that does not end.
    pub transaction_timeout: Duration,
}

/// The topic that journals need.
pub fn journal_topic(name: &str, replicas: i32) -> NewTopic {
    let settings = [
        ("cleanup.policy", "compact".to_owned()),
        ("segment.bytes", SEGMENT_BYTES.to_string()),
        ("min.cleanable.dirty.ratio", "0.1".to_owned()),
    ];
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>();
    NewTopic { name: name.to_owned(), partitions: PARTITIONS, replicas, settings }
}

/// Records that wait for the next transaction, and those who wait for them.
#[derive(Default)]
struct Waiting {
    records: Vec<Vec<u8>>,
    /// Records that were appended since the opening, those that wait among them: the place of a snapshot in their order.
    appended: u64,
    answers: Vec<oneshot::Sender<Result<(), JournalError>>>,
    /// A transaction is under way or about to be: it will take what waits.
    called: bool,
}

/// A journal in a topic.
pub struct TopicJournal {
    worker: Arc<Worker<Keeper>>,
    waiting: Arc<Mutex<Waiting>>,
    failed: Arc<Failed>,
}

/// Whether the journal has failed, for whoever runs over it.
#[derive(Default)]
struct Failed {
    error: Mutex<Option<JournalError>>,
    told: Notify,
}

impl Failed {
    fn note<T>(&self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
            self.told.notify_waiters();
        }
        result
    }
}

impl TopicJournal {
    /// A journal that is opened, and taken from whoever had it, by [`JournalStore::load`].
    ///
    /// # Errors
    /// The system gives no thread or no random bits.
    pub fn new(cluster: Arc<dyn Cluster>, options: TopicJournalOptions) -> std::io::Result<Self> {
        let worker = Arc::new(Worker::start("kafka-journal", Keeper::new(cluster, options)?)?);
        Ok(Self { worker, waiting: Arc::default(), failed: Arc::default() })
    }

    async fn on_thread<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Keeper) -> Result<R, JournalError> + Send + 'static,
    ) -> Result<R, JournalError> {
        let result = self.worker.run(job).await.unwrap_or_else(|gone| Err(JournalError(gone.to_string())));
        self.failed.note(result)
    }

    /// Resolves when the journal has failed.
    pub async fn failure(&self) -> JournalError {
        loop {
            let told = self.failed.told.notified();
            if let Some(error) = self.failed.error.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return error;
            }
            told.await;
        }
    }

    /// Has the thread take what waits, after whatever it was told before.
    fn call(&self, waiting: &mut Waiting) {
        if std::mem::replace(&mut waiting.called, true) {
            return;
        }
        let (queue, failed) = (self.waiting.clone(), self.failed.clone());
        let queued = self.worker.post(move |keeper| commit_waiting(keeper, &queue, &failed));
        if let Err(gone) = queued {
            drop(self.failed.note::<()>(Err(JournalError(gone.to_string()))));
        }
    }
}

/// One transaction with everything that waits.
fn commit_waiting(keeper: &mut Keeper, queue: &Mutex<Waiting>, failed: &Failed) {
    let (records, answers) = {
        let mut waiting = queue.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.called = false;
        (std::mem::take(&mut waiting.records), std::mem::take(&mut waiting.answers))
    };
    let result = failed.note(keeper.append(records));
    for answer in answers {
        // Whoever asked may be gone.
        drop(answer.send(result.clone()));
    }
}

#[async_trait]
impl Ownership for TopicJournal {
    /// By a transaction; the journal has failed where it does not go through.
    async fn confirm(&self) -> Result<(), JournalError> {
        self.on_thread(Keeper::confirm).await
    }
}

#[async_trait]
impl JournalStore for TopicJournal {
    async fn load(&self) -> Result<Journalled, JournalError> {
        self.on_thread(Keeper::open).await
    }

    fn append(&self, records: Vec<Vec<u8>>, urgent: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        let (answer, durable) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.appended += records.len() as u64;
            waiting.records.extend(records);
            waiting.answers.push(answer);
            if urgent {
                self.call(&mut waiting);
            }
        }
        async move { durable.await.unwrap_or_else(|_| Err(JournalError("its thread has ended".into()))) }.boxed()
    }

    fn snapshot(&self, state: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        let (answer, durable) = oneshot::channel();
        let failed = self.failed.clone();
        let posted = {
            // What waits was appended before and is in the state: it goes first. What is appended from here on is not in the
            // state, and may go into the same transaction: it stays.
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.call(&mut waiting);
            let appended = waiting.appended;
            self.worker.post(move |keeper| drop(answer.send(failed.note(keeper.snapshot(state, appended)))))
        };
        async move {
            posted.map_err(|gone| JournalError(gone.to_string()))?;
            durable.await.unwrap_or_else(|_| Err(JournalError("its thread has ended".into())))
        }
        .boxed()
    }

    async fn put_blob(&self, bytes: Vec<u8>) -> Result<[u8; 32], JournalError> {
        self.on_thread(move |keeper| keeper.put_blob(&bytes)).await
    }

    async fn get_blob(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        self.on_thread(move |keeper| keeper.get_blob(&digest)).await
    }

    async fn retain_blobs(&self, keep: Vec<[u8; 32]>) -> Result<(), JournalError> {
        self.on_thread(move |keeper| keeper.retain_blobs(&keep)).await
    }
}
