//! Looking at folders: which files there are, by name and by file. It opens none and decides nothing.

use super::open::{Refusal, Roots, file_id};
use super::pattern::{Names, Role};
use sawlog_core::identity::FileId;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep folders are entered at most.
const DEPTH_MAX: usize = 32;
/// How often a folder is looked at again where each look shows others: files come faster than it can be read.
const LOOKS_MAX: usize = 4;

/// A file under one of the source's names.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub path: PathBuf,
    /// What the name means.
    pub role: Role,
    /// Which file.
    pub file: FileId,
    /// Stored bytes.
    pub stored_bytes: u64,
    /// Last change, nanoseconds.
    pub mtime: i64,
}

/// What a look at one folder, or at all of them, showed.
#[derive(Debug, Default)]
pub struct Look {
    /// Files.
    pub found: Vec<Found>,
    /// Folders that were read.
    pub folders: Vec<PathBuf>,
    /// Whether a file was reached through a link: the kernel tells of changes where the file lies, not where the link does.
    pub links: bool,
    /// Names that look like logs and are not read, with the reason.
    pub refused: BTreeMap<PathBuf, Refusal>,
}

/// Reads all folders of the source.
pub fn everything(names: &Names, roots: &Roots) -> Look {
    let mut look = Look::default();
    let mut tops: Vec<&Path> = names.roots().collect();
    tops.sort_unstable();
    tops.dedup();
    // A folder below another one is reached from there.
    let nested = |top: &&Path| !tops.iter().any(|other| other != top && top.starts_with(other));
    for top in tops.iter().copied().filter(nested) {
        enter(top, names, roots, DEPTH_MAX, &mut look);
    }
    look
}

/// Reads one folder and none below it.
pub fn folder(path: &Path, names: &Names, roots: &Roots) -> Look {
    let mut look = Look::default();
    enter(path, names, roots, 0, &mut look);
    look
}

/// Looks again until two looks show the same files that nobody knows: a folder that is read while a file in it gets another name may
/// show neither name, and what is newer must not be begun before it.
pub fn steady(mut look: impl FnMut() -> Look, strangers: impl Fn(&[Found]) -> BTreeSet<FileId>) -> Look {
    let mut seen = look();
    for _ in 0..LOOKS_MAX {
        let met = strangers(&seen.found);
        if met.is_empty() {
            break;
        }
        seen = look();
        if strangers(&seen.found) == met {
            break;
        }
    }
    seen
}

fn enter(folder: &Path, names: &Names, roots: &Roots, depth: usize, look: &mut Look) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
        Err(e) => {
            let refusal = Refusal::Denied { path: folder.to_owned(), why: e.to_string() };
            look.refused.insert(folder.to_owned(), refusal);
            return;
        }
    };
    look.folders.push(folder.to_owned());
    for entry in entries.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        if is_folder && names.reaches_below(&path) {
            if depth > 0 {
                enter(&path, names, roots, depth - 1, look);
            }
        } else if let Some(role) = names.role(&path) {
            look.links |= entry.file_type().is_ok_and(|t| t.is_symlink());
            match meet(&path, role, roots) {
                Ok(found) => look.found.extend(found),
                Err(refusal) => _ = look.refused.insert(path, refusal),
            }
        }
    }
}

fn meet(path: &Path, role: Role, roots: &Roots) -> Result<Option<Found>, Refusal> {
    let Some(metadata) = roots.look(path)? else { return Ok(None) };
    let mtime = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    let path = path.to_owned();
    Ok(Some(Found { path, role, file: file_id(&metadata), stored_bytes: metadata.len(), mtime }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[u64]) -> Look {
        let found = |ino: &u64| Found {
            path: PathBuf::from(format!("{ino}.log")),
            role: Role { partition: PathBuf::new(), rotated: false, packed: false },
            file: FileId { dev: 1, ino: *ino, btime: None },
            stored_bytes: 1,
            mtime: 0,
        };
        Look { found: files.iter().map(found).collect(), ..Look::default() }
    }

    /// What these looks, one after the other, come to where file 1 is known.
    fn steadied(looks: &[&[u64]]) -> (Vec<u64>, usize) {
        let mut taken = 0;
        let next = || {
            taken += 1;
            look(looks[(taken - 1).min(looks.len() - 1)])
        };
        let strangers = |found: &[Found]| found.iter().map(|f| f.file).filter(|file| file.ino != 1).collect();
        let seen = steady(next, strangers);
        (seen.found.iter().map(|f| f.file.ino).collect(), taken)
    }

    #[test]
    fn a_look_that_shows_files_that_nobody_knows_is_taken_until_two_show_the_same() {
        assert_eq!(steadied(&[&[1]]), (vec![1], 1), "all are known");
        assert_eq!(steadied(&[&[1, 3], &[1, 3]]), (vec![1, 3], 2));
        assert_eq!(
            steadied(&[&[3], &[1, 2, 3], &[1, 2, 3]]),
            (vec![1, 2, 3], 3),
            "2 got another name during the first"
        );
        let many: Vec<Vec<u64>> = (3..20).map(|last| (1..last).collect()).collect();
        let many: Vec<&[u64]> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(steadied(&many).1, 1 + LOOKS_MAX, "files may come for ever");
    }
}
