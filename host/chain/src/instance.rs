//! One instance of a plugin and its calls, each with a budget. Knows the contract's functions and how they fail; who calls
//! them when, and what happens after a failure, is the runner's matter.

use crate::check::{self, Checked, Expected};
use crate::host::{Guest, HOST_CALLS_MAX, Refusal, Telemetry};
use crate::plugin::{Digest, Leniency, Plugin, PluginConfig, Program, Transform};
use crate::records;
use crate::view::BatchView;
use crate::wit::exports::sawlog::plugin as exports;
use crate::wit::sawlog::plugin::types::{Batch, Edits, Emitted, Failure, Registration as RawRegistration};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{Store, Trap};

/// Calls other than `process` get this many times the budget of a record.
pub const RARE_CALL_FACTOR: u64 = 100;
/// What the host copies of an answer, bytes: a small one may name the same bytes many times. A snapshot may fill all memory there is.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Why a call gave nothing that can be used. The same for the same input on every machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The code trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// The budget of one record was used up.
    #[error("used up its fuel; make it cheaper or raise its `limits.fuel`")]
    Fuel,
    /// It wanted more memory than it may have.
    #[error("wanted more memory than it may have; raise its `limits.memory`")]
    Memory,
    /// The plugin refused the input.
    #[error("rejected: {0}")]
    Rejected(String),
    /// What it returned is not well formed or too large.
    #[error("returned what can't be used: {0}")]
    BadOutput(String),
}

impl CallFailure {
    /// A short word for verdicts and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Rejected(_) => "rejected",
            Self::BadOutput(_) => "bad_output",
        }
    }
}

/// Why an instance was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The pool is full or the machine refuses; no fault of the plugin.
    #[error("no room for an instance: {0}")]
    NoRoom(String),
    /// `configure` refused or failed.
    #[error("configure failed: {0}")]
    Configure(String),
}

/// One instance: its own memory, its own state.
pub struct Instance {
    store: Store<Guest>,
    exports: Exports,
    plugin: Plugin,
    budget: u64,
    /// When the last call began.
    began: Instant,
    /// A trapped instance can't be entered again.
    dead: bool,
}

struct Exports {
    lifecycle: exports::lifecycle::Guest,
    process: Process,
    state: Option<exports::state::Guest>,
}

enum Process {
    Columns(exports::transform::Guest),
    Records(exports::transform_records::Guest),
}

impl Plugin {
    /// A fresh, configured instance with the usual budgets.
    pub fn instance(&self) -> Result<Instance, CreateError> {
        self.instance_for(Leniency::Usual)
    }

    /// A fresh, configured instance with the budgets of `leniency`.
    pub fn instance_for(&self, leniency: Leniency) -> Result<Instance, CreateError> {
        let (inner, factor) = (&self.inner, leniency.factor());
        let budget = inner.config.limits.fuel_per_record.saturating_mul(factor);
        let (mut store, exports) = instantiate(&inner.program, &inner.config, inner.digest, factor)?;
        configure(&mut store, &exports, &inner.config)?;
        store.data_mut().columns = inner.registration.columns.clone();
        Ok(Instance { store, exports, plugin: self.clone(), budget, began: Instant::now(), dead: false })
    }
}

impl Instance {
    /// What `configure` of a plugin that is being loaded says.
    pub(crate) fn probe(
        program: &Program,
        config: &PluginConfig,
        digest: Digest,
    ) -> Result<RawRegistration, CreateError> {
        let (mut store, exports) = instantiate(program, config, digest, 1)?;
        configure(&mut store, &exports, config)
    }

    /// The plugin that this is an instance of.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Whether a call trapped, so that no other can be made.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Linear memory that the instance holds, bytes; it never shrinks.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    /// Has the next calls be held to the budgets of `leniency`. Memory that it has it keeps.
    pub fn hold_to(&mut self, leniency: Leniency) {
        let (limits, factor) = (self.plugin.limits(), leniency.factor());
        self.budget = limits.fuel_per_record.saturating_mul(factor);
        let most = self.plugin.inner.program.shared.limits.memory_bytes_max;
        self.store.data_mut().limit_memory(limits.memory_bytes_max.saturating_mul(factor as usize).min(most));
    }

    /// Everything it said since this was last asked.
    pub fn take_telemetry(&mut self) -> Telemetry {
        let mut telemetry = std::mem::take(&mut self.store.data_mut().telemetry);
        telemetry.settle();
        telemetry
    }

    /// Has the last call count nothing of the plugin's own: it failed.
    pub fn uncount(&mut self) {
        self.store.data_mut().telemetry.abandon();
    }

    /// Fuel that the last call used.
    pub fn fuel_used(&self) -> u64 {
        self.budget.saturating_sub(self.store.get_fuel().unwrap_or(0))
    }

    /// One call over all rows of `view`, with the budget of one record. The answer is checked in full.
    pub fn process(&mut self, view: &Arc<BatchView>) -> Result<Checked, CallFailure> {
        let answer = self.call(view);
        let failure = answer.as_ref().err().map(CallFailure::code);
        self.plugin.inner.counters.called(self.began.elapsed(), self.fuel_used(), self.memory_bytes(), failure);
        answer
    }

    fn call(&mut self, view: &Arc<BatchView>) -> Result<Checked, CallFailure> {
        self.begin(Some(Arc::clone(view)), view.time(), self.budget)?;
        let answer = match &self.exports.process {
            Process::Columns(guest) => {
                let (store, batch): (_, &Batch) = (&mut self.store, &view.batch);
                guarded(|| guest.call_process(store, batch))
            }
            Process::Records(guest) => {
                let (store, batch) = (&mut self.store, &view.batch);
                records::process(guest, store, batch)
            }
        };
        let edits = self.end(answer)?;
        self.checked(edits, view)
    }

    fn checked(&self, answer: Result<Edits, Failure>, view: &BatchView) -> Result<Checked, CallFailure> {
        let edits = answer.map_err(|Failure::Rejected(text)| CallFailure::Rejected(text))?;
        let timers = self.plugin.allow().timers && self.exports.state.is_some();
        let expected = Expected { rows: view.rows(), registration: self.plugin.registration(), timers };
        check::check_edits(edits, expected).map_err(|e| CallFailure::BadOutput(e.0))
    }

    /// Gives out what is held back: event time is taken to be `now` (unix nanoseconds; the PLAN's time, or `i64::MAX` where
    /// the partition has ended).
    pub fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, CallFailure> {
        let Some(_) = self.exports.state else { return Ok(Vec::new()) };
        self.begin(None, now, self.rare_budget())?;
        let answer = self.state_call(|guest, store| guest.call_flush(store, now));
        let emitted = self.end(answer)?.map_err(|Failure::Rejected(text)| CallFailure::Rejected(text))?;
        check::check_emitted(&emitted, self.plugin.registration()).map_err(|e| CallFailure::BadOutput(e.0))?;
        Ok(emitted)
    }

    /// Its state as bytes; empty for a stateless plugin.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, CallFailure> {
        let Some(_) = self.exports.state else { return Ok(Vec::new()) };
        self.begin(None, 0, self.rare_budget())?;
        let answer = self.state_call(|guest, store| guest.call_snapshot(store));
        let snapshot = self.end(answer)?;
        let (bytes, bytes_max) = (snapshot.len(), self.plugin.limits().state_bytes_max);
        if bytes > bytes_max {
            let text =
                format!("a snapshot of {bytes} bytes, the limit is {bytes_max}; raise `limits.state` of the plugin");
            return Err(CallFailure::BadOutput(text));
        }
        Ok(snapshot)
    }

    /// Takes over a snapshot of the same state version. Only on a fresh instance.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), CallFailure> {
        self.begin(None, 0, self.rare_budget())?;
        let answer = self.state_call(|guest, store| guest.call_restore(store, snapshot));
        self.end(answer)?.map_err(CallFailure::Rejected)
    }

    /// Takes over a snapshot of the older state version `version`. Only on a fresh instance.
    pub fn upgrade(&mut self, version: u32, old: &[u8]) -> Result<(), CallFailure> {
        self.begin(None, 0, self.rare_budget())?;
        let answer = self.state_call(|guest, store| guest.call_upgrade(store, version, old));
        self.end(answer)?.map_err(CallFailure::Rejected)
    }

    fn rare_budget(&self) -> u64 {
        self.budget.saturating_mul(RARE_CALL_FACTOR)
    }

    fn state_call<T>(
        &mut self,
        call: impl FnOnce(&exports::state::Guest, &mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        let Some(guest) = &self.exports.state else {
            return Err(wasmtime::Error::msg("the plugin keeps no state"));
        };
        let store = &mut self.store;
        guarded(|| call(guest, store))
    }

    fn begin(&mut self, batch: Option<Arc<BatchView>>, time: i64, fuel: u64) -> Result<(), CallFailure> {
        if self.dead {
            return Err(CallFailure::Trap("the instance trapped before".into()));
        }
        self.began = Instant::now();
        self.store.data_mut().begin(batch, time);
        self.store.set_fuel(fuel).map_err(|e| CallFailure::Trap(e.to_string()))
    }

    fn end<T>(&mut self, answer: wasmtime::Result<T>) -> Result<T, CallFailure> {
        self.store.data_mut().batch = None;
        self.plugin.inner.counters.took(self.began.elapsed());
        answer.map_err(|error| {
            self.dead = true;
            classify(&error, self.store.data())
        })
    }
}

/// A panic of the engine must not take the process with it: it counts as a trap.
pub(crate) fn guarded<T>(call: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(wasmtime::Error::msg("the engine panicked")))
}

/// What an error of a call means. Texts come from the trap alone, never from addresses or the machine.
fn classify(error: &wasmtime::Error, guest: &Guest) -> CallFailure {
    match (&guest.refusal, error.downcast_ref::<Trap>()) {
        (Some(Refusal::Memory), _) => CallFailure::Memory,
        (Some(Refusal::Fuel), _) | (_, Some(Trap::OutOfFuel)) => CallFailure::Fuel,
        (_, Some(trap)) => CallFailure::Trap(trap.to_string()),
        (_, None) if guest.host_calls > HOST_CALLS_MAX => {
            CallFailure::Trap(format!("more than {HOST_CALLS_MAX} host calls in one call"))
        }
        (_, None) => CallFailure::Trap(error.root_cause().to_string()),
    }
}

fn instantiate(
    program: &Program,
    config: &PluginConfig,
    digest: Digest,
    factor: u64,
) -> Result<(Store<Guest>, Exports), CreateError> {
    let limits = config.limits;
    let seed = blake3::Hasher::new_derive_key("sawlog plugin randomness 2026-11")
        .update(&(config.epoch.len() as u64).to_le_bytes())
        .update(&config.epoch)
        .update(&digest.0)
        .finalize();
    let memory_bytes_max = limits.memory_bytes_max.saturating_mul(factor as usize);
    let memory_bytes_max = memory_bytes_max.min(program.shared.limits.memory_bytes_max);
    let mut store = Store::new(&program.shared.engine, Guest::new(memory_bytes_max, *seed.as_bytes()));
    store.limiter(|guest| guest);
    store.set_hostcall_fuel(ANSWER_BYTES_MAX.max(memory_bytes_max));
    let budget = limits.fuel_per_record.saturating_mul(factor).saturating_mul(RARE_CALL_FACTOR);
    store.set_fuel(budget).map_err(|e| CreateError::NoRoom(e.to_string()))?;
    let pre = &program.pre;
    let instance = guarded(|| pre.instantiate(&mut store)).map_err(|error| create_error(&error, store.data()))?;
    let configure = |error: wasmtime::Error| CreateError::Configure(format!("{error:#}"));
    let lifecycle = program.lifecycle.load(&mut store, &instance).map_err(configure)?;
    let process = match &program.transform {
        Transform::Columns(i) => Process::Columns(i.load(&mut store, &instance).map_err(configure)?),
        Transform::Records(i) => Process::Records(i.load(&mut store, &instance).map_err(configure)?),
    };
    let state = program.state.as_ref().map(|i| i.load(&mut store, &instance)).transpose().map_err(configure)?;
    Ok((store, Exports { lifecycle, process, state }))
}

/// A full pool is no fault of the plugin; what its own start-up code does is.
fn create_error(error: &wasmtime::Error, guest: &Guest) -> CreateError {
    if guest.refusal.is_some() || error.downcast_ref::<Trap>().is_some() {
        return CreateError::Configure(format!("its start-up code failed: {}", classify(error, guest)));
    }
    CreateError::NoRoom(format!("{error:#}"))
}

fn configure(
    store: &mut Store<Guest>,
    exports: &Exports,
    config: &PluginConfig,
) -> Result<RawRegistration, CreateError> {
    let guest = store.data_mut();
    guest.begin(None, 0);
    guest.configuring = true;
    let answer = guarded(|| exports.lifecycle.call_configure(&mut *store, &config.config_json, &config.files));
    store.data_mut().configuring = false;
    match answer {
        Ok(Ok(registration)) => Ok(registration),
        Ok(Err(reason)) => Err(CreateError::Configure(reason)),
        Err(error) => Err(CreateError::Configure(classify(&error, store.data()).to_string())),
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("plugin", &self.plugin).field("dead", &self.dead).finish_non_exhaustive()
    }
}
