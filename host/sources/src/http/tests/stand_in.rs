//! A queue in memory that keeps the port's promises, so that the source can be driven without a disk: what is in `Kept` is
//! durable and outlives a reopening. The real queue is held against the same source where both can be seen.

use super::super::queue::{Accepted, RequestQueue, Room, Stored, Submission, Trouble};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes in front of each body.
const HEAD_BYTES: u64 = 57;

/// What is durable.
#[derive(Default)]
pub struct Kept {
    shards: Vec<Vec<Stored>>,
    keys: BTreeMap<(String, String), Vec<u8>>,
}

pub struct StandIn {
    kept: Arc<Mutex<Kept>>,
    limit_bytes: usize,
    reserved_bytes: Arc<AtomicUsize>,
    turn: AtomicU32,
    pub trimmed: Mutex<Vec<(u32, u64)>>,
    broken: std::sync::atomic::AtomicBool,
}

struct Promise {
    queue: Arc<StandIn>,
    bytes: usize,
}

impl StandIn {
    pub fn empty(shards: usize, limit_bytes: usize) -> Arc<Handle> {
        let kept = Kept { shards: vec![Vec::new(); shards], ..Kept::default() };
        Self::over(Arc::new(Mutex::new(kept)), limit_bytes)
    }

    fn over(kept: Arc<Mutex<Kept>>, limit_bytes: usize) -> Arc<Handle> {
        let queue = Self {
            kept,
            limit_bytes,
            reserved_bytes: Arc::default(),
            turn: AtomicU32::new(0),
            trimmed: Mutex::default(),
            broken: false.into(),
        };
        Arc::new(Handle(Arc::new(queue)))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

/// What the source holds.
pub struct Handle(Arc<StandIn>);

impl Handle {
    /// The same durable state in a new life of the process.
    pub fn reopened(&self) -> Arc<Self> {
        StandIn::over(self.0.kept.clone(), self.0.limit_bytes)
    }

    pub fn requests(&self) -> usize {
        self.0.kept().shards.iter().map(Vec::len).sum()
    }

    pub fn reserved_bytes(&self) -> usize {
        self.0.reserved_bytes.load(Ordering::SeqCst)
    }

    /// From now on storing fails with an unknown outcome.
    pub fn break_down(&self) {
        self.0.broken.store(true, Ordering::SeqCst);
    }

    pub fn trimmed(&self) -> Vec<(u32, u64)> {
        self.0.trimmed.lock().unwrap().clone()
    }
}

#[async_trait]
impl RequestQueue for Handle {
    fn shards(&self) -> u32 {
        self.0.kept().shards.len() as u32
    }

    fn incarnation(&self, shard: u32) -> Result<[u8; 16], Trouble> {
        Ok([shard as u8; 16])
    }

    fn reserve(&self, body_bytes: usize) -> Result<Box<dyn Room>, Trouble> {
        let kept: usize = self.0.kept().shards.iter().flatten().map(|request| request.body.len()).sum();
        let reserved = self.0.reserved_bytes.fetch_add(body_bytes, Ordering::SeqCst);
        let promise = Promise { queue: self.0.clone(), bytes: body_bytes };
        match kept + reserved + body_bytes > self.0.limit_bytes {
            true => Err(Trouble::Full("the queue is full; send it again later".to_owned())),
            false => Ok(Box::new(promise)),
        }
    }

    fn read(&self, shard: u32, from: u64, bytes_max: usize) -> Result<Vec<Stored>, Trouble> {
        let mut bytes = 0;
        let fits = |request: &&Stored| {
            let fits = bytes == 0 || bytes + request.body.len() <= bytes_max;
            bytes += request.body.len();
            fits
        };
        let kept = self.0.kept();
        Ok(kept.shards[shard as usize].iter().filter(|request| request.end > from).take_while(fits).cloned().collect())
    }

    fn extent(&self, shard: u32) -> Result<(u64, u64), Trouble> {
        let kept = self.0.kept();
        Ok((0, kept.shards[shard as usize].last().map_or(0, |last| last.end)))
    }

    fn surplus_bytes(&self) -> u64 {
        0
    }

    async fn trim(&self, shard: u32, floor: u64) -> Result<(), Trouble> {
        self.0.trimmed.lock().unwrap().push((shard, floor));
        Ok(())
    }
}

#[async_trait]
impl Room for Promise {
    async fn store(self: Box<Self>, submission: Submission) -> Result<Accepted, Trouble> {
        assert!(submission.body.len() <= self.bytes, "no more is stored than was promised");
        tokio::task::yield_now().await;
        let mut kept = self.queue.kept();
        let shards = kept.shards.len() as u32;
        if self.queue.broken.load(Ordering::SeqCst) {
            return Err(Trouble::Unavailable("the disk does not answer".to_owned()));
        }
        if let Some(key) = submission.key {
            match kept.keys.get(&(submission.principal.clone(), key.clone())) {
                Some(body) if *body == submission.body => return Ok(Accepted { shard: 0, repeated: true }),
                Some(_) => return Err(Trouble::KeyReused),
                None => _ = kept.keys.insert((submission.principal, key), submission.body.to_vec()),
            }
        }
        let shard = self.queue.turn.fetch_add(1, Ordering::SeqCst) % shards;
        let stored = &mut kept.shards[shard as usize];
        let body_at = stored.last().map_or(0, |last| last.end) + HEAD_BYTES;
        let end = body_at + submission.body.len() as u64;
        let Submission { accepted, form, body, .. } = submission;
        stored.push(Stored { body_at, end, accepted, form, body });
        Ok(Accepted { shard, repeated: false })
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.queue.reserved_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}
