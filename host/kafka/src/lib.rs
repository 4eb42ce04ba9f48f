//! The Kafka client: a connection from options, a transactional producer, a reader of one partition, topic administration,
//! and a thread for calls that block. librdkafka stays behind [`Cluster`] and [`TransactionalProducer`].
//!
//! It moves bytes and knows nothing of records, cursors or delivery: who commits what, and what is done after an error, is
//! decided by its callers. [`journal`] is the core's journal kept in a topic.

mod client;
mod connection;
mod consumer;
mod deliveries;
mod endings;
mod error;
pub mod journal;
mod messages;
mod producer;
mod reader;
mod topic_id;
mod topics;
mod worker;

pub use client::{Cluster, LibrdkafkaCluster};
pub use connection::{Compression, Connection};
pub use consumer::{Consumer, ConsumerOptions, Offsets, Polled, Positions};
pub use error::{ClientError, Trouble};
pub use messages::{Entry, Failure, Fetched, Message, PartitionRef};
pub use producer::{Committed, ProducerOptions, TransactionalProducer};
pub use topics::{NewTopic, TopicFacts};
pub use worker::{Worker, WorkerGone};
