//! The WASM engine: one per process, its settings and what they promise. Knows wasmtime; knows nothing of batches.
//!
//! Every setting that could change an outcome is fixed here: fuel decides and no clock does, not-a-numbers have one form,
//! relaxed SIMD and threads are off, memory grows inside a reserved pool.

use crate::apart::Program;
use crate::cache::{CacheError, CodeCache};
use crate::host::{self, Guest};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// What all plugins of the process may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Instances that may live at once: stateless plugins × workers + stateful plugins × (partitions × lanes).
    pub instances_max: u32,
    /// The largest linear memory that any plugin may be given, bytes; address space, not memory.
    pub memory_bytes_max: usize,
    /// The largest component that is compiled, bytes.
    pub component_bytes_max: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { instances_max: 1_024, memory_bytes_max: 256 << 20, component_bytes_max: 64 << 20 }
    }
}

/// Why no engine could be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The folder of compiled code is not usable.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The machine refuses what the limits ask for, most often address space.
    #[error(
        "cannot reserve room for {} plugin instances of {} bytes: {reason}; raise the limit of address space (ulimit -v)",
        limits.instances_max, limits.memory_bytes_max
    )]
    Reserve {
        /// What was asked for.
        limits: EngineLimits,
        /// What wasmtime said.
        reason: String,
    },
}

/// Compiles and runs plugins. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub engine: wasmtime::Engine,
    pub linker: Linker<Guest>,
    pub cache: Option<CodeCache>,
    /// Writes to the cache that failed, for the caller's log.
    pub cache_failures: Mutex<Vec<String>>,
    pub limits: EngineLimits,
    /// What saves and restores large states beside the workers, at once.
    pub beside: Semaphore,
    /// What plugins in processes of their own run in.
    pub apart: OnceLock<Program>,
}

impl Engine {
    /// An engine that keeps compiled code in `code_cache_dir`, if given.
    pub fn new(limits: EngineLimits, code_cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        let cache = code_cache_dir.as_deref().map(CodeCache::open).transpose()?;
        let reserve = |e: wasmtime::Error| EngineError::Reserve { limits, reason: format!("{e:#}") };
        let engine = wasmtime::Engine::new(&config(limits)).map_err(reserve)?;
        let mut linker = Linker::new(&engine);
        host::define(&mut linker).map_err(reserve)?;
        let cache_failures = Mutex::default();
        let beside = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
        let apart = OnceLock::new();
        Ok(Self { shared: Arc::new(Shared { engine, linker, cache, cache_failures, limits, beside, apart }) })
    }

    /// Has plugins with [`crate::Isolation::Process`] run in processes of `program`; without it they are not loaded. What was said
    /// first holds.
    pub fn runs_apart(self, program: Program) -> Self {
        self.shared.apart.get_or_init(|| program);
        self
    }

    /// Failed writes of compiled code since this was last asked: nothing is wrong but the time of the next start.
    pub fn take_cache_failures(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.cache_failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

fn config(limits: EngineLimits) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false) // a call 800 -> 280 ns
        .consume_fuel(true) // decides outcomes
        .epoch_interruption(false) // a clock would decide
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(None) // a trap costs half without; the poisonous record tells more
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    config
}

/// Core instances and tables of one component: the plugin, and the parts that language tools add (componentize-py: 38).
pub const CORE_PARTS_MAX: u32 = 64;

fn pool(limits: EngineLimits) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits.instances_max)
        .total_core_instances(limits.instances_max.saturating_mul(3))
        .total_memories(limits.instances_max)
        .total_tables(limits.instances_max.saturating_mul(2))
        .max_core_instances_per_component(CORE_PARTS_MAX)
        .max_memories_per_component(1)
        .max_tables_per_component(CORE_PARTS_MAX)
        .max_tables_per_module(CORE_PARTS_MAX)
        .max_memory_size(limits.memory_bytes_max)
        // Languages with large dispatch tables need some ten thousand.
        .table_elements(65_536)
        .max_unused_warm_slots(16);
    pool
}
