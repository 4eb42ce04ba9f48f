//! A call of an instance as it crosses from who wants it to where the instance lives, and the answer back. Knows no wasmtime.

use super::CallFailure;
use crate::host::Said;
use crate::plugin::PluginLimits;
use crate::view::BatchView;
use crate::wit::sawlog::plugin::types::{Edits, Emitted, Failure};
use std::sync::Arc;

/// A call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    /// All rows of a view.
    Process(&'a Arc<BatchView>),
    /// Event time is taken to be this, unix nanoseconds.
    Flush(i64),
    Snapshot,
    Restore(&'a [u8]),
    /// A snapshot of an older state version.
    Upgrade(u32, &'a [u8]),
}

/// What a call gave, as the plugin returned it: nothing of it is checked.
#[derive(Debug)]
pub(crate) enum Reply {
    Edits(Result<Edits, Failure>),
    Emitted(Result<Vec<Emitted>, Failure>),
    Snapshot(Vec<u8>),
    Taken(Result<(), String>),
}

impl Reply {
    /// The reply to another call than was made, which only a broken sandbox gives.
    pub fn odd() -> CallFailure {
        CallFailure::BadOutput("the answer to another call".into())
    }
}

/// What a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub fuel: u64,
    /// Linear memory of the instance, bytes.
    pub memory_bytes_max: usize,
}

impl Budget {
    /// `factor` times the usual for one record, within what the engine has room for.
    pub fn of(limits: PluginLimits, factor: u64, engine_memory_bytes_max: usize) -> Self {
        let memory_bytes_max = limits.memory_bytes_max.saturating_mul(factor as usize).min(engine_memory_bytes_max);
        Self { fuel: limits.fuel_per_record.saturating_mul(factor), memory_bytes_max }
    }
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub reply: Result<Reply, CallFailure>,
    pub fuel_used: u64,
    /// Linear memory that the instance holds, bytes.
    pub memory_bytes: usize,
    pub said: Said,
}
