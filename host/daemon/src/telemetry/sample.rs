//! One look at everything that metrics tell, so that all metrics of a scrape are of one moment and locks are taken once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sawlog_chain::PluginFigures;
use sawlog_core::sink::{Circuit, Flow, SinkStatus};
use sawlog_core::status::{Checkpoints, Progress, progress};

use crate::api::probes;
use crate::control::loss::{Ledger, ledger};
use crate::run::Handle;
use crate::run::figures::Figures;

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
    /// Whether it stopped for good.
    pub stopped: bool,
    /// Batches and bytes that it holds.
    pub backlog: (usize, usize),
    /// What it took, by source.
    pub flows: BTreeMap<String, Flow>,
}

/// Everything at one moment.
pub struct Sample {
    /// Sources.
    pub sources: Vec<SourceSample>,
    /// Sinks.
    pub sinks: Vec<SinkSample>,
    /// The ledger.
    pub ledger: Ledger,
    /// Plugins by name, with their digest.
    pub plugins: Vec<(String, String, PluginFigures)>,
    /// Checkpoints, and the age of the newest in seconds.
    pub checkpoints: (Checkpoints, Option<f64>),
    /// Size of the newest checkpoint's state and of the journal on the disk, in bytes.
    pub journal_bytes: u64,
    /// Partitions that stopped.
    pub stopped_partitions: usize,
    /// Reloads taken and refused, and when the last one was taken, unix seconds.
    pub reloads: (u64, u64, f64),
    /// Whether input is taken.
    pub ready: bool,
    /// Resident memory of the process, in bytes.
    pub resident_bytes: u64,
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

fn take(handle: &Handle) -> Sample {
    let reloads = handle.reloads();
    let checkpoints = handle.engine.checkpoints();
    let since = reloads.last_taken.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let plugins = handle.plugins();
    let plugins = plugins.iter().map(|(name, plugin)| (name.clone(), digest(&plugin.digest().0), plugin.figures()));
    Sample {
        sources: sources(handle),
        sinks: sinks(handle),
        ledger: ledger(&handle.engine.journal().state(), &handle.engine.sinks()),
        plugins: plugins.collect(),
        checkpoints: (checkpoints, checkpoints.at.map(|at| handle.engine.elapsed().saturating_sub(at).as_secs_f64())),
        journal_bytes: handle.store.disk_bytes(),
        stopped_partitions: handle.engine.stopped().len(),
        reloads: (reloads.taken, reloads.refused, since.map_or(0.0, |since| since.as_secs_f64())),
        ready: probes::readiness(handle).ready,
        resident_bytes: resident_bytes(),
        uptime: handle.started.elapsed().as_secs_f64(),
    }
}

fn digest(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sources(handle: &Handle) -> Vec<SourceSample> {
    let (config, figures) = (handle.config(), handle.figures());
    let one = |shared: &Arc<sawlog_core::shared::Shared>| {
        let name = shared.inputs.id.as_str();
        let waited = shared.figures().backpressure();
        SourceSample {
            name: name.to_owned(),
            r#type: config.sources.get(name).map_or("removed", |source| source.r#type),
            progress: progress(&handle.engine.journal().state(), &shared.inputs),
            received: shared.figures().received(),
            waited: waited.into_iter().map(|(sink, time)| (sink.to_string(), time.as_secs_f64())).collect(),
            figures: figures.get(name).cloned(),
        }
    };
    handle.engine.sources().iter().map(one).collect()
}

fn sinks(handle: &Handle) -> Vec<SinkSample> {
    let config = handle.config();
    let one = |sink: &Arc<sawlog_core::sink::Sink>| {
        let status = sink.status();
        let books = sink.intake.books(&handle.engine.journal().state());
        SinkSample {
            name: sink.id.to_string(),
            r#type: config.sinks.get(sink.id.as_str()).map_or("removed", |sink| sink.r#type),
            circuit: status.circuit(),
            status,
            stopped: sink.intake.stopped().is_some(),
            backlog: sink.intake.backlog(),
            flows: books.into_iter().map(|(source, books)| (source.to_string(), books.flow)).collect(),
        }
    };
    handle.engine.sinks().values().map(one).collect()
}

/// From the kernel's own account, in pages of 4 KiB; 0 where it is not to be had.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
