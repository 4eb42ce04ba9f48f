//! Records of files that vanish before every sink has them: put into a log of their own, read again by generation and
//! position. A frame answers for all positions in `[lo, hi)` of its generation; its format is drawn in `stored.rs`.
//! It knows nothing of files or of why they vanish.

use crate::error::QueueError;
use crate::quota::Quota;
use crate::stored::{Stored, StoredRecords};
use async_trait::async_trait;
use bytes::Bytes;
use event_listener::Event;
use sawlog_core::ports::{JournalError, ReadLimits, RescueQueue};
use sawlog_log::{
    Damage, Disk, DiskThread, Drive, FRAME_HEADER_BYTES, Gather, Log, LogOptions, Lsn, OnDamage, OnFull, Reader,
    SharedLog,
};
use sawlog_record::batch::Input;
use sawlog_record::id::Generation;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Text bytes of one frame; larger rescues become several frames.
const FRAME_TEXT_BYTES: usize = 1 << 20;

/// How rescued records are kept.
#[derive(Debug, Clone)]
pub struct RescueOptions {
    /// Bytes that they may take on the disk, three segments for the log itself included.
    pub quota_bytes: u64,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Random name for a log that is made now; see [`sawlog_log::random_incarnation`].
    pub incarnation_if_new: [u8; 16],
}

impl RescueOptions {
    /// 1 GiB in segments of 8 MiB.
    pub fn new(incarnation_if_new: [u8; 16]) -> Self {
        Self { quota_bytes: 1 << 30, segment_bytes: 8 << 20, incarnation_if_new }
    }
}

/// Where the ranges of a generation lie: lo → (hi, address).
type Ranges = BTreeMap<u64, (u64, Lsn)>;

/// Rescued records of all generations of an agent.
pub struct Rescue {
    log: SharedLog,
    reader: Reader,
    files: DiskThread,
    quota: Quota,
    index: Mutex<BTreeMap<Generation, Ranges>>,
    freed: Event,
    damage: Vec<Damage>,
}

impl Rescue {
    /// Opens the log in the folder `dir` of `disk`, making it where there is none, and rebuilds the index. Blocks.
    pub fn open(disk: Arc<dyn Disk>, dir: &str, options: RescueOptions, drive: Drive) -> Result<Self, QueueError> {
        let own = 3 * options.segment_bytes;
        let limit =
            options.quota_bytes.checked_sub(own).filter(|rest| *rest > 0).ok_or_else(|| QueueError::Options {
                dir: dir.to_owned(),
                what: format!("a quota of {} bytes is too small, it must be above {own}", options.quota_bytes),
            })?;
        let mut log = LogOptions::new(options.incarnation_if_new);
        (log.segment_bytes, log.on_damage) = (options.segment_bytes, OnDamage::Report);
        let (mut index, mut unread) = (BTreeMap::new(), Vec::new());
        let (log, opening) =
            Log::open(disk, dir, log, |lsn, payload| match Stored::decode(&Bytes::copy_from_slice(payload)) {
                Ok(stored) => enter(&mut index, &stored, lsn),
                Err(what) => {
                    let hi = lsn + (FRAME_HEADER_BYTES + payload.len()) as u64;
                    unread.push(Damage { file: dir.to_owned(), lo: lsn, hi, what: what.to_owned() });
                }
            })?;
        let thread = |error: std::io::Error| QueueError::Thread(error.to_string());
        let reader = log.reader();
        Ok(Self {
            reader,
            log: SharedLog::start(log, drive, Gather::default(), OnFull::Refuse, "sawlog-rescue").map_err(thread)?,
            files: DiskThread::start(drive, "sawlog-rescue-r").map_err(thread)?,
            quota: Quota::new(limit),
            index: Mutex::new(index),
            freed: Event::new(),
            damage: [opening.damage, unread].concat(),
        })
    }

    /// What was durable and cannot be read back: a reason not to be ready.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Bytes of rescued records kept, whole segments included that only wait for their last record.
    pub fn kept_bytes(&self) -> u64 {
        self.reader.kept_bytes()
    }

    /// Generations of which anything is kept.
    pub fn generations(&self) -> Vec<Generation> {
        self.index().keys().copied().collect()
    }

    /// Forgets every generation that is not in `known`: what a crash kept from being released. For the start.
    pub async fn retain(&self, known: &[Generation]) -> Result<(), QueueError> {
        for generation in self.generations().into_iter().filter(|generation| !known.contains(generation)) {
            self.forget(generation).await?;
        }
        // A crash may have come between a release and its trim.
        self.trim().await
    }

    /// Stores the records of `[lo, hi)` durably, all or, after an error, some prefix of them.
    async fn store(&self, input: &Input, lo: u64, hi: u64) -> Result<(), QueueError> {
        let frames = StoredRecords::split(input, lo, hi, FRAME_TEXT_BYTES);
        let payloads = frames.iter().map(StoredRecords::encode).collect::<Vec<_>>();
        let bytes = payloads.iter().map(|payload| (FRAME_HEADER_BYTES + payload.len()) as u64).sum();
        // Held until the bytes count as kept.
        let room = self.quota.reserve(self.kept_bytes(), bytes)?;
        let committed = self.log.append(payloads, true).await?;
        drop(room);
        let mut index = self.index();
        for (records, lsn) in frames.into_iter().zip(committed.lsns) {
            enter(&mut index, &Stored::Records(records), lsn);
        }
        Ok(())
    }

    async fn find(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        limits: ReadLimits,
    ) -> Result<Option<Input>, QueueError> {
        let mut at = from;
        while let Some((hi, lsn)) = self.range_at(generation, at).filter(|_| at < to) {
            let reader = self.reader.clone();
            let frame = self.files.call(move || reader.read(lsn, 1)).await??.frames.into_iter().next();
            let payload = frame.filter(|frame| frame.lsn == lsn).map(|frame| frame.payload);
            let Some(Ok(Stored::Records(records))) = payload.map(|payload| Stored::decode(&payload)) else {
                return Ok(None);
            };
            let input = records.cut(from, to, limits);
            if !input.records.is_empty() {
                return Ok(Some(input));
            }
            at = hi;
        }
        Ok(None)
    }

    /// The range that answers for position `at`: of several the one that begins last.
    fn range_at(&self, generation: Generation, at: u64) -> Option<(u64, Lsn)> {
        let index = self.index();
        let ranges = index.get(&generation)?;
        ranges.range(..=at).rev().map(|(_, range)| *range).find(|(hi, _)| at < *hi)
    }

    async fn forget(&self, generation: Generation) -> Result<(), QueueError> {
        if self.index().remove(&generation).is_none() {
            return Ok(());
        }
        // Durable before the trim, so that a crash cannot bring back a part of the generation.
        self.log.append(vec![Stored::Released(generation).encode()], true).await?;
        self.trim().await
    }

    async fn trim(&self) -> Result<(), QueueError> {
        let lowest = self.index().values().flat_map(BTreeMap::values).map(|(_, lsn)| *lsn).min();
        self.log.trim(lowest.unwrap_or_else(|| self.reader.durable())).await?;
        self.freed.notify(usize::MAX);
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, BTreeMap<Generation, Ranges>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn enter(index: &mut BTreeMap<Generation, Ranges>, stored: &Stored, lsn: Lsn) {
    match stored {
        Stored::Records(records) => {
            let ranges = index.entry(records.input.generation).or_default();
            // Put again after a crash: the longer one answers.
            let known = ranges.entry(records.lo).or_insert((records.hi, lsn));
            if known.0 <= records.hi {
                *known = (records.hi, lsn);
            }
        }
        Stored::Released(generation) => {
            index.remove(generation);
        }
    }
}

fn told(error: QueueError) -> JournalError {
    JournalError(format!("rescue: {error}"))
}

#[async_trait]
impl RescueQueue for Rescue {
    async fn put(&self, input: Input, lo: u64, hi: u64) -> Result<(), JournalError> {
        self.store(&input, lo, hi).await.map_err(told)
    }

    async fn read(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        limits: ReadLimits,
    ) -> Result<Option<Input>, JournalError> {
        self.find(generation, from, to, limits).await.map_err(told)
    }

    async fn release(&self, generation: Generation) {
        if self.forget(generation).await.is_err() {
            // It only takes room until the next start, which forgets it by `retain`. The log itself says why to whoever
            // appends next.
        }
    }

    fn freed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.freed.listen())
    }
}
