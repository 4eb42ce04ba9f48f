//! Object sinks (delivery.md §4.3): *claim, then data*. A numbered claim, created with put-if-absent, fixes what will be written
//! before it is; "exists" means adopt it; recovery makes the missing keys of claims that exist, then goes on behind them.
//!
//! ```text
//!   rows ─► staging ─► claim n ─► data keys of n ─► hint in the journal
//!                        │ exists and is not mine: drop the staging, recover from n
//! ```

mod deliver;
mod foreign;
mod hours;
mod recover;
mod retain;
mod vector;

use super::{Sink, Stop, retrying};
use crate::claims::{Claim, KnownVector, Marks, raise};
use crate::journal::SinkFacts;
use crate::mutation;
use crate::ports::{ObjectStore, Offer, Staging};
use sawlog_record::time::write_rfc3339;
use std::time::Duration;

pub(super) use vector::{begin_again, switch};

/// One life of a claim log.
struct ClaimLog<'a> {
    sink: &'a Sink,
    port: &'a dyn ObjectStore,
    /// Number of the next claim.
    next: u64,
    /// Cursors behind the last claim whose keys all exist.
    passed: Marks,
    known: KnownVector,
    /// The `closed` of the newest claim, unix nanoseconds.
    closed: i64,
    /// The last `closed` that was published in this life, unix nanoseconds.
    published: i64,
    /// The lowest claim that may still be there, and when it was written where that is known, unix nanoseconds.
    oldest: (u64, Option<i64>),
    /// Taken, but with more paths than the open claim may name: first of the next one.
    carried: Vec<Offer>,
}

/// Rows that wait for the next claim.
struct Open {
    staging: Box<dyn Staging>,
    offers: Vec<Offer>,
    /// At least so many decisions pin them.
    decisions: usize,
    since: Option<Duration>,
}

impl Open {
    fn new(port: &dyn ObjectStore) -> Self {
        Self { staging: port.stage(), offers: Vec::new(), decisions: 0, since: None }
    }
}

pub(super) async fn run(sink: &Sink, port: &dyn ObjectStore) -> Result<(), Stop> {
    let mut log = ClaimLog::new(sink, port);
    loop {
        log.recover().await?;
        log.deliver().await?;
        sink.intake.close();
    }
}

impl<'a> ClaimLog<'a> {
    fn new(sink: &'a Sink, port: &'a dyn ObjectStore) -> Self {
        Self {
            sink,
            port,
            next: 1,
            passed: Marks::new(),
            known: KnownVector::default(),
            closed: 0,
            published: i64::MIN,
            oldest: (1, None),
            carried: Vec::new(),
        }
    }

    fn pass(&mut self, claim: &Claim) {
        raise(&mut self.passed, claim.moved.iter().map(|m| (m.generation, m.to.clone())));
        if claim.switch.is_some() {
            raise(&mut self.passed, claim.vector.marks.iter().cloned());
        }
        for generation in self.sink.dropped(&self.passed) {
            self.passed.remove(&generation);
        }
        self.next += 1;
        self.hint();
        let moved = claim.moved.iter().filter_map(|m| Some((m.generation, self.passed.get(&m.generation)?.clone())));
        self.sink.settled(&moved.collect::<Vec<_>>());
    }

    /// Not before the journal knows where the sink delivers: it would take the sink for one that goes on, and no longer begin it.
    fn hint(&self) {
        if !self.sink.has_arrived() {
            return;
        }
        let marks: Vec<_> = self.passed.iter().map(|(g, m)| (*g, m.clone())).collect();
        let facts = SinkFacts { next_claim: Some(self.next), ..SinkFacts::default() };
        self.sink.journal.hint(vec![self.sink.cursor_record(&marks, Some(facts))]);
    }

    async fn get(&self, number: u64) -> Option<Claim> {
        retrying!(self.sink, self.port.get_claim(number))
    }

    /// Nothing is written behind a claim that ends the log: readers take every hour of it for closed.
    fn refuse_ended(&self, number: u64, claim: &Claim) -> Result<(), Stop> {
        if !claim.is_end() || mutation::on("end_written_over") {
            return Ok(());
        }
        let mut at = Vec::new();
        write_rfc3339(claim.written, &mut at);
        Err(Stop(format!(
            "sink {}: this agent's id was retired by `sawlog agent retire` at {} (claim {number}): readers take every hour of it for \
             complete, and nothing more may come under it; give the agent another `agent.id` and an empty `data_dir`: what is still \
             there is sent under that id from its beginning",
            self.sink.id,
            String::from_utf8_lossy(&at),
        )))
    }
}
