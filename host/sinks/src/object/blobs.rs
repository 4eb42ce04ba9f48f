//! The operations that a store of objects must have, and what is written by them. Decides nothing.

use async_trait::async_trait;
use bytes::Bytes;
use sawlog_core::ports::{PutOutcome, SinkError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Most bytes that are read of a staged file at once.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Immutable blobs under keys; `/` parts folders. Keys are relative to the store's root.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Checks before first use that the store keeps its promises, and removes what earlier lives left unfinished.
    async fn prepare(&self) -> Result<(), SinkError>;
    /// Makes `body` visible under `key`, whole or not at all, and never over something that is there.
    async fn put_if_absent(&self, key: &str, body: Body) -> Result<PutOutcome, SinkError>;
    /// Makes `bytes` visible under `key`, in place of what is there.
    async fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), SinkError>;
    /// Reads a small blob; `None` where there is none.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError>;
    /// Whether there is something durable under `key`.
    async fn exists(&self, key: &str) -> Result<bool, SinkError>;
    /// Names directly below `folder` (which ends in `/`), without the folder; empty where it does not exist.
    async fn list(&self, folder: &str) -> Result<Vec<String>, SinkError>;
    /// Names of folders directly below `folder` (which ends in `/`), without the folder and without a `/`; empty where it does not
    /// exist.
    async fn folders(&self, folder: &str) -> Result<Vec<String>, SinkError>;
    /// Deletes a blob; harmless where there is none.
    async fn delete(&self, key: &str) -> Result<(), SinkError>;
}

/// The content of one blob: a staged file, then bytes in memory. Can be read any number of times.
#[derive(Clone, Debug, Default)]
pub struct Body {
    file: Option<(Arc<File>, u64)>,
    tail: Bytes,
}

impl Body {
    /// The first `len` bytes of `file`, then `tail`.
    pub fn staged(file: Option<(Arc<File>, u64)>, tail: Bytes) -> Self {
        Self { file, tail }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, len)| *len) + self.tail.len() as u64
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes at `offset`, at most [`CHUNK_BYTES`] of a staged file; empty at the end. Blocks on the disk.
    pub fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        match &self.file {
            Some((file, len)) if offset < *len => {
                let mut bytes = vec![0; (*len - offset).min(CHUNK_BYTES as u64) as usize];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes.into())
            }
            file => {
                let before = file.as_ref().map_or(0, |(_, len)| *len);
                let start = (offset - before).min(self.tail.len() as u64) as usize;
                Ok(self.tail.slice(start..))
            }
        }
    }

    /// The same, off the calling thread.
    pub async fn read_chunk(&self, offset: u64) -> Result<Bytes, SinkError> {
        let body = self.clone();
        let read = tokio::task::spawn_blocking(move || body.chunk(offset)).await;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        read.map_err(|e| SinkError::Unavailable(format!("staged rows can't be read back: {e}")))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self { file: None, tail: bytes.into() }
    }
}
