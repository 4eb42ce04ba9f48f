//! What the source asks of the write-ahead queue. Rooms of one level don't see each other, so whoever builds the source says how
//! the queue does this. It knows no HTTP and no disk.

use async_trait::async_trait;
use bytes::Bytes;

/// A request that is to be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    /// When it was accepted, unix nanoseconds. The queue may only make it later.
    pub accepted: i64,
    /// Who sends it; empty for nobody in particular.
    pub principal: String,
    /// Its idempotency key, at most 255 bytes.
    pub key: Option<String>,
    /// How the body splits into records; the source's own note, given back as it is.
    pub form: u8,
    /// The records.
    pub body: Bytes,
}

/// Where a request is stored, durably.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Its shard.
    pub shard: u32,
    /// The same key and body were stored before; this submission added nothing.
    pub repeated: bool,
}

/// A request as it is read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Address of the body's first byte.
    pub body_at: u64,
    /// Address behind the request: at least that of the body's end.
    pub end: u64,
    /// When it was accepted, unix nanoseconds; never falls along a shard.
    pub accepted: i64,
    /// [`Submission::form`].
    pub form: u8,
    /// The records.
    pub body: Bytes,
}

/// Why the queue did not do as told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// Its quota is used up; nothing was stored.
    #[error("{0}")]
    Full(String),
    /// The key was used for another body; nothing was stored.
    #[error("this Idempotency-Key was used for another body; use a new key for a new request")]
    KeyReused,
    /// What lies there was given back, or its bytes are damaged.
    #[error("{0}")]
    Gone(String),
    /// Anything else. Whether a request was stored is not known.
    #[error("{0}")]
    Unavailable(String),
}

/// Room in the queue that was promised to one request. Dropping it gives the room back.
#[async_trait]
pub trait Room: Send {
    /// Stores the request and returns when it is durable.
    async fn store(self: Box<Self>, submission: Submission) -> Result<Accepted, Trouble>;
}

/// The queue of one source, in shards that are numbered from 0.
#[async_trait]
pub trait RequestQueue: Send + Sync {
    /// How many shards there are; fixed.
    fn shards(&self) -> u32;
    /// The random name of a shard's life.
    fn incarnation(&self, shard: u32) -> Result<[u8; 16], Trouble>;
    /// Promises room for a body of `body_bytes`.
    fn reserve(&self, body_bytes: usize) -> Result<Box<dyn Room>, Trouble>;
    /// Requests from the one that `from` lies in or before, about `bytes_max` bytes, and at least one where there is one.
    /// Blocks for the disk.
    fn read(&self, shard: u32, from: u64, bytes_max: usize) -> Result<Vec<Stored>, Trouble>;
    /// Oldest address that a shard keeps, and the one behind its last durable request.
    fn extent(&self, shard: u32) -> Result<(u64, u64), Trouble>;
    /// Bytes that should go before there is no room for more; 0 while there is enough.
    fn surplus_bytes(&self) -> u64;
    /// Nothing of a shard below `floor` will be read again.
    async fn trim(&self, shard: u32, floor: u64) -> Result<(), Trouble>;
}
