//! The sink's own thread: one producer at a time, the transaction with its cursors last, and recovery behind a barrier. After
//! any abort, timeout, trouble, or commit that was asked for twice, the producer is dropped: neither librdkafka nor the broker can
//! tell a late end of one transaction from the end of the next (delivery.md 4.1).

use super::Owner;
use super::config::{self, KafkaSink};
use super::cursors::{self, Keys, LifeId, Replay};
use super::encode::{Encoded, Encoder};
use super::unseen::Unseen;
use crate::names::Names;
use sawlog_core::journal::Mark;
use sawlog_core::ports::{Offer, RefusedRow, SinkError};
use sawlog_kafka::{
    ClientError, Cluster, Committed, Compression, Failure, Message, PartitionRef, ProducerOptions, TopicFacts,
    TransactionalProducer, Trouble,
};
use sawlog_record::id::Generation;
use sawlog_record::template::Template;
use sawlog_settings::checked::ValueTemplate;
use sawlog_settings::component;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for a first answer of the cluster, and for fencing and ending a predecessor's transaction.
const INIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for a question about a topic.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Smallest batch that refusals of batches lead to.
const BATCH_BYTES_MIN: usize = 16 << 10;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How far our count of a message's bytes and the client's may lie apart.
const BATCH_SLACK_BYTES: usize = 1 << 10;
/// Number of messages that are no row.
const NO_ROW: usize = usize::MAX;
/// Longest name of a topic that a broker takes.
const TOPIC_BYTES_MAX: usize = 249;

/// What a session is made of.
#[derive(Clone)]
pub struct SinkSettings {
    /// Whose sink.
    pub owner: Owner,
    topic: Template,
    key: Option<Template>,
    topics_max: usize,
    provenance: component::Provenance,
    cursor_topic: String,
    message_bytes_max: usize,
    compression: Compression,
    pub(super) transaction_timeout: Duration,
}

impl SinkSettings {
    /// The settings that `options` say.
    pub fn of(options: &KafkaSink, owner: &Owner, provenance: component::Provenance) -> Self {
        Self {
            owner: owner.clone(),
            topic: options.topic.compiled(),
            key: options.key.as_ref().map(ValueTemplate::compiled),
            topics_max: options.topics_max as usize,
            provenance,
            cursor_topic: options.cursor_topic.clone(),
            message_bytes_max: usize::try_from(options.message_bytes_max.as_bytes()).unwrap_or(usize::MAX),
            compression: match options.compression {
                config::Compression::None => Compression::None,
                config::Compression::Gzip => Compression::Gzip,
                config::Compression::Lz4 => Compression::Lz4,
                config::Compression::Zstd => Compression::Zstd,
            },
            transaction_timeout: Duration::from_millis(options.transaction_timeout.as_millis()),
        }
    }

    /// One transaction, from its first message to the answer to its commit, stays below the broker's limit by this.
    pub(super) fn third(&self) -> Duration {
        self.transaction_timeout / 3
    }

    fn producer(&self, batches: Batches) -> ProducerOptions {
        let Owner { cluster, agent, sink } = &self.owner;
        ProducerOptions {
            transactional_id: format!("{cluster}/{agent}/{sink}"),
            transaction_timeout: self.transaction_timeout,
            compression: self.compression,
            message_bytes_max: self.message_bytes_max,
            batch_bytes_max: batches.bytes_max(),
            one_by_one: batches == Batches::Alone,
        }
    }
}

/// What a sink has done so far; for metrics.
#[derive(Default, Debug)]
pub struct Activity {
    /// Transactions committed.
    pub transactions: AtomicU64,
    /// Messages committed, without cursors.
    pub messages: AtomicU64,
    /// Recoveries behind a barrier.
    pub recoveries: AtomicU64,
    /// Cursors found that another running agent wrote under this agent's id.
    pub twins: AtomicU64,
    /// The newest such agent and this one, by their lives, until they are told.
    pub twin: Mutex<Option<(String, String)>>,
    /// Rows that went to the topic of `other` because `topics_max` was met.
    pub over_topics_max: AtomicU64,
    /// What it has written and readers were not found to see.
    pub(super) unseen: Mutex<Unseen>,
}

/// How messages are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Batches {
    /// Up to so many bytes.
    Usual(usize),
    /// Up to a size that every topic takes; a message that is larger goes alone.
    Small,
    /// Every message goes alone.
    Alone,
}

impl Batches {
    fn bytes_max(self) -> usize {
        match self {
            Self::Usual(bytes) => bytes,
            Self::Small | Self::Alone => BATCH_BYTES_MIN,
        }
    }
}

/// Key and value of a cursor; no value is a tombstone.
type CursorMessage = (String, Option<Vec<u8>>);

/// The thread's state.
pub(super) struct Session {
    cluster: Arc<dyn Cluster>,
    settings: SinkSettings,
    keys: Keys,
    cursors: PartitionRef,
    encoder: Encoder,
    activity: Arc<Activity>,
    life: LifeId,
    /// Barriers that this life has begun to write; each is another one.
    recoveries: u64,
    /// Whether it has ever learnt the committed cursors: what stands there before is of earlier lives, and no twin's.
    has_learnt: bool,
    producer: Option<Box<dyn TransactionalProducer>>,
    /// The committed cursors, as far as this life knows.
    truth: BTreeMap<Generation, Mark>,
    cursor_topic_checked: bool,
    batch_bytes_max: usize,
}

impl Session {
    pub(super) fn new(
        cluster: Arc<dyn Cluster>,
        settings: SinkSettings,
        activity: Arc<Activity>,
    ) -> Result<Self, String> {
        let mut life = LifeId::default();
        getrandom::fill(&mut life).map_err(|error| error.to_string())?;
        let names = Names::new(settings.topic.clone(), settings.topics_max, TOPIC_BYTES_MAX).counting_far_times();
        let encoder =
            Encoder::new(names, settings.key.clone(), &settings.owner, settings.provenance, settings.message_bytes_max);
        let partition = cursors::partition(&settings.owner);
        Ok(Self {
            keys: Keys::of(&settings.owner),
            cursors: PartitionRef { topic: settings.cursor_topic.clone(), partition },
            cluster,
            settings,
            encoder,
            activity,
            life,
            recoveries: 0,
            has_learnt: false,
            producer: None,
            truth: BTreeMap::new(),
            cursor_topic_checked: false,
            batch_bytes_max: BATCH_BYTES_MAX,
        })
    }

    /// Where its cursors lie: topics belong to what is planned, brokers are addresses.
    pub(super) fn place(&self) -> Result<String, SinkError> {
        let cluster = self.cluster.id(ASK_TIMEOUT).map_err(Halt::from)?;
        Ok(format!("Kafka cluster {cluster}, cursors in {}", self.settings.cursor_topic))
    }

    /// Fences, commits a barrier, and reads the cursors before it.
    pub(super) fn recover(&mut self) -> Result<BTreeMap<Generation, Mark>, SinkError> {
        self.producer = None;
        self.reopen(Batches::Usual(self.batch_bytes_max)).map_err(SinkError::from)?;
        Ok(self.truth.clone())
    }

    fn reopen(&mut self, batches: Batches) -> Result<(), Halt> {
        self.check_topics()?;
        let mut producer = self.cluster.producer(&self.settings.producer(batches))?;
        producer.init(INIT_TIMEOUT)?;
        self.recoveries += 1;
        let barrier = cursors::barrier_value(self.life, self.recoveries).map_err(Halt::Refused)?;
        producer.begin()?;
        let deadline = Instant::now() + self.settings.third();
        producer.send(&self.cursor_message(self.keys.barrier(), Some(&barrier)), deadline)?;
        if let Some(failure) = producer.settle(deadline)?.into_iter().next() {
            return Err(failure.error.into());
        }
        if producer.commit(self.settings.third())? == Committed::Spent {
            let reason = "it was asked for twice, and one of the requests may still be on its way";
            return Err(ClientError::new("commit of a barrier", Trouble::Unavailable, reason).into());
        }
        self.truth = self.read_cursors(barrier)?;
        self.has_learnt = true;
        self.producer = Some(producer);
        self.activity.recoveries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Another agent's open transaction may hold our barrier back for as long as the broker lets it live.
    fn read_cursors(&self, barrier: Vec<u8>) -> Result<BTreeMap<Generation, Mark>, Halt> {
        let deadline = Instant::now() + 2 * self.settings.transaction_timeout + INIT_TIMEOUT;
        let mut replay = Replay::until(&self.keys, barrier);
        let mut damage = None;
        self.cluster.read_until(&self.cursors, deadline, &mut |entry| match replay
            .take(entry.key.unwrap_or_default(), entry.value)
        {
            Ok(found) => found,
            Err(error) => damage.replace(error).is_none(),
        })?;
        if let Some(damage) = damage {
            return Err(Halt::Refused(damage));
        }
        if replay.retired().is_some() {
            return Err(Halt::Refused(format!(
                "the agent id {} was retired by `sawlog agent retire`, and its cursors are gone; give this agent another `agent.id` \
                 and an empty `data_dir`: what is still there is sent under that id from its beginning",
                self.settings.owner.agent
            )));
        }
        let lives = if self.has_learnt { replay.lives() } else { BTreeSet::new() };
        if let Some(other) = lives.iter().find(|life| **life != self.life && !self.is_inherited(&replay, life)) {
            self.activity.twins.fetch_add(1, Ordering::Relaxed);
            let name = |life: &LifeId| format!("the producer's life {:032x}", u128::from_be_bytes(*life));
            let names = (name(other), name(&self.life));
            *self.activity.twin.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
        }
        Ok(replay.into_marks())
    }

    /// Cursors that an earlier life left behind are no twin's: this life has seen them before.
    fn is_inherited(&self, replay: &Replay<'_>, life: &LifeId) -> bool {
        replay.written_by(life).all(|(generation, mark)| self.truth.get(&generation) == Some(mark))
    }

    fn check_topics(&mut self) -> Result<(), Halt> {
        let mut found = Vec::new();
        if let Some(topic) = self.encoder.topics.constant() {
            let Some(facts) = self.cluster.topic(topic, ASK_TIMEOUT)? else {
                return Err(Halt::Refused(format!(
                    "there is no topic {topic}; create it, for example with `sawlog setup`"
                )));
            };
            found.push((topic.to_owned(), facts));
        }
        if self.cursor_topic_checked {
            return Ok(());
        }
        let name = &self.settings.cursor_topic;
        let facts = self.cluster.topic(name, ASK_TIMEOUT)?;
        let partitions = facts.as_ref().map_or(0, |topic| topic.partitions);
        found.extend(facts.map(|facts| (name.clone(), facts)));
        if partitions < cursors::PARTITIONS.unsigned_abs() as usize {
            return Err(Halt::Refused(format!(
                "the cursor topic {name} has {partitions} partitions and needs {}; create it with `sawlog setup`",
                cursors::PARTITIONS
            )));
        }
        match self.cluster.topic_setting(name, "cleanup.policy", ASK_TIMEOUT) {
            Ok(Some(policy)) if policy != "compact" => {
                return Err(Halt::Refused(format!(
                    "the cursor topic {name} has cleanup.policy={policy}, which deletes cursors; set it to compact"
                )));
            }
            Ok(_) => {}
            Err(error) if error.trouble == Trouble::Refused => {
                tracing::warn!(%error, topic = name, "cannot see whether the cursor topic is compacted");
            }
            Err(error) => return Err(error.into()),
        }
        found.iter().for_each(|(topic, facts)| self.warn_of(topic, facts));
        self.cursor_topic_checked = true;
        Ok(())
    }

    /// Says once what Kafka may lose of what it acknowledges: nothing here can hold it.
    fn warn_of(&self, topic: &str, facts: &TopicFacts) {
        let unclean = self.cluster.topic_setting(topic, UNCLEAN, ASK_TIMEOUT);
        // A user that may not look, or a broker that is gone again, says nothing of it.
        if let Some(reason) = fragile(facts.replicas, unclean.ok().flatten().as_deref()) {
            tracing::warn!(topic, "{reason}");
        }
    }

    fn cursor_message<'a>(&'a self, key: &'a str, value: Option<&'a [u8]>) -> Message<'a> {
        Message {
            topic: &self.cursors.topic,
            partition: Some(self.cursors.partition),
            key: Some(key.as_bytes()),
            value,
            headers: &[],
            number: NO_ROW,
        }
    }

    /// One transaction; rows that can never be taken come back, and then nothing was committed.
    pub(super) fn commit(
        &mut self,
        offers: &[Offer],
        marks: &[(Generation, Mark)],
        forget: &[Generation],
    ) -> Result<Vec<RefusedRow>, SinkError> {
        let mut encoded = self.encoder.encode(offers);
        self.activity.over_topics_max.store(self.encoder.topics.over_limit, Ordering::Relaxed);
        if !encoded.refused.is_empty() {
            return Ok(std::mem::take(&mut encoded.refused));
        }
        let cursors = self.cursor_values(marks, forget)?;
        if let Some(refused) = self.send(&encoded, &cursors)? {
            return Ok(refused);
        }
        self.truth.extend(marks.iter().cloned());
        forget.iter().for_each(|generation| drop(self.truth.remove(generation)));
        self.activity.transactions.fetch_add(1, Ordering::Relaxed);
        self.activity.messages.fetch_add(encoded.len() as u64, Ordering::Relaxed);
        Ok(Vec::new())
    }

    /// Commits, or finds the rows that keep it from committing. A batch is refused as a whole, so only a message that went alone
    /// is to blame: batches are made smaller until those that are refused are such messages.
    fn send(&mut self, encoded: &Encoded, cursors: &[CursorMessage]) -> Result<Option<Vec<RefusedRow>>, SinkError> {
        let mut tries = [Batches::Usual(self.batch_bytes_max), Batches::Small, Batches::Alone].into_iter().peekable();
        while let Some(batches) = tries.next() {
            let failures = match self.attempt(encoded, cursors, batches) {
                Ok(()) => return Ok(None),
                Err(Halt::Rows(failures)) => failures,
                Err(halt) => return Err(halt.into()),
            };
            self.batch_bytes_max = (self.batch_bytes_max / 2).max(BATCH_BYTES_MIN);
            tracing::debug!(failures = failures.len(), ?batches, "messages were refused");
            let alone = |failure: &Failure| encoded.bytes_of(failure.number) > batches.bytes_max() + BATCH_SLACK_BYTES;
            if tries.peek().is_none() || failures.iter().all(alone) {
                return blamed(encoded, failures).map(Some);
            }
        }
        Ok(None)
    }

    fn cursor_values(
        &self,
        marks: &[(Generation, Mark)],
        forget: &[Generation],
    ) -> Result<Vec<CursorMessage>, SinkError> {
        let mut messages = Vec::new();
        for (generation, mark) in marks {
            let value = cursors::cursor_value(self.life, mark).map_err(SinkError::Refused)?;
            messages.push((self.keys.cursor(*generation), Some(value)));
        }
        messages.extend(forget.iter().map(|generation| (self.keys.cursor(*generation), None)));
        Ok(messages)
    }

    /// Sends everything and commits. The producer is gone unless it committed.
    fn attempt(&mut self, encoded: &Encoded, cursors: &[CursorMessage], batches: Batches) -> Result<(), Halt> {
        let usual = matches!(batches, Batches::Usual(_));
        let mut producer = match self.producer.take().filter(|_| usual) {
            Some(producer) => producer,
            None => self.reopen_unmoved(batches)?,
        };
        let deadline = Instant::now() + self.settings.third();
        producer.begin()?;
        encoded.try_each(|message| producer.send(message, deadline))?;
        refuse_failed(producer.settle(deadline)?)?;
        for (key, value) in cursors {
            producer.send(&self.cursor_message(key, value.as_deref()), deadline)?;
        }
        refuse_failed(producer.settle(deadline)?)?;
        // Before its outcome, which nobody may hear of: however it ends, readers see what lies there or pass over it.
        self.activity.note_written(producer.take_reached());
        let committed = producer.commit(self.settings.third())?;
        self.producer = Some(producer).filter(|_| usual && committed == Committed::Fit);
        Ok(())
    }

    /// A new producer in the middle of the sink's life: the cursors must be where this life left them.
    fn reopen_unmoved(&mut self, batches: Batches) -> Result<Box<dyn TransactionalProducer>, Halt> {
        let before = self.truth.clone();
        self.reopen(batches)?;
        if self.truth != before {
            self.producer = None;
            return Err(Halt::Moved);
        }
        self.producer.take().ok_or(Halt::Moved)
    }
}

/// Whether a broker that is no copy of all messages may lead a partition.
const UNCLEAN: &str = "unclean.leader.election.enable";

/// Why a topic may lose messages that were acknowledged.
fn fragile(replicas: usize, unclean: Option<&str>) -> Option<&'static str> {
    match (replicas, unclean) {
        (0 | 1, _) => Some(
            "the topic keeps one copy of a message: what Kafka acknowledged is lost with that broker, and comes from nowhere \
             again; give it 3 replicas and min.insync.replicas=2",
        ),
        (_, Some("true")) => Some(
            "the topic has unclean.leader.election.enable=true: a broker that lacks acknowledged messages may lead it, and they \
             come from nowhere again; set it to false",
        ),
        _ => None,
    }
}

/// Rows that went alone and were refused all the same. Where that is every row, it is not the rows that are wrong.
fn blamed(encoded: &Encoded, failures: Vec<Failure>) -> Result<Vec<RefusedRow>, SinkError> {
    let bad = failures.iter().all(|failure| failure.error.trouble == Trouble::BadMessage);
    if let [first, _, ..] = failures.as_slice()
        && bad
        && failures.len() == encoded.len()
    {
        let reason =
            format!("the topic takes no message at all: {}; check the topic's settings, and `key`", first.error);
        return Err(SinkError::Refused(reason));
    }
    let row = |failure: Failure| encoded.refused_row(failure.number, failure.error.to_string());
    Ok(failures.into_iter().filter_map(row).collect())
}

/// Failed messages: rows that are to blame, or trouble that is none of theirs.
fn refuse_failed(failures: Vec<Failure>) -> Result<(), Halt> {
    if failures.is_empty() {
        return Ok(());
    }
    let of_the_message = |failure: &Failure| matches!(failure.error.trouble, Trouble::TooLarge | Trouble::BadMessage);
    let worst = failures.iter().find(|failure| matches!(failure.error.trouble, Trouble::Fenced | Trouble::Refused));
    if let Some(failure) = worst.or_else(|| failures.iter().find(|failure| failure.number == NO_ROW)) {
        return Err(failure.error.clone().into());
    }
    let (to_blame, others): (Vec<_>, Vec<_>) = failures.into_iter().partition(of_the_message);
    match (to_blame.is_empty(), others.into_iter().next()) {
        (true, Some(failure)) => Err(failure.error.into()),
        _ => Err(Halt::Rows(to_blame)),
    }
}

/// Why a transaction was not committed.
enum Halt {
    Client(ClientError),
    /// Messages that were refused for what they are.
    Rows(Vec<Failure>),
    /// Somebody moved the cursors.
    Moved,
    Refused(String),
}

impl From<ClientError> for Halt {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Halt> for SinkError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Client(error) => match error.trouble {
                Trouble::Fenced => Self::Fenced(error.to_string()),
                Trouble::Unknown => Self::Unknown(error.to_string()),
                Trouble::Refused | Trouble::TooLarge | Trouble::BadMessage => Self::Refused(error.to_string()),
                Trouble::Unavailable => Self::Unavailable(error.to_string()),
            },
            Halt::Moved => Self::Unknown("the cursors were moved by another producer of this sink".to_owned()),
            Halt::Rows(failures) => Self::Unavailable(format!("{} messages were refused", failures.len())),
            Halt::Refused(reason) => Self::Refused(reason),
        }
    }
}

#[cfg(test)]
mod tests;
