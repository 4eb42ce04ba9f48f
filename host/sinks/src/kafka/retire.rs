//! The cursors of an agent that does not come back: who wrote when, and their end. A message stays that says so, and the sink of an
//! agent that is started with the id again refuses. Blocks; decides nothing.

use super::config::KafkaSink;
use super::cursors::{self, Keys, LifeId, Replay};
use super::{Owner, connection};
use sawlog_kafka::{
    ClientError, Cluster, Committed, Compression, LibrdkafkaCluster, Message, PartitionRef, ProducerOptions,
    TransactionalProducer, Trouble,
};
use sawlog_record::id::Generation;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);
/// The owner's open transaction holds back what is read for as long as the broker lets it live.
const READ_TIMEOUT: Duration = Duration::from_secs(150);
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Why the cursors can't be read or ended.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// The cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A message of the cursor topic, or the system.
    #[error("{0}")]
    Damaged(String),
}

/// What the cursor topic has of one sink of an agent.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Histories with a cursor.
    pub cursors: Vec<Generation>,
    /// When the newest of its messages was written, unix nanoseconds.
    pub written: Option<i64>,
    /// When the agent was retired, unix nanoseconds.
    pub retired: Option<i64>,
}

struct Topic<'a> {
    cluster: LibrdkafkaCluster,
    owner: &'a Owner,
    keys: Keys,
    partition: PartitionRef,
}

/// Looks, and fences nobody.
///
/// # Errors
/// The cluster does not answer or refuses, or a message can't be read.
pub fn look(sink: &KafkaSink, owner: &Owner) -> Result<Held, RetireError> {
    let topic = Topic::new(sink, owner);
    if topic.cluster.topic(&sink.cursor_topic, TIMEOUT)?.is_none() {
        return Ok(Held::default());
    }
    let mut producer = topic.producer("/retire")?;
    topic.read(producer.as_mut())
}

/// Fences the owner, deletes its cursors and says that it was retired at `now`, unix nanoseconds, in one transaction. Harmless to
/// repeat. Gives what was there.
///
/// # Errors
/// As for [`look`]; or the owner runs, and has fenced this in turn.
pub fn end(sink: &KafkaSink, owner: &Owner, now: i64) -> Result<Held, RetireError> {
    let topic = Topic::new(sink, owner);
    let mut producer = topic.producer("")?;
    let held = topic.read(producer.as_mut())?;
    let retired = cursors::retired_value(now).map_err(RetireError::Damaged)?;
    let gone = held.cursors.iter().map(|generation| (topic.keys.cursor(*generation), None));
    let said = (topic.keys.retired().to_owned(), Some(retired));
    // No transaction comes after it.
    let (Committed::Fit | Committed::Spent) =
        topic.commit(producer.as_mut(), &gone.chain([said]).collect::<Vec<_>>())?;
    Ok(held)
}

impl<'a> Topic<'a> {
    fn new(sink: &KafkaSink, owner: &'a Owner) -> Self {
        let partition = PartitionRef { topic: sink.cursor_topic.clone(), partition: cursors::partition(owner) };
        Self { cluster: LibrdkafkaCluster::new(connection(sink, owner)), owner, keys: Keys::of(owner), partition }
    }

    /// The owner's own producer, or with an ending one beside it.
    fn producer(&self, ending: &str) -> Result<Box<dyn TransactionalProducer>, ClientError> {
        let Owner { cluster, agent, sink } = self.owner;
        let mut producer = self.cluster.producer(&ProducerOptions {
            transactional_id: format!("{cluster}/{agent}/{sink}{ending}"),
            transaction_timeout: TIMEOUT,
            compression: Compression::None,
            message_bytes_max: BATCH_BYTES_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            one_by_one: false,
        })?;
        producer.init(TIMEOUT)?;
        Ok(producer)
    }

    fn commit(
        &self,
        producer: &mut dyn TransactionalProducer,
        messages: &[(String, Option<Vec<u8>>)],
    ) -> Result<Committed, ClientError> {
        let deadline = Instant::now() + TIMEOUT;
        producer.begin()?;
        for (key, value) in messages {
            let message = Message {
                topic: &self.partition.topic,
                partition: Some(self.partition.partition),
                key: Some(key.as_bytes()),
                value: value.as_deref(),
                headers: &[],
                number: 0,
            };
            producer.send(&message, deadline)?;
        }
        if let Some(failure) = producer.settle(deadline)?.into_iter().next() {
            return Err(failure.error);
        }
        producer.commit(TIMEOUT)
    }

    /// Everything that is committed before this.
    fn read(&self, producer: &mut dyn TransactionalProducer) -> Result<Held, RetireError> {
        let mut life = LifeId::default();
        getrandom::fill(&mut life).map_err(|error| RetireError::Damaged(error.to_string()))?;
        let keys = self.keys.of_a_stranger();
        let barrier = cursors::barrier_value(life, 0).map_err(RetireError::Damaged)?;
        if self.commit(producer, &[(keys.barrier().to_owned(), Some(barrier.clone()))])? == Committed::Spent {
            let reason = "it was asked for twice, and one of the requests may still be on its way; try again";
            return Err(ClientError::new("commit of a barrier", Trouble::Unavailable, reason).into());
        }
        let mut replay = Replay::until(&keys, barrier);
        let (mut damage, mut written) = (None, None);
        self.cluster.read_until(&self.partition, Instant::now() + READ_TIMEOUT, &mut |entry| {
            let key = entry.key.unwrap_or_default();
            if self.keys.is_of_owner(key) {
                written = written.max(entry.time);
            }
            match replay.take(key, entry.value) {
                Ok(found) => found,
                Err(error) => damage.replace(error).is_none(),
            }
        })?;
        if let Some(damage) = damage {
            return Err(RetireError::Damaged(damage));
        }
        let (retired, written) = (replay.retired(), written.map(|millis: i64| millis.saturating_mul(1_000_000)));
        Ok(Held { cursors: replay.into_marks().into_keys().collect(), written, retired })
    }
}
