//! What a source counts about itself, for whoever shows it. It judges nothing, and keeps no source that has ended.

use std::sync::Weak;

use sawlog_queue::Queue;
use sawlog_sources::file::source::FileSource;
use sawlog_sources::http::HttpIntake;
use sawlog_sources::kafka::KafkaTopics;
use serde_json::{Value, json};

/// A source by its type.
#[derive(Clone)]
pub enum Figures {
    /// Files.
    File(Weak<FileSource>),
    /// Pushed records, and the queue that holds them.
    Http(Weak<HttpIntake>, Weak<Queue>),
    /// Topics.
    Kafka(Weak<KafkaTopics>),
}

impl Figures {
    /// For a person; names of files and topics, never contents.
    pub fn view(&self) -> Value {
        self.present().unwrap_or_else(|| json!({ "ended": true }))
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
            Self::Kafka(source) => {
                let source = source.upgrade()?;
                let lag: Vec<Value> = source.lag().into_iter().map(|lag| json!({
                    "topic": lag.topic, "partition": lag.partition, "unfetched": lag.unfetched, "floor": lag.floor,
                })).collect();
                json!({ "lag": lag, "trouble": source.trouble() })
            }
        })
    }
}
