//! The `kafka` source: committed messages of topics, one record each, at positions that it keeps itself. It knows no other
//! source.
//!
//! Partitions that are listed by hand (`partitions`) have their journal on the node's disk. A partition that a group hands from
//! agent to agent is read by a source of its own, over a journal in a topic that moves with it; `group` says which they are.

mod ailing;
mod buffer;
pub mod config;
mod frontier;
pub mod group;
mod identity;
pub mod message;
mod replay;
mod shared;

use async_trait::async_trait;
use buffer::Found;
use config::KafkaSource;
use frontier::Frontier;
use identity::Identity;
use replay::Replay;
use sawlog_core::ports::{ReadError, ReadLimits, Source, SourceEvent};
use sawlog_kafka::{Cluster, Worker};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use shared::{Availability, Shared, Tracked};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a read waits for messages that are on their way.
const READ_WAIT: Duration = Duration::from_secs(1);

/// The source.
pub struct KafkaTopics {
    shared: Arc<Shared>,
    stopped: Arc<AtomicBool>,
    replay: Worker<Replay>,
    /// Runs once the core has said what it knows.
    frontier: Mutex<Option<Frontier>>,
}

/// How far behind a partition is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lag {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Offsets between what was fetched and the end.
    pub unfetched: u64,
    /// Offset that every sink has finished.
    pub floor: u64,
}

impl KafkaTopics {
    /// A source of the cluster that `options` name; `agent` and `source` name it in the brokers' logs. Nothing is sent before
    /// [`Source::restore`]. With `until_eof` it reads to where the partitions end when it begins, and has finished then.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn open(options: &KafkaSource, agent: &str, source: &str, until_eof: bool) -> std::io::Result<Self> {
        Self::over(group::cluster(options, agent, source), options, until_eof, true)
    }

    /// The same for partitions that a [`group::GroupMember`] was given: it commits what is finished, this source does not.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn open_given(options: &KafkaSource, agent: &str, source: &str, until_eof: bool) -> std::io::Result<Self> {
        Self::over(group::cluster(options, agent, source), options, until_eof, false)
    }

    /// A source of any cluster.
    ///
    /// # Errors
    /// The system gives no thread.
    fn over(cluster: Arc<dyn Cluster>, options: &KafkaSource, until_eof: bool, commits: bool) -> std::io::Result<Self> {
        let (shared, stopped) = (Arc::new(Shared::default()), Arc::new(AtomicBool::new(false)));
        let replay = Worker::start("kafka-replay", Replay::new(cluster.clone(), options.clone()))?;
        let (options, shared_too, stopped_too) = (options.clone(), shared.clone(), stopped.clone());
        let frontier = Frontier { cluster, options, shared: shared_too, until_eof, commits, stopped: stopped_too };
        Ok(Self { shared, stopped, replay, frontier: Mutex::new(Some(frontier)) })
    }

    /// Lag of every partition that is read here; for metrics.
    pub fn lag(&self) -> Vec<Lag> {
        let state = self.shared.lock();
        let one = |tracked: &Tracked| Lag {
            topic: tracked.identity.topic.clone(),
            partition: tracked.identity.partition,
            unfetched: tracked.lag,
            floor: tracked.floor,
        };
        state.partitions.values().filter(|tracked| tracked.buffer.is_some()).map(one).collect()
    }

    /// How long the slowest broker took to answer lately, on average: mostly fetches, for which a broker without messages waits
    /// up to 0.1 s. `None` where nothing is known.
    pub fn fetch_latency(&self) -> Option<Duration> {
        self.shared.lock().round_trip
    }

    /// The consumer's newest trouble; `None` while it reads.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.newest()
    }
}

impl Drop for KafkaTopics {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Source for KafkaTopics {
    async fn restore(&self, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {
        {
            let mut state = self.shared.lock();
            for (generation, _, record, floor) in known {
                match Identity::read(&record) {
                    Some(identity) => _ = state.partitions.insert(generation, Tracked::new(identity, floor)),
                    None => {
                        tracing::error!(%generation, "the journal's record of a partition is of another version; it is not read")
                    }
                }
            }
        }
        let frontier = self.frontier.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(frontier) = frontier {
            let started = thread::Builder::new().name("kafka-frontier".into()).spawn(move || frontier.run());
            if let Err(error) = started {
                self.shared.lock().trouble.note(format!("no thread for the consumer: {error}; restart the agent"));
            }
        }
    }

    async fn event(&self) -> SourceEvent {
        self.shared.event().await
    }

    async fn read(&self, generation: Generation, from: u64, to: u64, limits: ReadLimits) -> Result<Input, ReadError> {
        loop {
            let changed = self.shared.changed.notified();
            let found = self.shared.lock().read(generation, from, to, limits);
            match found {
                Availability::Here(Found::Records(input)) => return Ok(input),
                Availability::Gone => return Err(ReadError::Gone),
                Availability::Elsewhere => {
                    return Err(ReadError::Unavailable("another agent of the group has the partition".to_owned()));
                }
                Availability::Replay(place) => {
                    let read = move |replay: &mut Replay| replay.read(&place, generation, (from, to), limits);
                    return self
                        .replay
                        .run(read)
                        .await
                        .unwrap_or_else(|gone| Err(ReadError::Unavailable(gone.to_string())));
                }
                Availability::Here(_) => {
                    if tokio::time::timeout(READ_WAIT, changed).await.is_err() {
                        let trouble = self.shared.lock().trouble.newest();
                        return Err(ReadError::Unavailable(trouble.unwrap_or_else(|| "not fetched yet".to_owned())));
                    }
                }
            }
        }
    }

    async fn anchor(&self, generation: Generation, _: u64) -> Vec<u8> {
        let state = self.shared.lock();
        state.partitions.get(&generation).map(|tracked| tracked.identity.topic_id.to_vec()).unwrap_or_default()
    }

    async fn trim(&self, generation: Generation, floor: u64) {
        let mut state = self.shared.lock();
        let Some(tracked) = state.partitions.get_mut(&generation) else { return };
        tracked.floor = tracked.floor.max(floor);
        if let Some(buffer) = &mut tracked.buffer {
            buffer.forget_below(floor);
        }
    }

    async fn oldest(&self, _: Generation) -> Option<u64> {
        None
    }

    fn begins_anywhere(&self) -> bool {
        true
    }

    async fn release(&self, generation: Generation) {
        self.shared.lock().partitions.remove(&generation);
    }
}
