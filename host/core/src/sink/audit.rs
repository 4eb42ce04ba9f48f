//! The double entry behind the ledger. What a sink takes is booked on the way in, in input records as the source gave them; what
//! became of them comes back with the cursor of each commit. Both sides must agree, and what is booked but not committed is in
//! flight. It decides nothing: a difference is for a person.

use super::Sink;
use crate::claims::Marks;
use crate::journal::{JournalState, Mark};
use crate::memory::pack;
use crate::ports::Offer;
use crate::{SinkId, SourceId};
use sawlog_record::id::{Cursor, Generation};
use std::collections::{BTreeMap, VecDeque};

/// A batch that a sink has made visible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Where it came from.
    pub source: SourceId,
    /// Its input records.
    pub records: u64,
    /// When the oldest of them was received, unix nanoseconds.
    pub received: i64,
    /// When its range was planned, unix nanoseconds.
    pub planned: i64,
}

/// Hears of every batch that is durable in a sink; must return at once.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// `now` in unix nanoseconds.
    fn delivered(&self, sink: &SinkId, batch: &Delivered, now: i64);
}

/// What a sink has taken from a source since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    /// Input records; those that were taken again after a doubt count again.
    pub records: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of the batches that they came in.
    pub bytes: u64,
}

impl Flow {
    /// Adds what it took from the same source in another engine.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

struct Booked {
    end: Cursor,
    batch: Delivered,
}

/// The books of one sink. An entry a batch is kept until its commit: some 100 bytes each.
#[derive(Default)]
pub(super) struct Audit {
    /// Whether the sink stands where the books say; not while it learns that.
    open: bool,
    booked: BTreeMap<Generation, VecDeque<Booked>>,
    /// Input records that the committed counts hold.
    settled: BTreeMap<Generation, u64>,
    imbalance: BTreeMap<SourceId, i64>,
    flows: BTreeMap<SourceId, Flow>,
}

impl Audit {
    /// The sink stands at `truth`; nothing is in flight.
    pub(super) fn begin(&mut self, truth: &Marks) {
        self.open = true;
        self.booked.clear();
        self.settled = truth.iter().map(|(g, mark)| (*g, mark.counts.records())).collect();
    }

    /// The sink does not know where it stands.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.booked.clear();
    }

    /// What is kept takes no more room than it needs.
    pub(super) fn pack(&mut self) {
        pack(&mut self.settled);
    }

    pub(super) fn book(&mut self, offer: &Offer) {
        let flow = self.flows.entry(offer.source.clone()).or_default();
        flow.records += offer.records;
        flow.rows += offer.output.rows.len() as u64;
        flow.bytes += offer.output.batch.arena.len() as u64;
        let (source, records) = (offer.source.clone(), offer.records);
        let batch = Delivered { source, records, received: offer.received, planned: offer.time };
        self.booked.entry(offer.generation).or_default().push_back(Booked { end: offer.mark.cursor, batch });
    }

    /// Compares what these cumulative marks say with what was booked up to their cursors; gives the batches that they finish.
    pub(super) fn settle(&mut self, marks: &[(Generation, Mark)]) -> Vec<Delivered> {
        let mut done = Vec::new();
        if !self.open {
            return done;
        }
        for (generation, mark) in marks {
            let Some(booked) = self.booked.get_mut(generation) else { continue };
            let first = done.len();
            while let Some(one) = booked.pop_front_if(|one| one.end <= mark.cursor) {
                done.push(one.batch);
            }
            if booked.is_empty() {
                self.booked.remove(generation);
            }
            let Some(last) = done.get(first..).and_then(<[_]>::last) else { continue };
            let taken: u64 = done[first..].iter().map(|batch| batch.records).sum();
            let records = mark.counts.records();
            let before = self.settled.insert(*generation, records).unwrap_or(0);
            *self.imbalance.entry(last.source.clone()).or_default() += taken as i64 - (records as i64 - before as i64);
        }
        done
    }
}

/// What the books of a sink say of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Books {
    /// Input records that the sink holds and has not committed.
    pub in_flight: u64,
    /// Records taken and committed, less their outcomes: 0, or something is wrong.
    pub imbalance: i64,
    /// What it took since the process began.
    pub flow: Flow,
}

impl Audit {
    /// By source; what `state` holds as committed is not in flight, though the commit may be under way.
    pub(super) fn books(&self, sink: &SinkId, state: &JournalState) -> BTreeMap<SourceId, Books> {
        let mut books: BTreeMap<SourceId, Books> = BTreeMap::new();
        for (source, flow) in &self.flows {
            books.entry(source.clone()).or_default().flow = *flow;
        }
        for (source, imbalance) in &self.imbalance {
            books.entry(source.clone()).or_default().imbalance = *imbalance;
        }
        for (generation, booked) in &self.booked {
            let at = state.cursor(sink, *generation);
            for one in booked.iter().filter(|one| one.end > at) {
                books.entry(one.batch.source.clone()).or_default().in_flight += one.batch.records;
            }
        }
        books
    }
}

impl Sink {
    /// The commit of `marks`, which are cumulative, is durable.
    pub(super) fn settled(&self, marks: &[(Generation, Mark)]) {
        let done = self.intake.settle(marks);
        let Some(observer) = &self.facts.observer else { return };
        let now = self.clock.now();
        done.iter().for_each(|batch| observer.delivered(&self.id, batch, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EpochId;
    use crate::journal::Standing;
    use crate::ledger::Counts;
    use sawlog_record::batch::{Batch, Output};
    use sawlog_record::id::PartitionId;
    use std::sync::Arc;

    const G: Generation = Generation([7; 16]);

    fn offer(lo: u64, hi: u64) -> Offer {
        Offer {
            partition: PartitionId([1; 16]),
            source: SourceId::new("app"),
            generation: G,
            from: Default::default(),
            to: Default::default(),
            cursor_from: Cursor::at(lo),
            mark: Mark::at(Cursor::at(hi)),
            records: hi - lo,
            received: 5,
            time: 6,
            epoch: EpochId([0; 16]),
            output: Output { batch: Arc::new(Batch::new(G)), rows: Vec::new() },
        }
    }

    fn mark(pos: u64, delivered: u64) -> (Generation, Mark) {
        let counts = Counts { delivered, ..Counts::default() };
        (G, Mark::from(Standing { cursor: Cursor::at(pos), counts, ..Standing::default() }))
    }

    fn books(audit: &Audit) -> Books {
        let books = audit.books(&SinkId::new("out"), &JournalState::default());
        books.get(&SourceId::new("app")).copied().unwrap_or_default()
    }

    #[test]
    fn both_sides_agree_until_a_record_is_missing() {
        let mut audit = Audit::default();
        audit.begin(&Marks::from([mark(10, 10)]));
        audit.book(&offer(10, 15));
        audit.book(&offer(15, 18));
        assert_eq!((books(&audit).in_flight, books(&audit).imbalance), (8, 0));
        assert_eq!(audit.settle(&[mark(15, 15)]).len(), 1);
        assert_eq!((books(&audit).in_flight, books(&audit).imbalance), (3, 0));
        // Three were taken, two have an outcome.
        assert_eq!(audit.settle(&[mark(18, 17)]).len(), 1);
        assert_eq!((books(&audit).in_flight, books(&audit).imbalance), (0, 1));
        assert_eq!(books(&audit).flow.records, 8);
    }

    #[test]
    fn what_is_learnt_is_not_booked() {
        let mut audit = Audit::default();
        audit.book(&offer(0, 4));
        assert!(audit.settle(&[mark(4, 4)]).is_empty());
        audit.begin(&Marks::from([mark(4, 4)]));
        audit.book(&offer(4, 6));
        audit.close();
        assert!(audit.settle(&[mark(6, 6)]).is_empty());
        audit.begin(&Marks::from([mark(6, 6)]));
        audit.book(&offer(6, 9));
        audit.settle(&[mark(9, 9)]);
        assert_eq!(books(&audit).imbalance, 0);
    }
}
