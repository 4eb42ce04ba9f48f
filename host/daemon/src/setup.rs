//! `sawlog setup`: makes the topics that a config's Kafka sinks need and the index templates that its Elasticsearch sinks want, or
//! says what it would make. It changes nothing that is there, and leaves topics that a template names to whoever knows the values.

use std::fmt::Write as _;

use sawlog_core::SinkId;
use sawlog_kafka::NewTopic;
use sawlog_settings::component::Provenance;
use sawlog_sinks::elasticsearch;
use sawlog_sinks::elasticsearch::config::ElasticsearchSink;
use sawlog_sinks::elasticsearch::setup::Outcome;
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
    error: String,
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
        let failed = |error: String| SetupError { sink: name.clone(), error };
        match &sink.options {
            SinkOptions::Kafka(kafka) => {
                let owner = Owner { cluster: "sawlog".to_owned(), agent: agent.to_owned(), sink: SinkId::new(name) };
                let made = (!dry_run).then(|| create(kafka, &owner, &options)).transpose();
                let made = made.map_err(|error| failed(error.to_string()))?;
                describe(name, kafka, &options, made.as_deref(), &mut text);
            }
            SinkOptions::Elasticsearch(search) => {
                writeln!(text, "{name}").expect("a String takes every text");
                text.push_str(&template(search, sink.provenance, dry_run).map_err(failed)?);
            }
            _ => {}
        }
    }
    if text.is_empty() {
        text.push_str("no sink of this config needs a topic or an index template\n");
    }
    Ok(text)
}

/// Makes the sink's index template where it is missing; what was done.
fn template(sink: &ElasticsearchSink, provenance: Provenance, dry_run: bool) -> Result<String, String> {
    let index = sink.index.as_str();
    let template = match elasticsearch::setup::template(sink, provenance) {
        Ok(template) => template,
        Err(reason) => return Ok(format!("  {index}: no index template is made: {reason}\n")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let made = (!dry_run).then(|| runtime.block_on(elasticsearch::setup::create(sink, &template))).transpose()?;
    let done = match made {
        None => "would be made if it is missing",
        Some(Outcome::Made) => "made",
        Some(Outcome::Same) => "is there, as it was",
        Some(Outcome::Differs) => "is there and says something else: left as it was; compare it with this one",
    };
    Ok(format!("  index template {}: {done}\n    {}\n", template.name, template.body))
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
