//! The disk as this room needs it: named files below one root, with *written* and *durable* kept apart.
//!
//! The port is synchronous on purpose. A real disk blocks, so whoever calls it stands on a thread of its own
//! ([`crate::DiskThread`], [`crate::SharedLog`]); a simulated disk never blocks, so the same code runs inline under a
//! seeded executor. What the port promises, and a caller may build on:
//!
//! - `write_at` and `set_len` are durable only after `datasync` of the same file returned `Ok`;
//! - `create`, `rename` and `remove` are durable only after `sync_dir` of the folder returned `Ok`; a rename is atomic;
//! - a failed `datasync` may have dropped anything written since the last good one, and a later `Ok` says nothing about it;
//! - one 512-byte sector is written wholly or not at all.
//!
//! It knows nothing of frames, segments or records.

use std::io;
use std::sync::Arc;

/// Bytes of the unit that is written wholly or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// Named files below one root. Names are relative, parts joined by `/`; no part is empty, `.` or `..`.
pub trait Disk: Send + Sync {
    /// Makes a new, empty file. Fails with [`DiskError::Exists`] where the name is taken.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Opens a file for reading and writing. Fails with [`DiskError::NotFound`].
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Gives `from` the name `to`, in place of a file that may be there.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a name; the content goes with its last open handle.
    fn remove(&self, name: &str) -> Result<(), DiskError>;
    /// The names (without the folder) of the files directly in `dir`, sorted. An absent folder is [`DiskError::NotFound`].
    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError>;
    /// Makes a folder and its parents, durable when this returns. One that exists is fine.
    fn create_dir(&self, dir: &str) -> Result<(), DiskError>;
    /// Makes every earlier `create`, `rename` and `remove` in `dir` durable.
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError>;
}

/// An open file. All calls take an explicit offset, so handles are shared freely.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`, growing the file. After an error any part of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Reads into `into` from `offset` until it is full or the file ends; returns the bytes read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError>;
    /// Length of the file in bytes, as written so far.
    fn len(&self) -> Result<u64, DiskError>;
    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, len: u64) -> Result<(), DiskError>;
    /// Takes the space for the first `len` bytes and grows the file to at least that, so that later writes below `len`
    /// do not meet [`DiskError::NoSpace`].
    fn preallocate(&self, len: u64) -> Result<(), DiskError>;
    /// Makes all earlier writes and the length durable. Never call it again on a file for which it failed.
    fn datasync(&self) -> Result<(), DiskError>;
    /// Whether nothing has been written yet.
    fn is_empty(&self) -> Result<bool, DiskError> {
        self.len().map(|len| len == 0)
    }
}

/// What a disk answers when it cannot do as told. Cheap to clone: one failure is told to many waiters.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// No file of this name.
    #[error("no file {name:?} in the data directory")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// The name is taken.
    #[error("a file {name:?} is already in the data directory")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// The device or its quota is full.
    #[error("no space left while writing {name:?}; free space on the device or raise its quota")]
    NoSpace {
        /// The file that was to grow.
        name: String,
    },
    /// The file system takes no writes: it was mounted so, or the kernel made it so after an error of the device.
    #[error("cannot {op} {name:?}: Read-only file system; check the device, then remount it writable")]
    ReadOnly {
        /// What was tried.
        op: &'static str,
        /// On which file or folder.
        name: String,
    },
    /// A name that leaves the root or has an empty part; a mistake of the caller.
    #[error("{name:?} is no name for a file of the data directory (relative, no empty part, no dots-only part)")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// Anything else that the operating system answered.
    #[error("cannot {op} {name:?}: {source}; check the device and the rights of the data directory")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file or folder.
        name: String,
        /// The system's own answer.
        source: Arc<io::Error>,
    },
    /// The simulated machine is off; every handle from before the crash answers this.
    #[error("the simulated machine has crashed")]
    Crashed,
}

impl DiskError {
    /// Sorts an answer of the operating system into the kinds that callers treat apart.
    pub fn from_io(op: &'static str, name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { name },
            io::ErrorKind::AlreadyExists => Self::Exists { name },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { name }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { op, name },
            _ => Self::Io { op, name, source: Arc::new(source) },
        }
    }
}

/// Refuses names that would leave the root, so that no implementation has to think about them again.
pub fn checked_name(name: &str) -> Result<&str, DiskError> {
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if name.split('/').all(sound) { Ok(name) } else { Err(DiskError::BadName { name: name.to_owned() }) }
}

/// Reads a whole file.
pub fn read_all(file: &dyn DiskFile) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Puts a file in place so that a crash leaves either the old content or all of the new: write `NAME.tmp`, datasync, rename,
/// sync the folder. Returns once durable. A left-over `.tmp` of an earlier crash is replaced.
pub fn write_whole(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let (target, draft) = (format!("{dir}/{name}"), format!("{dir}/{name}.tmp"));
    match disk.remove(&draft) {
        Ok(()) | Err(DiskError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(&draft)?;
    let written = file.write_at(0, bytes).and_then(|()| file.datasync());
    if let Err(error) = written {
        // The draft is worthless now; that it could not be removed either changes nothing for the caller.
        return Err(disk.remove(&draft).err().map_or(error.clone(), |_| error));
    }
    disk.rename(&draft, &target)?;
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        for name in ["a", "a/b.seg", "journal/0001-00.seg"] {
            assert!(checked_name(name).is_ok(), "{name}");
        }
        for name in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a\0"] {
            assert!(checked_name(name).is_err(), "{name}");
        }
    }
}
