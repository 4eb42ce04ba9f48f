//! The write-ahead queue: pushed input and the bytes of vanishing files become logs that can be read again.
//!
//! A [`Queue`] belongs to one source. Its *shards* are logs of their own (`host/log`), one lane each; a request is one frame
//! in one shard and is acknowledged once that frame is durable. A frame's address (LSN) never changes, so positions of
//! records are addresses: a record's position is the address of its first byte inside the frame's payload. A [`Rescue`]
//! belongs to the agent and keeps records of files that vanish before every sink has them.
//!
//! ```text
//! <queue's folder>/
//! ├── meta                    how many shards; fixed for the life of the folder
//! ├── shard-0000/             a sawlog-log of requests                      ─┐ trimmed by the lowest replay floor:
//! ├── keys-0000/*.keys        idempotency keys of what was trimmed from it  ─┘ keys first, then the segments
//! └── shard-0001/ …
//! <rescue's folder>/          a sawlog-log of rescued records, and of the generations given up again
//! ```
//!
//! The formats are drawn in `envelope.rs`, `sidecar.rs` and `stored.rs`. Nothing here knows HTTP, how a payload splits into
//! records, plans or sinks; there is no clock: accept times come with the requests and are made monotone here.
//!
//! Damage of the disk does not stop a queue: frames stand alone, so what can be read is served, and [`QueueOpening::damage`]
//! and [`Rescue::damage`] name the addresses that cannot, at every start until they are trimmed. Readiness is the caller's.

mod envelope;
mod error;
mod meta;
mod queue;
mod quota;
mod rescue;
mod shard;
mod sidecar;
mod stored;
mod window;

pub use envelope::{NAME_BYTES_MAX, Request};
pub use error::{Full, QueueError};
pub use queue::{Accepted, Queue, QueueOpening, QueueOptions, Submission};
pub use quota::{Quota, Reservation};
pub use rescue::{Rescue, RescueOptions};
pub use shard::{RequestChunk, StoredRequest};
