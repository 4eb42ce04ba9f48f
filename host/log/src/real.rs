//! The disk of the machine: files below one folder that only we can read. It knows nothing of what the files mean.

use crate::disk::{Disk, DiskError, DiskFile, checked_name};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// `std::fs` below a root folder, made with mode 0700; files are made with mode 0600.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
    /// Folders below the root that this process has made durable.
    durable: Arc<Mutex<BTreeSet<String>>>,
}

impl RealDisk {
    /// Opens the folder `root`, making it and its parents where they are absent.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        make_folder(root, &root.display().to_string())?;
        Ok(Self { root: root.to_owned(), durable: Arc::default() })
    }

    /// The folder that all names are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes folders directly below the root, durable when this returns, with one sync for all of them: each takes its time, and
    /// a start waits for it.
    pub fn create_dirs(&self, dirs: &[&str]) -> Result<(), DiskError> {
        for dir in dirs {
            make_folder(&self.path(dir)?, dir)?;
        }
        sync_folder(&self.root, "")?;
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.extend(dirs.iter().map(ToString::to_string));
        Ok(())
    }

    fn path(&self, name: &str) -> Result<PathBuf, DiskError> {
        checked_name(name).map(|name| self.root.join(name))
    }

    fn file(&self, name: &str, op: &'static str, options: &OpenOptions) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = options.open(self.path(name)?).map_err(|e| DiskError::from_io(op, name, e))?;
        Ok(Arc::new(RealFile { file, name: name.to_owned() }))
    }
}

fn make_folder(path: &Path, name: &str) -> Result<(), DiskError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| DiskError::from_io("make the folder", name, e))
}

fn sync_folder(path: &Path, name: &str) -> Result<(), DiskError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| DiskError::from_io("sync the folder", name, e))
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.file(name, "create", OpenOptions::new().read(true).write(true).create_new(true).mode(0o600))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.file(name, "open", OpenOptions::new().read(true).write(true))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        std::fs::rename(self.path(from)?, self.path(to)?).map_err(|e| DiskError::from_io("rename", from, e))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        std::fs::remove_file(self.path(name)?).map_err(|e| DiskError::from_io("remove", name, e))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let failed = |e| DiskError::from_io("list", dir, e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir)?).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                // Every name of ours is ASCII; whatever else lies here was not written by us.
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        let path = self.path(dir)?;
        let is_durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(dir);
        if is_durable && path.is_dir() {
            return Ok(());
        }
        make_folder(&path, dir)?;
        let mut at = path.as_path();
        while at != self.root {
            at = at.parent().unwrap_or(&self.root);
            sync_folder(at, dir)?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        sync_folder(&self.path(dir)?, dir)
    }
}

struct RealFile {
    file: File,
    name: String,
}

impl RealFile {
    fn failed(&self, op: &'static str, error: io::Error) -> DiskError {
        DiskError::from_io(op, &self.name, error)
    }

    /// For file systems without `fallocate`: the space is taken by writing zeros behind what is there.
    fn fill_with_zeros(&self, len: u64) -> Result<(), DiskError> {
        let zeros = vec![0u8; 1 << 20];
        let mut at = self.len()?;
        while at < len {
            let step = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            self.write_at(at, &zeros[..step])?;
            at += step as u64;
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.failed("write", e))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut read = 0;
        while read < into.len() {
            match self.file.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed("read", e)),
            }
        }
        Ok(read)
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|m| m.len()).map_err(|e| self.failed("measure", e))
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.file.set_len(len).map_err(|e| self.failed("resize", e))
    }

    fn preallocate(&self, len: u64) -> Result<(), DiskError> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.fill_with_zeros(len),
            Err(errno) => Err(self.failed("preallocate", errno.into())),
        }
    }

    fn datasync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| self.failed("sync", e))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::{read_all, write_whole};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_and_its_files_are_private_and_files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let disk = RealDisk::open(&root).unwrap();
        disk.create_dir("a/b").unwrap();
        write_whole(&disk, "a/b", "x", b"one").unwrap();
        write_whole(&disk, "a/b", "x", b"two").unwrap();
        assert_eq!(disk.list("a/b").unwrap(), ["x"]);
        assert_eq!(read_all(&*disk.open("a/b/x").unwrap()).unwrap(), b"two");
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(&root.join("a")), mode(&root.join("a/b/x"))), (0o700, 0o700, 0o600));
    }

    #[test]
    fn folders_are_made_together_and_again_where_they_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        disk.create_dirs(&["a", "b"]).unwrap();
        disk.create_dirs(&["a", "c"]).unwrap();
        assert!(["a", "b", "c"].iter().all(|name| dir.path().join(name).is_dir()));
        std::fs::remove_dir(dir.path().join("a")).unwrap();
        disk.create_dir("a").unwrap();
        write_whole(&disk, "a", "x", b"one").unwrap();
        assert!(matches!(disk.create_dirs(&["b", "../d"]), Err(DiskError::BadName { .. })));
    }

    #[test]
    fn preallocation_grows_and_never_cuts() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let file = disk.create("x").unwrap();
        file.preallocate(4096).unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        file.preallocate(100).unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        assert!(matches!(disk.create("x"), Err(DiskError::Exists { .. })));
        assert!(matches!(disk.open("y"), Err(DiskError::NotFound { .. })));
        assert!(matches!(disk.open("../y"), Err(DiskError::BadName { .. })));
    }
}
