//! The main path. A lane carries one partition, from its place in the stream, through the chain to the sinks that stand there:
//!
//! ```text
//!   sinks recover ─► [`Lane::step`]:  read ─► plan ─► decode, apply, route ─► offer ─► sinks collect cursors, and save them
//! ```
//!
//! All lanes are equal; the one at the frontier plans. Below the frontier a lane obeys the journal. It knows nothing of how
//! sinks deliver nor of how lanes are given sinks: that is [`crate::partition`].

mod boundary;
mod fed;
mod idle;

use self::boundary::{Handed, hand_over};
use self::fed::Fed;
use crate::EpochId;
use crate::journal::{Journal, Judge, Mark, Record, Standing, Verdict};
use crate::memory::Hold;
use crate::mutation;
use crate::plan::{ComponentId, Entry, Planned};
use crate::ports::{Applied, ChainFailure, ChainInstance, Offer, ReadError, ReadLimits};
use crate::shared::{PartitionStop, Shared};
use crate::stream::Place;
use sawlog_record::batch::{Batch, Input, Output};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// One partition's chain at one place, and the sinks that it feeds.
pub struct Lane {
    pub(crate) place: Place,
    pub(crate) sinks: Fed,
    pub(crate) instance: Option<(EpochId, Box<dyn ChainInstance>)>,
    /// Read at the frontier before it was planned, with where each begins; run after.
    ahead: VecDeque<Ahead>,
    /// State of components whose UPGRADE comes next in the stream.
    pending: BTreeMap<ComponentId, Vec<u8>>,
    /// When this lane last planned input.
    planned_at: Duration,
    /// Where the frontier was when this process met the partition.
    first_life: Place,
}

/// A batch as it was read, and the memory that it holds until it is handed over.
struct Ahead {
    generation: Generation,
    begins: u64,
    input: Input,
    held: Hold,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The lane moved or learnt something: step again.
    Went,
    /// Nothing to do until input comes or time passes.
    Idle,
    /// Input could not be read just now: step again after a pause.
    Later,
    /// There is no room in memory to read into: step again when there is.
    Crowded,
    /// The journal is short of room: step again then, or when it has room where that can't be told.
    Paced(Option<Duration>),
    /// The input is gone for good: the sinks of this lane lose it.
    Lost,
    /// The instance is spent: state is to be restored.
    Spent,
}

impl Lane {
    /// A lane at `place` that feeds nobody yet.
    pub(crate) fn at(place: Place, first_life: Place, now: Duration) -> Self {
        Self {
            place,
            sinks: Fed::default(),
            instance: None,
            ahead: VecDeque::new(),
            pending: BTreeMap::new(),
            planned_at: now,
            first_life,
        }
    }

    /// One step along the stream, not beyond `cut`.
    pub(crate) async fn step(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        cut: Option<Place>,
    ) -> Result<Step, PartitionStop> {
        let planned = shared.stream(partition, |stream| stream.at(self.place).cloned());
        let Some(planned) = planned else { return self.plan(shared, partition).await };
        if !self.enter_epoch(shared, partition, &planned).await? {
            return Ok(Step::Spent);
        }
        match planned.entry {
            Entry::Range { generation, lo, hi } => {
                self.run_range(shared, partition, &planned, (generation, lo, hi), cut).await
            }
            _ => self.run_decision(shared, partition, &planned).await,
        }
    }

    // ------------------------------------------------------------ plan, at the frontier only

    /// Reads what has come, and plans it: no byte derived from it leaves before the PLAN is durable.
    async fn plan(&mut self, shared: &Shared, partition: PartitionId) -> Result<Step, PartitionStop> {
        let Some(present) = shared.present_epoch() else { return Ok(Step::Idle) };
        if !shared.planning.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(Step::Idle);
        }
        if shared.journal.state().is_history_planned(partition) {
            // Whoever waits for its end goes on; nothing comes behind that.
            return Ok(self.idle(shared, partition));
        }
        if let Some(retired) = shared.retired() {
            return self.plan_rest(shared, partition, retired, present).await;
        }
        if let Some(step) = self.plan_boundary(shared, partition, present).await? {
            return Ok(step);
        }
        let Some((generation, lo)) = next_unplanned(shared, partition) else {
            return self.plan_idle(shared, partition, present, false).await;
        };
        if !self.is_ready(shared, partition, present).await? {
            return Ok(Step::Spent);
        }
        self.plan_range(shared, partition, (generation, lo), (present, present)).await
    }

    /// Where plugins with state are new, the state that is here is that of a partition without: behind the next entry, which runs with
    /// them, it could not be had any more.
    async fn is_ready(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        present: EpochId,
    ) -> Result<bool, PartitionStop> {
        let begins = {
            let state = shared.journal.state();
            state.epoch().is_some_and(|epoch| !epoch.stateful.is_empty()) && !state.partition_is_stateful(partition)
        };
        if begins { self.ensure_instance(shared, partition, present).await } else { Ok(true) }
    }

    /// Nothing is left to plan, for good.
    fn idle(&self, shared: &Shared, partition: PartitionId) -> Step {
        if shared.retired().is_some() {
            shared.settle(partition);
        }
        Step::Idle
    }

    /// What a removed source still owes, under the configuration that it had: all that it accepted by a promise, what an added sink
    /// was to have of what was read before, and what its plugins hold back.
    async fn plan_rest(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        retired: EpochId,
        present: EpochId,
    ) -> Result<Step, PartitionStop> {
        if let Some(step) = self.finish_boundary(shared, partition, present).await? {
            return Ok(step);
        }
        let last = shared.stream(partition, |s| s.last().map(|p| p.epoch));
        let epoch = last.unwrap_or(retired);
        if let Some(from) = next_owed(shared, partition) {
            shared.unsettle(partition);
            return self.plan_range(shared, partition, from, (epoch, present)).await;
        }
        if last.is_none() {
            // Nothing ran, so nothing is held back: the configuration is not needed, and may be gone.
            return Ok(self.idle(shared, partition));
        }
        if !self.ensure_instance(shared, partition, epoch).await? {
            return Ok(Step::Spent);
        }
        let step = self.plan_idle(shared, partition, present, true).await?;
        if step == Step::Idle {
            shared.settle(partition);
        }
        Ok(step)
    }

    /// Reads from `lo` on and plans what came, under `epoch`.
    async fn plan_range(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        (generation, lo): (Generation, u64),
        (epoch, present): (EpochId, EpochId),
    ) -> Result<Step, PartitionStop> {
        let now = shared.clock.elapsed();
        match shared.pause_between_plans().map(|pause| self.planned_at + pause) {
            Some(free_at) if free_at <= now => {}
            free_at => return Ok(Step::Paced(free_at)),
        }
        let end = shared.inputs.readable(partition).iter().find(|(g, _)| *g == generation).map_or(lo, |(_, e)| *e);
        self.ahead = VecDeque::new();
        let mut hi = lo;
        while hi < end && hi - lo < shared.tuning.stride_bytes_max {
            let Some(mut held) = shared.common.memory.take(READING * shared.read_limits().bytes_max as u64) else {
                if hi > lo {
                    break;
                }
                return Ok(Step::Crowded);
            };
            match shared.inputs.read(generation, hi, end, shared.read_limits()).await {
                Ok(input) => {
                    let next = input.records.last().map_or(hi, |r| r.end);
                    held.settle(READING * input.memory_bytes() as u64);
                    self.ahead.push_back(Ahead { generation, begins: hi, input, held });
                    hi = next;
                }
                Err(ReadError::Gone) => hi = end,
                Err(ReadError::Unavailable(_)) if hi > lo => break,
                Err(ReadError::Unavailable(_)) => return Ok(Step::Later),
            }
        }
        self.planned_at = shared.clock.elapsed();
        shared.common.catch_up.note_frontier(self.planned_at);
        let step = self.append(shared, partition, Entry::Range { generation, lo, hi }, epoch, present).await?;
        for Ahead { input, .. } in &self.ahead {
            shared.figures().planned(input.records.len(), input.arena.len());
        }
        Ok(step)
    }

    /// Appends an entry at the frontier, if the frontier is still where this lane stands and `present` is still the present
    /// configuration: a reload meanwhile makes the lane judge anew.
    async fn append(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        entry: Entry,
        epoch: EpochId,
        present: EpochId,
    ) -> Result<Step, PartitionStop> {
        let place = self.place;
        let (appended, durable) = shared.journal.append_with(true, |state, time| {
            let is_here = state.partitions.get(&partition).is_none_or(|p| p.stream.frontier() == place);
            let is_next =
                state.generations.get(&entry.generation()).is_some_and(|g| g.planned.pos == entry.start().pos);
            let is_present = state.epoch().is_some_and(|e| e.id == present);
            let is_there = state.missing.may_plan(entry.generation(), entry.end().pos);
            if !is_here || !is_next || !is_present || !is_there {
                return (Vec::new(), false);
            }
            (vec![Record::Plan { entries: vec![(partition, Planned { time, epoch, entry })] }], true)
        });
        if !mutation::on("plan_not_durable") {
            shared.journal.checked(durable.await)?;
        }
        if !appended {
            self.ahead = VecDeque::new();
        }
        Ok(Step::Went)
    }

    // ------------------------------------------------------------ run, anywhere

    async fn run_range(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        planned: &Planned,
        (generation, lo, hi): (Generation, u64, u64),
        cut: Option<Place>,
    ) -> Result<Step, PartitionStop> {
        let from = lo + self.place.offset;
        let to = match cut {
            Some(cut) if cut.entry == self.place.entry => hi.min(lo + cut.offset),
            _ => hi,
        };
        let Ahead { input, held, .. } = match self.input(shared, generation, from, to).await {
            Ok(Some(ahead)) => ahead,
            Ok(None) => return Ok(Step::Crowded),
            Err(ReadError::Gone) => return Ok(Step::Lost),
            Err(ReadError::Unavailable(_)) => return Ok(Step::Later),
        };
        let Some(end) = input.records.last().map(|r| r.end) else { return Ok(Step::Later) };
        let open = input.open.as_slice().into();
        let oldest = input.records.first().map_or(0, |r| r.received);
        let intook =
            Intook { records: input.records.len() as u64, received: if oldest > 0 { oldest } else { planned.time } };
        let context = shared.context(partition, planned, (generation, from, end), self.place >= self.first_life);
        let Some((_, instance)) = &mut self.instance else { return Ok(Step::Spent) };
        match instance.apply(input, &context).await {
            Ok(applied) => {
                let anchor = shared.inputs.anchor(generation, end).await.into();
                let mark = Mark::from(Standing { cursor: Cursor::at(end), open, anchor, ..Standing::default() });
                let place = Place { entry: self.place.entry, offset: end - lo };
                let place = if end == hi { Place { entry: place.entry + 1, offset: 0 } } else { place };
                self.offer(shared, partition, planned, place, (Cursor::at(from), mark), (intook, applied));
                // From here on it counts as the sinks'.
                drop(held);
                Ok(Step::Went)
            }
            Err(failure) => self.judge(shared, generation, failure).await,
        }
    }

    /// An entry without bytes: a FLUSH gives rows, the others only change state.
    async fn run_decision(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        planned: &Planned,
    ) -> Result<Step, PartitionStop> {
        let generation = planned.entry.generation();
        let at = planned.entry.start();
        let mut applied = Applied::default();
        if let Entry::Flush { component, now, .. } = planned.entry {
            let first_run = self.place >= self.first_life;
            let context = shared.context(partition, planned, (generation, at.pos, at.pos), first_run);
            let Some((_, instance)) = &mut self.instance else { return Ok(Step::Spent) };
            match instance.flush(component, generation, at, now, &context).await {
                Ok(rows) => applied = rows,
                Err(failure) => return self.judge(shared, generation, failure).await,
            }
        }
        let anchor = shared.inputs.anchor(generation, at.pos).await.into();
        let mark = Mark::from(Standing { cursor: planned.entry.end(), anchor, ..Standing::default() });
        let nothing = Intook { records: 0, received: planned.time };
        let end = Place { entry: self.place.entry + 1, offset: 0 };
        self.offer(shared, partition, planned, end, (at, mark), (nothing, applied));
        Ok(Step::Went)
    }

    /// The batch that was read ahead, or the same bytes again; `None` where there is no room for them.
    async fn input(
        &mut self,
        shared: &Shared,
        generation: Generation,
        from: u64,
        to: u64,
    ) -> Result<Option<Ahead>, ReadError> {
        if let Some(ahead) = self.ahead.pop_front() {
            if self.ahead.is_empty() {
                self.ahead = VecDeque::new(); // a lane that waits has no room in hand
            }
            let fits = ahead.input.records.last().is_some_and(|r| r.end <= to);
            if ahead.generation == generation && ahead.begins == from && fits {
                return Ok(Some(ahead));
            }
            self.ahead = VecDeque::new();
        }
        let limits = shared.read_limits();
        let Some(mut held) = shared.common.memory.take(READING * limits.bytes_max as u64) else { return Ok(None) };
        let input = shared.inputs.read(generation, from, to, limits).await?;
        held.settle(READING * input.memory_bytes() as u64);
        Ok(Some(Ahead { generation, begins: from, input, held }))
    }

    /// Gives up what was read ahead: it is planned, and can be read again.
    pub(crate) fn forget_ahead(&mut self) {
        self.ahead = VecDeque::new();
    }

    /// Poison gets a verdict, durable before its effect; then the batch runs again on restored state.
    async fn judge(
        &mut self,
        shared: &Shared,
        generation: Generation,
        failure: ChainFailure,
    ) -> Result<Step, PartitionStop> {
        let ChainFailure::Poison(records) = failure else { return Err(failure.into()) };
        let verdict = |(pos, slot, component, _): &(u64, u16, u8, String)| {
            Record::Verdict(Verdict { generation, pos: *pos, slot: *slot, judge: Judge::Component(*component) })
        };
        let verdicts: Vec<Record> = records.iter().map(verdict).collect();
        commit_verdicts(&shared.journal, verdicts).await?;
        self.ahead = VecDeque::new();
        Ok(Step::Spent)
    }

    /// Hands the batch to every sink that stands where it begins, and moves on. A sink that stands further on is still being
    /// warmed up to; one that refuses is looked after by the partition.
    fn offer(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        planned: &Planned,
        to: Place,
        (cursor_from, mark): (Cursor, Mark),
        (intook, mut applied): (Intook, Applied),
    ) {
        let generation = planned.entry.generation();
        let nothing = Arc::new(Batch::new(generation));
        for id in self.sinks.clone() {
            let Some(sink) = shared.sink(&id) else { continue };
            let made = applied.outputs.remove(&id);
            let (output, counts) = match made {
                Some(made) => (made.output, made.counts),
                None => (Output { batch: nothing.clone(), rows: Vec::new() }, Default::default()),
            };
            let mark = Mark::from(Standing { counts, ..Standing::clone(&mark) });
            let offer = Offer {
                partition,
                source: shared.inputs.id.clone(),
                generation,
                from: self.place,
                to,
                cursor_from,
                mark,
                records: intook.records,
                received: intook.received,
                time: planned.time,
                epoch: planned.epoch,
                output,
            };
            sink.intake.accept(offer);
        }
        if let Entry::Reset { .. } = planned.entry {
            shared.tell_end_of_history(partition);
        }
        self.place = to;
    }

    // ------------------------------------------------------------ state

    fn fresh(&mut self, shared: &Shared, partition: PartitionId, epoch: EpochId) -> Result<(), PartitionStop> {
        self.instance = Some((epoch, shared.chain(partition, epoch)?.instance(partition)));
        Ok(())
    }

    /// Where the lane has no instance: one with the state saved at exactly this place, or a fresh one where state begins here.
    /// `false` where neither is so: the saved state gave way to a newer one since the lane was placed here.
    async fn ensure_instance(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        epoch: EpochId,
    ) -> Result<bool, PartitionStop> {
        if self.instance.is_some() {
            return Ok(true);
        }
        let Some(snap) = shared.snap(partition, self.place) else {
            if !shared.journal.state().begins_fresh(partition, self.place) {
                return Ok(false);
            }
            // Fresh state belongs to the configuration of what lies before this place; the next entry may change it.
            let before = shared.stream(partition, |s| s.before(self.place).map(|p| p.epoch));
            self.fresh(shared, partition, before.unwrap_or(epoch))?;
            return Ok(true);
        };
        let states = shared.blobs(partition, &snap).await?;
        self.fresh(shared, partition, snap.epoch)?;
        let made_by = shared.journal.state().components(snap.epoch, &shared.inputs.id);
        // Where another configuration stands in for the one that made the state, its plugins take over what they can.
        let Handed { same, changed } = hand_over(states, &made_by, &shared.components(partition, snap.epoch)?);
        let Some((_, instance)) = &mut self.instance else { return Ok(false) };
        instance.restore(same).await?;
        for (component, state) in changed {
            instance.upgrade(component, state).await?;
        }
        Ok(true)
    }

    /// When it last planned input, or began.
    pub(crate) fn planned_at(&self) -> Duration {
        self.planned_at
    }

    /// Whether it has nothing in hand but state.
    pub(crate) fn is_bare(&self) -> bool {
        self.ahead.is_empty() && self.pending.is_empty()
    }

    /// Whether plugins hold rows back that time may release.
    pub(crate) fn holds_back(&self) -> bool {
        self.instance.as_ref().is_some_and(|(_, instance)| !instance.wake_at().is_empty())
    }

    /// Saves the state at this place.
    pub(crate) async fn save(&mut self, shared: &Shared, partition: PartitionId) -> Result<(), PartitionStop> {
        let Some((epoch, instance)) = &mut self.instance else { return Ok(()) };
        if !self.pending.is_empty() {
            return Ok(());
        }
        let Some(after) = shared.stream(partition, |s| s.name_of(self.place)) else { return Ok(()) };
        // The older saved state stays good: replays only begin further back.
        let Ok(states) = instance.snapshot().await else { return Ok(()) };
        shared.put_snap(partition, after, *epoch, states).await
    }
}

/// What went into a batch: the source's side of the ledger.
struct Intook {
    records: u64,
    /// When the oldest record was received, unix nanoseconds.
    received: i64,
}

async fn commit_verdicts(journal: &Journal, verdicts: Vec<Record>) -> Result<(), PartitionStop> {
    if mutation::on("verdict_not_durable") {
        journal.hint(verdicts);
        return Ok(());
    }
    Ok(journal.commit(verdicts).await?)
}

/// The oldest generation with bytes that no entry covers, and where they begin.
fn next_unplanned(shared: &Shared, partition: PartitionId) -> Option<(Generation, u64)> {
    let readable = shared.inputs.readable(partition);
    let state = shared.journal.state();
    let unplanned = |(generation, end): (Generation, u64)| {
        let lo = state.generations.get(&generation)?.planned.pos;
        (lo < end).then_some((generation, lo))
    };
    readable.into_iter().find_map(unplanned)
}

/// The same of a removed source: where it owes what it has not planned.
pub(crate) fn next_owed(shared: &Shared, partition: PartitionId) -> Option<(Generation, u64)> {
    let is_owed = shared.inputs.promises() || shared.journal.state().history(partition).is_some();
    next_unplanned(shared, partition).filter(|_| is_owed)
}

/// What a batch takes in memory until it is handed over, as a multiple of what was read: rows and fields are made of it.
const READING: u64 = 2;

/// How much one read brings, by default.
pub const READ: ReadLimits = ReadLimits { bytes_max: 512 << 10, records_max: 8_192 };
