//! From a source's options to the source, and to the fields that its rows get.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawlog_chain::pipeline::FieldsOf;
use sawlog_core::memory::Pool;
use sawlog_core::ports::Source;
use sawlog_log::{Disk, Drive, random_incarnation};
use sawlog_queue::{Queue, QueueOptions};
use sawlog_record::decode;
use sawlog_sources::file::config::FileSource as FileConfig;
use sawlog_sources::file::configured::Surroundings;
use sawlog_sources::file::options::FileOptions;
use sawlog_sources::file::source::FileSource;
use sawlog_sources::file::watch::Kernel;
use sawlog_sources::http::HttpIntake;
use sawlog_sources::http::config::HttpSource as HttpConfig;
use sawlog_sources::http::queue::RequestQueue;
use sawlog_sources::kafka::KafkaTopics;
use sawlog_sources::registry::SourceOptions;

use super::figures::Figures;
use super::requests::Requests;
use super::{Options, RunError};
use crate::config::disk::{DiskShares, QUEUE_SEGMENT_BYTES};

/// The field with the path of a row's file.
const PATH_FIELD: &str = "log.file.path";

/// Who reads, and where it may write.
pub struct Owner {
    /// The agent's id.
    pub agent: String,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// The disk below it.
    pub disk: Arc<dyn Disk>,
    /// Room on it.
    pub disk_shares: DiskShares,
    /// What is left of the room for unpacked files.
    pub unpacked: Arc<Pool>,
    /// Worker threads.
    pub workers: usize,
    /// Room in memory for requests that are being taken.
    pub requests: Arc<Pool>,
    /// What this run is to do.
    pub run: Options,
}

/// A source that has not begun.
pub struct Opened {
    /// The source.
    pub source: Arc<dyn Source>,
    /// The fields of its rows.
    pub fields: FieldsOf,
    /// What it counts about itself.
    pub figures: Figures,
}

/// Waits until nobody uses the queue of a source that has ended: another one may open it then.
pub async fn release(figures: &Figures) {
    let Figures::Http(_, queue) = figures else { return };
    if let Some(open) = queue.upgrade()
        && let Err(error) = open.close().await
    {
        tracing::error!(%error, "a queue could not be closed in order");
    }
    let deadline = Instant::now() + RELEASE_MAX;
    while queue.strong_count() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How long reads that are under way keep a queue open.
const RELEASE_MAX: Duration = Duration::from_secs(5);

/// Opens a source. One that is `retired` takes nothing new, so it listens where nobody looks.
pub fn open(name: &str, options: &SourceOptions, owner: &Owner, retired: bool) -> Result<Opened, RunError> {
    let refuse = |reason: String| RunError::Component { name: name.to_owned(), reason };
    match options {
        SourceOptions::File(file) => {
            let options = file_options(name, file, owner).map_err(|e| refuse(e.to_string()))?;
            let source =
                Arc::new(FileSource::new(options, Some(Kernel::default())).map_err(|e| refuse(e.to_string()))?);
            let fields_of = Arc::downgrade(&source);
            let is_named = file.path_field;
            let fields: FieldsOf = Arc::new(move |partition| {
                let Some(source) = fields_of.upgrade() else { return decode::Source::default() };
                let mut fields = source.fields(partition);
                let streams = !fields.is_empty();
                let name = source.partition_name(partition).filter(|_| is_named);
                fields.extend(name.map(|name| (PATH_FIELD.to_owned(), name.display().to_string())));
                decode::Source { streams, fields }
            });
            Ok(Opened { figures: Figures::File(Arc::downgrade(&source)), source, fields })
        }
        SourceOptions::Kafka(kafka) => {
            let source = KafkaTopics::open(kafka, &owner.agent, name, owner.run.until_eof);
            let source = Arc::new(source.map_err(|e| refuse(e.to_string()))?);
            let fields: FieldsOf = Arc::new(|_| decode::Source::default());
            Ok(Opened { figures: Figures::Kafka(vec![Arc::downgrade(&source)]), source, fields })
        }
        SourceOptions::Http(http) => {
            let queue = request_queue(name, http, owner).map_err(|e| refuse(e.to_string()))?;
            let requests: Arc<dyn RequestQueue> = Arc::new(Requests(queue.clone()));
            let mut http = http.clone();
            if retired {
                http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
            }
            let source = HttpIntake::open(&http, &owner.agent, name, requests, owner.requests.clone())
                .map_err(|e| refuse(e.to_string()))?;
            if !retired {
                tracing::info!(source = name, address = %source.local_addr(), "listening");
            }
            let source = Arc::new(source);
            let fields: FieldsOf = Arc::new(|_| decode::Source::default());
            let figures = Figures::Http(Arc::downgrade(&source), Arc::downgrade(&queue));
            Ok(Opened { figures, source, fields })
        }
    }
}

/// The write-ahead queue of one source, below the data directory.
fn request_queue(name: &str, http: &HttpConfig, owner: &Owner) -> Result<Arc<Queue>, FileError> {
    let mut options = QueueOptions::new(random_incarnation()?);
    let folder = format!("queue-{}", safe(name));
    // A queue keeps the number of shards that it was made with, and opens with it.
    let existing = Queue::shards_of(&*owner.disk, &folder)?;
    options.shards = existing.unwrap_or(http.shards.map_or(u32::try_from(owner.workers)?, u32::from));
    options.segment_bytes = QUEUE_SEGMENT_BYTES;
    let least_bytes = existing.map_or(0, |shards| (u64::from(shards) * 4 + 2) * QUEUE_SEGMENT_BYTES);
    options.quota_bytes = owner.disk_shares.queue.max(least_bytes);
    options.body_bytes_max = http.limits.decompressed.as_usize().max(http.limits.body.as_usize()) + 1;
    options.key_time = http.idempotency.window.as_duration();
    options.keys_max = usize::try_from(http.idempotency.keys_max.0 / u64::from(options.shards))?;
    let (queue, opening) = Queue::open(owner.disk.clone(), &folder, options, Drive::Thread)?;
    for damage in &opening.damage {
        tracing::error!(source = name, ?damage, "part of the queue can't be read back");
    }
    Ok(Arc::new(queue))
}

/// A name that is one folder.
fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

type FileError = Box<dyn std::error::Error>;

fn file_options(name: &str, file: &FileConfig, owner: &Owner) -> Result<FileOptions, FileError> {
    let scratch = owner.data_dir.join("unpacked");
    std::fs::create_dir_all(&scratch)?;
    let (agent_id, source_id) = (owner.agent.clone(), name.to_owned());
    let (unpacked, until_eof) = (owner.unpacked.clone(), owner.run.until_eof);
    Ok(FileOptions::new(file, Surroundings { agent_id, source_id, scratch, unpacked, until_eof })?)
}
