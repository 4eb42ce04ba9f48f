//! What can go wrong with a data directory, and the way out of it.

use sawlog_log::{DiskError, Gone, LogError};

/// Why the journal cannot be opened or does not take something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CheckpointError {
    /// Another process works in this directory.
    #[error(
        "data directory {dir:?} is in use by process {pid}; stop that agent, or give this one a data_dir of its own \
         (a pod that replaces another waits until the old one is gone)"
    )]
    Locked {
        /// The directory.
        dir: String,
        /// Whoever holds the lock, as far as its file tells.
        pid: String,
    },
    /// The journal cannot be read back; nothing was changed.
    #[error(
        "the journal is damaged: {what}; nothing was changed. Begin again with the newest backup: `sawlog checkpoint restore \
         --from backup`, or where there is none with the cursors that Kafka and object sinks keep: `sawlog checkpoint restore \
         --from sinks`. Either keeps the damaged journal in a folder beside, and says what it costs"
    )]
    Corrupt {
        /// Where, what was found there, what was expected.
        what: String,
    },
    /// A file was written by a later build.
    #[error("{what}; run the build that wrote it, or a later one")]
    NewerFormat {
        /// Which file and version.
        what: String,
    },
    /// The journal has used up its quota and its reserve.
    #[error(
        "the journal holds {bytes} bytes, its quota is {quota_bytes} and its reserve {reserve_bytes}; find the sink that \
         holds it back (`sawlog checkpoint show`) or raise `limits.disk`"
    )]
    Full {
        /// Bytes of records since the oldest segment.
        bytes: u64,
        /// The quota in bytes.
        quota_bytes: u64,
        /// The reserve in bytes.
        reserve_bytes: u64,
    },
    /// The log under the journal refused.
    #[error(transparent)]
    Log(LogError),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A thread could not be started.
    #[error("cannot start the journal's thread: {0}; check the limit on processes")]
    Thread(String),
    /// The journal's thread is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}

impl From<LogError> for CheckpointError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Corrupt(damage) => Self::Corrupt {
                what: format!("{:?}, bytes {}..{}: {}", damage.file, damage.lo, damage.hi, damage.what),
            },
            LogError::NewerFormat { .. } => Self::NewerFormat { what: error.to_string() },
            error => Self::Log(error),
        }
    }
}
