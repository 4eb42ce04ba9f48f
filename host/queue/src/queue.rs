//! The queue of one source: its shards, its quota, and the clock that only goes forward.

use crate::envelope::{HEAD_BYTES_MAX, NAME_BYTES_MAX, Request};
use crate::error::{Full, QueueError};
use crate::meta;
use crate::quota::{Quota, Reservation};
use crate::shard::{RequestChunk, Shard, ShardOptions};
use bytes::Bytes;
use sawlog_log::{
    Commits, Damage, Disk, DiskThread, Drive, FRAME_HEADER_BYTES, Gather, LogOptions, Lsn, OnDamage,
    SEGMENT_HEADER_BYTES,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How a queue is kept.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// Shards of a queue that is made now; an existing one keeps its number ([`Queue::shards`]).
    pub shards: u32,
    /// Bytes that the queue may take on the disk. Each shard needs three segments of it for itself; these and two more are taken in
    /// any case.
    pub quota_bytes: u64,
    /// Size of a segment, in bytes; whole segments are given back.
    pub segment_bytes: u64,
    /// Largest body, in bytes, decompressed.
    pub body_bytes_max: usize,
    /// How long an idempotency key is remembered.
    pub key_time: Duration,
    /// How many keys each shard remembers at most.
    pub keys_max: usize,
    /// How long a group commit waits for company. [`Drive::Inline`] never waits.
    pub gather: Gather,
    /// Random name for a queue that is made now; see [`sawlog_log::random_incarnation`].
    pub incarnation_if_new: [u8; 16],
}

impl QueueOptions {
    /// One shard, 1 GiB in segments of 16 MiB, bodies up to 64 MiB, keys for 24 h (100,000 a shard), groups of 1 MiB or 2 ms.
    pub fn new(incarnation_if_new: [u8; 16]) -> Self {
        Self {
            shards: 1,
            quota_bytes: 1 << 30,
            segment_bytes: 16 << 20,
            body_bytes_max: 64 << 20,
            key_time: Duration::from_secs(24 * 3600),
            keys_max: 100_000,
            gather: Gather { bytes: 1 << 20, time: Duration::from_millis(2) },
            incarnation_if_new,
        }
    }
}

/// A request that wants to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Now, unix nanoseconds. An earlier time than the last one's counts as the last one's.
    pub accepted: i64,
    /// Who sends it, at most [`NAME_BYTES_MAX`] bytes; empty for nobody in particular.
    pub principal: String,
    /// The idempotency key, at most [`NAME_BYTES_MAX`] bytes.
    pub key: Option<String>,
    /// How the body splits into records; given back as it is.
    pub form: u8,
    /// The decompressed body.
    pub body: Bytes,
}

/// Where a request is stored, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its shard.
    pub shard: u32,
    /// Address of its frame.
    pub lsn: Lsn,
    /// The key and body were stored before (answer as then); this submission added nothing.
    pub repeated: bool,
}

/// What opening a queue found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueOpening {
    /// What was durable and cannot be read back: a reason not to be ready.
    pub damage: Vec<Damage>,
    /// Idempotency keys remembered.
    pub keys: usize,
}

/// The queue of one source. Share it in an `Arc`.
pub struct Queue {
    dir: String,
    shards: Vec<Shard>,
    quota: Quota,
    body_bytes_max: usize,
    newest: AtomicI64,
    turn: AtomicU32,
}

impl Queue {
    /// Opens the queue in the folder `dir` of `disk`, making it where there is none. Blocks while it reads all of it.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: QueueOptions,
        drive: Drive,
    ) -> Result<(Self, QueueOpening), QueueError> {
        disk.create_dir(dir)?;
        let shards = meta::shards(&*disk, dir, options.shards.max(1))?;
        let limit_bytes = limit_bytes(&options, shards);
        let thread = DiskThread::start(drive, "sawlog-qfiles").map_err(|e| QueueError::Thread(e.to_string()))?;
        let files = Arc::new(thread);
        let mut opening = QueueOpening { damage: Vec::new(), keys: 0 };
        let (mut opened, mut newest) = (Vec::new(), i64::MIN);
        for number in 0..shards {
            let options = shard_options(&options, number, drive);
            let (shard, damage, time) = Shard::open(disk.clone(), files.clone(), dir, number, options)?;
            opening.damage.extend(damage);
            opening.keys += shard.keys();
            newest = newest.max(time);
            opened.push(shard);
        }
        let queue = Self {
            dir: dir.to_owned(),
            shards: opened,
            quota: Quota::new(limit_bytes),
            body_bytes_max: options.body_bytes_max,
            newest: AtomicI64::new(newest),
            turn: AtomicU32::new(0),
        };
        Ok((queue, opening))
    }

    /// How many shards the queue in the folder `dir` of `disk` was made with; `None` where there is none.
    pub fn shards_of(disk: &dyn Disk, dir: &str) -> Result<Option<u32>, QueueError> {
        meta::existing(disk, dir)
    }

    /// How many shards there are, numbered from 0.
    pub fn shards(&self) -> u32 {
        self.shards.len() as u32
    }

    /// The random name of a shard's life; with agent, source and shard it makes the generation.
    pub fn incarnation(&self, shard: u32) -> Result<[u8; 16], QueueError> {
        self.shard(shard).map(Shard::incarnation)
    }

    /// Promises room for a body of `bytes`. Call it before the body is read: a request is stored whole or refused, never half.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Full> {
        let frame = (bytes + FRAME_HEADER_BYTES + HEAD_BYTES_MAX) as u64;
        self.quota.reserve(self.kept_bytes(), frame)
    }

    /// Stores a request and returns once it is durable. `room` was promised for at least its body. If the client goes away and
    /// this future is dropped, the request is stored all the same, and its key remembered.
    pub async fn accept(&self, room: Reservation, submission: Submission) -> Result<Accepted, QueueError> {
        self.check(&room, &submission)?;
        let number = self.shard_of(&submission);
        let shard = self.shard(number)?;
        let Submission { accepted, principal, key, form, body } = submission;
        // Bodies are told apart where a key may come again.
        let body_hash = key.as_ref().map_or([0; 32], |_| *blake3::hash(&body).as_bytes());
        let request = Request { accepted, principal, key, body_hash, form, body };
        let begun = shard.begin(request, room, |time| self.newest.fetch_max(time, Ordering::AcqRel).max(time))?;
        let (lsn, repeated) = shard.outcome(begun).await?;
        Ok(Accepted { shard: number, lsn, repeated })
    }

    /// Reads requests of a shard from the address `from`, which may also lie inside a request (that one then comes first),
    /// about `bytes_max` bytes, and at least one request where there is one. Blocks for the disk.
    pub fn read(&self, shard: u32, from: Lsn, bytes_max: usize) -> Result<RequestChunk, QueueError> {
        self.shard(shard)?.read(from, bytes_max)
    }

    /// Oldest address that a shard keeps, and the one behind its last durable request.
    pub fn extent(&self, shard: u32) -> Result<(Lsn, Lsn), QueueError> {
        self.shard(shard).map(|shard| (shard.reader().first(), shard.reader().durable()))
    }

    /// The durable end of a shard, to wait for more.
    pub fn ends(&self, shard: u32) -> Result<watch::Receiver<Lsn>, QueueError> {
        self.shard(shard).map(Shard::ends)
    }

    /// Gives back whole segments of a shard below `floor`, the lowest replay floor of all sinks, after that floor is durable;
    /// returns the oldest address still kept. The keys outlive them.
    pub async fn trim(&self, shard: u32, floor: Lsn) -> Result<Lsn, QueueError> {
        self.shard(shard)?.trim(floor).await
    }

    /// Bytes of requests kept, whole segments included that only wait for their last sink.
    pub fn kept_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.reader().kept_bytes()).sum()
    }

    /// Bytes that should go so that senders find room: above nine tenths of the quota, down to three quarters.
    pub fn surplus_bytes(&self) -> u64 {
        let (used, limit) = (self.kept_bytes() + self.quota.reserved_bytes(), self.quota.limit_bytes());
        if used > limit / 10 * 9 { used - limit / 4 * 3 } else { 0 }
    }

    /// The quota of requests: its limit, and what is promised beside what is kept.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Bytes that the queue's logs take on the disk, spare segments included.
    pub fn disk_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.reader().disk_bytes()).sum()
    }

    /// What group commits of all shards have cost since it was opened.
    pub fn commits(&self) -> Commits {
        let mut all = Commits::default();
        self.shards.iter().for_each(|shard| all.add(shard.commits()));
        all
    }

    /// Idempotency keys remembered.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(Shard::keys).sum()
    }

    /// Makes everything durable and stops the threads.
    pub async fn close(&self) -> Result<(), QueueError> {
        for shard in &self.shards {
            shard.close().await?;
        }
        Ok(())
    }

    fn shard(&self, shard: u32) -> Result<&Shard, QueueError> {
        self.shards.get(shard as usize).ok_or_else(|| QueueError::NoShard {
            dir: self.dir.clone(),
            shard,
            shards: self.shards(),
        })
    }

    /// Retries of a key always meet the shard that knows it; what has no key goes round.
    fn shard_of(&self, submission: &Submission) -> u32 {
        match &submission.key {
            Some(key) => {
                let id = crate::window::key_id(&submission.principal, key);
                u32::from_le_bytes([id[0], id[1], id[2], id[3]]) % self.shards()
            }
            None => self.turn.fetch_add(1, Ordering::Relaxed) % self.shards(),
        }
    }

    fn check(&self, room: &Reservation, submission: &Submission) -> Result<(), QueueError> {
        let names = [("principal", Some(&submission.principal)), ("Idempotency-Key", submission.key.as_ref())];
        for (what, name) in names {
            let bytes = name.map_or(0, String::len);
            if bytes > NAME_BYTES_MAX {
                return Err(QueueError::NameTooLong { what, bytes, bytes_max: NAME_BYTES_MAX });
            }
        }
        let (bytes, bytes_max) = (submission.body.len(), self.body_bytes_max);
        if bytes > bytes_max {
            return Err(sawlog_log::LogError::TooLarge { dir: self.dir.clone(), bytes, bytes_max }.into());
        }
        let needed = (bytes + FRAME_HEADER_BYTES + HEAD_BYTES_MAX) as u64;
        if room.bytes() < needed {
            let (used_bytes, limit_bytes) = (room.bytes(), self.quota.limit_bytes());
            return Err(Full { used_bytes, limit_bytes, asked_bytes: needed }.into());
        }
        Ok(())
    }
}

/// What is left of the quota for requests: each shard has one segment partly filled, one spare, and one more while it rolls. Two
/// segments in any case: what is in a queue must come out, whatever became of the configuration.
fn limit_bytes(options: &QueueOptions, shards: u32) -> u64 {
    let own = u64::from(shards) * 3 * options.segment_bytes;
    options.quota_bytes.saturating_sub(own).max(2 * options.segment_bytes)
}

fn shard_options(options: &QueueOptions, number: u32, drive: Drive) -> ShardOptions {
    let mut incarnation_if_new = options.incarnation_if_new;
    for (byte, number) in incarnation_if_new.iter_mut().zip(number.to_le_bytes()) {
        *byte ^= number;
    }
    let mut log = LogOptions::new(incarnation_if_new);
    log.segment_bytes = options.segment_bytes.max(2 * SEGMENT_HEADER_BYTES);
    log.payload_bytes_max = options.body_bytes_max + HEAD_BYTES_MAX;
    log.on_damage = OnDamage::Report;
    ShardOptions {
        log,
        key_time_nanos: i64::try_from(options.key_time.as_nanos()).unwrap_or(i64::MAX),
        keys_max: options.keys_max,
        gather: options.gather,
        drive,
    }
}
