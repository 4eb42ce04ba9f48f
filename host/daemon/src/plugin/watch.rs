//! Waits until an author changed something: sources, component, input. It looks again and again: editors replace files in ways
//! that notifications tell differently on every system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);
/// Folders that tools write into.
const OF_TOOLS: [&str; 4] = ["target", "node_modules", "__pycache__", "build"];

type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Files and folders that are watched.
pub struct Watched {
    roots: Vec<PathBuf>,
    seen: Stamps,
}

impl Watched {
    /// Watches these from now on.
    pub fn new<'a>(roots: impl Iterator<Item = &'a PathBuf>) -> Self {
        let roots: Vec<PathBuf> = roots.cloned().collect();
        Self { seen: stamps(&roots), roots }
    }

    /// Blocks until something is not as it was when this was made or last returned.
    pub fn wait(&mut self) {
        while !self.has_changed() {
            std::thread::sleep(LOOK);
        }
    }

    /// Whether something changed since it last said so.
    fn has_changed(&mut self) -> bool {
        let now = stamps(&self.roots);
        let has_changed = now != self.seen;
        self.seen = now;
        has_changed
    }
}

fn stamps(roots: &[PathBuf]) -> Stamps {
    let mut stamps = Stamps::new();
    roots.iter().for_each(|root| look(root, &mut stamps));
    stamps
}

/// What can't be read now has no stamp, and gets one when it can.
fn look(path: &Path, stamps: &mut Stamps) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if !metadata.is_dir() {
        stamps.insert(path.to_owned(), (metadata.modified().ok(), metadata.len()));
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !OF_TOOLS.contains(&&*name) {
            look(&entry.path(), stamps);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_an_author_changes_shows_and_what_a_build_writes_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        std::fs::create_dir_all(path.join("src")).unwrap();
        std::fs::create_dir_all(path.join("target")).unwrap();
        std::fs::write(path.join("src/lib.rs"), "one").unwrap();
        let mut watched = Watched::new([path.clone()].iter());
        assert!(!watched.has_changed());
        std::fs::write(path.join("target/plugin.wasm"), "built").unwrap();
        std::fs::write(path.join(".lib.rs.swp"), "swap").unwrap();
        assert!(!watched.has_changed());
        std::fs::write(path.join("src/lib.rs"), "other").unwrap();
        assert!(watched.has_changed() && !watched.has_changed());
        std::fs::write(path.join("src/new.rs"), "").unwrap();
        assert!(watched.has_changed());
        std::fs::remove_file(path.join("src/new.rs")).unwrap();
        assert!(watched.has_changed());
    }
}
