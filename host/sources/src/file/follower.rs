//! A source followed as the core does it: what is announced is read, what was read is journalled, and a restart hands back
//! exactly that.

#![allow(clippy::unwrap_used)]

use super::frame::Framing;
use super::options::FileOptions;
use super::pattern::Names;
use super::source::FileSource;
use super::watch::Kernel;
use futures_util::FutureExt;
use sawlog_core::identity::{Grain, Held};
use sawlog_core::journal::{Mark, Standing};
use sawlog_core::memory::Pool;
use sawlog_core::ports::{ReadLimits, Source, SourceEvent};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct Journalled {
    pub(super) partition: PartitionId,
    identity: Arc<[u8]>,
    pos: u64,
    end: u64,
    pub(super) gone: bool,
}

/// What the core does with a source, and what came of it.
pub(super) struct Follower {
    pub(super) options: FileOptions,
    pub(super) kernel: Option<Kernel>,
    source: Option<FileSource>,
    pub(super) journal: BTreeMap<Generation, Journalled>,
    /// What a sink holds, which outlives the journal.
    pub(super) cursors: BTreeMap<Generation, Mark>,
    pub(super) lines: Vec<String>,
    pub(super) flags: Vec<u8>,
    pub(super) finished: bool,
    /// How many lines there were when it had looked for all that it knew.
    pub(super) met_behind: Option<usize>,
    pub(super) ended: Vec<Generation>,
}

pub(super) fn options(folder: &Path, include: &str) -> FileOptions {
    let include = [folder.join(include).to_str().unwrap().to_owned()];
    let pods = folder.join("pods");
    FileOptions {
        agent_id: "agent".into(),
        source_id: "app".into(),
        names: Names::new(&include, &[], &[], &pods).unwrap(),
        roots: Vec::new(),
        framing: Framing { cri: false, encoding: None, line_bytes_max: 1 << 20, multiline: None },
        from_end: false,
        until_eof: false,
        rotate_wait: Duration::from_millis(150),
        idle_timeout: Duration::from_millis(200),
        poll_interval: Duration::from_millis(50),
        deliver_identical_small: false,
        open_files_max: 100,
        unpacked: Pool::new(1 << 30),
        scratch: folder.to_owned(),
        grain: Grain::DEFAULT,
        boot_id: "boot".into(),
        pods,
    }
}

impl Follower {
    pub(super) fn new(options: FileOptions) -> Self {
        let (journal, cursors, lines, flags, ended) = Default::default();
        Self {
            options,
            kernel: Some(Kernel::default()),
            source: None,
            journal,
            cursors,
            lines,
            flags,
            finished: false,
            met_behind: None,
            ended,
        }
    }

    pub(super) fn start(&mut self) {
        self.met_behind = None;
        let source = FileSource::new(self.options.clone(), self.kernel).unwrap();
        let unknown = self.cursors.iter().filter(|(g, _)| !self.journal.contains_key(g));
        let held = Held::new(unknown.map(|(g, mark)| (*g, mark.clone())), self.journal.keys().copied().collect());
        let held = held.of_known_source(!self.journal.is_empty());
        source.hold(held).now_or_never().unwrap();
        let known = self.journal.iter().filter(|(_, j)| !j.gone);
        let known = known.map(|(g, j)| (*g, j.partition, j.identity.clone(), j.pos)).collect();
        source.restore(known).now_or_never().unwrap();
        self.source = Some(source);
    }

    pub(super) fn stop(&mut self) {
        self.source = None;
    }

    /// Stops without a journal; what the sink holds stays.
    pub(super) fn lose_journal(&mut self) {
        self.stop();
        self.journal.clear();
    }

    pub(super) fn source(&self) -> &FileSource {
        self.source.as_ref().unwrap()
    }

    /// Follows events until `done`, or fails.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{what} did not come; status {:?}, lines {:?}",
                self.source().status(),
                self.tail()
            );
            match self.source().event().now_or_never() {
                Some(event) => self.follow(event),
                None => {
                    std::thread::sleep(Duration::from_millis(5));
                    self.read_late();
                }
            }
        }
    }

    pub(super) fn until_lines(&mut self, n: usize) {
        self.until(&format!("line {n}"), |f| f.lines.len() >= n);
    }

    /// Follows events for a while in which nothing new should come.
    pub(super) fn rest(&mut self, duration: Duration) {
        let begun = Instant::now();
        self.until("rest", |_| begun.elapsed() > duration);
    }

    fn tail(&self) -> Vec<&str> {
        self.lines.iter().rev().take(5).map(|l| &l[..l.len().min(60)]).collect()
    }

    fn follow(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Opened { generation, partition, identity, start } => {
                let pos = self.cursors.get(&generation).map_or(start, |mark| mark.cursor.pos.max(start));
                let entry = Journalled { partition, identity, pos, end: pos, gone: false };
                assert!(self.journal.insert(generation, entry).is_none(), "{generation} opened twice");
            }
            SourceEvent::Identity { generation, identity } => {
                self.journal.get_mut(&generation).unwrap().identity = identity
            }
            SourceEvent::Available { generation, end } => self.read(generation, end),
            SourceEvent::Ended { generation, len } => {
                self.read(generation, len);
                self.ended.push(generation);
            }
            SourceEvent::Vanishing { generation, end } => {
                self.read(generation, end);
                self.source().release(generation).now_or_never().unwrap();
                self.journal.get_mut(&generation).unwrap().gone = true;
            }
            SourceEvent::Gone { generation } => self.journal.get_mut(&generation).unwrap().gone = true,
            SourceEvent::Met => self.met_behind = Some(self.lines.len()),
            SourceEvent::Finished => self.finished = true,
        }
    }

    fn read(&mut self, generation: Generation, end: u64) {
        let entry = self.journal.get_mut(&generation).unwrap();
        entry.end = entry.end.max(end);
        let limits = ReadLimits { bytes_max: 64 << 10, records_max: 1000 };
        while self.journal[&generation].pos < self.journal[&generation].end {
            let Journalled { pos: from, end, .. } = self.journal[&generation];
            // What can't be read now is read later: the generation may be on its way to another file.
            let Ok(input) = self.source().read(generation, from, end, limits).now_or_never().unwrap() else { return };
            assert!(input.records.first().unwrap().end > from && input.records.last().unwrap().end <= end);
            self.lines
                .extend(input.records.iter().map(|r| String::from_utf8_lossy(r.text.of(&input.arena)).into_owned()));
            self.flags.extend(input.records.iter().map(|r| r.flags));
            let pos = input.records.last().unwrap().end;
            self.journal.get_mut(&generation).unwrap().pos = pos;
            let floor = input.open.iter().copied().chain([pos]).min().unwrap();
            self.source().trim(generation, floor).now_or_never().unwrap();
            let anchor = self.source().anchor(generation, pos).now_or_never().unwrap();
            let mark = Mark::from(Standing { cursor: Cursor::at(pos), anchor: anchor.into(), ..Standing::default() });
            self.cursors.insert(generation, mark);
        }
    }

    fn read_late(&mut self) {
        let late = self.journal.iter().filter(|(_, j)| !j.gone && j.pos < j.end).map(|(g, _)| *g);
        late.collect::<Vec<_>>().into_iter().for_each(|g| self.read(g, 0));
    }

    pub(super) fn expect(&self, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        let expected: Vec<String> = lines.into_iter().map(|l| l.as_ref().to_owned()).collect();
        assert_eq!(self.lines, expected);
    }

    pub(super) fn expect_sorted(&self, numbers: std::ops::Range<usize>) {
        let mut lines = self.lines.clone();
        lines.sort();
        let mut expected: Vec<String> = numbers.map(line).collect();
        expected.sort();
        let lost: Vec<&String> = expected.iter().filter(|l| lines.binary_search(l).is_err()).collect();
        let doubled: Vec<&String> = lines.windows(2).filter(|w| w[0] == w[1]).map(|w| &w[0]).collect();
        assert!(lost.is_empty() && doubled.is_empty(), "lost {lost:?}, duplicated {doubled:?}");
        assert_eq!(lines.len(), expected.len());
    }
}

pub(super) fn line(n: usize) -> String {
    format!("2026-11-24T12:00:00 line number {n:06} of the application")
}

pub(super) fn append(path: &Path, numbers: std::ops::Range<usize>) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let text: String = numbers.map(|n| line(n) + "\n").collect();
    file.write_all(text.as_bytes()).unwrap();
}

pub(super) fn gzip(path: &Path) {
    let target = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder =
        flate2::write::GzEncoder::new(std::fs::File::create(target).unwrap(), flate2::Compression::fast());
    encoder.write_all(&std::fs::read(path).unwrap()).unwrap();
    let packed = encoder.finish().unwrap();
    // Whoever packs a file leaves it the time of its content.
    packed.set_modified(path.metadata().unwrap().modified().unwrap()).unwrap();
    std::fs::remove_file(path).unwrap();
}

pub(super) fn copytruncate(path: &Path, to: &Path) {
    std::fs::copy(path, to).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
}

pub(super) fn fixture() -> (tempfile::TempDir, PathBuf, Follower) {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.log");
    let follower = Follower::new(options(folder.path(), "*.log"));
    (folder, app, follower)
}

pub(super) fn numbered(path: &Path, n: u32) -> PathBuf {
    PathBuf::from(format!("{}.{n}", path.display()))
}
