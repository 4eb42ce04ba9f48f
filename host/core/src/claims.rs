//! Claims: the small numbered records that fix what an object sink is about to write, before it writes. Pure: what a claim
//! says, and how the next one follows from it.

use crate::journal::{JournalState, Judge, Mark, Standing, Verdict};
use crate::ledger::Counts;
use crate::mutation;
use crate::plan::Planned;
use sawlog_record::id::{Cursor, Generation, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One generation's part of a claim.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Moved {
    /// The history.
    pub generation: Generation,
    /// What it belongs to.
    pub partition: PartitionId,
    /// The first cursor that the claim covers: the end of what the claim before it covered.
    pub from: Cursor,
    /// Where it ends; counts are cumulative.
    pub to: Mark,
}

/// A cursor vector: every generation's mark, or only what changed since a full one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Vector {
    /// `None`: full. `Some(n)`: what changed since the full vector of claim `n`.
    pub since: Option<u64>,
    /// Marks.
    pub marks: Vec<(Generation, Mark)>,
}

/// The `closed` of a log's last claim: no row ever comes behind it.
pub const FOR_EVER: i64 = i64::MAX;

/// Claim `n` of one sink's claim log. See delivery.md §4.3.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Data directory of the writer.
    pub directory: String,
    /// One random id per seal; part of the data keys.
    pub attempt: String,
    /// Hash of the sink's destination, path and format settings.
    pub sink_epoch: String,
    /// What the claim moves.
    pub moved: Vec<Moved>,
    /// The parts of those ranges that were lost: no row of them is in the objects, and no one who finishes the claim reads them.
    #[serde(default)]
    pub lost: Vec<(Generation, Cursor, Cursor)>,
    /// The PLAN entries of those ranges, in the order of each stream.
    pub plans: Vec<(PartitionId, Planned)>,
    /// Decisions about records in those ranges.
    pub verdicts: Vec<Verdict>,
    /// Every data key, in order, with the path that it holds.
    pub keys: Vec<(String, String)>,
    /// All keys of claims below this number exist.
    pub passed: u64,
    /// Cursors at `passed`.
    pub vector: Vector,
    /// No row of a later claim has a received-time path below this, unix nanoseconds.
    pub closed: i64,
    /// The `closed` of the claim before: the lowest received time that this claim's paths show.
    pub floor: i64,
    /// The writer's clock when it sealed, unix nanoseconds; only for retention and for people.
    #[serde(default)]
    pub written: i64,
    /// A vector claim: the destination begins with these cursors, under this configuration.
    pub switch: Option<String>,
}

impl Claim {
    /// Whether it ends its log: the agent was retired, and nobody writes behind it.
    pub fn is_end(&self) -> bool {
        self.closed == FOR_EVER
    }
}

/// Cursors of one sink, by generation.
pub type Marks = BTreeMap<Generation, Mark>;

/// The newest full vector that the writer has read or written in this life.
#[derive(Clone, Debug, Default)]
pub struct KnownVector {
    /// Its claim number and content; `None` until one is known.
    pub full: Option<(u64, Marks)>,
}

impl KnownVector {
    /// The vector that claim `number` carries, given the cursors at its `passed`: full in every `full_every`-th claim, and where
    /// none is known or a generation is gone since.
    pub fn next(&self, number: u64, at_passed: &Marks, full_every: u64) -> Vector {
        match &self.full {
            Some((since, full))
                if !number.is_multiple_of(full_every) && full.keys().all(|g| at_passed.contains_key(g)) =>
            {
                let changed = at_passed.iter().filter(|(g, m)| full.get(*g) != Some(*m));
                Vector { since: Some(*since), marks: changed.map(|(g, m)| (*g, m.clone())).collect() }
            }
            _ => Vector { since: None, marks: at_passed.iter().map(|(g, m)| (*g, m.clone())).collect() },
        }
    }

    /// The number of the full vector.
    pub fn number(&self) -> Option<u64> {
        self.full.as_ref().map(|(number, _)| *number)
    }

    /// Remembers the vector of claim `number` where it is full and newer.
    pub fn learn(&mut self, number: u64, vector: &Vector) {
        if vector.since.is_none() && self.number().is_none_or(|known| known < number) {
            self.full = Some((number, vector.marks.iter().cloned().collect()));
        }
    }

    /// The whole vector that a claim means; `None` where the full one that it names is not the one known.
    pub fn resolve(&self, vector: &Vector) -> Option<Marks> {
        let mut marks = match (vector.since, &self.full) {
            (None, _) => Marks::new(),
            (Some(since), Some((number, full))) if since == *number => full.clone(),
            _ => return None,
        };
        marks.extend(vector.marks.iter().cloned());
        Some(marks)
    }
}

/// Raises marks to those of `other`: a vector never lowers a cursor.
pub fn raise(marks: &mut Marks, other: impl IntoIterator<Item = (Generation, Mark)>) {
    for (generation, mark) in other {
        match marks.get(&generation) {
            Some(have) if have.cursor >= mark.cursor => {}
            _ => {
                marks.insert(generation, mark);
            }
        }
    }
}

/// The decisions that pin the ranges of `moved`: their PLAN entries and verdicts.
pub fn decisions(state: &JournalState, moved: &[Moved]) -> (Vec<(PartitionId, Planned)>, Vec<Verdict>) {
    let mut plans = Vec::new();
    let mut verdicts = Vec::new();
    for one in moved {
        let Some(partition) = state.partitions.get(&one.partition) else { continue };
        for (_, planned) in partition.stream.iter() {
            if planned.entry.generation() == one.generation && is_within(planned, one) {
                plans.push((one.partition, planned.clone()));
            }
        }
        verdicts.extend(self::verdicts(state, one.generation, one.from, one.to.cursor).cloned());
    }
    (plans, verdicts)
}

/// Decisions about records of `[from, to]` of a generation.
pub fn verdicts(
    state: &JournalState,
    generation: Generation,
    from: Cursor,
    to: Cursor,
) -> impl Iterator<Item = &Verdict> {
    let low = Verdict { generation, pos: from.pos, slot: 0, judge: Judge::Component(0) };
    state.verdicts.range(low..).take_while(move |v| v.generation == generation && v.pos <= to.pos)
}

/// Whether the claim moves any of the entry. A range begins behind the decisions at its first position; one that is not moved may
/// not be durable yet, and a claim that named it would pass for another journal's once its writer is dead.
fn is_within(planned: &Planned, one: &Moved) -> bool {
    let (start, end) = (planned.entry.start(), planned.entry.end());
    match mutation::on("claim_names_what_follows") {
        true => end > one.from && start < one.to.cursor,
        false => planned.clone().cut_to(Some(one.from), Some(one.to.cursor)).is_some(),
    }
}

/// Adds a batch's own counts to a cumulative mark.
pub fn advance(before: Option<&Mark>, batch: &Mark) -> Mark {
    let mut counts = before.map_or_else(Counts::default, |m| m.counts.clone());
    counts.add(&batch.counts);
    Mark::from(Standing { counts, ..Standing::clone(batch) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EpochId;
    use crate::journal::Record;
    use crate::plan::Entry;

    #[test]
    fn a_claim_names_the_decisions_of_its_own_ranges_only() {
        let (generation, partition) = (Generation([1; 16]), PartitionId([2; 16]));
        let at = |pos, slot| Cursor { pos, slot };
        let entries = [
            Entry::Range { generation, lo: 0, hi: 30 },
            Entry::Flush { generation, at: at(30, 0), component: 1, now: 5 },
            Entry::Reset { generation, at: at(30, 1) },
            Entry::Range { generation, lo: 30, hi: 80 },
        ];
        let planned = entries.map(|entry| (partition, Planned { time: 1, epoch: EpochId([3; 16]), entry }));
        let mut state = JournalState::default();
        state.apply(&Record::Plan { entries: planned.to_vec() });
        let named = |from, to| {
            let to = Mark::at(to);
            decisions(&state, &[Moved { generation, partition, from, to }]).0
        };
        assert_eq!(named(at(0, 0), at(30, 0)), planned[..1]);
        assert_eq!(named(at(30, 0), at(30, 1)), planned[1..2]);
        assert_eq!(named(at(30, 0), at(30, 2)), planned[1..3], "the range behind them is not moved");
        assert_eq!(named(at(10, 0), at(40, 0)), planned[..4]);
        assert_eq!(named(at(30, 2), at(80, 0)), planned[3..]);
    }
}
