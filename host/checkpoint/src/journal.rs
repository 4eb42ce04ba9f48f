//! The core's journal over a log and numbered checkpoints. It decides nothing about delivery.

use crate::dir::IDENTITY_DIR;
use crate::error::CheckpointError;
use crate::reserve::Reserve;
use crate::snapshot::Snapshot;
use crate::{blobs, snapshot};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sawlog_core::pace::Pressure;
use sawlog_core::ports::{JournalError, JournalStore, Journalled};
use sawlog_log::{
    Commits, Disk, DiskError, DiskThread, Drive, Gather, Log, LogOptions, Lsn, OnFull, Reader, SharedLog,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Folder of the records.
pub(crate) const JOURNAL_DIR: &str = "journal";
/// Bytes read at once when the journal is loaded.
const READ_BYTES: usize = 1 << 20;
/// A checkpoint that waits for space is tried again after this time.
const HOLD_TIME: Duration = Duration::from_millis(200);

/// How the journal is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Checkpoints kept, the newest included; at least 1.
    pub keep: usize,
    /// Size of a log segment, in bytes.
    pub segment_bytes: u64,
    /// Bytes of records that may lie in the log before its [`Pressure`] says so.
    pub quota_bytes: u64,
    /// Bytes beyond the quota that are still accepted, so that cursors get through and relieve it; space for them is taken
    /// in advance.
    pub reserve_bytes: u64,
    /// Bytes kept free for the next checkpoint, at least: on a full disk one must be written before anything can be trimmed.
    pub checkpoint_reserve_bytes: u64,
    /// Random name for a journal that is made now; see [`sawlog_log::random_incarnation`].
    pub incarnation_if_new: [u8; 16],
}

impl JournalOptions {
    /// Three checkpoints, segments of 4 MiB, 256 MiB and reserves of 8 MiB and of 1 MiB.
    pub fn new(incarnation_if_new: [u8; 16]) -> Self {
        Self {
            keep: 3,
            segment_bytes: 4 << 20,
            quota_bytes: 256 << 20,
            reserve_bytes: 8 << 20,
            checkpoint_reserve_bytes: 1 << 20,
            incarnation_if_new,
        }
    }
}

/// A checkpoint on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its number; later ones are larger.
    pub number: u64,
    /// Address in the journal up to which its state holds every record.
    pub lsn: Lsn,
    /// Size of the state in bytes.
    pub state_bytes: u64,
}

/// The journal of one data directory. Cheap to share; all calls go through one log and one thread for files.
pub struct DiskJournal {
    disk: Arc<dyn Disk>,
    log: SharedLog,
    reader: Reader,
    files: Arc<DiskThread>,
    options: JournalOptions,
    incarnation: [u8; 16],
    /// A full disk makes callers wait. A simulated one has no clock to wait by.
    hold: bool,
    /// A checkpoint waits for space.
    holding: Arc<AtomicBool>,
    /// Bytes of the spare segments that the log has while the disk is not full.
    spare_bytes: u64,
    /// Room for the next checkpoint.
    reserve: Arc<Reserve>,
    /// The newest checkpoint: its number and address.
    newest: Arc<Mutex<Option<(u64, Lsn)>>>,
    /// Why it takes nothing more: what it refused was to be followed by what comes now.
    full: OnceLock<CheckpointError>,
}

impl DiskJournal {
    /// Opens the journal on `disk`, making it where there is none. Refuses with [`CheckpointError::Corrupt`] where anything
    /// durable cannot be read back. Blocks while it reads.
    pub fn open(disk: Arc<dyn Disk>, options: JournalOptions, drive: Drive) -> Result<Self, CheckpointError> {
        disk.create_dir(snapshot::DIR)?;
        disk.create_dir(blobs::DIR)?;
        let mut log_options = LogOptions::new(options.incarnation_if_new);
        log_options.segment_bytes = options.segment_bytes;
        log_options.spare_segments = (options.reserve_bytes.div_ceil(options.segment_bytes)).max(1) as usize;
        let spare_bytes = log_options.spare_segments as u64 * options.segment_bytes;
        let (log, opening) = Log::open(disk.clone(), JOURNAL_DIR, log_options, |_, _| {})?;
        let newest = newest_checkpoint(&*disk)?;
        check_fit(newest.as_ref(), &opening)?;
        snapshot::prune(&*disk, options.keep)?;
        let thread = |error: std::io::Error| CheckpointError::Thread(error.to_string());
        let reader = log.reader();
        let log = SharedLog::start(log, drive, Gather::default(), OnFull::Hold, "sawlog-journal").map_err(thread)?;
        let files = Arc::new(DiskThread::start(drive, "sawlog-ckpt").map_err(thread)?);
        let reserve = Reserve::new(options.checkpoint_reserve_bytes);
        reserve.refill(&*disk, newest.as_ref().map_or(0, |snapshot| snapshot.state.len() as u64))?;
        let newest = Arc::new(Mutex::new(newest.map(|snapshot| (snapshot.number, snapshot.lsn))));
        Ok(Self {
            disk,
            log,
            reader,
            files,
            options,
            incarnation: opening.incarnation,
            hold: drive == Drive::Thread,
            holding: Arc::default(),
            spare_bytes,
            reserve: Arc::new(reserve),
            newest,
            full: OnceLock::new(),
        })
    }

    /// Whether a full disk has taken a part of the reserve that can't be had again: what is left is for cursors.
    pub fn is_on_reserve(&self) -> bool {
        self.reader.spare_bytes() < self.spare_bytes || self.reserve.is_used()
    }

    /// Bytes that the journal's log takes on the disk, spare segments included.
    pub fn disk_bytes(&self) -> u64 {
        self.reader.disk_bytes()
    }

    /// What its group commits have cost since it was opened.
    pub fn commits(&self) -> Commits {
        self.log.commits()
    }

    /// Whether records or a checkpoint wait for space on the disk: a reason not to be ready, and the time to free some.
    pub fn is_holding(&self) -> bool {
        self.log.is_holding() || self.holding.load(Ordering::Relaxed)
    }

    /// The checkpoints on the disk, oldest first. One that cannot be read is an error: `show` is for finding that out.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, CheckpointError> {
        let disk = self.disk.clone();
        let list = move || {
            snapshot::numbers(&*disk)?
                .into_iter()
                .map(|number| Snapshot::read(&*disk, number).map(|s| info(&s)))
                .collect()
        };
        self.files.call(list).await?
    }

    /// The state inside checkpoint `number`.
    pub async fn checkpoint(&self, number: u64) -> Result<Vec<u8>, CheckpointError> {
        let disk = self.disk.clone();
        self.files.call(move || Snapshot::read(&*disk, number).map(|snapshot| snapshot.state)).await?
    }

    /// Makes everything appended durable and stops the log's thread.
    pub async fn close(&self) -> Result<(), CheckpointError> {
        Ok(self.log.close().await?)
    }

    fn check_quota(&self, records: &[Vec<u8>]) -> Result<(), CheckpointError> {
        let bytes = self.reader.kept_bytes() + records.iter().map(|record| record.len() as u64).sum::<u64>();
        let JournalOptions { quota_bytes, reserve_bytes, .. } = self.options;
        if let Some(full) = self.full.get() {
            return Err(full.clone());
        }
        if bytes > quota_bytes + reserve_bytes {
            return Err(CheckpointError::Full { bytes, quota_bytes, reserve_bytes });
        }
        Ok(())
    }
}

fn info(snapshot: &Snapshot) -> CheckpointInfo {
    CheckpointInfo { number: snapshot.number, lsn: snapshot.lsn, state_bytes: snapshot.state.len() as u64 }
}

fn newest_checkpoint(disk: &dyn Disk) -> Result<Option<Snapshot>, CheckpointError> {
    snapshot::numbers(disk)?.last().map(|&number| Snapshot::read(disk, number)).transpose()
}

/// A checkpoint and a log that do not belong together are damage as much as a flipped bit.
fn check_fit(newest: Option<&Snapshot>, opening: &sawlog_log::Opening) -> Result<(), CheckpointError> {
    let corrupt = |what: String| Err(CheckpointError::Corrupt { what });
    let (first, end) = (opening.first, opening.end);
    match newest {
        None if first > 0 => {
            corrupt(format!("it begins at byte {first}, but the checkpoint of what came before is gone"))
        }
        Some(s) if s.incarnation != opening.incarnation => {
            corrupt(format!("checkpoint {} belongs to another journal than the one found here", s.number))
        }
        Some(s) if !(first..=end).contains(&s.lsn) => {
            corrupt(format!("checkpoint {} goes on at byte {}, the journal holds {first}..{end}", s.number, s.lsn))
        }
        _ => Ok(()),
    }
}

/// Everything durable: the newest checkpoint and the records behind it.
fn load(disk: &dyn Disk, reader: &Reader) -> Result<Journalled, CheckpointError> {
    let newest = newest_checkpoint(disk)?;
    let mut at = newest.as_ref().map_or(reader.first(), |snapshot| snapshot.lsn);
    let mut records = Vec::new();
    loop {
        let chunk = reader.read(at, READ_BYTES)?;
        if chunk.frames.is_empty() {
            return Ok(Journalled { snapshot: newest.map(|snapshot| snapshot.state), records });
        }
        records.extend(chunk.frames.into_iter().map(|frame| Vec::from(frame.payload)));
        at = chunk.next;
    }
}

/// Writes the checkpoint that follows the newest one. Two callers may come here in the wrong order; then the one that holds
/// less is dropped, because the other one has replaced it already.
fn write_checkpoint(
    disk: &dyn Disk,
    newest: &Mutex<Option<(u64, Lsn)>>,
    keep: usize,
    reserve: &Reserve,
    snapshot: &mut Snapshot,
) -> Result<Lsn, CheckpointError> {
    let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
    let (number, lsn) = newest.unwrap_or((0, 0));
    if snapshot.lsn < lsn {
        return Ok(lsn);
    }
    snapshot.number = number + 1;
    match snapshot.write(disk) {
        Err(DiskError::NoSpace { .. }) => {
            // Older ones may go for it, and what was kept free for it.
            snapshot::prune(disk, 1)?;
            reserve.release(disk)?;
            snapshot.write(disk)?;
        }
        written => written?,
    }
    *newest = Some((snapshot.number, snapshot.lsn));
    snapshot::prune(disk, keep)?;
    reserve.refill(disk, snapshot.state.len() as u64)?;
    Ok(snapshot.lsn)
}

/// Tries again while the disk is full, where `hold` says so; `holding` tells of it.
fn hold_while_full<T>(
    hold: bool,
    holding: &AtomicBool,
    mut attempt: impl FnMut() -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    loop {
        match attempt() {
            Err(CheckpointError::Disk(DiskError::NoSpace { .. })) if hold => {
                holding.store(true, Ordering::Relaxed);
                std::thread::sleep(HOLD_TIME);
            }
            result => {
                holding.store(false, Ordering::Relaxed);
                return result;
            }
        }
    }
}

/// Moves a damaged journal and its checkpoints out of the way, to the folder `damaged/<n>` whose name is returned, so that a
/// new one can be opened and given a restored snapshot. Blobs stay: they prove themselves by their digest. The directory's own name
/// goes with the journal: what was claimed under it was claimed by another life. Nothing is deleted.
pub fn set_aside(disk: &dyn Disk) -> Result<String, CheckpointError> {
    let mut number = 1;
    let target = loop {
        let target = format!("damaged/{number}");
        match disk.list(&target) {
            Err(DiskError::NotFound { .. }) => break target,
            Ok(_) => number += 1,
            Err(error) => return Err(error.into()),
        }
    };
    disk.create_dir(&target)?;
    for dir in [snapshot::DIR, JOURNAL_DIR, IDENTITY_DIR] {
        let names = match disk.list(dir) {
            Err(DiskError::NotFound { .. }) => continue,
            names => names?,
        };
        for name in names {
            disk.rename(&format!("{dir}/{name}"), &format!("{target}/{dir}-{name}"))?;
        }
        disk.sync_dir(&target)?;
        disk.sync_dir(dir)?;
    }
    Ok(target)
}

fn told(error: impl Into<CheckpointError>) -> JournalError {
    JournalError(error.into().to_string())
}

#[async_trait]
impl JournalStore for DiskJournal {
    async fn load(&self) -> Result<Journalled, JournalError> {
        let (disk, reader) = (self.disk.clone(), self.reader.clone());
        self.files.call(move || load(&*disk, &reader)).await.map_err(told)?.map_err(told)
    }

    fn append(&self, records: Vec<Vec<u8>>, urgent: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        if let Err(full) = self.check_quota(&records) {
            // A hint may be missing: nothing follows from it.
            if urgent {
                self.full.get_or_init(|| full.clone());
            }
            return async move { Err(told(full)) }.boxed();
        }
        let appended = self.log.append(records, urgent);
        async move { appended.await.map(|_| ()).map_err(told) }.boxed()
    }

    fn snapshot(&self, state: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        // The barrier's address is fixed now: records appended later lie at or above it.
        let barrier = self.log.append(Vec::new(), true);
        let (disk, newest, files) = (self.disk.clone(), self.newest.clone(), self.files.clone());
        let (log, keep, incarnation, hold) = (self.log.clone(), self.options.keep, self.incarnation, self.hold);
        let (holding, reserve) = (self.holding.clone(), self.reserve.clone());
        async move {
            let lsn = barrier.await.map_err(told)?.end;
            let mut snapshot = Snapshot { number: 0, lsn, incarnation, state };
            let floor = files.call(move || {
                hold_while_full(hold, &holding, || write_checkpoint(&*disk, &newest, keep, &reserve, &mut snapshot))
            });
            let floor = floor.await.map_err(told)?;
            log.trim(floor.map_err(told)?).await.map_err(told)?;
            Ok(())
        }
        .boxed()
    }

    fn is_whole(&self) -> bool {
        !self.is_on_reserve()
    }

    fn pressure(&self) -> Pressure {
        if self.is_holding() || self.reader.spare_bytes() < self.spare_bytes {
            return Pressure::High;
        }
        match self.reader.kept_bytes().saturating_mul(10) / self.options.quota_bytes.max(1) {
            0..=4 => Pressure::Low,
            5..=8 => Pressure::Half,
            _ => Pressure::High,
        }
    }

    async fn put_blob(&self, bytes: Vec<u8>) -> Result<[u8; 32], JournalError> {
        let disk = self.disk.clone();
        self.files.call(move || blobs::put(&*disk, &bytes)).await.map_err(told)?.map_err(told)
    }

    async fn get_blob(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        let disk = self.disk.clone();
        self.files.call(move || blobs::get(&*disk, &digest)).await.map_err(told)?.map_err(told)
    }

    async fn retain_blobs(&self, keep: Vec<[u8; 32]>) -> Result<(), JournalError> {
        let disk = self.disk.clone();
        self.files.call(move || blobs::retain(&*disk, &keep)).await.map_err(told)?.map_err(told)
    }
}
