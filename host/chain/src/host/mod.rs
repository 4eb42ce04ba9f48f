//! What plugins may call, and the data of one instance that those calls work on. Knows the imports of the contract; every
//! call costs fuel, so that no plugin makes the host work for nothing.

mod kernels;
mod telemetry;
mod wasi;

pub use wasi::define as define_wasi;

pub use telemetry::{LogLevel, LogLine, Said, Telemetry, Word};

use crate::view::BatchView;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime::{AsContextMut, ResourceLimiter, StoreContextMut};

/// Host calls that one call of a plugin may make.
pub const HOST_CALLS_MAX: u32 = 1_000;
/// What entering the host costs, in units of fuel: about as long as so many instructions.
const FUEL_PER_HOST_CALL: u64 = 100;
/// Tables may have this many elements.
const TABLE_ELEMENTS_MAX: usize = 65_536;

/// The host's side of one instance.
#[derive(Debug)]
pub struct Guest {
    /// The batch in `process`; `None` outside, where kernels trap.
    pub batch: Option<Arc<BatchView>>,
    /// Patterns can be compiled.
    pub configuring: bool,
    /// Names of the registered columns; empty until configured.
    pub columns: Vec<String>,
    pub kernels: kernels::Patterns,
    /// What it says in the present call.
    pub said: Said,
    pub wasi: wasi::Virtual,
    /// Why the host ended the call, where it did.
    pub refusal: Option<Refusal>,
    pub host_calls: u32,
    pub memory_bytes: usize,
    memory_bytes_max: usize,
}

/// The host ended a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The plugin wanted more memory than it may have.
    Memory,
    /// What it asked a host function for cost more than was left.
    Fuel,
}

impl Guest {
    /// Sets the limit of its linear memory, bytes; what it has it keeps.
    pub fn limit_memory(&mut self, memory_bytes_max: usize) {
        self.memory_bytes_max = memory_bytes_max;
    }

    /// A fresh instance's data. `memory_bytes_max` is the limit of its linear memory; `random_seed` starts the deterministic
    /// random numbers of every call.
    pub fn new(memory_bytes_max: usize, random_seed: [u8; 32]) -> Self {
        Self {
            batch: None,
            configuring: false,
            columns: Vec::new(),
            kernels: kernels::Patterns::default(),
            said: Said::default(),
            wasi: wasi::Virtual::new(random_seed),
            refusal: None,
            host_calls: 0,
            memory_bytes: 0,
            memory_bytes_max,
        }
    }

    /// Before a call at `time` (unix nanoseconds).
    pub fn begin(&mut self, batch: Option<Arc<BatchView>>, time: i64) {
        self.batch = batch;
        self.refusal = None;
        self.host_calls = 0;
        self.wasi.begin(time);
        self.said.begin();
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _now: usize, wanted: usize, _declared: Option<usize>) -> wasmtime::Result<bool> {
        // Ends the call instead of failing the `memory.grow`: what a plugin does without memory is no outcome to rely on.
        if wanted > self.memory_bytes_max {
            self.refusal = Some(Refusal::Memory);
            return Err(wasmtime::Error::msg(format!(
                "{wanted} bytes of memory, the limit is {}",
                self.memory_bytes_max
            )));
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refusal = Some(Refusal::Memory);
        Err(error)
    }

    fn table_growing(&mut self, _now: usize, wanted: usize, _declared: Option<usize>) -> wasmtime::Result<bool> {
        if wanted > TABLE_ELEMENTS_MAX {
            self.refusal = Some(Refusal::Memory);
            return Err(wasmtime::Error::msg(format!("{wanted} table elements, the limit is {TABLE_ELEMENTS_MAX}")));
        }
        Ok(true)
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        crate::engine::CORE_PARTS_MAX as usize
    }

    fn instances(&self) -> usize {
        crate::engine::CORE_PARTS_MAX as usize
    }
}

/// Defines every import of the contract.
pub fn define(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    telemetry::define(linker)?;
    kernels::define(linker)
}

/// Counts a host call and takes `fuel` for its work.
fn charge(store: &mut StoreContextMut<'_, Guest>, fuel: u64) -> wasmtime::Result<()> {
    let guest = store.data_mut();
    guest.host_calls += 1;
    if guest.host_calls > HOST_CALLS_MAX {
        return Err(wasmtime::Error::msg(format!("more than {HOST_CALLS_MAX} host calls in one call")));
    }
    let left = store.get_fuel()?;
    match left.checked_sub(fuel.saturating_add(FUEL_PER_HOST_CALL)) {
        Some(left) => store.as_context_mut().set_fuel(left),
        None => {
            store.data_mut().refusal = Some(Refusal::Fuel);
            Err(wasmtime::Error::msg("the host call costs more fuel than is left"))
        }
    }
}
