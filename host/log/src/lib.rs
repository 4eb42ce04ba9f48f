//! Frames, segments and group commit over a disk port: what the journal and the queue have in common.
//!
//! A log is a folder of segment files and hands out byte addresses ([`Lsn`]) that count over the whole life of an
//! *incarnation* and are never reused. It knows nothing of what payloads mean, of cursors or of sinks.
//!
//! # Format, version 1
//!
//! All numbers are little endian. File names: `<number, 10 digits>-<first address, 16 hexadecimal digits>.seg`;
//! `.spare` files wait to become segments, `.bad` ones were damaged and are kept for inspection.
//!
//! ```text
//! segment  ┌────────────────────── one sector, 512 B ───────────────────────┬─────────┬─────────┬──────────────┐
//!          │ "sawl-log" 8 │ version u32 │ incarnation 16 │ number u64 │      │ frame   │ frame   │ zeros, or    │
//!          │ first address u64 │ zeros │ crc32c u32 over the 508 B before     │         │         │ stale frames │
//!          └────────────────────────────────────────────────────────────────┴─────────┴─────────┴──────────────┘
//!                                                                             address = first + (offset − 512)
//! frame    ┌─────────┬────────┬─────────┬─────────────┬──────────┐
//!          │ len u32 │ crc u32│ LSN u64 │ durable u64 │ payload  │   crc = crc32c(incarnation ‖ len ‖ LSN ‖ durable ‖ payload)
//!          └─────────┴────────┴─────────┴─────────────┴──────────┘
//! ```
//!
//! `durable` is the address below which everything was durable when the frame was written. The top bit of `len` marks a
//! frame of the log's own: payload = kind u8 (1 void) ‖ lo u64 ‖ hi u64, always the first frame of a segment.
//! The checksum covers incarnation and address, so a stale frame of a recycled segment never validates.
//!
//! # Reading back
//!
//! A segment that another one follows must be filled with sound frames up to the address where the next one begins (or
//! where the next one's void frame begins). In the last segment the frames end at the first bad one, at address `x`:
//!
//! - some frame of the log, before or behind `x`, was written when `x` was durable already: **damage**. The log refuses to
//!   open, or serves the rest and reports the stretch ([`OnDamage`]); it never just truncates;
//! - else nothing from `x` on was ever acknowledged: a **torn tail**, cut off durably before anything is appended.
//!
//! A damaged last group that no later frame vouches for looks like a torn tail; no log can tell them apart.
//!
//! # When a sync fails
//!
//! The file is never synced or written again. Frames above the durable end get a VOID frame in a *new* segment, made
//! durable before the log serves again; if that fails too the log is dead. See [`LogError::Void`], [`LogError::Dead`].

pub mod disk;

mod commit;
mod error;
mod frame;
mod log;
mod options;
mod reader;
mod real;
mod recover;
mod scan;
mod segment;
mod shelf;
#[cfg(feature = "sim")]
pub mod sim;
mod thread;

pub use commit::{Commits, Committed, Gather, OnFull, SharedLog};
pub use disk::{Disk, DiskError, DiskFile};
pub use error::{Damage, LogError};
pub use frame::{FRAME_HEADER_BYTES, Lsn};
pub use log::{Log, Opening};
pub use options::{LogOptions, OnDamage, PAYLOAD_BYTES_LIMIT, SEGMENT_BYTES_MIN, random_incarnation};
pub use reader::{Chunk, Frame, Reader};
pub use real::RealDisk;
pub use segment::{FORMAT_VERSION, SEGMENT_HEADER_BYTES};
pub use thread::{DiskThread, Drive, Gone};
