//! What of the input nobody will read any more, by name: which file it was as last known, which positions of it which sink lacks,
//! and since when. It is kept for people: what a sink may skip is said by the losses, what is counted by the ledger.

use super::state::JournalState;
use crate::identity::FileId;
use crate::ledger::Counts;
use crate::partition::loss::INPUT_GONE;
use crate::{SinkId, SourceId};
use sawlog_record::id::Generation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How many ranges are told one by one; of older ones the sums are.
pub const MISSING_MAX: usize = 128;

/// A history that went away, as far as its source knew it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The name that it had last.
    pub path: String,
    /// The file that held it.
    pub file: Option<FileId>,
    /// Where in the file position 0 lies, bytes.
    pub base: u64,
    /// Its last known length, as a position.
    pub end: u64,
    /// Nobody looked when it went: it may have got more.
    pub at_least: bool,
}

/// A range of input that went away before a sink had it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// When it was noticed, unix nanoseconds.
    pub time: i64,
    /// Which source would have read it.
    pub source: SourceId,
    /// Of which history.
    pub generation: Generation,
    /// Which sink lacks it; `None` where all had what was known of a history that may have got more since.
    pub sink: Option<SinkId>,
    /// The first position that is missing.
    pub from: u64,
    /// Position after the last.
    pub to: u64,
    /// Why.
    pub reason: String,
    /// What it was, where its source could tell.
    pub whereabouts: Option<Whereabouts>,
}

/// Ranges that are not told one by one any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Earlier {
    /// How many.
    pub ranges: u64,
    /// Positions in them.
    pub positions: u64,
}

/// A history that is gone and still known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Known {
    time: i64,
    whereabouts: Whereabouts,
    /// From here on nobody plans it.
    written_off: u64,
}

/// What a snapshot of the fourth version does not hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct MissingInput {
    known: BTreeMap<Generation, Known>,
    /// The newest last; at most [`MISSING_MAX`].
    kept: VecDeque<Missing>,
    /// What they once were that were more.
    earlier: BTreeMap<(Option<SinkId>, SourceId), Earlier>,
}

impl MissingInput {
    /// The newest ranges, the newest last.
    pub fn ranges(&self) -> impl Iterator<Item = &Missing> {
        self.kept.iter()
    }

    /// Sums of older ones, by sink and source.
    pub fn earlier(&self) -> &BTreeMap<(Option<SinkId>, SourceId), Earlier> {
        &self.earlier
    }

    /// Whether it is known where a history went.
    pub(crate) fn names(&self, generation: Generation) -> bool {
        self.known.contains_key(&generation)
    }

    /// Whether a history that is gone may be planned up to `end`: what it never was is written off at once.
    pub(crate) fn may_plan(&self, generation: Generation, end: u64) -> bool {
        self.known.get(&generation).is_none_or(|known| end <= known.written_off)
    }

    pub(super) fn forget(&mut self, generation: Generation) {
        self.known.remove(&generation);
    }

    /// A sink may come to what is gone before its source says so, as after a restart: what it lacks gets its name then.
    fn name(&mut self, generation: Generation, whereabouts: &Whereabouts) {
        let nameless = |kept: &&mut Missing| kept.generation == generation && kept.whereabouts.is_none();
        self.kept.iter_mut().filter(nameless).for_each(|kept| kept.whereabouts = Some(whereabouts.clone()));
    }

    fn note(&mut self, missing: Missing) {
        let is_same = |kept: &&mut Missing| {
            (&kept.sink, kept.generation, &kept.reason) == (&missing.sink, missing.generation, &missing.reason)
                && kept.from <= missing.to
                && missing.from <= kept.to
        };
        if let Some(kept) = self.kept.iter_mut().rev().find(is_same) {
            (kept.from, kept.to) = (kept.from.min(missing.from), kept.to.max(missing.to));
            return;
        }
        self.kept.push_back(missing);
        while self.kept.len() > MISSING_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            let sum = self.earlier.entry((oldest.sink, oldest.source)).or_default();
            sum.ranges += 1;
            sum.positions += oldest.to - oldest.from;
        }
    }
}

impl JournalState {
    /// Where what is planned of a history, and what of it was rescued, end.
    pub(crate) fn reaches(&self, generation: Generation) -> u64 {
        let Some(known) = self.generations.get(&generation) else { return 0 };
        known.rescued.iter().map(|(_, hi)| *hi).fold(known.planned.pos, u64::max)
    }

    /// All that sinks lack by name: what is lost, and what is planned and not delivered of histories that are gone, which is lost as
    /// soon as its sink comes to it.
    pub fn missing_input(&self) -> MissingInput {
        let mut all = self.missing.clone();
        for (generation, known) in &self.missing.known {
            let Some(history) = self.generations.get(generation) else { continue };
            for sink in self.sinks().filter(|sink| self.feeds(&history.source, sink)) {
                let rescued =
                    |at: u64| history.rescued.iter().find(|(lo, hi)| *lo <= at && at < *hi).map(|(_, hi)| *hi);
                let mut from = self.needed(sink, *generation).pos;
                while let Some(hi) = rescued(from) {
                    from = hi;
                }
                if from < known.written_off {
                    all.note(Missing {
                        time: known.time,
                        source: history.source.clone(),
                        generation: *generation,
                        sink: Some(sink.clone()),
                        from,
                        to: known.written_off,
                        reason: INPUT_GONE.to_owned(),
                        whereabouts: Some(known.whereabouts.clone()),
                    });
                }
            }
        }
        all
    }

    /// A history went away: what was never planned of it is lost to every sink that it feeds, and counted. What was planned is lost
    /// sink by sink, as each comes to it.
    pub(super) fn apply_vanished(&mut self, generation: Generation, time: i64, whereabouts: &Whereabouts) {
        let Some(source) = self.generations.get(&generation).map(|known| known.source.clone()) else { return };
        if self.missing.names(generation) {
            return;
        }
        let (written_off, whereabouts) = (self.reaches(generation), whereabouts.clone());
        let unread = whereabouts.end.saturating_sub(written_off);
        let missing = |sink, to| Missing {
            time,
            source: source.clone(),
            generation,
            sink,
            from: written_off,
            to,
            reason: INPUT_GONE.to_owned(),
            whereabouts: Some(whereabouts.clone()),
        };
        let is_fed = |sink: &&SinkId| self.feeds(&source, sink) && !self.drains(sink);
        let fed: Vec<SinkId> = self.sinks().filter(is_fed).cloned().collect();
        let has_all = |sink: &SinkId| self.needed(sink, generation).pos >= written_off;
        let maybe_more = unread == 0 && whereabouts.at_least && fed.iter().all(has_all);
        let known = Known { time, whereabouts: whereabouts.clone(), written_off };
        self.missing.known.insert(generation, known);
        self.missing.name(generation, &whereabouts);
        if maybe_more {
            self.missing.note(missing(None, written_off));
        }
        for sink in fed.into_iter().filter(|_| unread > 0) {
            let counts = Counts::unread(INPUT_GONE, unread);
            self.base_counts.entry((sink.clone(), source.clone())).or_default().add(&counts);
            self.missing.note(missing(Some(sink), whereabouts.end));
        }
    }

    /// A sink has lost a range that was planned.
    pub(super) fn note_missing(&mut self, sink: &SinkId, generation: Generation, (from, to): (u64, u64), reason: &str) {
        let Some(source) = self.generations.get(&generation).map(|known| known.source.clone()) else { return };
        let known = self.missing.known.get(&self.original(generation));
        let (time, whereabouts) = (known.map_or(self.time, |known| known.time), known.map(|k| k.whereabouts.clone()));
        let (sink, reason) = (Some(sink.clone()), reason.to_owned());
        if from < to {
            self.missing.note(Missing { time, source, generation, sink, from, to, reason, whereabouts });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Epoch, Mark, Record, Registration};
    use super::*;
    use crate::EpochId;
    use crate::plan::{Entry, Planned};
    use crate::status::settled;
    use sawlog_record::id::{Cursor, PartitionId};
    use std::collections::BTreeSet;

    const G: Generation = Generation([1; 16]);

    fn whereabouts(end: u64, at_least: bool) -> Whereabouts {
        let file = Some(FileId { dev: 1, ino: 2, btime: Some(3) });
        Whereabouts { path: "/logs/app.log".into(), file, base: 0, end, at_least }
    }

    fn opened(generation: Generation) -> Record {
        let (partition, source) = (PartitionId([1; 16]), SourceId::new("app"));
        Record::Generation { generation, partition, source, identity: [].into(), start: 0 }
    }

    /// Of a history 0 to 100 is planned; one sink has 40 of it, the other all.
    fn planned() -> JournalState {
        let fed = Registration { sources: BTreeSet::from([SourceId::new("app")]), ..Registration::default() };
        let sinks = ["slow", "quick"].map(|name| (SinkId::new(name), fed.clone())).into();
        let epoch = EpochId([1; 16]);
        let entry = Entry::Range { generation: G, lo: 0, hi: 100 };
        let plan = Record::Plan { entries: vec![(PartitionId([1; 16]), Planned { time: 1, epoch, entry })] };
        let moved = |sink, at| Record::Cursor {
            sink: SinkId::new(sink),
            marks: vec![(G, Mark::at(Cursor::at(at)))],
            facts: None,
        };
        let begins = Epoch { id: epoch, stateful: BTreeMap::new(), blobs: Vec::new(), sinks };
        let mut state = JournalState::default();
        [Record::Epoch(begins), opened(G), plan, moved("slow", 40), moved("quick", 100)]
            .iter()
            .for_each(|record| state.apply(record));
        state
    }

    fn vanished(generation: Generation, end: u64, at_least: bool) -> Record {
        Record::Vanished { generation, time: 7, whereabouts: whereabouts(end, at_least) }
    }

    fn ranges(state: &JournalState) -> Vec<(&str, u64, u64)> {
        let named = |m: &'_ Missing| (m.from, m.to);
        let all = state.missing.ranges();
        all.map(|m| (m.sink.as_ref().map_or("", SinkId::as_str), named(m).0, named(m).1)).collect()
    }

    #[test]
    fn what_was_never_planned_is_lost_to_every_sink_and_the_rest_to_the_one_that_lacked_it() {
        let mut state = planned();
        state.apply(&vanished(G, 130, true));
        state.apply(&vanished(G, 130, true));
        // Before the slow one comes to it, too.
        let told = state.missing_input();
        let slow = told.ranges().find(|m| m.sink == Some(SinkId::new("slow"))).map(|m| (m.from, m.to));
        assert_eq!((slow, ranges(&state)), (Some((40, 130)), vec![("quick", 100, 130), ("slow", 100, 130)]));
        let (from, to) = (Cursor::at(40), Cursor::at(100));
        let (sink, reason) = (SinkId::new("slow"), INPUT_GONE.to_owned());
        state.apply(&Record::Lost { sink, generation: G, from, to, reason });
        assert_eq!(ranges(&state), [("quick", 100, 130), ("slow", 40, 130)]);
        let bytes = |sink| {
            let ledger = settled(&state);
            ledger[&(SinkId::new(sink), SourceId::new("app"))].counts.lost_bytes.get(INPUT_GONE)
        };
        assert_eq!((bytes("quick"), bytes("slow")), (30, 90));
        assert!(state.missing.may_plan(G, 100) && !state.missing.may_plan(G, 101));
        assert_eq!(JournalState::decode(&state.encode()).unwrap(), state);
        let named = state.missing.ranges().next().unwrap().clone();
        assert_eq!((named.time, named.whereabouts), (7, Some(whereabouts(130, true))));
    }

    #[test]
    fn a_history_that_every_sink_had_is_named_only_if_it_may_have_got_more() {
        let mut state = planned();
        let mark = Mark::at(Cursor::at(100));
        state.apply(&Record::Cursor { sink: SinkId::new("slow"), marks: vec![(G, mark)], facts: None });
        let mut whole = state.clone();
        whole.apply(&vanished(G, 100, false));
        assert_eq!(ranges(&whole), []);
        state.apply(&vanished(G, 100, true));
        assert_eq!(ranges(&state), [("", 100, 100)]);
    }

    #[test]
    fn what_a_sink_lost_before_the_source_said_so_gets_its_name() {
        let mut state = planned();
        let (from, to) = (Cursor::at(40), Cursor::at(100));
        let (sink, reason) = (SinkId::new("slow"), INPUT_GONE.to_owned());
        state.apply(&Record::Lost { sink, generation: G, from, to, reason });
        let name = |state: &JournalState| state.missing.ranges().next().unwrap().whereabouts.clone();
        assert_eq!((ranges(&state), name(&state)), (vec![("slow", 40, 100)], None));
        state.apply(&vanished(G, 100, false));
        assert_eq!((ranges(&state), name(&state)), (vec![("slow", 40, 100)], Some(whereabouts(100, false))));
    }

    #[test]
    fn what_was_rescued_of_it_is_planned_still_and_only_the_rest_is_lost() {
        let mut state = planned();
        state.apply(&Record::Rescue { generation: G, lo: 40, hi: 120 });
        state.apply(&vanished(G, 130, false));
        assert_eq!(ranges(&state), [("quick", 120, 130), ("slow", 120, 130)]);
        assert!(state.missing.may_plan(G, 120) && !state.missing.may_plan(G, 130));
    }

    #[test]
    fn of_many_ranges_the_newest_are_told_and_the_others_summed() {
        let mut state = planned();
        for number in 0..MISSING_MAX as u8 {
            let generation = Generation([2 + number; 16]);
            [opened(generation), vanished(generation, 10, false)].iter().for_each(|record| state.apply(record));
        }
        assert_eq!(state.missing.ranges().count(), MISSING_MAX);
        let half = Earlier { ranges: MISSING_MAX as u64 / 2, positions: MISSING_MAX as u64 * 5 };
        let sums: Vec<Earlier> = state.missing.earlier().values().copied().collect();
        assert_eq!(sums, [half, half]);
    }
}
