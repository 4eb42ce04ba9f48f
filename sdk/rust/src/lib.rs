//! Write a Sawlog plugin: say which columns you read, get them once per batch, give back only what changed.
//!
//! A filter is one function:
//!
//! ```
//! sawlog_plugin::filter! {
//!     /// Drops what is only of use to developers.
//!     name: "no-debug",
//!     columns: ["level"],
//!     keep: |row| row.bytes(0) != Some(b"debug"),
//! }
//! ```
//!
//! More than a filter is a [`Transform`], and one that remembers over batches is also a [`Stateful`]; export them with
//! [`export_transform!`] and [`export_stateful!`]. All of them run natively in unit tests (see [`testing`]).
//!
//! This crate hides columns, masks and offsets; what they mean is written in the contract, `wit/`.

mod batch;
#[doc(hidden)]
pub mod bindings;
mod edits;
mod export;
mod hash;
pub mod host;
pub mod kernels;
mod keyed;
mod plugin;
pub mod record;
pub mod testing;
mod watermark;
pub mod windows;

pub use batch::{Batch, Row, Value};
pub use bindings::types::{Emitted, LogRecord, Value as FieldValue};
pub use edits::{Edits, Fate, UpdateBuilder, Updates};
pub use hash::{Hasher, hash64};
pub use keyed::Keyed;
pub use plugin::{Columns, Config, OnFailure, Registration, Stateful, Transform};
pub use watermark::Watermark;
