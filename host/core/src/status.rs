//! What an operator asks of delivery: the ledger, how far behind each sink and source is. Questions to the journal's state and to
//! the inputs; they change nothing.

use crate::input::Inputs;
use crate::journal::JournalState;
use crate::ledger::Counts;
use crate::reload;
use crate::{SinkId, SourceId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the journal holds of one sink and source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Input records with an outcome, since the sink began, and what it has given up.
    pub counts: Counts,
    /// Positions (bytes of a file or queue, offsets of a Kafka partition) that are planned, or to be read for the sink because it was
    /// added, and that it has not finished. Of a sink that drains, those that it is still to deliver.
    pub behind: u64,
    /// Of the records with an outcome, those that came again because a person said so.
    pub repeated: u64,
}

/// The ledger as far as it is committed, and what is given up for good: by sink and source, of sinks that are gone too.
pub fn settled(state: &JournalState) -> BTreeMap<(SinkId, SourceId), Settled> {
    let mut ledger: BTreeMap<(SinkId, SourceId), Settled> = BTreeMap::new();
    for (key, counts) in &state.base_counts {
        ledger.entry(key.clone()).or_default().counts.add(counts);
    }
    for (key, records) in &state.repeats.settled {
        ledger.entry(key.clone()).or_default().repeated += records;
    }
    for sink in state.sinks() {
        for (generation, known) in state.generations.iter().filter(|(_, known)| state.feeds(&known.source, sink)) {
            let line = ledger.entry((sink.clone(), known.source.clone())).or_default();
            let given_up = state.pending_losses(sink, *generation);
            let planned = || reload::end_for(state, sink, *generation, known.planned).pos;
            let end = state.end_of_part(*generation).unwrap_or_else(planned);
            let behind = end.saturating_sub(state.cursor(sink, *generation).pos);
            line.behind += behind.saturating_sub(given_up.sum());
            line.counts.add(&Counts { lost_bytes: given_up, ..Counts::default() });
            if let Some(mark) = state.cursors.get(sink).and_then(|c| c.get(generation)) {
                line.counts.add(&mark.counts);
                state.note_repeated(sink, *generation, mark.counts.records(), line);
            }
        }
    }
    ledger
}

/// How much of a source is known, in positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Partitions.
    pub partitions: usize,
    /// Generations: files, shards, Kafka partitions.
    pub generations: usize,
    /// Positions that are planned, from the beginnings of the generations that are known.
    pub planned: u64,
    /// Positions that can be read and are not planned.
    pub unplanned: u64,
}

impl Progress {
    /// Adds what another engine knows of the same source.
    pub fn add(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.generations += other.generations;
        self.planned += other.planned;
        self.unplanned += other.unplanned;
    }
}

/// How far `inputs` have been planned.
pub fn progress(state: &JournalState, inputs: &Inputs) -> Progress {
    let partitions = inputs.partitions();
    let mut progress = Progress { partitions: partitions.len(), ..Progress::default() };
    for (generation, end) in partitions.into_iter().flat_map(|partition| inputs.readable(partition)) {
        let begins = state.repeat(generation).map_or(0, |repeat| repeat.from);
        let planned = state.generations.get(&generation).map_or(begins, |known| known.planned.pos);
        progress.generations += 1;
        progress.planned += planned - begins;
        progress.unplanned += end.saturating_sub(planned);
    }
    progress
}

/// How checkpoints fare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoints {
    /// How many were kept since the process began.
    pub kept: u64,
    /// When the last one was durable, or was last found to hold everything, in the clock's elapsed time.
    pub at: Option<Duration>,
    /// How long it took.
    pub took: Duration,
    /// How many failed.
    pub failures: u64,
}

impl Checkpoints {
    /// The two as one: the older of the newest ones, the longer time, and the counts of both.
    pub fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.failures += other.failures;
        self.at = self.at.into_iter().chain(other.at).min();
        self.took = self.took.max(other.took);
    }
}

/// What lanes at the frontier have read of a source since the process began, and which sinks kept them waiting.
#[derive(Debug, Default)]
pub struct Figures {
    records: AtomicU64,
    bytes: AtomicU64,
    waited: Mutex<BTreeMap<SinkId, Duration>>,
    held_up: Mutex<BTreeMap<HeldUp, Duration>>,
    lanes: Mutex<Lanes>,
}

/// What keeps lanes from going on, other than a sink.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HeldUp {
    /// No room in memory to read into.
    Memory,
    /// The journal is short of room.
    Journal,
    /// Lanes behind the frontier have had their part of the workers.
    CatchUp,
}

impl HeldUp {
    /// The word for it, in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Journal => "journal",
            Self::CatchUp => "catch_up",
        }
    }
}

/// Lanes of a partition, or of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lanes {
    /// At the frontier: they plan what comes.
    pub at_frontier: usize,
    /// Behind it: each re-reads for sinks that were full or down.
    pub behind: usize,
}

impl Lanes {
    /// Adds those of another partition.
    pub fn add(&mut self, other: Self) {
        self.at_frontier += other.at_frontier;
        self.behind += other.behind;
    }
}

impl Figures {
    /// A batch was planned.
    pub fn planned(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A lane waited for a full sink.
    pub fn waited(&self, sink: &SinkId, time: Duration) {
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        *waited.entry(sink.clone()).or_default() += time;
    }

    /// A partition was held up by something that is no sink.
    pub fn held_up(&self, by: HeldUp, time: Duration) {
        *self.held_up.lock().unwrap_or_else(PoisonError::into_inner).entry(by).or_default() += time;
    }

    /// How long partitions were held up, by what; several add up.
    pub fn hold_ups(&self) -> BTreeMap<HeldUp, Duration> {
        self.held_up.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A partition that had `before` has `lanes` now; one that rests, or is over, has none.
    pub fn change_lanes(&self, before: Lanes, lanes: Lanes) {
        let mut all = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        all.add(lanes);
        all.at_frontier = all.at_frontier.saturating_sub(before.at_frontier);
        all.behind = all.behind.saturating_sub(before.behind);
    }

    /// Lanes of all partitions that run.
    pub fn lanes(&self) -> Lanes {
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records and bytes that were planned.
    pub fn received(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// How long lanes waited, by the sink that was full; lanes of several partitions add up.
    pub fn backpressure(&self) -> BTreeMap<SinkId, Duration> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EpochId;
    use crate::journal::{Epoch, Mark, Record, Registration, Standing};
    use crate::plan::{Entry, Planned};
    use sawlog_record::id::{Cursor, Generation, PartitionId};

    const EPOCH: EpochId = EpochId([1; 16]);
    /// Of the source `app`, and of the source `more`, of which the sink `out` takes nothing.
    const APP: Generation = Generation([1; 16]);
    const MORE: Generation = Generation([2; 16]);

    fn of(source: &str, generation: Generation) -> Record {
        let (source, partition) = (SourceId::new(source), PartitionId(generation.0));
        Record::Generation { generation, partition, source, identity: [7].into(), start: 0 }
    }

    fn planned(generation: Generation, lo: u64, hi: u64) -> Record {
        let planned = Planned { time: 1, epoch: EPOCH, entry: Entry::Range { generation, lo, hi } };
        Record::Plan { entries: vec![(PartitionId(generation.0), planned)] }
    }

    fn delivered(sink: &str, upto: u64, records: u64) -> Record {
        let counts = Counts { delivered: records, ..Counts::default() };
        let mark = Mark::from(Standing { cursor: Cursor::at(upto), counts, ..Standing::default() });
        Record::Cursor { sink: SinkId::new(sink), marks: vec![(APP, mark)], facts: None }
    }

    /// The sink `out`, fed by `app`, and `second`, fed by both; where `second` is to end, it drains.
    fn epoch(until: Option<BTreeMap<Generation, Cursor>>) -> Record {
        let sources = |names: &[&str]| names.iter().map(|name| SourceId::new(name)).collect();
        let out = Registration { starts: BTreeMap::new(), until: None, sources: sources(&["app"]) };
        let second = Registration { starts: BTreeMap::new(), until, sources: sources(&["app", "more"]) };
        let sinks = BTreeMap::from([(SinkId::new("out"), out), (SinkId::new("second"), second)]);
        Record::Epoch(Epoch { id: EPOCH, stateful: BTreeMap::new(), blobs: Vec::new(), sinks })
    }

    fn line(state: &JournalState, sink: &str, source: &str) -> Option<(u64, u64)> {
        let line = settled(state).remove(&(SinkId::new(sink), SourceId::new(source)))?;
        Some((line.counts.delivered, line.behind))
    }

    /// What comes after a removed sink's end is nothing that it owes, and its line stays when it is gone.
    #[test]
    fn a_sink_that_drains_is_behind_by_what_it_is_still_to_deliver_and_stays_in_the_ledger() {
        let mut state = JournalState::default();
        let begin = [epoch(None), of("app", APP), planned(APP, 0, 100), delivered("second", 40, 4)];
        begin.iter().for_each(|record| state.apply(record));
        assert_eq!(line(&state, "second", "app"), Some((4, 60)));
        state.apply(&epoch(Some(BTreeMap::from([(APP, Cursor::at(100))]))));
        for record in [planned(APP, 100, 500), of("more", MORE), planned(MORE, 0, 70)] {
            state.apply(&record);
        }
        assert_eq!((line(&state, "second", "app"), line(&state, "out", "app")), (Some((4, 60)), Some((0, 500))));
        assert_eq!(line(&state, "second", "more"), Some((0, 0)), "it began behind its end");
        state.apply(&delivered("second", 100, 10));
        assert_eq!(line(&state, "second", "app"), Some((10, 0)));
        state.apply(&Record::Removed { sink: SinkId::new("second") });
        assert_eq!(line(&state, "second", "app"), Some((10, 0)), "the ledger is for good");
        assert_eq!(line(&state, "second", "more"), None, "nothing ever became of it");
    }

    #[test]
    fn a_sink_has_no_line_of_a_source_that_does_not_feed_it() {
        let mut state = JournalState::default();
        [epoch(None), of("app", APP), of("more", MORE), planned(MORE, 0, 70)].iter().for_each(|r| state.apply(r));
        assert_eq!((line(&state, "out", "more"), line(&state, "second", "more")), (None, Some((0, 70))));
    }
}
