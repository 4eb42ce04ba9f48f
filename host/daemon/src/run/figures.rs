//! What a source counts about itself, for whoever shows it. It judges nothing.

use std::sync::Arc;

use sawlog_queue::Queue;
use sawlog_sources::file::source::FileSource;
use sawlog_sources::http::HttpIntake;
use sawlog_sources::kafka::KafkaTopics;
use serde_json::{Value, json};

/// A source by its type.
#[derive(Clone)]
pub enum Figures {
    /// Files.
    File(Arc<FileSource>),
    /// Pushed records, and the queue that holds them.
    Http(Arc<HttpIntake>, Arc<Queue>),
    /// Topics.
    Kafka(Arc<KafkaTopics>),
}

impl Figures {
    /// For a person; names of files and topics, never contents.
    pub fn view(&self) -> Value {
        match self {
            Self::File(source) => {
                let status = source.status();
                let refused: Vec<String> = status.refused.iter().map(ToString::to_string).collect();
                json!({
                    "files": status.files, "open_files": status.open_files, "unread_bytes": status.unread_bytes,
                    "pinned_bytes": status.pinned_bytes, "refused": refused,
                })
            }
            Self::Http(source, queue) => {
                let counts = source.counts();
                json!({
                    "address": source.local_addr().to_string(), "requests": counts.requests,
                    "records": counts.records, "repeated": counts.repeated, "refused": counts.refused,
                    "queue_bytes": queue.disk_bytes(),
                })
            }
            Self::Kafka(source) => {
                let lag: Vec<Value> = source.lag().into_iter().map(|lag| json!({
                    "topic": lag.topic, "partition": lag.partition, "unfetched": lag.unfetched, "floor": lag.floor,
                })).collect();
                json!({ "lag": lag, "trouble": source.trouble() })
            }
        }
    }
}
