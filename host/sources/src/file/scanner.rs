//! The thread that looks: when, at which folders, and what follows from a look. Which file is which generation is decided
//! by the core's judgement; here are only the facts for it and what it leads to.

use super::carry::Carried;
use super::content::{Content, Opened, Slot};
use super::frame::line_end;
use super::moment::Moment;
use super::passing::Beginning;
use super::pattern::pod_fields;
use super::poll::{Due, Looked};
use super::record::Passage;
use super::scan::{self, Found, Look};
use super::source::Shared;
use super::table::Table;
use super::tracked::{Kept, Tracked};
use super::unpack::Unpackable;
use super::watch::{Changes, Watch};
use sawlog_core::identity::{Decision, FileId, Known, Name, Newcomer, Recognised, Seen, Tracker, WaitReason, judge};
use sawlog_core::ports::SourceEvent;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Notices that come closer together are one look.
const GATHER: Duration = Duration::from_millis(50);
/// However long a look takes, notices wait no longer than this.
const GATHER_MAX: Duration = Duration::from_millis(500);
/// How soon what waits is looked at again.
const SOON: Duration = Duration::from_millis(200);
/// Events that may wait before the look pauses.
const EVENTS_MAX: usize = 1 << 16;
/// Small enough to be written twice by chance, bytes.
const SMALL_BYTES: u64 = 4096;

/// Looks at folders and tells the core.
pub(super) struct Scanner {
    pub(super) shared: Arc<Shared>,
    pub(super) watch: Watch,
    pub(super) looked: Looked,
    /// How long the last look took.
    took: Duration,
    /// Partitions that are looked at again soon: copies in the making, files that could not be read.
    pub(super) restless: BTreeSet<PathBuf>,
    pub(super) finished: bool,
    /// Whether it was said that everything was looked for once.
    met: bool,
}

/// A file of a judgement.
pub(super) struct Candidate {
    pub(super) found: Option<Found>,
    pub(super) seen: Seen,
    pub(super) content: Slot,
}

impl Scanner {
    pub fn new(shared: Arc<Shared>, watch: Watch) -> Self {
        let (looked, restless) = Default::default();
        Self { shared, watch, looked, took: Duration::ZERO, restless, finished: false, met: false }
    }

    /// Looks until the source is dropped.
    pub fn run(mut self) {
        let mut changes = Changes { everything: true, ..Changes::default() };
        while !self.shared.stop.load(Ordering::Acquire) {
            self.look(&changes);
            let calm = self.restless.is_empty() && self.shared.lock().awake.is_empty();
            changes = self.watch.wait(if calm { self.poll() } else { self.poll().min(SOON) });
            if !changes.folders.is_empty() || changes.everything {
                // A look that takes long is taken seldom: no more than a twentieth of a core, discovery within a second.
                std::thread::sleep((self.took * 20).clamp(GATHER, GATHER_MAX));
                let more = self.watch.wait(Duration::ZERO);
                changes.folders.extend(more.folders);
                changes.everything |= more.everything;
            }
            while self.shared.outbox.waiting() > EVENTS_MAX && !self.shared.stop.load(Ordering::Acquire) {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn look(&mut self, changes: &Changes) {
        let begun = Instant::now();
        let doubt = std::mem::take(&mut self.shared.lock().doubt);
        let due = if changes.everything || doubt { Due::Everything } else { self.due() };
        let waiting: Vec<PathBuf> = self.restless.iter().cloned().collect();
        let mut folders = changes.folders.clone();
        let folder_of = |p: &PathBuf| if p.is_dir() { Some(p.clone()) } else { p.parent().map(Path::to_owned) };
        folders.extend(waiting.iter().filter_map(folder_of));
        folders.extend(self.shared.folders_to_unpack_in());
        let partial = match due {
            Due::Nothing => true,
            Due::Changed => self.changed_folders().map(|changed| folders.extend(changed)).is_some(),
            Due::Everything => false,
        };
        if !partial || !self.look_at_folders(&folders) {
            self.look_at_everything();
        }
        self.took = begun.elapsed();
        self.keep_house();
        self.finish();
    }

    fn look_at_everything(&mut self) {
        self.looked.begin(self.shared.options.names.roots());
        let everything = || scan::everything(&self.shared.options.names, &self.shared.roots);
        let mut look = scan::steady(everything, |found| self.strangers(found));
        // A file that appeared after its folder was read and before it was watched would wait for the next look at everything.
        while self.watch.follow(&look.folders, look.links) && !self.shared.stop.load(Ordering::Acquire) {
            look = scan::steady(everything, |found| self.strangers(found));
        }
        self.looked.note(&look.folders);
        self.report_refused(&look);
        self.shared.lock().unpackable.retain(|file, _| look.found.iter().any(|found| found.file == *file));
        let mut partitions = by_partition(look.found, &self.shared.lock());
        self.shared.lock().partition_names().for_each(|name| _ = partitions.entry(name.to_path_buf()).or_default());
        self.restless.clear();
        for (partition, found) in partitions {
            self.settle(&partition, found);
        }
        if !std::mem::replace(&mut self.met, true) {
            self.shared.outbox.send(SourceEvent::Met);
        }
        let mut table = self.shared.lock();
        table.first_start = false;
        table.close_surplus(self.shared.options.open_files_max);
    }

    /// Looks at some folders only; false where that does not tell enough.
    fn look_at_folders(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let mut found = Vec::new();
        for folder in folders {
            let again = || scan::folder(folder, &self.shared.options.names, &self.shared.roots);
            let look = scan::steady(again, |found| self.strangers(found));
            self.report_refused(&look);
            found.extend(look.found);
        }
        let table = self.shared.lock();
        let mut partitions = by_partition(found, &table);
        for partition in folders.iter().flat_map(|folder| table.partitions_in(folder)) {
            partitions.entry(partition.to_path_buf()).or_default();
        }
        let is_missing = |(name, found): (&PathBuf, &Vec<Found>)| {
            table.own(name).iter().filter_map(|g| table.get(*g)).any(|t| missing(t, found))
        };
        if partitions.iter().any(is_missing) {
            return false;
        }
        drop(table);
        for (partition, found) in partitions {
            self.restless.remove(&partition);
            self.settle(&partition, found);
        }
        true
    }

    /// Files that are nobody's yet; not those that are empty, which begin nothing.
    fn strangers(&self, found: &[Found]) -> BTreeSet<FileId> {
        let table = self.shared.lock();
        let is_known = |f: &Found| {
            table.owner(f.file).is_some()
                || table.aliases.contains_key(&f.file)
                || table.unpackable.contains_key(&f.file)
        };
        found.iter().filter(|f| f.stored_bytes > 0 && !is_known(f)).map(|f| f.file).collect()
    }

    fn report_refused(&self, look: &Look) {
        look.refused.iter().for_each(|(path, refusal)| self.shared.refuse(path, refusal.clone()));
    }

    /// Finds out what became of a partition's files and announces what they have to read.
    fn settle(&mut self, partition: &Path, found: Vec<Found>) {
        if !self.is_plain_growth(partition, &found)
            && let Err(error) = self.judge(partition, found)
        {
            tracing::warn!(partition = %partition.display(), %error, "files can't be looked at now; trying again");
            self.restless.insert(partition.to_owned());
        }
        let generations = self.shared.lock().own(partition);
        for generation in generations {
            if let Err(error) = self.announce(generation) {
                tracing::debug!(%generation, %error, "a file can't be read now; trying again");
                self.restless.insert(partition.to_owned());
            }
        }
    }

    /// The common case: every file is known and none shrank. Whether its bytes still are the same is tested at every read.
    fn is_plain_growth(&mut self, partition: &Path, found: &[Found]) -> bool {
        let mut table = self.shared.lock();
        let own: Vec<Generation> = table.own(partition);
        let files: BTreeSet<FileId> = found.iter().map(|f| f.file).collect();
        let settled = |t: &Tracked| {
            t.met && !t.doubtful && t.file.is_some_and(|file| file.btime.is_some() && files.contains(&file))
        };
        let room = &self.shared.options.unpacked;
        let is_refused = |f: &Found, u: &Unpackable| u.stamp == stamp(f) && !u.is_due(room);
        let known = |f: &Found| match table.owner(f.file) {
            Some(t) if f.role.packed => t.stamp == stamp(f),
            Some(t) => f.stored_bytes >= t.consumed().pos().max(t.announced),
            None => {
                table.aliases.get(&f.file) == Some(&stamp(f))
                    || table.unpackable.get(&f.file).is_some_and(|unpackable| is_refused(f, unpackable))
            }
        };
        if !own.iter().filter_map(|g| table.get(*g)).all(settled) || !found.iter().all(known) {
            return false;
        }
        for f in found {
            let Some(tracked) = table.owner(f.file) else { continue };
            if tracked.stamp != stamp(f) || *tracked.path != *f.path {
                let generation = tracked.generation;
                self.looked.changed_at = Instant::now();
                table.place(generation, |tracked| meet(tracked, f));
            }
        }
        true
    }

    fn judge(&mut self, partition: &Path, found: Vec<Found>) -> io::Result<()> {
        self.looked.changed_at = Instant::now();
        let known = self.shared.lock().known(partition);
        let packed: Vec<FileId> = found.iter().filter(|found| found.role.packed).map(|found| found.file).collect();
        let mut candidates = self.candidates(partition, found)?;
        let waits = packed.iter().any(|file| self.shared.waits_to_unpack(*file));
        let booted = known.iter().any(|k| self.shared.lock().get(k.generation).is_some_and(|t| t.booted));
        let seen: Vec<Seen> = candidates.iter().map(|c| c.seen.clone()).collect();
        let mut contents = Opened {
            files: candidates.iter_mut().map(|c| std::mem::take(&mut c.content)).collect(),
            block_bytes: u64::from(self.shared.options.grain.block_bytes),
            open: Box::new({
                let shared = self.shared.clone();
                move |path| shared.open(path).ok().flatten().map(Arc::new)
            }),
        };
        let decisions = judge(&known, &seen, booted, &mut contents);
        for (candidate, slot) in candidates.iter_mut().zip(contents.files) {
            candidate.content = slot;
        }
        // Only where every file's place in the row is known can anybody tell which is the next.
        let in_doubt = |decision: &Decision| match decision {
            Decision::New { seen } => candidates[*seen].found.as_ref().is_some_and(|found| found.role.packed),
            Decision::Wait { reason, .. } => *reason != WaitReason::NoLine,
            _ => false,
        };
        let is_certain = !waits && !decisions.iter().any(in_doubt);
        // What waits to be unpacked may be what has lost its file.
        for decision in decisions.into_iter().filter(|decision| !(waits && matches!(decision, Decision::Gone { .. }))) {
            if !self.execute(partition, decision, is_certain, &known, &candidates)? {
                // New files come last, in the order in which they are read: those behind it wait with it.
                self.restless.insert(partition.to_owned());
                break;
            }
        }
        Ok(())
    }

    /// The facts about every file of a partition, each file once, and about those that only we hold.
    fn candidates(&self, partition: &Path, mut found: Vec<Found>) -> io::Result<Vec<Candidate>> {
        found.sort_by_key(|f| (f.file, f.role.rotated, f.path.clone()));
        found.dedup_by_key(|f| f.file);
        let mut candidates = Vec::new();
        for f in found {
            candidates.extend(self.candidate(f)?);
        }
        let held: Vec<(FileId, Generation, Arc<Content>)> = {
            let table = self.shared.lock();
            let own = table.own(partition).into_iter().filter_map(|g| table.get(g));
            own.filter_map(|t| Some((t.file?, t.generation, t.content.clone()?))).collect()
        };
        for (file, generation, content) in held {
            if candidates.iter().all(|c| c.seen.file != file) {
                let seen = facts(&content, file, Name::Unlinked, Some(generation))?;
                candidates.push(Candidate { found: None, seen, content: Slot::Open(content) });
            }
        }
        Ok(candidates)
    }

    /// `None` for a file that has changed its name since the look, or can't be read and is nobody's.
    fn candidate(&self, found: Found) -> io::Result<Option<Candidate>> {
        let name = if found.role.rotated { Name::Rotated } else { Name::Primary };
        let (file, written) = (found.file, found.mtime);
        let (held, owner, content) = {
            let table = self.shared.lock();
            let own = table.owner(file);
            let content = own.and_then(|t| t.content.clone()).filter(|c| !c.is_stale());
            let held = own.filter(|_| content.is_some()).map(|t| t.generation);
            let owner = own.map(|t| (t.consumed().evidence(), t.size, t.announced, t.met && t.stamp == stamp(&found)));
            (held, owner, content)
        };
        let by_owner = |unchanged| {
            let (evidence, size, complete, _) = owner.as_ref()?;
            let (size, complete) = (*size.max(&evidence.pos()), *complete.max(&evidence.pos()));
            let first_line = Some(evidence.first_line());
            Some(Seen { file, name, held, unchanged, written, size, complete, first_line })
        };
        if found.role.packed && owner.as_ref().is_some_and(|(.., unchanged)| *unchanged) {
            let content = Slot::Lazy(found.path.clone());
            return Ok(by_owner(true).map(|seen| Candidate { found: Some(found), seen, content }));
        }
        let opened = match content {
            Some(content) => Ok(Some(content)),
            None => self.shared.open(&found.path).map(|c| c.map(Arc::new)),
        };
        match opened {
            Ok(Some(content)) if content.identity()?.0 == file => {
                let seen = facts(&content, file, name, held)?;
                Ok(Some(Candidate { found: Some(found), seen, content: Slot::Open(content) }))
            }
            // Who owns what can't be read must not be taken for gone: it is told to wait.
            Err(_) => Ok(by_owner(false).map(|seen| Candidate { found: Some(found), seen, content: Slot::Failed })),
            Ok(_) => Err(io::Error::other("a file changed its name during the look")),
        }
    }

    /// Whether it was done; a new file waits where it does not show yet whether it goes on with a record of the one before.
    fn execute(
        &mut self,
        partition: &Path,
        decision: Decision,
        is_certain: bool,
        known: &[Known],
        candidates: &[Candidate],
    ) -> io::Result<bool> {
        match decision {
            Decision::Same { known: k, seen } => self.keep(known[k].generation, &candidates[seen], false),
            Decision::Adopt { known: k, seen } => {
                let back = self.shared.lock().get(known[k].generation).is_some();
                // What was released is not read again, whatever name it comes back under.
                if back {
                    self.keep(known[k].generation, &candidates[seen], true);
                } else {
                    self.skip(&candidates[seen]);
                }
            }
            Decision::Cut { known: k, seen, pos } => {
                self.cut(partition, known[k].generation, &candidates[seen], pos)?
            }
            Decision::New { seen } => {
                let candidate = &candidates[seen];
                match if is_certain { self.beginning(partition, candidate)? } else { Beginning::Own } {
                    Beginning::Own => self.open(partition, candidate, 0, None)?,
                    Beginning::Carried(carried) => self.open(partition, candidate, 0, Some(carried))?,
                    Beginning::Unknown => return Ok(false),
                }
            }
            Decision::Alias { seen, .. } => {
                let small = candidates[seen].seen.size < SMALL_BYTES;
                match self.shared.options.deliver_identical_small && small {
                    true => self.open(partition, &candidates[seen], 0, None)?,
                    false => self.skip(&candidates[seen]),
                }
            }
            Decision::Wait { reason: WaitReason::NoLine, .. } => {}
            Decision::Wait { .. } => _ = self.restless.insert(partition.to_owned()),
            Decision::Gone { known: k } => self.lose(known[k].generation),
        }
        Ok(true)
    }

    /// A generation has this file.
    fn keep(&self, generation: Generation, candidate: &Candidate, moved: bool) {
        self.shared.lock().place(generation, |tracked| {
            let renamed = candidate.found.as_ref().is_some_and(|f| *f.path != *tracked.path);
            let same = tracked.file == Some(candidate.seen.file);
            tracked.file = Some(candidate.seen.file);
            tracked.size = candidate.seen.size;
            match &candidate.content {
                Slot::Open(content) => tracked.content = Some(content.clone()),
                _ if same => {}
                _ => tracked.content = None,
            }
            match &candidate.found {
                Some(found) => meet(tracked, found),
                None => tracked.name = Name::Unlinked,
            }
            if moved {
                tracked.searched = tracked.announced;
                tracked.ended = false;
                tracked.vanishing = false;
            }
            let news = moved || renamed || std::mem::take(&mut tracked.booted);
            (tracked.met, tracked.doubtful) = (true, false);
            if news {
                self.shared.send_identity(tracked);
            }
        });
    }

    fn skip(&self, candidate: &Candidate) {
        if let Some(found) = &candidate.found {
            self.shared.lock().aliases.insert(found.file, stamp(found));
        }
    }

    /// A new generation in this file, of which the bytes before `spared` belong to an older one.
    fn open(&self, partition: &Path, candidate: &Candidate, spared: u64, carried: Option<Carried>) -> io::Result<()> {
        let (Some(first_line), Slot::Open(content)) = (candidate.seen.first_line, &candidate.content) else {
            return Err(io::Error::other("a new file could not be opened"));
        };
        let options = &self.shared.options;
        let mut tracker = Tracker::new(options.grain, first_line);
        while tracker.pos() < spared {
            let range = tracker.pos()..spared.min(tracker.pos() + (1 << 20));
            tracker.consume(&content.exactly(range)?.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        let id = PartitionId::derive(
            "sawlog.partition.file",
            &[options.source_id.as_bytes(), partition.as_os_str().as_encoded_bytes()],
        );
        let mut table = self.shared.lock();
        let cri = !pod_fields(partition, &options.pods).is_empty();
        let newcomer = Newcomer::of(first_line, &candidate.seen);
        let Recognised { generation, disamb, start } = self.shared.recognise(&mut table, &newcomer, content)?;
        let mut tracked = Tracked::new(generation, partition.into(), cri, tracker);
        (tracked.disamb, tracked.file, tracked.size) = (disamb, Some(candidate.seen.file), candidate.seen.size);
        tracked.content = Some(content.clone());
        let goes_on = carried.as_ref().map(|carried| (Generation(carried.from), carried.rest));
        tracked.set_passage(Passage { carried, gone_on: None });
        if let Some(found) = &candidate.found {
            meet(&mut tracked, found);
        }
        tracked.start = match start {
            Some(start) => start,
            None if options.from_end && table.first_start && spared == 0 => {
                content.last_line_end(0..candidate.seen.size, line_end(options.framing.encoding))?
            }
            None => 0,
        };
        let start = tracked.start;
        tracked.announced += start;
        tracked.floor = tracked.announced;
        tracked.searched = tracked.announced;
        let identity = tracked.identity(self.shared.boot_id);
        let (pos, identity) = (identity.evidence.pos(), Arc::<[u8]>::from(identity.encode()));
        tracked.journalled = Some(Kept { identity: Arc::clone(&identity), pos });
        table.aliases.remove(&candidate.seen.file);
        table.insert(id, tracked);
        drop(table);
        self.shared.outbox.send(SourceEvent::Opened { generation, partition: id, identity, start });
        if let Some((older, rest)) = goes_on {
            self.go_on(older, rest);
        }
        Ok(())
    }

    /// A power loss ate the end of the file: what it had is over, what comes is a generation of its own.
    fn cut(&self, partition: &Path, generation: Generation, candidate: &Candidate, pos: u64) -> io::Result<()> {
        let Slot::Open(content) = &candidate.content else { return Ok(()) };
        let pos = if pos < candidate.seen.size { content.last_line_end(0..pos, b"\n")? } else { pos };
        self.lose(generation);
        self.open(partition, candidate, pos, None)
    }

    fn lose(&self, generation: Generation) {
        let mut table = self.shared.lock();
        if let Some(tracked) = table.get_mut(generation) {
            let unread = tracked.announced.saturating_sub(tracked.floor);
            if unread > 0 || !tracked.met {
                let (from, size) = (tracked.floor, tracked.seen().size);
                tracing::warn!(%generation, path = %tracked.path.display(), from, size, "a file went away; what no sink had of it is lost, see `sawlog loss`");
            }
            // What was watched until it went got nothing more that anybody knows of.
            tracked.vanishing |= tracked.met && tracked.is_quiet();
            if tracked.met {
                self.shared.send_identity(tracked);
            }
        }
        let released = table.release(generation);
        drop(table);
        drop(released); // closed without the lock
        self.shared.outbox.send(SourceEvent::Gone { generation });
    }
}

fn stamp(found: &Found) -> (u64, i64) {
    (found.stored_bytes, found.mtime)
}

/// A look showed the generation's file.
fn meet(tracked: &mut Tracked, found: &Found) {
    let size = if found.role.packed { tracked.size } else { found.stored_bytes };
    if size > tracked.size || tracked.stamp != stamp(found) {
        tracked.grown_at = Moment::now();
    }
    tracked.size = size;
    tracked.stamp = stamp(found);
    if *tracked.path != *found.path {
        tracked.path = found.path.as_path().into();
    }
    tracked.name = if found.role.rotated { Name::Rotated } else { Name::Primary };
}

fn missing(tracked: &Tracked, found: &[Found]) -> bool {
    tracked.file.is_some_and(|file| found.iter().all(|f| f.file != file)) && tracked.name != Name::Unlinked
}

/// By partition; a file that is a generation's stays with it, whatever it is called now.
fn by_partition(found: Vec<Found>, table: &Table) -> BTreeMap<PathBuf, Vec<Found>> {
    let mut partitions: BTreeMap<PathBuf, Vec<Found>> = BTreeMap::new();
    for mut f in found {
        if let Some(owner) = table.owner(f.file).filter(|t| *t.partition_name != f.role.partition) {
            f.role.partition = owner.partition_name.to_path_buf();
        }
        partitions.entry(f.role.partition.clone()).or_default().push(f);
    }
    partitions
}

fn facts(content: &Content, file: FileId, name: Name, held: Option<Generation>) -> io::Result<Seen> {
    let size = content.size()?;
    let (written, complete) = (content.written()?, content.last_line_end(0..size, b"\n")?);
    Ok(Seen { file, name, held, unchanged: false, written, size, complete, first_line: content.first_line()? })
}
