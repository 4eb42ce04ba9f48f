//! What a source counts about itself, for whoever shows it. It judges nothing, and keeps no source that has ended.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sawlog_queue::Queue;
use sawlog_sources::file::source::FileSource;
use sawlog_sources::http::HttpIntake;
use sawlog_sources::kafka::{KafkaTopics, Lag};
use serde_json::{Value, json};

/// A source by its type.
#[derive(Clone)]
pub enum Figures {
    /// Files.
    File(Weak<FileSource>),
    /// Pushed records, and the queue that holds them.
    Http(Weak<HttpIntake>, Weak<Queue>),
    /// Topics: one reader, or one for each partition that a consumer group gave this agent.
    Kafka(Vec<Weak<KafkaTopics>>),
}

impl Figures {
    /// For a person; names of files and topics, never contents.
    pub fn view(&self) -> Value {
        self.present().unwrap_or_else(|| json!({ "ended": true }))
    }

    /// Lag of every partition of a Kafka source that is read here.
    pub fn kafka_lag(&self) -> Vec<Lag> {
        self.kafka().iter().flat_map(|source| source.lag()).collect()
    }

    /// How long the slowest broker of a Kafka source took to answer lately.
    pub fn kafka_latency(&self) -> Option<Duration> {
        self.kafka().iter().filter_map(|source| source.fetch_latency()).max()
    }

    /// What keeps a Kafka source from reading, if something does.
    pub fn kafka_trouble(&self) -> Option<String> {
        self.kafka().iter().find_map(|source| source.trouble())
    }

    fn kafka(&self) -> Vec<Arc<KafkaTopics>> {
        match self {
            Self::Kafka(sources) => sources.iter().filter_map(Weak::upgrade).collect(),
            Self::File(_) | Self::Http(..) => Vec::new(),
        }
    }

    /// The files of a file source: names and how far they are read, never contents.
    pub fn files(&self) -> Option<Value> {
        let Self::File(source) = self else { return None };
        let one = |file: sawlog_sources::file::source::FileView| {
            json!({
                "path": file.path, "partition": file.partition, "generation": file.generation.to_string(),
                "bytes": file.size, "found_bytes": file.announced, "finished_bytes": file.floor, "open": file.is_open,
                "there": file.is_there,
            })
        };
        Some(source.upgrade()?.files().into_iter().map(one).collect())
    }

    fn present(&self) -> Option<Value> {
        Some(match self {
            Self::File(source) => {
                let status = source.upgrade()?.status();
                let refused: Vec<String> = status.refused.iter().map(ToString::to_string).collect();
                json!({
                    "files": status.files, "open_files": status.open_files, "unread_bytes": status.unread_bytes,
                    "pinned_bytes": status.pinned_bytes, "refused": refused,
                })
            }
            Self::Http(source, queue) => {
                let (source, queue) = (source.upgrade()?, queue.upgrade()?);
                let counts = source.counts();
                json!({
                    "address": source.local_addr().to_string(), "requests": counts.requests,
                    "records": counts.records, "repeated": counts.repeated, "refused": counts.refused,
                    "queue_bytes": queue.disk_bytes(),
                })
            }
            Self::Kafka(_) => {
                let lag: Vec<Value> = self.kafka_lag().into_iter().map(|lag| json!({
                    "topic": lag.topic, "partition": lag.partition, "unfetched": lag.unfetched, "floor": lag.floor,
                })).collect();
                json!({ "lag": lag, "trouble": self.kafka_trouble() })
            }
        })
    }
}
