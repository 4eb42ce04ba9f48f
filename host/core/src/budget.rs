//! How far a sink may fall behind, and what it gives up then: the oldest of what is planned and what it has not been given. Pure:
//! the facts are the journal's state and where the sinks stand; the effect is LOST records.
//!
//! `block` sinks give nothing up. Where the room of an input is used up, `drop_oldest` sinks give up what holds it, but never
//! what a blocking sink holds all the same.

use crate::SinkId;
use crate::SourceId;
use crate::journal::{JournalState, Record};
use crate::plan::Planned;
use crate::stream::{Place, cursor_in};
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Why a sink gives up what is beyond its budget.
pub const REASON: &str = "budget";

/// How far a sink may fall behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Positions (bytes of files and queues, offsets of Kafka partitions) that may be planned and not yet given to it.
    pub bytes_max: u64,
    /// How long ago the oldest of them may have been planned.
    pub age_max: Option<Duration>,
}

/// A sink that gives up what is beyond its budget, and where it stands.
#[derive(Clone, Debug)]
pub struct Stand {
    /// Which.
    pub sink: SinkId,
    /// How far it may fall behind.
    pub budget: Budget,
    /// Where it is fed next: what lies before is in its hands. Empty where it takes nothing: then its durable cursors say it.
    pub fed: BTreeMap<PartitionId, Place>,
}

/// A part of one entry that a sink still needs.
struct Open<'a> {
    planned: &'a Planned,
    from: Place,
    end: Place,
}

impl Open<'_> {
    fn bytes(&self) -> u64 {
        self.planned.entry.len() - self.from.offset
    }

    fn lost(&self, sink: &SinkId, reason: &str) -> Record {
        Record::Lost {
            sink: sink.clone(),
            generation: self.planned.entry.generation(),
            from: cursor_in(self.planned, self.from),
            to: self.planned.entry.end(),
            reason: reason.to_owned(),
        }
    }
}

/// What `sink` needs of a partition from `at_least` on, entry by entry. Nothing where its cursors make no sense.
fn open<'a>(state: &'a JournalState, sink: &SinkId, partition: PartitionId, at_least: Place) -> Vec<Open<'a>> {
    let (Ok(needed), Some(known)) = (state.needed_place(sink, partition), state.partitions.get(&partition)) else {
        return Vec::new();
    };
    let (mut at, mut open) = (needed.max(at_least), Vec::new());
    let end = state.end_of_drain(sink, partition);
    while let Some(planned) = known.stream.at(at).filter(|_| end.is_none_or(|end| at < end)) {
        let next = known.stream.skip(at, |generation, cursor| state.lost_end(sink, generation, cursor));
        if next > at {
            at = next;
            continue;
        }
        let next = Place { entry: at.entry + 1, offset: 0 };
        open.push(Open { planned, from: at, end: next });
        at = next;
    }
    open
}

/// Partitions whose records a sink answers for.
fn partitions<'a>(state: &'a JournalState, sink: &'a SinkId) -> impl Iterator<Item = PartitionId> + 'a {
    let is_fed = |partition: &PartitionId| state.source_of(*partition).is_none_or(|source| state.feeds(source, sink));
    state.partitions.keys().copied().filter(is_fed).filter(|partition| state.takes(sink, *partition))
}

/// What a sink gives up because it is too much or too old: the oldest entries of all partitions, until the rest is in bounds.
/// `now` in unix nanoseconds.
pub fn overdue(state: &JournalState, stand: &Stand, now: i64) -> Vec<Record> {
    let fed = |partition: PartitionId| stand.fed.get(&partition).copied().unwrap_or_default();
    let mut behind: Vec<Open<'_>> =
        partitions(state, &stand.sink).flat_map(|p| open(state, &stand.sink, p, fed(p))).collect();
    // Stable: entries of one partition stay in the order of its stream.
    behind.sort_by_key(|open| open.planned.time);
    let mut bytes: u64 = behind.iter().map(Open::bytes).sum();
    let age_max = stand.budget.age_max.map(|age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    let is_old = |open: &Open<'_>| age_max.is_some_and(|age| open.planned.time < now.saturating_sub(age));
    let mut lost = Vec::new();
    for open in &behind {
        if bytes <= stand.budget.bytes_max && !is_old(open) {
            break;
        }
        bytes -= open.bytes();
        lost.push(open.lost(&stand.sink, REASON));
    }
    lost
}

/// What the sinks of `stands` give up so that `bytes` of what `source` keeps for its sinks can go. Where a blocking sink holds the
/// same, or where state is kept at no place ahead, nothing would be won, and nothing is given up.
pub fn make_room(state: &JournalState, stands: &[Stand], source: &SourceId, bytes: u64) -> Vec<Record> {
    let yielding: BTreeSet<&SinkId> = stands.iter().map(|stand| &stand.sink).collect();
    let mine: Vec<PartitionId> =
        state.partitions.keys().copied().filter(|p| state.source_of(*p).is_some_and(|s| s == source)).collect();
    let share = bytes.div_ceil(mine.len().max(1) as u64);
    let mut lost = Vec::new();
    for partition in mine {
        let Some(target) = room_at(state, &yielding, partition, share) else { continue };
        for stand in stands.iter().filter(|stand| state.feeds(source, &stand.sink)) {
            let given_up = open(state, &stand.sink, partition, Place::default());
            lost.extend(given_up.iter().filter(|open| open.end <= target).map(|open| open.lost(&stand.sink, REASON)));
        }
    }
    lost
}

/// Up to where sinks give way in `partition` to free `bytes`; `None` where that frees nothing.
fn room_at(state: &JournalState, yielding: &BTreeSet<&SinkId>, partition: PartitionId, bytes: u64) -> Option<Place> {
    let stream = &state.partitions.get(&partition)?.stream;
    let needed = |sink: &SinkId| state.needed_place(sink, partition).unwrap_or_default();
    let lowest = state.sinks_of(partition).map(needed).min()?;
    let blocked = state.sinks_of(partition).filter(|sink| !yielding.contains(sink)).map(needed).min();
    let most = blocked.unwrap_or_else(|| stream.frontier()).min(stream.frontier());
    let (mut at, mut freed) = (lowest, 0);
    while freed < bytes && at < most {
        freed += stream.at(at).map_or(0, |planned| planned.entry.len() - at.offset);
        at = Place { entry: at.entry + 1, offset: 0 };
    }
    let target = match state.partition_is_stateful(partition) {
        true => state.known_state_at(partition, at)?,
        false => at,
    };
    (target <= most && target > lowest).then_some(target)
}

/// What `sink` has not delivered of everything that is planned in `partition`.
pub fn undelivered_of(state: &JournalState, sink: &SinkId, partition: PartitionId, reason: &str) -> Vec<Record> {
    open(state, sink, partition, Place::default()).iter().map(|open| open.lost(sink, reason)).collect()
}

/// What `sink` has not delivered of everything that is planned, and of what was read before it was added: where nobody knows yet
/// what of that can be read, all of it.
pub fn undelivered(state: &JournalState, sink: &SinkId, reason: &str) -> Vec<Record> {
    let planned = partitions(state, sink).flat_map(|partition| undelivered_of(state, sink, partition, reason));
    let unread = state.unread_histories(sink).into_iter().map(|(generation, from, to)| {
        let from = state.lost_end(sink, generation, from).unwrap_or(from);
        Record::Lost { sink: sink.clone(), generation, from, to, reason: reason.to_owned() }
    });
    let is_any = |lost: &Record| matches!(lost, Record::Lost { from, to, .. } if from < to);
    state.begin_waiting(sink).into_iter().chain(planned).chain(unread.filter(is_any)).collect()
}
