//! The data directory: one process at a time, one name for life. It makes this room's folders and knows nothing of what lies in
//! them.

use crate::error::CheckpointError;
use sawlog_log::disk::{read_all, write_whole};
use sawlog_log::{Disk, DiskError, RealDisk, random_incarnation};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The file that is locked.
pub const LOCK_FILE: &str = "lock";
/// Folder of the directory's own name.
pub(crate) const IDENTITY_DIR: &str = "identity";
const UUID_FILE: &str = "uuid";

/// A data directory that this process holds. The lock ends with the value, or with the process however it dies.
#[derive(Debug)]
pub struct DataDir {
    disk: Arc<RealDisk>,
    uuid: [u8; 16],
    /// Held open for its lock.
    lock: File,
}

impl DataDir {
    /// Opens `path`, making it (mode 0700) where it is absent, and locks it. Fails with [`CheckpointError::Locked`] at once
    /// if another process holds it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let disk = Arc::new(RealDisk::open(path)?);
        let lock = lock(path)?;
        disk.create_dirs(&crate::FOLDERS)?;
        let uuid = uuid(&*disk)?;
        Ok(Self { disk, uuid, lock })
    }

    /// Keeps the lock until the process ends: tasks and threads may still write when this value is gone.
    pub fn hold_for_life(&self) -> Result<(), CheckpointError> {
        static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
        let held = self.lock.try_clone().map_err(|e| DiskError::from_io("hold", LOCK_FILE, e))?;
        HELD.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        Ok(())
    }

    /// The disk below the directory, for the journal and the queue.
    pub fn disk(&self) -> Arc<RealDisk> {
        self.disk.clone()
    }

    /// The directory's own random name, made when it was first opened.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }
}

fn lock(path: &Path) -> Result<File, CheckpointError> {
    let failed = |op, error| DiskError::from_io(op, LOCK_FILE, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path.join(LOCK_FILE)).map_err(|e| failed("open", e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(|e| failed("read", e))?;
            let pid = if pid.trim().is_empty() { "(starting)".to_owned() } else { pid.trim().to_owned() };
            return Err(CheckpointError::Locked { dir: path.display().to_string(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", error).into()),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(|e| failed("write", e))?;
    writeln!(file, "{}", std::process::id()).map_err(|e| failed("write", e))?;
    Ok(file)
}

fn uuid(disk: &dyn Disk) -> Result<[u8; 16], CheckpointError> {
    let name = format!("{IDENTITY_DIR}/{UUID_FILE}");
    match disk.open(&name) {
        Ok(file) => {
            let text = read_all(&*file)?;
            let parsed = std::str::from_utf8(&text).ok().and_then(|text| u128::from_str_radix(text.trim(), 16).ok());
            parsed.map(u128::to_be_bytes).ok_or_else(|| CheckpointError::Corrupt {
                what: format!("{name:?} is no uuid of 32 hexadecimal digits"),
            })
        }
        Err(DiskError::NotFound { .. }) => {
            let uuid = random_incarnation().map_err(|e| DiskError::from_io("read entropy for", &name, e))?;
            disk.create_dir(IDENTITY_DIR)?;
            write_whole(disk, IDENTITY_DIR, UUID_FILE, format!("{:032x}\n", u128::from_be_bytes(uuid)).as_bytes())?;
            Ok(uuid)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_keeps_its_name_and_admits_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path).unwrap();
        // flock belongs to the open file, so a second opening in one process is refused like one in another process.
        let refused = DataDir::open(&path).unwrap_err();
        assert!(
            matches!(&refused, CheckpointError::Locked { pid, .. } if *pid == std::process::id().to_string()),
            "{refused}"
        );
        let uuid = first.uuid();
        drop(first);
        assert_eq!(DataDir::open(&path).unwrap().uuid(), uuid);
    }

    #[test]
    fn a_spoilt_uuid_is_told() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        std::fs::write(dir.path().join("identity/uuid"), "not one").unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(CheckpointError::Corrupt { .. })));
    }
}
