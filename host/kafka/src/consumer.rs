//! A consumer of partitions, as a member of a group or of partitions named by hand. Where it begins is its caller's business:
//! offsets are set before partitions are assigned, and nothing is committed by itself.

use crate::connection::Connection;
use crate::deliveries::{Ailment, log};
use crate::{ClientError, Fetched, PartitionRef, Trouble};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const ASK_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the client tells how long brokers take to answer.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);
/// How soon the client finds a topic that was not there when it was asked for.
const TOPICS_EVERY: Duration = Duration::from_secs(10);

/// What a consumer is opened with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerOptions {
    /// The consumer group; also whose committed offsets are read and written.
    pub group: String,
    /// Name by which the group knows this member over a restart.
    pub instance: Option<String>,
    /// Time without a heartbeat after which the group gives the partitions to others.
    pub session_timeout: Duration,
    /// Most bytes fetched ahead.
    pub fetch_bytes_max: usize,
}

/// What a poll brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Polled {
    /// A committed message.
    Message {
        /// Where it lies.
        partition: PartitionRef,
        /// Its offset.
        offset: u64,
        /// What it says.
        message: Fetched,
    },
    /// Some assigned partition of this number has nothing more at this moment; the client does not say of which topic.
    End(i32),
    /// The group gave these partitions, each with the offset at which reading begins.
    Assigned(Vec<(PartitionRef, u64)>),
    /// The group takes these back; nothing more comes of them.
    Revoked(Vec<PartitionRef>),
    /// The offset that is to be read is not kept any more, or not yet there.
    OutOfRange(PartitionRef),
    /// A topic or partition that was asked for can't be read now, because it was deleted, say, or for want of rights; the others can.
    Unreadable(ClientError),
}

/// Where a partition begins for this consumer; called for each partition that the group gives.
pub trait Positions: Send + Sync {
    /// The offset to begin at.
    ///
    /// # Errors
    /// It can't be found out now; the partition is then given back.
    fn position(&self, partition: &PartitionRef, offsets: &dyn Offsets) -> Result<u64, ClientError>;
}

/// Offsets that the cluster knows.
pub trait Offsets {
    /// What the group committed; `None` where it never did.
    ///
    /// # Errors
    /// No answer.
    fn committed(&self, partition: &PartitionRef) -> Result<Option<u64>, ClientError>;

    /// The first offset that is kept, and the end.
    ///
    /// # Errors
    /// No answer.
    fn bounds(&self, partition: &PartitionRef) -> Result<(u64, u64), ClientError>;
}

/// A consumer. One thread uses it.
pub trait Consumer: Send {
    /// Reads exactly these partitions from these offsets, without a group.
    ///
    /// # Errors
    /// A partition that can't be read.
    fn assign(&mut self, from: &[(PartitionRef, u64)]) -> Result<(), ClientError>;

    /// Joins the group for these topics; a name that begins with `^` is a regular expression.
    ///
    /// # Errors
    /// Names that are none.
    fn subscribe(&mut self, topics: &[String]) -> Result<(), ClientError>;

    /// Waits for the next thing that happens; `None` at the end of `timeout`.
    ///
    /// # Errors
    /// [`Trouble::Refused`] needs a person, or another consumer: the group was left, or a partition is not fetched any more; others
    /// pass.
    fn poll(&mut self, timeout: Duration) -> Option<Result<Polled, ClientError>>;

    /// Stops or resumes fetching of a partition.
    ///
    /// # Errors
    /// The partition is not assigned.
    fn pause(&mut self, partition: &PartitionRef, paused: bool) -> Result<(), ClientError>;

    /// Commits offsets for the group, without waiting.
    ///
    /// # Errors
    /// The client can't send it.
    fn commit(&mut self, offsets: &[(PartitionRef, u64)]) -> Result<(), ClientError>;

    /// Offsets that the cluster knows.
    fn offsets(&self) -> &dyn Offsets;

    /// How long the brokers took to answer lately, on average, of the slowest one; mostly fetches, for which a broker without
    /// messages waits up to 0.1 s. `None` where nothing is known.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Whether nothing lay behind what was read of `partition` when the client last looked. Offsets can't tell: what ends a
    /// transaction has one and is no message.
    fn was_at_end(&self, _partition: &PartitionRef) -> bool {
        false
    }
}

/// librdkafka's.
pub(crate) struct LibrdkafkaConsumer(BaseConsumer<Group>);

struct Group {
    ailment: Ailment,
    positions: Box<dyn Positions>,
    changes: Mutex<VecDeque<Polled>>,
    /// Microseconds; 0 where nothing is known.
    round_trip: AtomicU64,
    /// Why the group was left; whoever polls is to open another consumer.
    left: Mutex<Option<ClientError>>,
    /// Partitions that were read to their ends.
    at_end: Mutex<BTreeSet<PartitionRef>>,
    /// Partitions that were said to be out of range since they were assigned.
    outside: Mutex<BTreeSet<PartitionRef>>,
}

impl LibrdkafkaConsumer {
    pub(crate) fn open(
        connection: &Connection,
        options: &ConsumerOptions,
        positions: Box<dyn Positions>,
    ) -> Result<Self, ClientError> {
        let mut settings = connection.settings()?;
        settings
            .set("group.id", &options.group)
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100")
            .set("statistics.interval.ms", STATISTICS_EVERY.as_millis().to_string())
            .set("topic.metadata.refresh.interval.ms", TOPICS_EVERY.as_millis().to_string())
            .set("queued.max.messages.kbytes", (options.fetch_bytes_max / 1024).max(64).to_string());
        if let Some(instance) = &options.instance {
            settings.set("group.instance.id", instance);
        }
        let (ailment, changes, round_trip) = (Ailment::default(), Mutex::default(), AtomicU64::new(0));
        let (left, at_end, outside) = (Mutex::default(), Mutex::default(), Mutex::default());
        let group = Group { ailment, positions, changes, round_trip, left, at_end, outside };
        let consumer = settings.create_with_context(group).map_err(|error| ClientError::of("consumer", &error))?;
        Ok(Self(consumer))
    }

    fn error(&self, call: String, error: &KafkaError) -> ClientError {
        self.0.context().ailment.explain(ClientError::of(call, error))
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.ailment.note(&error, reason);
    }
    fn stats(&self, statistics: Statistics) {
        let at_end = statistics.topics.values().flat_map(|topic| {
            let read = topic.partitions.values().filter(|p| p.eof_offset >= 0 && p.eof_offset >= p.ls_offset);
            read.map(|p| PartitionRef { topic: topic.topic.clone(), partition: p.partition })
        });
        *self.at_end.lock().unwrap_or_else(PoisonError::into_inner) = at_end.collect();
        let windows = statistics.brokers.into_values().filter_map(|broker| broker.rtt);
        let slowest = windows.filter(|window| window.cnt > 0).map(|window| window.avg.max(0).cast_unsigned()).max();
        self.round_trip.store(slowest.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Group {
    fn note(&self, change: Polled) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }

    fn forget_outside(&self, assigned: &[PartitionRef]) {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        outside.retain(|partition| !assigned.contains(partition));
    }

    fn take(&self) -> Option<Polled> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Sets offsets before the assignment; the library's own way ignores errors and begins where it likes.
    fn assign(&self, consumer: &BaseConsumer<Self>, given: &TopicPartitionList) -> Result<(), ClientError> {
        let mut from = TopicPartitionList::new();
        let mut assigned = Vec::new();
        self.forget_outside(&partitions(given));
        for partition in partitions(given) {
            let position = self.positions.position(&partition, &Asking(consumer))?;
            add(&mut from, &partition, position)?;
            assigned.push((partition, position));
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&from),
            _ => consumer.assign(&from),
        };
        result.map_err(|error| ClientError::of("assignment of partitions", &error))?;
        self.note(Polled::Assigned(assigned));
        Ok(())
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, given: &mut TopicPartitionList) {
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(error) = self.assign(consumer, given) {
                // Without an assignment the group waits for one; whoever polls comes back as another member.
                tracing::warn!(%error, "partitions that the group gave can't be read now; leaving the group");
                consumer.unsubscribe();
                let left = ClientError::new("partitions that the group gave", Trouble::Refused, error.to_string());
                *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
            }
            return;
        }
        self.note(Polled::Revoked(partitions(given)));
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(given),
            _ => consumer.unassign(),
        };
        if let Err(error) = result {
            tracing::error!(%error, "partitions can't be given back");
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<PartitionRef> {
    let one = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| PartitionRef {
        topic: e.topic().to_owned(),
        partition: e.partition(),
    };
    list.elements().iter().map(one).collect()
}

fn add(list: &mut TopicPartitionList, partition: &PartitionRef, offset: u64) -> Result<(), ClientError> {
    list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset.cast_signed()))
        .map_err(|error| ClientError::of(format!("offset {offset} of {partition}"), &error))
}

fn fetched(message: &BorrowedMessage<'_>) -> Fetched {
    let header = |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.unwrap_or_default().to_vec());
    Fetched {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
    }
}

struct Asking<'a>(&'a BaseConsumer<Group>);

impl Asking<'_> {
    fn error(&self, call: String, error: &KafkaError) -> ClientError {
        self.0.context().ailment.explain(ClientError::of(call, error))
    }
}

impl Offsets for Asking<'_> {
    fn committed(&self, partition: &PartitionRef) -> Result<Option<u64>, ClientError> {
        let call = || format!("committed offset of {partition}");
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&partition.topic, partition.partition);
        let known = self.0.committed_offsets(asked, ASK_TIMEOUT).map_err(|error| self.error(call(), &error))?;
        let Some(element) = known.find_partition(&partition.topic, partition.partition) else { return Ok(None) };
        element.error().map_err(|error| self.error(call(), &error))?;
        Ok(match element.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        })
    }

    fn bounds(&self, partition: &PartitionRef) -> Result<(u64, u64), ClientError> {
        let bounds = self.0.fetch_watermarks(&partition.topic, partition.partition, ASK_TIMEOUT);
        let (low, high) = bounds.map_err(|error| self.error(format!("offsets of {partition}"), &error))?;
        Ok((low.max(0).cast_unsigned(), high.max(0).cast_unsigned()))
    }
}

impl Offsets for LibrdkafkaConsumer {
    fn committed(&self, partition: &PartitionRef) -> Result<Option<u64>, ClientError> {
        Asking(&self.0).committed(partition)
    }
    fn bounds(&self, partition: &PartitionRef) -> Result<(u64, u64), ClientError> {
        Asking(&self.0).bounds(partition)
    }
}

impl Consumer for LibrdkafkaConsumer {
    fn assign(&mut self, from: &[(PartitionRef, u64)]) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        from.iter().try_for_each(|(partition, offset)| add(&mut list, partition, *offset))?;
        self.0.context().forget_outside(&partitions(&list));
        self.0.assign(&list).map_err(|error| self.error("assignment of partitions".to_owned(), &error))
    }

    fn subscribe(&mut self, topics: &[String]) -> Result<(), ClientError> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.0.subscribe(&topics).map_err(|error| self.error("subscription".to_owned(), &error))
    }

    fn poll(&mut self, timeout: Duration) -> Option<Result<Polled, ClientError>> {
        if let Some(left) = self.0.context().left.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(Err(left));
        }
        if let Some(change) = self.0.context().take() {
            return Some(Ok(change));
        }
        match self.0.poll(timeout) {
            Some(Ok(message)) => Some(Ok(Polled::Message {
                partition: PartitionRef { topic: message.topic().to_owned(), partition: message.partition() },
                offset: message.offset().max(0).cast_unsigned(),
                message: fetched(&message),
            })),
            Some(Err(KafkaError::PartitionEOF(number))) => Some(Ok(Polled::End(number))),
            Some(Err(error)) => Some(self.trouble(&error)),
            None => self.0.context().take().map(Ok),
        }
    }

    fn pause(&mut self, partition: &PartitionRef, paused: bool) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        let result = if paused { self.0.pause(&list) } else { self.0.resume(&list) };
        result.map_err(|error| self.error(format!("pause of {partition}"), &error))
    }

    fn commit(&mut self, offsets: &[(PartitionRef, u64)]) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        offsets.iter().try_for_each(|(partition, offset)| add(&mut list, partition, *offset))?;
        self.0.commit(&list, CommitMode::Async).map_err(|error| self.error("commit of offsets".to_owned(), &error))
    }

    fn offsets(&self) -> &dyn Offsets {
        self
    }

    fn round_trip(&self) -> Option<Duration> {
        let microseconds = self.0.context().round_trip.load(Ordering::Relaxed);
        (microseconds > 0).then(|| Duration::from_micros(microseconds))
    }

    fn was_at_end(&self, partition: &PartitionRef) -> bool {
        self.0.context().at_end.lock().unwrap_or_else(PoisonError::into_inner).contains(partition)
    }
}

impl LibrdkafkaConsumer {
    /// What an error of the client means for who polls. One for an offset is told of the consumer and not of its partition, which the
    /// client never fetches again: where it can't be found out which one it was, only another consumer reads on.
    fn trouble(&self, error: &KafkaError) -> Result<Polled, ClientError> {
        use RDKafkaErrorCode as Code;
        let refused = |reason: String| Err(ClientError::new("poll", Trouble::Refused, reason));
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => match self.outside() {
                Ok(Some(partition)) => Ok(Polled::OutOfRange(partition)),
                Ok(None) => refused(error.to_string()),
                Err(unanswered) => refused(format!("{error}; {unanswered}")),
            },
            Some(
                Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed,
            ) => Ok(Polled::Unreadable(self.error("poll".to_owned(), error))),
            _ => Err(self.error("poll".to_owned(), error)),
        }
    }

    /// A partition whose offset is outside of what is kept, and of which that was not said yet; `None` where there is none, as after
    /// a change of leaders.
    fn outside(&self) -> Result<Option<PartitionRef>, ClientError> {
        let assigned = self.0.assignment().map_err(|error| self.error("assignment".to_owned(), &error))?;
        let positions = self.0.position().map_err(|error| self.error("position".to_owned(), &error))?;
        for partition in partitions(&assigned) {
            let told = || self.0.context().outside.lock().unwrap_or_else(PoisonError::into_inner);
            let at = positions.find_partition(&partition.topic, partition.partition).map(|e| e.offset());
            let begun = assigned.find_partition(&partition.topic, partition.partition).map(|e| e.offset());
            let offset = match (at, begun) {
                (Some(Offset::Offset(at)), _) | (_, Some(Offset::Offset(at))) => at.max(0).cast_unsigned(),
                _ => continue,
            };
            if told().contains(&partition) {
                continue;
            }
            let (low, high) = self.bounds(&partition)?;
            if offset < low || offset > high {
                told().insert(partition.clone());
                return Ok(Some(partition));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    use rdkafka::types::RDKafkaApiKey;
    use std::time::Instant;

    /// Nothing is given by a group here.
    struct NoGroup;

    impl Positions for NoGroup {
        fn position(&self, _: &PartitionRef, _: &dyn Offsets) -> Result<u64, ClientError> {
            unreachable!("no group was joined")
        }
    }

    fn consumer(address: &str) -> LibrdkafkaConsumer {
        let connection =
            Connection { brokers: vec![address.to_owned()], client_id: "test".into(), ..Connection::default() };
        let options = ConsumerOptions {
            group: "g".into(),
            instance: None,
            session_timeout: Duration::from_secs(10),
            fetch_bytes_max: 1 << 20,
        };
        LibrdkafkaConsumer::open(&connection, &options, Box::new(NoGroup)).unwrap()
    }

    /// Polls until `done`; what came last.
    fn poll_until(
        consumer: &mut LibrdkafkaConsumer,
        done: impl Fn(&Result<Polled, ClientError>) -> bool,
    ) -> Result<Polled, ClientError> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < deadline, "it does not come");
            if let Some(polled) = consumer.poll(Duration::from_millis(100)).filter(&done) {
                return polled;
            }
        }
    }

    #[test]
    fn a_partition_that_the_client_gives_up_needs_another_consumer_where_its_offset_is_kept_after_all() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let address = cluster.bootstrap_servers();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &address).create().unwrap();
        let send = || {
            producer.send(BaseRecord::<(), str>::to("t").partition(0).payload("row")).map_err(|(e, _)| e).unwrap();
            producer.flush(Duration::from_secs(10)).unwrap();
        };
        send();
        let partition = PartitionRef { topic: "t".into(), partition: 0 };
        let mut first = consumer(&address);
        first.assign(&[(partition.clone(), 0)]).unwrap();
        poll_until(&mut first, |polled| matches!(polled, Ok(Polled::End(0)))).unwrap();
        cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
        let error = poll_until(&mut first, Result::is_err).unwrap_err();
        assert_eq!(error.trouble, Trouble::Refused, "{error}");
        send();
        for _ in 0..20 {
            let polled = first.poll(Duration::from_millis(100));
            assert!(!matches!(polled, Some(Ok(Polled::Message { .. }))), "then there is no need of another one");
        }
        let mut second = consumer(&address);
        second.assign(&[(partition, 1)]).unwrap();
        let polled = poll_until(&mut second, |polled| matches!(polled, Ok(Polled::Message { .. }))).unwrap();
        assert!(matches!(polled, Polled::Message { offset: 1, .. }));
    }
}
