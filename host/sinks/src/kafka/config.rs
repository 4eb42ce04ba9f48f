//! Options of the `kafka` sink and what they promise. It opens no connection.

use sawlog_settings::checked::{NameTemplate, ValueTemplate};
use sawlog_settings::component::{DescribeSink, Finding, Promise, RouteFacts, SinkCommon};
use sawlog_settings::connection::{Sasl, TlsClient, check_addresses};
use sawlog_settings::{ByteSize, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Compression of the producer's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// LZ4.
    Lz4,
    /// Zstandard.
    #[default]
    Zstd,
}

/// Writes each row as one message of a topic, in transactions that carry the sink's cursors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSink {
    /// Brokers to begin with, each `HOST:PORT`.
    pub brokers: Vec<String>,
    /// Topic, may be a template: `logs.{k8s.namespace.name}`. Each value is folded to `[a-z0-9_-]{1,64}`.
    pub topic: NameTemplate,
    /// Key of the message, may be a template. Without it messages are spread over the topic's partitions.
    #[serde(default)]
    pub key: Option<ValueTemplate>,
    /// Most topics that a template may make in the life of a process, a topic a day counting once; further ones go to the topic in
    /// which every value is `other`.
    #[serde(default = "topics_max")]
    pub topics_max: u32,
    /// Compression of the producer's batches.
    #[serde(default)]
    pub compression: Compression,
    /// Compacted topic for the sink's cursors, in the sink's own cluster.
    #[serde(default = "cursor_topic")]
    pub cursor_topic: String,
    /// Time after which the broker aborts a transaction.
    #[serde(default = "transaction_timeout")]
    pub transaction_timeout: Period,
    /// Largest message that the topic takes. What is larger goes to the dead letters.
    #[serde(default = "message_bytes_max")]
    pub message_bytes_max: ByteSize,
    /// Credentials.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// TLS to the brokers.
    #[serde(default)]
    pub tls: Option<TlsClient>,
}

fn topics_max() -> u32 {
    256
}
fn cursor_topic() -> String {
    "sawlog-cursors".to_owned()
}
fn transaction_timeout() -> Period {
    Period::from_secs(30)
}
fn message_bytes_max() -> ByteSize {
    ByteSize::bytes(1_000_000)
}

impl KafkaSink {
    fn topics(&self) -> String {
        let literal = self.topic.literal();
        if self.topic.is_literal() { format!("topic {literal}") } else { format!("topics with the prefix `{literal}`") }
    }
}

impl DescribeSink for KafkaSink {
    fn check(&self, common: &SinkCommon) -> Vec<Finding> {
        let mut findings = check_addresses("brokers", &self.brokers);
        findings.extend(self.tls.iter().flat_map(|tls| tls.check("tls")));
        if self.cursor_topic == self.topic.as_str() {
            findings.push(Finding::error(
                "cursor_topic",
                "the cursor topic is the data topic; give the cursors a topic of their own",
            ));
        }
        let third = self.transaction_timeout.as_millis() / 3;
        if common.batch.age.as_millis() > third {
            findings.push(Finding::error(
                "batch.age",
                format!("a batch of {} may outlive a third of the transaction; write at most {third}ms, or raise `transaction_timeout`", common.batch.age),
            ));
        }
        if self.topics_max == 0 {
            findings.push(Finding::error("topics_max", "no topic is allowed; write at least 1"));
        }
        findings
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        Promise::kept(route, "kafka transaction").provided("topic and cursor topic keep 3 replicas with 2 in sync")
    }

    fn rights(&self) -> Vec<String> {
        vec![
            format!("Write, Describe on {}", self.topics()),
            format!("Read, Write, Describe, DescribeConfigs on topic {}", self.cursor_topic),
            "Write, Describe on transactional ids that begin with sawlog/".to_owned(),
            // Whoever reads a partition names a group, also where it takes no part in one.
            "Read on groups that begin with sawlog-".to_owned(),
            "IdempotentWrite, Describe on the cluster".to_owned(),
        ]
    }

    fn readers(&self) -> Vec<String> {
        vec!["consume with isolation.level=read_committed".to_owned()]
    }

    fn place(&self) -> String {
        format!("brokers {}, cursors in {}", self.brokers.join(", "), self.cursor_topic)
    }

    fn ordering(&self) -> &'static str {
        "per source partition and message key"
    }

    fn memory_bytes_max(&self, common: &SinkCommon) -> u64 {
        common.batch.bytes.unwrap_or(ByteSize::mib(4)).as_bytes() * 2
    }
}
