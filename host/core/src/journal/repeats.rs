//! Input that is delivered again because a person said so. Cursors only rise, so what comes again is a history of its own whose
//! bytes are those of another: that one's input is kept for it, and what becomes of it is counted as every other history's.

use super::state::JournalState;
use crate::status::Settled;
use crate::{SinkId, SourceId, mutation};
use sawlog_record::id::{Cursor, Generation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A range that is delivered again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repeat {
    /// The history whose bytes these are.
    pub of: Generation,
    /// The first position that comes again.
    pub from: u64,
    /// Position after the last.
    pub to: u64,
}

/// What a snapshot of the third version does not hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Repeats {
    /// Those that some sink may still need, by their own names.
    pub known: BTreeMap<Generation, Repeat>,
    /// Input records with an outcome of those that are done with.
    pub settled: BTreeMap<(SinkId, SourceId), u64>,
}

impl JournalState {
    pub(super) fn apply_repeat(&mut self, generation: Generation, repeat: Repeat) {
        let Some(known) = self.generations.get(&repeat.of) else { return };
        let mut own = known.clone();
        (own.planned, own.gone, own.identity) = (Cursor::at(repeat.from), false, [].into());
        own.rescued.clear();
        self.generations.insert(generation, own);
        self.repeats.known.insert(generation, repeat);
    }

    /// A repeat that nobody needs any more leaves what became of its records.
    pub(super) fn drop_repeat(&mut self, generation: Generation, source: &SourceId) {
        for (sink, cursors) in &self.cursors {
            if let Some(mark) = cursors.get(&generation).filter(|_| self.is_repeated_to(sink, generation)) {
                *self.repeats.settled.entry((sink.clone(), source.clone())).or_default() += mark.counts.records();
            }
        }
        self.repeats.known.remove(&generation);
    }

    /// The repeat that is called `generation`, if it is one.
    pub fn repeat(&self, generation: Generation) -> Option<Repeat> {
        self.repeats.known.get(&generation).copied()
    }

    /// The history whose bytes `generation` consists of.
    pub fn original(&self, generation: Generation) -> Generation {
        self.repeat(generation).map_or(generation, |repeat| repeat.of)
    }

    /// The repeats of `generation`.
    pub(super) fn repeats_of(&self, generation: Generation) -> impl Iterator<Item = Generation> {
        let is_bare = mutation::on("repeat_unprotected");
        let mine = move |(_, repeat): &(&Generation, &Repeat)| repeat.of == generation && !is_bare;
        self.repeats.known.iter().filter(mine).map(|(name, _)| *name)
    }

    /// Counts `records` of a history into a sink's line of the ledger, where they had come to it before.
    pub(crate) fn note_repeated(&self, sink: &SinkId, generation: Generation, records: u64, line: &mut Settled) {
        if self.is_repeated_to(sink, generation) {
            line.repeated += records;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Epoch, Mark, Record, Registration, Standing};
    use super::*;
    use crate::EpochId;
    use crate::ledger::Counts;
    use crate::plan::{Entry, Planned};
    use crate::status::settled;
    use sawlog_record::id::PartitionId;
    use std::collections::BTreeSet;

    const G: Generation = Generation([1; 16]);
    const AGAIN: Generation = Generation([2; 16]);

    fn planned(generation: Generation, lo: u64, hi: u64) -> Record {
        let entry = Entry::Range { generation, lo, hi };
        let planned = Planned { time: 1, epoch: EpochId([1; 16]), entry };
        Record::Plan { entries: vec![(PartitionId([1; 16]), planned)] }
    }

    fn delivered(generation: Generation, upto: u64, records: u64) -> Record {
        let counts = Counts { delivered: records, ..Counts::default() };
        let mark = Mark::from(Standing { cursor: Cursor::at(upto), counts, ..Standing::default() });
        Record::Cursor { sink: SinkId::new("out"), marks: vec![(generation, mark)], facts: None }
    }

    /// A history of which 0 to 100 was delivered, and 40 to 100 is to come again.
    fn repeated() -> JournalState {
        let (source, sink) = (SourceId::new("app"), SinkId::new("out"));
        let registration =
            Registration { starts: BTreeMap::new(), until: None, sources: BTreeSet::from([source.clone()]) };
        let sinks = BTreeMap::from([(sink, registration)]);
        let epoch = Epoch { id: EpochId([1; 16]), stateful: BTreeMap::new(), blobs: Vec::new(), sinks };
        let known = Record::Generation {
            generation: G,
            partition: PartitionId([1; 16]),
            source,
            identity: [7].into(),
            start: 0,
        };
        let repeat = Record::Repeat { generation: AGAIN, repeat: Repeat { of: G, from: 40, to: 100 } };
        let mut state = JournalState::default();
        [Record::Epoch(epoch), known, planned(G, 0, 100), delivered(G, 100, 10), repeat]
            .iter()
            .for_each(|record| state.apply(record));
        state
    }

    #[test]
    fn what_comes_again_holds_the_input_of_its_history_until_every_sink_has_it() {
        let mut state = repeated();
        let sink = SinkId::new("out");
        assert_eq!((state.cursor(&sink, AGAIN), state.original(AGAIN)), (Cursor::at(40), G));
        assert_eq!(state.replay_floor(G), 40);
        state.apply(&Record::Gone { generation: G });
        state.apply(&planned(AGAIN, 40, 100));
        state.apply(&delivered(AGAIN, 70, 3));
        assert_eq!((state.replay_floor(G), state.droppable()), (70, vec![]));
        state.apply(&delivered(AGAIN, 100, 6));
        assert_eq!(state.replay_floor(G), 100);
        assert!(state.droppable().is_empty(), "a kept entry names it");
        state.apply(&Record::Gone { generation: AGAIN });
        state.apply(&planned(Generation([3; 16]), 0, 10));
        state.trim();
        assert_eq!(state.droppable(), [AGAIN], "the history stays for as long as its repeat is known");
        state.apply(&Record::Dropped { generation: AGAIN });
        assert_eq!(state.droppable(), [G]);
    }

    #[test]
    fn the_ledger_counts_what_came_again_also_when_it_is_done_with_and_over_a_snapshot() {
        let mut state = repeated();
        let line = |state: &JournalState| {
            let ledger = settled(state);
            let line = &ledger[&(SinkId::new("out"), SourceId::new("app"))];
            (line.counts.delivered, line.repeated, line.behind)
        };
        assert_eq!(line(&state), (10, 0, 0));
        state.apply(&planned(AGAIN, 40, 100));
        state.apply(&delivered(AGAIN, 80, 4));
        assert_eq!(line(&state), (14, 4, 20));
        assert_eq!(JournalState::decode(&state.encode()).unwrap(), state);
        state.apply(&delivered(AGAIN, 100, 6));
        state.apply(&Record::Dropped { generation: AGAIN });
        assert_eq!(line(&state), (16, 6, 0));
        assert_eq!(JournalState::decode(&state.encode()).unwrap(), state);
        assert_eq!(state.repeat(AGAIN), None);
    }
}
