//! `sawlog setup`: makes the topics that a config's Kafka sinks need, or says what it would make. It changes nothing that is there,
//! and leaves topics that a template names to whoever knows the values.

use std::fmt::Write as _;

use sawlog_core::SinkId;
use sawlog_kafka::{ClientError, NewTopic};
use sawlog_sinks::kafka::Owner;
use sawlog_sinks::kafka::config::KafkaSink;
use sawlog_sinks::kafka::setup::{SetupOptions, create, topics};
use sawlog_sinks::registry::SinkOptions;
use thiserror::Error;

use crate::config::Config;

/// Copies that must have a message: with fewer, one broker's loss is a loss of messages.
const IN_SYNC_MIN: i32 = 2;

/// Why something could not be made.
#[derive(Debug, Error)]
#[error("sink {sink}: {error}")]
pub struct SetupError {
    sink: String,
    error: ClientError,
}

/// How topics are made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Partitions of a data topic.
    pub partitions: i32,
    /// Copies of each partition.
    pub replicas: i32,
    /// Only say it.
    pub dry_run: bool,
}

/// Makes what is missing, and says for each sink what it needs and what was made.
pub fn run(config: &Config, agent: &str, wanted: Wanted) -> Result<String, SetupError> {
    let Wanted { partitions, replicas, dry_run } = wanted;
    let options = SetupOptions { partitions, replicas, in_sync_min: IN_SYNC_MIN.min(replicas) };
    let mut text = String::new();
    for (name, sink) in &config.sinks {
        let SinkOptions::Kafka(kafka) = &sink.options else { continue };
        let made = match dry_run {
            true => None,
            false => {
                let owner = Owner { cluster: "sawlog".to_owned(), agent: agent.to_owned(), sink: SinkId::new(name) };
                let made = create(kafka, &owner, &options);
                Some(made.map_err(|error| SetupError { sink: name.clone(), error })?)
            }
        };
        describe(name, kafka, &options, made.as_deref(), &mut text);
    }
    if text.is_empty() {
        text.push_str("no sink of this config needs a topic\n");
    }
    Ok(text)
}

fn describe(name: &str, kafka: &KafkaSink, options: &SetupOptions, made: Option<&[String]>, text: &mut String) {
    writeln!(text, "{name}").expect("a String takes every text");
    for topic in topics(kafka, options) {
        let done = match made {
            None => "would be made if it is missing",
            Some(made) if made.contains(&topic.name) => "made",
            Some(_) => "is there, as it was",
        };
        writeln!(text, "  {}: {done}", line(&topic)).expect("a String takes every text");
    }
    if !kafka.topic.is_literal() {
        let template = kafka.topic.as_str();
        writeln!(text, "  {template}: its names come from records; make them, or let the brokers")
            .expect("a String takes every text");
    }
}

fn line(topic: &NewTopic) -> String {
    let settings: Vec<String> = topic.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let NewTopic { name, partitions, replicas, .. } = topic;
    format!("topic {name}, {partitions} partitions, {replicas} replicas, {}", settings.join(" "))
}
