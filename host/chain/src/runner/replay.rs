//! What a stateful plugin's state follows from: a snapshot and what succeeded since. Knows how to make an instance with
//! exactly that state.

use super::RunError;
use crate::instance::{CallFailure, Instance};
use crate::plugin::{Leniency, Plugin};
use crate::view::BatchView;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Input that is kept at least until the next snapshot, bytes …
const KEPT_BYTES_MIN: usize = 1 << 20;
/// … and this many times the size of the last snapshot, so that snapshots cost a fixed share of the work.
const KEPT_PER_SNAPSHOT: usize = 4;

/// Something that changed the state.
#[derive(Debug)]
pub enum Event {
    /// These rows were processed in one call.
    Batch(Arc<BatchView>),
    /// A flush at this time.
    Flush(i64),
}

/// Where the state begins.
#[derive(Debug, Default)]
pub enum Base {
    /// A configured instance.
    #[default]
    Fresh,
    /// A snapshot of the same state version.
    Snapshot(Vec<u8>),
    /// A snapshot of an older state version.
    Older(u32, Vec<u8>),
}

/// A base and what came after it.
#[derive(Debug, Default)]
pub struct Replay {
    base: Base,
    since: Vec<Event>,
    kept_bytes: usize,
}

impl From<Base> for Replay {
    fn from(base: Base) -> Self {
        Self { base, since: Vec::new(), kept_bytes: 0 }
    }
}

impl Replay {
    /// Adds what changed the state.
    pub fn push(&mut self, event: Event) {
        self.kept_bytes += match &event {
            Event::Batch(view) => view.bytes(),
            Event::Flush(_) => 0,
        };
        self.since.push(event);
    }

    /// Whether nothing came after the base.
    pub fn is_at_base(&self) -> bool {
        self.since.is_empty()
    }

    /// The base, where nothing came after it.
    pub fn base_alone(&self) -> Option<&Base> {
        self.is_at_base().then_some(&self.base)
    }

    /// Whether a new base would save more than it costs.
    pub fn is_long(&self) -> bool {
        self.kept_bytes > KEPT_BYTES_MIN.max(KEPT_PER_SNAPSHOT * self.base_bytes())
    }

    /// Size of the snapshot that the state begins with.
    pub fn base_bytes(&self) -> usize {
        match &self.base {
            Base::Fresh => 0,
            Base::Snapshot(bytes) | Base::Older(_, bytes) => bytes.len(),
        }
    }

    /// Everything up to now is in `snapshot`.
    pub fn rebase(&mut self, snapshot: Vec<u8>) {
        *self = Self::from(Base::Snapshot(snapshot));
    }

    /// A new instance with the state of the base, if that is kept at all.
    pub fn begin(&self, plugin: &Plugin, leniency: Leniency) -> Result<Rising, RunError> {
        if !plugin.stateful() {
            return Ok(Rising { instance: plugin.instance_for(leniency)?, done: 0 });
        }
        let mut instance = plugin.instance_for(Leniency::OtherBuild)?;
        let restored = match &self.base {
            Base::Fresh => Ok(()),
            Base::Snapshot(bytes) => instance.restore(bytes),
            Base::Older(version, bytes) => instance.upgrade(*version, bytes),
        };
        restored.map_err(RunError::Restore)?;
        Ok(Rising { instance, done: 0 })
    }

    /// Runs one more event again; `true` where none was left. What passed once, under whichever budgets, passes again.
    pub fn step(&self, rising: &mut Rising) -> Result<bool, RunError> {
        let Some(event) = self.since.get(rising.done) else { return Ok(true) };
        let again: Result<(), CallFailure> = match event {
            Event::Batch(view) => rising.instance.process(view).map(drop),
            Event::Flush(now) => rising.instance.flush(*now).map(drop),
        };
        again.map_err(RunError::NotDeterministic)?;
        rising.done += 1;
        Ok(false)
    }
}

/// An instance that is on its way to the state that follows.
#[derive(Debug)]
pub struct Rising {
    instance: Instance,
    /// Events that it has run.
    done: usize,
}

impl Rising {
    /// The instance, held to the budgets of `leniency`.
    pub fn risen(mut self, leniency: Leniency) -> Instance {
        if self.instance.plugin().stateful() {
            // What it says while catching up it said before.
            drop(self.instance.take_telemetry());
            self.instance.hold_to(leniency);
        }
        self.instance
    }
}

/// State of one component of a partition, as the checkpoint keeps it: the plugin's snapshot and what the host knows beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentState {
    /// Event time at the component's input, unix nanoseconds.
    pub watermark: i64,
    /// When it wants to be flushed, unix nanoseconds.
    pub wake_at: Option<i64>,
    /// What the plugin's `snapshot` returned.
    #[serde(with = "serde_bytes")]
    pub snapshot: Vec<u8>,
}

/// A blob that is no component state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "plugin state of {bytes} bytes can't be read: {reason}; restore it, or the plugin that wrote it; until then its partition waits"
)]
pub struct StateError {
    /// Size of the blob.
    pub bytes: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// First byte of a blob: version of this encoding.
const ENCODING: u8 = 1;

impl ComponentState {
    /// The blob that the checkpoint stores; its digest and length are kept beside it there.
    pub fn to_bytes(&self) -> Vec<u8> {
        let room = Vec::from([ENCODING]);
        postcard::to_extend(self, room).expect("writing to memory does not fail")
    }

    /// Reads what `to_bytes` wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let fail = |reason: String| StateError { bytes: bytes.len(), reason };
        match bytes.split_first() {
            Some((&ENCODING, rest)) => postcard::from_bytes(rest).map_err(|e| fail(e.to_string())),
            Some((version, _)) => Err(fail(format!("encoding {version}, this build reads {ENCODING}"))),
            None => Err(fail("it is empty".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_blob_is_as_builds_before_wrote_it() {
        let state = ComponentState { watermark: 3, wake_at: Some(-1), snapshot: vec![7; 200] };
        let mut bytes = vec![ENCODING, 6, 1, 1, 200, 1];
        bytes.extend([7; 200]);
        assert_eq!(state.to_bytes(), bytes);
        assert_eq!(ComponentState::from_bytes(&bytes).unwrap(), state);
        assert!(ComponentState::from_bytes(&bytes[..100]).is_err());
    }
}
