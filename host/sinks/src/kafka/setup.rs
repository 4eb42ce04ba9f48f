//! The topics that a sink needs, for `sawlog setup`. It decides nothing about their use.

use super::config::KafkaSink;
use super::{Owner, connection, cursors};
use sawlog_kafka::{ClientError, Cluster as _, LibrdkafkaCluster, NewTopic};
use std::collections::BTreeMap;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Segments are closed at this size or age so that compaction, which never touches an open one, keeps recovery short.
const CURSOR_SEGMENT_BYTES: u32 = 16 << 20;

/// How topics are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetupOptions {
    /// Partitions of a data topic.
    pub partitions: i32,
    /// Copies of each partition.
    pub replicas: i32,
    /// Copies that must have a message before it counts as written.
    pub in_sync_min: i32,
}

impl Default for SetupOptions {
    fn default() -> Self {
        Self { partitions: 12, replicas: 3, in_sync_min: 2 }
    }
}

/// The topics that the sink needs. Topics that a template names are made by whoever knows the values.
pub fn topics(sink: &KafkaSink, options: &SetupOptions) -> Vec<NewTopic> {
    let durable = BTreeMap::from([
        ("min.insync.replicas".to_owned(), options.in_sync_min.to_string()),
        ("unclean.leader.election.enable".to_owned(), "false".to_owned()),
    ]);
    let mut topics = Vec::new();
    if sink.topic.is_literal() {
        let mut settings = durable.clone();
        settings.insert("max.message.bytes".to_owned(), broker_limit(sink).to_string());
        let name = sink.topic.as_str().to_owned();
        topics.push(NewTopic { name, partitions: options.partitions, replicas: options.replicas, settings });
    }
    let mut settings = durable;
    settings.insert("cleanup.policy".to_owned(), "compact".to_owned());
    settings.insert("segment.bytes".to_owned(), CURSOR_SEGMENT_BYTES.to_string());
    settings.insert("min.cleanable.dirty.ratio".to_owned(), "0.1".to_owned());
    let (name, replicas) = (sink.cursor_topic.clone(), options.replicas);
    topics.push(NewTopic { name, partitions: cursors::PARTITIONS, replicas, settings });
    topics
}

/// The broker counts the frame of a batch too.
fn broker_limit(sink: &KafkaSink) -> u64 {
    const FRAME_BYTES: u64 = 48_576;
    sink.message_bytes_max.as_bytes() + FRAME_BYTES
}

/// Creates what is missing and gives the names of what it made. Blocks.
///
/// # Errors
/// The first topic that could not be made.
pub fn create(sink: &KafkaSink, owner: &Owner, options: &SetupOptions) -> Result<Vec<String>, ClientError> {
    LibrdkafkaCluster::new(connection(sink, owner)).create_topics(&topics(sink, options), TIMEOUT)
}
