//! What the journal is told of a file's length, with nobody who reads it, and what that tells of the file once it is gone.

#![allow(clippy::unwrap_used)]

use super::follower::{append, numbered, options};
use super::source::FileSource;
use super::watch::Kernel;
use futures_util::FutureExt;
use sawlog_core::journal::Whereabouts;
use sawlog_core::ports::{Source, SourceEvent};
use sawlog_record::id::{Generation, PartitionId};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A generation as the journal has it.
#[derive(Clone)]
struct Known {
    generation: Generation,
    partition: PartitionId,
    identity: Arc<[u8]>,
}

/// Follows a source that has one file, and reads nothing.
struct Deaf {
    source: FileSource,
    known: Option<Known>,
    gone: bool,
}

impl Deaf {
    fn start(folder: &Path, known: Option<Known>) -> Self {
        let source = FileSource::new(options(folder, "*.log"), Some(Kernel::default())).unwrap();
        let restored = known.iter().map(|k| (k.generation, k.partition, k.identity.clone(), 0)).collect();
        source.restore(restored).now_or_never().unwrap();
        Self { source, known, gone: false }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come: {:?}", self.whereabouts());
            match self.source.event().now_or_never() {
                Some(SourceEvent::Opened { generation, partition, identity, .. }) => {
                    self.known.get_or_insert(Known { generation, partition, identity });
                }
                Some(SourceEvent::Identity { generation, identity }) => {
                    let known = self.known.as_mut().filter(|known| known.generation == generation);
                    known.into_iter().for_each(|known| known.identity.clone_from(&identity));
                }
                Some(SourceEvent::Gone { generation }) => {
                    self.gone |= self.known.as_ref().is_some_and(|known| known.generation == generation);
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn whereabouts(&self) -> Option<Whereabouts> {
        self.source.whereabouts(&self.known.as_ref()?.identity)
    }

    fn until_length(&mut self, end: u64) {
        self.until(&format!("length {end}"), |deaf| deaf.whereabouts().is_some_and(|at| at.end == end));
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn a_file_that_grows_and_goes_while_nobody_looks_is_named_with_its_last_known_length() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.log");
    append(&app, 0..10);
    let mut deaf = Deaf::start(folder.path(), None);
    deaf.until_length(length(&app));
    append(&app, 10..20);
    let last_known = length(&app);
    deaf.until_length(last_known);
    let known = deaf.known.clone();
    drop(deaf);
    append(&app, 20..30);
    std::fs::rename(&app, folder.path().join("elsewhere")).unwrap();
    let mut deaf = Deaf::start(folder.path(), known);
    deaf.until("its end", |deaf| deaf.gone);
    let at = deaf.whereabouts().unwrap();
    assert_eq!((at.path.as_str(), at.end, at.at_least), (app.to_str().unwrap(), last_known, true));
    assert!(at.file.is_some());
}

#[test]
fn of_a_file_that_is_held_to_its_end_the_length_is_all_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.log");
    append(&app, 0..10);
    let mut deaf = Deaf::start(folder.path(), None);
    deaf.until_length(length(&app));
    append(&app, 10..15);
    let all = length(&app);
    std::fs::remove_file(&app).unwrap();
    deaf.until("all of it", |deaf| deaf.whereabouts().is_some_and(|at| !at.at_least));
    assert_eq!(deaf.whereabouts().unwrap().end, all);
}

#[test]
fn a_rotated_file_keeps_its_newest_name() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.log");
    append(&app, 0..10);
    let mut deaf = Deaf::start(folder.path(), None);
    deaf.until_length(length(&app));
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    let newest = numbered(&app, 1).to_str().unwrap().to_owned();
    deaf.until("its new name", |deaf| deaf.whereabouts().is_some_and(|at| at.path == newest));
}
