//! A folder as a store of objects: a file is written under `_tmp`, made durable, and gets its name by a rename that replaces
//! nothing. What is found is made durable before it is believed: a life that died between rename and sync leaves a name that a
//! power cut could still take back. Knows nothing of claims.

use super::disk::{Folders, failed, rename_over_nothing, sync_folder};
use crate::object::{Blobs, Body, Keys};
use async_trait::async_trait;
use sawlog_core::ports::{PutOutcome, SinkError};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest blob that is read back (a claim), in bytes.
const READ_BYTES_MAX: u64 = 256 << 20;

/// The files below one folder.
pub struct Folder {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    unfinished: PathBuf,
    folders: Folders,
    made: AtomicU64,
}

impl Folder {
    /// The files below `root`; unfinished ones go where `keys` says.
    pub fn new(root: impl Into<PathBuf>, keys: &Keys) -> Self {
        let root = root.into();
        let unfinished = root.join(keys.unfinished());
        Self { inner: Arc::new(Inner { root, unfinished, folders: Folders::default(), made: AtomicU64::new(0) }) }
    }

    /// Runs a step on the disk off the calling thread.
    async fn on_disk<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Inner) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || step(&inner)).await;
        done.unwrap_or_else(|e| Err(SinkError::Unknown(format!("a step on the disk did not end: {e}"))))
    }
}

impl Inner {
    fn put(&self, key: &str, body: &Body) -> Result<PutOutcome, SinkError> {
        let target = self.root.join(key);
        let folder = target.parent().expect("a key lies below the root").to_owned();
        self.folders.make(&folder)?;
        if target.exists() {
            sync_folder(&folder)?;
            return Ok(PutOutcome::Exists);
        }
        let unfinished = self.write(body)?;
        let renamed = rename_over_nothing(&unfinished, &target);
        if !matches!(renamed, Ok(true)) {
            remove(&unfinished)?;
        }
        let is_new = renamed?;
        sync_folder(&folder)?;
        Ok(if is_new { PutOutcome::Created } else { PutOutcome::Exists })
    }

    /// A durable file under a name that nobody else uses.
    fn write(&self, body: &Body) -> Result<PathBuf, SinkError> {
        self.folders.make(&self.unfinished)?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.unfinished.join(format!("{:016x}-{number}", fastrand::u64(..)));
        match fill(&path, body) {
            Ok(()) => Ok(path),
            Err(error) => {
                remove(&path)?;
                Err(failed("can't write", &path, error))
            }
        }
    }

    fn sweep(&self) -> Result<(), SinkError> {
        self.folders.make(&self.root)?;
        self.folders.make(&self.unfinished)?;
        for name in names(&self.unfinished, false)? {
            remove(&self.unfinished.join(name))?;
        }
        Ok(())
    }
}

fn fill(path: &Path, body: &Body) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut offset = 0;
    loop {
        let chunk = body.chunk(offset)?;
        if chunk.is_empty() {
            return file.sync_all();
        }
        file.write_all(&chunk)?;
        offset += chunk.len() as u64;
    }
}

fn remove(path: &Path) -> Result<(), SinkError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("can't remove", path, error)),
        _ => Ok(()),
    }
}

/// Names of files, or of folders, in `folder`; none where it does not exist.
fn names(folder: &Path, is_folder: bool) -> Result<Vec<String>, SinkError> {
    let fail = |error| failed("can't list", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() == is_folder {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, SinkError> {
    let fail = |error| failed("can't read", path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(fail)?,
    };
    let mut bytes = Vec::new();
    file.take(READ_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
    Ok(Some(bytes))
}

#[async_trait]
impl Blobs for Folder {
    async fn prepare(&self) -> Result<(), SinkError> {
        self.on_disk(Inner::sweep).await
    }

    async fn put_if_absent(&self, key: &str, body: Body) -> Result<PutOutcome, SinkError> {
        let key = key.to_owned();
        self.on_disk(move |inner| inner.put(&key, &body)).await
    }

    async fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), SinkError> {
        let target = self.inner.root.join(key);
        self.on_disk(move |inner| {
            let folder = target.parent().expect("a key lies below the root");
            inner.folders.make(folder)?;
            let unfinished = inner.write(&bytes.into())?;
            std::fs::rename(&unfinished, &target).map_err(|e| failed("can't rename to", &target, e))?;
            sync_folder(folder)
        })
        .await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        let path = self.inner.root.join(key);
        self.on_disk(move |_| {
            let found = read(&path)?;
            if found.is_some() {
                sync_folder(path.parent().expect("a key lies below the root"))?;
            }
            Ok(found)
        })
        .await
    }

    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        let path = self.inner.root.join(key);
        self.on_disk(move |_| {
            let found = path.try_exists().map_err(|e| failed("can't look for", &path, e))?;
            if found {
                sync_folder(path.parent().expect("a key lies below the root"))?;
            }
            Ok(found)
        })
        .await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        let folder = self.inner.root.join(folder);
        self.on_disk(move |_| names(&folder, false)).await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        let folder = self.inner.root.join(folder);
        self.on_disk(move |_| names(&folder, true)).await
    }

    async fn delete(&self, key: &str) -> Result<(), SinkError> {
        let path = self.inner.root.join(key);
        self.on_disk(move |_| remove(&path)).await
    }
}
