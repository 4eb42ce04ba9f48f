//! The engine: starts a task for every source, partition and sink, keeps checkpoints, and says when everything is delivered.
//! It decides nothing about records.

use crate::input::Inputs;
use crate::journal::{Journal, Record};
use crate::partition::Partition;
use crate::ports::{Chains, Clock, JournalError, RescueQueue, Source};
use crate::reload;
use crate::shared::{PartitionStop, Shared, Tuning};
use crate::sink::Sink;
use crate::status::Checkpoints;
use crate::{SinkId, SourceId};
use event_listener::Event;
use futures_util::future::BoxFuture;
use sawlog_record::id::PartitionId;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Runs futures side by side; those of one partition always on the same thread.
pub trait Spawner: Send + Sync {
    /// Starts `task`. `home` pins it.
    fn spawn(&self, home: Option<PartitionId>, task: BoxFuture<'static, ()>);
}

/// A source with the sinks that its records can reach.
#[derive(Clone)]
pub struct Route {
    /// The source's key.
    pub id: SourceId,
    /// The source.
    pub source: Arc<dyn Source>,
    /// Sinks that it feeds.
    pub sinks: BTreeSet<SinkId>,
}

/// Everything that an engine is made of.
pub struct Parts {
    /// The journal, opened.
    pub journal: Arc<Journal>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Configurations at hand.
    pub chains: Arc<dyn Chains>,
    /// Where vanishing input goes.
    pub rescue: Arc<dyn RescueQueue>,
    /// Sources.
    pub routes: Vec<Route>,
    /// Sinks.
    pub sinks: BTreeMap<SinkId, Arc<Sink>>,
    /// Some sink's seats changed; the same event that the sinks were made with.
    pub reseated: Arc<Event>,
    /// Limits of the main path.
    pub tuning: Tuning,
    /// Between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Starts tasks.
    pub spawner: Arc<dyn Spawner>,
}

/// A running engine. Dropping its tasks at any moment is safe: nothing that matters lives in them.
pub struct Engine {
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    shared: Vec<Arc<Shared>>,
    sinks: Mutex<BTreeMap<SinkId, Arc<Sink>>>,
    planning: Arc<AtomicBool>,
    checkpoint: Arc<AtomicU64>,
    checkpoint_interval: Duration,
    blobs: Arc<futures_util::lock::Mutex<()>>,
    spawner: Arc<dyn Spawner>,
    stopped: Mutex<BTreeMap<PartitionId, String>>,
    checkpoints: Mutex<Checkpoints>,
    /// One reload at a time.
    reloading: futures_util::lock::Mutex<()>,
}

impl Engine {
    /// Journals the configuration where it is new, and starts everything.
    pub async fn start(parts: Parts, wanted: reload::Wanted) -> Result<Arc<Self>, StartError> {
        begin_epoch(&parts.journal, &wanted).await?;
        let checkpoint = Arc::new(AtomicU64::new(0));
        let planning = Arc::new(AtomicBool::new(true));
        let blobs = Arc::new(futures_util::lock::Mutex::new(()));
        let share = |route: &Route| {
            let inputs = Inputs::new(
                route.id.clone(),
                route.source.clone(),
                parts.rescue.clone(),
                parts.journal.clone(),
                parts.clock.clone(),
            );
            let fed = parts.sinks.iter().filter(|(id, _)| route.sinks.contains(*id));
            Arc::new(Shared::new(
                parts.journal.clone(),
                parts.chains.clone(),
                Arc::new(inputs),
                parts.clock.clone(),
                parts.tuning,
                parts.reseated.clone(),
                planning.clone(),
                checkpoint.clone(),
                blobs.clone(),
                fed.map(|(id, sink)| (id.clone(), sink.clone())).collect(),
            ))
        };
        let engine = Arc::new(Self {
            shared: parts.routes.iter().map(share).collect(),
            journal: parts.journal,
            clock: parts.clock,
            sinks: Mutex::new(parts.sinks),
            planning,
            checkpoint,
            checkpoint_interval: parts.checkpoint_interval,
            blobs,
            spawner: parts.spawner,
            stopped: Mutex::default(),
            checkpoints: Mutex::default(),
            reloading: futures_util::lock::Mutex::new(()),
        });
        engine.clone().spawn_all();
        Ok(engine)
    }

    fn spawn_all(self: Arc<Self>) {
        for sink in self.sinks().into_values() {
            self.spawn_sink(sink);
        }
        for shared in &self.shared {
            let inputs = shared.inputs.clone();
            // A failed journal is noticed by whoever runs the engine, through `Engine::failure`.
            self.spawner.spawn(None, Box::pin(async move { drop(inputs.run().await) }));
            let (engine, shared) = (self.clone(), shared.clone());
            self.spawner.spawn(None, Box::pin(async move { engine.discover(shared).await }));
        }
        let engine = self.clone();
        self.spawner.spawn(None, Box::pin(async move { engine.keep_checkpoints().await }));
    }

    fn spawn_sink(&self, sink: Arc<Sink>) {
        self.spawner.spawn(None, Box::pin(async move { sink.run().await }));
    }

    /// Starts a task for each partition of a source as it appears.
    async fn discover(self: Arc<Self>, shared: Arc<Shared>) {
        let mut running = BTreeSet::new();
        loop {
            let (partitions, more) = shared.inputs.partitions();
            for id in partitions.into_iter().filter(|p| running.insert(*p)).collect::<Vec<_>>() {
                let partition = Partition::new(id, shared.clone());
                let engine = self.clone();
                let task = async move { engine.note_stop(id, partition.run().await) };
                self.spawner.spawn(Some(id), Box::pin(task));
            }
            more.await;
        }
    }

    fn note_stop(&self, partition: PartitionId, stop: PartitionStop) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, stop.to_string());
    }

    async fn keep_checkpoints(&self) {
        loop {
            self.clock.sleep(self.checkpoint_interval).await;
            if self.keep_checkpoint().await.is_err() {
                return;
            }
        }
    }

    /// Trims input, has lanes save their state, and replaces the journal by a snapshot.
    pub async fn keep_checkpoint(&self) -> Result<(), JournalError> {
        let began = self.clock.elapsed();
        let kept = self.write_checkpoint().await;
        let now = self.clock.elapsed();
        let mut checkpoints = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        match &kept {
            Ok(()) => {
                checkpoints.kept += 1;
                (checkpoints.at, checkpoints.took) = (Some(now), now.saturating_sub(began));
            }
            Err(_) => checkpoints.failures += 1,
        }
        kept
    }

    async fn write_checkpoint(&self) -> Result<(), JournalError> {
        self.checkpoint.fetch_add(1, Ordering::Relaxed);
        for shared in &self.shared {
            shared.inputs.trim().await?;
        }
        let guard = self.blobs.lock().await;
        let kept = self.journal.checkpoint().await;
        drop(guard);
        self.remove_drained().await?;
        kept
    }

    async fn remove_drained(&self) -> Result<(), JournalError> {
        let drained: Vec<SinkId> = {
            let state = self.journal.state();
            let draining = state.epoch().into_iter().flat_map(|e| &e.sinks).filter(|(_, r)| r.until.is_some());
            draining.filter(|(id, _)| reload::is_delivered(&state, id)).map(|(id, _)| id.clone()).collect()
        };
        for sink in drained {
            self.journal.commit(vec![Record::Removed { sink: sink.clone() }]).await?;
            let removed = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).remove(&sink);
            removed.into_iter().for_each(|sink| sink.retire());
        }
        Ok(())
    }

    /// Takes a changed configuration: the next PLAN of every partition names it. Sinks that are new come in `added`.
    pub async fn reload(
        &self,
        wanted: reload::Wanted,
        added: Vec<Arc<Sink>>,
        routes: &BTreeMap<SourceId, BTreeSet<SinkId>>,
    ) -> Result<(), StartError> {
        let one_at_a_time = self.reloading.lock().await;
        begin_epoch(&self.journal, &wanted).await?;
        let kept: BTreeSet<SinkId> = self.journal.state().sinks().cloned().collect();
        let mut sinks = self.sinks();
        sinks.iter().filter(|(id, _)| !kept.contains(*id)).for_each(|(_, sink)| sink.retire());
        sinks.retain(|id, _| kept.contains(id));
        for sink in added {
            if let Entry::Vacant(vacant) = sinks.entry(sink.id.clone()) {
                vacant.insert(sink.clone());
                self.spawn_sink(sink);
            }
        }
        for shared in &self.shared {
            let fed = |id: &SinkId| {
                routes.get(&shared.inputs.id).is_some_and(|s| s.contains(id)) || !wanted.sinks.contains(id)
            };
            shared.set_sinks(sinks.iter().filter(|(id, _)| fed(id)).map(|(id, s)| (id.clone(), s.clone())).collect());
        }
        *self.sinks.lock().unwrap_or_else(PoisonError::into_inner) = sinks;
        drop(one_at_a_time);
        Ok(())
    }

    /// Plans nothing more, and has sinks send what they hold without waiting for size or age.
    pub fn wind_down(&self) {
        self.planning.store(false, Ordering::Relaxed);
        self.flush_always();
    }

    /// Has sinks send what they hold without waiting for size or age, from now on.
    pub fn flush_always(&self) {
        self.sinks().values().for_each(|sink| sink.flush_always());
    }

    /// Whether every sink has durably passed everything that is planned.
    pub fn is_delivered(&self) -> bool {
        let state = self.journal.state();
        state.sinks().all(|sink| reload::is_delivered(&state, sink))
    }

    /// All sinks.
    pub fn sinks(&self) -> BTreeMap<SinkId, Arc<Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Partitions that stopped, and why.
    pub fn stopped(&self) -> BTreeMap<PartitionId, String> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How checkpoints fare.
    pub fn checkpoints(&self) -> Checkpoints {
        *self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock's elapsed time.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The inputs of all sources.
    pub fn inputs(&self) -> Vec<Arc<Inputs>> {
        self.shared.iter().map(|shared| shared.inputs.clone()).collect()
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Whether everything readable is planned and every sink has durably passed it.
    pub fn is_drained(&self) -> bool {
        let state = self.journal.state();
        let planned = |shared: &Arc<Shared>| {
            let (partitions, _) = shared.inputs.partitions();
            let readable = partitions.into_iter().flat_map(|p| shared.inputs.readable(p));
            readable.into_iter().all(|(g, end)| state.generations.get(&g).is_none_or(|s| s.planned.pos >= end))
        };
        self.shared.iter().all(|s| planned(s) && !s.is_holding())
            && state.sinks().all(|sink| reload::is_delivered(&state, sink))
    }

    /// Whether every source has said that nothing will come any more.
    pub fn is_finished(&self) -> bool {
        self.shared.iter().all(|s| s.inputs.is_finished())
    }

    /// Resolves when the journal has failed: the process is to end, and to start again.
    pub async fn failure(&self) -> JournalError {
        self.journal.failure().await
    }
}

/// Decides and journals in one step: where a new sink begins is the frontier at exactly its EPOCH record.
async fn begin_epoch(journal: &Journal, wanted: &reload::Wanted) -> Result<(), StartError> {
    let (decided, durable) = journal.append_with(true, |state, _| match reload::decide(state, wanted) {
        Ok(epoch) => (epoch.map(Record::Epoch).into_iter().collect(), Ok(())),
        Err(refusal) => (Vec::new(), Err(refusal)),
    });
    decided?;
    Ok(journal.checked(durable.await)?)
}

/// Why an engine does not start, or does not take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be taken.
    #[error(transparent)]
    Refused(#[from] reload::Refusal),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
