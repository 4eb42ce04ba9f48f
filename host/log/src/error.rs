//! What can go wrong with a log, and what to do about it. It decides nothing.

use crate::disk::DiskError;
use crate::frame::Lsn;

/// A stretch of a log that cannot be read back although it was durable, so acknowledged frames may have been in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File of the segment, relative to the disk's root.
    pub file: String,
    /// First address that cannot be read.
    pub lo: Lsn,
    /// The address from which frames can be read again.
    pub hi: Lsn,
    /// What was found there.
    pub what: String,
}

/// What a log answers when it cannot do as told. Cheap to clone: one failure is told to many waiters.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The disk refused; nothing of what was asked happened, and it may be asked again.
    #[error("log {dir:?}: {source}")]
    Disk {
        /// Folder of the log.
        dir: String,
        /// The disk's answer.
        #[source]
        source: DiskError,
    },
    /// A sync failed: the frames of this commit do not exist and never will, what was acknowledged before stays. The log
    /// goes on in a new segment. Send the payloads again if their origin still has them.
    #[error(
        "log {dir:?}: the device could not make bytes {lo}..{hi} durable ({source}); they are void, the log goes on in a new \
         segment; send them again and check the device"
    )]
    Void {
        /// Folder of the log.
        dir: String,
        /// First void address.
        lo: Lsn,
        /// The address behind the last void one.
        hi: Lsn,
        /// The disk's answer.
        #[source]
        source: DiskError,
    },
    /// The log can't say any more what is durable. Only a restart, which reads the disk anew, helps.
    #[error("log {dir:?} stopped: {reason}; restart once the device is sound, what was acknowledged is on it")]
    Dead {
        /// Folder of the log.
        dir: String,
        /// What happened, and what then failed on top of it.
        reason: String,
    },
    /// Durable bytes cannot be read back.
    #[error("log segment {:?} is damaged: bytes {}..{} of the log cannot be read back ({})", .0.file, .0.lo, .0.hi, .0.what)]
    Corrupt(Damage),
    /// The segment was written by a later build.
    #[error(
        "log segment {file:?} has format version {found}, this build reads up to {known}; run the build that wrote it"
    )]
    NewerFormat {
        /// File of the segment.
        file: String,
        /// The version it tells.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// The address lies before everything that is kept.
    #[error("log {dir:?}: address {lsn} is trimmed, the oldest kept is {first}")]
    Trimmed {
        /// Folder of the log.
        dir: String,
        /// The address asked for.
        lsn: Lsn,
        /// The oldest address kept.
        first: Lsn,
    },
    /// The address is not the start of a frame, or lies beyond the durable end.
    #[error("log {dir:?}: no frame begins at {lsn} (durable end {end})")]
    NoFrame {
        /// Folder of the log.
        dir: String,
        /// The address asked for.
        lsn: Lsn,
        /// The durable end.
        end: Lsn,
    },
    /// The payload is above the log's limit.
    #[error("log {dir:?}: a payload of {bytes} bytes is above the limit of {bytes_max}; split it")]
    TooLarge {
        /// Folder of the log.
        dir: String,
        /// Size of the payload in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The log was closed while the caller waited, or its thread is gone.
    #[error("log {dir:?} is closed; whether the last payloads are durable is told by reading it again")]
    Closed {
        /// Folder of the log.
        dir: String,
    },
    /// An option that cannot work.
    #[error("log {dir:?}: {what}")]
    Options {
        /// Folder of the log.
        dir: String,
        /// Which option, and what it must be.
        what: String,
    },
}
