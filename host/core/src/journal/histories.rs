//! What a sink that is added with `from: oldest` gets of what was read before it was there. Ranges that are planned have no rows for
//! it, so their input is read once more, for it alone: in a partition of its own, whose parts are repeats of the histories that the
//! partition before has.
//!
//! ```text
//!   partition     G1 ──────────► | G2 ──────────┆─ ─ ─ ►        ┆ = the frontier at the EPOCH; everybody else goes on there
//!   its history   G1' ─────────► | G2' ────────►┆ RESET         the added sink comes here first, then goes on at ┆
//! ```
//!
//! It is journalled with the EPOCH. What can still be read of it is known only when its source has begun: until then all of it is
//! kept. A RESET ends it: state that it had is that of the partition before, which goes on.

use super::record::Epoch;
use super::repeats::Repeat;
use super::state::JournalState;
use crate::plan::Entry;
use crate::reload::Oldest;
use crate::{SinkId, SourceId, mutation};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One history that is read once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its own name, which no history ever had.
    pub name: Generation,
    /// The history whose bytes these are.
    pub of: Generation,
    /// Position after the last: the frontier when the sink was added.
    pub to: u64,
}

/// What one added sink gets of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct History {
    /// Who takes it: the sink that was added, and behind it the one that takes its dead letters, where that is another.
    pub sinks: Vec<SinkId>,
    /// The source.
    pub source: SourceId,
    /// The partition that was read before.
    pub of: PartitionId,
    /// Up to when plugins had given out there what they held back, where that was the last that befell them; unix nanoseconds.
    pub flushed: Option<i64>,
    /// In the order in which they are read, once it has begun.
    pub parts: Vec<Part>,
    /// Whether it is known from where on its parts can be read.
    pub begun: bool,
}

/// What a snapshot of the fifth version does not hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Histories {
    /// Those that their sinks have not been through, by their own partitions.
    pub known: BTreeMap<PartitionId, History>,
}

impl Histories {
    /// Those of a source that have not begun.
    pub(crate) fn waiting(&self, source: &SourceId) -> Vec<(PartitionId, History)> {
        let mine = self.known.iter().filter(|(_, history)| !history.begun && history.source == *source);
        mine.map(|(partition, history)| (*partition, history.clone())).collect()
    }

    /// Those of a source that have begun.
    pub(crate) fn begun(&self, source: &SourceId) -> Vec<PartitionId> {
        let mine = self.known.iter().filter(|(_, history)| history.begun && history.source == *source);
        mine.map(|(partition, _)| *partition).collect()
    }

    /// Whether all of a history is kept, because nobody knows yet from where on it can be read.
    pub(crate) fn keep_whole(&self, generation: Generation) -> bool {
        self.kept_whole().any(|kept| kept == generation)
    }

    /// Histories of which all is kept, because nobody knows yet from where on they can be read.
    pub(super) fn kept_whole(&self) -> impl Iterator<Item = Generation> {
        let waiting = self.known.values().filter(|history| !history.begun);
        waiting.flat_map(|history| history.parts.iter().map(|part| part.of))
    }
}

/// The histories that `epoch` begins for sinks which it adds, each with the partition that it makes up.
pub(crate) fn begin(
    state: &JournalState,
    epoch: &Epoch,
    added: &BTreeMap<&SinkId, &Oldest>,
    now: i64,
) -> Vec<(PartitionId, History)> {
    let mut histories = Vec::new();
    for (sink, oldest) in added {
        for (of, known) in state.partitions.iter().filter(|(of, _)| state.history(**of).is_none()) {
            let is_wanted = |source: &&SourceId| oldest.sources.contains(*source);
            let Some(source) = state.source_of(*of).filter(is_wanted) else { continue };
            let number = (state.epochs.len() as u64).to_le_bytes();
            let names = [sink.as_str().as_bytes(), &of.0[..], &epoch.id.0[..], &now.to_le_bytes()[..], &number[..]];
            let part = |(generation, one): (&Generation, &super::state::GenerationState)| {
                let [sink, of, epoch, now, number] = names;
                let name = Generation::derive("sawlog.history", &[sink, of, epoch, now, number, &generation.0[..]]);
                Part { name, of: *generation, to: one.planned.pos }
            };
            let own = state.generations.iter().filter(|(g, one)| one.partition == *of && state.repeat(**g).is_none());
            let letters = oldest.letters.iter().filter(|letters| *letters != *sink);
            let flushed = known.stream.iter().rev().map_while(|(_, planned)| match planned.entry {
                Entry::Flush { now, .. } => Some(now),
                _ => None,
            });
            let history = History {
                sinks: std::iter::once(*sink).chain(letters).cloned().collect(),
                source: source.clone(),
                of: *of,
                flushed: flushed.max(),
                parts: own.map(part).filter(|part| part.to > 0).collect(),
                begun: false,
            };
            if !history.parts.is_empty() {
                histories.push((PartitionId::derive("sawlog.history", &names), history));
            }
        }
    }
    histories
}

impl JournalState {
    /// The history that makes up `partition`, where that is none of a source's own.
    pub fn history(&self, partition: PartitionId) -> Option<&History> {
        self.histories.known.get(&partition)
    }

    /// The history that `generation` is a part of.
    pub(crate) fn history_of(&self, generation: Generation) -> Option<&History> {
        if self.histories.known.is_empty() {
            return None;
        }
        self.history(self.generations.get(&generation)?.partition)
    }

    /// Whether `sink` takes anything of `partition` where its source feeds it: of a history only those for which it is read.
    pub(crate) fn takes(&self, sink: &SinkId, partition: PartitionId) -> bool {
        let is_for_all = mutation::on("history_for_all");
        self.history(partition).is_none_or(|history| is_for_all || history.sinks.contains(sink))
    }

    /// Whether input of a history was delivered to `sink` before: it is the first time for the one that was added.
    pub(super) fn is_repeated_to(&self, sink: &SinkId, generation: Generation) -> bool {
        self.repeat(generation).is_some()
            && self.history_of(generation).is_none_or(|history| history.sinks.first() != Some(sink))
    }

    pub(super) fn apply_history(&mut self, partition: PartitionId, history: &History) {
        self.partitions.entry(partition).or_default();
        self.histories.known.insert(partition, history.clone());
    }

    pub(super) fn apply_history_begins(&mut self, partition: PartitionId, from: &[(Generation, u64)]) {
        let Some(mut history) = self.histories.known.get(&partition).filter(|history| !history.begun).cloned() else {
            return;
        };
        let order = |part: &Part| from.iter().position(|(name, _)| *name == part.name);
        history.parts.sort_by_key(order);
        history.begun = true;
        for part in &history.parts {
            let from = from.iter().find(|(name, _)| *name == part.name).map_or(part.to, |(_, from)| *from);
            self.apply_repeat(part.name, Repeat { of: part.of, from: from.min(part.to), to: part.to });
            if let Some(known) = self.generations.get_mut(&part.name) {
                known.partition = partition;
            }
        }
        self.histories.known.insert(partition, history);
    }

    /// Whether all parts of a history are planned, whichever of them lanes know by now.
    pub(crate) fn is_history_read(&self, partition: PartitionId) -> bool {
        let planned = |part: &Part| self.generations.get(&part.name).is_some_and(|g| g.planned.pos >= part.to);
        self.history(partition).is_some_and(|history| history.begun && history.parts.iter().all(planned))
    }

    /// Where a history that makes up `partition` ends, if all of it is planned: behind the RESET, or at once where nothing of it
    /// could be read any more.
    fn end_of_history(&self, partition: PartitionId) -> Option<Option<(Generation, Cursor)>> {
        if !self.is_history_read(partition) {
            return None;
        }
        match self.partitions.get(&partition)?.stream.last() {
            None => Some(None),
            Some(last) if matches!(last.entry, Entry::Reset { .. }) => {
                Some(Some((last.entry.generation(), last.entry.end())))
            }
            Some(_) => None,
        }
    }

    /// Whether a history is planned to its end.
    pub(crate) fn is_history_planned(&self, partition: PartitionId) -> bool {
        self.end_of_history(partition).is_some()
    }

    /// Whether these cursors of a sink cover all of a history.
    fn is_through(&self, partition: PartitionId, cursor: impl Fn(Generation) -> Cursor) -> bool {
        self.end_of_history(partition).is_some_and(|end| end.is_none_or(|(generation, end)| cursor(generation) >= end))
    }

    /// Whether `sink`, which was added to it, has not come through the history of `partition`, by these cursors: what comes after the
    /// frontier waits for that.
    pub(crate) fn comes_later(
        &self,
        sink: &SinkId,
        partition: PartitionId,
        cursor: impl Fn(Generation) -> Option<Cursor>,
    ) -> bool {
        let mine = |history: &History| history.of == partition && history.sinks.first() == Some(sink);
        let cursor = |generation| cursor(generation).unwrap_or_default();
        let mut open = self.histories.known.iter().filter(|(_, history)| mine(history));
        !mutation::on("history_beside") && open.any(|(name, _)| !self.is_through(*name, cursor))
    }

    /// Whether `sink` has durably been through all histories that it takes, of one source or of all.
    pub(crate) fn has_histories(&self, sink: &SinkId, source: Option<&SourceId>) -> bool {
        let is_mine =
            |history: &History| history.sinks.contains(sink) && source.is_none_or(|source| history.source == *source);
        let mut mine = self.histories.known.iter().filter(|(_, history)| is_mine(history));
        mine.all(|(name, _)| self.is_through(*name, |generation| self.cursor(sink, generation)))
    }

    /// A part of each history that all its sinks have been through.
    pub(super) fn histories_done(&self) -> impl Iterator<Item = Generation> {
        let is_done = |(name, history): &(&PartitionId, &History)| {
            let mut takers = self.sinks().filter(|sink| history.sinks.contains(sink));
            takers.all(|sink| self.is_through(**name, |generation| self.cursor(sink, generation)))
        };
        self.histories
            .known
            .iter()
            .filter(|(_, history)| history.begun)
            .filter(is_done)
            .filter_map(|(_, history)| Some(history.parts.first()?.name))
    }

    /// The partitions of histories that were begun for `sink`.
    pub(super) fn histories_for(&self, sink: &SinkId) -> Vec<PartitionId> {
        let mine = self.histories.known.iter().filter(|(_, history)| history.sinks.first() == Some(sink));
        mine.map(|(name, _)| *name).collect()
    }

    /// What is not planned yet of histories that were begun for `sink`: name, from, to. Of those that wait it is all, for nobody
    /// knows what of them can be read.
    pub(crate) fn unread_histories(&self, sink: &SinkId) -> Vec<(Generation, Cursor, Cursor)> {
        let parts = self.histories_for(sink).into_iter().filter_map(|name| self.history(name)).flat_map(|h| &h.parts);
        let unread = |part: &Part| {
            let planned = self.generations.get(&part.name).map(|known| known.planned).unwrap_or_default();
            (planned.pos < part.to).then_some((part.name, planned, Cursor::at(part.to)))
        };
        parts.filter_map(unread).collect()
    }

    /// Has histories of `sink` that wait begin with all that they may have: what is given up of them has a name then.
    pub(crate) fn begin_waiting(&self, sink: &SinkId) -> Vec<super::Record> {
        let begin = |partition: PartitionId| {
            let history = self.history(partition).filter(|history| !history.begun)?;
            let from = history.parts.iter().map(|part| (part.name, 0)).collect();
            Some(super::Record::HistoryBegins { partition, from })
        };
        self.histories_for(sink).into_iter().filter_map(begin).collect()
    }

    /// Where a part of a history ends, whether it is planned or not.
    pub(crate) fn end_of_part(&self, generation: Generation) -> Option<u64> {
        self.history_of(generation)?;
        self.repeat(generation).map(|repeat| repeat.to)
    }

    /// Where a history stands among those of its partition that were not planned yet.
    pub(crate) fn order_in_history(&self, generation: Generation) -> u64 {
        let parts = self.history_of(generation).map(|history| &history.parts);
        let place = parts.and_then(|parts| parts.iter().position(|part| part.name == generation));
        place.unwrap_or_default() as u64
    }

    /// Where a sink begins in a part of a history: at its beginning, or, where it takes nothing of it, behind its end.
    pub(super) fn start_in_history(&self, sink: &SinkId, generation: Generation) -> Option<Cursor> {
        let history = self.history_of(generation)?;
        let repeat = self.repeat(generation)?;
        let takes = history.sinks.contains(sink) || mutation::on("history_for_all");
        Some(if takes { Cursor::at(repeat.from) } else { Cursor { pos: repeat.to, slot: u16::MAX } })
    }

    /// The components that have given out at the end of a stream what they held back.
    pub(crate) fn flushed_at_end(&self, partition: PartitionId) -> Vec<crate::plan::ComponentId> {
        let entries = self.partitions.get(&partition).into_iter().flat_map(|known| known.stream.iter().rev());
        let flushes = entries.map_while(|(_, planned)| match planned.entry {
            Entry::Flush { component, .. } => Some(component),
            _ => None,
        });
        flushes.collect()
    }

    /// The components that have given out all that they held back, at the end of a stream.
    pub(crate) fn flushed_for_good(&self, partition: PartitionId) -> Vec<crate::plan::ComponentId> {
        let entries = self.partitions.get(&partition).into_iter().flat_map(|known| known.stream.iter().rev());
        let flushes = entries.map_while(|(_, planned)| match planned.entry {
            Entry::Flush { component, now, .. } => Some((component, now)),
            _ => None,
        });
        flushes.filter(|(_, now)| *now == i64::MAX).map(|(component, _)| component).collect()
    }

    /// A history goes, with all its parts.
    pub(super) fn drop_history(&mut self, partition: PartitionId) {
        let Some(history) = self.history(partition).cloned() else { return };
        for part in &history.parts {
            self.drop_generation(part.name);
        }
        self.histories.known.remove(&partition);
        self.partitions.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Mark, Record, Standing};
    use super::*;
    use crate::EpochId;
    use crate::ledger::Counts;
    use crate::plan::Planned;
    use crate::reload::{self, Refusal, Removal, Wanted};
    use crate::status::settled;
    use std::collections::BTreeSet;

    const G: Generation = Generation([1; 16]);
    const UNREAD: Generation = Generation([2; 16]);

    fn source() -> SourceId {
        SourceId::new("app")
    }

    fn partition(of: u8) -> PartitionId {
        PartitionId([of; 16])
    }

    /// A configuration with these sinks, of which `added` wants everything.
    fn wanted(number: u8, sinks: &[&str], added: &[&str]) -> Wanted {
        let fed = |sink: &&str| (SinkId::new(sink), BTreeSet::from([source(), SourceId::new("letters")]));
        let oldest = |sink: &&str| {
            let letters = Some(SinkId::new("dead"));
            (SinkId::new(sink), Oldest { sources: BTreeSet::from([source()]), letters })
        };
        Wanted {
            id: EpochId([number; 16]),
            stateful: BTreeMap::new(),
            names: BTreeMap::new(),
            blobs: Vec::new(),
            sinks: sinks.iter().map(fed).collect(),
            from_oldest: added.iter().map(oldest).collect(),
            untold: BTreeSet::new(),
            remove: BTreeMap::new(),
        }
    }

    /// Reading begins at 0, or at 500 where nothing was read.
    fn opened(generation: Generation, partition: PartitionId, source: &str) -> Record {
        let (source, start) = (SourceId::new(source), if generation == UNREAD { 500 } else { 0 });
        Record::Generation { generation, partition, source, identity: [7].into(), start }
    }

    fn plan(partition: PartitionId, entry: Entry) -> Record {
        Record::Plan { entries: vec![(partition, Planned { time: 1, epoch: EpochId([1; 16]), entry })] }
    }

    fn range(partition: PartitionId, generation: Generation, lo: u64, hi: u64) -> Record {
        plan(partition, Entry::Range { generation, lo, hi })
    }

    fn commit(sink: &str, generation: Generation, cursor: Cursor, delivered: u64) -> Record {
        let mark =
            Mark::from(Standing { cursor, counts: Counts { delivered, ..Counts::default() }, ..Standing::default() });
        Record::Cursor { sink: SinkId::new(sink), marks: vec![(generation, mark)], facts: None }
    }

    fn take(state: &mut JournalState, wanted: &Wanted) {
        reload::records(state, wanted, 5).unwrap().iter().for_each(|record| state.apply(record));
    }

    /// A history of which 0 to 100 is planned and delivered; letters.
    fn before() -> JournalState {
        let mut state = JournalState::default();
        take(&mut state, &wanted(1, &["old", "dead"], &["old"]));
        let letter = Generation([3; 16]);
        for record in [
            opened(G, partition(1), "app"),
            opened(letter, partition(3), "letters"),
            range(partition(1), G, 0, 100),
            range(partition(3), letter, 0, 10),
        ] {
            state.apply(&record);
        }
        for sink in ["old", "dead"] {
            state.apply(&commit(sink, G, Cursor::at(100), 10));
            state.apply(&commit(sink, letter, Cursor::at(10), 1));
        }
        state
    }

    /// The only history, by its partition, and its only part.
    fn only(state: &JournalState) -> (PartitionId, Part) {
        let all: Vec<_> = state.histories.known.iter().collect();
        let [(partition, history)] = all[..] else { panic!("{all:?}") };
        let [part] = history.parts[..] else { panic!("{history:?}") };
        (*partition, part)
    }

    #[test]
    fn an_added_sink_gets_what_was_read_before_and_nobody_else_does() {
        let (old, new, dead) = (SinkId::new("old"), SinkId::new("new"), SinkId::new("dead"));
        let mut state = before();
        let added = wanted(2, &["old", "dead", "new"], &["new"]);
        assert!(matches!(reload::records(&state, &added, 5).unwrap()[..], [Record::Together(_)]), "both or neither");
        take(&mut state, &added);
        let (history, part) = only(&state);
        assert_eq!((part.of, part.to, state.replay_floor(G)), (G, 100, 0), "all is kept until it begins");
        assert!(!reload::is_delivered(&state, &new) && reload::is_delivered(&state, &old));
        state.apply(&Record::HistoryBegins { partition: history, from: vec![(part.name, 30)] });
        assert_eq!((state.replay_floor(G), state.original(part.name)), (30, G));
        assert_eq!(JournalState::decode(&state.encode()).unwrap(), state);
        assert_eq!(
            (settled(&state)[&(new.clone(), source())].behind, settled(&state)[&(old.clone(), source())].behind),
            (70, 0)
        );
        let takers: Vec<&SinkId> = state.sinks_of(history).collect();
        assert_eq!((takers, state.cursor(&new, part.name)), (vec![&dead, &new], Cursor::at(30)));
        let waits = |state: &JournalState| {
            state.comes_later(&new, partition(1), |generation| Some(state.cursor(&new, generation)))
        };
        let end = Cursor { pos: 100, slot: 1 };
        for (record, is_through) in [
            (range(history, part.name, 30, 100), false),
            (commit("new", part.name, Cursor::at(100), 7), false),
            (plan(history, Entry::Reset { generation: part.name, at: Cursor::at(100) }), false),
            (commit("new", part.name, end, 7), true),
        ] {
            state.apply(&record);
            assert_eq!((!waits(&state), state.has_histories(&new, None)), (is_through, is_through), "{record:?}");
        }
        assert!(!state.comes_later(&old, partition(1), |_| None) && reload::is_delivered(&state, &old));
        let line = |state: &JournalState, sink: &SinkId| {
            let line = settled(state)[&(sink.clone(), source())].clone();
            (line.counts.delivered, line.repeated, line.behind)
        };
        assert_eq!((line(&state, &old), line(&state, &new)), ((10, 0, 0), (7, 0, 0)), "it is the first time for it");
        assert!(state.droppable().is_empty(), "its dead letters are not through");
        state.apply(&commit("dead", part.name, end, 2));
        assert_eq!((state.droppable(), line(&state, &dead)), (vec![part.name], (12, 2, 0)));
        state.apply(&Record::Dropped { generation: part.name });
        assert!(state.histories.known.is_empty() && !state.partitions.contains_key(&history));
        assert_eq!((line(&state, &new), line(&state, &dead)), ((7, 0, 0), (12, 2, 0)));
        assert_eq!(state.replay_floor(G), 100);
    }

    #[test]
    fn who_is_there_already_and_who_does_not_ask_gets_nothing_of_what_was_read_before() {
        for (sinks, oldest) in [(&["old", "dead", "new"][..], &["old"][..]), (&["old", "dead"], &["old", "dead"])] {
            let mut state = before();
            take(&mut state, &wanted(2, sinks, oldest));
            assert!(state.histories.known.is_empty(), "{sinks:?}");
        }
        let mut first = JournalState::default();
        take(&mut first, &wanted(1, &["new"], &["new"]));
        assert!(first.histories.known.is_empty());
    }

    #[test]
    fn a_source_that_cant_tell_what_it_keeps_is_refused_by_name_and_only_where_something_was_read() {
        let (state, mut wanted) = (before(), wanted(2, &["old", "dead", "new"], &["new"]));
        wanted.untold = BTreeSet::from([SourceId::new("letters")]);
        assert!(reload::decide(&state, &wanted).is_ok(), "the sink does not ask for it");
        wanted.untold = BTreeSet::from([source()]);
        let refused = reload::decide(&state, &wanted).unwrap_err();
        assert_eq!(refused, Refusal::Oldest { sink: SinkId::new("new"), source_id: source() });
        assert!(refused.to_string().contains("sink new") && refused.to_string().contains("source seek app"));
        let mut unread = JournalState::default();
        take(&mut unread, &self::wanted(1, &["old", "dead"], &[]));
        unread.apply(&opened(UNREAD, partition(2), "app"));
        assert!(reload::decide(&unread, &wanted).is_ok(), "nothing was read, where reading begins at 500 too");
        wanted.untold.clear();
        take(&mut unread, &wanted);
        assert!(unread.histories.known.is_empty());
        assert_eq!(unread.cursor(&SinkId::new("new"), UNREAD), Cursor::at(500));
    }

    #[test]
    fn an_added_sink_that_goes_again_gives_up_what_it_has_not_had_or_drains_it_first() {
        let new = SinkId::new("new");
        let begun = || {
            let mut state = before();
            take(&mut state, &wanted(2, &["old", "dead", "new"], &["new"]));
            let (history, part) = only(&state);
            state.apply(&Record::HistoryBegins { partition: history, from: vec![(part.name, 30)] });
            state.apply(&range(history, part.name, 30, 50));
            state.apply(&commit("new", part.name, Cursor::at(40), 1));
            (state, history, part)
        };
        let mut gone = wanted(3, &["old", "dead"], &[]);
        let (mut state, history, part) = begun();
        assert_eq!(reload::decide(&state, &gone), Err(Refusal::Undelivered(new.clone())));
        gone.remove = BTreeMap::from([(new.clone(), Removal::Forget)]);
        take(&mut state, &gone);
        let lost = &state.base_counts[&(new.clone(), source())];
        assert_eq!((lost.delivered, lost.lost_bytes.get("forgotten")), (1, 60), "what was not planned yet too");
        assert!(state.history(history).is_none() && state.dropped.contains(&part.name));

        let mut state = before();
        take(&mut state, &wanted(2, &["old", "dead", "new"], &["new"]));
        let (history, _) = only(&state);
        assert_eq!(reload::decide(&state, &wanted(3, &["old", "dead"], &[])), Err(Refusal::Undelivered(new.clone())));
        take(&mut state, &gone);
        let lost = state.base_counts[&(new.clone(), source())].lost_bytes.get("forgotten");
        assert_eq!((lost, state.history(history)), (100, None), "it has not begun, and is given up all the same");

        let (mut state, history, part) = begun();
        gone.remove = BTreeMap::from([(new.clone(), Removal::Drain)]);
        take(&mut state, &gone);
        assert_eq!((state.end_of_drain(&new, history), reload::is_delivered(&state, &new)), (None, false));
        for record in [
            range(history, part.name, 50, 100),
            plan(history, Entry::Reset { generation: part.name, at: Cursor::at(100) }),
            commit("new", part.name, Cursor { pos: 100, slot: 1 }, 7),
        ] {
            assert!(!reload::is_delivered(&state, &new));
            state.apply(&record);
        }
        assert!(reload::is_delivered(&state, &new));
    }
}
