//! HDFS as a store of objects: a file is written under `_tmp`, synced on its datanodes, closed, and gets its name by one rename that
//! overwrites nothing. Never appends, never uses a name of an unfinished file twice. Knows nothing of claims.

use super::failure::{failed, is_missing};
use crate::object::{Blobs, Body, Keys};
use async_trait::async_trait;
use hdfs_native::client::{FileStatus, WriteOptions};
use hdfs_native::{Client, ClientBuilder, HdfsError};
use sawlog_core::ports::{PutOutcome, SinkError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one call may take. A namenode that hangs must fail, so that the sink says so.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// How often the client asks its namenodes before it gives up. An outage is the core's to wait out, and it says what it waits for.
const ATTEMPTS_MAX: (&str, &str) = ("dfs.client.failover.max.attempts", "4");
/// Largest blob that is read back (a claim), in bytes.
const READ_BYTES_MAX: usize = 256 << 20;
/// Folders are made with the usual rights of Hadoop.
const FOLDER_MODE: u32 = 0o755;

/// Where a cluster is and how to get in.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HdfsOptions {
    /// `hdfs://HOST:PORT` or `hdfs://NAMESERVICE`.
    pub url: String,
    /// Folder below which everything lies.
    pub root: String,
    /// User on a cluster without Kerberos.
    pub user: Option<String>,
    /// Principal and keytab.
    pub kerberos: Option<(String, PathBuf)>,
    /// Client options by their Hadoop names.
    pub options: BTreeMap<String, String>,
}

/// Why no client can be made of the options.
#[derive(Debug, thiserror::Error)]
#[error("can't make a client for {url}: {error}; correct `url`, `options` or `kerberos`")]
pub struct ClusterError {
    /// Which cluster.
    pub url: String,
    /// Why.
    pub error: HdfsError,
}

/// The files below one folder of a cluster.
pub struct Cluster {
    client: Client,
    url: String,
    root: String,
    unfinished: String,
    made: AtomicU64,
    life: u64,
}

impl Cluster {
    /// The cluster that `options` name. Opens no connection.
    pub fn new(options: &HdfsOptions, keys: &Keys) -> Result<Self, ClusterError> {
        let mut config = BTreeMap::from([(ATTEMPTS_MAX.0.to_owned(), ATTEMPTS_MAX.1.to_owned())]);
        config.extend(options.options.clone());
        let mut builder = ClientBuilder::new().with_url(&options.url).with_config(config);
        if let Some(user) = &options.user {
            builder = builder.with_user(user);
        }
        if let Some((principal, keytab)) = &options.kerberos {
            builder = builder.with_kerberos_principal(principal).with_kerberos_keytab(keytab.display().to_string());
        }
        let client = builder.build().map_err(|error| ClusterError { url: options.url.clone(), error })?;
        let root = options.root.trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            url: options.url.clone(),
            unfinished: format!("{root}/{}", keys.unfinished()),
            root,
            made: AtomicU64::new(0),
            life: fastrand::u64(..),
        })
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    /// A call with a limit on its time.
    async fn call<T>(
        &self,
        what: &str,
        is_edit: bool,
        call: impl Future<Output = Result<T, HdfsError>>,
    ) -> Result<T, SinkError> {
        match tokio::time::timeout(CALL_TIME_MAX, call).await {
            Ok(done) => done.map_err(|e| failed(what, &self.url, &e, is_edit)),
            Err(_) if is_edit => Err(SinkError::Unknown(self.silent(what))),
            Err(_) => Err(SinkError::Unavailable(self.silent(what))),
        }
    }

    fn silent(&self, what: &str) -> String {
        format!("{what} at {}: no answer within {} s", self.url, CALL_TIME_MAX.as_secs())
    }

    /// The status of a file; `None` where there is none.
    async fn status(&self, path: &str) -> Result<Option<FileStatus>, SinkError> {
        let status = async {
            match self.client.get_file_info(path).await {
                Ok(status) => Ok(Some(status)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.call(&format!("can't look for {path}"), false, status).await
    }

    /// Writes a closed file under a name that nobody else ever uses.
    async fn write(&self, body: &Body) -> Result<String, SinkError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = format!("{}{:016x}-{number}", self.unfinished, self.life);
        let what = format!("can't write {path}");
        let options = WriteOptions::default();
        let mut writer = self.call(&what, true, self.client.create(&path, options)).await?;
        let mut offset = 0;
        while offset < body.len() {
            let chunk = body.read_chunk(offset).await?;
            offset += chunk.len() as u64;
            self.call(&what, true, writer.write_bytes(chunk)).await?;
        }
        // Erasure-coded files can't be synced; closing them is all there is.
        match tokio::time::timeout(CALL_TIME_MAX, writer.hsync()).await {
            Ok(Ok(()) | Err(HdfsError::UnsupportedFeature(_))) => {}
            Ok(Err(error)) => return Err(failed(&what, &self.url, &error, true)),
            Err(_) => return Err(SinkError::Unknown(self.silent(&what))),
        }
        self.call(&what, true, writer.close()).await?;
        Ok(path)
    }

    /// Renames over nothing. Without a good answer the target may be this file, whose reply was lost, or that of another writer, who
    /// may have swept this one away: a source that is gone proves nothing, so it only says that something is there. Whoever has to
    /// know whose it is reads it.
    async fn name(&self, unfinished: &str, target: &str) -> Result<PutOutcome, SinkError> {
        let renamed = tokio::time::timeout(CALL_TIME_MAX, self.client.rename(unfinished, target, false)).await;
        if matches!(renamed, Ok(Ok(()))) {
            return Ok(PutOutcome::Created);
        }
        if self.status(target).await?.is_some() {
            self.remove(unfinished).await?;
            return Ok(PutOutcome::Exists);
        }
        let what = format!("can't rename to {target}");
        Err(match renamed {
            Ok(Err(error)) => failed(&what, &self.url, &error, true),
            _ => SinkError::Unknown(self.silent(&what)),
        })
    }

    async fn make_folder_of(&self, path: &str) -> Result<(), SinkError> {
        let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        self.call(&format!("can't make the folder {folder}"), true, self.client.mkdirs(folder, FOLDER_MODE, true)).await
    }

    async fn remove(&self, path: &str) -> Result<(), SinkError> {
        self.call(&format!("can't delete {path}"), true, self.client.delete(path, false)).await.map(drop)
    }

    /// Names of files, or of folders, directly below `folder`.
    async fn names(&self, folder: &str, is_folder: bool) -> Result<Vec<String>, SinkError> {
        let list = async {
            match self.client.list_status(folder, false).await {
                Err(error) if is_missing(&error) => Ok(Vec::new()),
                list => list,
            }
        };
        let list = self.call(&format!("can't list {folder}"), false, list).await?;
        let files = list.into_iter().filter(|status| status.isdir == is_folder);
        Ok(files.filter_map(|status| status.path.rsplit_once('/').map(|(_, name)| name.to_owned())).collect())
    }
}

#[async_trait]
impl Blobs for Cluster {
    /// Deletes unfinished files of other lives. Of those that have ended nobody renames them any more; one that goes on (a twin, or
    /// who had a partition before) finds its file gone and writes it anew.
    async fn prepare(&self) -> Result<(), SinkError> {
        self.make_folder_of(&self.unfinished).await?;
        let mine = format!("{:016x}-", self.life);
        for name in self.names(self.unfinished.trim_end_matches('/'), false).await? {
            if !name.starts_with(&mine) {
                self.remove(&format!("{}{name}", self.unfinished)).await?;
            }
        }
        Ok(())
    }

    async fn put_if_absent(&self, key: &str, body: Body) -> Result<PutOutcome, SinkError> {
        let target = self.path(key);
        if self.status(&target).await?.is_some() {
            return Ok(PutOutcome::Exists);
        }
        self.make_folder_of(&target).await?;
        let unfinished = self.write(&body).await?;
        self.name(&unfinished, &target).await
    }

    async fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), SinkError> {
        let target = self.path(key);
        self.make_folder_of(&target).await?;
        let unfinished = self.write(&bytes.into()).await?;
        self.call(&format!("can't rename to {target}"), true, self.client.rename(&unfinished, &target, true)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        let path = self.path(key);
        let read = async {
            let mut reader = match self.client.read(&path).await {
                Err(error) if is_missing(&error) => return Ok(None),
                reader => reader?,
            };
            let len = reader.file_length().min(READ_BYTES_MAX);
            Ok(Some(reader.read_bytes(len).await?.to_vec()))
        };
        self.call(&format!("can't read {path}"), false, read).await
    }

    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        Ok(self.status(&self.path(key)).await?.is_some())
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        self.names(self.path(folder).trim_end_matches('/'), false).await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        self.names(self.path(folder).trim_end_matches('/'), true).await
    }

    async fn delete(&self, key: &str) -> Result<(), SinkError> {
        self.remove(&self.path(key)).await
    }
}
