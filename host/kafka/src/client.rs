//! A cluster as its callers see it, and librdkafka as the one implementation. Every call blocks: run it on a [`Worker`].
//!
//! [`Worker`]: crate::Worker

use crate::connection::Connection;
use crate::consumer::{Consumer, ConsumerOptions, LibrdkafkaConsumer, Positions};
use crate::producer::{LibrdkafkaProducer, ProducerOptions, TransactionalProducer};
use crate::topics::{NewTopic, TopicFacts, Topics};
use crate::{ClientError, Entry, PartitionRef, reader};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A Kafka cluster.
pub trait Cluster: Send + Sync {
    /// Opens a transactional producer; it has not fenced anybody yet.
    ///
    /// # Errors
    /// The options make no producer.
    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn TransactionalProducer>, ClientError>;

    /// Gives the committed messages of a partition to `each`, from the first on, until `each` returns true.
    ///
    /// # Errors
    /// The deadline passed first, or the partition can't be read.
    fn read_until(
        &self,
        partition: &PartitionRef,
        deadline: Instant,
        each: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<(), ClientError>;

    /// What the cluster says of a topic; `None` where there is none of that name.
    ///
    /// # Errors
    /// No answer, or no right to ask.
    fn topic(&self, name: &str, timeout: Duration) -> Result<Option<TopicFacts>, ClientError>;

    /// One setting of a topic by Kafka's own name; `None` where there is no such setting.
    ///
    /// # Errors
    /// No answer, or no right to ask.
    fn topic_setting(&self, topic: &str, setting: &str, timeout: Duration) -> Result<Option<String>, ClientError>;

    /// Creates the topics that are not there yet and gives the names of those that it made.
    ///
    /// # Errors
    /// The first topic that could not be made.
    fn create_topics(&self, topics: &[NewTopic], timeout: Duration) -> Result<Vec<String>, ClientError>;

    /// The id of a topic: another one after the topic was deleted and made again.
    ///
    /// # Errors
    /// No such topic, no right to ask, or no answer.
    fn topic_id(&self, topic: &str, timeout: Duration) -> Result<[u8; 16], ClientError>;

    /// How far readers of committed messages see into these partitions of a topic: the last stable offset of each.
    ///
    /// # Errors
    /// No such topic or partition, no right to ask, or no answer.
    fn visible_ends(
        &self,
        topic: &str,
        partitions: &[i32],
        timeout: Duration,
    ) -> Result<BTreeMap<i32, u64>, ClientError>;

    /// Names of all topics that this user may see.
    ///
    /// # Errors
    /// No answer.
    fn topic_names(&self, timeout: Duration) -> Result<Vec<String>, ClientError>;

    /// Opens a consumer that has no partitions yet.
    ///
    /// # Errors
    /// The options make no consumer.
    fn consumer(
        &self,
        options: &ConsumerOptions,
        positions: Box<dyn Positions>,
    ) -> Result<Box<dyn Consumer>, ClientError>;

    /// The id that the cluster gave itself.
    ///
    /// # Errors
    /// No answer.
    fn id(&self, timeout: Duration) -> Result<String, ClientError>;
}

/// A cluster that is reached through librdkafka.
pub struct LibrdkafkaCluster {
    connection: Connection,
    topics: OnceLock<Topics>,
}

impl LibrdkafkaCluster {
    /// A cluster that nothing was sent to yet.
    pub fn new(connection: Connection) -> Self {
        Self { connection, topics: OnceLock::new() }
    }

    fn topics(&self) -> Result<&Topics, ClientError> {
        if let Some(topics) = self.topics.get() {
            return Ok(topics);
        }
        let opened = Topics::open(&self.connection)?;
        Ok(self.topics.get_or_init(|| opened))
    }
}

impl Cluster for LibrdkafkaCluster {
    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn TransactionalProducer>, ClientError> {
        Ok(Box::new(LibrdkafkaProducer::open(&self.connection, options)?))
    }

    fn read_until(
        &self,
        partition: &PartitionRef,
        deadline: Instant,
        each: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<(), ClientError> {
        reader::read_until(&self.connection, partition, deadline, each)
    }

    fn topic(&self, name: &str, timeout: Duration) -> Result<Option<TopicFacts>, ClientError> {
        self.topics()?.facts(name, timeout)
    }

    fn topic_setting(&self, topic: &str, setting: &str, timeout: Duration) -> Result<Option<String>, ClientError> {
        self.topics()?.setting(topic, setting, timeout)
    }

    fn create_topics(&self, topics: &[NewTopic], timeout: Duration) -> Result<Vec<String>, ClientError> {
        self.topics()?.create(topics, timeout)
    }

    fn topic_id(&self, topic: &str, timeout: Duration) -> Result<[u8; 16], ClientError> {
        self.topics()?.id(topic, timeout)
    }

    fn visible_ends(
        &self,
        topic: &str,
        partitions: &[i32],
        timeout: Duration,
    ) -> Result<BTreeMap<i32, u64>, ClientError> {
        self.topics()?.visible_ends(topic, partitions, timeout)
    }

    fn topic_names(&self, timeout: Duration) -> Result<Vec<String>, ClientError> {
        self.topics()?.names(timeout)
    }

    fn consumer(
        &self,
        options: &ConsumerOptions,
        positions: Box<dyn Positions>,
    ) -> Result<Box<dyn Consumer>, ClientError> {
        Ok(Box::new(LibrdkafkaConsumer::open(&self.connection, options, positions)?))
    }

    fn id(&self, timeout: Duration) -> Result<String, ClientError> {
        self.topics()?.cluster_id(timeout)
    }
}
