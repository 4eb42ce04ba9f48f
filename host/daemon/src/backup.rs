//! Checkpoints in a second place: where that is by the configuration, the copy at every interval, and the way back at a start
//! with an empty data directory. What a backup holds is the checkpoint room's.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use sawlog_checkpoint::DiskJournal;
use sawlog_checkpoint::backup::{self, BackupError, Copied, Vault};
use sawlog_sinks::file::Folder;
use sawlog_sinks::hdfs::{Cluster, HdfsOptions};
use sawlog_sinks::object::{Blobs, Keys, safe};
use sawlog_sinks::s3::{Bucket, S3Options, StaticCredentials};
use thiserror::Error;

use crate::config::sections::{Backup as Options, BackupType};

/// How long a start with an empty data directory asks for a backup before it gives up.
const ASK_TIME: Duration = Duration::from_secs(30);
/// Between two attempts.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// The region of a bucket where none is named.
const REGION: &str = "us-east-1";

/// Why there is no backup to be had.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The place can't be addressed.
    #[error("checkpoint.backup: {0}")]
    Place(String),
    /// An empty data directory, and nobody knows whether there is a backup of it.
    #[error(
        "the data directory is empty and its backup can't be brought back: {0}; mend that and start again, or go on without \
         it: `sawlog checkpoint restore --from sinks`"
    )]
    Unknown(BackupError),
}

/// Small files of a store of objects.
struct Place(Box<dyn Blobs>);

#[async_trait]
impl Vault for Place {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        self.0.replace(name, bytes).await.map_err(|e| e.to_string())
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(name).await.map_err(|e| e.to_string())
    }

    async fn exists(&self, name: &str) -> Result<bool, String> {
        self.0.exists(name).await.map_err(|e| e.to_string())
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        self.0.list(folder).await.map_err(|e| e.to_string())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        self.0.delete(name).await.map_err(|e| e.to_string())
    }
}

/// The agent's own place in what `options` name. Opens no connection.
pub fn place(options: &Options, agent: &str) -> Result<Arc<dyn Vault>, RestoreError> {
    let wrong = |error: &dyn std::fmt::Display| RestoreError::Place(error.to_string());
    let keys = Keys::new(agent, "checkpoint", "backup");
    let own = |root: &str| format!("{}/{}", root.trim_end_matches('/'), safe(agent));
    let path = || options.path.as_deref().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let blobs: Box<dyn Blobs> = match options.r#type {
        BackupType::Folder => Box::new(Folder::new(own(&path()), &keys)),
        BackupType::Hdfs => {
            let (url, user) = (options.url.clone().unwrap_or_default(), options.user.clone());
            let hdfs = HdfsOptions { url, root: own(&path()), user, ..HdfsOptions::default() };
            Box::new(Cluster::new(&hdfs, &keys).map_err(|e| wrong(&e))?)
        }
        BackupType::S3 => Box::new(Bucket::new(&bucket(options, &own(&options.prefix)), keys).map_err(|e| wrong(&e))?),
    };
    Ok(Arc::new(Place(blobs)))
}

fn bucket(options: &Options, root: &str) -> S3Options {
    let credentials = options.credentials.clone().map(|given| StaticCredentials {
        access_key_id: given.access_key_id,
        secret_access_key: given.secret_access_key,
        session_token: given.session_token,
    });
    S3Options {
        bucket: options.bucket.clone().unwrap_or_default(),
        root: root.trim_start_matches('/').to_owned(),
        endpoint: options.endpoint.clone(),
        region: options.region.clone().unwrap_or_else(|| REGION.to_owned()),
        path_style: options.path_style,
        credentials,
        tls: options.tls.clone(),
        proxy: options.proxy.clone(),
        ..S3Options::default()
    }
}

/// Brings the newest backup into a journal that holds nothing. Tells what that costs; `None` where there was none.
pub async fn restore_at_start(
    place: &dyn Vault,
    store: &DiskJournal,
    agent: &str,
) -> Result<Option<String>, RestoreError> {
    let until = tokio::time::Instant::now() + ASK_TIME;
    loop {
        match backup::restore(place, store, agent).await {
            Ok((found, skipped)) => {
                skipped.iter().for_each(|reason| tracing::warn!(%reason, "an older backup is taken instead"));
                let cost = found.map(|found| cost(age(found.taken_at_ms)));
                cost.iter().for_each(|cost| tracing::warn!("{cost}"));
                return Ok(cost);
            }
            Err(BackupError::Place(reason)) if tokio::time::Instant::now() < until => {
                tracing::warn!(reason, "the data directory is empty and its backup can't be looked for; trying again");
                tokio::time::sleep(ASK_PAUSE).await;
            }
            Err(error) => return Err(RestoreError::Unknown(error)),
        }
    }
}

/// What a restored backup of this age means.
pub fn cost(age: Duration) -> String {
    format!(
        "the journal was brought back from a backup that is {} s old. Kafka and object sinks go on from their own cursors, exactly \
         once for files that are still there; rows of these {0} s may be repeated in Elasticsearch where the index comes from the \
         received time, and in appended files; pushed records that were not delivered are lost",
        age.as_secs()
    )
}

/// Time since a moment in unix milliseconds.
pub fn age(taken_at_ms: u64) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(taken_at_ms))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// How the backups of this life fared.
#[derive(Debug, Clone, Default)]
pub struct Fared {
    /// The newest one that was taken.
    pub newest: Option<Copied>,
    /// Why the last attempt failed, if it did.
    pub trouble: Option<String>,
}

/// Takes backups of a running agent's checkpoints.
pub struct Keeper {
    /// Where to, and how often.
    to: RwLock<(Arc<dyn Vault>, Duration)>,
    store: Arc<DiskJournal>,
    agent: String,
    directory: String,
    /// One at a time; and how they fared.
    taking: tokio::sync::Mutex<()>,
    fared: Mutex<Fared>,
}

impl Keeper {
    /// A keeper that has taken none.
    pub fn new(
        place: Arc<dyn Vault>,
        store: Arc<DiskJournal>,
        (agent, directory): (String, String),
        every: Duration,
    ) -> Self {
        let (taking, fared) = Default::default();
        Self { to: RwLock::new((place, every)), store, agent, directory, taking, fared }
    }

    /// Takes the next ones there, and so often.
    pub fn go_on_at(&self, place: Arc<dyn Vault>, every: Duration) {
        *self.to.write().unwrap_or_else(PoisonError::into_inner) = (place, every);
    }

    fn to(&self) -> (Arc<dyn Vault>, Duration) {
        self.to.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How they fared.
    pub fn fared(&self) -> Fared {
        self.fared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes one now.
    pub async fn take(&self) -> Result<Copied, BackupError> {
        let one_at_a_time = self.taking.lock().await;
        let copied = backup::copy(&*self.to().0, &self.store, (&self.agent, &self.directory), now_ms()).await;
        drop(one_at_a_time);
        let mut fared = self.fared.lock().unwrap_or_else(PoisonError::into_inner);
        match &copied {
            Ok(copied) => *fared = Fared { newest: Some(*copied), trouble: None },
            Err(error) => fared.trouble = Some(error.to_string()),
        }
        copied
    }

    /// Takes one at every interval, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(self.to().1).await;
            match self.take().await {
                Ok(copied) => tracing::debug!(checkpoint = copied.number, new_blobs = copied.new_blobs, "backed up"),
                Err(BackupError::NothingYet | BackupError::Replaced) => {}
                Err(error) => {
                    tracing::warn!(%error, "the checkpoint is not backed up; tried again at the next interval")
                }
            }
        }
    }
}

/// Takes one of an agent that does not run.
pub async fn take_of(place: &dyn Vault, store: &DiskJournal, names: (&str, &str)) -> Result<Copied, BackupError> {
    backup::copy(place, store, names, now_ms()).await
}
