//! From a source's options to the source, and to the fields that its rows get.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawlog_chain::pipeline::FieldsOf;
use sawlog_core::memory::Pool;
use sawlog_core::ports::Source;
use sawlog_log::{Disk, Drive, random_incarnation};
use sawlog_queue::{Queue, QueueOptions};
use sawlog_record::decode;
use sawlog_settings::ByteSize;
use sawlog_sources::file::config::{FileSource as FileConfig, IdenticalSmall, MultilinePreset, ReadFrom};
use sawlog_sources::file::frame::{Framing, Multiline};
use sawlog_sources::file::options::{FileOptions, encoding, multiline};
use sawlog_sources::file::pattern::{Names, PODS};
use sawlog_sources::file::source::FileSource;
use sawlog_sources::http::HttpIntake;
use sawlog_sources::http::config::HttpSource as HttpConfig;
use sawlog_sources::http::queue::RequestQueue;
use sawlog_sources::kafka::KafkaTopics;
use sawlog_sources::registry::SourceOptions;

use super::figures::Figures;
use super::requests::Requests;
use super::{Options, RunError};

/// What a packed file may unpack to, at most.
const UNPACKED_MAX: ByteSize = ByteSize::gib(16);
/// The field with the path of a row's file.
const PATH_FIELD: &str = "log.file.path";
/// Lines of one record where the config gives no number.
const LINES_MAX: u32 = 1_000;

/// Who reads, and where it may write.
pub struct Owner {
    /// The agent's id.
    pub agent: String,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// The disk below it.
    pub disk: Arc<dyn Disk>,
    /// Room for the queue of pushed input, bytes.
    pub queue_bytes_max: u64,
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
            let source = Arc::new(FileSource::new(options, true).map_err(|e| refuse(e.to_string()))?);
            let fields_of = Arc::downgrade(&source);
            let streams = file.kubernetes == sawlog_sources::file::config::Kubernetes::Auto;
            let is_named = file.path_field;
            let fields: FieldsOf = Arc::new(move |partition| {
                let Some(source) = fields_of.upgrade() else { return decode::Source::default() };
                let mut fields = source.fields(partition);
                let streams = streams && !fields.is_empty();
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

/// Size of a segment of a queue: three and one more of them per shard are taken in advance.
const QUEUE_SEGMENT: ByteSize = ByteSize::mib(8);

/// The write-ahead queue of one source, below the data directory.
fn request_queue(name: &str, http: &HttpConfig, owner: &Owner) -> Result<Arc<Queue>, FileError> {
    let mut options = QueueOptions::new(random_incarnation()?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    options.shards = http.shards.map_or(cores, u32::from);
    options.segment_bytes = QUEUE_SEGMENT.as_bytes();
    options.quota_bytes = owner.queue_bytes_max.max((u64::from(options.shards) * 4 + 2) * options.segment_bytes);
    options.body_bytes_max = http.limits.decompressed.as_usize().max(http.limits.body.as_usize()) + 1;
    options.key_time = http.idempotency.window.as_duration();
    options.keys_max = usize::try_from(http.idempotency.keys_max.0 / u64::from(options.shards))?;
    let folder = format!("queue-{}", safe(name));
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
    let framing = Framing {
        line_bytes_max: usize::try_from(file.line_bytes_max.as_bytes())?,
        encoding: file.encoding.as_deref().map(encoding).transpose()?,
        multiline: file.multiline.as_ref().map(multiline_of).transpose()?,
        cri: false,
    };
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(FileOptions {
        agent_id: owner.agent.to_owned(),
        source_id: name.to_owned(),
        names: Names::new(&file.include, &file.exclude, &file.rotated, Path::new(PODS))?,
        roots: file.roots.clone(),
        framing,
        from_end: file.read_from == ReadFrom::End,
        until_eof: owner.run.until_eof,
        rotate_wait: file.rotate_wait.as_duration(),
        idle_timeout: file.idle_timeout.as_duration(),
        poll_interval: file.poll_interval.as_duration(),
        deliver_identical_small: file.identical_small == IdenticalSmall::Deliver,
        open_files_max: file.open_files_max as usize,
        unpacked_bytes_max: UNPACKED_MAX.as_bytes(),
        scratch,
        grain: sawlog_core::identity::Grain::DEFAULT,
        boot_id,
        pods: PODS.into(),
    })
}

fn multiline_of(options: &sawlog_sources::file::config::Multiline) -> Result<Multiline, FileError> {
    let lines_max = options.lines_max.unwrap_or(LINES_MAX);
    let (pattern, starts) = match (&options.preset, &options.start, &options.r#continue) {
        (Some(preset), ..) => (preset_pattern(*preset), false),
        (None, Some(start), _) => (start.as_str(), true),
        (None, None, Some(further)) => (further.as_str(), false),
        (None, None, None) => return Err("`multiline` says nothing; give `preset`, `start` or `continue`".into()),
    };
    Ok(multiline(pattern, starts, lines_max)?)
}

/// What a record's further lines look like.
fn preset_pattern(preset: MultilinePreset) -> &'static str {
    match preset {
        MultilinePreset::Java => r"^(\s|Caused by:|\.\.\. \d+ more)",
        MultilinePreset::Python => {
            r"^(\s|Traceback|\w+(\.\w+)*(Error|Exception|Warning)(:|$)|During handling|The above exception)"
        }
        MultilinePreset::Go => r"^(\s|goroutine \d+ \[|created by |\[signal |$|\S+\(.*\)$)",
        MultilinePreset::Indented => r"^\s",
    }
}
