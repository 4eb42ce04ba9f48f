//! What the two processes say to each other, in the order in which they say it.

use super::{Malformed, Reader, Wire, cases, fields};
use crate::apart::process::{EndedBy, ProcessEnd};
use crate::engine::EngineLimits;
use crate::host::{LogLevel, Said, Word};
use crate::instance::{Answer, Budget, Call, CallFailure, CreateError, Made, Reply};
use crate::plugin::{Allow, Isolation, PluginConfig, PluginLimits};
use crate::view::BatchView;
use std::sync::Arc;

/// First: what the process is for.
#[derive(Debug)]
pub struct Load {
    pub limits: EngineLimits,
    /// The name that the configuration gives the plugin.
    pub name: String,
    pub digest: Vec<u8>,
    pub config: PluginConfig,
    /// Code, as the agent's engine compiled it.
    pub code: Vec<u8>,
}

/// The answer: it is loaded and confined.
#[derive(Debug)]
pub struct Ready {
    /// Why it has no network namespace of its own, where it has none.
    pub without_namespaces: Option<String>,
}

/// Then, one after the other, each with its answer but for `Forget`.
#[derive(Debug)]
pub enum Request {
    /// Make an instance of this number with so many times the usual budgets, for these columns: `Result<Made, CreateError>`.
    Create(u64, u64, Vec<String>),
    /// This instance is not needed any more.
    Forget(u64),
    /// A call of an instance: `Answer`.
    Call(u64, Budget, Asked),
    /// Do what a test wants tried: a text.
    Try(String),
}

/// A call as it arrives.
#[derive(Debug)]
pub enum Asked {
    Process(Arc<BatchView>),
    Flush(i64),
    Snapshot,
    Restore(Vec<u8>),
    Upgrade(u32, Vec<u8>),
}

impl Asked {
    pub fn call(&self) -> Call<'_> {
        match self {
            Self::Process(view) => Call::Process(view),
            Self::Flush(now) => Call::Flush(*now),
            Self::Snapshot => Call::Snapshot,
            Self::Restore(state) => Call::Restore(state),
            Self::Upgrade(version, old) => Call::Upgrade(*version, old),
        }
    }
}

/// Writes `Request::Call` of a call that is not owned.
pub fn write_call(instance: u64, budget: Budget, call: Call<'_>, out: &mut Vec<u8>) {
    out.push(CALL);
    instance.put(out);
    budget.put(out);
    match call {
        Call::Process(view) => {
            out.push(0);
            view.batch.put(out);
        }
        Call::Flush(now) => {
            out.push(1);
            now.put(out);
        }
        Call::Snapshot => out.push(2),
        Call::Restore(state) => {
            out.push(3);
            put_bytes(state, out);
        }
        Call::Upgrade(version, old) => {
            out.push(4);
            version.put(out);
            put_bytes(old, out);
        }
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.len().put(out);
    out.extend_from_slice(bytes);
}

/// The case of a call among requests.
const CALL: u8 = 2;

impl Wire for Arc<BatchView> {
    fn put(&self, out: &mut Vec<u8>) {
        self.batch.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Arc::new(BatchView::shown(Wire::get(from)?)))
    }
}

impl Wire for Said {
    fn put(&self, out: &mut Vec<u8>) {
        let (words, beyond) = self.parts();
        words.len().put(out);
        Word::put_all(words, out);
        beyond.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let words = Wire::get(from)?;
        Ok(Said::told(words, Wire::get(from)?))
    }
}

fields! {
    EngineLimits { instances_max, memory_bytes_max, component_bytes_max }
    PluginLimits { memory_bytes_max, fuel_per_record, state_bytes_max }
    Allow { state, timers, kernels }
    PluginConfig { config_json, files, limits, allow, epoch, isolation }
    Load { limits, name, digest, config, code }
    Ready { without_namespaces }
    Budget { fuel, memory_bytes_max }
    Made { registration, memory_bytes, said }
    Answer { reply, fuel_used, memory_bytes, said }
    ProcessEnd { by, reason }
}

cases! {
    Isolation { 0 => None, 1 => Process }
    Request { 0 => Create(instance, factor, columns), 1 => Forget(instance), 2 => Call(instance, budget, call), 3 => Try(what) }
    Asked { 0 => Process(view), 1 => Flush(now), 2 => Snapshot, 3 => Restore(state), 4 => Upgrade(version, old) }
    Reply { 0 => Edits(edits), 1 => Emitted(emitted), 2 => Snapshot(state), 3 => Taken(taken) }
    CallFailure {
        0 => Trap(text), 1 => Fuel, 2 => Memory, 3 => Rejected(text), 4 => BadOutput(text), 5 => Ended(end)
    }
    CreateError { 0 => NoRoom(text), 1 => Configure(text), 2 => Ended(end) }
    EndedBy { 0 => Itself, 1 => Other, 2 => AnotherCall }
    LogLevel { 0 => Debug, 1 => Info, 2 => Warn, 3 => Error }
    Word { 0 => Log(level, text), 1 => Count(metric, delta), 2 => Gauge(metric, value) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::read;
    use super::*;

    #[test]
    fn a_call_is_written_as_the_request_that_is_read() {
        let budget = Budget { fuel: 7, memory_bytes_max: 1 << 20 };
        for (call, asked) in [
            (Call::Flush(-1), Asked::Flush(-1)),
            (Call::Snapshot, Asked::Snapshot),
            (Call::Restore(b"state"), Asked::Restore(b"state".to_vec())),
            (Call::Upgrade(3, b"old"), Asked::Upgrade(3, b"old".to_vec())),
        ] {
            let (mut written, mut whole) = (Vec::new(), Vec::new());
            write_call(9, budget, call, &mut written);
            Request::Call(9, budget, asked).put(&mut whole);
            assert_eq!(written, whole, "{call:?}");
            assert!(matches!(read(&written).unwrap(), Request::Call(9, found, _) if found == budget));
        }
    }
}
