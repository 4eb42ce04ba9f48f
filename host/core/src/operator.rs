//! What a person says about delivery: that input is given up, or delivered again, or that a partition goes on under other
//! conditions than those it was planned under. Each is journalled with what it costs. Pure: facts in, records out.

use crate::budget;
use crate::journal::{JournalState, Record, Repeat};
use crate::plan::{Entry, Planned};
use crate::{EpochId, SinkId, SourceId};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use serde::{Deserialize, Serialize};

/// Why a sink lost what a person had it forget.
pub const FORGOTTEN: &str = "forgotten";

/// Why sinks lost what a person had a source skip.
pub const SKIPPED: &str = "skipped";
/// Why sinks lost what needed state that a person gave up.
pub const STATE_DISCARDED: &str = "state_discarded";

/// The verb that ends what an agent's id holds in the sinks.
const RETIRE: &str = "agent retire";

/// An agent's id was retired.
pub fn retire(agent: &str, time: i64) -> Record {
    let (verb, arguments) = (RETIRE.to_owned(), agent.to_owned());
    Record::Operator(Operator { time, verb, arguments, ranges: Vec::new() })
}

/// When the id `agent` was retired by the words in this journal, unix nanoseconds; `None` where it was not.
pub fn retired(state: &JournalState, agent: &str) -> Option<i64> {
    let mut said = state.later.operators.iter();
    said.find(|said| said.verb == RETIRE && said.arguments == agent).map(|said| said.time)
}

/// How it is told that a source delivers input again.
pub const AGAIN: &str = "source seek --accept-duplicates";

/// How a partition goes on that has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resume {
    /// What was planned under a configuration that is gone runs under the present one: outputs may differ from those that sinks
    /// have of it.
    AcceptSkew,
    /// Plugins begin with fresh state behind everything that is planned; sinks lose what they have not delivered of it.
    DiscardState,
}

/// Where a source goes on reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// In the newest history of the partition, at this position.
    Position(u64),
    /// Behind everything that can be read now.
    End,
    /// At the oldest input that can be read still.
    Oldest,
}

/// What a person said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operator {
    /// When, unix nanoseconds of the journal's time.
    pub time: i64,
    /// The verb, as it is typed: `sink forget`.
    pub verb: String,
    /// What it was said of, and how.
    pub arguments: String,
    /// What it cost: what which sink loses, or is sent again, of which history, from where to where.
    pub ranges: Vec<(SinkId, Generation, Cursor, Cursor)>,
}

/// Positions in lost ranges.
pub fn positions(lost: &[Record]) -> u64 {
    ranges(lost).iter().map(|(.., from, to)| to.pos - from.pos).sum()
}

/// The ranges of LOST records, those that touch as one.
fn ranges(lost: &[Record]) -> Vec<(SinkId, Generation, Cursor, Cursor)> {
    let mut ranges: Vec<(SinkId, Generation, Cursor, Cursor)> = Vec::new();
    for record in lost {
        let Record::Lost { sink, generation, from, to, .. } = record else { continue };
        match ranges.iter_mut().rev().find(|(s, g, ..)| s == sink && g == generation) {
            Some(last) if last.2 <= *from && *from <= last.3 => last.3 = last.3.max(*to),
            _ => ranges.push((sink.clone(), *generation, *from, *to)),
        }
    }
    ranges
}

/// A sink gives up `lost`.
pub fn forget(sink: &SinkId, lost: Vec<Record>, time: i64) -> Vec<Record> {
    let (verb, arguments, ranges) = ("sink forget".to_owned(), sink.to_string(), ranges(&lost));
    let mut records = vec![Record::Operator(Operator { time, verb, arguments, ranges })];
    records.extend(lost);
    vec![Record::Together(records)]
}

/// Entries of `partition` under `missing` run under the present configuration.
pub fn accept_skew(state: &JournalState, partition: PartitionId, missing: EpochId, time: i64) -> Vec<Record> {
    let Some(present) = state.epoch() else { return Vec::new() };
    let (verb, arguments) = ("partition resume --accept-skew".to_owned(), format!("{partition} {missing:?}"));
    let said = Operator { time, verb, arguments, ranges: Vec::new() };
    let skew = Record::Skew { partition, from: missing, to: present.id };
    vec![Record::Together(vec![Record::Operator(said), skew])]
}

/// Fresh state behind everything that is planned in `partition`, and what its sinks lose by it. Also gives back how many positions
/// that are.
pub fn discard_state(state: &JournalState, partition: PartitionId, time: i64) -> (Vec<Record>, u64) {
    let (Some(present), Some((generation, at))) = (state.epoch(), state.next_slot(partition)) else {
        return (Vec::new(), 0);
    };
    let sinks: Vec<SinkId> = state.sinks_of(partition).cloned().collect();
    let undelivered = |sink| budget::undelivered_of(state, sink, partition, STATE_DISCARDED);
    let mut lost: Vec<Record> = sinks.iter().flat_map(undelivered).collect();
    lost.extend(sinks.iter().map(|sink| past_reset(sink, generation, at, STATE_DISCARDED)));
    let positions = positions(&lost);
    let (verb, arguments, ranges) =
        ("partition resume --discard-state".to_owned(), partition.to_string(), ranges(&lost));
    let mut records = vec![Record::Operator(Operator { time, verb, arguments, ranges })];
    let entry = Entry::Reset { generation, at };
    records.push(Record::Plan { entries: vec![(partition, Planned { time, epoch: present.id, entry })] });
    records.extend(lost);
    (vec![Record::Together(records)], positions)
}

/// Input that a source is to skip: all of a history up to a position.
#[derive(Clone, Copy, Debug)]
pub struct Skip<'a> {
    /// The source.
    pub source: &'a SourceId,
    /// The partition.
    pub partition: PartitionId,
    /// The history.
    pub generation: Generation,
    /// The first position that is read again.
    pub to: u64,
}

/// Plans what is skipped, which every sink loses; what depends on it in plugins begins fresh behind it.
pub fn skip(state: &JournalState, sinks: &[SinkId], skip: &Skip<'_>, time: i64) -> Vec<Record> {
    let (Some(present), Some(known)) = (state.epoch(), state.generations.get(&skip.generation)) else {
        return Vec::new();
    };
    let (generation, from, to) = (skip.generation, known.planned, Cursor::at(skip.to));
    let planned = |entry| (skip.partition, Planned { time, epoch: present.id, entry });
    let mut entries = vec![planned(Entry::Range { generation, lo: from.pos, hi: skip.to })];
    let range = |sink: &SinkId| lost(sink, generation, (from, to), SKIPPED);
    let mut lost: Vec<Record> = sinks.iter().map(range).collect();
    if !present.stateful.is_empty() || state.partition_is_stateful(skip.partition) {
        entries.push(planned(Entry::Reset { generation, at: to }));
        lost.extend(sinks.iter().map(|sink| past_reset(sink, generation, to, SKIPPED)));
    }
    let arguments = format!("{} --partition {} --to {}", skip.source, skip.partition, skip.to);
    let said = Operator { time, verb: "source seek".to_owned(), arguments, ranges: ranges(&lost) };
    let mut records = vec![Record::Operator(said), Record::Plan { entries }];
    records.extend(lost);
    vec![Record::Together(records)]
}

/// Input that is to be delivered again: of `repeat.of`, under a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// Its own name, which no history ever had.
    pub generation: Generation,
    /// What it consists of.
    pub repeat: Repeat,
}

/// All of `again` comes to `sinks` again; what it is said of is `arguments`.
pub fn again(sinks: &[SinkId], arguments: String, again: &[Again], time: i64) -> Vec<Record> {
    if again.is_empty() {
        return Vec::new();
    }
    let range = |one: &Again| (one.repeat.of, Cursor::at(one.repeat.from), Cursor::at(one.repeat.to));
    let ranges =
        sinks.iter().flat_map(|sink| again.iter().map(range).map(|(of, from, to)| (sink.clone(), of, from, to)));
    let said = Operator { time, verb: AGAIN.to_owned(), arguments, ranges: ranges.collect() };
    let begins = again.iter().map(|one| Record::Repeat { generation: one.generation, repeat: one.repeat });
    vec![Record::Together(std::iter::once(Record::Operator(said)).chain(begins).collect())]
}

fn lost(sink: &SinkId, generation: Generation, (from, to): (Cursor, Cursor), reason: &str) -> Record {
    Record::Lost { sink: sink.clone(), generation, from, to, reason: reason.to_owned() }
}

/// The RESET itself: whoever has lost what lies before it passes over it too.
fn past_reset(sink: &SinkId, generation: Generation, at: Cursor, reason: &str) -> Record {
    lost(sink, generation, (at, Cursor { slot: at.slot + 1, ..at }), reason)
}
