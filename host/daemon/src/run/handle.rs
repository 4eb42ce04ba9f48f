//! What API, telemetry and verbs may ask of the running agent: its parts to look at, and work that changes it, which the loop of
//! `run` does one at a time. It shows and forwards; it decides nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use futures_util::future::BoxFuture;
use sawlog_checkpoint::DiskJournal;
use sawlog_core::SinkId;
use sawlog_core::engine::Engine;
use sawlog_core::shared::Shared;
use sawlog_core::sink::Sink;
use sawlog_core::status::Checkpoints;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::canary::{Canaries, Returns};
use super::figures::Figures;
use super::groups::Groups;
use super::memory::Memory;
use super::outward::Outward;
use super::overrides::Overrides;
use super::parts::Running;
use super::pulse::Pulse;
use super::reload::Taken;
use super::shadow::Shadows;
use crate::config::Config;

/// Work on the running whole.
pub type Job = Box<dyn for<'a> FnOnce(&'a mut Running) -> BoxFuture<'a, ()> + Send>;

/// An engine, and what it has of one source.
pub type Reading = (Arc<Engine>, Arc<Shared>);
/// An engine, and what it has of one sink.
pub type Fed = (Arc<Engine>, Arc<Sink>);

/// Jobs that may wait; more are refused by waiting in their callers.
const JOBS_MAX: usize = 16;

/// The agent is on its way out and takes no more work.
#[derive(Debug, Error)]
#[error("the agent is winding down; ask again after its next start")]
pub struct Ending;

/// How reloads went.
#[derive(Debug, Clone, Default)]
pub struct Reloads {
    /// Taken.
    pub taken: u64,
    /// Refused; the old configuration went on.
    pub refused: u64,
    /// When the present configuration was taken.
    pub last_taken: Option<SystemTime>,
    /// Why the newest one was refused; `None` after one that was taken.
    pub trouble: Option<String>,
    /// Keys that changed and take effect at the next start only.
    pub waiting: Vec<&'static str>,
}

/// The running agent, for others.
pub struct Handle {
    /// The node's own engine: sources whose partitions do not move.
    pub engine: Arc<Engine>,
    /// Partitions that are shared with other agents; each that runs here has an engine of its own.
    pub groups: Arc<Groups>,
    /// The journal on the disk.
    pub store: Arc<DiskJournal>,
    /// The budget of memory.
    pub memory: Arc<Memory>,
    /// What of it is not a component's, and reaches out of the process.
    pub outward: Outward,
    /// The agent's id.
    pub agent: String,
    /// The data directory's own name, 32 hexadecimal digits.
    pub directory: String,
    /// How this life began.
    pub anew: super::anew::Anew,
    /// Where the configuration is.
    pub config_path: PathBuf,
    /// When it started.
    pub started: Instant,
    /// When its loop last turned.
    pub pulse: Pulse,
    /// Held while a plugin's component is taken in the place of another.
    pub swapping: tokio::sync::Mutex<()>,
    present: RwLock<Present>,
    ending: AtomicBool,
    jobs: mpsc::Sender<Job>,
    reloads: Mutex<Reloads>,
}

#[derive(Clone)]
struct Present {
    config: Arc<Config>,
    figures: Arc<BTreeMap<String, Figures>>,
    plugins: Arc<BTreeMap<String, sawlog_chain::Plugin>>,
    overrides: Arc<Overrides>,
    shadows: Arc<Shadows>,
    canaries: Arc<Canaries>,
    returned: Arc<Returns>,
}

impl Present {
    fn of(running: &Running) -> Self {
        Self {
            config: Arc::new(running.config().clone()),
            figures: Arc::new(running.figures()),
            plugins: Arc::new(running.loaded()),
            overrides: Arc::new(running.overrides()),
            shadows: Arc::new(running.shadows()),
            canaries: Arc::new(running.canaries()),
            returned: Arc::new(running.returned()),
        }
    }
}

impl Handle {
    /// A handle on `running`, and the jobs that its loop is to do.
    pub fn new(running: &Running, config_path: PathBuf) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (jobs, received) = mpsc::channel(JOBS_MAX);
        let (agent, directory) = running.names();
        let handle = Self {
            engine: running.engine.clone(),
            groups: running.groups.clone(),
            store: running.store.clone(),
            memory: running.memory.clone(),
            outward: running.outward.clone(),
            agent,
            directory,
            anew: running.anew.clone(),
            config_path,
            started: Instant::now(),
            pulse: Pulse::default(),
            swapping: tokio::sync::Mutex::new(()),
            present: RwLock::new(Present::of(running)),
            ending: AtomicBool::new(false),
            jobs,
            reloads: Mutex::new(Reloads { last_taken: Some(SystemTime::now()), ..Reloads::default() }),
        };
        (Arc::new(handle), received)
    }

    /// The present configuration.
    pub fn config(&self) -> Arc<Config> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// The sources' own figures.
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        let own = self.present.read().unwrap_or_else(PoisonError::into_inner).figures.clone();
        own.iter().map(|(name, figures)| (name.clone(), figures.clone())).chain(self.groups.figures()).collect()
    }

    /// All engines: the node's own first, then one for each partition of a group that runs here.
    pub fn engines(&self) -> Vec<Arc<Engine>> {
        let moving = self.groups.running().into_iter().map(|(_, _, partition)| partition.engine);
        std::iter::once(self.engine.clone()).chain(moving).collect()
    }

    /// Every source with the engines that read it: none where a group has given this agent no partition.
    pub fn sources(&self) -> BTreeMap<String, Vec<Reading>> {
        let mut sources: BTreeMap<String, Vec<_>> =
            self.groups.names().into_iter().map(|name| (name, Vec::new())).collect();
        for engine in self.engines() {
            for shared in engine.sources() {
                sources.entry(shared.inputs.id.to_string()).or_default().push((engine.clone(), shared));
            }
        }
        sources
    }

    /// Every sink with the engines that feed it; at least the node's own.
    pub fn sinks(&self) -> BTreeMap<SinkId, Vec<Fed>> {
        let mut sinks: BTreeMap<SinkId, Vec<_>> = BTreeMap::new();
        for engine in self.engines() {
            for (id, sink) in engine.sinks() {
                sinks.entry(id).or_default().push((engine.clone(), sink));
            }
        }
        sinks
    }

    /// How checkpoints of all engines fare.
    pub fn checkpoints(&self) -> Checkpoints {
        let mut all = Checkpoints::default();
        self.engines().iter().for_each(|engine| all.add(engine.checkpoints()));
        all
    }

    /// Whether every engine has delivered everything that is planned, and no partition of a group is still being opened.
    pub fn is_delivered(&self) -> bool {
        self.groups.unsettled().is_empty() && self.engines().iter().all(|engine| engine.is_delivered())
    }

    /// The plugins.
    pub fn plugins(&self) -> Arc<BTreeMap<String, sawlog_chain::Plugin>> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).plugins.clone()
    }

    /// What stands in the place of components that the configuration names.
    pub fn overrides(&self) -> Arc<Overrides> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).overrides.clone()
    }

    /// What runs beside plugins, to be compared.
    pub fn shadows(&self) -> Arc<Shadows> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).shadows.clone()
    }

    /// What takes a share of plugins' records.
    pub fn canaries(&self) -> Arc<Canaries> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).canaries.clone()
    }

    /// What did, and was returned from by itself.
    pub fn returned(&self) -> Arc<Returns> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).returned.clone()
    }

    /// How reloads went.
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a reload went; called by the loop.
    pub fn reloaded(&self, outcome: &Result<Taken, String>, running: &Running) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(taken) => {
                reloads.taken += 1;
                reloads.waiting.clone_from(&taken.waiting);
                (reloads.last_taken, reloads.trouble) = (Some(SystemTime::now()), None);
                self.show(running);
            }
            Err(reason) => {
                reloads.refused += 1;
                reloads.trouble = Some(reason.clone());
            }
        }
    }

    /// From here on this is what runs.
    pub fn show(&self, running: &Running) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Present::of(running);
    }

    /// From here on nothing that changes the agent is taken, no input is planned, and sinks send what they hold at once.
    pub fn wind_down(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.groups.end();
        self.engines().iter().for_each(|engine| engine.wind_down());
    }

    /// Whether the agent is winding down.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Has the loop do `work` on the running whole, after what it is doing.
    pub async fn ask<R, W>(&self, work: W) -> Result<R, Ending>
    where
        R: Send + 'static,
        W: for<'a> FnOnce(&'a mut Running) -> BoxFuture<'a, R> + Send + 'static,
    {
        if self.is_ending() {
            return Err(Ending);
        }
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |running| {
            Box::pin(async move {
                if reply.send(work(running).await).is_err() {
                    tracing::debug!("whoever asked has gone");
                }
            })
        });
        self.jobs.send(job).await.map_err(|_| Ending)?;
        answer.await.map_err(|_| Ending)
    }
}
