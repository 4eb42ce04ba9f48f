//! The engine: starts a task for every source, partition and sink, keeps checkpoints, and says when everything is delivered.
//! It decides nothing about records.

mod giving_up;
mod operating;
mod seeking;
#[cfg(test)]
mod tests;

use crate::input::{Floors, Inputs, Unrescued};
use crate::journal::{Journal, JournalState, Record};
use crate::partition::Partition;
use crate::ports::{Chains, Clock, JournalError, RescueQueue, Source};
use crate::reload;
use crate::shared::{Common, PartitionStop, Shared, Tuning};
use crate::sink::Sink;
use crate::status::Checkpoints;
use crate::{EpochId, SinkId, SourceId, mutation};
use event_listener::Event;
pub use operating::Refused;
pub use seeking::Ranges;

use futures_util::future::{BoxFuture, Either, select};
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// While nothing happens, so many checkpoints that are not written are followed by one that lets go of input once more, should a
/// source have failed to.
const TRIM_AGAIN_AFTER: u32 = 6;

/// How long a partition stands still that could not read what it had saved.
const STOP_PAUSE: Duration = Duration::from_secs(5);

/// Runs futures side by side; those of one partition always on the same thread.
pub trait Spawner: Send + Sync {
    /// Starts `task`. `home` pins it.
    fn spawn(&self, home: Option<PartitionId>, task: BoxFuture<'static, ()>);
}

/// A source, ready to begin.
#[derive(Clone)]
pub struct Route {
    /// The source's key.
    pub id: SourceId,
    /// The source.
    pub source: Arc<dyn Source>,
    /// `Some`: the configuration no longer names it. It takes nothing new and delivers what it owes, under this epoch where it
    /// has planned nothing yet.
    pub retired: Option<EpochId>,
    /// A partition without input for this long gives out what its plugins hold back.
    pub idle_timeout: Duration,
}

/// What a changed configuration brings.
pub struct Change {
    /// What delivery depends on. Sources that no sink is fed by any more are removed.
    pub wanted: reload::Wanted,
    /// Names of all sources of the configuration.
    pub sources: BTreeSet<SourceId>,
    /// Sinks that are new, or take the place of one with the same name.
    pub sinks: Vec<Arc<Sink>>,
    /// Sources that are new; one that takes another's place comes after [`Engine::end_source`].
    pub routes: Vec<Route>,
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
    /// What engines of one process share.
    pub common: Common,
    /// Between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Starts tasks.
    pub spawner: Arc<dyn Spawner>,
}

/// A running engine. Dropping its tasks at any moment is safe: nothing that matters lives in them.
pub struct Engine {
    ground: Ground,
    shared: Mutex<BTreeMap<SourceId, Arc<Shared>>>,
    /// Sources that end: whoever takes the place of one waits for it, whoever began to end it.
    ending: Mutex<BTreeMap<SourceId, Arc<Shared>>>,
    sinks: Mutex<BTreeMap<SinkId, Arc<Sink>>>,
    checkpoint_interval: Mutex<Duration>,
    spawner: Arc<dyn Spawner>,
    stopped: Mutex<BTreeMap<PartitionId, PartitionStop>>,
    checkpoints: Mutex<Checkpoints>,
    /// One reload at a time.
    reloading: futures_util::lock::Mutex<()>,
}

/// What sources are started on.
struct Ground {
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    chains: Arc<dyn Chains>,
    rescue: Arc<dyn RescueQueue>,
    reseated: Arc<Event>,
    tuning: Tuning,
    common: Common,
    planning: Arc<AtomicBool>,
    checkpoint: Arc<AtomicU64>,
    blobs: Arc<futures_util::lock::Mutex<()>>,
}

impl Ground {
    /// What the lanes of one source share.
    fn share(&self, route: Route, sinks: BTreeMap<SinkId, Arc<Sink>>) -> Arc<Shared> {
        let (journal, clock) = (self.journal.clone(), self.clock.clone());
        let inputs = Inputs::new(route.id, route.source, self.rescue.clone(), journal.clone(), clock.clone());
        let shared = Shared::new(
            journal,
            self.chains.clone(),
            Arc::new(inputs),
            clock,
            (self.tuning, route.idle_timeout),
            self.common.clone(),
            self.reseated.clone(),
            self.planning.clone(),
            self.checkpoint.clone(),
            self.blobs.clone(),
            sinks,
        );
        shared.set_retired(route.retired);
        Arc::new(shared)
    }
}

impl Engine {
    /// Journals the configuration where it is new, and starts everything.
    pub async fn start(parts: Parts, wanted: reload::Wanted) -> Result<Arc<Self>, StartError> {
        begin_epoch(&parts.journal, &wanted).await?;
        let engine = Arc::new(Self {
            ground: Ground {
                journal: parts.journal,
                clock: parts.clock,
                chains: parts.chains,
                rescue: parts.rescue,
                reseated: parts.reseated,
                tuning: parts.tuning,
                common: parts.common,
                planning: Arc::new(AtomicBool::new(true)),
                checkpoint: Arc::default(),
                blobs: Arc::default(),
            },
            shared: Mutex::default(),
            ending: Mutex::default(),
            sinks: Mutex::new(parts.sinks),
            checkpoint_interval: Mutex::new(parts.checkpoint_interval),
            spawner: parts.spawner,
            stopped: Mutex::default(),
            checkpoints: Mutex::default(),
            reloading: futures_util::lock::Mutex::new(()),
        });
        engine.sinks().into_values().for_each(|sink| engine.spawn_sink(sink));
        parts.routes.into_iter().for_each(|route| engine.start_source(route));
        let checkpoints = engine.clone();
        engine.spawner.spawn(None, Box::pin(async move { checkpoints.keep_checkpoints().await }));
        let budgets = engine.clone();
        engine.spawner.spawn(None, Box::pin(async move { budgets.keep_budgets().await }));
        Ok(engine)
    }

    fn spawn_sink(&self, sink: Arc<Sink>) {
        self.spawner.spawn(None, Box::pin(async move { sink.run().await }));
    }

    // ------------------------------------------------------------ sources

    fn shared(&self) -> BTreeMap<SourceId, Arc<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a source over what the journal knows of it.
    pub fn start_source(self: &Arc<Self>, route: Route) {
        let id = route.id.clone();
        let fed = self.fed_by(&id);
        let closes = route.retired.is_some();
        let shared = self.ground.share(route, fed);
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).insert(id, shared.clone());
        let (engine, partitions) = (self.clone(), shared.clone());
        self.spawner.spawn(
            None,
            Box::pin(async move {
                let discovery = engine.discover(partitions.clone());
                partitions.tasks.run(discovery).await;
            }),
        );
        let follow = async move {
            // A failed journal is noticed by whoever runs the engine, through `Engine::failure`.
            let run = async {
                let Some(held) = shared.tasks.until_ending(shared.held()).await else { return Ok(()) };
                shared.inputs.run(closes, held, &shared.tasks).await
            };
            drop(shared.tasks.hold(run).await);
        };
        self.spawner.spawn(None, Box::pin(follow));
    }

    /// The sinks that answer for a source's records.
    fn fed_by(&self, source: &SourceId) -> BTreeMap<SinkId, Arc<Sink>> {
        let state = self.ground.journal.state();
        self.sinks().into_iter().filter(|(sink, _)| state.feeds(source, sink)).collect()
    }

    /// Ends the tasks of a source: when this returns, nothing of it runs any more, whoever ended it, and its sinks keep what they
    /// took. Whoever takes its place goes on where the journal says. What is being rescued is waited for, at most
    /// [`crate::input::RESCUE_AT_END_MAX`] while it can't be read; what was given up then is told.
    pub async fn end_source(&self, id: &SourceId) -> Vec<Unrescued> {
        let Some(shared) = self.begin_to_end(id) else { return Vec::new() };
        shared.inputs.close().await;
        shared.tasks.end().await;
        shared.set_sinks(BTreeMap::new());
        let partitions = shared.inputs.partitions();
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).retain(|p, _| !partitions.contains(p));
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if ending.get(id).is_some_and(|ended| Arc::ptr_eq(ended, &shared)) {
            ending.remove(id);
        }
        shared.inputs.unrescued()
    }

    /// The source of this name that is to end from now on, or ends already.
    fn begin_to_end(&self, id: &SourceId) -> Option<Arc<Shared>> {
        let mut running = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = running.remove(id) {
            ending.insert(id.clone(), shared.clone());
            return Some(shared);
        }
        // One that ends by itself is still rescuing, perhaps, what its successor would take for lost.
        if mutation::on("source_beside") { None } else { ending.get(id).cloned() }
    }

    /// Starts a task for each partition of a source as it appears, and for one that rests when something may be there for it: input,
    /// or a sink that stands elsewhere.
    async fn discover(self: Arc<Self>, shared: Arc<Shared>) {
        let mut reseated = shared.reseated.listen();
        loop {
            let (due, more) = shared.inputs.due();
            due.into_iter().for_each(|id| self.run_partition(id, shared.clone()));
            match select(more, reseated).await {
                Either::Left(((), still)) => reseated = still,
                Either::Right(_) => {
                    // Listen first, wake then: who comes to rest meanwhile has heard of it itself, or is woken.
                    reseated = shared.reseated.listen();
                    if !mutation::on("dormant_deaf") {
                        shared.inputs.wake_all();
                    }
                }
            }
        }
    }

    fn run_partition(self: &Arc<Self>, id: PartitionId, shared: Arc<Shared>) {
        let engine = self.clone();
        let task = async move {
            loop {
                let mut partition = Partition::new(id, shared.clone());
                // Boxed: whoever wraps a future keeps room for it more than once.
                let Some(Some(stop)) = shared.tasks.run(Box::pin(partition.run())).await else { return };
                drop(partition);
                let passes = engine.passes(&stop);
                engine.note_stop(id, stop);
                let pause = engine.ground.clock.sleep(STOP_PAUSE);
                // A person may have had it go on meanwhile.
                if !passes || shared.tasks.run(pause).await.is_none() || !engine.forget_stop(id) {
                    return;
                }
            }
        };
        self.spawner.spawn(Some(id), Box::pin(task));
    }

    fn note_stop(&self, partition: PartitionId, stop: PartitionStop) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, stop);
    }

    /// Whether the partition had stopped; whoever is told so has it go on.
    fn forget_stop(&self, partition: PartitionId) -> bool {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition).is_some()
    }

    /// Whether a partition that stopped for this may go on without anybody's word: what it read of the journal's blobs could not be
    /// read just then, and the journal goes on.
    fn passes(&self, stop: &PartitionStop) -> bool {
        matches!(stop, PartitionStop::Journal(_)) && self.ground.journal.failed().is_none()
    }

    /// Ends removed sources that owe nothing any more.
    async fn end_settled(&self) {
        for (id, shared) in self.shared() {
            let is_done = shared.retired().is_some()
                && !shared.inputs.owes()
                && shared.is_settled()
                && reload::is_source_delivered(&self.ground.journal.state(), &id);
            if is_done {
                // It owes no rows. What its plugins' state comes from may still be rescued; its successor waits for that.
                drop(self.end_source(&id).await);
            }
        }
    }

    // ------------------------------------------------------------ checkpoints

    /// How long to wait between two checkpoints, from the next one on.
    pub fn set_checkpoint_interval(&self, interval: Duration) {
        *self.checkpoint_interval.lock().unwrap_or_else(PoisonError::into_inner) = interval;
    }

    async fn keep_checkpoints(&self) {
        let mut stood_by = 0_u32;
        loop {
            let interval = *self.checkpoint_interval.lock().unwrap_or_else(PoisonError::into_inner);
            self.ground.clock.sleep(interval).await;
            // With ten thousand quiet files a snapshot is dear, and the one that is there says the same.
            let floors = {
                let state = self.ground.journal.state();
                // What can be let go of once and for all may have to be asked for again, seldom.
                let is_due = stood_by.is_multiple_of(TRIM_AGAIN_AFTER);
                let floors = || if is_due { self.floors(&state) } else { Vec::new() };
                self.ground.journal.is_written(&state).then(floors)
            };
            stood_by = if floors.is_some() { stood_by + 1 } else { 0 };
            let kept = match floors {
                Some(floors) => self.stand_by_checkpoint(floors).await,
                None => self.keep_checkpoint().await,
            };
            if kept.is_err() && self.ground.journal.failed().is_some() {
                return;
            }
        }
    }

    /// Trims input, has lanes save their state, and replaces the journal by a snapshot.
    pub async fn keep_checkpoint(&self) -> Result<(), JournalError> {
        let began = self.ground.clock.elapsed();
        let kept = self.write_checkpoint().await;
        let now = self.ground.clock.elapsed();
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
        self.ground.checkpoint.fetch_add(1, Ordering::Relaxed);
        let guard = self.ground.blobs.lock().await;
        let floors = self.floors(&self.ground.journal.state());
        let kept = self.ground.journal.checkpoint().await;
        drop(guard);
        // What came behind the snapshot may have failed, which is durable all the same: it is tried again behind the next one.
        if kept.is_ok() || self.ground.journal.failed().is_none() {
            trim(floors).await?;
        }
        self.follow_checkpoint().await?;
        kept
    }

    /// The newest checkpoint holds everything: does what follows one, also what failed after it.
    async fn stand_by_checkpoint(&self, floors: Vec<(Arc<Inputs>, Floors)>) -> Result<(), JournalError> {
        let now = self.ground.clock.elapsed();
        // What has just come to rest is packed once.
        if !floors.is_empty() {
            self.sinks().values().for_each(|sink| sink.intake.pack());
            self.inputs().iter().for_each(|inputs| inputs.pack());
        }
        trim(floors).await?;
        self.follow_checkpoint().await?;
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).at = Some(now);
        Ok(())
    }

    async fn follow_checkpoint(&self) -> Result<(), JournalError> {
        self.remove_drained().await?;
        self.end_settled().await;
        Ok(())
    }

    /// Up to where the input of each source is not needed any more.
    fn floors(&self, state: &JournalState) -> Vec<(Arc<Inputs>, Floors)> {
        self.shared().into_values().map(|shared| (shared.inputs.clone(), shared.inputs.floors(state))).collect()
    }

    async fn remove_drained(&self) -> Result<(), JournalError> {
        let journal = &self.ground.journal;
        let drained: Vec<SinkId> = {
            let state = journal.state();
            let draining = state.epoch().into_iter().flat_map(|e| &e.sinks).filter(|(_, r)| r.until.is_some());
            draining.filter(|(id, _)| reload::is_delivered(&state, id)).map(|(id, _)| id.clone()).collect()
        };
        for sink in drained {
            journal.commit(vec![Record::Removed { sink: sink.clone() }]).await?;
            let removed = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).remove(&sink);
            if let Some(sink) = removed {
                sink.retire().await;
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------ reload

    /// Takes a changed configuration: the next PLAN of every partition names it. Where it is refused, all of the old one goes on.
    /// Tells what could not be rescued of sources that others take the place of.
    pub async fn reload(self: &Arc<Self>, change: Change) -> Result<Vec<Unrescued>, StartError> {
        let one_at_a_time = self.reloading.lock().await;
        // A removed source plans nothing from the EPOCH on: its lanes are told before it is journalled.
        let removed = self.removed(&change.sources);
        // What is let go of meanwhile could be read when a sink was added that gets it.
        let inputs = self.inputs();
        let mut kept = Vec::new();
        for inputs in inputs.iter().filter(|_| !change.wanted.from_oldest.is_empty()) {
            kept.push(inputs.keep_all().await);
        }
        if let Err(refused) = begin_epoch(&self.ground.journal, &change.wanted).await {
            removed.iter().for_each(|shared| shared.set_retired(None));
            return Err(refused);
        }
        drop(kept);
        for shared in removed {
            shared.inputs.close().await;
        }
        self.change_sinks(change.sinks).await;
        for (id, shared) in self.shared() {
            shared.set_sinks(self.fed_by(&id));
        }
        self.begin_histories().await?;
        let mut unrescued = Vec::new();
        for route in change.routes {
            unrescued.extend(self.end_source(&route.id).await);
            self.start_source(route);
        }
        drop(one_at_a_time);
        Ok(unrescued)
    }

    fn removed(&self, wanted: &BTreeSet<SourceId>) -> Vec<Arc<Shared>> {
        let epoch = self.ground.journal.state().epoch().map(|e| e.id);
        let gone = self.shared().into_iter().filter(|(id, shared)| !wanted.contains(id) && shared.retired().is_none());
        let removed: Vec<Arc<Shared>> = gone.map(|(_, shared)| shared).collect();
        removed.iter().for_each(|shared| shared.set_retired(epoch));
        removed
    }

    /// Ends sinks that are gone or replaced, each before its successor begins: a file has one writer.
    async fn change_sinks(&self, changed: Vec<Arc<Sink>>) {
        let kept: BTreeSet<SinkId> = self.ground.journal.state().sinks().cloned().collect();
        let replaced: BTreeSet<SinkId> = changed.iter().map(|sink| sink.id.clone()).collect();
        let mut sinks = self.sinks();
        let ends = |id: &SinkId| !kept.contains(id) || replaced.contains(id);
        for (_, sink) in sinks.iter().filter(|(id, _)| ends(id) && !mutation::on("successor_beside")) {
            sink.retire().await;
        }
        sinks.retain(|id, _| !ends(id));
        for sink in changed {
            sinks.insert(sink.id.clone(), sink.clone());
            self.spawn_sink(sink);
        }
        *self.sinks.lock().unwrap_or_else(PoisonError::into_inner) = sinks;
    }

    /// Plans nothing more, and has sinks send what they hold without waiting for size or age.
    pub fn wind_down(&self) {
        self.ground.planning.store(false, Ordering::Relaxed);
        self.flush_always();
    }

    /// Has sinks send what they hold without waiting for size or age, from now on.
    pub fn flush_always(&self) {
        self.sinks().values().for_each(|sink| sink.flush_always());
    }

    /// Whether every sink has durably passed everything that is planned.
    pub fn is_delivered(&self) -> bool {
        let state = self.ground.journal.state();
        state.sinks().all(|sink| reload::is_delivered(&state, sink))
    }

    /// All sinks.
    pub fn sinks(&self) -> BTreeMap<SinkId, Arc<Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Partitions that stopped, and why.
    pub fn stopped(&self) -> BTreeMap<PartitionId, String> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.iter().map(|(partition, stop)| (*partition, stop.to_string())).collect()
    }

    /// How checkpoints fare.
    pub fn checkpoints(&self) -> Checkpoints {
        *self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock's elapsed time.
    pub fn elapsed(&self) -> Duration {
        self.ground.clock.elapsed()
    }

    /// The inputs of all sources.
    pub fn inputs(&self) -> Vec<Arc<Inputs>> {
        self.shared().values().map(|shared| shared.inputs.clone()).collect()
    }

    /// What the lanes of each source share.
    pub fn sources(&self) -> Vec<Arc<Shared>> {
        self.shared().values().cloned().collect()
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.ground.journal
    }

    /// Whether everything readable is planned and every sink has durably passed it.
    pub fn is_drained(&self) -> bool {
        let planned = |shared: &Arc<Shared>| {
            let partitions = shared.inputs.partitions();
            let readable: Vec<_> = partitions.into_iter().flat_map(|p| shared.inputs.readable(p)).collect();
            let state = self.ground.journal.state();
            readable.into_iter().all(|(g, end)| state.generations.get(&g).is_none_or(|s| s.planned.pos >= end))
        };
        let has_planned = |shared: &Arc<Shared>| match shared.retired() {
            Some(_) => !shared.inputs.owes() && shared.is_settled(),
            None => shared.inputs.has_begun() && planned(shared) && !shared.is_holding(),
        };
        self.shared().values().all(has_planned) && self.is_delivered()
    }

    /// Whether every source has said that nothing will come any more.
    pub fn is_finished(&self) -> bool {
        self.shared().values().all(|s| s.retired().is_some() || s.inputs.is_finished())
    }

    /// Resolves when the journal has failed: the process is to end, and to start again.
    pub async fn failure(&self) -> JournalError {
        self.ground.journal.failure().await
    }
}

/// Lets go of input that nobody needs, by floors that are durable.
async fn trim(floors: Vec<(Arc<Inputs>, Floors)>) -> Result<(), JournalError> {
    for (inputs, floors) in floors {
        inputs.trim(floors).await?;
    }
    Ok(())
}

/// Decides and journals in one step: where a new sink begins is the frontier at exactly its EPOCH record.
async fn begin_epoch(journal: &Journal, wanted: &reload::Wanted) -> Result<(), StartError> {
    let (decided, durable) = journal.append_with(true, |state, now| match reload::records(state, wanted, now) {
        Ok(records) => (records, Ok(())),
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
