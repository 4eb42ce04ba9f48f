//! Vector claims (delivery.md §4.7): a log that goes on elsewhere begins there with every cursor, one above the newest claim that
//! is listed. So its number is taken from whatever request of an earlier stay is still under way, and nothing below is ever looked
//! at again.

use super::{ClaimLog, retrying};
use crate::claims::{Claim, Marks, Vector};
use crate::journal::SinkFacts;
use crate::mutation;
use crate::ports::{ObjectStore, PutOutcome, SinkError};
use crate::sink::{Sink, Stop};

/// Finishes the old log and begins the new one behind it: the cursors, and what SWITCH says of the new log.
pub(in crate::sink) async fn switch(
    sink: &Sink,
    old: &dyn ObjectStore,
    new: &dyn ObjectStore,
) -> Result<(Marks, SinkFacts), Stop> {
    let mut log = ClaimLog::new(sink, old);
    if mutation::on("switch_before_passed") {
        log.passed = sink.journalled();
    } else {
        log.walk().await?;
    }
    log.publish().await;
    sink.intake.close();
    let mut there = ClaimLog { passed: log.passed, closed: log.closed, ..ClaimLog::new(sink, new) };
    let (marks, facts) = there.begin().await?;
    sink.adopt(&marks).await?;
    Ok((marks, facts))
}

/// A sink that was at this place before, under the same name: it finishes what it claimed then, and goes on behind that, with these
/// cursors. `None` where it never was.
pub(in crate::sink) async fn begin_again(
    sink: &Sink,
    port: &dyn ObjectStore,
    marks: &Marks,
) -> Result<Option<(Marks, SinkFacts)>, Stop> {
    if retrying!(sink, port.list_claims()).is_empty() {
        return Ok(None);
    }
    let mut log = ClaimLog::new(sink, port);
    log.walk_from(marks.clone()).await?;
    log.begin().await.map(Some)
}

impl ClaimLog<'_> {
    async fn begin(&mut self) -> Result<(Marks, SinkFacts), Stop> {
        self.put_vector().await?;
        let facts = SinkFacts { next_claim: Some(self.next + 1), ..SinkFacts::default() };
        Ok((std::mem::take(&mut self.passed), facts))
    }

    /// Writes the vector claim; `next` is its number then. One that says the same, of an attempt whose answer was lost, is as good.
    async fn put_vector(&mut self) -> Result<(), Stop> {
        loop {
            let newest = retrying!(self.sink, self.port.list_claims()).last().copied();
            self.next = newest.map_or(1, |newest| newest + 1);
            if mutation::on("vector_skipped") {
                self.next -= 1;
                return Ok(());
            }
            if let Some(newest) = newest
                && let Some(claim) = self.get(newest).await
            {
                self.refuse_ended(newest, &claim)?;
                if self.learns(newest, &claim) {
                    self.next = newest;
                    return Ok(());
                }
            }
            let claim = self.vector();
            self.sink.may_send().await;
            match self.port.put_claim(self.next, &claim).await {
                Ok(PutOutcome::Created) => return Ok(()),
                // Perhaps it is this one: the next look tells, or the one after it where a listing lags behind.
                Ok(PutOutcome::Exists) => {
                    let hidden = format!("claim {} exists and was not listed", self.next);
                    self.sink.back_off(&SinkError::Unavailable(hidden)).await;
                }
                Ok(PutOutcome::Conflict) => {
                    let conflict = "conflict with a concurrent request".to_owned();
                    self.sink.back_off(&SinkError::Unavailable(conflict)).await;
                }
                Err(error) => self.sink.back_off(&error).await,
            }
        }
    }

    /// Raises what it knows to what the newest claim there says; tells whether that is a vector claim of this switch.
    fn learns(&mut self, number: u64, claim: &Claim) -> bool {
        self.known.learn(number, &claim.vector);
        self.closed = self.closed.max(claim.closed);
        let there = self.known.resolve(&claim.vector).unwrap_or_default();
        let is_mine = claim.switch.is_some() && claim.directory == self.sink.facts.directory;
        if is_mine && mutation::on("stale_vector_taken") {
            self.passed = there;
            return true;
        }
        self.sink.raise_known(&mut self.passed, there.clone());
        // One of an earlier stay may hold the same cursors and know less of the hours that are closed.
        is_mine && there == self.passed && claim.closed == self.closed
    }

    fn vector(&self) -> Claim {
        Claim {
            directory: self.sink.facts.directory.clone(),
            attempt: format!("{:016x}", self.sink.clock.nonce()),
            sink_epoch: self.sink.facts.sink_epoch.clone(),
            moved: Vec::new(),
            lost: Vec::new(),
            plans: Vec::new(),
            verdicts: Vec::new(),
            keys: Vec::new(),
            passed: self.next,
            vector: Vector { since: None, marks: self.passed.iter().map(|(g, mark)| (*g, mark.clone())).collect() },
            closed: self.closed,
            floor: self.closed,
            written: self.sink.clock.now(),
            switch: Some(self.sink.facts.sink_epoch.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Shelf, Waiting};
    use crate::journal::Mark;
    use crate::ports::SinkPort;
    use futures_util::FutureExt as _;
    use sawlog_record::id::{Cursor, Generation};
    use std::sync::Arc;

    /// Claim 7 of an earlier life: it closes hours below 50, and one of its objects, of an hour above 40, is not there.
    fn unfinished(sink: &Sink, port: &dyn ObjectStore) -> Claim {
        let vector = ClaimLog::new(sink, port).vector();
        let keys = ["here", "missing"].map(|key| (format!("hour={key}"), key.to_owned())).to_vec();
        Claim { directory: "lost".to_owned(), keys, passed: 7, closed: 50, floor: 40, switch: None, ..vector }
    }

    #[test]
    fn a_sink_that_is_added_again_finishes_what_it_claimed_before_it_says_that_all_of_it_is_there() {
        let shelf = Arc::new(Shelf::default());
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let sink = fakes::sink("lake", SinkPort::Objects(shelf.clone()), &journal, &clock);
        shelf.claims.lock().unwrap().insert(7, unfinished(&sink, shelf.as_ref()));
        shelf.asked.lock().unwrap().push("data here".to_owned());
        let starts = Marks::from([(Generation([1; 16]), Mark::at(Cursor::at(30)))]);
        let begun = begin_again(&sink, shelf.as_ref(), &starts).now_or_never().unwrap().unwrap();
        let (marks, facts) = begun.unwrap();
        assert_eq!((&marks, facts.next_claim), (&starts, Some(9)));
        assert_eq!(*shelf.asked.lock().unwrap(), ["data here", "data missing", "claim 8"]);
        let said = shelf.claims.lock().unwrap()[&8].clone();
        assert_eq!((said.passed, said.floor, said.closed), (8, 50, 50), "hours below 50 are closed from here on");
        assert!(journal.state().cursors.get(&sink.id).is_none_or(Marks::is_empty), "a crash here begins it again");
    }
}
