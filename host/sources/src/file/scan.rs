//! Looking at folders: which files there are, by name and by file. It opens none and decides nothing.

use super::open::{Refusal, Roots, file_id};
use super::pattern::{Names, Role};
use sawlog_core::identity::FileId;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep folders are entered at most.
const DEPTH_MAX: usize = 32;

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
