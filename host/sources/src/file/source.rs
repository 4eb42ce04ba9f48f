//! The file source as the core sees it: events, reads, anchors. Reads are of the page cache mostly and block; looking at
//! folders is another thread's.

use super::carry;
use super::content::Content;
use super::frame::Framing;
use super::moment::Moment;
use super::open::{Refusal, Roots};
use super::options::FileOptions;
use super::outbox::Outbox;
use super::pattern::pod_fields;
use super::reader::{self, Records, Wanted};
use super::record::Identity;
use super::scanner::Scanner;
use super::table::Table;
use super::tracked::{Kept, Tracked};
use super::watch::{Kernel, Waker, Watch};
use async_trait::async_trait;
use sawlog_core::identity::{Anchor, Held, Name, Newcomer, Recognised, file_hash, hash_of};
use sawlog_core::journal::Whereabouts;
use sawlog_core::ports::{ReadError, ReadLimits, Source, SourceEvent};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What the thread that looks and the callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub options: FileOptions,
    pub roots: Roots,
    pub table: Mutex<Table>,
    pub outbox: Outbox,
    pub waker: Waker,
    pub stop: AtomicBool,
    pub boot_id: [u8; 8],
    /// Times that a packed file was unpacked, whether or not it could be.
    pub unpackings: AtomicU64,
    framing: [Arc<Framing>; 2],
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the bytes of a generation become records.
    pub fn framing(&self, cri: bool) -> &Framing {
        &self.framing[usize::from(cri)]
    }

    /// The open file of a generation, opened again if it was closed meanwhile. `None` where its file is gone.
    pub fn content(&self, generation: Generation) -> io::Result<Option<Arc<Content>>> {
        let (path, file) = match self.lock().get(generation) {
            Some(Tracked { content: Some(content), .. }) => return Ok(Some(content.clone())),
            Some(Tracked { file: Some(file), path, .. }) => (path.clone(), *file),
            _ => return Ok(None),
        };
        let Some(content) = self.open(&path)? else { return Err(io::ErrorKind::NotFound.into()) };
        if content.identity()?.0 != file {
            return Err(io::Error::other("another file has its name; the next look tells where it went"));
        }
        let content = Arc::new(content);
        if let Some(tracked) = self.lock().get_mut(generation).filter(|t| t.file == Some(file)) {
            tracked.content = Some(content.clone());
        }
        Ok(Some(content))
    }

    /// Opens `path`, unpacked if it is packed; `None` where nothing has that name.
    pub fn open(&self, path: &Path) -> io::Result<Option<Content>> {
        let refuse = |refusal: Refusal| {
            let error = io::Error::other(refusal.to_string());
            self.refuse(path, refusal);
            error
        };
        let Some(file) = self.roots.open(path).map_err(refuse)? else { return Ok(None) };
        if !self.options.names.role(path).is_some_and(|role| role.packed) {
            return Ok(Some(Content::plain(file)));
        }
        self.unpack(path, file).map(Some)
    }

    /// Hash of the bytes before `offset` that the anchor of a cursor there is made of; `None` where the file ends before.
    pub fn hash_before(&self, content: &Content, offset: u64) -> io::Result<Option<u64>> {
        let range = offset.saturating_sub(u64::from(self.options.grain.anchor_bytes))..offset;
        Ok(content.exactly(range)?.map(|bytes| hash_of(&bytes)))
    }

    /// Which generation a new file is: one that a sink holds a cursor of, or the next.
    pub fn recognise(&self, table: &mut Table, newcomer: &Newcomer, content: &Content) -> io::Result<Recognised> {
        let names = (self.options.agent_id.as_str(), self.options.source_id.as_str());
        let mut hash = |pos| self.hash_before(content, pos).ok().flatten();
        let recognised = table.held.recognise(names, &mut table.disambs, newcomer, &mut hash);
        recognised.ok_or_else(|| io::Error::other("a new file can't be read now; the next look tries again"))
    }

    /// Notes that a file is not read, and says so where that is news.
    pub fn refuse(&self, path: &Path, refusal: Refusal) {
        if self.lock().refused.insert(path.to_owned(), refusal.clone()).as_ref() != Some(&refusal) {
            tracing::warn!(source = self.options.source_id, "{refusal}");
        }
    }

    /// Sends what the journal is to keep of a generation.
    pub fn send_identity(&self, tracked: &mut Tracked) {
        let identity = tracked.identity(self.boot_id);
        let (pos, seen, identity) = (identity.evidence.pos(), identity.seen, Arc::from(identity.encode()));
        tracked.journalled = Some(Kept { identity: Arc::clone(&identity), pos });
        (tracked.journalled_at, tracked.seen) = (Moment::now(), seen);
        let generation = tracked.generation;
        self.outbox.send(SourceEvent::Identity { generation, identity });
    }
}

/// Figures of a source, for metrics and for people.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    /// Generations that a file holds.
    pub files: usize,
    /// Of these, held open.
    pub open_files: usize,
    /// Announced bytes that may be read again.
    pub unread_bytes: u64,
    /// Bytes that only an open descriptor keeps.
    pub pinned_bytes: u64,
    /// Times that a packed file was unpacked, whether or not it could be.
    pub unpackings: u64,
    /// Names that are not read, each with its reason.
    pub refused: Vec<Refusal>,
}

/// A file, for people. Offsets are of the file, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileView {
    /// Its newest name.
    pub path: PathBuf,
    /// What its partition is called.
    pub partition: PathBuf,
    /// Its generation.
    pub generation: Generation,
    /// Its length when it was last looked at.
    pub size: u64,
    /// Up to where whole records were found.
    pub announced: u64,
    /// Up to where every sink has finished.
    pub floor: u64,
    /// Whether it is held open.
    pub is_open: bool,
    /// Whether a file holds it still.
    pub is_there: bool,
}

/// Reads lines of files through rotation.
#[derive(Debug)]
pub struct FileSource {
    shared: Arc<Shared>,
    watch: Mutex<Option<Watch>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FileSource {
    /// A source that looks at nothing until [`Source::restore`]. Without a `kernel` that tells of changes it polls. Fails where
    /// the system gives no descriptors for waiting.
    pub fn new(options: FileOptions, kernel: Option<Kernel>) -> io::Result<Self> {
        let watch = Watch::new(kernel)?;
        let roots = Roots::new(options.names.roots().chain(options.roots.iter().map(PathBuf::as_path)));
        let boot_id = hash_of(options.boot_id.as_bytes()).to_le_bytes();
        let waker = watch.waker();
        let (table, outbox, stop) = (Mutex::default(), Outbox::default(), AtomicBool::new(false));
        let framing = [false, true]
            .map(|pod| Framing { cri: pod || options.framing.cri, ..options.framing.clone() })
            .map(Arc::new);
        let unpackings = AtomicU64::new(0);
        let shared = Arc::new(Shared { options, roots, table, outbox, waker, stop, boot_id, unpackings, framing });
        Ok(Self { shared, watch: Mutex::new(Some(watch)), thread: Mutex::new(None) })
    }

    /// Fields that every record of a partition gets: the pod's, below the pods' folder.
    pub fn fields(&self, partition: PartitionId) -> Vec<(String, String)> {
        let name = self.shared.lock().name(partition);
        name.map(|name| pod_fields(&name, &self.shared.options.pods)).unwrap_or_default()
    }

    /// What a partition is called: its live path, or its container's folder.
    pub fn partition_name(&self, partition: PartitionId) -> Option<Arc<Path>> {
        self.shared.lock().name(partition)
    }

    /// Figures of now.
    pub fn status(&self) -> Status {
        let table = self.shared.lock();
        let held = || table.all().filter(|t| t.file.is_some());
        let pinned = |t: &&Tracked| t.name == Name::Unlinked && t.content.is_some();
        Status {
            files: held().count(),
            open_files: held().filter(|t| t.content.is_some()).count(),
            unread_bytes: held().map(|t| t.announced.saturating_sub(t.floor)).sum(),
            pinned_bytes: held().filter(pinned).map(|t| t.size).sum(),
            unpackings: self.shared.unpackings.load(Ordering::Relaxed),
            refused: table.refused.values().cloned().collect(),
        }
    }

    /// All files, in the order of their generations' ids.
    pub fn files(&self) -> Vec<FileView> {
        let table = self.shared.lock();
        let view = |tracked: &Tracked| FileView {
            path: tracked.path.to_path_buf(),
            partition: tracked.partition_name.to_path_buf(),
            generation: tracked.generation,
            size: tracked.size,
            announced: tracked.announced,
            floor: tracked.floor,
            is_open: tracked.content.is_some(),
            is_there: tracked.file.is_some(),
        };
        table.all().map(view).collect()
    }

    fn read_records(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        limits: ReadLimits,
    ) -> io::Result<Option<(u64, Records)>> {
        let Some(content) = self.shared.content(generation)? else { return Ok(None) };
        let (base, splits, open, framing, passage) = {
            let table = self.shared.lock();
            let Some(tracked) = table.get(generation) else { return Ok(None) };
            let from = from + tracked.base;
            let open = tracked.open_at.as_ref().filter(|(at, _)| *at == from).map(|(_, open)| open.to_vec());
            let framing = self.shared.framing(tracked.cri);
            (tracked.base, tracked.splits.clone(), open, framing, tracked.passage.clone())
        };
        let whole = from + base..to.saturating_add(base);
        let Some(Range { start: from, end: to }) = carry::around(passage.gone_on, whole) else {
            return Err(io::Error::other("no whole record there yet"));
        };
        let ReadLimits { bytes_max, records_max } = limits;
        let lead = passage.carried.as_ref().map_or(&[][..], |carried| &carried.lines);
        let low = passage.gone_on.map_or(0, |(_, end)| if from >= end { end } else { 0 });
        let wanted = Wanted { framing, splits: &splits, from, to, bytes_max, records_max, open, lead, low };
        let records = reader::read(&content, &wanted)?.ok_or_else(|| io::Error::other("no whole record there yet"))?;
        self.take_note(generation, &content, &records)?;
        Ok(Some((base, records)))
    }

    /// The judgement's cheap test, after the bytes were read: what was truncated before is found now, what is truncated
    /// later does not matter.
    fn take_note(&self, generation: Generation, content: &Content, records: &Records) -> io::Result<()> {
        let Some(consumed) = self.shared.lock().get(generation).map(|t| t.consumed.clone()) else { return Ok(()) };
        let stands = {
            let mut consumed = consumed.lock().unwrap_or_else(PoisonError::into_inner);
            let stands = consumed.stands(content)?;
            if stands {
                consumed.consume(content, records)?;
            }
            stands
        };
        let mut table = self.shared.lock();
        if !stands {
            table.doubt = true;
            table.get_mut(generation).into_iter().for_each(|t| t.doubtful = true);
            drop(table);
            self.shared.waker.wake();
            return Err(io::Error::other(
                "the file holds other bytes than before; the next look tells what became of it",
            ));
        }
        if let Some(tracked) = table.get_mut(generation) {
            tracked.read_at = Moment::now();
            let open = || records.framed.open.as_slice().into();
            tracked.open_at = records.framed.records.last().map(|last| (last.end, open()));
            table.awake.insert(generation);
        }
        Ok(())
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.waker.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks for files had panicked");
        }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn restore(&self, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {
        let mut table = self.shared.lock();
        table.first_start = known.is_empty() && table.held.is_first_start();
        for (generation, partition, bytes, floor) in known {
            match Identity::decode(&bytes) {
                Ok(identity) => {
                    let cri = !pod_fields(&identity.partition, &self.shared.options.pods).is_empty();
                    table.restore(generation, partition, cri, (identity, bytes), floor, self.shared.boot_id);
                }
                Err(error) => {
                    tracing::error!(%generation, %error, "a file can't be found again; what it still held is lost");
                    self.shared.outbox.send(SourceEvent::Gone { generation });
                }
            }
        }
        table.order();
        drop(table);
        let Some(watch) = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let shared = self.shared.clone();
        let looking =
            std::thread::Builder::new().name("file-watch".into()).spawn(move || Scanner::new(shared, watch).run());
        match looking {
            Ok(thread) => *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            Err(error) => {
                tracing::error!(%error, "no thread to look for files: nothing will be read; raise the limit of threads")
            }
        }
    }

    fn recognises(&self) -> bool {
        true
    }

    fn says_met(&self) -> bool {
        true
    }

    async fn hold(&self, held: Held) {
        if held.is_partial() {
            tracing::warn!(
                source = self.shared.options.source_id,
                "a sink has not said what it holds: should the data directory have been lost, files that it had cursors of are \
                 new to it, and sent again, or begun at their end where `read_from` says so; to prevent that, stop the agent \
                 until the sink can be reached"
            );
        }
        self.shared.lock().held = held;
    }

    async fn event(&self) -> SourceEvent {
        self.shared.outbox.next().await
    }

    async fn read(&self, generation: Generation, from: u64, to: u64, limits: ReadLimits) -> Result<Input, ReadError> {
        let read = self.read_records(generation, from, to, limits);
        let Some((base, records)) = read.map_err(|e| ReadError::Unavailable(e.to_string()))? else {
            return Err(ReadError::Gone);
        };
        let Records { arena, framed, .. } = records;
        let mut input = Input { generation, arena, records: framed.records, open: framed.open };
        if base > 0 {
            input.records.iter_mut().for_each(|r| (r.pos, r.end) = (r.pos - base, r.end - base));
            input.open.iter_mut().for_each(|start| *start -= base);
        }
        Ok(input)
    }

    async fn anchor(&self, generation: Generation, pos: u64) -> Vec<u8> {
        let known = self.shared.lock().get(generation).and_then(|t| Some((t.base, t.start, t.disamb, t.file?)));
        let Some((base, start, disamb, file)) = known else { return Vec::new() };
        let hash = match self.shared.content(generation) {
            Ok(Some(content)) => self.shared.hash_before(&content, pos + base).ok().flatten(),
            _ => None,
        };
        hash.map(|bytes| Anchor { bytes, file: file_hash(file), disamb, start }.encode()).unwrap_or_default()
    }

    async fn oldest(&self, generation: Generation) -> Option<u64> {
        Some(self.shared.lock().get_mut(generation)?.start)
    }

    async fn written(&self, generation: Generation) -> Option<i64> {
        self.shared.content(generation).ok()??.written().ok()
    }

    fn whereabouts(&self, identity: &[u8]) -> Option<Whereabouts> {
        let Identity { path, file, base, seen, passage, evidence, .. } = Identity::decode(identity).ok()?;
        // What was carried into the next file is not lost with this one.
        let end = passage.gone_on.filter(|(_, end)| *end == seen.size).map_or(seen.size, |(from, _)| from);
        let is_rotated = self.shared.options.names.role(&path).is_some_and(|role| role.rotated);
        Some(Whereabouts {
            path: path.to_string_lossy().into_owned(),
            file,
            base,
            end: end.saturating_sub(base),
            at_least: !(seen.is_all || is_rotated && evidence.pos() >= seen.size),
        })
    }

    async fn trim(&self, generation: Generation, floor: u64) {
        let mut table = self.shared.lock();
        if let Some(tracked) = table.get_mut(generation) {
            let floor = tracked.base.saturating_add(floor);
            if std::mem::replace(&mut tracked.floor, floor) != floor {
                table.awake.insert(generation);
            }
        }
    }

    async fn release(&self, generation: Generation) {
        let released = self.shared.lock().release(generation);
        drop(released); // closed without the lock
    }
}
