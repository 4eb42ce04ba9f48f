//! The `kafka` sink: each row as one message, in transactions that carry the sink's cursors last (delivery.md 4.1). It
//! executes the transaction port and decides nothing about delivery; it knows no other sink.

pub mod config;
mod cursors;
mod encode;
pub mod retire;
mod session;
pub mod setup;
mod unseen;

pub use session::{Activity, SinkSettings};

use crate::kafka::config::KafkaSink;
use async_trait::async_trait;
use sawlog_core::SinkId;
use sawlog_core::journal::Mark;
use sawlog_core::ports::{Hidden, Offer, RefusedRow, SinkError, TransactionLog};
use sawlog_kafka::{Cluster, Connection, LibrdkafkaCluster, Worker};
use sawlog_record::id::Generation;
use sawlog_settings::component;
use session::Session;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

/// Whose sink this is: parts of the transactional id and of the cursors' keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Name of the group of agents; part of the transactional id alone.
    pub cluster: String,
    /// The agent's id.
    pub agent: String,
    /// The sink's key in the configuration.
    pub sink: SinkId,
}

/// Why no sink could be made of the options.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system gives no thread or no random bits.
    #[error("cannot start the sink: {0}")]
    System(String),
}

/// The sink.
pub struct KafkaTransactions {
    worker: Worker<Session>,
    activity: Arc<Activity>,
    /// When rows that readers don't see are told of.
    patience: Duration,
    /// What looks at what readers see ends with it.
    _watch: mpsc::Sender<()>,
}

impl KafkaTransactions {
    /// A sink of the cluster that `options` name. Nothing is sent before the core asks it to recover.
    ///
    /// # Errors
    /// No thread, or no random bits.
    pub fn open(options: &KafkaSink, owner: &Owner, provenance: component::Provenance) -> Result<Self, OpenError> {
        let cluster = Arc::new(LibrdkafkaCluster::new(connection(options, owner)));
        Self::over(cluster, SinkSettings::of(options, owner, provenance))
    }

    /// A sink of any cluster.
    ///
    /// # Errors
    /// No thread, or no random bits.
    pub fn over(cluster: Arc<dyn Cluster>, settings: SinkSettings) -> Result<Self, OpenError> {
        let activity = Arc::new(Activity::default());
        let system = |error: std::io::Error| OpenError::System(error.to_string());
        let patience = unseen::patience(&settings);
        let watch = unseen::watch(cluster.clone(), &settings, activity.clone()).map_err(system)?;
        let name = format!("kafka-{}", settings.owner.sink);
        let session = Session::new(cluster, settings, activity.clone()).map_err(OpenError::System)?;
        let worker = Worker::start(&name, session).map_err(system)?;
        Ok(Self { worker, activity, patience, _watch: watch })
    }

    /// Counters for metrics.
    pub fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }
}

/// How the sink's cluster is reached.
pub fn connection(options: &KafkaSink, owner: &Owner) -> Connection {
    Connection {
        brokers: options.brokers.clone(),
        client_id: format!("sawlog-{}-{}", owner.agent, owner.sink),
        sasl: options.sasl.clone(),
        tls: options.tls.clone(),
    }
}

#[async_trait]
impl TransactionLog for KafkaTransactions {
    async fn place(&self) -> Result<String, SinkError> {
        self.worker.run(|session| session.place()).await.map_err(|gone| SinkError::Refused(gone.to_string()))?
    }

    async fn recover(&self) -> Result<BTreeMap<Generation, Mark>, SinkError> {
        self.worker.run(Session::recover).await.map_err(|gone| SinkError::Refused(gone.to_string()))?
    }

    fn twin(&self) -> Option<(String, String)> {
        self.activity.twin.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn hidden(&self) -> Option<Hidden> {
        self.activity.hidden(self.patience)
    }

    async fn commit(
        &self,
        offers: &[Offer],
        marks: &[(Generation, Mark)],
        forget: &[Generation],
    ) -> Result<Vec<RefusedRow>, SinkError> {
        let (offers, marks, forget) = (offers.to_vec(), marks.to_vec(), forget.to_vec());
        let job = move |session: &mut Session| session.commit(&offers, &marks, &forget);
        self.worker.run(job).await.map_err(|gone| SinkError::Refused(gone.to_string()))?
    }
}
