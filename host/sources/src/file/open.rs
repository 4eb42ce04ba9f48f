//! Opening files that others may write: below a folder of the configuration, without following links that lead out of
//! it, regular files only. It reads nothing.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use sawlog_core::identity::FileId;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Why a file named like a log is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a regular file.
    #[error("{path} is a {kind}, not a regular file; exclude it, or write logs to a file", path = .path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A link that leads where the source may not read.
    #[error("{path} links to {target}, outside the patterns' folders; list its folder in `roots` if it may be read",
        path = .path.display(), target = .target.display())]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The system refused.
    #[error("{path} can't be opened: {why}; give the agent the right to read it (a group, or CAP_DAC_READ_SEARCH)",
        path = .path.display())]
    Denied {
        /// Which.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// It unpacks to too much.
    #[error("{path} unpacks to more than {bytes_max} bytes, the part of `limits.disk` for that, and is not read; unpack it beside the logs, \
        raise `limits.disk` and start again, or delete it", path = .path.display())]
    TooMuch {
        /// Which.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// Other unpacked files take the room that it needs.
    #[error("{path} waits to be unpacked: others that sinks still need take most of the {bytes_max} bytes, the part \
        of `limits.disk` for that; it is read once there is room", path = .path.display())]
    NoRoom {
        /// Which.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// The disk takes no more.
    #[error("{path} can't be unpacked into {folder}: {why}; make room there: it is tried again every 30 s",
        path = .path.display(), folder = .folder.display())]
    NoScratch {
        /// Which.
        path: PathBuf,
        /// Where to.
        folder: PathBuf,
        /// The system's words.
        why: String,
    },
}

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// Folders below which files may be opened.
#[derive(Clone, Debug)]
pub struct Roots(Vec<PathBuf>);

impl Roots {
    /// The fixed folders of the patterns and the listed ones.
    pub fn new<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        let mut folders: Vec<PathBuf> = folders.map(Path::to_owned).collect();
        folders.sort();
        folders.dedup();
        Self(folders)
    }

    /// Opens the regular file at `path`; `None` where there is none any more.
    pub fn open(&self, path: &Path) -> Result<Option<File>, Refusal> {
        let real = match self.resolve(path)? {
            Some(real) => real,
            None => return Ok(None),
        };
        let denied = |e: Errno| Refusal::Denied { path: path.to_owned(), why: std::io::Error::from(e).to_string() };
        let Some(root) = self.root_of(&real) else {
            return Err(Refusal::LeadsOut { path: path.to_owned(), target: real });
        };
        let file = match beneath(root, &real) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => return Err(Refusal::LeadsOut { path: path.to_owned(), target: real }),
            Err(error) => return Err(denied(error)),
        };
        let metadata = file.metadata().map_err(|e| Refusal::Denied { path: path.to_owned(), why: e.to_string() })?;
        match kind(&metadata) {
            None => Ok(Some(file)),
            Some(kind) => Err(Refusal::NotRegular { path: path.to_owned(), kind }),
        }
    }

    fn root_of(&self, path: &Path) -> Option<&Path> {
        self.0.iter().map(PathBuf::as_path).filter(|root| path.starts_with(root)).max_by_key(|r| r.components().count())
    }

    /// What the regular file at `path`, or where it leads to, is like; `None` where there is none.
    pub fn look(&self, path: &Path) -> Result<Option<Metadata>, Refusal> {
        let Some(metadata) = lstat(path)? else { return Ok(None) };
        if !metadata.is_symlink() {
            return regular(path, &metadata).map(|()| Some(metadata));
        }
        let Some(real) = self.resolve(path)? else { return Ok(None) };
        let Some(metadata) = lstat(&real)? else { return Ok(None) };
        regular(path, &metadata).map(|()| Some(metadata))
    }

    /// Where `path` leads if it is a link, without a link on the way; itself if it is a file.
    pub fn resolve(&self, path: &Path) -> Result<Option<PathBuf>, Refusal> {
        let Some(metadata) = lstat(path)? else { return Ok(None) };
        if !metadata.is_symlink() {
            return regular(path, &metadata).map(|()| Some(path.to_owned()));
        }
        let denied = |e: std::io::Error| Refusal::Denied { path: path.to_owned(), why: e.to_string() };
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(denied(e)),
        };
        let roots = || self.0.iter().filter_map(|root| root.canonicalize().ok());
        if !roots().any(|root| target.starts_with(root)) {
            return Err(Refusal::LeadsOut { path: path.to_owned(), target });
        }
        // A root may itself be reached through a link: the target is then opened below the root as configured.
        let configured = self.0.iter().find_map(|root| {
            let below = target.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned();
            Some(root.join(below))
        });
        Ok(configured)
    }
}

fn lstat(path: &Path) -> Result<Option<Metadata>, Refusal> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Refusal::Denied { path: path.to_owned(), why: e.to_string() }),
    }
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    kind(metadata).map_or(Ok(()), |kind| Err(Refusal::NotRegular { path: path.to_owned(), kind }))
}

/// Opens `path` below `root`, with no link between them.
fn beneath(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let folder = openat(rustix::fs::CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let below = path.strip_prefix(root).map_err(|_| Errno::XDEV)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&folder, below, FLAGS, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(folder, below),
        opened => opened,
    }
}

/// For kernels without `openat2`, and sandboxes that forbid it: folder by folder, none of them a link.
fn step_by_step(mut folder: OwnedFd, below: &Path) -> Result<OwnedFd, Errno> {
    let names: Vec<Component<'_>> = below.components().collect();
    let Some((Component::Normal(last), folders)) = names.split_last() else { return Err(Errno::XDEV) };
    for name in folders {
        let Component::Normal(name) = name else { return Err(Errno::XDEV) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = openat(&folder, *name, flags, Mode::empty())?;
    }
    openat(&folder, *last, FLAGS, Mode::empty())
}

/// What a file is if it is no regular one.
pub fn kind(metadata: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("directory"),
        () if kind.is_fifo() => Some("FIFO"),
        () if kind.is_socket() => Some("socket"),
        () if kind.is_symlink() => Some("symbolic link"),
        () => Some("device"),
    }
}

/// How the file system tells the file from others.
pub fn file_id(metadata: &Metadata) -> FileId {
    let btime = metadata.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    FileId { dev: metadata.dev(), ino: metadata.ino(), btime: btime.and_then(|t| i64::try_from(t.as_nanos()).ok()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    fn fixture() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (logs, outside) = (folder.path().join("logs"), folder.path().join("outside"));
        std::fs::create_dir(&logs).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "s").unwrap();
        std::fs::write(logs.join("a.log"), "a\n").unwrap();
        (folder, logs, outside)
    }

    #[test]
    fn links_may_not_lead_out_but_into_listed_folders() {
        let (_keep, logs, outside) = fixture();
        symlink(outside.join("secret"), logs.join("out.log")).unwrap();
        symlink(logs.join("a.log"), logs.join("in.log")).unwrap();
        symlink(&outside, logs.join("folder")).unwrap();
        symlink(logs.join("nowhere"), logs.join("dangling.log")).unwrap();
        let roots = Roots::new([logs.as_path()].into_iter());
        assert!(matches!(roots.open(&logs.join("out.log")), Err(Refusal::LeadsOut { .. })));
        assert!(matches!(roots.open(&logs.join("folder/secret")), Err(Refusal::LeadsOut { .. })));
        assert!(roots.open(&logs.join("dangling.log")).unwrap().is_none());
        assert!(roots.open(&logs.join("in.log")).unwrap().is_some());
        let wider = Roots::new([logs.as_path(), outside.as_path()].into_iter());
        assert!(wider.open(&logs.join("out.log")).unwrap().is_some());
    }

    #[test]
    fn without_openat2_a_folder_that_is_a_link_is_refused_too() {
        let (_keep, logs, outside) = fixture();
        symlink(&outside, logs.join("folder")).unwrap();
        let root = || openat(rustix::fs::CWD, &logs, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(step_by_step(root(), Path::new("a.log")).is_ok());
        assert_eq!(step_by_step(root(), Path::new("folder/secret")).unwrap_err(), Errno::NOTDIR);
        assert_eq!(step_by_step(root(), Path::new("../outside/secret")).unwrap_err(), Errno::XDEV);
    }

    #[test]
    fn only_regular_files_are_opened_and_none_blocks() {
        let (_keep, logs, _) = fixture();
        std::fs::create_dir(logs.join("dir.log")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            logs.join("fifo.log"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let roots = Roots::new([logs.as_path()].into_iter());
        for (name, what) in [("dir.log", "directory"), ("fifo.log", "FIFO")] {
            let refusal = roots.open(&logs.join(name)).unwrap_err();
            assert!(matches!(&refusal, Refusal::NotRegular { kind, .. } if *kind == what), "{refusal}");
        }
    }
}
