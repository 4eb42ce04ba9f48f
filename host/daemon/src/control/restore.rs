//! `sawlog checkpoint backup` and `restore`: a copy of the newest checkpoint now, and a new beginning for a data directory that
//! is empty or damaged. Nothing is deleted by it.

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use hyper::Method;
use sawlog_checkpoint::backup::{self as copies, Copied, Vault};
use sawlog_checkpoint::{CheckpointError, DataDir, DiskJournal, JournalOptions, set_aside};
use sawlog_core::journal::record::DecodeError;
use sawlog_core::journal::{Journal, OpenError};
use sawlog_core::ports::Clock as _;
use sawlog_log::{Drive, random_incarnation};
use serde_json::{Value, json};

use super::place::{ControlError, Place, Reach};
use crate::agent_id;
use crate::backup;
use crate::config::Config;
use crate::config::references::Machine;
use crate::run::SystemClock;
use crate::verbs::print;

/// The configuration names no place.
pub const NO_BACKUP: &str = "the configuration names no place for backups; add `checkpoint: { backup: { type: folder, path: /path } }` \
                             or one of type s3 or hdfs";

/// Where a new beginning comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// The newest copy in `checkpoint.backup`.
    Backup,
    /// The cursors that Kafka and object sinks keep themselves, and nothing else.
    Sinks,
}

/// What a copy was, for people and programs.
pub fn told(copied: &Copied) -> Value {
    let Copied { number, state_bytes, new_blobs, .. } = copied;
    json!({ "checkpoint": number, "bytes": state_bytes, "new_blobs": new_blobs })
}

/// `sawlog checkpoint backup`
pub fn back_up(place: &Place) -> Result<(), ControlError> {
    let copied = match place.reach()? {
        Reach::Running(client) => client.ask(Method::POST, "/v1/checkpoint/backup", None)?,
        Reach::Down(down) => {
            let (vault, agent) = vault(&place.config()?)?;
            let names = (agent.as_str(), down.directory_name());
            let copied = down.runtime.block_on(backup::take_of(&*vault, &down.store, (names.0, &names.1)));
            told(&copied.map_err(|error| ControlError::Refused(error.to_string()))?)
        }
    };
    let (number, bytes, blobs) = (&copied["checkpoint"], &copied["bytes"], &copied["new_blobs"]);
    Ok(print(&format!("checkpoint {number} is copied: {bytes} bytes of state, {blobs} new blobs"))?)
}

fn vault(config: &Config) -> Result<(Arc<dyn Vault>, String), ControlError> {
    let refuse = |error: &dyn std::fmt::Display| ControlError::Refused(error.to_string());
    let options = config.sections.checkpoint.backup.as_ref().ok_or_else(|| refuse(&NO_BACKUP))?;
    let agent = agent_id::resolve(&config.sections.agent.id, &Machine).map_err(|e| refuse(&e))?;
    Ok((backup::place(options, &agent).map_err(|e| refuse(&e))?, agent))
}

/// `sawlog checkpoint restore`
pub fn run(place: &Place, from: From) -> Result<(), ControlError> {
    let path = place.data_dir()?;
    let source = match from {
        From::Backup => Some(vault(&place.config()?)?),
        From::Sinks => None,
    };
    let directory = DataDir::open(&path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let store = empty_journal(&directory, &path).await?;
        // Borrowed: a client of HDFS that was made outside of a runtime must be dropped outside of one.
        let done = match &source {
            Some((vault, agent)) => from_backup(&**vault, &store, agent).await?,
            None => {
                copies::begin_from_sinks(&store, SystemClock.now()).await.map_err(OpenError::from)?;
                FROM_SINKS.to_owned()
            }
        };
        store.close().await?;
        Ok(print(&format!("{}: {done}", path.display()))?)
    })
}

/// What going by the sinks' cursors alone means.
const FROM_SINKS: &str = "the next start goes by the cursors that Kafka and object sinks keep: exactly once there for files that are \
                          still there; Elasticsearch may get rows again where the index comes from the received time, appended files \
                          get theirs again, and the plugins' state is fresh. Sinks should be reachable when the agent starts";

async fn from_backup(vault: &dyn Vault, store: &DiskJournal, agent: &str) -> Result<String, ControlError> {
    let refuse = |reason: String| ControlError::Refused(reason);
    let (found, skipped) = copies::restore(vault, store, agent).await.map_err(|error| refuse(error.to_string()))?;
    skipped.iter().for_each(|reason| eprintln!("{reason}; an older one is taken instead"));
    match found {
        Some(found) => Ok(backup::cost(backup::age(found.taken_at_ms))),
        None => Err(refuse(format!(
            "there is no backup of agent {agent:?} in `checkpoint.backup`; go on without one: `sawlog checkpoint restore --from sinks`"
        ))),
    }
}

/// The directory's journal, if it holds nothing; one that is damaged is moved out of the way.
async fn empty_journal(directory: &DataDir, path: &Path) -> Result<DiskJournal, ControlError> {
    let damage = match open(directory).await {
        Ok((store, true)) => return Ok(store),
        Ok((_, false)) => {
            return Err(ControlError::Refused(format!(
                "the journal in {} is whole, and newer than any backup: start the agent; to begin anew all the same, move the \
                 folder away first",
                path.display()
            )));
        }
        Err(
            error @ (ControlError::Checkpoint(CheckpointError::Corrupt { .. })
            | ControlError::Journal(
                OpenError::Store(_) | OpenError::Decode(DecodeError::Malformed(_) | DecodeError::Empty),
            )),
        ) => error,
        Err(error) => return Err(error),
    };
    let aside = set_aside(&*directory.disk())?;
    eprintln!("{damage}\nthe damaged journal is kept in {}", path.join(aside).display());
    Ok(open(directory).await?.0)
}

/// The journal, and whether it holds nothing.
async fn open(directory: &DataDir) -> Result<(DiskJournal, bool), ControlError> {
    let options = JournalOptions { keep: usize::MAX, ..JournalOptions::new(random_incarnation()?) };
    let store = Arc::new(DiskJournal::open(directory.disk(), options, Drive::Thread)?);
    let journal = Journal::open(store.clone(), Arc::new(SystemClock)).await?;
    let is_empty = journal.state().is_empty();
    drop(journal);
    let store = Arc::into_inner(store).ok_or_else(|| ControlError::Refused("the journal is in use".to_owned()))?;
    Ok((store, is_empty))
}
