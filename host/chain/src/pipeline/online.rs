//! Is a plugin deterministic on what it meets in earnest? One batch of a thousand is run again on a fresh instance with the same
//! state (delivery.md §6). It knows which batch is due; what comes of it is counted with the plugin.

use crate::conformance::agrees;
use crate::view::BatchView;
use crate::{Instance, Outcome, Runner};
use sawlog_core::ports::Context;
use std::sync::atomic::{AtomicU64, Ordering};

/// One batch of so many is run again.
const EVERY: u64 = 1_000;
/// The first one, so that a plugin is looked at soon, and after it has met others.
const FIRST: u64 = 64;

/// How many batches each node still has until one is run again.
pub(super) struct Online(Vec<AtomicU64>);

impl Online {
    pub(super) fn of(nodes: usize) -> Self {
        Self((0..nodes).map(|_| AtomicU64::new(FIRST)).collect())
    }

    /// An instance to run the next batch of this node on too, where one is due. What is run again anyway, behind a restart, is not
    /// looked at; where a twin would be dear just now, one of the next batches is.
    pub(super) fn twin(&self, node: usize, runner: &Runner, context: &Context) -> Option<Instance> {
        let left = self.0.get(node).filter(|_| context.first_run && !context.generous)?;
        let is_due = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1)));
        if is_due.is_ok_and(|left| left > 1) {
            return None;
        }
        // No twin, for want of room or because restoring fails, is no word against the plugin, and not asked for at every batch.
        let twin = runner.twin().transpose()?;
        left.store(EVERY, Ordering::Relaxed);
        twin.ok()
    }
}

/// Counts whether `twin` gives what came of the batch.
pub(super) fn compare(runner: &Runner, mut twin: Instance, view: &BatchView, outcome: &Outcome) {
    runner.plugin().rechecked(agrees(&mut twin, view, outcome));
}
