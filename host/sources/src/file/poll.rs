//! Looking though nobody told of changes: how often, and how little it may cost. A file is compared by its size and change
//! time, a folder by its own; names are read again only where these differ.

use super::scanner::Scanner;
use sawlog_core::identity::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The longest time between two polls.
const QUIET_POLL: Duration = Duration::from_secs(10);
/// The time between two looks at everything, for what notices and polls might have missed.
const EVERYTHING: Duration = Duration::from_secs(60);
/// A folder that changed so lately may change again without another change time.
const UNSETTLED: Duration = Duration::from_secs(1);

/// What it is time for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// To compare times and sizes.
    Changed,
    /// To read all folders.
    Everything,
}

/// What the last look at everything showed, and when.
#[derive(Debug)]
pub(super) struct Looked {
    everything_at: Option<Instant>,
    polled_at: Instant,
    /// When a file last changed.
    pub changed_at: Instant,
    /// Folders and their change times, nanoseconds; `None` where that is too young to be trusted.
    folders: BTreeMap<PathBuf, Option<i128>>,
    /// The folders that everything lies in, as they were: nobody tells of one that was not there.
    roots: BTreeMap<PathBuf, Option<Stand>>,
}

/// Which folder has a name, and who may read it: device, inode, mode, user, group.
type Stand = (u64, u64, u32, u32, u32);

fn stand(folder: &Path) -> Option<Stand> {
    folder.metadata().ok().map(|m| (m.dev(), m.ino(), m.mode(), m.uid(), m.gid()))
}

impl Default for Looked {
    fn default() -> Self {
        let now = Instant::now();
        Self { everything_at: None, polled_at: now, changed_at: now, folders: BTreeMap::new(), roots: BTreeMap::new() }
    }
}

impl Looked {
    /// Everything is looked at below these.
    pub fn begin<'a>(&mut self, roots: impl Iterator<Item = &'a Path>) {
        self.roots = roots.map(|root| (root.to_owned(), stand(root))).collect();
    }

    /// What it is time for, `poll` being the shortest time between two polls: where the kernel does not tell (`blind`), a poll at
    /// every interval while files change, every ten seconds while all are quiet.
    fn due(&self, now: Instant, poll: Duration, blind: bool) -> Due {
        let since = |then: Instant| now.saturating_duration_since(then);
        let pace = (since(self.changed_at) / 2).clamp(poll, QUIET_POLL);
        match self.everything_at {
            Some(at) if since(at) < EVERYTHING => match blind && since(self.polled_at) >= pace {
                true => Due::Changed,
                false => Due::Nothing,
            },
            _ => Due::Everything,
        }
    }

    /// Everything was looked at.
    pub fn note(&mut self, folders: &[PathBuf]) {
        let settled = nanoseconds(SystemTime::now().checked_sub(UNSETTLED).unwrap_or(SystemTime::UNIX_EPOCH));
        let time = |folder: &PathBuf| (folder.clone(), change_time(folder).filter(|time| *time < settled));
        self.folders = folders.iter().map(time).collect();
        self.everything_at = Some(Instant::now());
        self.polled_at = Instant::now();
    }
}

fn nanoseconds(time: SystemTime) -> i128 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

fn change_time(folder: &Path) -> Option<i128> {
    let metadata = folder.metadata().ok()?;
    Some(i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()))
}

impl Scanner {
    /// How long to wait for notices at most.
    pub(super) fn poll(&self) -> Duration {
        self.shared.options.poll_interval.clamp(Duration::from_millis(10), QUIET_POLL)
    }

    /// What it is time for. A pattern's own folder that comes, goes or is replaced is found at every interval.
    pub(super) fn due(&self) -> Due {
        let looked = &self.looked;
        match looked.roots.iter().any(|(root, then)| stand(root) != *then) {
            true => Due::Everything,
            false => looked.due(Instant::now(), self.poll(), self.watch.blind),
        }
    }

    /// Folders that hold files whose size or time changed; `None` where names may have changed, and all must be read.
    pub(super) fn changed_folders(&mut self) -> Option<BTreeSet<PathBuf>> {
        self.looked.polled_at = Instant::now();
        if self.looked.folders.iter().any(|(folder, time)| time.is_none() || change_time(folder) != *time) {
            return None;
        }
        let table = self.shared.lock();
        let mut changed = BTreeSet::new();
        for tracked in table.all().filter(|t| t.file.is_some() && t.name != Name::Unlinked) {
            let metadata = tracked.path.symlink_metadata().ok()?;
            let mtime = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
            if tracked.stamp != (metadata.len(), mtime) {
                changed.extend(tracked.path.parent().map(Path::to_owned));
            }
        }
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    /// Seconds between polls, of an agent that wakes up at every interval for `seconds`.
    fn gaps(looked: &mut Looked, from: Instant, seconds: u32) -> Vec<u64> {
        let mut gaps = Vec::new();
        for now in (1..=seconds).map(|second| from + POLL * second) {
            if looked.due(now, POLL, true) == Due::Changed {
                gaps.push((now - looked.polled_at).as_secs());
                looked.polled_at = now;
            }
        }
        gaps
    }

    #[test]
    fn polls_come_at_every_interval_while_files_change_and_every_ten_seconds_while_all_are_quiet() {
        let begun = Instant::now();
        let mut looked =
            Looked { everything_at: Some(begun), polled_at: begun, changed_at: begun, ..Looked::default() };
        assert_eq!(gaps(&mut looked, begun, 50), [1, 1, 2, 4, 8, 10, 10, 10]);
        let changed = begun + POLL * 50;
        (looked.polled_at, looked.changed_at) = (changed, changed);
        assert_eq!(gaps(&mut looked, changed, 5), [1, 1, 2]);
        // Whoever is told does not poll; everything is read once a minute all the same.
        assert_eq!(looked.due(begun + POLL * 59, POLL, false), Due::Nothing);
        assert_eq!(looked.due(begun + POLL * 60, POLL, false), Due::Everything);
    }
}
