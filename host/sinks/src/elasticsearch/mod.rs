//! The `elasticsearch` sink: each row as one document under an id that makes a repeat harmless (delivery.md 4.2); OpenSearch
//! too. It executes the document port and decides nothing about delivery; it knows no other sink.

mod bulk;
mod client;
pub mod config;
mod documents;
mod index;
pub mod setup;

use crate::elasticsearch::config::{DocumentId, ElasticsearchSink};
use async_trait::async_trait;
use bulk::{Verdict, read_answer, read_error};
use client::{Answer, Client};
use documents::{Documents, Encoder};
use index::{IndexNames, IndexState};
use sawlog_core::ports::{DocumentOutcome, DocumentStore, Offer, SinkError};
use sawlog_settings::component;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Why no sink could be made of the options.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A certificate, key, proxy, header or address that can't be used.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a sink has done so far; for metrics.
#[derive(Default, Debug)]
pub struct Activity {
    /// Bulk requests that were answered.
    pub requests: AtomicU64,
    /// Documents created, or found to be there already.
    pub documents: AtomicU64,
    /// Of these, those that were there already.
    pub repeats: AtomicU64,
    /// Requests that went to another endpoint than the one before.
    pub failovers: AtomicU64,
    /// Rows that went to the index of `other` because `indexes_max` was met.
    pub over_indexes_max: AtomicU64,
}

/// The sink.
pub struct ElasticsearchDocuments {
    client: Client,
    encoder: Mutex<Encoder>,
    /// Indexes that were seen to be concrete and durable.
    verified: Mutex<BTreeSet<String>>,
    exactly_once: bool,
    /// The indexes that it writes to, and its addresses, as people name them.
    place: (String, String),
    /// What the server or a proxy before it takes, bytes; learnt from 413.
    request_bytes_max: AtomicUsize,
    activity: Arc<Activity>,
}

impl ElasticsearchDocuments {
    /// A sink of the cluster that `options` name. Nothing is sent before the core hands it rows. With `exactly_once` it refuses
    /// aliases, data streams and indexes that answer before a document is durable.
    ///
    /// # Errors
    /// Options that make no client.
    pub fn open(
        options: &ElasticsearchSink,
        agent: &str,
        provenance: component::Provenance,
        exactly_once: bool,
    ) -> Result<Self, OpenError> {
        let activity = Arc::new(Activity::default());
        let names = IndexNames::new(options);
        let with_ids = options.id == DocumentId::Position;
        Ok(Self {
            client: Client::open(options, activity.clone())?,
            encoder: Mutex::new(Encoder::new(names, agent, provenance, with_ids)),
            verified: Mutex::default(),
            exactly_once,
            place: (options.indexes(), options.endpoints.join(", ")),
            request_bytes_max: AtomicUsize::new(usize::MAX),
            activity,
        })
    }

    /// Counters for metrics.
    pub fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    fn encode(&self, items: &[(&Offer, u32)]) -> Result<Documents, SinkError> {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let documents = encoder.encode(items).map_err(SinkError::Refused)?;
        self.activity.over_indexes_max.store(encoder.over_indexes_max(), Ordering::Relaxed);
        Ok(documents)
    }

    /// Looks at each index before the first write to it: behind an alias an id is unique only until the next rollover.
    async fn verify(&self, indexes: &BTreeSet<String>) -> Result<(), SinkError> {
        for index in indexes.iter().filter(|_| self.exactly_once) {
            if self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(index) {
                continue;
            }
            let answer = self.client.get(&format!("{index}/_settings"), &[("flat_settings", "true")]).await?;
            match index::state(index, &answer)? {
                IndexState::Concrete => {
                    if let Some(reason) = index::fragile(index, &answer) {
                        tracing::warn!(index, "{reason}");
                    }
                    _ = self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(index.clone())
                }
                IndexState::Missing => {}
                IndexState::Hidden(reason) => {
                    tracing::warn!(index, reason, "cannot see whether the index is a concrete one")
                }
            }
        }
        Ok(())
    }

    async fn send(&self, documents: &Documents) -> Result<Vec<DocumentOutcome>, SinkError> {
        let mut outcomes: Vec<Option<DocumentOutcome>> = vec![None; documents.len()];
        let mut open =
            VecDeque::from(documents.split(0..documents.len(), self.request_bytes_max.load(Ordering::Relaxed)));
        while let Some(range) = open.pop_front() {
            let answer = self.client.bulk(documents.body(range.clone())).await?;
            match self.judge(documents, range.clone(), &answer)? {
                Verdict::Items(items) => range.zip(items).for_each(|(at, outcome)| outcomes[at] = Some(outcome)),
                Verdict::Split => halves(range).into_iter().rev().for_each(|half| open.push_front(half)),
            }
        }
        let every = outcomes.into_iter().collect::<Option<Vec<_>>>();
        every.ok_or_else(|| SinkError::Unknown("a document got no outcome".to_owned()))
    }

    /// What one answer says about the documents of `range`.
    fn judge(&self, documents: &Documents, range: Range<usize>, answer: &Answer) -> Result<Verdict, SinkError> {
        self.activity.requests.fetch_add(1, Ordering::Relaxed);
        let all = |outcome: DocumentOutcome| Ok(Verdict::Items(vec![outcome; range.len()]));
        match answer.status {
            200 => {
                let items = read_answer(&answer.body, documents.items(range), self.exactly_once)?;
                let done = items.iter().filter(|item| item.outcome == DocumentOutcome::Done).count();
                self.activity.documents.fetch_add(done as u64, Ordering::Relaxed);
                self.activity
                    .repeats
                    .fetch_add(items.iter().filter(|item| item.repeat).count() as u64, Ordering::Relaxed);
                Ok(Verdict::Items(items.into_iter().map(|item| item.outcome).collect()))
            }
            413 => {
                let bytes = documents.body(range.clone()).len();
                self.request_bytes_max.fetch_min((bytes / 2).max(1), Ordering::Relaxed);
                if range.len() > 1 {
                    return Ok(Verdict::Split);
                }
                all(DocumentOutcome::Refused(format!("413: the server takes no request of {bytes} bytes")))
            }
            429 => all(DocumentOutcome::Again(read_error(answer).words)),
            400 if range.len() > 1 => Ok(Verdict::Split),
            400 => match read_error(answer) {
                error if error.of_the_server => all(DocumentOutcome::Refused(error.words)),
                error => Err(SinkError::Refused(error.words)),
            },
            500.. => Err(SinkError::Unknown(read_error(answer).words)),
            _ => Err(SinkError::Refused(read_error(answer).words)),
        }
    }
}

fn halves(range: Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    [range.start..middle, middle..range.end]
}

#[async_trait]
impl DocumentStore for ElasticsearchDocuments {
    /// Named by the cluster's own id. Without one it is not known where documents would go, and nothing goes there: another name
    /// for a while, such as the addresses, would look like a move.
    async fn place(&self) -> Result<String, SinkError> {
        let (indexes, addresses) = &self.place;
        Ok(match index::cluster(&self.client.get("", &[]).await?)? {
            Some(cluster) => format!("{indexes} of Elasticsearch cluster {cluster}"),
            None => format!("{indexes} at {addresses}"),
        })
    }

    fn admit(&self, names: &BTreeSet<u64>) {
        self.encoder.lock().unwrap_or_else(PoisonError::into_inner).admit(names);
    }

    async fn create(&self, items: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError> {
        let documents = self.encode(items)?;
        self.verify(documents.indexes()).await?;
        let sent = self.send(&documents).await?;
        Ok(documents.outcomes(sent))
    }

    async fn exists(&self, offer: &Offer, row: u32) -> Result<bool, SinkError> {
        let documents = self.encode(&[(offer, row)])?;
        let Some(item) = documents.items(0..1).first() else { return Ok(false) };
        let Some(id) = &item.id else { return Ok(false) };
        let answer = self
            .client
            .get(&format!("{}/_doc/{id}", item.index), &[("_source", "false"), ("realtime", "true")])
            .await?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            429 | 500.. => Err(SinkError::Unavailable(read_error(&answer).words)),
            _ => Err(SinkError::Refused(read_error(&answer).words)),
        }
    }
}
