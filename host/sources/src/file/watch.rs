//! Being told of changes: the kernel's notices for folders, or the passing of time where there are none. It names folders
//! that may have changed and looks at nothing.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Wakes a waiting watch.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Wakes it now, or as soon as it waits.
    pub fn wake(&self) {
        // The counter can't overflow before it is read, and a full one wakes as well.
        if let Err(error) = rustix::io::write(&*self.0, &1u64.to_ne_bytes()) {
            tracing::debug!(%error, "a wake-up of the file watch was not counted");
        }
    }
}

/// What may have changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Folders of which the kernel told.
    pub folders: BTreeSet<PathBuf>,
    /// Notices were lost, or a folder came or went: look at everything.
    pub everything: bool,
    /// Somebody asked.
    pub woken: bool,
}

/// What the kernel is asked for; another one in tests.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Watches a folder.
    pub watch: fn(&OwnedFd, &Path) -> Result<i32, Errno>,
    /// Whether others may write in a folder without this kernel seeing it.
    pub is_remote: fn(&Path) -> bool,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { watch, is_remote }
    }
}

/// A folder that is watched.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// The kernel's number for it.
    number: i32,
    /// Device and inode: another folder may get its name.
    file: (u64, u64),
    /// Whether others may write in it without this kernel seeing it.
    is_remote: bool,
}

/// Watches folders.
#[derive(Debug)]
pub struct Watch {
    notices: Option<(OwnedFd, Kernel)>,
    wake: Arc<OwnedFd>,
    folders: BTreeMap<i32, PathBuf>,
    watched: BTreeMap<PathBuf, Watched>,
    /// Whether some folder could not be watched.
    pub blind: bool,
    /// Whether that was told.
    is_told: bool,
}

impl Watch {
    /// A watch of nothing; without a `kernel` all is left to time.
    pub fn new(kernel: Option<Kernel>) -> std::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let notices = || inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let notices = kernel.and_then(|kernel| Some((notices()?, kernel)));
        let blind = notices.is_none();
        Ok(Self { notices, wake, folders: BTreeMap::new(), watched: BTreeMap::new(), blind, is_told: false })
    }

    /// A handle to wake it.
    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// Watches exactly `folders` from now on. `elsewhere` says that some files lie in other folders. True where a folder was not
    /// watched before: what changed in it between the look that found it and now was told to nobody, so look again.
    #[must_use]
    pub fn follow(&mut self, folders: &[PathBuf], elsewhere: bool) -> bool {
        let wanted: BTreeSet<&PathBuf> = folders.iter().collect();
        let stale = |(folder, watched): (&PathBuf, &Watched)| {
            (!wanted.contains(folder) || file_of(folder) != Some(watched.file)).then(|| folder.clone())
        };
        let stale: Vec<PathBuf> = self.watched.iter().filter_map(stale).collect();
        stale.iter().for_each(|folder| self.forget(folder));
        let Some((notices, kernel)) = &self.notices else { return false };
        self.blind = elsewhere;
        let mut is_new = false;
        for folder in wanted {
            if self.watched.contains_key(folder) {
                continue;
            }
            let Some(file) = file_of(folder) else { continue };
            match (kernel.watch)(notices, folder) {
                Ok(number) => {
                    is_new = true;
                    self.folders.insert(number, folder.clone());
                    let watched = Watched { number, file, is_remote: (kernel.is_remote)(folder) };
                    self.watched.insert(folder.clone(), watched);
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    self.blind = true;
                    if !std::mem::replace(&mut self.is_told, true) {
                        tracing::warn!(
                            folder = %folder.display(), %error,
                            "the kernel does not tell of changes in this folder: its files are looked at every `poll_interval`, \
                             up to 10 s apart while they are quiet; raise fs.inotify.max_user_watches"
                        );
                    }
                }
            }
        }
        self.blind |= self.watched.values().any(|watched| watched.is_remote);
        is_new
    }

    fn forget(&mut self, folder: &Path) {
        let Some(Watched { number, .. }) = self.watched.remove(folder) else { return };
        if self.folders.get(&number).is_some_and(|other| other != folder) {
            return; // two names for one folder
        }
        self.folders.remove(&number);
        if let Some((notices, _)) = &self.notices
            && let Err(error) = inotify::remove_watch(notices, number)
        {
            tracing::trace!(%error, "the kernel has forgotten a watch already: its folder is gone");
        }
    }

    /// Waits for changes, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Changes {
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        fds.extend(self.notices.as_ref().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        if let Err(error) = poll(&mut fds, Some(&timeout)) {
            tracing::trace!(%error, "a wait for file changes ended early; the look that follows costs little");
        }
        let mut changes = Changes::default();
        let mut counter = [0; 8];
        changes.woken = rustix::io::read(&*self.wake, &mut counter).is_ok();
        self.collect(&mut changes);
        changes
    }

    fn collect(&mut self, changes: &mut Changes) {
        let Some((notices, _)) = &self.notices else { return };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(notices, &mut buffer);
        while let Ok(event) = reader.next() {
            let flags = event.events();
            let structural =
                ReadFlags::QUEUE_OVERFLOW | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
            let folder = self.folders.get(&event.wd());
            let below = event.file_name().and_then(|name| Some(folder?.join(OsStr::from_bytes(name.to_bytes()))));
            // Who may read a folder has changed: that matters where nobody could so far.
            let is_known = || below.as_ref().is_none_or(|below| self.watched.contains_key(below));
            changes.everything |= flags.intersects(structural)
                || flags.contains(ReadFlags::ISDIR) && !(flags.contains(ReadFlags::ATTRIB) && is_known());
            changes.folders.extend(folder.cloned());
            if flags.contains(ReadFlags::IGNORED)
                && let Some(folder) = self.folders.remove(&event.wd())
            {
                self.watched.remove(&folder);
            }
        }
    }
}

fn watch(notices: &OwnedFd, folder: &Path) -> Result<i32, Errno> {
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK;
    inotify::add_watch(notices, folder, flags)
}

fn file_of(folder: &Path) -> Option<(u64, u64)> {
    folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn is_remote(folder: &Path) -> bool {
    const REMOTE: [u64; 5] = [0x6969, 0xFE53_4D42, 0xFF53_4D42, 0x6573_5546, 0x0102_1997]; // NFS, SMB2, CIFS, FUSE, 9P
    rustix::fs::statfs(folder).is_ok_and(|fs| REMOTE.contains(&(fs.f_type as u64)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folders() -> (tempfile::TempDir, Vec<PathBuf>) {
        let top = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = ["a", "b"].iter().map(|name| top.path().join(name)).collect();
        folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        (top, folders)
    }

    #[test]
    fn every_folder_is_asked_whether_others_write_in_it() {
        let (_keep, folders) = folders();
        let kernel = Kernel { is_remote: |folder| folder.ends_with("b"), ..Kernel::default() };
        let mut watch = Watch::new(Some(kernel)).unwrap();
        assert!(watch.follow(&folders, false) && watch.blind);
        assert!(!watch.follow(&folders[..1], false) && !watch.blind, "the remote one is not the source's any more");
    }

    #[test]
    fn a_folder_that_can_not_be_watched_is_polled_until_it_can() {
        let (_keep, folders) = folders();
        let full = |notices: &OwnedFd, folder: &Path| match folder.ends_with("b") {
            true => Err(Errno::NOSPC),
            false => super::watch(notices, folder),
        };
        let mut watch = Watch::new(Some(Kernel { watch: full, ..Kernel::default() })).unwrap();
        assert!(watch.follow(&folders, false) && watch.blind);
        assert!(!watch.follow(&folders, false) && watch.blind, "it stays blind as long as one is not watched");
    }

    #[test]
    fn a_folder_that_becomes_readable_and_one_that_takes_anothers_name_are_noticed() {
        let (top, folders) = folders();
        let mut watch = Watch::new(Some(Kernel::default())).unwrap();
        // `b` was unreadable: it is not followed.
        let followed = [top.path().to_owned(), folders[0].clone()];
        assert!(watch.follow(&followed, false));
        let chmod = |folder: &Path| std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        chmod(&folders[0]);
        assert!(!watch.wait(Duration::from_secs(1)).everything, "it was readable before");
        chmod(&folders[1]);
        assert!(watch.wait(Duration::from_secs(1)).everything);
        std::fs::rename(&folders[0], top.path().join("c")).unwrap();
        std::fs::create_dir(&folders[0]).unwrap();
        assert!(watch.wait(Duration::from_secs(1)).everything);
        assert!(watch.follow(&followed, false), "the new folder of that name is another one");
        std::fs::write(folders[0].join("x"), "x").unwrap();
        assert!((0..10).any(|_| watch.wait(Duration::from_secs(1)).folders.contains(&folders[0])));
    }
}
