//! An instance in this process: its store, its exports, and its calls as the engine makes them.

use super::{Answer, Budget, Call, CallFailure, CreateError, Made, RARE_CALL_FACTOR, Reply};
use crate::contained;
use crate::host::{Guest, HOST_CALLS_MAX, Refusal};
use crate::plugin::{Digest, PluginConfig, Program, Transform};
use crate::records;
use crate::view::BatchView;
use crate::wit::exports::sawlog::plugin as exports;
use crate::wit::sawlog::plugin::types::{Batch, Edits, Failure, Registration as RawRegistration};
use std::sync::Arc;
use wasmtime::{Store, Trap};

/// What the host copies of an answer, bytes: a small one may name the same bytes many times. A snapshot may fill all memory there is.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// An instance of this process's engine.
pub(crate) struct Here {
    store: Store<Guest>,
    exports: Exports,
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

impl Here {
    /// A configured instance; see [`super::Body::create`].
    pub fn create(
        program: &Program,
        (config, digest): (&PluginConfig, Digest),
        factor: u64,
        columns: &[String],
    ) -> Result<(Self, Made), CreateError> {
        let (mut store, exports) = instantiate(program, config, digest, factor)?;
        let registration = configure(&mut store, &exports, config)?;
        let guest = store.data_mut();
        guest.columns = columns.to_vec();
        let made = Made { registration, memory_bytes: guest.memory_bytes, said: std::mem::take(&mut guest.said) };
        Ok((Self { store, exports }, made))
    }

    /// Makes a call, which takes what `budget` gives at most.
    pub fn call(&mut self, call: Call<'_>, budget: Budget) -> Answer {
        let guest = self.store.data_mut();
        guest.limit_memory(budget.memory_bytes_max);
        match call {
            Call::Process(view) => guest.begin(Some(Arc::clone(view)), view.time()),
            Call::Flush(now) => guest.begin(None, now),
            Call::Snapshot | Call::Restore(_) | Call::Upgrade(..) => guest.begin(None, 0),
        }
        let reply = self.store.set_fuel(budget.fuel).and_then(|()| self.reply(call));
        let fuel_used = budget.fuel.saturating_sub(self.store.get_fuel().unwrap_or(0));
        let guest = self.store.data_mut();
        guest.batch = None;
        let (memory_bytes, said) = (guest.memory_bytes, std::mem::take(&mut guest.said));
        let reply = reply.map_err(|error| classify(&error, self.store.data()));
        Answer { reply, fuel_used, memory_bytes, said }
    }

    fn reply(&mut self, call: Call<'_>) -> wasmtime::Result<Reply> {
        match call {
            Call::Process(view) => self.process(view).map(Reply::Edits),
            Call::Flush(now) => self.state(|guest, store| guest.call_flush(store, now)).map(Reply::Emitted),
            Call::Snapshot => self.state(|guest, store| guest.call_snapshot(store)).map(Reply::Snapshot),
            Call::Restore(state) => self.state(|guest, store| guest.call_restore(store, state)).map(Reply::Taken),
            Call::Upgrade(version, old) => {
                self.state(|guest, store| guest.call_upgrade(store, version, old)).map(Reply::Taken)
            }
        }
    }

    fn process(&mut self, view: &BatchView) -> wasmtime::Result<Result<Edits, Failure>> {
        let (store, batch): (_, &Batch) = (&mut self.store, &view.batch);
        match &self.exports.process {
            Process::Columns(guest) => guarded(|| guest.call_process(store, batch)),
            Process::Records(guest) => records::process(guest, store, batch),
        }
    }

    fn state<T>(
        &mut self,
        call: impl FnOnce(&exports::state::Guest, &mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        let Some(guest) = &self.exports.state else {
            return Err(wasmtime::Error::msg("the plugin keeps no state"));
        };
        let store = &mut self.store;
        guarded(|| call(guest, store))
    }
}

/// A panic of the engine must not take the process with it: it counts as a trap.
pub(crate) fn guarded<T>(call: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    contained(call).unwrap_or_else(|_| Err(wasmtime::Error::msg("the engine panicked")))
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
    let seed = blake3::Hasher::new_derive_key("sawlog plugin randomness 2026-11")
        .update(&(config.epoch.len() as u64).to_le_bytes())
        .update(&config.epoch)
        .update(&digest.0)
        .finalize();
    let Budget { fuel, memory_bytes_max } = Budget::of(config.limits, factor, program.shared.limits.memory_bytes_max);
    let mut store = Store::new(&program.shared.engine, Guest::new(memory_bytes_max, *seed.as_bytes()));
    store.limiter(|guest| guest);
    store.set_hostcall_fuel(ANSWER_BYTES_MAX.max(memory_bytes_max));
    store.set_fuel(fuel.saturating_mul(RARE_CALL_FACTOR)).map_err(|e| CreateError::NoRoom(e.to_string()))?;
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
