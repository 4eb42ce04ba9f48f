//! A loaded plugin: checked, compiled, configured once to learn what it wants. Knows components and the contract's worlds;
//! knows nothing of partitions.

mod load;

pub use load::{LoadError, check_bytes, check_config, check_interface};

use crate::apart::{Crew, ProcessEnd};
use crate::canary::Canary;
use crate::engine::Shared;
use crate::host::{Guest, LogLine, Telemetry};
use crate::registration::Registration;
use crate::shadow::{Shadow, ShadowError, ShadowFigures, ShadowLimits};
use crate::wit::exports::sawlog::plugin as exports;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::SemaphorePermit;
use wasmtime::component::InstancePre;

/// Digest of a plugin's component: BLAKE3 of its bytes, which the config and the epoch name it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `component`.
    pub fn of(component: &[u8]) -> Self {
        Self(*blake3::hash(component).as_bytes())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:02x}{:02x}{:02x}{:02x})", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// What the configuration says of one use of a plugin. All of it belongs to the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// The plugin's own section, JSON text.
    pub config_json: String,
    /// Files that the configuration names for it: (name, content).
    pub files: Vec<(String, Vec<u8>)>,
    /// Its limits.
    pub limits: PluginLimits,
    /// What it may do beyond looking at batches.
    pub allow: Allow,
    /// Id of the epoch: random numbers of runtimes that insist on them derive from it and the digest.
    pub epoch: Vec<u8>,
    /// Where its instances live.
    pub isolation: Isolation,
}

/// Where the instances of a plugin live. What they do is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// In this process.
    #[default]
    None,
    /// In processes of their own.
    Process,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            config_json: "{}".into(),
            files: Vec::new(),
            limits: PluginLimits::default(),
            allow: Allow::default(),
            epoch: Vec::new(),
            isolation: Isolation::default(),
        }
    }
}

/// Limits of one use of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Linear memory of one instance, bytes.
    pub memory_bytes_max: usize,
    /// The budget of a call, whatever its batch size: what one record may cost. A unit is about one instruction.
    pub fuel_per_record: u64,
    /// Size of a snapshot, bytes.
    pub state_bytes_max: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { memory_bytes_max: 64 << 20, fuel_per_record: 10_000_000, state_bytes_max: 64 << 20 }
    }
}

/// What the configuration allows a plugin. Logging and metrics are always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Allow {
    /// Keep state over batches.
    pub state: bool,
    /// Hold rows back until a time and be flushed.
    pub timers: bool,
    /// Native work over columns.
    pub kernels: bool,
}

/// Whose decisions a call repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Leniency {
    /// This build's own.
    #[default]
    Usual,
    /// A PLAN of another build covers the rows: what passed once must pass again, though fuel prices may differ, so the
    /// budgets are four times as large.
    OtherBuild,
}

impl Leniency {
    pub(crate) fn factor(self) -> u64 {
        match self {
            Leniency::Usual => 1,
            Leniency::OtherBuild => 4,
        }
    }
}

/// A plugin that is ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) inner: Arc<Loaded>,
    pub(crate) canary: Option<Arc<Canary>>,
}

pub(crate) struct Loaded {
    pub name: String,
    pub digest: Digest,
    pub config: PluginConfig,
    pub registration: Registration,
    pub program: Program,
    /// The processes that its instances live in, if it is not this one.
    pub crew: Option<Arc<Crew>>,
    pub counters: crate::figures::Counters,
    pub shadow: RwLock<Option<Arc<Shadow>>>,
}

/// Compiled and linked, not yet configured.
pub(crate) struct Program {
    pub shared: Arc<Shared>,
    pub pre: InstancePre<Guest>,
    pub lifecycle: exports::lifecycle::GuestIndices,
    pub transform: Transform,
    pub state: Option<exports::state::GuestIndices>,
}

/// How a plugin takes a batch.
pub(crate) enum Transform {
    Columns(exports::transform::GuestIndices),
    Records(exports::transform_records::GuestIndices),
}

impl Plugin {
    /// The name that the configuration gives it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Adds what an instance said of itself to the figures.
    pub(crate) fn heard(&self, said: Telemetry) {
        self.inner.counters.said(said);
    }

    /// A batch was run again on a fresh instance with the same state.
    pub(crate) fn rechecked(&self, agrees: bool) {
        self.inner.counters.rechecked(agrees);
    }

    /// Begins to run `candidate` beside it, in the place of the shadow that it has.
    pub fn begin_shadow(&self, candidate: Plugin, limits: ShadowLimits) -> Result<(), ShadowError> {
        let shadow = Arc::new(Shadow::begin(self, candidate, limits)?);
        *self.inner.shadow.write().unwrap_or_else(PoisonError::into_inner) = Some(shadow);
        Ok(())
    }

    /// Ends the shadow, if it has one; what came of it.
    pub fn end_shadow(&self) -> Option<ShadowFigures> {
        let shadow = self.inner.shadow.write().unwrap_or_else(PoisonError::into_inner).take();
        shadow.map(|shadow| shadow.figures())
    }

    /// What runs beside it.
    pub(crate) fn shadow(&self) -> Option<Arc<Shadow>> {
        self.inner.shadow.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A place among those that work beside the workers, as soon as there is one.
    pub(crate) async fn beside_the_workers(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.program.shared.beside.acquire().await.ok()
    }

    /// The log lines of all its instances since this was last asked.
    pub fn take_lines(&self) -> Vec<LogLine> {
        self.inner.counters.take_lines()
    }

    /// What it has cost and how it failed, since it was loaded.
    pub fn figures(&self) -> crate::figures::PluginFigures {
        let shadow = self.shadow().map(|shadow| shadow.figures());
        let processes = self.inner.crew.as_ref().map(|crew| crew.figures());
        crate::figures::PluginFigures { shadow, processes, ..self.inner.counters.now() }
    }

    /// The processes that it runs in apart from this one, by the numbers that the system has given them.
    pub fn process_ids(&self) -> Vec<u32> {
        self.inner.crew.as_ref().map(|crew| crew.pids()).unwrap_or_default()
    }

    /// Has one of its processes, of a program that calls [`crate::apart::serve_trying`], try what that knows by this text; `None` for
    /// a plugin without processes.
    #[doc(hidden)]
    pub fn attempt(&self, what: &str) -> Option<Result<String, ProcessEnd>> {
        Some(self.inner.crew.as_ref()?.attempt(what))
    }

    /// What it wants and offers.
    pub fn registration(&self) -> &Registration {
        &self.inner.registration
    }

    /// Digest of its component.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// Whether its state is part of the checkpoint; if not, an instance may be dropped at any record boundary.
    pub fn stateful(&self) -> bool {
        self.inner.program.state.is_some()
    }

    /// Its limits.
    pub fn limits(&self) -> PluginLimits {
        self.inner.config.limits
    }

    /// What it is allowed.
    pub fn allow(&self) -> Allow {
        self.inner.config.allow
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.inner.name)
            .field("digest", &self.inner.digest)
            .finish_non_exhaustive()
    }
}
