//! What the sinks of objects share: rows gathered per path, claims and keys as bytes and names, and the protocol's port over a
//! small set of blob operations. Knows nothing of S3, HDFS or folders.
//!
//! ```text
//!   rows ─► Stage (one encoder per path; memory, then data_dir/stage) ─► Body ─► Blobs::put_if_absent
//! ```

mod blobs;
mod claim;
mod keys;
mod lake;
mod logs;
mod open;
mod retire;
mod stage;

pub use blobs::{Blobs, Body, CHUNK_BYTES};
pub use claim::{ClaimError, decode_claim, encode_claim};
pub use keys::{Keys, safe};
pub use lake::Lake;
pub use logs::{LogHours, closed_hours};
pub(crate) use open::{Encoding, below};
pub use open::{OpenError, Owner};
pub use retire::{AgentLog, LogEnd, end_log, logs_of, owners};
pub use stage::{NewEncoder, StageOptions};
