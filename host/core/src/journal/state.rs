//! The state that the journal's records add up to, and the questions that recovery and retention ask of it. Pure: applying
//! the same records in the same order gives the same state, bit for bit.

use super::begin::is_fresh_start;
use super::components::Names;
use super::dropped::Dropped;
use super::histories::Histories;
use super::missing::MissingInput;
use super::record::{Epoch, Judge, Mark, Record, Registration, SinkFacts, Snap, Stateful, Verdict};
use super::repeats::Repeats;
use crate::ledger::Counts;
use crate::memory::pack;
use crate::operator::Operator;
use crate::plan::{ComponentId, Planned};
use crate::sink::DeadLetters;
use crate::stream::{NotAPrefix, Place, Stream};
use crate::{EpochId, SinkId, SourceId, mutation};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One history that the journal knows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GenerationState {
    /// What it belongs to.
    pub partition: PartitionId,
    /// Which source reads it.
    pub source: SourceId,
    /// The source's own record.
    pub identity: Arc<[u8]>,
    /// How far it is planned: the end of its last entry, or where reading began.
    pub planned: Cursor,
    /// It can't be read any more.
    pub gone: bool,
    /// Ranges that the queue holds.
    pub rescued: Vec<(u64, u64)>,
    /// Which of all that became known: what follows a rotation is read behind it. Repeats have that of their history. 0 where a snapshot
    /// of the sixth version did not say.
    #[serde(skip)]
    pub opened: u64,
}

impl GenerationState {
    fn of(partition: PartitionId, opened: &mut u64) -> Self {
        *opened += 1;
        Self {
            partition,
            source: SourceId::new(""),
            identity: [].into(),
            planned: Cursor::default(),
            gone: false,
            rescued: Vec::new(),
            opened: *opened,
        }
    }

    /// A range is in the queue; what goes on where the last one ends becomes part of it.
    fn rescue(&mut self, lo: u64, hi: u64) {
        match self.rescued.last_mut() {
            Some((_, end)) if *end == lo => *end = hi,
            _ => self.rescued.push((lo, hi)),
        }
    }
}

/// A lost range of one generation: from, to, why.
pub type LostRange = (Cursor, Cursor, String);

/// One partition: its stream and its saved states in the order of the stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PartitionState {
    /// PLAN entries.
    pub stream: Stream,
    /// Saved states; the last is the newest.
    pub snaps: BTreeMap<Place, Snap>,
}

/// Everything that is durable, or about to be.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct JournalState {
    /// The newest PLAN time, unix nanoseconds; new ones are never lower.
    pub time: i64,
    /// All configurations that kept entries may name; the last is current.
    pub epochs: Vec<Epoch>,
    /// Histories.
    pub generations: BTreeMap<Generation, GenerationState>,
    /// Streams.
    pub partitions: BTreeMap<PartitionId, PartitionState>,
    /// Decisions about records.
    pub verdicts: BTreeSet<Verdict>,
    /// Durable cursors (hints for sinks that hold their own).
    pub cursors: BTreeMap<SinkId, BTreeMap<Generation, Mark>>,
    /// Claim numbers, files, destinations.
    pub facts: BTreeMap<SinkId, SinkFacts>,
    /// Counted losses that their sinks may not have committed yet.
    pub losses: BTreeMap<(SinkId, Generation), Vec<LostRange>>,
    /// Generations whose cursors were dropped: what sinks still hold of them is to be forgotten, not believed.
    pub dropped: Dropped,
    /// Counts of dropped generations, and of sinks that are gone, by sink and source.
    pub base_counts: BTreeMap<(SinkId, SourceId), Counts>,
    /// What later versions added: it stands behind the rest in a snapshot, and one without it is read all the same.
    #[serde(skip)]
    pub later: Later,
    /// What came after that, behind it in the same way.
    #[serde(skip)]
    pub third: Third,
    /// What came after that, behind it in the same way.
    #[serde(skip)]
    pub repeats: Repeats,
    /// What came after that, behind it in the same way.
    #[serde(skip)]
    pub missing: MissingInput,
    /// What came after that, behind it in the same way.
    #[serde(skip)]
    pub histories: Histories,
    /// How many histories became known; behind it in the same way, with the number of each.
    #[serde(skip)]
    pub opened: u64,
    /// What stateful components are called, by configuration; behind it in the same way.
    #[serde(skip)]
    pub names: BTreeMap<EpochId, Names>,
    /// Names that sinks write to where they deliver now, by hash; what came after that, behind it in the same way.
    #[serde(skip)]
    pub admitted: BTreeMap<SinkId, BTreeSet<u64>>,
}

/// What a snapshot of the first version does not hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Later {
    /// What persons said, the newest last; at most [`OPERATORS_MAX`].
    pub operators: VecDeque<Operator>,
    /// Configurations that are gone, and those in their places, by partition.
    pub skews: BTreeMap<(PartitionId, EpochId), EpochId>,
}

/// What a snapshot of the second version does not hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Third {
    /// The stateful components of each configuration.
    pub stateful: BTreeMap<EpochId, Stateful>,
}

/// So many FLUSHes at one position take a slot there; then plugins hold back what they hold until input comes. Slots are counted in
/// 16 bits, and one behind the last would begin anew below all cursors that stand there.
const FLUSH_SLOTS_MAX: u16 = u16::MAX - 4_096;

/// How many things that persons said are remembered.
const OPERATORS_MAX: usize = 64;

impl JournalState {
    /// Adds one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Generation { generation, partition, source, identity, start } => {
                let known = self.opened(*generation, *partition);
                known.source = source.clone();
                known.identity.clone_from(identity);
                known.planned = known.planned.max(Cursor::at(*start));
                self.partitions.entry(*partition).or_default();
            }
            Record::Identity { generation, identity } => {
                if let Some(known) = self.generations.get_mut(generation) {
                    known.identity.clone_from(identity);
                }
            }
            Record::Gone { generation } => {
                if let Some(known) = self.generations.get_mut(generation) {
                    known.gone = true;
                }
            }
            Record::Plan { entries } => {
                for (partition, planned) in entries {
                    self.time = self.time.max(planned.time);
                    // The decisions of another life may come before the source has found the generation again.
                    self.opened(planned.entry.generation(), *partition).planned = planned.entry.end();
                    self.partitions.entry(*partition).or_default().stream.push(planned.clone());
                }
            }
            Record::Verdict(verdict) => {
                self.verdicts.insert(verdict.clone());
            }
            Record::Vanished { generation, time, whereabouts } => self.apply_vanished(*generation, *time, whereabouts),
            Record::Lost { sink, generation, from, to, reason } => {
                self.note_missing(sink, *generation, (from.pos, to.pos), reason);
                self.apply_lost(sink, *generation, (*from, *to, reason.clone()));
            }
            Record::Epoch(epoch) => self.epochs.push(epoch.clone()),
            Record::Rescue { generation, lo, hi } => {
                if let Some(known) = self.generations.get_mut(generation) {
                    known.rescue(*lo, *hi);
                }
            }
            // What a sink that is gone had still to say counts no more.
            Record::Cursor { sink, .. } if self.is_gone(sink) => {}
            Record::Cursor { sink, marks, facts } => {
                let cursors = self.cursors.entry(sink.clone()).or_default();
                cursors.extend(marks.iter().filter(|(g, _)| !self.dropped.contains(g)).cloned());
                if let Some(facts) = facts {
                    self.apply_facts(sink, facts);
                }
            }
            Record::Snap { partition, snap } => self.apply_snap(*partition, snap),
            Record::Together(records) => records.iter().for_each(|one| self.apply(one)),
            Record::Dropped { generation } => self.apply_dropped(*generation),
            Record::Removed { sink } => self.apply_removed(sink),
            Record::Stateful { epoch, digests } => _ = self.third.stateful.insert(*epoch, digests.clone()),
            Record::Repeat { generation, repeat } => self.apply_repeat(*generation, *repeat),
            Record::History { partition, history } => self.apply_history(*partition, history),
            Record::HistoryBegins { partition, from } => self.apply_history_begins(*partition, from),
            Record::Named { epoch, names } => _ = self.names.insert(*epoch, names.clone()),
            Record::Admitted { sink, .. } if self.is_gone(sink) => {}
            Record::Admitted { sink, names } => self.admitted.entry(sink.clone()).or_default().extend(names),
            Record::Skew { partition, from, to } => _ = self.later.skews.insert((*partition, *from), *to),
            Record::Operator(operator) => {
                self.later.operators.push_back(operator.clone());
                let surplus = self.later.operators.len().saturating_sub(OPERATORS_MAX);
                self.later.operators.drain(..surplus);
            }
        }
    }

    /// A history that is known from now on, if it was not.
    fn opened(&mut self, generation: Generation, partition: PartitionId) -> &mut GenerationState {
        let known = self.generations.entry(generation);
        known.or_insert_with(|| GenerationState::of(partition, &mut self.opened))
    }

    /// Names that a sink writes to are those of the place where it delivers.
    fn apply_facts(&mut self, sink: &SinkId, facts: &SinkFacts) {
        let known = self.facts.entry(sink.clone()).or_default();
        let place = |facts: &SinkFacts| facts.destination.as_ref().map(|at| at.place.clone());
        if place(facts).is_some() && place(facts) != place(known) {
            self.admitted.remove(sink);
        }
        known.update(facts);
    }

    /// Whether the present configuration knows no such sink. Cursors of refused rows stand under names of their own.
    fn is_gone(&self, sink: &SinkId) -> bool {
        let is_feeder = DeadLetters::is_feeder_cursor(sink);
        !is_feeder && self.epochs.last().is_some_and(|epoch| !epoch.sinks.contains_key(sink))
    }

    /// The sink is gone; what became of its records stays in the ledger.
    fn apply_removed(&mut self, sink: &SinkId) {
        for (generation, known) in &self.generations {
            let mut counts = Counts { lost_bytes: self.pending_losses(sink, *generation), ..Counts::default() };
            if let Some(mark) = self.cursors.get(sink).and_then(|cursors| cursors.get(generation)) {
                counts.add(&mark.counts);
                if self.is_repeated_to(sink, *generation) {
                    let settled = self.repeats.settled.entry((sink.clone(), known.source.clone())).or_default();
                    *settled += mark.counts.records();
                }
            }
            if counts != Counts::default() {
                self.base_counts.entry((sink.clone(), known.source.clone())).or_default().add(&counts);
            }
        }
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.sinks.remove(sink);
        }
        self.cursors.remove(sink);
        self.facts.remove(sink);
        self.admitted.remove(sink);
        self.losses.retain(|(who, _), _| who != sink);
        for history in self.histories_for(sink) {
            self.drop_history(history);
        }
    }

    fn apply_snap(&mut self, partition: PartitionId, snap: &Snap) {
        let Some(place) = self.resolve(partition, snap.after) else { return };
        let keep: BTreeSet<Place> = {
            let state = self.partitions.entry(partition).or_default();
            state.snaps.insert(place, snap.clone());
            let newest = state.snaps.keys().next_back().copied();
            newest.into_iter().chain(self.sinks_of(partition).flat_map(|s| self.snaps_for(s, partition))).collect()
        };
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.snaps.retain(|place, _| keep.contains(place));
        }
    }

    /// Parts of a history go with all of it: the cursors in the others say nothing without this one's.
    fn apply_dropped(&mut self, generation: Generation) {
        let Some(partition) = self.generations.get(&generation).map(|known| known.partition) else { return };
        match self.history(partition) {
            Some(_) => self.drop_history(partition),
            None => self.drop_generation(generation),
        }
    }

    pub(super) fn drop_generation(&mut self, generation: Generation) {
        let Some(source) = self.generations.get(&generation).map(|known| known.source.clone()) else { return };
        self.drop_repeat(generation, &source);
        self.generations.remove(&generation);
        self.dropped.insert(generation);
        self.missing.forget(generation);
        for (sink, cursors) in &mut self.cursors {
            if let Some(mark) = cursors.remove(&generation) {
                self.base_counts.entry((sink.clone(), source.clone())).or_default().add(&mark.counts);
            }
        }
        self.losses.retain(|(_, g), _| *g != generation);
        self.verdicts.retain(|v| v.generation != generation);
        if let Some(epoch) = self.epochs.last_mut() {
            for registration in epoch.sinks.values_mut() {
                registration.starts.remove(&generation);
            }
        }
    }

    /// The sinks of the current configuration.
    pub fn sinks(&self) -> impl Iterator<Item = &SinkId> {
        self.epochs.last().into_iter().flat_map(|e| e.sinks.keys())
    }

    /// Whether `sink` answers for records of `source`. What another life planned before its source was found again has no
    /// source yet: every sink answers for it.
    pub fn feeds(&self, source: &SourceId, sink: &SinkId) -> bool {
        source.as_str().is_empty() || self.registration(sink).is_some_and(|r| r.sources.contains(source))
    }

    /// The source of a partition; `None` where nothing is known of it.
    pub fn source_of(&self, partition: PartitionId) -> Option<&SourceId> {
        let last = self.partitions.get(&partition)?.stream.last()?.entry.generation();
        self.generations.get(&last).map(|g| &g.source)
    }

    /// The sinks that answer for records of a partition.
    pub fn sinks_of(&self, partition: PartitionId) -> impl Iterator<Item = &SinkId> {
        let source = self.source_of(partition);
        let is_fed = move |sink: &&SinkId| source.is_none_or(|source| self.feeds(source, sink));
        self.sinks().filter(is_fed).filter(move |sink| self.takes(sink, partition))
    }

    /// The current configuration.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epochs.last()
    }

    /// Whether an entry is in the stream of `partition`, or was, before what is kept of it.
    pub fn holds_or_held(&self, partition: PartitionId, planned: &Planned) -> bool {
        let (generation, end) = (planned.entry.generation(), planned.entry.end());
        let Some(known) = self.partitions.get(&partition) else { return false };
        let mut of_mine = known.stream.iter().filter(|(_, kept)| kept.entry.generation() == generation).peekable();
        let kept_from = match (of_mine.peek(), self.generations.get(&generation)) {
            // Decisions at a position come before the record there.
            (Some((_, kept)), _) if !kept.entry.is_empty() => Some(Cursor { slot: u16::MAX, ..kept.entry.start() }),
            (Some((_, kept)), _) => Some(kept.entry.start()),
            (None, history) => history.map(|history| history.planned),
        };
        let is_trimmed = kept_from.map_or(self.dropped.contains(&generation), |kept_from| end <= kept_from);
        is_trimmed || of_mine.any(|(_, kept)| kept == planned)
    }

    /// The configuration under which entries of `epoch` run in a partition: another one where a person said so.
    pub fn runs_under(&self, partition: PartitionId, epoch: EpochId) -> EpochId {
        self.later.skews.get(&(partition, epoch)).copied().unwrap_or(epoch)
    }

    /// The configuration with this id.
    pub fn epoch_of(&self, id: EpochId) -> Option<&Epoch> {
        self.epochs.iter().rev().find(|e| e.id == id)
    }

    /// Digests of the stateful components that records of `source` run through under a configuration.
    pub fn stateful_of(&self, epoch: EpochId, source: &SourceId) -> BTreeMap<ComponentId, [u8; 32]> {
        match self.third.stateful.get(&epoch).filter(|_| !mutation::on("stateful_by_number")) {
            Some(digests) => digests.get(source).cloned().unwrap_or_default(),
            // A journal of the second version does not tell sources apart.
            None => self.epoch_of(epoch).map(|e| e.stateful.clone()).unwrap_or_default(),
        }
    }

    fn registration(&self, sink: &SinkId) -> Option<&Registration> {
        self.epochs.last()?.sinks.get(sink)
    }

    /// Where `sink` began in `generation`.
    pub fn start(&self, sink: &SinkId, generation: Generation) -> Cursor {
        if let Some(start) = self.start_in_history(sink, generation) {
            return start;
        }
        let registered = self.registration(sink).and_then(|r| r.starts.get(&generation)).copied();
        registered.or_else(|| Some(Cursor::at(self.repeat(generation)?.from))).unwrap_or_default()
    }

    /// The durable cursor of `sink` in `generation`, or where it began.
    pub fn cursor(&self, sink: &SinkId, generation: Generation) -> Cursor {
        let mark = self.cursors.get(sink).and_then(|c| c.get(&generation));
        mark.map_or_else(|| self.start(sink, generation), |m| m.cursor)
    }

    /// Where `sink` stands in the stream of `partition` by its durable cursors.
    pub fn place(&self, sink: &SinkId, partition: PartitionId) -> Result<Place, NotAPrefix> {
        match self.partitions.get(&partition) {
            Some(state) => self.place_by(sink, &state.stream, |g| self.cursor(sink, g)),
            None => Ok(Place::default()),
        }
    }

    /// Where `sink` stands in a stream by these cursors of it.
    pub fn place_by(
        &self,
        sink: &SinkId,
        stream: &Stream,
        cursor: impl Fn(Generation) -> Cursor,
    ) -> Result<Place, NotAPrefix> {
        match self.facts.get(sink).is_some_and(|f| f.adopted) {
            true => Ok(stream.first_open(cursor)),
            false => stream.place_of(cursor),
        }
    }

    /// The next free slot for an entry without bytes at the frontier of `partition`, and where: above the slots that sinks know
    /// there from another journal. `None` before the first entry.
    pub fn next_slot(&self, partition: PartitionId) -> Option<(Generation, Cursor)> {
        let (generation, at) = self.partitions.get(&partition)?.stream.next_slot()?;
        let known = self.cursors.values().filter_map(|c| c.get(&generation)).map(|m| m.cursor);
        let slot = known.filter(|c| c.pos == at.pos).map(|c| c.slot).fold(at.slot, u16::max);
        Some((generation, Cursor { slot, ..at }))
    }

    /// The same for a FLUSH that time brings: the last slots are left to what must not wait for input.
    pub fn flush_slot(&self, partition: PartitionId) -> Option<(Generation, Cursor)> {
        self.next_slot(partition).filter(|(_, at)| at.slot < FLUSH_SLOTS_MAX)
    }

    /// The place that `(generation, cursor)` names: right behind it.
    pub fn resolve(&self, partition: PartitionId, (generation, cursor): (Generation, Cursor)) -> Option<Place> {
        let stream = &self.partitions.get(&partition)?.stream;
        let mut found = None;
        for (number, planned) in stream.iter() {
            let entry = &planned.entry;
            if entry.generation() == generation && entry.start() < cursor && cursor <= entry.end() {
                found = Some(stream.place_in(number, cursor));
            }
        }
        found
    }

    /// Whether `sink` is removed and only drains.
    pub(super) fn drains(&self, sink: &SinkId) -> bool {
        self.registration(sink).is_some_and(|registration| registration.until.is_some())
    }

    /// Where `sink` ends in a partition, if it only drains; a history it takes to its end.
    pub fn end_of_drain(&self, sink: &SinkId, partition: PartitionId) -> Option<Place> {
        if self.history(partition).is_some() {
            return None;
        }
        let until = self.registration(sink)?.until.as_ref()?;
        let stream = &self.partitions.get(&partition)?.stream;
        stream.place_of(|g| until.get(&g).copied().unwrap_or_default()).ok()
    }

    /// The saved states that `sink` may need: those below its cursors and below what it still needs, and the first one ahead of
    /// that, to which a sink that gives up its oldest range comes next.
    fn snaps_for(&self, sink: &SinkId, partition: PartitionId) -> Vec<Place> {
        let (Ok(place), Ok(needed)) = (self.place(sink, partition), self.needed_place(sink, partition)) else {
            return Vec::new();
        };
        let snaps = self.partitions.get(&partition).map(|known| &known.snaps);
        let ahead = snaps.and_then(|snaps| snaps.range(needed..).next()).map(|(place, _)| *place);
        [self.snap_below(partition, place), self.snap_below(partition, needed), ahead].into_iter().flatten().collect()
    }

    /// Inputs at `from..=to` whose outputs are replaced by a dead letter: (pos, slot, component).
    pub fn poisons_within(&self, generation: Generation, from: u64, to: u64) -> Vec<(u64, u16, u8)> {
        let low = Verdict { generation, pos: from, slot: 0, judge: Judge::Component(0) };
        let inside = self.verdicts.range(low..).take_while(|v| v.generation == generation && v.pos <= to);
        let poison = |v: &Verdict| match v.judge {
            Judge::Component(component) => Some((v.pos, v.slot, component)),
            Judge::Sink(..) => None,
        };
        inside.filter_map(poison).collect()
    }

    /// Whether `sink` refused row `k` of this input.
    pub fn refused(&self, sink: &SinkId, generation: Generation, pos: u64, slot: u16, k: u32) -> bool {
        self.verdicts.contains(&Verdict { generation, pos, slot, judge: Judge::Sink(sink.clone(), k) })
    }

    /// Forgets what no registered sink can need: entries before every sink's restart, verdicts and epochs that they named.
    /// Only information goes; recovery after it reads the same.
    pub fn trim(&mut self) {
        let partitions: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for partition in partitions {
            let floor = self
                .sinks_of(partition)
                .map(|s| self.needed_place(s, partition).map_or(Place::default(), |p| self.restart(partition, p)));
            let Some(floor) = floor.min() else { continue };
            if let Some(state) = self.partitions.get_mut(&partition) {
                // A RESET is where state begins: without it nobody would know under which configuration.
                let begins_fresh =
                    state.stream.before(floor).is_some_and(is_fresh_start) && !state.snaps.contains_key(&floor);
                let floor = Place { entry: floor.entry - u64::from(begins_fresh), ..floor };
                state.stream.trim(floor);
                let base = state.stream.base();
                let newest = state.snaps.keys().next_back().copied();
                state.snaps.retain(|place, _| *place >= base || Some(*place) == newest);
            }
        }
        self.trim_verdicts();
        self.trim_epochs();
        self.trim_losses();
    }

    /// What is kept takes no more room than it needs.
    pub(super) fn pack(&mut self) {
        pack(&mut self.generations);
        pack(&mut self.partitions);
        self.cursors.values_mut().for_each(pack);
    }

    fn trim_verdicts(&mut self) {
        let mut lows: BTreeMap<Generation, Cursor> = BTreeMap::new();
        for state in self.partitions.values() {
            for (_, planned) in state.stream.iter() {
                let low = lows.entry(planned.entry.generation()).or_insert_with(|| planned.entry.start());
                *low = (*low).min(planned.entry.start());
            }
        }
        self.verdicts.retain(|v| lows.get(&v.generation).is_some_and(|low| v.pos >= low.pos));
    }

    /// Generations whose cursors may go: gone, passed by every sink, and named by no kept entry; and a part of each history that is
    /// done with. What a sink has given up and not
    /// committed is its own to count: nobody else knows how far it really got.
    pub fn droppable(&self) -> Vec<Generation> {
        let named: BTreeSet<Generation> = self.partitions.values().flat_map(|p| p.stream.generations()).collect();
        let owed = |g: &Generation| self.sinks().any(|sink| self.needed(sink, *g) > self.cursor(sink, *g));
        let repeated = self.repeats.known.values().map(|repeat| repeat.of);
        let comes_again: BTreeSet<Generation> = repeated.chain(self.histories.kept_whole()).collect();
        let is_held = |g: &Generation| named.contains(g) || comes_again.contains(g) || owed(g);
        let is_own = |g: &Generation| self.history_of(*g).is_none();
        let gone = self.generations.iter().filter(|(g, s)| s.gone && is_own(g) && !is_held(g));
        gone.map(|(g, _)| *g).chain(self.histories_done()).collect()
    }

    /// Digests of all blobs that something kept names.
    pub fn blobs(&self) -> BTreeSet<[u8; 32]> {
        let snaps = self.partitions.values().flat_map(|p| p.snaps.values()).flat_map(|s| s.states.values().copied());
        let destinations = self.facts.values().filter_map(|facts| Some(facts.destination.as_ref()?.config));
        snaps.chain(self.epochs.iter().flat_map(|e| e.blobs.iter().copied())).chain(destinations).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn flushes_leave_slots_to_what_must_not_wait_for_input() {
        let (mut state, generation) = (JournalState::default(), Generation([1; 16]));
        let partition = PartitionId([1; 16]);
        let mut flush_at = |slot| {
            let entry = crate::plan::Entry::Flush { generation, at: Cursor { pos: 9, slot }, component: 1, now: 0 };
            let planned = Planned { time: 0, epoch: EpochId([1; 16]), entry };
            state.apply(&Record::Plan { entries: vec![(partition, planned)] });
            (state.flush_slot(partition), state.next_slot(partition))
        };
        let next = |slot| Some((generation, Cursor { pos: 9, slot }));
        assert_eq!(flush_at(FLUSH_SLOTS_MAX - 2), (next(FLUSH_SLOTS_MAX - 1), next(FLUSH_SLOTS_MAX - 1)));
        assert_eq!(flush_at(FLUSH_SLOTS_MAX - 1), (None, next(FLUSH_SLOTS_MAX)));
    }

    #[test]
    fn components_of_two_sources_with_one_number_are_told_apart() {
        let (mut state, id) = (JournalState::default(), EpochId([3; 16]));
        let (app, web) = (SourceId::new("app"), SourceId::new("web"));
        let (first, second) = (BTreeMap::from([(2, [1; 32])]), BTreeMap::from([(2, [2; 32])]));
        let union = second.clone();
        state.apply(&Record::Epoch(Epoch { id, stateful: union.clone(), blobs: Vec::new(), sinks: BTreeMap::new() }));
        assert_eq!(state.stateful_of(id, &app), union, "a journal of the second version");
        let digests = Stateful::from([(app.clone(), first.clone()), (web.clone(), second.clone())]);
        state.apply(&Record::Stateful { epoch: id, digests });
        assert_eq!((state.stateful_of(id, &app), state.stateful_of(id, &web)), (first, second));
        assert!(state.stateful_of(id, &SourceId::new("other")).is_empty());
    }
}
