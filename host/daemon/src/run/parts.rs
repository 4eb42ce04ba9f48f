//! The running whole: data directory, journal, epochs, sources, sinks and the engine over them; its beginning and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use sawlog_chain::EngineLimits;
use sawlog_checkpoint::{CheckpointError, DataDir, DiskJournal, JournalOptions};
use sawlog_core::engine::{self, Engine, Route, StartError};
use sawlog_core::journal::{Journal, OpenError};
use sawlog_core::memory::Pool;
use sawlog_core::operator;
use sawlog_core::pace::CatchUp;
use sawlog_core::ports::{Clock, JournalError};
use sawlog_core::reload::{Oldest, Removal, Wanted};
use sawlog_core::shared::{Common, Tuning};
use sawlog_core::watch::{Ending, Watch};
use sawlog_core::{EpochId, SinkId, SourceId};
use sawlog_log::{Drive, RealDisk, random_incarnation};
use sawlog_queue::{QueueError, Rescue, RescueOptions};
use sawlog_settings::component::StartFrom;
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::http::HttpIntake;
use sawlog_sources::registry::SourceOptions;
use thiserror::Error;

use super::anew::Anew;
use super::changes::{self, Certificates};
use super::epochs::{self, Epoch, Epochs};
use super::figures::Figures;
use super::former;
use super::ground::Ground;
use super::memory::Memory;
use super::outward::Outward;
use super::overrides::{self, Puts};
use super::pipelines::{PluginBytes, Unloaded};
use super::runtime::{RuntimeSpawner, SystemClock};
use super::slots::Slots;
use super::timed::TimedChains;
use super::{LOOK, Options, groups, replay, runtime, sources};
use crate::agent_id::{self, AgentIdError};
use crate::backup::{self, Keeper, RestoreError};
use crate::config::files::Files;
use crate::config::references::Machine;
use crate::config::sections::Sections;
use crate::config::{self, Config};
use crate::telemetry::hearer::Hearer;

/// Why the agent does not run, or can't go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// Who it is.
    #[error(transparent)]
    AgentId(#[from] AgentIdError),
    /// The data directory or its journal.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The process has to end though its journal is well.
    #[error(transparent)]
    Ending(#[from] Ending),
    /// A person has ended what this id holds in the sinks.
    #[error(
        "the agent id `{agent}` was retired by `sawlog agent retire` at {at}, and its claim logs and cursors have ended; give this \
         agent another `agent.id` and an empty `data_dir`: what is still there is sent under that id from its beginning"
    )]
    Retired {
        /// The id.
        agent: String,
        /// When.
        at: String,
    },
    /// The queue of rescued input.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The journal's records.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup of an empty data directory.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The journal failed while running: what is not durable must not take effect, so the process ends.
    #[error("{0}; the process ends, mend the disk and start it again: nothing is lost")]
    Journal(#[from] JournalError),
    /// The configuration can't be taken.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A plugin that can't be loaded.
    #[error(transparent)]
    Plugin(#[from] Unloaded),
    /// A source, transform, plugin or sink.
    #[error("{name}: {reason}")]
    Component {
        /// Its name in the configuration.
        name: String,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// The room for plugins.
    #[error(transparent)]
    Plugins(#[from] sawlog_chain::EngineError),
    /// What it tells of itself.
    #[error(transparent)]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    /// The agent's own interface.
    #[error(transparent)]
    Api(#[from] crate::api::ApiError),
    /// The system.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// A configuration that is no JSON: a mistake of this program.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// How long a verb may look at a data directory whose agent starts.
const LOOKED_AT_MAX: Duration = Duration::from_secs(3);

/// What of a sink's options its claims depend on.
pub(super) fn sink_epoch(sink: &crate::config::validated::Sink) -> Result<String, RunError> {
    Ok(hex(&sawlog_record::id::hash("sawlog.sink", &[&serde_json::to_vec(&sink.options)?])[..8]))
}

/// Two hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that runs.
pub struct Running {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Partitions that are shared with other agents.
    pub groups: Arc<groups::Groups>,
    /// The journal on the disk.
    pub store: Arc<DiskJournal>,
    /// The budget of memory.
    pub memory: Arc<Memory>,
    pub(super) common: Common,
    /// How this life began.
    pub anew: Anew,
    /// What of it is not a component's, and reaches out of the process.
    pub outward: Outward,
    /// Who hears of delivered batches.
    pub hearer: Arc<Hearer>,
    pub(super) config: Config,
    /// What the process was started with.
    pub(super) started: Sections,
    pub(super) certificates: Certificates,
    pub(super) ground: Ground,
    pub(super) owner: sources::Owner,
    pub(super) epochs: Arc<Epochs>,
    pub(super) plugins: sawlog_chain::Engine,
    pub(super) fields: Slots,
    pub(super) figures: BTreeMap<String, Figures>,
    pub(super) loaded: BTreeMap<String, sawlog_chain::Plugin>,
    /// What runs beside them, to be compared.
    pub(super) shadows: super::shadow::Shadows,
    /// What took a share of their records, and was returned from.
    pub(super) returned: super::canary::Returns,
    /// Under which epoch they were.
    pub(super) present: EpochId,
    /// Where dead letters come back in, once some did.
    pub(super) replay: Option<Arc<HttpIntake>>,
}

/// Opens and starts everything.
pub async fn start(config: Config, files: Files, options: Options) -> Result<Running, RunError> {
    let agent = agent_id::resolve(&config.sections.agent.id, &Machine)?;
    let data_dir = config.sections.data_dir.clone();
    let directory = open_directory(&data_dir).await?;
    directory.hold_for_life()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, journal, anew, rescue, plugins) = open_stores(&config, (&directory, &agent), clock.clone()).await?;
    let outward = Outward::new(&config.sections, keeper(&config, (&agent, &directory), &store)?)?;

    let fields = Slots::default();
    let puts = if options.discard_overrides { Puts::default() } else { epochs::present_puts(&journal).await? };
    let bytes = overrides::plugin_bytes(&config, puts).await?;
    let (epoch, epochs, former) = open_epochs(&config, (&files, &bytes), &journal, (&plugins, &fields)).await?;

    let memory = Memory::new(&config);
    let common = common(&config, &memory, clock.clone());
    let owner = owner(&config, (&agent, &directory), &memory, options);
    let ground = Ground::new((agent, directory), (journal, clock), memory.clone(), &common, &files)?;
    let hearer = ground.hearer.clone();
    let sinks = ground.sinks(&former, &config)?;
    let (figures, mut routes) = open_sources(&config, &former, &ground.journal, &owner, &fields)?;
    let replay = replay::reopen(&owner).await?;
    routes.extend(replay.iter().map(replay::route));
    let parts = engine::Parts {
        journal: ground.journal.clone(),
        clock: ground.clock.clone(),
        chains: Arc::new(TimedChains { chains: (options.between)(epochs.clone()), stages: hearer.stages.clone() }),
        rescue,
        routes,
        sinks,
        reseated: ground.reseated.clone(),
        tuning: tuning(&config),
        common: common.clone(),
        checkpoint_interval: config.sections.checkpoint.interval.as_duration(),
        spawner: Arc::new(RuntimeSpawner(tokio::runtime::Handle::current())),
    };
    let engine = Engine::start(parts, wanted(&config, &epoch)).await?;
    tokio::spawn(anew.clone().tell(config.clone(), ground.journal.clone()));
    let (loaded, present) = (epoch.plugins.clone(), epoch.id);
    let plan = groups::Plan { config: config.clone(), files, bytes, epoch };
    let base = base(&ground, &owner, (&epochs, &plugins, &fields), (options, common.clone()));
    let groups = Arc::new(groups::Groups::join(base, plan)?);
    Ok(Running {
        engine,
        groups,
        store,
        memory,
        common,
        anew,
        outward,
        hearer,
        started: config.sections.clone(),
        certificates: changes::certificates(&config),
        config,
        ground,
        owner,
        epochs,
        plugins,
        fields,
        figures,
        loaded,
        shadows: BTreeMap::new(),
        returned: BTreeMap::new(),
        present,
        replay,
    })
}

/// Who the sources read for, and what they may take.
fn owner(config: &Config, (agent, directory): (&str, &DataDir), memory: &Memory, run: Options) -> sources::Owner {
    let disk_shares = config.disk_shares();
    sources::Owner {
        agent: agent.to_owned(),
        data_dir: config.sections.data_dir.clone(),
        disk: directory.disk(),
        disk_shares,
        unpacked: Pool::new(disk_shares.unpacked),
        workers: config.sections.limits.workers(),
        requests: memory.requests.clone(),
        run,
    }
}

/// What an id that was retired here sent would come behind the end of its logs.
fn refuse_retired(journal: &Journal, agent: &str) -> Result<(), RunError> {
    match operator::retired(&journal.state(), agent) {
        None => Ok(()),
        Some(time) => Err(RunError::Retired { agent: agent.to_owned(), at: crate::complete::when(Some(time)) }),
    }
}

/// Keeps the configuration's own epoch, and brings back those of former ones that something still needs.
async fn open_epochs(
    config: &Config,
    (files, bytes): (&Files, &PluginBytes),
    journal: &Arc<Journal>,
    (plugins, fields): (&sawlog_chain::Engine, &Slots),
) -> Result<(Epoch, Arc<Epochs>, former::Former), RunError> {
    let (mut epoch, blobs) = tokio::try_join!(
        Epoch::build_aside(config, bytes, plugins, fields, None),
        Epoch::store_blobs(files, bytes, journal),
    )?;
    epoch.blobs = blobs;
    let epochs = Arc::new(Epochs::default());
    epochs.add(&epoch);
    let (former, failures) = epochs.restore(journal, plugins, fields).await;
    for failure in failures {
        tracing::error!(failure, "an older configuration is not at hand; partitions that need it stop");
    }
    Ok((epoch, epochs, former))
}

/// Opens the node's own sources, and those of former configurations that still owe.
fn open_sources(
    config: &Config,
    former: &former::Former,
    journal: &Journal,
    owner: &sources::Owner,
    fields: &Slots,
) -> Result<(BTreeMap<String, Figures>, Vec<Route>), RunError> {
    let own = config.sources.iter().filter(|(_, source)| groups::shared_source(&source.options).is_none());
    let named = own.map(|(name, _)| (name.clone(), None, config));
    let owing = former::sources(journal, former, config).into_iter();
    let owing = owing.map(|(name, epoch, config)| (name, Some(epoch), config));
    let (mut figures, mut routes) = (BTreeMap::new(), Vec::new());
    for (name, retired, config) in named.chain(owing) {
        let options = &config.sources[&name].options;
        let opened = sources::open(&name, options, owner, retired.is_some())?;
        fields.fill(&name, opened.fields);
        figures.insert(name.clone(), opened.figures);
        let (id, idle_timeout) = (SourceId::new(&name), options.idle_timeout());
        routes.push(Route { id, source: opened.source, retired, idle_timeout });
    }
    Ok((figures, routes))
}

/// What the engines of partitions that move share with the node's own.
fn base(
    ground: &Ground,
    owner: &sources::Owner,
    (epochs, plugins, fields): (&Arc<Epochs>, &sawlog_chain::Engine, &Slots),
    (options, common): (Options, Common),
) -> groups::Base {
    groups::Base {
        agent: ground.agent.clone(),
        data_dir: owner.data_dir.clone(),
        epochs: epochs.clone(),
        plugins: plugins.clone(),
        fields: fields.clone(),
        memory: ground.memory.clone(),
        common,
        options,
        hearer: ground.hearer.clone(),
        ending: AtomicBool::new(false),
    }
}

/// Opens the data directory; a verb that only looks at it holds it for a moment.
async fn open_directory(path: &Path) -> Result<DataDir, CheckpointError> {
    let until = Instant::now() + LOOKED_AT_MAX;
    loop {
        match DataDir::open(path) {
            Err(CheckpointError::Locked { .. }) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            opened => return opened,
        }
    }
}

/// Opens what lies in the data directory. Each part waits for the disk or computes: beside each other they take the time of the
/// longest.
async fn open_stores(
    config: &Config,
    (directory, agent): (&DataDir, &str),
    clock: Arc<dyn Clock>,
) -> Result<(Arc<DiskJournal>, Arc<Journal>, Anew, Arc<Rescue>, sawlog_chain::Engine), RunError> {
    let ((store, journal, anew), rescue, plugins) = tokio::try_join!(
        open_journal(config, (directory, agent), clock),
        open_rescue(directory.disk(), config.disk_shares().rescue),
        open_plugins(config.sections.data_dir.join("code")),
    )?;
    refuse_retired(&journal, agent)?;
    let known: Vec<_> = journal.state().generations.keys().copied().collect();
    rescue.retain(&known).await?;
    Ok((store, journal, anew, rescue, plugins))
}

async fn open_journal(
    config: &Config,
    (directory, agent): (&DataDir, &str),
    clock: Arc<dyn Clock>,
) -> Result<(Arc<DiskJournal>, Arc<Journal>, Anew), RunError> {
    let mut options = JournalOptions::new(random_incarnation()?);
    options.keep = config.sections.checkpoint.keep as usize;
    options.quota_bytes = config.disk_shares().journal;
    let disk = directory.disk();
    let store = Arc::new(runtime::aside(move || DiskJournal::open(disk, options, Drive::Thread)).await??);
    let mut journal = Journal::open(store.clone(), clock.clone()).await?;
    let is_empty = journal.state().is_empty();
    let mut anew = Anew::new(is_empty);
    if let Some(options) = config.sections.checkpoint.backup.as_ref().filter(|_| is_empty) {
        let place = backup::place(options, agent)?;
        anew.from_backup = backup::restore_at_start(&*place, &store, agent).await?;
        if anew.from_backup.is_some() {
            journal = Journal::open(store.clone(), clock).await?;
        }
    }
    Ok((store, Arc::new(journal), anew))
}

/// Who takes backups, where the configuration wants them.
fn keeper(
    config: &Config,
    (agent, directory): (&str, &DataDir),
    store: &Arc<DiskJournal>,
) -> Result<Option<Arc<Keeper>>, RunError> {
    let Some(options) = &config.sections.checkpoint.backup else { return Ok(None) };
    let place = backup::place(options, agent)?;
    let names = (agent.to_owned(), hex(&directory.uuid()));
    let keeper = Arc::new(Keeper::new(place, store.clone(), names, options.every.as_duration()));
    let taking = keeper.clone();
    tokio::spawn(async move { taking.run().await });
    Ok(Some(keeper))
}

async fn open_rescue(disk: Arc<RealDisk>, quota_bytes: u64) -> Result<Arc<Rescue>, RunError> {
    let options = RescueOptions { quota_bytes, ..RescueOptions::new(random_incarnation()?) };
    Ok(Arc::new(runtime::aside(move || Rescue::open(disk, "rescue", options, Drive::Thread)).await??))
}

/// The room for plugins, with what was compiled before.
async fn open_plugins(code: PathBuf) -> Result<sawlog_chain::Engine, RunError> {
    let engine = runtime::aside(move || sawlog_chain::Engine::new(EngineLimits::default(), Some(code))).await??;
    Ok(engine.runs_apart(crate::plugin::process()))
}

/// Limits and ways of the main path.
pub(super) fn tuning(config: &Config) -> Tuning {
    let accept_skew = config.sections.on_missing_epoch == config::sections::OnMissingEpoch::AcceptSkew;
    let entries_calm = config.sections.limits.memory.as_bytes() / ENTRIES_PART / ENTRY_BYTES;
    Tuning { accept_skew, entries_calm, ..Tuning::default() }
}

/// What one entry of a stream takes in memory and as it is written to a checkpoint, bytes.
const ENTRY_BYTES: u64 = 256;
/// The part of `limits.memory` that entries may take before strides get longer.
const ENTRIES_PART: u64 = 32;

/// What all engines of this process share, and what keeps it as it should be.
fn common(config: &Config, memory: &Arc<Memory>, clock: Arc<dyn Clock>) -> Common {
    tokio::spawn(memory.clone().keep());
    let workers = u32::try_from(runtime::workers(config)).unwrap_or(u32::MAX);
    let catch_up = Arc::new(CatchUp::new(config.sections.limits.catch_up_cpu, workers));
    Common { memory: memory.lanes.clone(), catch_up, watch: keep_watch(config, clock) }
}

fn keep_watch(config: &Config, clock: Arc<dyn Clock>) -> Arc<Watch> {
    let watch: Arc<Watch> = Arc::default();
    watch.set_fragile(repeats_beside_a_twin(config));
    let keeping = watch.clone();
    tokio::spawn(async move { keeping.keep(&*clock).await });
    watch
}

/// Whether some sink would get rows twice from two agents of one id.
pub(super) fn repeats_beside_a_twin(config: &Config) -> bool {
    config.sinks.values().any(|sink| matches!(sink.options, SinkOptions::Elasticsearch(_)))
}

/// What delivery depends on in a configuration.
pub(super) fn wanted(config: &Config, epoch: &Epoch) -> Wanted {
    let mut sinks: BTreeMap<SinkId, BTreeSet<SourceId>> =
        config.sinks.keys().map(|name| (SinkId::new(name), BTreeSet::new())).collect();
    for source in config.sources.keys() {
        for sink in config.subgraph(source).sinks.into_iter().chain([config.dead_letter()]) {
            sinks.entry(SinkId::new(sink)).or_default().insert(SourceId::new(source));
        }
    }
    let letters_to =
        config.sinks.keys().filter(|sink| !config.is_dead_letter_sink(sink) || *sink == config.dead_letter());
    for sink in letters_to {
        sinks.entry(SinkId::new(sink)).or_default().insert(SourceId::new(replay::SOURCE));
    }
    // Letters that are replayed are meant for those that they name.
    let from_oldest = config.sinks.iter().filter(|(_, sink)| sink.common.from == StartFrom::Oldest).map(|(name, _)| {
        let name = SinkId::new(name);
        let fed = sinks[&name].iter().filter(|source| source.as_str() != replay::SOURCE);
        let oldest = Oldest { sources: fed.cloned().collect(), letters: Some(SinkId::new(config.dead_letter())) };
        (name, oldest)
    });
    let from_oldest = from_oldest.collect();
    // Kafka tells what it keeps only when it is read.
    let untold = config.sources.iter().filter(|(_, source)| matches!(source.options, SourceOptions::Kafka(_)));
    Wanted {
        id: epoch.id,
        stateful: epoch.stateful.clone(),
        names: epoch.names.clone(),
        blobs: epoch.blobs.clone(),
        sinks,
        from_oldest,
        untold: untold.map(|(name, _)| SourceId::new(name)).collect(),
        remove: config.sections.remove.iter().map(|(name, how)| (SinkId::new(name), removal(*how))).collect(),
    }
}

fn removal(how: config::sections::Removal) -> Removal {
    match how {
        config::sections::Removal::Drain => Removal::Drain,
        config::sections::Removal::Forget => Removal::Forget,
    }
}

impl Running {
    /// How long SIGTERM waits.
    pub fn grace(&self) -> Duration {
        self.config.sections.shutdown.grace.as_duration()
    }

    /// The configuration that runs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The agent's id, and the data directory's own name.
    pub fn names(&self) -> (String, String) {
        (self.ground.agent.clone(), hex(&self.ground.directory.uuid()))
    }

    /// What each source counts about itself.
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        self.figures.clone()
    }

    /// The plugins that run.
    pub fn loaded(&self) -> BTreeMap<String, sawlog_chain::Plugin> {
        self.loaded.clone()
    }

    /// The last checkpoint, the groups' good-bye, its backup where that is done before `until`, and the exit code: 0 also where sinks
    /// still owe rows, which the next start delivers.
    pub async fn end(&self, is_delivered: bool, until: Instant) -> Result<ExitCode, RunError> {
        match tokio::time::timeout_at(until.into(), self.engine.keep_checkpoint()).await {
            Ok(kept) => kept?,
            Err(_) => tracing::warn!(
                "the last checkpoint is not written: `shutdown.grace` is used up; the next start reads more of the journal"
            ),
        }
        self.groups.leave(self.groups.leaving_time(self.grace())).await;
        if let Some(keeper) = &self.outward.keeper {
            match tokio::time::timeout_at(until.into(), keeper.take()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the last checkpoint is not backed up"),
                Err(_) => tracing::warn!("the last checkpoint is not backed up: `shutdown.grace` is used up"),
            }
        }
        match is_delivered {
            true => tracing::info!("everything is delivered"),
            false => tracing::warn!("some sinks have not taken everything yet; the next start goes on there"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
