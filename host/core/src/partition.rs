//! A partition's lanes: which sink is fed by which lane, when a sink leaves a lane, when lanes merge, and what is lost when input
//! is gone. One task per partition owns all its lanes, so exactly one lane feeds (sink, partition) by construction.

pub(crate) mod loss;

use crate::EpochId;
use crate::SinkId;
use crate::lane::{Lane, Step};
use crate::mutation;
use crate::operator;
use crate::shared::{PartitionStop, Shared};
use crate::sink::Seat;
use crate::status::{HeldUp, Lanes};
use crate::stream::Place;
use event_listener::EventListener;
use futures_util::FutureExt as _;
use futures_util::future::{select, select_all};
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Runs one partition until it stops or the engine drops it.
pub struct Partition {
    id: PartitionId,
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    /// Since when each full sink keeps its lane waiting.
    waiting: BTreeMap<SinkId, Duration>,
    /// Up to when the wait for each full sink is counted.
    counted: BTreeMap<SinkId, Duration>,
    /// A sink wants input here and has no room for it.
    starved: bool,
    /// Since when lanes are held up, by what.
    held_up: BTreeMap<HeldUp, Duration>,
    first_life: Place,
    saved: (u64, Place),
    /// Lanes as they were counted last.
    told: Lanes,
    /// Instances that were spent since a lane moved.
    spent_in_a_row: u32,
    /// It is read for an added sink alone, and ends.
    is_history: bool,
}

/// So many spent instances in a row make a partition pause between two more.
const SPENT_MAX: u32 = 32;

impl Partition {
    /// A partition without lanes.
    pub fn new(id: PartitionId, shared: Arc<Shared>) -> Self {
        let first_life = shared.stream(id, crate::stream::Stream::frontier);
        let saved = (shared.checkpoint_number(), Place::default());
        let is_history = shared.journal.state().history(id).is_some();
        Self {
            id,
            shared,
            lanes: Vec::new(),
            waiting: BTreeMap::new(),
            counted: BTreeMap::new(),
            starved: false,
            held_up: BTreeMap::new(),
            first_life,
            saved,
            told: Lanes::default(),
            spent_in_a_row: 0,
            is_history,
        }
    }

    /// Steps lanes until the partition stops, rests, or is over (`None`): what an added sink gets of what was read before. The frontier
    /// lane and the furthest lane behind it that can go take turns.
    pub async fn run(&mut self) -> Option<PartitionStop> {
        loop {
            if self.is_history && self.shared.journal.state().history(self.id).is_none() {
                self.shared.set_holding(self.id, false);
                self.tell(Lanes::default());
                return None;
            }
            // What a turn does is boxed, so that a partition that waits keeps no room for it: ten thousand quiet files are as many
            // of these.
            match Box::pin(self.turn()).await {
                Ok(None) => {}
                Ok(Some(Wait { events, rests: true, .. })) => {
                    let is_told = || select_all(events).now_or_never().is_some();
                    if self.shared.inputs.rest(self.id, is_told) {
                        self.tell(Lanes::default());
                        return None;
                    }
                }
                Ok(Some(wait)) => wait.over(&self.shared).await,
                Err(stop) => match &stop {
                    PartitionStop::MissingEpoch { epoch, .. } if self.shared.tuning.accept_skew => {
                        match Box::pin(self.accept_skew(*epoch)).await {
                            Ok(true) => {}
                            Ok(false) => return Some(stop),
                            Err(failed) => return Some(failed),
                        }
                    }
                    _ => return Some(stop),
                },
            }
        }
    }

    /// By the configuration's own word: what was planned under one that is gone runs under the present one, from here on. `false`
    /// where the present one is what is missing.
    async fn accept_skew(&mut self, missing: EpochId) -> Result<bool, PartitionStop> {
        let id = self.id;
        let (accepted, durable) = self.shared.journal.append_with(true, |state, now| {
            let is_new = state.runs_under(id, missing) == missing && state.epoch().is_some_and(|e| e.id != missing);
            (if is_new { operator::accept_skew(state, id, missing, now) } else { Vec::new() }, is_new)
        });
        self.shared.journal.checked(durable.await)?;
        self.lanes.clear();
        Ok(accepted)
    }

    /// Steps the lanes that can go; what is to be waited for, where none went on.
    async fn turn(&mut self) -> Result<Option<Wait>, PartitionStop> {
        let input = self.shared.inputs.changed(self.id);
        let reseated = self.shared.reseated.listen();
        let mut freed: Vec<EventListener> = self.shared.sinks().iter().map(|s| s.intake.freed()).collect();
        let memory = self.shared.common.memory.freed();
        self.seat_sinks().await?;
        let (mut went, mut later) = (false, false);
        let (mut held_up, mut free_at) = (BTreeSet::new(), None);
        self.lanes.sort_by_key(|lane| std::cmp::Reverse(lane.place));
        for (turn, index) in self.order().enumerate() {
            if let Some(until) = self.rests_until(index) {
                held_up.insert(HeldUp::CatchUp);
                free_at = free_at.into_iter().chain([until]).min();
                continue;
            }
            match self.timed_step(index).await? {
                Step::Went => {
                    went = true;
                    self.spent_in_a_row = 0;
                    if turn > 0 {
                        break;
                    }
                }
                Step::Later => later = true,
                Step::Crowded => {
                    held_up.insert(HeldUp::Memory);
                    later = true;
                }
                Step::Paced(until) => {
                    held_up.insert(HeldUp::Journal);
                    later = true;
                    free_at = until;
                }
                Step::Idle => {}
                Step::Lost => {
                    self.lose(index).await?;
                    went = true;
                    break;
                }
                Step::Spent => {
                    let (goes_on, is_gone) = self.begin_again(index).await?;
                    went |= goes_on;
                    later |= !goes_on;
                    if is_gone {
                        break;
                    }
                }
            }
        }
        self.merge();
        self.tell_lanes();
        self.shared.set_holding(self.id, self.lanes.iter().any(Lane::holds_back));
        self.count_hold_ups(&held_up);
        if went {
            return Ok(None);
        }
        let timed = later || !self.waiting.is_empty() || self.lanes.iter().any(Lane::holds_back);
        if self.waiting.is_empty() && !self.starved {
            freed.clear();
        }
        let mut events = freed;
        events.extend(held_up.contains(&HeldUp::Memory).then_some(memory));
        events.extend([input, reseated]);
        let (now, retry) = (self.shared.clock.elapsed(), self.shared.tuning.retry);
        let pauses = [timed.then_some(retry), free_at.map(|at| at.saturating_sub(now).min(retry))];
        Ok(Some(self.wait(events, pauses.into_iter().flatten().min(), now)))
    }

    /// What is waited for: these events, at most for the pause where there is one; where there is none, until the partition rests.
    fn wait(&self, events: Vec<EventListener>, pause: Option<Duration>, now: Duration) -> Wait {
        if pause.is_some() || self.starved || self.is_history {
            return Wait { events, pause, rests: false };
        }
        let rests_at = self.rests_at(now);
        let pause = rests_at.map(|at| at.saturating_sub(now)).filter(|pause| !pause.is_zero());
        Wait { events, pause, rests: rests_at.is_some() && pause.is_none() }
    }

    /// From when on the partition rests, should nothing happen: its lanes go, and others begin where they stood. `None` while they
    /// could not. State that is not saved yet is looked at again then, for the next checkpoint saves it in a step.
    fn rests_at(&self, now: Duration) -> Option<Duration> {
        let state = self.shared.journal.state();
        let Some(known) = state.partitions.get(&self.id) else { return Some(now) };
        let frontier = known.stream.frontier();
        if !self.lanes.iter().all(|lane| lane.place == frontier && lane.is_bare()) {
            return None;
        }
        if !state.partition_is_stateful(self.id) {
            return Some(now);
        }
        // Saved state is dear to restore where more comes soon.
        let is_saved = known.snaps.contains_key(&frontier);
        let planned_at = self.lanes.iter().map(Lane::planned_at).max().unwrap_or(now);
        let tuning = &self.shared.tuning;
        if is_saved {
            return Some(planned_at + tuning.rest_after);
        }
        let can_be_saved = !self.lanes.is_empty() && self.saved.1 != frontier;
        can_be_saved.then(|| now + tuning.rest_after.max(tuning.retry))
    }

    /// State is restored by beginning again where it was saved; sinks keep their seats. Tells whether to go on at once, and whether
    /// the lane is gone.
    async fn begin_again(&mut self, index: usize) -> Result<(bool, bool), PartitionStop> {
        let place = self.lanes[index].place;
        if self.shared.journal.state().is_unreachable(self.id, place) {
            // The last entry stays in the stream though nobody needs it: a claim that names it comes too late.
            self.lose(index).await?;
            return Ok((true, true));
        }
        self.spent_in_a_row += 1;
        let is_gone = !mutation::on("state_kept_after_trap");
        if is_gone {
            self.lanes.remove(index);
        }
        Ok((self.spent_in_a_row < SPENT_MAX, is_gone))
    }

    /// Counts the lanes, where they are others than at the last count.
    fn tell_lanes(&mut self) {
        let frontier = self.shared.stream(self.id, crate::stream::Stream::frontier);
        let at_frontier = self.lanes.iter().filter(|lane| lane.place >= frontier).count();
        self.tell(Lanes { at_frontier, behind: self.lanes.len() - at_frontier });
    }

    fn tell(&mut self, lanes: Lanes) {
        if lanes != self.told {
            self.shared.figures().change_lanes(std::mem::replace(&mut self.told, lanes), lanes);
        }
    }

    /// The lane furthest on, then those behind it from the last on, of which the first that can go does: one that waits for a
    /// dead sink keeps none before it.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let lanes = self.lanes.len();
        (0..lanes.min(1)).chain((1..lanes).rev())
    }

    // ------------------------------------------------------------ who feeds whom

    /// Gives every sink that wants input the lane that stands where it stands, or one that begins where its state was saved.
    async fn seat_sinks(&mut self) -> Result<(), PartitionStop> {
        self.starved = false;
        for sink in self.shared.sinks() {
            self.starved |= !loss::pass_losses(&self.shared, self.id, &sink).await?;
            let seat = {
                let state = self.shared.journal.state();
                sink.intake
                    .seat(&state, self.id)
                    .map_err(|error| PartitionStop::Cursors { sink: sink.id.clone(), error })?
            };
            let fed = self.lanes.iter().position(|lane| lane.sinks.contains(&sink.id));
            let wanted = seat.filter(|s| s.limit.is_none_or(|limit| s.next < limit));
            match (fed, wanted) {
                (Some(lane), Some(seat)) if self.leads_to(&self.lanes[lane], &seat) => continue,
                (Some(lane), _) => self.lanes[lane].sinks.remove(&sink.id),
                (None, _) => {}
            }
            match wanted {
                Some(seat) if sink.intake.has_room() => self.attach(sink.id.clone(), seat),
                Some(_) => self.starved = true,
                None => {}
            }
        }
        self.lanes.retain(|lane| !lane.sinks.is_empty());
        Ok(())
    }

    /// Whether the lane reaches the seat, and none that begins anew would be nearer: a sink may have been moved ahead meanwhile.
    fn leads_to(&self, lane: &Lane, seat: &Seat) -> bool {
        lane.place == seat.next
            || (lane.place < seat.next && self.shared.journal.state().restart(self.id, seat.next) <= lane.place)
    }

    fn attach(&mut self, sink: SinkId, seat: Seat) {
        let start = {
            let state = self.shared.journal.state();
            state.restart(self.id, seat.next)
        };
        let nearest = self.lanes.iter_mut().filter(|lane| start <= lane.place && lane.place <= seat.next);
        if let Some(lane) = nearest.max_by_key(|lane| lane.place) {
            lane.sinks.insert(sink);
            return;
        }
        let mut lane = Lane::at(start, self.first_life, self.shared.clock.elapsed());
        lane.sinks.insert(sink);
        self.lanes.reserve_exact(1); // most partitions have one lane for good
        self.lanes.push(lane);
    }

    /// Lanes at the same place hold equal state: one goes on with the sinks of both.
    fn merge(&mut self) {
        self.lanes.sort_by_key(|lane| std::cmp::Reverse(lane.place));
        self.lanes.dedup_by(|lane, last| {
            let is_same = last.place == lane.place;
            if is_same {
                last.sinks.extend(std::mem::take(&mut lane.sinks));
                last.instance = last.instance.take().or_else(|| lane.instance.take());
            }
            is_same
        });
    }

    // ------------------------------------------------------------ stepping

    async fn step(&mut self, index: usize) -> Result<Step, PartitionStop> {
        let Some(cut) = self.clear_way(index)? else {
            // What it has read may be read again; somebody else may have nothing else to do.
            if self.shared.common.memory.is_crowded() {
                self.lanes[index].forget_ahead();
            }
            return Ok(Step::Idle);
        };
        let id = self.id;
        let shared = self.shared.clone();
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(Step::Idle) };
        let step = lane.step(&shared, id, cut).await?;
        self.save(index).await?;
        Ok(step)
    }

    /// Whether the lane can step, and how far: full sinks keep it waiting for a while and then leave it, sinks at their limit
    /// leave at once. `None` = it must wait.
    fn clear_way(&mut self, index: usize) -> Result<Option<Option<Place>>, PartitionStop> {
        let place = self.lanes[index].place;
        let mut cut: Option<Place> = None;
        let (mut full, mut others) = (Vec::new(), 0);
        for id in self.lanes[index].sinks.clone() {
            let Some(sink) = self.shared.sink(&id) else { continue };
            let (seat, loss) = {
                let state = self.shared.journal.state();
                let seat = sink.intake.seat(&state, self.id);
                let seat = seat.map_err(|error| PartitionStop::Cursors { sink: id.clone(), error })?;
                (seat, seat.and_then(|seat| loss::loss_ahead(&state, self.id, &sink, &seat)))
            };
            let Some(seat) = seat else { continue };
            // It may have begun anew, to make what a claim says, since the lanes were looked through: nothing is read for it here.
            if seat.limit.is_some_and(|limit| limit <= place) {
                self.lanes[index].sinks.remove(&id);
                continue;
            }
            let ends = [Some(seat.next).filter(|p| *p > place), seat.limit, loss.filter(|p| *p > place)];
            cut = ends.into_iter().flatten().chain(cut).min();
            let is_full = seat.next == place && !sink.intake.has_room();
            self.count_wait(&id, is_full);
            if is_full {
                full.push(id);
            } else {
                others += 1;
                self.waiting.remove(&id);
            }
        }
        if full.is_empty() {
            return Ok((others > 0).then_some(cut));
        }
        let now = self.shared.clock.elapsed();
        let patience = self.shared.tuning.patience;
        let out_of_patience =
            full.iter().all(|id| now.saturating_sub(*self.waiting.entry(id.clone()).or_insert(now)) >= patience);
        if others == 0 || !out_of_patience {
            return Ok(None);
        }
        for id in full {
            self.waiting.remove(&id);
            self.counted.remove(&id);
            self.lanes[index].sinks.remove(&id);
        }
        Ok(Some(cut))
    }

    /// Adds the time since the last look to what `sink` has kept this source waiting.
    fn count_wait(&mut self, sink: &SinkId, is_full: bool) {
        let now = self.shared.clock.elapsed();
        let since = self.counted.remove(sink);
        if let Some(since) = since {
            self.shared.figures().waited(sink, now.saturating_sub(since));
        }
        if is_full {
            self.counted.insert(sink.clone(), now);
        }
    }

    /// Until when the lane leaves the workers to lanes at the frontier; `None` for one that is there, or has run all but the
    /// newest entry.
    fn rests_until(&self, index: usize) -> Option<Duration> {
        let catch_up = &self.shared.common.catch_up;
        self.is_behind(index).then(|| catch_up.rests_until(self.shared.clock.elapsed())).flatten()
    }

    fn is_behind(&self, index: usize) -> bool {
        let frontier = self.shared.stream(self.id, crate::stream::Stream::frontier);
        self.lanes.get(index).is_some_and(|lane| lane.place.entry + 1 < frontier.entry)
    }

    /// A step, which is counted where the lane is behind the frontier.
    async fn timed_step(&mut self, index: usize) -> Result<Step, PartitionStop> {
        let (is_behind, began) = (self.is_behind(index), self.shared.clock.elapsed());
        let step = self.step(index).await?;
        if is_behind && step == Step::Went {
            let now = self.shared.clock.elapsed();
            self.shared.common.catch_up.note_behind(now, now.saturating_sub(began));
        }
        Ok(step)
    }

    /// Adds the time since the last look to what held lanes up then.
    fn count_hold_ups(&mut self, held_up: &BTreeSet<HeldUp>) {
        let now = self.shared.clock.elapsed();
        for (by, since) in std::mem::take(&mut self.held_up) {
            self.shared.figures().held_up(by, now.saturating_sub(since));
        }
        self.held_up = held_up.iter().map(|by| (*by, now)).collect();
    }

    /// Saves the state of the lane at the frontier once for each checkpoint.
    async fn save(&mut self, index: usize) -> Result<(), PartitionStop> {
        let number = self.shared.checkpoint_number();
        let shared = self.shared.clone();
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        let at_frontier = lane.place == shared.stream(self.id, crate::stream::Stream::frontier);
        if !at_frontier || number == self.saved.0 || lane.place == self.saved.1 {
            return Ok(());
        }
        let stateful = shared.journal.state().partition_is_stateful(self.id);
        if stateful {
            lane.save(&shared, self.id).await?;
        }
        self.saved = (number, lane.place);
        Ok(())
    }
}

/// What a partition waits for that can't go on: until something that a turn looks at may have changed, at most for the pause.
struct Wait {
    events: Vec<EventListener>,
    pause: Option<Duration>,
    /// Nothing is left to do that would not begin as well from nothing.
    rests: bool,
}

impl Wait {
    async fn over(self, shared: &Shared) {
        let Self { events, pause, .. } = self;
        let events = select_all(events);
        match pause {
            Some(pause) => drop(select(events, shared.clock.sleep(pause)).await),
            None => drop(events.await),
        }
    }
}
