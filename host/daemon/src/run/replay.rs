//! Dead letters on their way back: a write-ahead queue of their own, read like any pushed input. Each letter is stored under a
//! key of its own, so that asking twice delivers once; its record keeps its id. The source is there once something was
//! replayed, and in every configuration's set of sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use sawlog_core::SourceId;
use sawlog_core::engine::Route;
use sawlog_core::ports::Source as _;
use sawlog_log::{Disk, Drive, random_incarnation};
use sawlog_queue::{Queue, QueueOptions};
use sawlog_sources::http::HttpIntake;
use sawlog_sources::http::queue::Trouble;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::parts::Running;
use super::requests::Requests;
use super::sources::Owner;
use super::{RunError, pipelines};
use crate::config::Config;
use crate::letters::{self, Door, Envelope, Letter, ShelfError};

/// The name of the source; no source of a configuration can have it.
pub const SOURCE: &str = "dlq.replay";

/// Its folder in the data directory.
const FOLDER: &str = "replay";
/// Size of a segment of its queue, bytes; three are taken in advance.
const SEGMENT_BYTES: u64 = 4 << 20;
/// How long a letter is known to have been replayed.
const KNOWN_TIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How many letters are known to have been replayed.
const KNOWN_MAX: usize = 200_000;
/// How long no letter comes before what plugins hold back is given out.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Letters that are being stored at once.
const UNDER_WAY_MAX: usize = 64;

/// Which letters are meant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Record ids; all letters where there is none.
    pub ids: BTreeSet<String>,
    /// Only letters of this sink or plugin.
    pub feeder: Option<String>,
    /// Only letters that lie in this dead-letter sink.
    pub sink: Option<String>,
}

impl Query {
    /// Whether `letter` is meant.
    pub fn takes(&self, letter: &Letter) -> bool {
        (self.ids.is_empty() || self.ids.contains(letter.id.as_str()))
            && self.feeder.as_ref().is_none_or(|feeder| *feeder == letter.feeder.name())
    }
}

/// What became of letters that were to be replayed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Stored now; they are delivered like any input.
    pub replayed: u64,
    /// Had been replayed before.
    pub known: u64,
    /// Not stored, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Lines of dead-letter sinks that are no letters.
    pub unreadable: u64,
    /// Ids of which there is no letter.
    pub missing: Vec<String>,
}

/// Whether anything was ever replayed on this data directory.
fn exists(data_dir: &Path) -> bool {
    data_dir.join(FOLDER).is_dir()
}

/// The source over its queue, making that where there is none. Nothing of it runs yet.
pub fn open(disk: Arc<dyn Disk>, agent: &str, quota_bytes: u64) -> Result<Arc<HttpIntake>, RunError> {
    let refuse = |reason: String| RunError::Component { name: SOURCE.to_owned(), reason };
    let mut options = QueueOptions::new(random_incarnation()?);
    options.segment_bytes = SEGMENT_BYTES;
    options.quota_bytes = quota_bytes;
    options.key_time = KNOWN_TIME;
    options.keys_max = KNOWN_MAX;
    let (queue, opening) = Queue::open(disk, FOLDER, options, Drive::Thread)?;
    for damage in &opening.damage {
        tracing::error!(source = SOURCE, ?damage, "part of the queue can't be read back; replay those letters again");
    }
    let intake = HttpIntake::unserved(agent, SOURCE, Arc::new(Requests(Arc::new(queue))));
    Ok(Arc::new(intake.map_err(|e| refuse(e.to_string()))?))
}

/// The source of letters that were replayed before, where there are any.
pub async fn reopen(owner: &Owner) -> Result<Option<Arc<HttpIntake>>, RunError> {
    if !exists(&owner.data_dir) {
        return Ok(None);
    }
    let intake = open(owner.disk.clone(), &owner.agent, owner.disk_shares.replay)?;
    if owner.run.until_eof {
        intake.close().await;
    }
    Ok(Some(intake))
}

/// How the engine is told of it.
pub fn route(intake: &Arc<HttpIntake>) -> Route {
    Route { id: SourceId::new(SOURCE), source: intake.clone(), retired: None, idle_timeout: IDLE_TIMEOUT }
}

impl Running {
    /// Where letters are put to be replayed.
    pub async fn replay(&mut self) -> Result<Arc<HttpIntake>, RunError> {
        if let Some(intake) = &self.replay {
            return Ok(intake.clone());
        }
        let intake = open(self.owner.disk.clone(), &self.owner.agent, self.owner.disk_shares.replay)?;
        self.engine.start_source(route(&intake));
        self.replay = Some(intake.clone());
        Ok(intake)
    }
}

/// Stores every letter that `query` means, in the order in which they lie there. To be run to its end: what was stored is told
/// to the source behind it.
pub async fn put(config: Arc<Config>, query: Query, intake: &HttpIntake) -> Result<Report, ShelfError> {
    let doors = pipelines::doors(&config);
    let (found, letters) = mpsc::channel(UNDER_WAY_MAX);
    let mut missing = query.ids.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut unreadable = 0;
        letters::read(&config, query.sink.as_deref(), |_, letter| match letter {
            Ok(letter) if query.takes(&letter) => found.blocking_send(letter).is_ok(),
            Ok(_) => true,
            Err(_) => {
                unreadable += 1;
                true
            }
        })
        .map(|()| unreadable)
    });
    let letters = unfold(letters, async |mut letters| letters.recv().await.map(|letter| (letter, letters)));
    let mut stored = letters.map(|letter| store(intake, &doors, letter)).buffered(UNDER_WAY_MAX).boxed();
    let mut report = Report::default();
    while let Some((id, outcome)) = stored.next().await {
        missing.remove(&id);
        match outcome {
            Ok(false) => report.replayed += 1,
            Ok(true) => report.known += 1,
            Err(reason) => *report.refused.entry(reason).or_default() += 1,
        }
    }
    drop(stored);
    match reading.await {
        Ok(read) => report.unreadable = read?,
        Err(error) => *report.refused.entry(format!("reading ended badly: {error}")).or_default() += 1,
    }
    report.missing = missing.into_iter().collect();
    Ok(report)
}

/// Stores one; tells its id, and whether it had been stored before.
async fn store(intake: &HttpIntake, doors: &BTreeMap<Door, u8>, letter: Letter) -> (String, Result<bool, String>) {
    let id = letter.id.as_str().to_owned();
    if !doors.contains_key(&letter.feeder) {
        let reason = match &letter.feeder {
            Door::Sink(name) => format!("the configuration has no sink `{name}`: name it again to replay its letters"),
            Door::Plugin(stage) => format!(
                "plugin `{}` does not run at {} any more: put it there again to replay its letters",
                stage.plugin, stage.place
            ),
        };
        return (id, Err(reason));
    }
    let outcome = match intake.put(letter.key(), Envelope::seal(&letter)).await {
        Ok(stored) => Ok(stored.repeated),
        // Another version sealed the same letter in other words.
        Err(Trouble::KeyReused) => Ok(true),
        Err(trouble) => Err(trouble.to_string()),
    };
    (id, outcome)
}
