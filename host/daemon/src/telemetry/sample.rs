//! One look at everything that metrics tell, so that all metrics of a scrape are of one moment and locks are taken once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sawlog_chain::{CanaryFigures, PluginFigures};
use sawlog_core::SinkId;
use sawlog_core::sink::{Circuit, Flow, SinkStatus};
use sawlog_core::status::{Checkpoints, Lanes, Progress, progress};

use sawlog_log::Commits;

use crate::api::probes;
use sawlog_settings::component::Layer;

use crate::control::loss::{Ledger, of_agent};
use crate::run::Handle;
use crate::run::canary::Returned;
use crate::run::figures::Figures;
use crate::run::handle::{Fed, Reading};
use crate::run::memory::{self, Held};

/// How old a sample may be for whoever did not ask for a fresh one.
const AGE_MAX: Duration = Duration::from_secs(1);

/// A source.
pub struct SourceSample {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: &'static str,
    /// How far it is planned.
    pub progress: Progress,
    /// Records and bytes that lanes at the frontier have planned.
    pub received: (u64, u64),
    /// Seconds that its lanes waited, by sink.
    pub waited: BTreeMap<String, f64>,
    /// Seconds that its lanes waited, by what else held them up.
    pub held_up: BTreeMap<&'static str, f64>,
    /// Its lanes.
    pub lanes: Lanes,
    /// Its own figures.
    pub figures: Option<Figures>,
}

/// A sink.
pub struct SinkSample {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: &'static str,
    /// How it fares.
    pub status: SinkStatus,
    /// Whether it is being tried.
    pub circuit: Circuit,
    /// Where its dead letters go.
    pub dead_letter: Option<String>,
    /// The layer that it feeds.
    pub layer: Option<Layer>,
    /// Whether it stopped for good.
    pub stopped: bool,
    /// Batches and bytes that it holds.
    pub backlog: (usize, usize),
    /// What they take in memory, bytes.
    pub memory_bytes: usize,
    /// What it took, by source.
    pub flows: BTreeMap<String, Flow>,
}

/// What takes a share of a plugin's records, or did.
pub struct CanarySample {
    /// What has come of it.
    pub figures: CanaryFigures,
    /// Its share now, from 0 to 1.
    pub share: f64,
    /// Whether it was returned from by itself.
    pub is_returned: bool,
}

/// Everything at one moment.
pub struct Sample {
    /// Sources.
    pub sources: Vec<SourceSample>,
    /// Sinks.
    pub sinks: Vec<SinkSample>,
    /// The ledger.
    pub ledger: Ledger,
    /// Plugins by name, with their digest; what takes a share of a plugin's records has its name and `@canary`.
    pub plugins: Vec<(String, String, PluginFigures)>,
    /// By plugin: what came of what takes a share of its records, or did until it was returned from.
    pub canaries: Vec<(String, CanarySample)>,
    /// Checkpoints, and the age of the newest in seconds.
    pub checkpoints: (Checkpoints, Option<f64>),
    /// Size of the journal's log on the disk, in bytes.
    pub journal_bytes: u64,
    /// What the journal's group commits have cost.
    pub journal_commits: Commits,
    /// Partitions that stopped.
    pub stopped_partitions: usize,
    /// Reloads taken and refused, and when the last one was taken, unix seconds.
    pub reloads: (u64, u64, f64),
    /// Whether input is taken.
    pub ready: bool,
    /// Resident memory of the process, in bytes.
    pub resident_bytes: u64,
    /// What is held of the budget for it.
    pub memory: Held,
    /// Seconds since the start.
    pub uptime: f64,
}

/// Takes samples. It does not keep the agent alive.
pub struct Samples {
    handle: Weak<Handle>,
    newest: Mutex<Option<(Instant, Arc<Sample>)>>,
}

impl Samples {
    /// Nothing is looked at yet.
    pub fn new(handle: &Arc<Handle>) -> Self {
        Self { handle: Arc::downgrade(handle), newest: Mutex::default() }
    }

    /// A sample of at most a second ago; `None` where the agent has gone.
    pub fn recent(&self) -> Option<Arc<Sample>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, sample)) = newest.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX) {
            debug_assert!(at.elapsed() < AGE_MAX * 2);
            return Some(sample.clone());
        }
        let sample = Arc::new(take(&*self.handle.upgrade()?));
        *newest = Some((Instant::now(), sample.clone()));
        Some(sample)
    }

    /// Has the next look be a new one.
    pub fn refresh(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn plugins(handle: &Handle) -> Vec<(String, String, PluginFigures)> {
    let mut all = Vec::new();
    for (name, plugin) in handle.plugins().iter() {
        all.push((name.clone(), digest(&plugin.digest().0), plugin.figures()));
        let candidate = plugin.canary().map(|canary| canary.plugin());
        all.extend(candidate.map(|c| (format!("{name}@canary"), digest(&c.digest().0), c.figures())));
    }
    all
}

fn canaries(handle: &Handle) -> Vec<(String, CanarySample)> {
    let running = |(name, plugin): (&String, &sawlog_chain::Plugin)| {
        let canary = plugin.canary()?;
        let (figures, share) = (canary.figures(), canary.share().percent() / 100.0);
        Some((name.clone(), CanarySample { figures, share, is_returned: false }))
    };
    let returned = |(name, returned): (&String, &Returned)| {
        (name.clone(), CanarySample { figures: returned.figures.clone(), share: 0.0, is_returned: true })
    };
    let running: Vec<_> = handle.plugins().iter().filter_map(running).collect();
    handle.returned().iter().map(returned).chain(running).collect()
}

fn take(handle: &Handle) -> Sample {
    let reloads = handle.reloads();
    let checkpoints = handle.checkpoints();
    let since = reloads.last_taken.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Sample {
        sources: sources(handle),
        sinks: sinks(handle),
        ledger: of_agent(handle),
        plugins: plugins(handle),
        canaries: canaries(handle),
        checkpoints: (checkpoints, checkpoints.at.map(|at| handle.engine.elapsed().saturating_sub(at).as_secs_f64())),
        journal_bytes: handle.store.disk_bytes(),
        journal_commits: handle.store.commits(),
        stopped_partitions: handle.engines().iter().map(|engine| engine.stopped().len()).sum(),
        reloads: (reloads.taken, reloads.refused, since.map_or(0.0, |since| since.as_secs_f64())),
        ready: probes::readiness(handle).ready,
        resident_bytes: memory::resident_bytes(),
        memory: handle.memory.held(),
        uptime: handle.started.elapsed().as_secs_f64(),
    }
}

fn digest(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sources(handle: &Handle) -> Vec<SourceSample> {
    let (config, figures, departed) = (handle.config(), handle.figures(), handle.groups.departed());
    let one = |(name, engines): (String, Vec<Reading>)| {
        let mut sample = SourceSample {
            r#type: config.sources.get(&name).map_or("removed", |source| source.r#type),
            progress: Progress::default(),
            received: (0, 0),
            waited: BTreeMap::new(),
            held_up: BTreeMap::new(),
            lanes: Lanes::default(),
            figures: figures.get(&name).cloned(),
            name,
        };
        if let Some(departed) = departed.get(&sample.name) {
            sample.received = departed.received;
            let waited = departed.waited.iter().map(|(sink, time)| (sink.to_string(), time.as_secs_f64()));
            sample.waited = waited.collect();
            sample.held_up = departed.held_up.iter().map(|(by, time)| (by.as_str(), time.as_secs_f64())).collect();
        }
        for (engine, shared) in engines {
            sample.progress.add(progress(&engine.journal().state(), &shared.inputs));
            let (records, bytes) = shared.figures().received();
            sample.received = (sample.received.0 + records, sample.received.1 + bytes);
            sample.lanes.add(shared.figures().lanes());
            for (sink, time) in shared.figures().backpressure() {
                *sample.waited.entry(sink.to_string()).or_default() += time.as_secs_f64();
            }
            for (by, time) in shared.figures().hold_ups() {
                *sample.held_up.entry(by.as_str()).or_default() += time.as_secs_f64();
            }
        }
        sample
    };
    handle.sources().into_iter().map(one).collect()
}

fn sinks(handle: &Handle) -> Vec<SinkSample> {
    let (config, departed) = (handle.config(), handle.groups.departed());
    let one = |(id, engines): (SinkId, Vec<Fed>)| {
        let status = engines.iter().map(|(_, sink)| sink.status()).reduce(SinkStatus::merged).unwrap_or_default();
        let mut sample = SinkSample {
            name: id.to_string(),
            r#type: config.sinks.get(id.as_str()).map_or("removed", |sink| sink.r#type),
            circuit: status.circuit(),
            dead_letter: config.sinks.get(id.as_str()).and_then(|sink| sink.dead_letter.clone()),
            layer: config.sinks.get(id.as_str()).and_then(|sink| sink.common.layer),
            status,
            stopped: engines.iter().any(|(_, sink)| sink.intake.stopped().is_some()),
            backlog: (0, 0),
            memory_bytes: 0,
            flows: BTreeMap::new(),
        };
        for (source, departed) in &departed {
            if let Some(flow) = departed.flows.get(&id) {
                sample.flows.entry(source.clone()).or_default().add(*flow);
            }
            for (kind, n) in departed.failures.get(&id).into_iter().flatten() {
                *sample.status.failures.entry(kind).or_default() += n;
            }
        }
        for (engine, sink) in engines {
            let (batches, bytes) = sink.intake.backlog();
            sample.backlog = (sample.backlog.0 + batches, sample.backlog.1 + bytes);
            sample.memory_bytes += sink.intake.memory_bytes();
            for (source, books) in sink.intake.books(&engine.journal().state()) {
                sample.flows.entry(source.to_string()).or_default().add(books.flow);
            }
        }
        sample
    };
    handle.sinks().into_iter().map(one).collect()
}
