//! What the queue answers when it cannot do as told, and what its caller should do then.

use sawlog_log::{DiskError, Gone, LogError};

/// The queue's quota is used up; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the queue holds {used_bytes} of at most {limit_bytes} bytes, {asked_bytes} more do not fit; send it again later. The \
     sink that is behind frees it, or raise the queue's quota"
)]
pub struct Full {
    /// Bytes kept and reserved now.
    pub used_bytes: u64,
    /// Bytes that may be kept.
    pub limit_bytes: u64,
    /// Bytes that were asked for.
    pub asked_bytes: u64,
}

/// Why the queue did not do as told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// No room; answer 503 with a Retry-After.
    #[error(transparent)]
    Full(#[from] Full),
    /// The idempotency key was used for another body; answer 422.
    #[error("this Idempotency-Key was used for another body; use a new key for a new request")]
    KeyReused,
    /// A principal or key is too long; answer 400.
    #[error("the {what} has {bytes} bytes, at most {bytes_max} are taken; shorten it")]
    NameTooLong {
        /// Principal or key.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// What lies at this address is no request.
    #[error("shard {shard} of queue {dir:?} holds no readable request at address {lsn}: {what}")]
    NoRequest {
        /// Folder of the queue.
        dir: String,
        /// The shard.
        shard: u32,
        /// The address.
        lsn: u64,
        /// What was found.
        what: String,
    },
    /// There is no such shard.
    #[error("queue {dir:?} has {shards} shards, there is no shard {shard}")]
    NoShard {
        /// Folder of the queue.
        dir: String,
        /// The shard asked for.
        shard: u32,
        /// How many there are.
        shards: u32,
    },
    /// The options cannot work.
    #[error("queue {dir:?}: {what}")]
    Options {
        /// Folder of the queue.
        dir: String,
        /// Which option, and what it must be.
        what: String,
    },
    /// The file that says how many shards there are is damaged.
    #[error(
        "queue {dir:?}: its file `meta` is damaged; write `sawlog-queue 1 shards N` with N folders `shard-*` into it"
    )]
    Meta {
        /// Folder of the queue.
        dir: String,
    },
    /// The log below refused. Whether a request was stored is unknown to its client: answer 503, it must retry with its key.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A thread could not be started.
    #[error("cannot start a thread of the queue: {0}; check the limit on processes")]
    Thread(String),
    /// The queue's thread is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}

impl QueueError {
    /// Whether the queue will take nothing any more until the process is restarted.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Log(LogError::Dead { .. } | LogError::Closed { .. }) | Self::Gone(_))
    }
}
