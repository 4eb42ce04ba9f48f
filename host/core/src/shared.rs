//! What all lanes of one source share: journal, chains, input, sinks, clock; and the small questions that the main path asks
//! of them.

use crate::identity::Held;
use crate::input::Inputs;
use crate::journal::{Components, Journal, Record, Snap};
use crate::lane;
use crate::memory::Pool;
use crate::pace::{self, CatchUp};
use crate::plan::{ComponentId, Planned};
use crate::ports::{Chain, ChainFailure, Chains, Clock, Context, JournalError, ReadLimits};
use crate::sink::{Feeder, Sink};
use crate::status::Figures;
use crate::stream::{NotAPrefix, Place, Stream};
use crate::tasks::Tasks;
use crate::watch::Watch;
use crate::{EpochId, SinkId, SourceId, mutation};
use event_listener::Event;
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// How long sinks may take to say what they hold before a source begins without them.
const HELD_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// Limits and times of the main path.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// One read, and so one batch.
    pub read: ReadLimits,
    /// Input bytes of one PLAN entry.
    pub stride_bytes_max: u64,
    /// How long a lane waits for a full sink before that sink leaves it: the others wait with it.
    pub patience: Duration,
    /// Between two attempts to read what can't be read just now.
    pub retry: Duration,
    /// How long a partition without input keeps the state of its plugins at hand that is saved as well.
    pub rest_after: Duration,
    /// Whether what was planned under a configuration that is gone runs under the present one, without asking.
    pub accept_skew: bool,
    /// Between two looks at how far sinks are behind, and at the journal's room.
    pub budget_look: Duration,
    /// So many entries that sinks may still need are usual; beyond them strides get longer.
    pub entries_calm: u64,
}

/// So many reads are to find room in memory at once.
const READS_AT_ONCE: u64 = 16;

/// A read is not made smaller than this for want of memory, bytes.
const READ_BYTES_MIN: usize = 64 << 10;

impl Default for Tuning {
    fn default() -> Self {
        Self {
            read: crate::lane::READ,
            stride_bytes_max: 4 << 20,
            patience: Duration::from_millis(250),
            retry: Duration::from_millis(200),
            rest_after: Duration::from_secs(10),
            accept_skew: false,
            budget_look: Duration::from_secs(1),
            entries_calm: 65_536,
        }
    }
}

/// Why a partition stopped; the others go on.
#[derive(Debug, thiserror::Error)]
pub enum PartitionStop {
    /// The journal failed: the whole process is to end.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Cursors of a sink make no sense in this stream.
    #[error("sink {sink}: {error}; give the sink up with `remove: {{ {sink}: forget }}`")]
    Cursors {
        /// Whose cursors.
        sink: SinkId,
        /// What is wrong with them.
        error: NotAPrefix,
    },
    /// The configuration under which input was planned is not at hand.
    #[error(
        "source {source_id}: {epoch:?}, under which input of partition {partition} was planned, is not at hand; restore `blobs` of \
         the data directory and start again, or run that input under the present configuration with \
         `sawlog partition resume {partition} --accept-skew` (everywhere: `on_missing_epoch: accept_skew`); until then this \
         partition waits"
    )]
    MissingEpoch {
        /// The configuration.
        epoch: EpochId,
        /// What can't go on.
        partition: PartitionId,
        /// Whose it is.
        source_id: SourceId,
    },
    /// Saved state is not at hand.
    #[error(
        "source {source_id}: the state of component {component} that was saved in partition {partition} is not at hand; restore \
         `blobs` of the data directory and start again, or give up what needs it with \
         `sawlog partition resume {partition} --discard-state`; until then this partition waits"
    )]
    MissingState {
        /// The component.
        component: ComponentId,
        /// What can't go on.
        partition: PartitionId,
        /// Whose it is.
        source_id: SourceId,
    },
    /// A plugin can't go on.
    #[error(transparent)]
    Chain(#[from] ChainFailure),
}

/// What all engines of a process take their part of.
#[derive(Clone, Debug)]
pub struct Common {
    /// Room in memory for what lanes read.
    pub memory: Arc<Pool>,
    /// The workers' time that lanes behind the frontier may take.
    pub catch_up: Arc<CatchUp>,
    /// What ends the process.
    pub watch: Arc<Watch>,
}

impl Default for Common {
    /// No limits.
    fn default() -> Self {
        Self { memory: Pool::unbounded(), catch_up: Arc::new(CatchUp::new(100, u32::MAX)), watch: Arc::default() }
    }
}

/// Everything that the lanes of one source share.
pub struct Shared {
    /// The journal.
    pub journal: Arc<Journal>,
    /// All configurations at hand.
    pub chains: Arc<dyn Chains>,
    /// The source's input.
    pub inputs: Arc<Inputs>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Limits.
    pub tuning: Tuning,
    /// A partition without input for this long gives out what its plugins hold back.
    pub idle_timeout: Duration,
    /// What all engines of the process share.
    pub common: Common,
    /// Some sink's seats changed.
    pub reseated: Arc<Event>,
    /// Whether lanes at the frontier plan what they read; off once the process is to end.
    pub planning: Arc<AtomicBool>,
    /// Numbers the checkpoints: lanes save their state once for each.
    pub checkpoint: Arc<AtomicU64>,
    /// The epoch under which the source was removed: it takes nothing new and delivers what it owes.
    retired: Mutex<Option<EpochId>>,
    /// Partitions of a removed source that have nothing more to plan.
    settled: Mutex<BTreeSet<PartitionId>>,
    /// The tasks of this source.
    pub(crate) tasks: Tasks,
    sinks: RwLock<BTreeMap<SinkId, Arc<Sink>>>,
    /// Partitions whose plugins hold rows back.
    holding: Mutex<BTreeSet<PartitionId>>,
    figures: Figures,
    /// Serialises saving of state with the deletion of blobs that nothing names.
    blobs: Arc<futures_util::lock::Mutex<()>>,
}

impl Shared {
    /// What the lanes of `inputs` share.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        journal: Arc<Journal>,
        chains: Arc<dyn Chains>,
        inputs: Arc<Inputs>,
        clock: Arc<dyn Clock>,
        (tuning, idle_timeout): (Tuning, Duration),
        common: Common,
        reseated: Arc<Event>,
        planning: Arc<AtomicBool>,
        checkpoint: Arc<AtomicU64>,
        blobs: Arc<futures_util::lock::Mutex<()>>,
        sinks: BTreeMap<SinkId, Arc<Sink>>,
    ) -> Self {
        let feeder = Feeder { inputs: inputs.clone(), chains: chains.clone() };
        sinks.values().for_each(|sink| sink.set_fed(feeder.clone(), true));
        Self {
            journal,
            chains,
            inputs,
            clock,
            tuning,
            idle_timeout,
            common,
            reseated,
            planning,
            checkpoint,
            retired: Mutex::default(),
            settled: Mutex::default(),
            tasks: Tasks::default(),
            sinks: RwLock::new(sinks),
            holding: Mutex::default(),
            figures: Figures::default(),
            blobs,
        }
    }

    /// How much one read brings, where memory is short less than usual: several lanes are to read at once.
    pub(crate) fn read_limits(&self) -> ReadLimits {
        let share = usize::try_from(self.common.memory.bytes_max() / READS_AT_ONCE).unwrap_or(usize::MAX);
        ReadLimits { bytes_max: self.tuning.read.bytes_max.min(share.max(READ_BYTES_MIN)), ..self.tuning.read }
    }

    /// How long a partition waits between two PLANs; `None`: until the journal has room.
    pub(crate) fn pause_between_plans(&self) -> Option<Duration> {
        pace::pause_between_plans(self.journal.pressure(), self.journal.kept_entries(), self.tuning.entries_calm)
    }

    /// What was read and what kept it waiting.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The sinks that this source feeds.
    pub fn sinks(&self) -> Vec<Arc<Sink>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Changes the sinks that this source feeds.
    pub fn set_sinks(&self, sinks: BTreeMap<SinkId, Arc<Sink>>) {
        let feeder = Feeder { inputs: self.inputs.clone(), chains: self.chains.clone() };
        sinks.values().for_each(|sink| sink.set_fed(feeder.clone(), true));
        let before = std::mem::replace(&mut *self.sinks.write().unwrap_or_else(PoisonError::into_inner), sinks);
        let kept = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        before
            .values()
            .filter(|sink| !kept.contains_key(&sink.id))
            .for_each(|sink| sink.set_fed(feeder.clone(), false));
        drop(kept);
        self.reseated.notify(usize::MAX);
    }

    /// The source is removed (`Some`: under which epoch it was accepted what is not planned yet), or is not after all.
    pub(crate) fn set_retired(&self, epoch: Option<EpochId>) {
        *self.retired.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        self.reseated.notify(usize::MAX);
    }

    /// Whether the source is removed, and under which epoch.
    pub(crate) fn retired(&self) -> Option<EpochId> {
        *self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settle(&self, partition: PartitionId) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
    }

    /// More was told of than there was when its lane had planned everything.
    pub(crate) fn unsettle(&self, partition: PartitionId) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// Whether a removed source has planned all that it owes.
    pub(crate) fn is_settled(&self) -> bool {
        if !self.inputs.has_begun() {
            return false;
        }
        let partitions = self.inputs.partitions();
        // What its lane has not heard of yet; first, for the lane takes back that it has planned everything before it plans that.
        if partitions.iter().any(|partition| lane::next_owed(self, *partition).is_some()) {
            return false;
        }
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().all(|partition| settled.contains(partition)) && !self.is_holding()
    }

    pub(crate) fn set_holding(&self, partition: PartitionId, holds: bool) {
        let mut holding = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        match holds {
            true => _ = holding.insert(partition),
            false => _ = holding.remove(&partition),
        }
    }

    /// Whether plugins of any partition hold rows back.
    pub fn is_holding(&self) -> bool {
        !self.holding.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What sinks hold of generations that this journal does not know, for a source that is about to begin. Sinks that hold their
    /// own cursors are waited for where the journal can't speak for them: a lost directory looks like a first start.
    pub(crate) async fn held(&self) -> Held {
        if !self.inputs.recognises() || mutation::on("held_ignored") {
            return Held::default();
        }
        let until = self.clock.elapsed() + HELD_WAIT_MAX;
        while self.is_anybody_silent() && self.clock.elapsed() < until {
            self.clock.sleep(HELD_PAUSE).await;
        }
        let marks: Vec<_> = self.sinks().iter().filter_map(|sink| sink.held()).flatten().collect();
        let held = {
            let state = self.journal.state();
            let taken = state.generations.keys().chain(state.dropped.iter()).copied().collect();
            Held::new(marks, taken).of_known_source(state.knows_source(&self.inputs.id))
        };
        match self.is_anybody_silent() {
            true => held.with_silent_sinks((self.clock.now() / 1_000_000_000) as u32),
            false => held,
        }
    }

    /// Whether a sink that this journal can't speak for has not said yet what it holds: where the journal knows nothing of the
    /// source, or met cursors of another journal there.
    fn is_anybody_silent(&self) -> bool {
        let state = self.journal.state();
        let is_known = state.knows_source(&self.inputs.id);
        let is_foreign = |sink: &Sink| state.facts.get(&sink.id).is_some_and(|facts| facts.adopted);
        let is_asked = |sink: &Sink| sink.holds_cursors() && (!is_known || is_foreign(sink));
        self.sinks().iter().any(|sink| is_asked(sink) && sink.held().is_none())
    }

    pub(crate) fn sink(&self, id: &SinkId) -> Option<Arc<Sink>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Reads the partition's stream; an empty one where nothing was planned yet.
    pub(crate) fn stream<R>(&self, partition: PartitionId, read: impl FnOnce(&Stream) -> R) -> R {
        match self.journal.state().partitions.get(&partition) {
            Some(state) => read(&state.stream),
            None => read(&Stream::default()),
        }
    }

    pub(crate) fn present_epoch(&self) -> Option<EpochId> {
        self.journal.state().epoch().map(|e| e.id)
    }

    pub(crate) fn chain(&self, partition: PartitionId, epoch: EpochId) -> Result<Arc<dyn Chain>, PartitionStop> {
        let under = self.journal.state().runs_under(partition, epoch);
        let source_id = self.inputs.id.clone();
        self.chains.chain(under, &source_id).ok_or(PartitionStop::MissingEpoch { epoch, partition, source_id })
    }

    /// A sink has taken the last that there was of it: where it was read for an added sink, what comes after waits for that.
    pub(crate) fn tell_end_of_history(&self, partition: PartitionId) {
        if self.journal.state().is_history_planned(partition) {
            self.reseated.notify(usize::MAX);
        }
    }

    /// The decisions under which `[from, to]` of `generation` runs.
    pub(crate) fn context(
        &self,
        partition: PartitionId,
        planned: &Planned,
        (generation, from, to): (Generation, u64, u64),
        first_run: bool,
    ) -> Context {
        let state = self.journal.state();
        let poison = state.poisons_within(generation, from, to);
        Context { partition, time: planned.time, poison, first_run, generous: !first_run }
    }

    /// The stateful components that run where entries of `epoch` do.
    pub(crate) fn components(&self, partition: PartitionId, epoch: EpochId) -> Result<Components, PartitionStop> {
        let digests = self.chain(partition, epoch)?.stateful();
        let state = self.journal.state();
        Ok(Components { digests, names: state.names_of(state.runs_under(partition, epoch), &self.inputs.id) })
    }

    /// The state saved at exactly this place.
    pub(crate) fn snap(&self, partition: PartitionId, place: Place) -> Option<Snap> {
        self.journal.state().partitions.get(&partition)?.snaps.get(&place).cloned()
    }

    pub(crate) async fn blobs(
        &self,
        partition: PartitionId,
        snap: &Snap,
    ) -> Result<BTreeMap<ComponentId, Vec<u8>>, PartitionStop> {
        let mut states = BTreeMap::new();
        for (component, digest) in &snap.states {
            let (component, source_id) = (*component, self.inputs.id.clone());
            let missing = PartitionStop::MissingState { component, partition, source_id };
            states.insert(component, self.journal.store().get_blob(*digest).await?.ok_or(missing)?);
        }
        Ok(states)
    }

    /// Stores state and journals it; the blobs are durable before the record.
    pub(crate) async fn put_snap(
        &self,
        partition: PartitionId,
        after: (Generation, Cursor),
        epoch: EpochId,
        blobs: BTreeMap<ComponentId, Vec<u8>>,
    ) -> Result<(), PartitionStop> {
        let guard = self.blobs.lock().await;
        let mut states = BTreeMap::new();
        for (component, bytes) in blobs {
            // A disk without room for it stops nothing: the older saved state stays good, and the next checkpoint tries again.
            let Ok(digest) = self.journal.store().put_blob(bytes).await else { return Ok(()) };
            states.insert(component, digest);
        }
        self.journal.hint(vec![Record::Snap { partition, snap: Snap { after, states, epoch } }]);
        drop(guard);
        Ok(())
    }

    pub(crate) fn checkpoint_number(&self) -> u64 {
        self.checkpoint.load(Ordering::Relaxed)
    }
}
