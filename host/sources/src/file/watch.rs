//! Being told of changes: the kernel's notices for folders, or the passing of time where there are none. It names folders
//! that may have changed and looks at nothing.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
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

/// Watches folders.
#[derive(Debug)]
pub struct Watch {
    notices: Option<OwnedFd>,
    wake: Arc<OwnedFd>,
    folders: BTreeMap<i32, PathBuf>,
    watched: BTreeSet<PathBuf>,
    /// Whether some folder could not be watched.
    pub blind: bool,
}

impl Watch {
    /// A watch of nothing; `notices` false leaves all to time.
    pub fn new(notices: bool) -> std::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let notices = notices.then(|| inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()).flatten();
        let blind = notices.is_none();
        Ok(Self { notices, wake, folders: BTreeMap::new(), watched: BTreeSet::new(), blind })
    }

    /// A handle to wake it.
    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// Watches exactly `folders` from now on. `elsewhere` says that some files lie in other folders. True where a folder was not
    /// watched before: what changed in it between the look that found it and now was told to nobody, so look again.
    #[must_use]
    pub fn follow(&mut self, folders: &[PathBuf], elsewhere: bool) -> bool {
        let Some(notices) = &self.notices else { return false };
        let wanted: BTreeSet<PathBuf> = folders.iter().cloned().collect();
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
        self.blind = elsewhere || folders.first().is_some_and(|folder| is_remote(folder));
        let mut is_new = false;
        for folder in wanted.difference(&self.watched.clone()) {
            match inotify::add_watch(notices, folder, flags) {
                Ok(number) => {
                    is_new = true;
                    self.folders.insert(number, folder.clone());
                    self.watched.insert(folder.clone());
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(_) => self.blind = true,
            }
        }
        let gone: Vec<(i32, PathBuf)> =
            self.folders.iter().filter(|(_, f)| !wanted.contains(*f)).map(|(n, f)| (*n, f.clone())).collect();
        for (number, folder) in gone {
            if let Err(error) = inotify::remove_watch(notices, number) {
                tracing::trace!(%error, "the kernel has forgotten a watch already: its folder is gone");
            }
            self.folders.remove(&number);
            self.watched.remove(&folder);
        }
        is_new
    }

    /// Waits for changes, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Changes {
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        fds.extend(self.notices.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
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
        let Some(notices) = &self.notices else { return };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(notices, &mut buffer);
        while let Ok(event) = reader.next() {
            let flags = event.events();
            let structural =
                ReadFlags::QUEUE_OVERFLOW | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
            if flags.intersects(structural) {
                changes.everything = true;
            }
            if flags.contains(ReadFlags::ISDIR) && !flags.contains(ReadFlags::ATTRIB) {
                changes.everything = true;
            }
            if flags.contains(ReadFlags::IGNORED)
                && let Some(folder) = self.folders.remove(&event.wd())
            {
                self.watched.remove(&folder);
            }
            if let Some(folder) = self.folders.get(&event.wd()) {
                changes.folders.insert(folder.clone());
            }
        }
    }

    /// Whether `folder` is watched.
    pub fn sees(&self, folder: &Path) -> bool {
        self.watched.contains(folder)
    }
}

/// Whether others may write in `folder` without this kernel seeing it.
fn is_remote(folder: &Path) -> bool {
    const REMOTE: [u64; 5] = [0x6969, 0xFE53_4D42, 0xFF53_4D42, 0x6573_5546, 0x0102_1997]; // NFS, SMB2, CIFS, FUSE, 9P
    rustix::fs::statfs(folder).is_ok_and(|fs| REMOTE.contains(&(fs.f_type as u64)))
}
