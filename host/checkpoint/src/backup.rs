//! The copy of a checkpoint in another place: its state and the blobs that it names, and the way back into an empty journal.
//!
//! ```text
//! <place of the agent>/
//! ├── blobs/<64 hexadecimal digits>       never written twice: the name is the content
//! └── checkpoints/<unix ms, 20 digits>-<directory>   written last, so that all that it names is there; the newest few are kept
//! ```
//!
//! A restored journal is older than what sinks have taken since. Those that hold their own cursors are believed over it; what
//! the others get again is the price, and whoever restores says so.

use crate::journal::DiskJournal;
use async_trait::async_trait;
use sawlog_core::journal::JournalState;
use sawlog_core::journal::record::{DecodeError, decode, encode};
use sawlog_core::ports::{JournalError, JournalStore};
use std::collections::BTreeSet;

/// Backups that are kept.
const KEPT: usize = 3;
const MAGIC: [u8; 8] = *b"sawlback";
/// Version of the file format that this build writes and reads.
const VERSION: u32 = 1;
const BODY_AT: usize = 8 + 4 + 32;

/// Where backups go: small files under names with `/`, relative to the agent's own place.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Puts a file there, whole or not at all, in place of what has its name.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), String>;
    /// Reads a file; `None` where there is none.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String>;
    /// Whether there is one.
    async fn exists(&self, name: &str) -> Result<bool, String>;
    /// Names in a folder (which ends in `/`), without the folder.
    async fn list(&self, folder: &str) -> Result<Vec<String>, String>;
    /// Deletes a file; harmless where there is none.
    async fn delete(&self, name: &str) -> Result<(), String>;
}

/// Why a checkpoint is not copied, or not brought back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place refuses.
    #[error("the place of the backups: {0}")]
    Place(String),
    /// The journal refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal on the disk can't be read.
    #[error(transparent)]
    Checkpoint(#[from] crate::CheckpointError),
    /// What lies there is no backup of this agent that this build can use.
    #[error("backup {name:?} can't be used: {what}")]
    Unusable {
        /// Which one.
        name: String,
        /// Why.
        what: String,
    },
    /// There is nothing to copy yet.
    #[error("no checkpoint has been written yet; try again after `checkpoint.interval`")]
    NothingYet,
    /// A checkpoint came and went while it was copied.
    #[error("the checkpoint was replaced while it was copied; the next one is copied instead")]
    Replaced,
}

/// One backup without its blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Whose: the agent's id.
    pub agent: String,
    /// The data directory that it was taken of, by its own name.
    pub directory: String,
    /// When, unix milliseconds; later than every copy before it, whatever the clock says.
    pub taken_at_ms: u64,
    /// The blobs that it names.
    pub blobs: Vec<[u8; 32]>,
    /// The checkpoint's state.
    pub state: Vec<u8>,
}

impl Backup {
    fn name(&self) -> String {
        format!("{:020}-{}", self.taken_at_ms, self.directory.get(..8).unwrap_or(&self.directory))
    }

    fn encode(&self) -> Vec<u8> {
        let body = encode(&(&self.agent, &self.directory, self.taken_at_ms, &self.blobs, &self.state));
        let mut bytes = Vec::with_capacity(BODY_AT + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (Some(version), Some(digest), Some(body)) =
            (bytes.get(8..12), bytes.get(12..BODY_AT), bytes.get(BODY_AT..))
        else {
            return Err("it is cut short".to_owned());
        };
        if bytes[..8] != MAGIC {
            return Err("it does not begin like a backup".to_owned());
        }
        if version != VERSION.to_le_bytes() {
            return Err("another version of sawlog wrote it; run that one, or a later one".to_owned());
        }
        if blake3::hash(body).as_bytes() != digest {
            return Err("it does not match its digest".to_owned());
        }
        let (agent, directory, taken_at_ms, blobs, state) = decode(body).map_err(|e: DecodeError| e.to_string())?;
        Ok(Self { agent, directory, taken_at_ms, blobs, state })
    }
}

fn blob_name(digest: &[u8; 32]) -> String {
    format!("blobs/{}", blake3::Hash::from_bytes(*digest).to_hex())
}

/// What a copy was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Number of the checkpoint.
    pub number: u64,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Blobs that were not there yet.
    pub new_blobs: usize,
    /// When, unix milliseconds.
    pub taken_at_ms: u64,
}

/// Copies the newest checkpoint of `journal` and the blobs that it names, then deletes older copies.
pub async fn copy(
    vault: &dyn Vault,
    journal: &DiskJournal,
    (agent, directory): (&str, &str),
    now_ms: u64,
) -> Result<Copied, BackupError> {
    let newest = journal.checkpoints().await?.pop().ok_or(BackupError::NothingYet)?;
    let state = journal.checkpoint(newest.number).await?;
    let blobs = blobs_of("of the newest checkpoint", &state)?;
    let mut new_blobs = 0;
    for digest in &blobs {
        let name = blob_name(digest);
        if vault.exists(&name).await.map_err(BackupError::Place)? {
            continue;
        }
        let bytes = journal.get_blob(*digest).await?.ok_or(BackupError::Replaced)?;
        vault.put(&name, bytes).await.map_err(BackupError::Place)?;
        new_blobs += 1;
    }
    let (agent, directory) = (agent.to_owned(), directory.to_owned());
    // A clock that was set back must not make this copy the oldest one, which goes first.
    let newest_ms = names(vault).await?.last().and_then(|name| name.get(..20)?.parse::<u64>().ok());
    let taken_at_ms = newest_ms.map_or(now_ms, |newest_ms| now_ms.max(newest_ms.saturating_add(1)));
    let backup = Backup { agent, directory, taken_at_ms, blobs, state };
    vault.put(&format!("checkpoints/{}", backup.name()), backup.encode()).await.map_err(BackupError::Place)?;
    thin(vault).await?;
    let state_bytes = newest.state_bytes;
    Ok(Copied { number: newest.number, state_bytes, new_blobs, taken_at_ms })
}

fn blobs_of(name: &str, state: &[u8]) -> Result<Vec<[u8; 32]>, BackupError> {
    let unusable = |error: DecodeError| BackupError::Unusable { name: name.to_owned(), what: error.to_string() };
    let state = JournalState::decode(state).map_err(unusable)?;
    Ok(state.blobs().into_iter().collect())
}

async fn names(vault: &dyn Vault) -> Result<Vec<String>, BackupError> {
    let mut names = vault.list("checkpoints/").await.map_err(BackupError::Place)?;
    names.sort_unstable();
    Ok(names)
}

async fn read(vault: &dyn Vault, name: &str) -> Result<Backup, BackupError> {
    let unusable = |what: &str| BackupError::Unusable { name: name.to_owned(), what: what.to_owned() };
    let bytes = vault.get(&format!("checkpoints/{name}")).await.map_err(BackupError::Place)?;
    let bytes = bytes.ok_or_else(|| unusable("it is gone"))?;
    Backup::decode(&bytes).map_err(|what| unusable(&what))
}

/// Deletes all copies but the newest, and the blobs that only they named. What another one may be writing just now is left.
async fn thin(vault: &dyn Vault) -> Result<(), BackupError> {
    let names = names(vault).await?;
    let (old, kept) = names.split_at(names.len().saturating_sub(KEPT));
    if old.is_empty() {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    for name in kept {
        named.extend(read(vault, name).await?.blobs);
    }
    for name in old {
        // One that can't be read names nothing that could be found.
        let blobs = read(vault, name).await.map_or(Vec::new(), |backup| backup.blobs);
        vault.delete(&format!("checkpoints/{name}")).await.map_err(BackupError::Place)?;
        for digest in blobs.iter().filter(|digest| !named.contains(*digest)) {
            vault.delete(&blob_name(digest)).await.map_err(BackupError::Place)?;
        }
    }
    Ok(())
}

/// Brings the newest usable backup of `agent` into a journal that holds nothing yet: all of it or, where anything is in the way,
/// nothing. `None` where there is none; what is there and can't be used is told.
pub async fn restore(
    vault: &dyn Vault,
    journal: &dyn JournalStore,
    agent: &str,
) -> Result<(Option<Backup>, Vec<BackupError>), BackupError> {
    let mut skipped = Vec::new();
    for name in names(vault).await?.iter().rev() {
        match bring_back(vault, journal, agent, name).await {
            Ok(backup) => return Ok((Some(backup), skipped)),
            Err(unusable @ BackupError::Unusable { .. }) => skipped.push(unusable),
            Err(error) => return Err(error),
        }
    }
    match skipped.pop() {
        Some(newest) => Err(newest),
        None => Ok((None, skipped)),
    }
}

async fn bring_back(
    vault: &dyn Vault,
    journal: &dyn JournalStore,
    agent: &str,
    name: &str,
) -> Result<Backup, BackupError> {
    let unusable = |what: String| BackupError::Unusable { name: name.to_owned(), what };
    let backup = read(vault, name).await?;
    if backup.agent != agent {
        return Err(unusable(format!("it is of agent {:?}, and this one is {agent:?}", backup.agent)));
    }
    let mut state = JournalState::decode(&backup.state).map_err(|e| unusable(e.to_string()))?;
    for digest in &backup.blobs {
        let blob = vault.get(&blob_name(digest)).await.map_err(BackupError::Place)?;
        let blob = blob.filter(|bytes| blake3::hash(bytes).as_bytes() == digest);
        let blob = blob.ok_or_else(|| unusable(format!("{} is missing or damaged", blob_name(digest))))?;
        journal.put_blob(blob).await?;
    }
    state.restore();
    // The snapshot comes last: until then the journal is as empty as it was.
    journal.snapshot(state.encode()).await?;
    Ok(backup)
}

/// Makes an empty journal one that is not restored by itself: sinks' own cursors are all that the next start goes by.
pub async fn begin_from_sinks(journal: &dyn JournalStore, now: i64) -> Result<(), JournalError> {
    journal.snapshot(JournalState { time: now, ..JournalState::default() }.encode()).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::JournalOptions;
    use sawlog_core::SinkId;
    use sawlog_core::journal::{Epoch, Record};
    use sawlog_log::{Drive, RealDisk};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

    #[async_trait]
    impl Vault for Memory {
        async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
            self.0.lock().unwrap().insert(name.to_owned(), bytes);
            Ok(())
        }

        async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.lock().unwrap().get(name).cloned())
        }

        async fn exists(&self, name: &str) -> Result<bool, String> {
            Ok(self.0.lock().unwrap().contains_key(name))
        }

        async fn list(&self, folder: &str) -> Result<Vec<String>, String> {
            let files = self.0.lock().unwrap();
            Ok(files.keys().filter_map(|name| name.strip_prefix(folder)).map(str::to_owned).collect())
        }

        async fn delete(&self, name: &str) -> Result<(), String> {
            self.0.lock().unwrap().remove(name);
            Ok(())
        }
    }

    fn journal(folder: &std::path::Path) -> DiskJournal {
        let disk = Arc::new(RealDisk::open(folder).unwrap());
        DiskJournal::open(disk, JournalOptions::new([7; 16]), Drive::Thread).unwrap()
    }

    /// A state that names one blob and one sink.
    async fn snapshot(journal: &DiskJournal, blob: &[u8]) -> JournalState {
        let digest = journal.put_blob(blob.to_vec()).await.unwrap();
        let mut state = JournalState::default();
        let sinks = BTreeMap::from([(SinkId::new("out"), Default::default())]);
        let id = sawlog_core::EpochId([1; 16]);
        state.apply(&Record::Epoch(Epoch { id, stateful: BTreeMap::new(), blobs: vec![digest], sinks }));
        journal.snapshot(state.encode()).await.unwrap();
        state
    }

    #[tokio::test]
    async fn what_was_copied_comes_back_into_an_empty_journal_of_the_same_agent() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (vault, old) = (Memory::default(), journal(from.path()));
        let early = copy(&vault, &old, ("a", "d1"), 1).await;
        assert!(matches!(early, Err(BackupError::NothingYet)), "{early:?}");
        let mut state = snapshot(&old, b"plugin").await;
        let copied = copy(&vault, &old, ("a", "d1"), 1).await.unwrap();
        assert_eq!((copied.new_blobs, copied.number), (1, 1));

        let new = journal(to.path());
        let foreign = restore(&vault, &new, "b").await;
        assert!(matches!(&foreign, Err(BackupError::Unusable { what, .. }) if what.contains("\"a\"")), "{foreign:?}");
        assert_eq!(new.load().await.unwrap().snapshot, None, "nothing was touched");
        let (backup, skipped) = restore(&vault, &new, "a").await.unwrap();
        assert_eq!((backup.unwrap().taken_at_ms, skipped.len()), (1, 0));
        state.restore();
        assert_eq!(JournalState::decode(&new.load().await.unwrap().snapshot.unwrap()).unwrap(), state);
        assert_eq!(new.get_blob(*blake3::hash(b"plugin").as_bytes()).await.unwrap().unwrap(), b"plugin");
    }

    #[tokio::test]
    async fn the_newest_few_are_kept_and_one_that_is_spoilt_gives_way_to_the_one_before() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (vault, old) = (Memory::default(), journal(from.path()));
        for n in 1..=5u8 {
            snapshot(&old, &[n]).await;
            copy(&vault, &old, ("a", "d1"), u64::from(n)).await.unwrap();
        }
        assert_eq!(vault.list("checkpoints/").await.unwrap().len(), KEPT);
        assert_eq!(vault.list("blobs/").await.unwrap().len(), KEPT, "blobs go with what named them");
        vault.delete(&blob_name(blake3::hash(&[5]).as_bytes())).await.unwrap();
        let newest = format!("checkpoints/{:020}-d1", 4);
        let mut bytes = vault.get(&newest).await.unwrap().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        vault.put(&newest, bytes).await.unwrap();
        let new = journal(to.path());
        let (backup, skipped) = restore(&vault, &new, "a").await.unwrap();
        assert_eq!((backup.unwrap().taken_at_ms, skipped.len()), (3, 2), "{skipped:?}");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_costs_no_copy_and_the_last_one_is_the_newest() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (vault, old, new) = (Memory::default(), journal(from.path()), journal(to.path()));
        for (n, now_ms) in [(1u8, 9_000), (2, 9_001), (3, 9_002), (4, 17), (5, 18)] {
            snapshot(&old, &[n]).await;
            copy(&vault, &old, ("a", "d1"), now_ms).await.unwrap();
        }
        let (backup, skipped) = restore(&vault, &new, "a").await.unwrap();
        assert_eq!(skipped.len(), 0, "{skipped:?}");
        assert_eq!(backup.unwrap().blobs, [*blake3::hash(&[5]).as_bytes()]);
    }

    #[tokio::test]
    async fn a_place_without_backups_is_none_and_a_begun_journal_is_not_empty() {
        let to = tempfile::tempdir().unwrap();
        let new = journal(to.path());
        assert!(matches!(restore(&Memory::default(), &new, "a").await, Ok((None, _))));
        begin_from_sinks(&new, 9).await.unwrap();
        let state = JournalState::decode(&new.load().await.unwrap().snapshot.unwrap()).unwrap();
        assert!(!state.is_empty());
    }
}
