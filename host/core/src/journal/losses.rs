//! Counted losses: the ranges that a sink has given up. Once such a record is durable nobody reads or delivers the range for that
//! sink any more, whoever takes over: replay floors pass over it at once, cursors follow with the sink's own next commit, and so
//! do the ledger's counts. What the sink had in its hands by then may still become visible, and counts as delivered.

use super::state::{JournalState, LostRange};
use crate::SinkId;
use crate::ledger::Reasons;
use crate::stream::{NotAPrefix, Place};
use sawlog_record::id::{Cursor, Generation, PartitionId};

/// Where the losses end that hold `cursor`; `None` where none does.
pub(crate) fn end_of(ranges: &[LostRange], cursor: Cursor) -> Option<Cursor> {
    let mut at = cursor;
    while let Some((_, to, _)) = ranges.iter().find(|(from, to, _)| *from <= at && at < *to) {
        at = *to;
    }
    (at > cursor).then_some(at)
}

impl JournalState {
    /// Adds a loss; one that goes on where the last one of the same reason ends becomes part of it.
    pub(super) fn apply_lost(&mut self, sink: &SinkId, generation: Generation, range: LostRange) {
        let ranges = self.losses.entry((sink.clone(), generation)).or_default();
        match ranges.last_mut() {
            Some(last) if last.2 == range.2 && last.0 <= range.0 && range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => ranges.push(range),
        }
    }

    /// Forgets losses that their sinks' durable cursors have passed: a sink with a budget that is a little too slow makes one after the
    /// other, for as long as a history lasts.
    pub(super) fn trim_losses(&mut self) {
        let mut losses = std::mem::take(&mut self.losses);
        losses.retain(|(sink, generation), ranges| {
            let passed = self.cursor(sink, *generation);
            ranges.retain(|(_, to, _)| *to > passed);
            !ranges.is_empty()
        });
        self.losses = losses;
    }

    /// The losses of `sink` in `generation`.
    pub fn losses_of(&self, sink: &SinkId, generation: Generation) -> &[LostRange] {
        self.losses.get(&(sink.clone(), generation)).map_or(&[], Vec::as_slice)
    }

    /// Whether `sink` has given anything up in histories that are still known.
    pub fn has_losses(&self, sink: &SinkId) -> bool {
        self.losses.range((sink.clone(), Generation([0; 16]))..).next().is_some_and(|((who, _), _)| who == sink)
    }

    /// Where the loss ends in which `cursor` lies; `None` where it is not lost.
    pub fn lost_end(&self, sink: &SinkId, generation: Generation, cursor: Cursor) -> Option<Cursor> {
        end_of(self.losses_of(sink, generation), cursor)
    }

    /// The first input of `generation` that `sink` still needs.
    pub fn needed(&self, sink: &SinkId, generation: Generation) -> Cursor {
        let durable = self.cursor(sink, generation);
        self.lost_end(sink, generation, durable).unwrap_or(durable)
    }

    /// The first place of `partition` that `sink` still needs.
    pub fn needed_place(&self, sink: &SinkId, partition: PartitionId) -> Result<Place, NotAPrefix> {
        let place = self.place(sink, partition)?;
        let stream = self.partitions.get(&partition).map(|known| &known.stream);
        Ok(stream.map_or(place, |stream| stream.skip(place, |g, cursor| self.lost_end(sink, g, cursor))))
    }

    /// Positions above the durable cursor of `sink` that it has given up and not yet committed, by reason.
    pub fn pending_losses(&self, sink: &SinkId, generation: Generation) -> Reasons {
        let mut pending = Reasons::default();
        let mut ranges: Vec<&LostRange> = self.losses_of(sink, generation).iter().collect();
        ranges.sort_by_key(|(from, ..)| *from);
        let mut at = self.cursor(sink, generation);
        for (from, to, reason) in ranges {
            let from = at.max(*from);
            if *to > from {
                pending.add(reason, to.pos - from.pos);
                at = *to;
            }
        }
        pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Mark, Record};

    const G: Generation = Generation([3; 16]);

    fn lost(from: u64, to: u64, reason: &str) -> Record {
        let (from, to) = (Cursor::at(from), Cursor::at(to));
        Record::Lost { sink: SinkId::new("out"), generation: G, from, to, reason: reason.into() }
    }

    #[test]
    fn losses_that_touch_are_one_and_are_passed_over_from_within() {
        let mut state = JournalState::default();
        for record in
            [lost(10, 20, "budget"), lost(20, 30, "budget"), lost(25, 40, "input_gone"), lost(60, 70, "budget")]
        {
            state.apply(&record);
        }
        let sink = SinkId::new("out");
        assert_eq!(state.losses_of(&sink, G).len(), 3);
        assert!(state.has_losses(&sink) && !state.has_losses(&SinkId::new("other")));
        assert_eq!(state.lost_end(&sink, G, Cursor::at(9)), None);
        assert_eq!(state.lost_end(&sink, G, Cursor::at(12)), Some(Cursor::at(40)));
        assert_eq!(state.lost_end(&sink, G, Cursor::at(40)), None);
        let pending = |state: &JournalState| {
            let pending = state.pending_losses(&sink, G);
            (pending.get("budget"), pending.get("input_gone"))
        };
        assert_eq!(pending(&state), (30, 10));
        let mark = Mark::at(Cursor::at(35));
        state.apply(&Record::Cursor { sink: sink.clone(), marks: vec![(G, mark)], facts: None });
        assert_eq!(state.needed(&sink, G), Cursor::at(40));
        assert_eq!(pending(&state), (10, 5));
        state.trim();
        assert_eq!((state.losses_of(&sink, G).len(), pending(&state)), (2, (10, 5)), "the cursor lies in the second");
        state.apply(&Record::Cursor { sink: sink.clone(), marks: vec![(G, Mark::at(Cursor::at(40)))], facts: None });
        state.trim();
        assert_eq!(state.losses_of(&sink, G), [(Cursor::at(60), Cursor::at(70), "budget".to_owned())]);
        state.apply(&Record::Cursor { sink: sink.clone(), marks: vec![(G, Mark::at(Cursor::at(70)))], facts: None });
        state.trim();
        assert!(!state.has_losses(&sink));
    }
}
