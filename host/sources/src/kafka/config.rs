//! Options of the `kafka` source. It opens no connection.

use sawlog_settings::checked::Pattern;
use sawlog_settings::component::{DescribeSource, Finding, SourceKind};
use sawlog_settings::connection::{Sasl, TlsClient, check_addresses};
use sawlog_settings::{ByteSize, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a partition begins that has no cursor yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the group's committed offset, else at the earliest.
    #[default]
    Committed,
    /// At the earliest offset that is kept.
    Earliest,
    /// At the end, as it is when the partition is first assigned.
    Latest,
}

/// Reads committed messages of topics, as a member of a consumer group or of partitions listed by hand. The value is the
/// record's text; key and headers become the fields `messaging.kafka.message.key` and `messaging.kafka.message.header.NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    /// Brokers to begin with, each `HOST:PORT`.
    pub brokers: Vec<String>,
    /// Topics to read.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Regular expression of topics to read, in place of `topics`.
    #[serde(default)]
    pub topics_pattern: Option<Pattern>,
    /// Consumer group. Its members share the partitions and hand them over.
    pub group_id: String,
    /// Partitions of the one topic to read, assigned to this agent alone; the group then balances nothing.
    #[serde(default)]
    pub partitions: Vec<i32>,
    /// Where a partition begins that has no cursor yet.
    #[serde(default)]
    pub start: Start,
    /// Compacted topic for the journals of a group's partitions, in the source's cluster; made where it is missing, with 16
    /// partitions. Several groups may share it. Not used where `partitions` are listed.
    #[serde(default = "journal_topic")]
    pub journal_topic: String,
    /// Name by which the group knows this member over a restart, so that it gets its partitions back.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Time without a heartbeat after which the group gives the partitions to others.
    #[serde(default = "session_timeout")]
    pub session_timeout: Period,
    /// Most bytes fetched ahead for all partitions.
    #[serde(default = "fetch_bytes_max")]
    pub fetch_bytes_max: ByteSize,
    /// How long a partition without input waits before a plugin's windows are flushed.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Period,
    /// Credentials.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// TLS to the brokers.
    #[serde(default)]
    pub tls: Option<TlsClient>,
}

fn journal_topic() -> String {
    "sawlog-journal".to_owned()
}
fn session_timeout() -> Period {
    Period::from_secs(45)
}
fn fetch_bytes_max() -> ByteSize {
    ByteSize::mib(32)
}
fn idle_timeout() -> Period {
    Period::from_secs(5)
}

impl DescribeSource for KafkaSource {
    fn check(&self) -> Vec<Finding> {
        let mut findings = check_addresses("brokers", &self.brokers);
        findings.extend(self.tls.iter().flat_map(|tls| tls.check("tls")));
        match (&self.topics_pattern, self.topics.is_empty()) {
            (None, true) => {
                findings.push(Finding::error("topics", "no topic is named; list `topics`, or give a `topics_pattern`"))
            }
            (Some(_), false) => findings.push(Finding::error(
                "topics_pattern",
                "`topics` and `topics_pattern` exclude each other; keep one of them",
            )),
            _ => {}
        }
        if !self.partitions.is_empty() && (self.topics.len() != 1 || self.topics_pattern.is_some()) {
            findings.push(Finding::error("partitions", "partitions belong to one topic; list exactly one in `topics`"));
        }
        for (i, topic) in self.topics.iter().enumerate() {
            if *topic == self.journal_topic {
                findings.push(Finding::error(
                    format!("topics.{i}"),
                    format!("`{topic}` holds this source's own state; choose another topic for one of them"),
                ));
            }
        }
        findings
    }

    fn kind(&self) -> SourceKind {
        if self.partitions.is_empty() { SourceKind::Moving } else { SourceKind::Pinned }
    }

    fn rights(&self) -> Vec<String> {
        let mut rights: Vec<String> = match &self.topics_pattern {
            Some(pattern) => vec![format!("Read, Describe on topics that match {}", pattern.as_str())],
            None => self.topics.iter().map(|topic| format!("Read, Describe on topic {topic}")).collect(),
        };
        rights.push(format!("Read on group {}", self.group_id));
        if self.partitions.is_empty() {
            let journal = &self.journal_topic;
            rights.push(format!(
                "Read, Write, Describe, DescribeConfigs on topic {journal} (Create where it is missing)"
            ));
            rights.push(format!("Write, Describe on transactional ids that begin with sawlog/{}/", self.group_id));
            // Whoever reads the journal names a group, also where it takes no part in one.
            rights.push("Read on groups that begin with sawlog-".to_owned());
        }
        rights
    }

    fn provided(&self) -> Vec<String> {
        vec!["the topics keep records until they are delivered, without unclean leader election".to_owned()]
    }
}
