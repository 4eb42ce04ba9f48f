//! Topics: what they are, how far they can be seen, and their creation.

use crate::connection::Connection;
use crate::reader::Reading;
use crate::topic_id::topic_id;
use crate::{ClientError, Trouble};
use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// A topic to be created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replicas: i32,
    /// Settings by Kafka's own names, such as `min.insync.replicas`.
    pub settings: BTreeMap<String, String>,
}

/// What the cluster says of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicFacts {
    /// Number of partitions.
    pub partitions: usize,
    /// Copies of the least copied partition.
    pub replicas: usize,
}

/// How often a new topic is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the reason of a failure is listened for.
const HEAR: Duration = Duration::from_millis(100);

/// Calls about topics.
pub(crate) struct Topics {
    settings: ClientConfig,
    /// Asks for metadata. A consumer, because of all clients only consumers and producers hear why a broker can't be reached.
    asking: BaseConsumer<Reading>,
}

impl Topics {
    pub(crate) fn open(connection: &Connection) -> Result<Self, ClientError> {
        let settings = connection.settings()?;
        let mut asking = settings.clone();
        asking
            .set("group.id", format!("{}-reader", connection.client_id))
            // Ends of partitions are those that readers of committed messages see.
            .set("isolation.level", "read_committed");
        let asking = asking.create_with_context(Reading::default());
        asking.map(|asking| Self { settings, asking }).map_err(|error| ClientError::of("client", &error))
    }

    fn client(&self) -> &Client<Reading> {
        self.asking.client()
    }

    fn admin(&self) -> Result<AdminClient<Reading>, ClientError> {
        let admin = AdminClient::from_config_and_context(&self.settings, Reading::default());
        admin.map_err(|error| ClientError::of("admin client", &error))
    }

    fn error(&self, call: String, error: &KafkaError) -> ClientError {
        self.explain(ClientError::of(call, error))
    }

    fn explain(&self, error: ClientError) -> ClientError {
        // What the brokers' threads have to say is heard in polls.
        let deadline = Instant::now() + HEAR;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(Err(error)) = self.asking.poll(left) {
                tracing::debug!(%error, "kafka client");
            }
        }
        self.client().context().ailment.explain(error)
    }

    pub(crate) fn cluster_id(&self, timeout: Duration) -> Result<String, ClientError> {
        self.client().fetch_cluster_id(timeout).ok_or_else(|| {
            self.explain(ClientError::new("cluster id", Trouble::Unavailable, "no broker answered in time"))
        })
    }

    /// `None` where there is no such topic.
    pub(crate) fn facts(&self, topic: &str, timeout: Duration) -> Result<Option<TopicFacts>, ClientError> {
        let call = format!("facts of topic {topic}");
        let metadata =
            self.client().fetch_metadata(Some(topic), timeout).map_err(|error| self.error(call.clone(), &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
            Some(code) => return Err(self.error(call, &KafkaError::MetadataFetch(code))),
            None => {}
        }
        let replicas = found.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
        Ok(Some(TopicFacts { partitions: found.partitions().len(), replicas }))
    }

    pub(crate) fn id(&self, topic: &str, timeout: Duration) -> Result<[u8; 16], ClientError> {
        topic_id(self.client(), topic, timeout).map_err(|error| self.explain(error))
    }

    /// The last stable offset of each partition.
    pub(crate) fn visible_ends(
        &self,
        topic: &str,
        partitions: &[i32],
        timeout: Duration,
    ) -> Result<BTreeMap<i32, u64>, ClientError> {
        let call = format!("visible ends of topic {topic}");
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            // Where a time is asked for, the end stands for the latest one: one request to each broker, whatever it leads of these.
            asked
                .add_partition_offset(topic, *partition, Offset::End)
                .map_err(|error| ClientError::of(&call, &error))?;
        }
        let told = self.asking.offsets_for_times(asked, timeout).map_err(|error| self.error(call.clone(), &error))?;
        let mut ends = BTreeMap::new();
        for element in told.elements() {
            element.error().map_err(|error| self.error(call.clone(), &error))?;
            if let Offset::Offset(end) = element.offset() {
                ends.insert(element.partition(), end.max(0).cast_unsigned());
            }
        }
        Ok(ends)
    }

    /// Names of all topics that this user may see.
    pub(crate) fn names(&self, timeout: Duration) -> Result<Vec<String>, ClientError> {
        let metadata = self.client().fetch_metadata(None, timeout);
        let metadata = metadata.map_err(|error| self.error("list of topics".to_owned(), &error))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// The value of one setting of a topic.
    pub(crate) fn setting(&self, topic: &str, name: &str, timeout: Duration) -> Result<Option<String>, ClientError> {
        let call = format!("setting {name} of topic {topic}");
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let admin = self.admin()?;
        let answer = block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options));
        let resources = answer.map_err(|error| self.error(call.clone(), &error))?;
        let Some(resource) = resources.into_iter().next() else { return Ok(None) };
        let resource = resource.map_err(|code| self.error(call, &KafkaError::AdminOp(code)))?;
        Ok(resource.get(name).and_then(|entry| entry.value.clone()))
    }

    /// Creates what is not there yet, and gives the names of the topics that it made.
    pub(crate) fn create(&self, topics: &[NewTopic], timeout: Duration) -> Result<Vec<String>, ClientError> {
        let wanted: Vec<_> = topics
            .iter()
            .map(|topic| {
                let new = rdkafka::admin::NewTopic::new(
                    &topic.name,
                    topic.partitions,
                    TopicReplication::Fixed(topic.replicas),
                );
                topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let admin = self.admin()?;
        let answer = block_on(admin.create_topics(&wanted, &options));
        let mut made = Vec::new();
        for result in answer.map_err(|error| self.error("creation of topics".to_owned(), &error))? {
            match result {
                Ok(name) => made.push(name),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(self.error(format!("creation of topic {name}"), &KafkaError::AdminOp(code)));
                }
            }
        }
        // The controller answers before the brokers know.
        let deadline = Instant::now() + timeout;
        let known = |topic: &NewTopic| {
            let facts = self.facts(&topic.name, timeout)?;
            Ok::<_, ClientError>(
                facts.is_some_and(|facts| facts.partitions >= topic.partitions.unsigned_abs() as usize),
            )
        };
        for topic in topics.iter().filter(|topic| made.contains(&topic.name)) {
            while !known(topic)? && Instant::now() < deadline {
                thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(made)
    }
}
