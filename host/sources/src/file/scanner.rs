//! The thread that looks: when, at which folders, and what follows from a look. Which file is which generation is decided
//! by the core's judgement; here are only the facts for it and what it leads to.

use super::content::{Content, Opened, Slot};
use super::frame::line_end;
use super::reader::{self, Wanted};
use super::scan::{self, Found, Look};
use super::source::{Shared, Table};
use super::tracked::{Tracked, name_generation};
use super::watch::{Changes, Watch};
use sawlog_core::identity::{Decision, FileId, Known, Name, Seen, Tracker, WaitReason, judge};
use sawlog_core::ports::SourceEvent;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The longest time between two looks at everything.
const QUIET_POLL: Duration = Duration::from_secs(10);
/// Notices that come closer together are one look.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes framed for one announcement, so that a large file does not hold up the others.
const ANNOUNCE_BYTES: usize = 8 << 20;
/// Bytes consumed after which the journal hears of a file again, though it is not quiet.
const JOURNAL_BYTES: u64 = 16 << 20;
/// Time without a read after which a file is quiet.
const QUIET: Duration = Duration::from_secs(1);
/// Events that may wait before the look pauses.
const EVENTS_MAX: usize = 1 << 16;
/// Small enough to be written twice by chance, bytes.
const SMALL_BYTES: u64 = 4096;

/// Looks at folders and tells the core.
pub(super) struct Scanner {
    shared: Arc<Shared>,
    watch: Watch,
    looked_at: Option<Instant>,
    /// Partitions that have something to wait for: copies in the making, lines without an end.
    restless: BTreeSet<PathBuf>,
    finished: bool,
}

/// A file of a judgement.
struct Candidate {
    found: Option<Found>,
    seen: Seen,
    content: Slot,
}

impl Scanner {
    pub fn new(shared: Arc<Shared>, watch: Watch) -> Self {
        Self { shared, watch, looked_at: None, restless: BTreeSet::new(), finished: false }
    }

    /// Looks until the source is dropped.
    pub fn run(mut self) {
        let mut changes = Changes { everything: true, ..Changes::default() };
        while !self.shared.stop.load(Ordering::Acquire) {
            self.look(&changes);
            let wait = if self.restless.is_empty() { self.poll() } else { self.poll().min(Duration::from_millis(200)) };
            changes = self.watch.wait(wait);
            if !changes.folders.is_empty() || changes.everything {
                std::thread::sleep(GATHER);
                let more = self.watch.wait(Duration::ZERO);
                changes.folders.extend(more.folders);
                changes.everything |= more.everything;
            }
            while self.shared.outbox.len() > EVENTS_MAX && !self.shared.stop.load(Ordering::Acquire) {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn poll(&self) -> Duration {
        self.shared.options.poll_interval.clamp(Duration::from_millis(10), QUIET_POLL)
    }

    /// Whether it is time to look at everything though nobody told of changes: where the kernel does not tell, at every
    /// interval while files change, up to ten seconds while all are quiet.
    fn is_due(&self) -> bool {
        let Some(looked_at) = self.looked_at else { return true };
        let newest = self.shared.lock().generations.values().map(|t| t.grown_at.elapsed()).min();
        let pace = match newest {
            Some(quiet) if self.watch.blind => (quiet / 10).clamp(self.poll(), QUIET_POLL),
            None if self.watch.blind => self.poll(),
            _ => QUIET_POLL,
        };
        looked_at.elapsed() >= pace
    }

    fn look(&mut self, changes: &Changes) {
        let doubtful = self.shared.lock().generations.values().any(|t| t.doubtful);
        let partial = !changes.everything && !self.is_due() && !doubtful;
        if !partial || !self.look_at_folders(&changes.folders) {
            self.look_at_everything();
        }
        let waiting: Vec<PathBuf> = self.restless.iter().cloned().collect();
        if partial && !waiting.is_empty() {
            let folders = waiting.iter().filter_map(|p| if p.is_dir() { Some(p.as_path()) } else { p.parent() });
            let folders = folders.map(Path::to_owned).collect();
            if !self.look_at_folders(&folders) {
                self.look_at_everything();
            }
        }
        self.keep_house();
        self.finish();
    }

    fn look_at_everything(&mut self) {
        let look = scan::everything(&self.shared.options.names, &self.shared.roots);
        self.watch.follow(&look.folders);
        self.looked_at = Some(Instant::now());
        self.report_refused(&look);
        let mut partitions = by_partition(look.found);
        for tracked in self.shared.lock().generations.values() {
            partitions.entry(tracked.partition_name.to_path_buf()).or_default();
        }
        self.restless.clear();
        for (partition, found) in partitions {
            self.settle(&partition, found);
        }
        self.shared.lock().first_start = false;
    }

    /// Looks at some folders only; false where that does not tell enough.
    fn look_at_folders(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let mut found = Vec::new();
        for folder in folders {
            let look = scan::folder(folder, &self.shared.options.names, &self.shared.roots);
            self.report_refused(&look);
            found.extend(look.found);
        }
        let mut partitions = by_partition(found);
        {
            let table = self.shared.lock();
            for tracked in table.generations.values().filter(|t| t.path.parent().is_some_and(|p| folders.contains(p))) {
                partitions.entry(tracked.partition_name.to_path_buf()).or_default();
            }
            let elsewhere = |t: &Tracked| partitions.get(&*t.partition_name).is_some_and(|found| missing(t, found));
            if table.generations.values().any(elsewhere) {
                return false;
            }
        }
        for (partition, found) in partitions {
            self.restless.remove(&partition);
            self.settle(&partition, found);
        }
        true
    }

    fn report_refused(&self, look: &Look) {
        let mut table = self.shared.lock();
        for (path, refusal) in &look.refused {
            if table.refused.insert(path.clone(), refusal.clone()).as_ref() != Some(refusal) {
                tracing::warn!(source = self.shared.options.source_id, "{refusal}");
            }
        }
    }

    /// Finds out what became of a partition's files and announces what they have to read.
    fn settle(&mut self, partition: &Path, found: Vec<Found>) {
        if !self.is_plain_growth(partition, &found)
            && let Err(error) = self.judge(partition, found)
        {
            tracing::warn!(partition = %partition.display(), %error, "files can't be looked at now; trying again");
            self.restless.insert(partition.to_owned());
        }
        let generations = generations_of(&self.shared.lock(), partition);
        for generation in generations {
            if let Err(error) = self.announce(generation) {
                tracing::debug!(%generation, %error, "a file can't be read now; trying again");
                self.restless.insert(partition.to_owned());
            }
        }
    }

    /// The common case: every file is known and none shrank. Whether its bytes still are the same is tested at every read.
    fn is_plain_growth(&self, partition: &Path, found: &[Found]) -> bool {
        let mut table = self.shared.lock();
        let Table { generations, aliases, .. } = &mut *table;
        let mut own: BTreeMap<FileId, &mut Tracked> = BTreeMap::new();
        for tracked in generations.values_mut().filter(|t| &*t.partition_name == partition) {
            match tracked.file {
                Some(file) if tracked.met && !tracked.doubtful && file.btime.is_some() => _ = own.insert(file, tracked),
                _ => return false,
            }
        }
        let files: BTreeSet<FileId> = found.iter().map(|f| f.file).collect();
        let known = |f: &Found| match own.get(&f.file) {
            Some(tracked) if f.role.packed => tracked.stamp == stamp(f),
            Some(tracked) => f.stored_bytes >= tracked.consumed.pos().max(tracked.announced),
            None => aliases.get(&f.file) == Some(&stamp(f)),
        };
        if !found.iter().all(known) || !own.keys().all(|file| files.contains(file)) {
            return false;
        }
        for f in found {
            if let Some(tracked) = own.get_mut(&f.file) {
                meet(tracked, f);
            }
        }
        true
    }

    fn judge(&mut self, partition: &Path, found: Vec<Found>) -> io::Result<()> {
        let known = self.known(partition);
        let mut candidates = self.candidates(partition, found)?;
        let booted = known.iter().any(|k| self.shared.lock().generations.get(&k.generation).is_some_and(|t| t.booted));
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
        for decision in decisions {
            self.execute(partition, decision, &known, &candidates)?;
        }
        Ok(())
    }

    fn known(&self, partition: &Path) -> Vec<Known> {
        let table = self.shared.lock();
        let mut own: Vec<&Tracked> = table.generations.values().filter(|t| &*t.partition_name == partition).collect();
        own.sort_by_key(|t| t.number);
        let gone = table.gone.get(partition).into_iter().flatten().cloned();
        own.iter().map(|t| t.known()).chain(gone).collect()
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
            let own = table.generations.values().filter(|t| &*t.partition_name == partition);
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
        let file = found.file;
        let (held, owner, content) = {
            let table = self.shared.lock();
            let own = table.generations.values().find(|t| t.file == Some(file));
            let content = own.and_then(|t| t.content.clone()).filter(|c| !c.is_stale());
            let held = own.filter(|_| content.is_some()).map(|t| t.generation);
            let owner = own.map(|t| (t.consumed.evidence(), t.size, t.announced, t.met && t.stamp == stamp(&found)));
            (held, owner, content)
        };
        let by_owner = |unchanged| {
            let (evidence, size, complete, _) = owner.as_ref()?;
            let (size, complete) = (*size.max(&evidence.pos()), *complete.max(&evidence.pos()));
            let first_line = Some(evidence.first_line());
            Some(Seen { file, name, held, unchanged, size, complete, first_line })
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

    fn execute(
        &mut self,
        partition: &Path,
        decision: Decision,
        known: &[Known],
        candidates: &[Candidate],
    ) -> io::Result<()> {
        match decision {
            Decision::Same { known: k, seen } => self.keep(known[k].generation, &candidates[seen], false),
            Decision::Adopt { known: k, seen } => {
                let back = self.shared.lock().generations.contains_key(&known[k].generation);
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
            Decision::New { seen } => self.open(partition, &candidates[seen], 0)?,
            Decision::Alias { seen, .. } => {
                let small = candidates[seen].seen.size < SMALL_BYTES;
                match self.shared.options.deliver_identical_small && small {
                    true => self.open(partition, &candidates[seen], 0)?,
                    false => self.skip(&candidates[seen]),
                }
            }
            Decision::Wait { reason: WaitReason::NoLine, .. } => {}
            Decision::Wait { .. } => _ = self.restless.insert(partition.to_owned()),
            Decision::Gone { known: k } => self.lose(known[k].generation),
        }
        Ok(())
    }

    /// A generation has this file.
    fn keep(&self, generation: Generation, candidate: &Candidate, moved: bool) {
        let mut table = self.shared.lock();
        let Some(tracked) = table.generations.get_mut(&generation) else { return };
        let renamed = candidate.found.as_ref().is_some_and(|f| f.path != tracked.path);
        tracked.file = Some(candidate.seen.file);
        tracked.size = candidate.seen.size;
        if let Slot::Open(content) = &candidate.content {
            tracked.content = Some(content.clone());
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
    }

    fn skip(&self, candidate: &Candidate) {
        if let Some(found) = &candidate.found {
            self.shared.lock().aliases.insert(found.file, stamp(found));
        }
    }

    /// A new generation in this file, of which the bytes before `spared` belong to an older one.
    fn open(&self, partition: &Path, candidate: &Candidate, spared: u64) -> io::Result<()> {
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
        table.opened += 1;
        let (generation, disamb) =
            name_generation(&mut table.disambs, &options.agent_id, &options.source_id, first_line);
        let mut tracked = Tracked::new(generation, partition.into(), id, table.opened, tracker);
        (tracked.disamb, tracked.file, tracked.size) = (disamb, Some(candidate.seen.file), candidate.seen.size);
        tracked.content = Some(content.clone());
        if let Some(found) = &candidate.found {
            meet(&mut tracked, found);
        }
        let from_end = options.from_end && table.first_start && spared == 0;
        if from_end {
            let unit = line_end(options.framing.encoding);
            tracked.announced = content.last_line_end(0..candidate.seen.size, unit)?;
            tracked.floor = tracked.announced;
            tracked.searched = tracked.announced;
        }
        let start = tracked.position(tracked.announced);
        let identity = tracked.identity(self.shared.boot_id);
        tracked.journalled = Some(identity.evidence.pos());
        table.partitions.insert(id, tracked.partition_name.clone());
        table.aliases.remove(&candidate.seen.file);
        table.generations.insert(generation, tracked);
        drop(table);
        let identity = identity.encode();
        self.shared.outbox.send(SourceEvent::Opened { generation, partition: id, identity, start });
        Ok(())
    }

    /// A power loss ate the end of the file: what it had is over, what comes is a generation of its own.
    fn cut(&self, partition: &Path, generation: Generation, candidate: &Candidate, pos: u64) -> io::Result<()> {
        let Slot::Open(content) = &candidate.content else { return Ok(()) };
        let pos = if pos < candidate.seen.size { content.last_line_end(0..pos, b"\n")? } else { pos };
        self.lose(generation);
        self.open(partition, candidate, pos)
    }

    fn lose(&self, generation: Generation) {
        let mut table = self.shared.lock();
        if let Some(tracked) = table.generations.get(&generation) {
            let unread = tracked.announced.saturating_sub(tracked.floor);
            if unread > 0 || !tracked.met {
                tracing::warn!(%generation, path = %tracked.path.display(), from = tracked.floor, "a file went away; what no sink had of it is lost");
            }
        }
        table.release(generation);
        drop(table);
        self.shared.outbox.send(SourceEvent::Gone { generation });
    }

    /// Tells how far complete records of a generation reach.
    fn announce(&mut self, generation: Generation) -> io::Result<()> {
        let Some((size, from, searched, framing)) = self.shared.lock().generations.get(&generation).map(|t| {
            (t.size, t.announced, t.searched.max(t.announced), self.shared.options.framing_of(&t.partition_name))
        }) else {
            return Ok(());
        };
        if size <= searched {
            return Ok(());
        }
        let Some(content) = self.shared.content(generation)? else { return Ok(()) };
        let simple = !framing.cri && framing.multiline.is_none();
        let mut end = from;
        if simple {
            let unit = line_end(framing.encoding);
            let last = content.last_line_end(searched..size, unit)?;
            end = if last > searched { last } else { from };
        } else {
            let splits = self.shared.lock().generations.get(&generation).map(|t| t.splits.clone()).unwrap_or_default();
            let wanted = Wanted {
                framing: &framing,
                splits: &splits,
                from,
                to: size,
                bytes_max: ANNOUNCE_BYTES,
                records_max: usize::MAX,
                open: None,
            };
            let open_ended = reader::read(&content, &Wanted { to: u64::MAX, ..wanted })?;
            end = open_ended.and_then(|r| r.framed.records.last().map(|r| r.end)).unwrap_or(end);
        }
        let mut table = self.shared.lock();
        let Some(tracked) = table.generations.get_mut(&generation) else { return Ok(()) };
        tracked.searched = if simple { size } else { end };
        if end > tracked.announced {
            tracked.announced = end;
            tracked.ended = false;
            let end = tracked.position(end);
            drop(table);
            self.shared.outbox.send(SourceEvent::Available { generation, end });
        }
        Ok(())
    }

    /// What follows from the passing of time: decided ends, last bytes, rescue, rest.
    fn keep_house(&mut self) {
        let mut table = self.shared.lock();
        for tracked in table.generations.values_mut() {
            let waits = self.shared.decide_ends(tracked);
            if waits {
                self.restless.insert(tracked.partition_name.to_path_buf());
            }
        }
        table.close_surplus(self.shared.options.open_files_max);
    }

    /// Where the source is to end: it does once everything that is there was announced.
    fn finish(&mut self) {
        if self.finished || !self.shared.options.until_eof || !self.restless.is_empty() {
            return;
        }
        let all = self.shared.lock().generations.values().all(|t| t.announced >= t.size && t.ended);
        if all {
            self.finished = true;
            self.shared.outbox.send(SourceEvent::Finished);
        }
    }
}

impl Shared {
    /// Decides the ends that nobody writes; whether something is still waited for.
    fn decide_ends(&self, tracked: &mut Tracked) -> bool {
        let options = &self.options;
        let idle = tracked.grown_at.elapsed();
        let over = (tracked.name != Name::Primary && idle >= options.rotate_wait) || options.until_eof;
        let joins = options.framing_of(&tracked.partition_name);
        let joins = joins.multiline.is_some() || joins.cri;
        let rest = tracked.size > tracked.announced && tracked.met;
        if rest && (over || (joins && idle >= options.idle_timeout)) {
            self.split(tracked, over);
        }
        if over && tracked.announced >= tracked.size && !tracked.ended {
            tracked.ended = true;
            let (generation, len) = (tracked.generation, tracked.position(tracked.announced));
            self.outbox.send(SourceEvent::Ended { generation, len });
        }
        if over && tracked.ended && tracked.name == Name::Unlinked && !tracked.vanishing {
            tracked.vanishing = true;
            let (generation, end) = (tracked.generation, tracked.position(tracked.announced));
            self.outbox.send(SourceEvent::Vanishing { generation, end });
        }
        let consumed = tracked.consumed.pos();
        let quiet = tracked.read_at.elapsed() >= QUIET;
        let news = tracked.journalled.is_none_or(|at| consumed > at);
        if news && (quiet || tracked.journalled.is_none_or(|at| consumed - at >= JOURNAL_BYTES)) {
            self.send_identity(tracked);
        }
        if quiet {
            tracked.consumed.rest();
        }
        let waits_for_end = rest && (tracked.name != Name::Primary || joins);
        waits_for_end || (tracked.name != Name::Primary && !tracked.ended) || (news && !quiet)
    }

    /// Journals an end, then announces it: of all that is there, or of the record that its last whole line may end.
    fn split(&self, tracked: &mut Tracked, over: bool) {
        let Some(content) = tracked.content.clone() else { return };
        let framing = self.framing(tracked);
        let unit = line_end(framing.encoding);
        let at = match over {
            true => Ok(tracked.size),
            false => content.last_line_end(tracked.announced..tracked.size, unit),
        };
        let Ok(at) = at else { return };
        if at <= tracked.announced {
            return;
        }
        let mut splits = (*tracked.splits).clone();
        if let Ok(last) = content.last_line_end(tracked.announced..tracked.size, unit)
            && last > tracked.announced
            && (framing.cri || framing.multiline.is_some())
        {
            splits.insert(last);
        }
        splits.insert(at);
        tracked.splits = Arc::new(splits);
        self.send_identity(tracked);
        tracked.announced = at;
        tracked.searched = at;
        let (generation, end) = (tracked.generation, tracked.position(at));
        self.outbox.send(SourceEvent::Available { generation, end });
    }

    fn framing(&self, tracked: &Tracked) -> super::frame::Framing {
        self.options.framing_of(&tracked.partition_name)
    }
}

impl Table {
    /// Closes files that are read to their end: rotated ones, and the quietest of more than `max`.
    fn close_surplus(&mut self, max: usize) {
        let mut open: Vec<&mut Tracked> = self
            .generations
            .values_mut()
            .filter(|t| t.content.is_some() && t.name != Name::Unlinked && t.is_quiet())
            .collect();
        let surplus = open.len().saturating_sub(max);
        open.sort_by_key(|t| (t.name == Name::Primary, t.grown_at));
        for (i, tracked) in open.into_iter().enumerate() {
            let keep =
                tracked.name == Name::Primary || !tracked.ended || tracked.file.is_none_or(|f| f.btime.is_none());
            if i < surplus || !keep {
                tracked.content = None;
            }
        }
    }
}

fn stamp(found: &Found) -> (u64, i64) {
    (found.stored_bytes, found.mtime)
}

/// A look showed the generation's file.
fn meet(tracked: &mut Tracked, found: &Found) {
    let size = if found.role.packed { tracked.size } else { found.stored_bytes };
    if size > tracked.size || tracked.stamp != stamp(found) {
        tracked.grown_at = Instant::now();
    }
    tracked.size = size;
    tracked.stamp = stamp(found);
    tracked.path.clone_from(&found.path);
    tracked.name = if found.role.rotated { Name::Rotated } else { Name::Primary };
}

fn missing(tracked: &Tracked, found: &[Found]) -> bool {
    tracked.file.is_some_and(|file| found.iter().all(|f| f.file != file)) && tracked.name != Name::Unlinked
}

fn generations_of(table: &Table, partition: &Path) -> Vec<Generation> {
    let mut own: Vec<&Tracked> = table.generations.values().filter(|t| &*t.partition_name == partition).collect();
    own.sort_by_key(|t| t.number);
    own.iter().map(|t| t.generation).collect()
}

fn by_partition(found: Vec<Found>) -> BTreeMap<PathBuf, Vec<Found>> {
    let mut partitions: BTreeMap<PathBuf, Vec<Found>> = BTreeMap::new();
    for f in found {
        partitions.entry(f.role.partition.clone()).or_default().push(f);
    }
    partitions
}

fn facts(content: &Content, file: FileId, name: Name, held: Option<Generation>) -> io::Result<Seen> {
    let size = content.size()?;
    let complete = content.last_line_end(0..size, b"\n")?;
    Ok(Seen { file, name, held, unchanged: false, size, complete, first_line: content.first_line()? })
}
