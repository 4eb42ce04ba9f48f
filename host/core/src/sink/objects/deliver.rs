//! Delivery through a claim log: rows are staged, a claim fixes what will be written, then its objects are written. One claim at a
//! time; another writer's claim at our number ends it.

use super::{ClaimLog, Open};
use crate::claims::{Claim, Moved, Vector, decisions};
use crate::journal::Mark;
use crate::mutation;
use crate::ports::{Offer, PutOutcome, SinkError};
use crate::sink::{Sink, Stop};
use futures_util::future::{Either, select};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

/// Looks per hour of a sink without rows.
const IDLE_LOOKS: u32 = 120;

impl ClaimLog<'_> {
    /// Stages, seals and writes until a claim of another writer is met.
    pub(super) async fn deliver(&mut self) -> Result<(), Stop> {
        loop {
            self.publish().await;
            self.delete_old().await;
            let mut open = self.fill().await;
            let claim = self.seal(&open);
            if mutation::on("claim_after_data") {
                self.put_data(&mut open, &claim.keys).await;
            }
            if !self.claim(&claim).await {
                return Ok(());
            }
            if mutation::on("complete_before_keys") {
                self.closed = claim.closed;
                self.publish().await;
            }
            self.put_data(&mut open, &claim.keys).await;
            self.known.learn(self.next, &claim.vector);
            self.closed = claim.closed;
            self.pass(&claim);
            self.sink.succeeded();
        }
    }

    /// Gathers rows until size, age, the number of paths or a flush says that they are to be sealed; or nothing, where an hour
    /// is to be closed and there are no rows.
    async fn fill(&mut self) -> Open {
        let tuning = self.sink.tuning;
        let mut open = Open { staging: self.port.stage(), offers: Vec::new(), since: None };
        loop {
            let (offered, flush) = (self.sink.intake.offered(), self.sink.flush.listen());
            let mut offers = std::mem::take(&mut self.carried);
            offers.extend(self.sink.intake.take(tuning.batch_bytes_max));
            for offer in offers {
                if self.carried.is_empty() && open.staging.fits(&offer, self.carried_closed()) {
                    self.stage(&mut open, offer, self.carried_closed()).await;
                } else {
                    self.carried.push(offer);
                }
            }
            let age = open.since.map(|since| self.sink.clock.elapsed().saturating_sub(since));
            let is_full = open.staging.bytes() >= tuning.roll_bytes_max
                || open.staging.paths().len() >= tuning.paths_max
                || !self.carried.is_empty();
            let is_due = age.is_some_and(|age| age >= tuning.roll_age_max || self.sink.flushes());
            if is_full || is_due {
                return open;
            }
            // A full intake says nothing until more of it is taken.
            if self.sink.intake.backlog().0 > 0 {
                continue;
            }
            // Idle, it looks twice a minute whether an hour is over.
            let wait = age.map_or(tuning.hour / IDLE_LOOKS, |age| tuning.roll_age_max.saturating_sub(age));
            let wait = pin!(self.sink.clock.sleep(wait.max(Duration::from_millis(1))));
            let is_idle = matches!(select(select(offered, flush), wait).await, Either::Right(_)) && age.is_none();
            if is_idle && self.closes_an_hour() {
                return open;
            }
            if is_idle {
                self.publish().await;
            }
        }
    }

    pub(super) async fn stage(&self, open: &mut Open, offer: Offer, floor: i64) {
        open.since.get_or_insert_with(|| self.sink.clock.elapsed());
        while let Err(error) = open.staging.add(&offer, floor) {
            self.sink.back_off(&error).await;
        }
        open.offers.push(offer);
    }

    /// What the next claim says.
    fn seal(&self, open: &Open) -> Claim {
        let mut firsts = BTreeMap::new();
        for offer in &open.offers {
            firsts.entry(offer.generation).or_insert((offer.partition, offer.cursor_from));
        }
        let moved: Vec<Moved> = Sink::moved(&self.passed, &open.offers)
            .into_iter()
            .filter_map(|(generation, to)| {
                let (partition, first) = firsts.get(&generation).copied()?;
                let from = self.passed.get(&generation).map_or(first, |m: &Mark| m.cursor);
                Some(Moved { generation, partition, from, to })
            })
            .collect();
        let attempt = format!("{:016x}", self.sink.clock.nonce());
        let keys = open.staging.paths().into_iter().enumerate().map(|(i, path)| {
            let key = self.port.data_key(&path, self.next, &attempt, i);
            (path, key)
        });
        let keys = keys.collect();
        let given_up = open.offers.iter().filter(|offer| offer.is_lost());
        let lost = given_up.map(|offer| (offer.generation, offer.cursor_from, offer.mark.cursor)).collect();
        let (plans, verdicts) = decisions(&self.sink.journal.state(), &moved);
        let vector: Vector = self.known.next(self.next, &self.passed, self.sink.tuning.full_vector_every);
        Claim {
            directory: self.sink.facts.directory.clone(),
            attempt,
            sink_epoch: self.sink.facts.sink_epoch.clone(),
            closed: self.closed.max(self.lowest_open(&moved)),
            floor: self.carried_closed(),
            written: self.sink.clock.now(),
            moved,
            lost,
            plans,
            verdicts,
            keys,
            passed: self.next,
            vector,
            switch: None,
        }
    }

    /// Creates the claim; `false` where another writer's claim has the number.
    async fn claim(&self, claim: &Claim) -> bool {
        loop {
            match self.port.put_claim(self.next, claim).await {
                Ok(PutOutcome::Created) => return true,
                Ok(PutOutcome::Exists) => {
                    let Some(there) = self.get(self.next).await else {
                        let hidden = format!("claim {} is said to exist and can't be read", self.next);
                        self.sink.back_off(&SinkError::Unavailable(hidden)).await;
                        continue;
                    };
                    if there.attempt != claim.attempt && there.directory != claim.directory && !there.is_end() {
                        self.sink.note_twin(&there.directory);
                    }
                    return there.attempt == claim.attempt;
                }
                Ok(PutOutcome::Conflict) => {
                    self.sink.back_off(&SinkError::Unavailable("conflict with a concurrent request".into())).await;
                }
                Err(error) => self.sink.back_off(&error).await,
            }
        }
    }

    /// Makes every key visible; a key that exists holds exactly these rows, because its name holds the claim's attempt.
    pub(super) async fn put_data(&self, open: &mut Open, keys: &[(String, String)]) {
        let staged: BTreeSet<String> = open.staging.paths().into_iter().collect();
        for (path, key) in keys.iter().filter(|(path, _)| staged.contains(path)) {
            loop {
                match self.port.put_data(open.staging.as_mut(), path, key).await {
                    Ok(PutOutcome::Created | PutOutcome::Exists) => break,
                    Ok(PutOutcome::Conflict) if mutation::on("conflict_is_exists") => break,
                    Ok(PutOutcome::Conflict) => {
                        self.sink.back_off(&SinkError::Unavailable("conflict with a concurrent request".into())).await;
                    }
                    Err(error) => self.sink.back_off(&error).await,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::claims::{KnownVector, Marks};
    use crate::fakes::{self, Waiting};
    use crate::ports::{Clock as _, ObjectStore, SinkPort, Staging};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Says that claims exist and does not show them.
    #[derive(Default)]
    struct Hiding(AtomicU32);

    #[async_trait]
    impl ObjectStore for Hiding {
        async fn place(&self) -> Result<String, SinkError> {
            Ok("here".to_owned())
        }
        fn stage(&self) -> Box<dyn Staging> {
            unreachable!("nothing is staged")
        }
        fn data_key(&self, _: &str, _: u64, _: &str, _: usize) -> String {
            String::new()
        }
        async fn put_claim(&self, _: u64, _: &Claim) -> Result<PutOutcome, SinkError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(PutOutcome::Exists)
        }
        async fn get_claim(&self, _: u64) -> Result<Option<Claim>, SinkError> {
            Ok(None)
        }
        async fn list_claims(&self) -> Result<Vec<u64>, SinkError> {
            Ok(Vec::new())
        }
        async fn delete_claim(&self, _: u64) -> Result<(), SinkError> {
            Ok(())
        }
        async fn put_data(&self, _: &mut dyn Staging, _: &str, _: &str) -> Result<PutOutcome, SinkError> {
            Ok(PutOutcome::Exists)
        }
        async fn exists(&self, _: &str) -> Result<bool, SinkError> {
            Ok(false)
        }
        async fn publish_complete(&self, _: i64) -> Result<(), SinkError> {
            Ok(())
        }
    }

    #[test]
    fn a_claim_that_exists_and_is_hidden_is_asked_for_with_pauses() {
        let (clock, store) = (Arc::new(Waiting::default()), Arc::new(Hiding::default()));
        let journal = fakes::journal(clock.clone());
        let sink = fakes::sink("objects", SinkPort::Objects(store.clone()), &journal, &clock);
        let log = ClaimLog {
            sink: &sink,
            port: store.as_ref(),
            next: 1,
            passed: Marks::new(),
            known: KnownVector::default(),
            closed: 0,
            published: 0,
            oldest: (1, None),
            carried: Vec::new(),
        };
        let claim = Claim {
            directory: String::new(),
            attempt: "mine".to_owned(),
            sink_epoch: String::new(),
            moved: Vec::new(),
            lost: Vec::new(),
            plans: Vec::new(),
            verdicts: Vec::new(),
            keys: Vec::new(),
            passed: 1,
            vector: Vector::default(),
            closed: 0,
            floor: 0,
            written: 0,
            switch: None,
        };
        let mut claiming = Box::pin(log.claim(&claim));
        for _ in 0..10 {
            assert!(claiming.as_mut().now_or_never().is_none());
        }
        assert_eq!(store.0.load(Ordering::Relaxed), 10, "one attempt a pause");
        assert!(clock.elapsed() >= sink.tuning.backoff_min * 10, "{:?}", clock.elapsed());
        assert_eq!(sink.status().failures_in_a_row, 10);
    }
}
