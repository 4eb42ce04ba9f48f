//! Runs batches through one plugin for one place (a worker, or a partition and lane): finds the rows that it can't take,
//! keeps the state of the rows that it could. Knows nothing of journals: which rows are poison is returned, and told again
//! at a replay.
//!
//! A batch is one call. If the call fails, the batch is cut in halves, each on a fresh or restored instance with the full
//! budget, until single rows fail: those are poison. State is never taken from a failed instance: the last snapshot is
//! restored and what succeeded since then is run again, with its output discarded.

mod ends;
mod replay;

use crate::apart::ProcessEnd;
use crate::check::Checked;
use crate::host::Telemetry;
use crate::instance::{CallFailure, CreateError, Instance};
use crate::plugin::{Leniency, Plugin};
use crate::view::BatchView;
use crate::wit::sawlog::plugin::types::Emitted;
use ends::Ends;
use replay::{Base, Event, Replay, Rising};
pub use replay::{ComponentState, StateError};
use std::sync::Arc;

/// Successful calls of the present size before a larger one is tried again.
const GROW_AFTER_CALLS: u32 = 32;

/// From this size of state on, what saves or restores it may take longer than others on the same worker should wait, bytes.
const HEAVY_BYTES: usize = 1 << 20;
/// The memory of an instance that holds so much, bytes: its own code and stack take some too.
const HEAVY_MEMORY_BYTES: usize = 4 << 20;

/// Why a runner can't go on. The partition stops, nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// No instance could be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The snapshot was refused.
    #[error("the snapshot can't be restored: {0}; restore the plugin that wrote it; until then its partition waits")]
    Restore(CallFailure),
    /// What succeeded before failed when it was run again.
    #[error(
        "the plugin is not deterministic: what it did once failed when run again ({0}); mend it (`sawlog plugin test` shows where) and \
         load it anew"
    )]
    NotDeterministic(CallFailure),
    /// The process that it runs in does not live long enough for a call, for no fault of what it is called with.
    #[error(
        "the processes that the plugin runs in are ended from outside, one after the other ({0}); see whether memory is short on the          machine; until the agent starts again its partition waits"
    )]
    Killed(ProcessEnd),
}

/// Edits of rows `start..end` of a batch; row numbers in them count from `start`.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// First row.
    pub start: u32,
    /// The row after the last.
    pub end: u32,
    /// What the plugin returned for these rows, checked.
    pub edits: Checked,
}

/// What became of a batch: every row is in one part or is poison.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Outcome {
    /// Ascending, without overlap.
    pub parts: Vec<Part>,
    /// Rows that failed alone, with the reason, ascending. Journal them before using the parts.
    pub poison: Vec<(u32, CallFailure)>,
}

/// Runs one plugin.
#[derive(Debug)]
pub struct Runner {
    plugin: Plugin,
    leniency: Leniency,
    instance: Option<Instance>,
    /// What becomes the instance once it has the state that follows.
    rising: Option<Rising>,
    /// Whether a new base is due, and if so, whether the instance has swollen.
    due: Option<bool>,
    /// Whether the instance has answered a call since it was made or restored.
    used: bool,
    replay: Replay,
    rows_per_call_max: u32,
    calls_of_this_size: u32,
    watermark: i64,
    wake_at: Option<i64>,
    telemetry: Telemetry,
    ends: Ends,
}

/// The state before a batch, as another component can take it over.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    /// None: a configured instance has it.
    Fresh,
    /// Saved, in this version of the plugin's form.
    Saved(u32, ComponentState),
}

/// A batch on its way through a runner. One [`Runner::step`] is one call, so that others come in between those of a hunt for
/// poison.
#[derive(Debug)]
pub struct Hunt {
    view: Arc<BatchView>,
    /// Ranges that are still to be run, the next one last.
    todo: Vec<(u32, u32)>,
    /// What fitted before this hunt, once it had to cut for cost.
    rows_per_call_before: Option<u32>,
    outcome: Outcome,
}

impl Hunt {
    /// A hunt over `view`. `poison` are rows with a journalled verdict, ascending: the plugin never sees them again.
    pub fn new(view: Arc<BatchView>, poison: &[u32]) -> Self {
        let mut todo = Vec::new();
        let mut start = 0;
        for row in poison.iter().copied().chain([view.count()]) {
            if start < row {
                todo.push((start, row));
            }
            start = row + 1;
        }
        todo.reverse();
        Self { view, todo, rows_per_call_before: None, outcome: Outcome::default() }
    }

    /// Whether every row has its fate.
    pub fn is_done(&self) -> bool {
        self.todo.is_empty()
    }

    /// What became of the batch so far, and the ranges of rows that have no fate yet.
    pub(crate) fn into_parts(self) -> (Outcome, Vec<(u32, u32)>) {
        (self.outcome, self.todo)
    }

    /// What became of the batch; complete once `is_done`.
    pub fn finish(self) -> Outcome {
        assert!(self.todo.is_empty(), "a hunt was finished before every row had its fate");
        self.outcome
    }
}

impl Runner {
    /// A runner with fresh state.
    pub fn new(plugin: Plugin, leniency: Leniency) -> Self {
        Self {
            plugin,
            leniency,
            instance: None,
            rising: None,
            due: None,
            used: false,
            replay: Replay::default(),
            rows_per_call_max: u32::MAX,
            calls_of_this_size: 0,
            watermark: i64::MIN,
            wake_at: None,
            telemetry: Telemetry::default(),
            ends: Ends::default(),
        }
    }

    /// A runner that goes on from `state`, a snapshot of the same state version.
    pub fn restored(plugin: Plugin, leniency: Leniency, state: ComponentState) -> Result<Self, RunError> {
        Self::resume(plugin, leniency, state.watermark, state.wake_at, Base::Snapshot(state.snapshot))
    }

    /// A runner that goes on from `state`, a snapshot of the older state version `version`. If the plugin refuses it, flush
    /// what is held back under the old epoch and begin with fresh state.
    pub fn upgraded(plugin: Plugin, leniency: Leniency, version: u32, state: ComponentState) -> Result<Self, RunError> {
        Self::resume(plugin, leniency, state.watermark, state.wake_at, Base::Older(version, state.snapshot))
    }

    fn resume(
        plugin: Plugin,
        leniency: Leniency,
        watermark: i64,
        wake_at: Option<i64>,
        base: Base,
    ) -> Result<Self, RunError> {
        let mut runner = Self { watermark, wake_at, ..Self::new(plugin, leniency) };
        runner.replay = Replay::from(base);
        runner.ready()?;
        Ok(runner)
    }

    /// The state after everything that was run so far, for the checkpoint. On a failure the older snapshot stays good.
    pub fn snapshot(&mut self) -> Result<Result<ComponentState, CallFailure>, RunError> {
        let answer = self.insistently(Instance::snapshot)?;
        if let Err(failure) = answer.as_ref().map(|snapshot| self.replay.rebase(snapshot.clone())) {
            let failure = failure.clone();
            self.discard();
            return Ok(Err(failure));
        }
        let (watermark, wake_at) = (self.watermark, self.wake_at);
        Ok(answer.map(|snapshot| ComponentState { watermark, wake_at, snapshot }))
    }

    /// Has the next calls be held to other budgets; the state stays.
    pub fn set_leniency(&mut self, leniency: Leniency) {
        self.leniency = leniency;
        self.instance.iter_mut().for_each(|instance| instance.hold_to(leniency));
    }

    /// The plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Event time at the input of this component, unix nanoseconds: goes into the next view; `None` for stateless plugins.
    pub fn watermark(&self) -> Option<i64> {
        self.plugin.stateful().then_some(self.watermark)
    }

    /// When the plugin wants to be flushed, if it holds rows back: event time, unix nanoseconds.
    pub fn wake_at(&self) -> Option<i64> {
        self.wake_at
    }

    /// Everything the plugin said since this was last asked.
    pub fn take_telemetry(&mut self) -> Telemetry {
        let mut all = std::mem::take(&mut self.telemetry);
        if let Some(instance) = &mut self.instance {
            all.merge(instance.take_telemetry());
        }
        all
    }

    /// Runs the whole batch without letting others in. `poison` are rows with a journalled verdict, ascending.
    pub fn process_isolating(&mut self, view: Arc<BatchView>, poison: &[u32]) -> Result<Outcome, RunError> {
        let mut hunt = Hunt::new(view, poison);
        while !hunt.is_done() {
            self.step(&mut hunt)?;
        }
        Ok(self.finish(hunt))
    }

    /// Takes over the watermark of a hunt that is done.
    pub fn finish(&mut self, hunt: Hunt) -> Outcome {
        self.watermark = self.watermark.max(hunt.view.watermark_before(hunt.view.count()));
        hunt.finish()
    }

    /// One call of the hunt, or one towards an instance for it. Once it is done, `finish`.
    pub fn step(&mut self, hunt: &mut Hunt) -> Result<(), RunError> {
        if hunt.is_done() || !self.rise()? {
            return Ok(());
        }
        let Some((start, rest)) = hunt.todo.pop() else { return Ok(()) };
        let end = rest.min(start.saturating_add(self.rows_per_call_max));
        if end < rest {
            hunt.todo.push((end, rest));
        }
        let whole = start == 0 && end == hunt.view.count();
        let view = if whole { Arc::clone(&hunt.view) } else { Arc::new(hunt.view.part(start, end)) };
        match self.ready()?.process(&view) {
            Ok(edits) => {
                self.wake_at = edits.wake_at();
                hunt.outcome.parts.push(Part { start, end, edits });
                self.succeeded(end - start, view);
                Ok(())
            }
            Err(failure) => {
                self.discard_failed();
                match self.ends.is_chance(&failure)? {
                    true => hunt.todo.push((start, end)),
                    false => self.failed(hunt, (start, end), failure),
                }
                Ok(())
            }
        }
    }

    fn succeeded(&mut self, rows: u32, view: Arc<BatchView>) {
        self.used = true;
        self.ends = Ends::default();
        if rows == self.rows_per_call_max {
            self.calls_of_this_size += 1;
            if self.calls_of_this_size >= GROW_AFTER_CALLS {
                self.calls_of_this_size = 0;
                self.rows_per_call_max = self.rows_per_call_max.saturating_mul(2);
            }
        }
        self.remember(Event::Batch(view));
    }

    fn failed(&mut self, hunt: &mut Hunt, (start, end): (u32, u32), failure: CallFailure) {
        let costly = matches!(failure, CallFailure::Fuel | CallFailure::Memory);
        if end - start == 1 {
            // What earlier calls left behind, such as garbage that a runtime collects just now, is no fault of this row: the
            // verdict is that of an instance without them.
            if costly && self.used {
                hunt.todo.push((start, end));
                return;
            }
            // A single costly row says nothing of how many usual ones fit.
            if let Some(before) = hunt.rows_per_call_before.take() {
                self.rows_per_call_max = before;
            }
            hunt.outcome.poison.push((start, failure));
            return;
        }
        let half = start + (end - start) / 2;
        hunt.todo.push((half, end));
        hunt.todo.push((start, half));
        if costly {
            hunt.rows_per_call_before.get_or_insert(self.rows_per_call_max);
            self.rows_per_call_max = half - start;
            self.calls_of_this_size = 0;
        }
    }

    /// Gives out what is held back, event time being `now` (unix nanoseconds). On a failure the state is as before; journal
    /// the verdict.
    pub fn flush(&mut self, now: i64) -> Result<Result<Vec<Emitted>, CallFailure>, RunError> {
        if !self.plugin.stateful() {
            return Ok(Ok(Vec::new()));
        }
        match self.insistently(|instance| instance.flush(now))? {
            Ok(emitted) => {
                self.watermark = self.watermark.max(now);
                self.wake_at = None;
                self.used = true;
                self.remember(Event::Flush(now));
                Ok(Ok(emitted))
            }
            Err(failure) => {
                self.discard_failed();
                Ok(Err(failure))
            }
        }
    }

    /// A flush that has a verdict is passed over: the plugin is woken again when it next says when.
    pub fn give_up_flush(&mut self) {
        self.wake_at = None;
    }

    /// At most one call towards an instance with the state that follows; whether there is one. Where nothing is to be run again
    /// there is one at once.
    pub fn rise(&mut self) -> Result<bool, RunError> {
        self.settle();
        if self.instance.is_some() {
            return Ok(true);
        }
        let begun = self.rising.take().map_or_else(|| self.replay.begin(&self.plugin, self.leniency), Ok);
        let risen = begun.and_then(|mut rising| Ok((self.replay.step(&mut rising)?, rising)));
        match risen {
            Ok((true, rising)) => {
                self.used = false;
                self.instance = Some(rising.risen(self.leniency));
                Ok(true)
            }
            Ok((false, rising)) => {
                self.rising = Some(rising);
                Ok(false)
            }
            // From the beginning, in another process.
            Err(error) if self.ends.kept_from_rising(&error)? => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A call that changes nothing where it fails, again and again where only the end of a process keeps it from its answer.
    fn insistently<T>(
        &mut self,
        call: impl Fn(&mut Instance) -> Result<T, CallFailure>,
    ) -> Result<Result<T, CallFailure>, RunError> {
        loop {
            match call(self.ready()?) {
                Err(failure) if self.ends.is_chance(&failure)? => self.discard_failed(),
                Err(failure) => return Ok(Err(failure)),
                Ok(answer) => {
                    self.ends = Ends::default();
                    return Ok(Ok(answer));
                }
            }
        }
    }

    /// The instance, restored if need be.
    fn ready(&mut self) -> Result<&mut Instance, RunError> {
        let instance = loop {
            match self.instance.take() {
                Some(instance) => break instance,
                None => self.rise()?,
            };
        };
        Ok(self.instance.insert(instance))
    }

    /// Forgets the instance after a call that failed: what it counted is counted when its rows are run again.
    fn discard_failed(&mut self) {
        self.instance.iter_mut().for_each(Instance::uncount);
        self.discard();
    }

    /// Forgets the instance, keeping what it said: another with the same state is made when it is needed.
    pub(crate) fn discard(&mut self) {
        if let Some(mut instance) = self.instance.take() {
            self.telemetry.merge(instance.take_telemetry());
        }
    }

    /// A fresh instance with the state of this one, which must answer the next batch as this one does; `None` where making it would
    /// cost more than a call or two.
    pub fn twin(&self) -> Result<Option<Instance>, RunError> {
        if self.instance.is_none() || self.is_heavy() || !self.replay.is_at_base() {
            return Ok(None);
        }
        Ok(Some(self.replay.begin(&self.plugin, self.leniency)?.risen(self.leniency)))
    }

    /// The state before the next batch, where it is saved and small; that of a stateless plugin always is.
    pub(crate) fn before(&self) -> Option<Before> {
        if !self.plugin.stateful() {
            return Some(Before::Fresh);
        }
        if self.is_heavy() {
            return None;
        }
        match self.replay.base_alone()? {
            Base::Fresh => Some(Before::Fresh),
            Base::Older(..) => None,
            Base::Snapshot(snapshot) => {
                let (watermark, wake_at, snapshot) = (self.watermark, self.wake_at, snapshot.clone());
                let version = self.plugin.registration().state_version;
                Some(Before::Saved(version, ComponentState { watermark, wake_at, snapshot }))
            }
        }
    }

    /// Takes over the instance of a runner of the same stateless plugin.
    pub(crate) fn take_over(&mut self, other: Self) {
        (self.instance, self.used) = (other.instance, other.used);
    }

    /// Whether saving or restoring state may take long.
    pub(crate) fn is_heavy(&self) -> bool {
        match &self.instance {
            Some(instance) => self.plugin.stateful() && instance.memory_bytes() >= HEAVY_MEMORY_BYTES,
            None => Self::is_heavy_state(self.replay.base_bytes()),
        }
    }

    /// Whether restoring a state of so many bytes may take long.
    pub(crate) fn is_heavy_state(bytes: usize) -> bool {
        bytes >= HEAVY_BYTES
    }

    /// Whether a new base is due.
    pub(crate) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Whether state is to be saved or restored before the next call.
    pub(crate) fn is_behind(&self) -> bool {
        self.due.is_some() || self.instance.is_none()
    }

    /// Keeps what a later restore must run again, and bounds it: memory never shrinks and neither does a list of batches.
    fn remember(&mut self, event: Event) {
        let memory_bytes_max = self.plugin.limits().memory_bytes_max;
        let swollen = self.instance.as_ref().is_some_and(|i| i.memory_bytes() > memory_bytes_max / 2);
        if self.plugin.stateful() {
            self.replay.push(event);
            self.due = (self.replay.is_long() || swollen).then_some(swollen);
        } else if swollen {
            self.discard();
        }
    }

    /// Makes the new base that is due, if one is.
    pub(crate) fn settle(&mut self) {
        let Some(swollen) = self.due.take() else { return };
        self.rebase();
        if swollen {
            self.discard();
        }
    }

    /// Makes the present state the base. A snapshot that fails leaves the older base, from which the same state follows.
    fn rebase(&mut self) {
        let Some(instance) = &mut self.instance else { return };
        match instance.snapshot() {
            Ok(snapshot) => self.replay.rebase(snapshot),
            Err(_) => self.discard(),
        }
    }
}
