//! The file source as the core sees it: events, reads, anchors. Reads are of the page cache mostly and block; looking at
//! folders is another thread's.

use super::content::Content;
use super::open::{Refusal, Roots};
use super::options::FileOptions;
use super::outbox::Outbox;
use super::pattern::pod_fields;
use super::reader::{self, Records, Wanted};
use super::record::Identity;
use super::scanner::Scanner;
use super::tracked::Tracked;
use super::watch::{Waker, Watch};
use async_trait::async_trait;
use sawlog_core::identity::{Disambs, FileId, Known, hash_of};
use sawlog_core::ports::{ReadError, ReadLimits, Source, SourceEvent};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Everything known of the files.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub generations: BTreeMap<Generation, Tracked>,
    /// What is gone, the latest of each partition: copies of it turn up late.
    pub gone: BTreeMap<PathBuf, VecDeque<Known>>,
    /// Files that are copies, by their size and change time when they were found to be.
    pub aliases: BTreeMap<FileId, (u64, i64)>,
    pub disambs: Disambs,
    pub partitions: BTreeMap<PartitionId, Arc<Path>>,
    pub refused: BTreeMap<PathBuf, Refusal>,
    pub opened: u64,
    /// Whether the journal knew nothing, and nothing has been looked at yet.
    pub first_start: bool,
}

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
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file of a generation, opened again if it was closed meanwhile. `None` where its file is gone.
    pub fn content(&self, generation: Generation) -> io::Result<Option<Arc<Content>>> {
        let (path, file) = match self.lock().generations.get(&generation) {
            Some(Tracked { content: Some(content), .. }) => return Ok(Some(content.clone())),
            Some(Tracked { file: Some(file), path, .. }) => (path.clone(), *file),
            _ => return Ok(None),
        };
        let Some(content) = self.open(&path)? else { return Err(io::ErrorKind::NotFound.into()) };
        if content.identity()?.0 != file {
            return Err(io::Error::other("another file has its name; the next look tells where it went"));
        }
        let content = Arc::new(content);
        if let Some(tracked) = self.lock().generations.get_mut(&generation).filter(|t| t.file == Some(file)) {
            tracked.content = Some(content.clone());
        }
        Ok(Some(content))
    }

    /// Opens `path`, unpacked if it is packed; `None` where nothing has that name.
    pub fn open(&self, path: &Path) -> io::Result<Option<Content>> {
        let refuse = |refusal: Refusal| {
            let error = io::Error::other(refusal.to_string());
            self.lock().refused.insert(path.to_owned(), refusal);
            error
        };
        let Some(file) = self.roots.open(path).map_err(refuse)? else { return Ok(None) };
        if !self.options.names.role(path).is_some_and(|role| role.packed) {
            return Ok(Some(Content::plain(file)));
        }
        let bytes_max = self.options.unpacked_bytes_max;
        match Content::packed(file, &self.options.scratch, bytes_max) {
            Ok(content) => Ok(Some(content)),
            Err(super::content::UnpackError::Io(error)) => Err(error),
            Err(super::content::UnpackError::TooMuch) => {
                Err(refuse(Refusal::TooMuch { path: path.to_owned(), bytes_max }))
            }
        }
    }

    /// Sends what the journal is to keep of a generation.
    pub fn send_identity(&self, tracked: &mut Tracked) {
        let identity = tracked.identity(self.boot_id);
        tracked.journalled = Some(identity.evidence.pos());
        let (generation, identity) = (tracked.generation, identity.encode());
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
    /// Names that are not read, each with its reason.
    pub refused: Vec<Refusal>,
}

/// Reads lines of files through rotation.
#[derive(Debug)]
pub struct FileSource {
    shared: Arc<Shared>,
    watch: Mutex<Option<Watch>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FileSource {
    /// A source that looks at nothing until [`Source::restore`]. `notices` false polls only. Fails where the system gives
    /// no descriptors for waiting.
    pub fn new(options: FileOptions, notices: bool) -> io::Result<Self> {
        let watch = Watch::new(notices)?;
        let roots = Roots::new(options.names.roots().chain(options.roots.iter().map(PathBuf::as_path)));
        let boot_id = hash_of(options.boot_id.as_bytes()).to_le_bytes();
        let waker = watch.waker();
        let (table, outbox, stop) = (Mutex::default(), Outbox::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { options, roots, table, outbox, waker, stop, boot_id });
        Ok(Self { shared, watch: Mutex::new(Some(watch)), thread: Mutex::new(None) })
    }

    /// Fields that every record of a partition gets: the pod's, below the pods' folder.
    pub fn fields(&self, partition: PartitionId) -> Vec<(String, String)> {
        let name = self.shared.lock().partitions.get(&partition).cloned();
        name.map(|name| pod_fields(&name, &self.shared.options.pods)).unwrap_or_default()
    }

    /// What a partition is called: its live path, or its container's folder.
    pub fn partition_name(&self, partition: PartitionId) -> Option<Arc<Path>> {
        self.shared.lock().partitions.get(&partition).cloned()
    }

    /// Figures of now.
    pub fn status(&self) -> Status {
        let table = self.shared.lock();
        let held = || table.generations.values().filter(|t| t.file.is_some());
        let pinned = |t: &&Tracked| t.name == sawlog_core::identity::Name::Unlinked && t.content.is_some();
        Status {
            files: held().count(),
            open_files: held().filter(|t| t.content.is_some()).count(),
            unread_bytes: held().map(|t| t.announced.saturating_sub(t.floor)).sum(),
            pinned_bytes: held().filter(pinned).map(|t| t.size).sum(),
            refused: table.refused.values().cloned().collect(),
        }
    }

    fn read_records(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        limits: ReadLimits,
    ) -> io::Result<Option<(u64, Records)>> {
        let Some(content) = self.shared.content(generation)? else { return Ok(None) };
        let (base, splits, open, framing) = {
            let table = self.shared.lock();
            let Some(tracked) = table.generations.get(&generation) else { return Ok(None) };
            let from = from + tracked.base;
            let open = tracked.open_at.as_ref().filter(|(at, _)| *at == from).map(|(_, open)| open.clone());
            (tracked.base, tracked.splits.clone(), open, self.shared.options.framing_of(&tracked.partition_name))
        };
        let (from, to) = (from + base, to.saturating_add(base));
        let ReadLimits { bytes_max, records_max } = limits;
        let wanted = Wanted { framing: &framing, splits: &splits, from, to, bytes_max, records_max, open };
        let records = reader::read(&content, &wanted)?.ok_or_else(|| io::Error::other("no whole record there yet"))?;
        self.take_note(generation, &content, &records)?;
        Ok(Some((base, records)))
    }

    /// The judgement's cheap test, after the bytes were read: what was truncated before is found now, what is truncated
    /// later does not matter.
    fn take_note(&self, generation: Generation, content: &Content, records: &Records) -> io::Result<()> {
        let mut table = self.shared.lock();
        let Some(tracked) = table.generations.get_mut(&generation) else { return Ok(()) };
        if !tracked.consumed.stands(content)? {
            tracked.doubtful = true;
            drop(table);
            self.shared.waker.wake();
            return Err(io::Error::other(
                "the file holds other bytes than before; the next look tells what became of it",
            ));
        }
        tracked.consumed.consume(content, records)?;
        tracked.read_at = Instant::now();
        if let Some(last) = records.framed.records.last() {
            tracked.open_at = Some((last.end, records.framed.open.clone()));
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
    async fn restore(&self, known: Vec<(Generation, PartitionId, Vec<u8>, u64)>) {
        let mut table = self.shared.lock();
        table.first_start = known.is_empty();
        for (generation, partition, bytes, floor) in known {
            match Identity::decode(&bytes) {
                Ok(identity) => table.restore(generation, partition, identity, floor, self.shared.boot_id),
                Err(error) => {
                    tracing::error!(%generation, %error, "a file can't be found again; what it still held is lost");
                    self.shared.outbox.send(SourceEvent::Gone { generation });
                }
            }
        }
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
        let base = self.shared.lock().generations.get(&generation).map_or(0, |t| t.base);
        let at = pos + base;
        let range = at.saturating_sub(u64::from(self.shared.options.grain.anchor_bytes))..at;
        let bytes = self.shared.content(generation).and_then(|c| c.map_or(Ok(None), |c| c.exactly(range)));
        bytes.ok().flatten().map(|bytes| hash_of(&bytes).to_le_bytes().to_vec()).unwrap_or_default()
    }

    async fn trim(&self, generation: Generation, floor: u64) {
        if let Some(tracked) = self.shared.lock().generations.get_mut(&generation) {
            tracked.floor = tracked.base.saturating_add(floor);
        }
    }

    async fn release(&self, generation: Generation) {
        self.shared.lock().release(generation);
    }
}

/// Generations of a partition that are remembered after they are gone.
const GONE_MAX: usize = 16;

impl Table {
    fn restore(
        &mut self,
        generation: Generation,
        partition: PartitionId,
        identity: Identity,
        floor: u64,
        boot: [u8; 8],
    ) {
        self.disambs.note(identity.evidence.first_line().hash, identity.disamb);
        self.opened += 1;
        let booted = identity.boot_id != boot;
        let mut tracked = Tracked::restored(generation, partition, self.opened, floor, identity);
        tracked.booted = booted;
        self.partitions.insert(partition, tracked.partition_name.clone());
        self.generations.insert(generation, tracked);
    }

    /// Lets go of a generation's file; what it was like is remembered a while.
    pub fn release(&mut self, generation: Generation) {
        let Some(tracked) = self.generations.remove(&generation) else { return };
        let gone = self.gone.entry(tracked.partition_name.to_path_buf()).or_default();
        gone.push_back(Known { file: None, ..tracked.known() });
        if gone.len() > GONE_MAX {
            gone.pop_front();
        }
    }
}
