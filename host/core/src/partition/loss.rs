//! Counted loss in one partition: input that is gone, and ranges that a sink has given up. The loss is journalled first; then the
//! sink is offered the range without its rows, so that its own commit moves its cursor and counts the loss.

use super::Partition;
use crate::SinkId;
use crate::journal::{JournalState, Mark, Record, Standing};
use crate::ledger::Counts;
use crate::plan::{Entry, Planned};
use crate::ports::Offer;
use crate::shared::{PartitionStop, Shared};
use crate::sink::{Accept, Seat, Sink};
use crate::stream::{Place, cursor_in};
use sawlog_record::batch::{Batch, Output};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::sync::Arc;

/// Why input that can't be read any more is lost.
pub(crate) const INPUT_GONE: &str = "input_gone";

impl Partition {
    /// The input at the lane's place is gone: every sink of the lane loses it, up to the next place whose state is known.
    pub(super) async fn lose(&mut self, index: usize) -> Result<(), PartitionStop> {
        let lane = self.lanes.remove(index);
        let others: Vec<Place> = self.lanes.iter().map(|other| other.place).collect();
        let end = known_state_after(&self.shared, self.id, lane.place, others).await?;
        for id in lane.sinks.clone() {
            let Some(sink) = self.shared.sink(&id) else { continue };
            let seat = {
                let state = self.shared.journal.state();
                sink.intake.seat(&state, self.id).map_err(|error| PartitionStop::Cursors { sink: id.clone(), error })?
            };
            let Some(seat) = seat else { continue };
            // A sink that was moved ahead meanwhile needs nothing of what is gone, unless its state has to come from there.
            if !self.leads_to(&lane, &seat) {
                continue;
            }
            let from = seat.next.max(lane.place);
            let to = seat.limit.map_or(end, |limit| limit.min(end));
            let parts = self.shared.stream(self.id, |stream| parts(stream, from, to, INPUT_GONE));
            self.shared.journal.commit(parts.iter().map(|p| p.lost(&id)).collect()).await?;
            for part in parts {
                let offer = part.offer(self.id, &self.shared).await;
                sink.intake.accept(offer);
            }
            self.shared.tell_end_of_history(self.id);
        }
        Ok(())
    }
}

/// Moves `sink` over what it has given up, where it stands at the beginning of that. `false` where it has no room for that now:
/// whoever asks waits until it has, also where nothing else is left to feed.
pub(super) async fn pass_losses(shared: &Shared, id: PartitionId, sink: &Sink) -> Result<bool, PartitionStop> {
    let next = || {
        let state = shared.journal.state();
        let is_due = state.has_losses(&sink.id) && !sink.is_giving_up();
        let next = is_due.then(|| next_loss(&state, id, sink)).transpose();
        next.map(Option::flatten).map_err(|error| PartitionStop::Cursors { sink: sink.id.clone(), error })
    };
    while let Some(part) = next()? {
        if !sink.intake.has_room() {
            return Ok(false);
        }
        let offer = part.offer(id, shared).await;
        // Meanwhile the sink may have begun anew, to make what a claim says, and that may have lost less.
        if next()?.as_ref() != Some(&part) || sink.intake.accept(offer) == Accept::NotHere {
            break;
        }
        shared.tell_end_of_history(id);
    }
    Ok(true)
}

/// Where the next loss begins in the entry at which the seat is: a lane that feeds it stops there, so that what is lost is passed
/// over whole.
pub(super) fn loss_ahead(state: &JournalState, id: PartitionId, sink: &Sink, seat: &Seat) -> Option<Place> {
    let stream = &state.partitions.get(&id)?.stream;
    let planned = stream.at(seat.next)?;
    let start = sink.intake.next_loss(state, planned.entry.generation(), cursor_in(planned, seat.next))?;
    (start < planned.entry.end()).then(|| stream.place_in(seat.next.entry, start))
}

/// The next part of what `sink` has given up in the partition, if that is what comes next.
fn next_loss(state: &JournalState, id: PartitionId, sink: &Sink) -> Result<Option<Part>, crate::stream::NotAPrefix> {
    let (Some(seat), Some(known)) = (sink.intake.seat(state, id)?, state.partitions.get(&id)) else { return Ok(None) };
    let stream = &known.stream;
    let lost_end = |generation, cursor| sink.intake.lost_end(state, generation, cursor);
    let of_mine = state.losses.range((sink.id.clone(), Generation([0; 16]))..).take_while(|((s, _), _)| *s == sink.id);
    // Entries that nobody needs any more may be gone from the stream, and with them their places.
    for (generation, ranges) in of_mine.map(|((_, generation), ranges)| (*generation, ranges)) {
        let Some(history) = state.generations.get(&generation).filter(|g| g.partition == id) else { continue };
        let kept = stream.iter().find(|(_, p)| p.entry.generation() == generation);
        let kept_from = kept.map_or(history.planned, |(_, p)| p.entry.start());
        let at = sink.intake.taken(generation).unwrap_or_else(|| state.start(&sink.id, generation));
        let (Some(end), Some(planned)) = (lost_end(generation, at), stream.iter().next().map(|(_, p)| p)) else {
            continue;
        };
        // Decisions at a position come before the records there: they may be gone from the stream while these are kept.
        let slots_only = kept.is_some_and(|(_, p)| !p.entry.is_empty()) && end.pos == kept_from.pos;
        let upto = if slots_only { end } else { end.min(kept_from) };
        if at < upto {
            let reason = reason_of(ranges, at);
            let (time, epoch) = (planned.time, planned.epoch);
            let planned = Planned { time, epoch, entry: Entry::Range { generation, lo: at.pos, hi: kept_from.pos } };
            let cursors = (at, upto);
            return Ok(Some(Part { planned, places: (seat.next, seat.next), cursors, reason }));
        }
    }
    let Some(planned) = stream.at(seat.next) else { return Ok(None) };
    let (generation, at) = (planned.entry.generation(), cursor_in(planned, seat.next));
    let Some(end) = lost_end(generation, at) else { return Ok(None) };
    let reached = stream.place_in(seat.next.entry, end);
    let reached = seat.limit.map_or(reached, |limit| limit.min(reached));
    let reason = reason_of(state.losses_of(&sink.id, generation), at);
    Ok(parts(stream, seat.next, reached, &reason).into_iter().next())
}

/// Why the input at `cursor` is lost.
fn reason_of(ranges: &[crate::journal::LostRange], cursor: Cursor) -> String {
    let holds = ranges.iter().find(|(from, to, _)| *from <= cursor && cursor < *to);
    holds.map_or_else(|| INPUT_GONE.to_owned(), |(.., reason)| reason.clone())
}

/// `[from, to)` entry by entry.
fn parts(stream: &crate::stream::Stream, from: Place, to: Place, reason: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = from;
    while at < to {
        let Some(planned) = stream.at(at) else { break };
        let whole = Place { entry: at.entry + 1, offset: 0 };
        let next = whole.min(to);
        let end = if next == whole { planned.entry.end() } else { cursor_in(planned, next) };
        let cursors = (cursor_in(planned, at), end);
        parts.push(Part { planned: planned.clone(), places: (at, next), cursors, reason: reason.to_owned() });
        at = next;
    }
    parts
}

/// The next place behind `place` at which a lane can go on: without state, the end of the entry; with it, where state was
/// saved or another lane stands; where there is none, behind a RESET at the frontier.
async fn known_state_after(
    shared: &Shared,
    id: PartitionId,
    place: Place,
    lanes: Vec<Place>,
) -> Result<Place, PartitionStop> {
    let known = {
        let state = shared.journal.state();
        let end_of_entry = Place { entry: place.entry + 1, offset: 0 };
        if !state.partition_is_stateful(id) {
            return Ok(end_of_entry);
        }
        // The first place behind this one, whatever it is.
        let behind = Place { offset: place.offset + 1, ..place };
        state.known_state_at(id, behind).into_iter().chain(lanes).filter(|p| *p > place).min()
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let ((), durable) = shared.journal.append_with(true, |state, time| {
        let stream = state.partitions.get(&id).map(|p| &p.stream);
        let entry = stream.and_then(|s| Some((state.next_slot(id)?, s.last()?.epoch)));
        let records = entry.map(|((generation, at), epoch)| Record::Plan {
            entries: vec![(id, Planned { time, epoch, entry: Entry::Reset { generation, at } })],
        });
        (records.into_iter().collect(), ())
    });
    shared.journal.checked(durable.await)?;
    Ok(shared.stream(id, crate::stream::Stream::frontier))
}

/// A lost part of one entry.
#[derive(PartialEq)]
struct Part {
    planned: Planned,
    /// Where it begins and ends in the stream.
    places: (Place, Place),
    /// Where it begins and ends in its generation.
    cursors: (Cursor, Cursor),
    reason: String,
}

impl Part {
    fn lost(&self, sink: &SinkId) -> Record {
        let ((from, to), reason) = (self.cursors, self.reason.clone());
        Record::Lost { sink: sink.clone(), generation: self.planned.entry.generation(), from, to, reason }
    }

    async fn offer(&self, partition: PartitionId, shared: &Shared) -> Offer {
        let generation = self.planned.entry.generation();
        let ((from, to), (cursor_from, cursor_to)) = (self.places, self.cursors);
        let counts = Counts::unread(&self.reason, cursor_to.pos - cursor_from.pos);
        // What is given up may still be there: the cursor behind it proves what it can.
        let anchor = shared.inputs.anchor(generation, cursor_to.pos).await.into();
        Offer {
            partition,
            source: shared.inputs.id.clone(),
            generation,
            from,
            to,
            cursor_from,
            mark: Mark::from(Standing { cursor: cursor_to, counts, anchor, ..Standing::default() }),
            records: 0,
            received: self.planned.time,
            time: self.planned.time,
            epoch: self.planned.epoch,
            output: Output { batch: Arc::new(Batch::new(generation)), rows: Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::claims::Marks;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::journal::{Epoch, Journal, Registration};
    use crate::lane::Lane;
    use crate::ports::SinkPort;
    use crate::shared::Tuning;
    use crate::sink::Limits;
    use crate::{EpochId, SourceId};
    use futures_util::FutureExt as _;
    use std::collections::{BTreeMap, BTreeSet};

    const PARTITION: PartitionId = PartitionId([1; 16]);
    const GENERATION: Generation = Generation([2; 16]);

    /// A lane at 20 of `[0, 100)` for two sinks, of which the first stands there and the second at `second`, within `limits`.
    fn two_on_a_lane(second: u64, limits: Option<Limits>) -> (Partition, Arc<Journal>, [SinkId; 2]) {
        let (id, generation) = (PARTITION, GENERATION);
        let (source, epoch) = (SourceId::new("app"), EpochId([3; 16]));
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let names = ["behind", "ahead"].map(SinkId::new);
        let fed = Registration { sources: BTreeSet::from([source.clone()]), ..Registration::default() };
        let sinks = names.iter().map(|name| (name.clone(), fed.clone())).collect();
        let entry = Entry::Range { generation, lo: 0, hi: 100 };
        let begun = vec![
            Record::Epoch(Epoch { id: epoch, stateful: BTreeMap::new(), blobs: Vec::new(), sinks }),
            Record::Generation { generation, partition: id, source: source.clone(), identity: [].into(), start: 0 },
            Record::Plan { entries: vec![(id, Planned { time: 1, epoch, entry })] },
        ];
        journal.commit(begun).now_or_never().unwrap().unwrap();
        let inputs = fakes::inputs(&source, &journal, &clock);
        let port = SinkPort::Documents(Arc::new(Nothing));
        let sinks =
            names.clone().map(|name| (name.clone(), fakes::sink(name.as_str(), port.clone(), &journal, &clock)));
        let at = |pos| Marks::from([(generation, Mark::at(Cursor::at(pos)))]);
        sinks[0].1.intake.reset(at(20), None);
        sinks[1].1.intake.reset(at(second), limits);
        let shared = Shared::new(
            journal.clone(),
            Arc::new(Nothing),
            inputs,
            clock,
            (Tuning::default(), std::time::Duration::ZERO),
            crate::shared::Common::default(),
            Arc::default(),
            Arc::default(),
            Arc::default(),
            Arc::default(),
            sinks.into(),
        );
        let mut partition = Partition::new(id, Arc::new(shared));
        let place = Place { entry: 0, offset: 20 };
        let mut lane = Lane::at(place, place, std::time::Duration::ZERO);
        // The second one was here too, until it learnt that it had more.
        lane.sinks.extend(names.clone());
        partition.lanes.push(lane);
        (partition, journal, names)
    }

    #[test]
    fn a_sink_that_was_moved_ahead_loses_nothing_of_what_it_can_read() {
        let (mut partition, journal, names) = two_on_a_lane(60, None);
        partition.lose(0).now_or_never().unwrap().unwrap();
        let state = journal.state();
        let whole = vec![(Cursor::at(20), Cursor::at(100), INPUT_GONE.to_owned())];
        assert_eq!(state.losses_of(&names[0], GENERATION), whole);
        assert_eq!(state.losses_of(&names[1], GENERATION), []);
    }

    #[test]
    fn a_lane_reads_nothing_for_a_sink_that_takes_nothing_from_there_on() {
        // It began anew, to make what a claim says, since the lanes were looked through.
        let ends = BTreeMap::from([(PARTITION, Place { entry: 0, offset: 20 })]);
        let (mut partition, _, names) = two_on_a_lane(0, Some(Limits { ends, lost: None }));
        assert_eq!(partition.clear_way(0).unwrap(), Some(None), "the other one is read for, without an end");
        assert_eq!(*partition.lanes[0].sinks, names[..1]);
    }

    #[test]
    fn of_two_losses_at_a_time_none_is_passed_over_before_both_are_durable() {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let sink = fakes::sink("behind", SinkPort::Documents(Arc::new(Nothing)), &journal, &clock);
        sink.set_giving_up(true);
        sink.set_giving_up(true);
        sink.set_giving_up(false);
        assert!(sink.is_giving_up(), "the other one is not durable yet");
        sink.set_giving_up(false);
        assert!(!sink.is_giving_up());
    }

    #[test]
    fn a_lane_stops_where_the_next_loss_begins() {
        let (id, generation, epoch) = (PartitionId([1; 16]), Generation([2; 16]), EpochId([3; 16]));
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let sink = fakes::sink("behind", SinkPort::Documents(Arc::new(Nothing)), &journal, &clock);
        let source = SourceId::new("app");
        let entry = |lo, hi| Planned { time: 1, epoch, entry: Entry::Range { generation, lo, hi } };
        let fed = Registration { sources: BTreeSet::from([source.clone()]), ..Registration::default() };
        let sinks = BTreeMap::from([(sink.id.clone(), fed)]);
        let lost = |from, to| (Cursor::at(from), Cursor::at(to));
        let (from, to) = lost(60, 80);
        let begun = vec![
            Record::Epoch(Epoch { id: epoch, stateful: BTreeMap::new(), blobs: Vec::new(), sinks }),
            Record::Generation { generation, partition: id, source, identity: [].into(), start: 0 },
            Record::Plan { entries: vec![(id, entry(0, 100)), (id, entry(100, 200))] },
            Record::Lost { sink: sink.id.clone(), generation, from, to, reason: INPUT_GONE.to_owned() },
        ];
        journal.commit(begun).now_or_never().unwrap().unwrap();
        let ahead = || {
            let state = journal.state();
            let seat = sink.intake.seat(&state, id).unwrap().unwrap();
            loss_ahead(&state, id, &sink, &seat).map(|place| (place.entry, place.offset))
        };
        let at = |pos| Marks::from([(generation, Mark::at(Cursor::at(pos)))]);
        sink.intake.reset(at(20), None);
        assert_eq!(ahead(), Some((0, 60)));
        sink.intake.reset(at(80), None);
        assert_eq!(ahead(), None);
        // A claim that is made again lost something else, and no more of it than it says.
        let (from, to) = lost(130, 140);
        let ends = BTreeMap::from([(id, Place { entry: 2, offset: 0 })]);
        let again = Limits { ends, lost: Some(vec![(generation, from, to)]) };
        sink.intake.reset(at(20), Some(again.clone()));
        assert_eq!(ahead(), None, "it is in the next entry");
        sink.intake.reset(at(100), Some(again));
        assert_eq!(ahead(), Some((1, 30)));
    }
}
