//! The journal on disk: the core's [`JournalStore`](sawlog_core::ports::JournalStore) over `host/log`, with numbered
//! checkpoints and a content-addressed store of blobs, in one locked data directory.
//!
//! What records and snapshots *mean* is the core's business; here they are bytes.
//!
//! ```text
//! data directory (0700)
//! ├── lock            held by flock for life; holds the pid, for the error message of whoever comes second
//! ├── identity/uuid   the directory's own name, 32 hexadecimal digits
//! ├── journal/        a sawlog-log: every record since the newest checkpoint, and as much before as fills its segment
//! ├── checkpoints/    <number, 10 digits>.ckpt: snapshots, the newest `keep` of them; `reserve` keeps space for the next
//! └── blobs/          <64 hexadecimal digits>: plugin code, configurations, plugin state, named by their BLAKE3 digest
//! ```
//!
//! A checkpoint file, version 1, little endian:
//!
//! ```text
//! ┌────────────┬─────────────┬────────┬────────────┬─────────┬────────────────┬─────────┬───────────┬───────┐
//! │ "sawlckpt" │ version u32 │ 0 u32  │ number u64 │ LSN u64 │ incarnation 16 │ len u64 │ blake3 32 │ state │
//! └────────────┴─────────────┴────────┴────────────┴─────────┴────────────────┴─────────┴───────────┴───────┘
//!   the digest covers everything in front of it, and the state
//! ```
//!
//! The state replaces every record whose frame lies below `LSN` in the journal of that incarnation.

pub mod backup;
mod blobs;
mod dir;
mod error;
mod journal;
mod reserve;
mod snapshot;

/// The folders of a data directory that are this room's.
pub const FOLDERS: [&str; 4] = [dir::IDENTITY_DIR, journal::JOURNAL_DIR, snapshot::DIR, blobs::DIR];

pub use dir::{DataDir, LOCK_FILE};
pub use error::CheckpointError;
pub use journal::{CheckpointInfo, DiskJournal, JournalOptions, set_aside};
