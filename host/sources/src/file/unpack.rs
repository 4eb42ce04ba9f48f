//! Packed files that can't be unpacked: why, and when it is tried again. Each is unpacked once, not at every look.

use super::content::{Content, UnpackError};
use super::open::{Refusal, file_id};
use super::source::Shared;
use sawlog_core::identity::FileId;
use sawlog_core::memory::Pool;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a disk that took no more is left alone.
const DISK_REST: Duration = Duration::from_secs(30);

/// When unpacking is tried again, while the packed file stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    /// Never: it needs more than there is.
    Never,
    /// Once there is clearly more room than these free bytes.
    WithMoreRoom(u64),
    /// Then.
    At(Instant),
}

/// A packed file that could not be unpacked.
#[derive(Clone, Debug)]
pub(super) struct Unpackable {
    /// Its name.
    pub path: PathBuf,
    /// Its stored bytes and change time then.
    pub stamp: (u64, i64),
    /// When it is tried again.
    pub again: Again,
}

impl Unpackable {
    /// Whether it is to be tried now.
    pub fn is_due(&self, room: &Pool) -> bool {
        match self.again {
            Again::Never => false,
            Again::WithMoreRoom(then) => free(room) >= room.bytes_max().min(then + room.bytes_max() / 16 + 1),
            Again::At(time) => Instant::now() >= time,
        }
    }
}

fn free(room: &Pool) -> u64 {
    room.bytes_max().saturating_sub(room.held_bytes())
}

/// Size and change time of a stored file, nanoseconds.
pub(super) fn stamp_of(metadata: &std::fs::Metadata) -> (u64, i64) {
    (metadata.len(), metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()))
}

impl Shared {
    /// Unpacks `file`, unless that was tried and nothing has changed since.
    pub(super) fn unpack(&self, path: &Path, file: File) -> io::Result<Content> {
        let (metadata, room) = (file.metadata()?, &self.options.unpacked);
        let (id, stamp) = (file_id(&metadata), stamp_of(&metadata));
        let is_tried = |unpackable: &Unpackable| unpackable.stamp == stamp && !unpackable.is_due(room);
        if self.lock().unpackable.get(&id).is_some_and(is_tried) {
            return Err(io::Error::other(format!("{} can't be unpacked now", path.display())));
        }
        self.unpackings.fetch_add(1, Ordering::Relaxed);
        let (path, free, bytes_max) = (path.to_owned(), free(room), room.bytes_max());
        let (again, refusal) = match Content::packed(file, &self.options.scratch, room) {
            Ok(content) => {
                let mut table = self.lock();
                if table.unpackable.remove(&id).is_some() {
                    table.refused.remove(&path);
                }
                return Ok(content);
            }
            Err(UnpackError::Io(error)) => return Err(error),
            Err(UnpackError::TooMuch) => (Again::Never, Refusal::TooMuch { path: path.clone(), bytes_max }),
            Err(UnpackError::NoRoom) => (Again::WithMoreRoom(free), Refusal::NoRoom { path: path.clone(), bytes_max }),
            Err(UnpackError::Scratch(error)) => {
                let (folder, why) = (self.options.scratch.clone(), error.to_string());
                (Again::At(Instant::now() + DISK_REST), Refusal::NoScratch { path: path.clone(), folder, why })
            }
        };
        let error = io::Error::other(refusal.to_string());
        self.refuse(&path, refusal);
        self.lock().unpackable.insert(id, Unpackable { path, stamp, again });
        Err(error)
    }

    /// Folders of packed files that are to be unpacked now.
    pub(super) fn folders_to_unpack_in(&self) -> Vec<PathBuf> {
        let table = self.lock();
        let due = table.unpackable.values().filter(|unpackable| unpackable.is_due(&self.options.unpacked));
        due.filter_map(|unpackable| unpackable.path.parent().map(Path::to_owned)).collect()
    }

    /// Whether this packed file is still to be unpacked.
    pub(super) fn waits_to_unpack(&self, file: FileId) -> bool {
        self.lock().unpackable.get(&file).is_some_and(|unpackable| unpackable.again != Again::Never)
    }

    /// Whether a packed file waits for room.
    pub(super) fn is_to_unpack(&self) -> bool {
        self.lock().unpackable.values().any(|unpackable| unpackable.again != Again::Never)
    }
}
