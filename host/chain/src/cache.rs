//! Compiled code on disk, so that a start or a reload takes no compile. Knows files and digests; what the code means, only
//! the engine knows.
//!
//! Deserialising compiled code is running it: whoever can write an artefact owns the process. So the folder must be ours
//! and closed to everybody else, files are opened below it without following links, and an artefact carries its digest.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::hash::Hasher;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Length of the BLAKE3 digest in front of an artefact.
const DIGEST_BYTES: usize = 32;
/// Artefacts kept; the longest unused go first. Each is made again when it is needed.
const ARTEFACTS_MAX: usize = 64;
/// An artefact is about ten times its component; nothing larger is read.
const ARTEFACT_BYTES_MAX: u64 = 1 << 30;

/// Why the cache can't be used. Plugins still load without one: slower, never wrongly.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder can't be made or opened.
    #[error("code cache {path}: {source}; point `data_dir` at a folder that this user may write")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else could plant code there.
    #[error(
        "code cache {path} is {found}, but compiled code is only loaded from a folder that this user alone can write; mend with `chown` and `chmod 0700`"
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Owner and mode as found.
        found: String,
    },
}

/// A private folder of compiled components.
#[derive(Debug)]
pub struct CodeCache {
    path: PathBuf,
    folder: OwnedFd,
}

impl CodeCache {
    /// Opens `path`, made with mode 0700 if missing.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let io = |source: std::io::Error| CacheError::Io { path: path.to_owned(), source };
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| io(e.into()))?;
        let stat = rustix::fs::fstat(&folder).map_err(|e| io(e.into()))?;
        if !is_private(&stat) {
            let found = format!("owned by uid {} with mode {:04o}", stat.st_uid, stat.st_mode & 0o7777);
            return Err(CacheError::NotPrivate { path: path.to_owned(), found });
        }
        Ok(Self { path: path.to_owned(), folder })
    }

    /// The artefact stored under `key`, if it is there, private and whole.
    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        let flags = OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = File::from(rustix::fs::openat(&self.folder, key, flags, Mode::empty()).ok()?);
        let stat = rustix::fs::fstat(&file).ok()?;
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        if !regular || !is_private(&stat) || stat.st_size as u64 > ARTEFACT_BYTES_MAX {
            return None;
        }
        let (mut digest, mut artefact) = ([0; DIGEST_BYTES], Vec::with_capacity(stat.st_size as usize));
        file.read_exact(&mut digest).ok()?;
        file.take(ARTEFACT_BYTES_MAX).read_to_end(&mut artefact).ok()?;
        (blake3::hash(&artefact) == digest).then_some(artefact)
    }

    /// Stores `artefact` under `key`: written beside it, made durable, then renamed over it.
    pub fn write(&self, key: &str, artefact: &[u8]) -> Result<(), CacheError> {
        let temporary = format!("{key}.{}.tmp", std::process::id());
        self.write_temporary(&temporary, artefact)
            .and_then(|()| rustix::fs::renameat(&self.folder, &temporary, &self.folder, key).map_err(Into::into))
            .and_then(|()| self.trim())
            .map_err(|source| CacheError::Io { path: self.path.join(key), source })
    }

    /// Removes the oldest files beyond the limit, and with them what a crash left half written.
    fn trim(&self) -> std::io::Result<()> {
        let mut files: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        let surplus = files.len().saturating_sub(ARTEFACTS_MAX);
        files[..surplus].iter().try_for_each(|(_, path)| std::fs::remove_file(path))
    }

    fn write_temporary(&self, name: &str, artefact: &[u8]) -> std::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(blake3::hash(artefact).as_bytes())?;
        file.write_all(artefact)?;
        file.sync_data()
    }
}

/// Ours, and closed to group and others.
fn is_private(stat: &rustix::fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0
}

/// The name of the artefact of `component` for an engine with the settings and version in `environment`.
pub fn key(component: &blake3::Hash, environment: &impl std::hash::Hash) -> String {
    let mut hasher = Blake3Hasher(blake3::Hasher::new());
    environment.hash(&mut hasher);
    format!("{}-{}", component.to_hex(), &hasher.0.finalize().to_hex()[..16])
}

/// The standard hasher may change between compiler versions; file names may not.
struct Blake3Hasher(blake3::Hasher);

impl Hasher for Blake3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finalize().as_bytes().iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_open_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = CodeCache::open(&path).unwrap_err().to_string();
        assert!(refused.contains("mode 0755") && refused.contains("chmod 0700"), "{refused}");
    }

    #[test]
    fn a_linked_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(CodeCache::open(&path).is_err());
    }

    #[test]
    fn old_artefacts_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code");
        let cache = CodeCache::open(&path).unwrap();
        for i in 0..ARTEFACTS_MAX + 3 {
            cache.write(&format!("{i:03}"), b"artefact").unwrap();
        }
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), ARTEFACTS_MAX);
        assert!(cache.read(&format!("{:03}", ARTEFACTS_MAX + 2)).is_some(), "the newest stays");
    }

    #[test]
    fn damaged_foreign_and_linked_artefacts_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code");
        let cache = CodeCache::open(&path).unwrap();
        cache.write("a", b"artefact").unwrap();
        assert_eq!(cache.read("a").as_deref(), Some(&b"artefact"[..]));

        let mut bytes = std::fs::read(path.join("a")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path.join("a"), &bytes).unwrap();
        assert_eq!(cache.read("a"), None, "a flipped bit");

        cache.write("b", b"artefact").unwrap();
        std::fs::set_permissions(path.join("b"), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(cache.read("b"), None, "writable by others");

        cache.write("c", b"artefact").unwrap();
        std::os::unix::fs::symlink(path.join("c"), path.join("d")).unwrap();
        assert_eq!(cache.read("d"), None, "a link");
        assert_eq!(cache.read("missing"), None);
    }
}
