//! The running whole: data directory, journal, epochs, sources, sinks and the engine over them; its reload and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use event_listener::Event;
use sawlog_chain::EngineLimits;
use sawlog_chain::pipeline::FieldsOf;
use sawlog_checkpoint::{CheckpointError, DataDir, DiskJournal, JournalOptions};
use sawlog_core::engine::{self, Engine, Route, StartError};
use sawlog_core::journal::{Journal, OpenError};
use sawlog_core::ports::{Clock, JournalError};
use sawlog_core::reload::{Removal, Wanted};
use sawlog_core::shared::Tuning;
use sawlog_core::sink::{DeadLetters, Sink, SinkIdentity};
use sawlog_core::{SinkId, SourceId};
use sawlog_log::{Drive, random_incarnation};
use sawlog_queue::{QueueError, Rescue, RescueOptions};
use thiserror::Error;

use super::epochs::{Epoch, Epochs};
use super::figures::Figures;
use super::pipelines::PluginBytes;
use super::runtime::{RuntimeSpawner, SystemClock};
use super::{Options, sinks, sources};
use crate::agent_id::{self, AgentIdError};
use crate::config::files::Files;
use crate::config::references::Machine;
use crate::config::{self, Config};
use crate::diagnostics;

/// Why the agent does not run, or can't go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// Who it is.
    #[error(transparent)]
    AgentId(#[from] AgentIdError),
    /// The data directory or its journal.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The queue of rescued input.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The journal's records.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal failed while running: what is not durable must not take effect, so the process ends.
    #[error("{0}; the process ends, mend the disk and start it again: nothing is lost")]
    Journal(#[from] JournalError),
    /// The configuration can't be taken.
    #[error(transparent)]
    Start(#[from] StartError),
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

/// What sinks are made on.
struct Ground {
    agent: String,
    directory: DataDir,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    reseated: Arc<Event>,
    /// The ways to the sinks that take dead letters.
    letters: BTreeMap<String, Arc<DeadLetters>>,
}

impl Ground {
    fn sink(&self, config: &Config, name: &str) -> Result<Arc<Sink>, RunError> {
        let sink = &config.sinks[name];
        let port = sinks::open(name, sink, &self.agent, &config.sections.data_dir)?;
        let options = serde_json::to_vec(&sink.options)?;
        let identity = SinkIdentity {
            directory: hex(&self.directory.uuid()),
            sink_epoch: hex(&sawlog_record::id::hash("sawlog.sink", &[&options])[..8]),
        };
        let to = sink.dead_letter.as_ref().and_then(|to| self.letters.get(to)).cloned();
        Ok(Arc::new(Sink::new(
            SinkId::new(name),
            port,
            sinks::limits(),
            sinks::tuning(sink),
            identity,
            self.journal.clone(),
            self.clock.clone(),
            to,
            self.letters.get(name).cloned(),
            self.reseated.clone(),
        )))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that runs.
pub struct Running {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The journal on the disk.
    pub store: Arc<DiskJournal>,
    config: Config,
    ground: Ground,
    epochs: Arc<Epochs>,
    plugins: sawlog_chain::Engine,
    fields: BTreeMap<String, FieldsOf>,
    figures: BTreeMap<String, Figures>,
}

fn plugin_bytes(config: &Config) -> Result<PluginBytes, RunError> {
    let read = config.plugins.iter().map(|(name, plugin)| {
        let bytes = plugin.read(&config.folder);
        bytes.map(|b| (name.clone(), b)).map_err(|e| RunError::Component { name: name.clone(), reason: e.to_string() })
    });
    read.collect()
}

/// Opens and starts everything.
pub async fn start(config: Config, files: Files, options: Options) -> Result<Running, RunError> {
    let agent = agent_id::resolve(&config.sections.agent.id, &Machine)?;
    let data_dir = config.sections.data_dir.clone();
    let directory = DataDir::open(&data_dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut journal_options = JournalOptions::new(random_incarnation()?);
    journal_options.keep = config.sections.checkpoint.keep as usize;
    let store = Arc::new(DiskJournal::open(directory.disk(), journal_options, Drive::Thread)?);
    let journal = Arc::new(Journal::open(store.clone(), clock.clone()).await?);
    let rescue = RescueOptions::new(random_incarnation()?);
    let rescue = Arc::new(Rescue::open(directory.disk(), "rescue", rescue, Drive::Thread)?);
    let known: Vec<_> = journal.state().generations.keys().copied().collect();
    rescue.retain(&known).await?;

    let sections = &config.sections;
    let owner = sources::Owner {
        agent: &agent,
        data_dir: &data_dir,
        disk: directory.disk(),
        queue_bytes_max: sections.limits.disk.as_bytes() / 2,
    };
    let (mut opened, mut fields, mut figures) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (name, source) in &config.sources {
        let source = sources::open(name, &source.options, &owner, options)?;
        opened.insert(name.clone(), source.source);
        fields.insert(name.clone(), source.fields);
        figures.insert(name.clone(), source.figures);
    }
    let plugins = sawlog_chain::Engine::new(EngineLimits::default(), Some(data_dir.join("code")))?;
    let bytes = plugin_bytes(&config)?;
    let mut epoch = Epoch::build(&config, &bytes, &plugins, &fields)?;
    epoch.store(&files, &bytes, &journal).await?;
    let epochs = Arc::new(Epochs::default());
    epochs.add(&epoch);
    for failure in epochs.restore(&journal, &plugins, &fields).await {
        tracing::error!(failure, "an older configuration is not at hand; partitions that need it stop");
    }

    let letters = config.sinks.keys().filter(|s| config.is_dead_letter_sink(s)).map(|s| (s.clone(), Arc::default()));
    let ground =
        Ground { agent, directory, journal, clock, reseated: Arc::new(Event::new()), letters: letters.collect() };
    let mut made = BTreeMap::new();
    for name in config.sinks.keys() {
        made.insert(SinkId::new(name), ground.sink(&config, name)?);
    }
    let routes = opened.into_iter().map(|(name, source)| {
        let sinks = sinks_of(&config, &name);
        Route { id: SourceId::new(&name), source, sinks }
    });
    let parts = engine::Parts {
        journal: ground.journal.clone(),
        clock: ground.clock.clone(),
        chains: epochs.clone(),
        rescue,
        routes: routes.collect(),
        sinks: made,
        reseated: ground.reseated.clone(),
        tuning: Tuning::default(),
        checkpoint_interval: config.sections.checkpoint.interval.as_duration(),
        spawner: Arc::new(RuntimeSpawner(tokio::runtime::Handle::current())),
    };
    let engine = Engine::start(parts, wanted(&config, &epoch)).await?;
    Ok(Running { engine, store, config, ground, epochs, plugins, fields, figures })
}

/// The sinks that rows of a source can reach, the dead letters among them.
fn sinks_of(config: &Config, source: &str) -> BTreeSet<SinkId> {
    config.subgraph(source).sinks.into_iter().chain([config.dead_letter()]).map(SinkId::new).collect()
}

fn wanted(config: &Config, epoch: &Epoch) -> Wanted {
    Wanted {
        id: epoch.id,
        stateful: epoch.stateful.clone(),
        blobs: epoch.blobs.clone(),
        sinks: config.sinks.keys().map(|name| SinkId::new(name)).collect(),
        from_oldest: BTreeSet::new(),
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

    /// Takes the configuration anew, as one transaction: where anything is wrong with it, all of the old one goes on, and the
    /// error says why.
    pub async fn reload(&mut self, path: &Path) -> Result<(), String> {
        let outcome = self.try_reload(path).await;
        match &outcome {
            Ok(()) => tracing::info!("the configuration was reloaded"),
            Err(reason) => tracing::error!(reason, "the configuration was not reloaded; the old one goes on"),
        }
        outcome
    }

    async fn try_reload(&mut self, path: &Path) -> Result<(), String> {
        let loaded = config::load(path, &Machine).map_err(|e| e.to_string())?;
        let Some(config) = loaded.config else { return Err(diagnostics::text(&loaded.complaints, &loaded.files)) };
        if config.sources != self.config.sources {
            return Err("sources changed, which takes a restart: nothing is lost by one".into());
        }
        let changed = |name: &&String| self.config.sinks.get(*name).is_some_and(|old| old != &config.sinks[*name]);
        if let Some(name) = config.sinks.keys().find(changed) {
            return Err(format!("the sink {name} changed, which takes a restart: nothing is lost by one"));
        }
        let bytes = plugin_bytes(&config).map_err(|e| e.to_string())?;
        let mut epoch = Epoch::build(&config, &bytes, &self.plugins, &self.fields).map_err(|e| e.to_string())?;
        epoch.store(&loaded.files, &bytes, &self.ground.journal).await.map_err(|e| e.to_string())?;
        let mut added = Vec::new();
        for name in config.sinks.keys().filter(|name| !self.config.sinks.contains_key(*name)) {
            added.push(self.ground.sink(&config, name).map_err(|e| e.to_string())?);
        }
        let routes = config.sources.keys().map(|name| (SourceId::new(name), sinks_of(&config, name))).collect();
        self.epochs.add(&epoch);
        self.engine.reload(wanted(&config, &epoch), added, &routes).await.map_err(|e| e.to_string())?;
        self.config = config;
        Ok(())
    }

    /// The last checkpoint, and the exit code: 0 also where sinks still owe rows, which the next start delivers.
    pub async fn end(&self, is_delivered: bool) -> Result<ExitCode, RunError> {
        self.engine.keep_checkpoint().await?;
        match is_delivered {
            true => tracing::info!("everything is delivered"),
            false => tracing::warn!("some sinks have not taken everything yet; the next start goes on there"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
