//! Delivery through a claim log: rows are staged, a claim fixes what will be written, then its objects are written. One claim at a
//! time; another writer's claim at our number ends it.

use super::{ClaimLog, Open};
use crate::claims::{Claim, Moved, Vector, decisions, verdicts};
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
    /// Stages, seals and writes until a claim of another writer is met, or may have come while the store was not reached.
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
            let was_out = self.sink.is_out_of_touch();
            self.known.learn(self.next, &claim.vector);
            self.closed = claim.closed;
            self.pass(&claim);
            if was_out {
                return Ok(());
            }
            self.sink.succeeded();
        }
    }

    /// Gathers rows until size, age, the number of paths or of decisions, or a flush says that they are to be sealed; or nothing, where an hour
    /// is to be closed and there are no rows.
    async fn fill(&mut self) -> Open {
        let tuning = self.sink.tuning;
        let mut open = Open::new(self.port);
        loop {
            let (offered, flush) = (self.sink.intake.offered(), self.sink.flush.listen());
            let mut offers = std::mem::take(&mut self.carried);
            offers.extend(self.sink.intake.take(&tuning));
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
                || open.decisions >= tuning.decisions_max
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
        let state = self.sink.journal.state();
        open.decisions += 1 + verdicts(&state, offer.generation, offer.cursor_from, offer.mark.cursor).count();
        drop(state);
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
                // Records begin at the first slot of their position, also behind FLUSHes that are not this sink's.
                let begins = || first.max(self.sink.journal.state().start(&self.sink.id, generation));
                let from = self.passed.get(&generation).map_or_else(begins, |m: &Mark| m.cursor);
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

    /// Creates the claim; `false` where another writer's claim has the number, or may have it: after a long outage the claims are
    /// listed first.
    async fn claim(&self, claim: &Claim) -> bool {
        loop {
            if self.sink.is_out_of_touch() {
                return false;
            }
            self.sink.may_send().await;
            match self.port.put_claim(self.next, claim).await {
                Ok(PutOutcome::Created) => return true,
                Ok(PutOutcome::Exists) => {
                    let Some(there) = self.get(self.next).await else {
                        let hidden = format!("claim {} is said to exist and can't be read", self.next);
                        self.sink.back_off(&SinkError::Unavailable(hidden)).await;
                        continue;
                    };
                    if there.attempt != claim.attempt && there.directory != claim.directory && !there.is_end() {
                        let name = |directory: &str| format!("the data directory {directory}");
                        self.sink.note_twin((name(&there.directory), name(&self.sink.facts.directory)));
                    }
                    return there.attempt == claim.attempt || mutation::on("foreign_claim_taken");
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
                self.sink.may_send().await;
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
    use crate::fakes::{self, Shelf, Waiting};
    use crate::journal::{Judge, Record, Verdict};
    use crate::ports::{Clock as _, ObjectStore, SinkPort, Staging};
    use crate::watch::{Ending, FROZEN_MAX, News};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::Batch;
    use sawlog_record::id::{Cursor, Generation};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What a store answers to claims.
    #[derive(Clone, Copy, PartialEq)]
    enum Answer {
        /// They exist, and are not shown.
        Hidden,
        /// This one of another life exists.
        Foreign,
        /// None until somebody is to come again.
        Down,
    }

    /// Answers so, and counts claims that were sent and lists that were asked for.
    struct Store {
        answer: Answer,
        claims: AtomicU32,
        lists: AtomicU32,
    }

    impl Store {
        fn new(answer: Answer) -> Arc<Self> {
            Arc::new(Self { answer, claims: AtomicU32::default(), lists: AtomicU32::default() })
        }
    }

    #[async_trait]
    impl ObjectStore for Store {
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
            self.claims.fetch_add(1, Ordering::Relaxed);
            match self.answer {
                Answer::Down => Err(SinkError::Unavailable("down".to_owned())),
                Answer::Hidden | Answer::Foreign => Ok(PutOutcome::Exists),
            }
        }
        async fn get_claim(&self, _: u64) -> Result<Option<Claim>, SinkError> {
            Ok((self.answer == Answer::Foreign).then(|| claim("theirs", "another")))
        }
        async fn list_claims(&self) -> Result<Vec<u64>, SinkError> {
            self.lists.fetch_add(1, Ordering::Relaxed);
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

    fn claim(attempt: &str, directory: &str) -> Claim {
        Claim {
            directory: directory.to_owned(),
            attempt: attempt.to_owned(),
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
        }
    }

    #[test]
    fn a_claim_is_sealed_before_it_names_more_decisions_than_it_may() {
        let generation = Generation([7; 16]);
        for (decisions_max, is_full) in [(3, true), (4, false)] {
            let (clock, shelf) = (Arc::new(Waiting::default()), Arc::new(Shelf::default()));
            let journal = fakes::journal(clock.clone());
            let mut sink = fakes::sink("objects", SinkPort::Objects(shelf.clone()), &journal, &clock);
            Arc::get_mut(&mut sink).unwrap().tuning.decisions_max = decisions_max;
            let verdict = Verdict { generation, pos: 12, slot: 0, judge: Judge::Component(1) };
            journal.commit(vec![Record::Verdict(verdict)]).now_or_never().unwrap().unwrap();
            let mut log = ClaimLog::new(&sink, shelf.as_ref());
            let offer = |from, to| fakes::offer(Batch::new(generation), Cursor::at(from), Cursor::at(to));
            log.carried = vec![offer(0, 10), offer(10, 20)];
            let open = log.fill().now_or_never();
            assert_eq!(open.map(|open| open.decisions), is_full.then_some(3));
        }
    }

    /// A sink over a store, and its clock.
    fn sink_over(store: &Arc<Store>) -> (Arc<Sink>, Arc<Waiting>) {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        (fakes::sink("objects", SinkPort::Objects(store.clone()), &journal, &clock), clock)
    }

    #[test]
    fn a_claim_that_exists_and_is_hidden_is_asked_for_with_pauses() {
        let store = Store::new(Answer::Hidden);
        let (sink, clock) = sink_over(&store);
        let (log, claim) = (ClaimLog::new(&sink, store.as_ref()), claim("mine", ""));
        let mut claiming = Box::pin(log.claim(&claim));
        for _ in 0..10 {
            assert!(claiming.as_mut().now_or_never().is_none());
        }
        assert_eq!(store.claims.load(Ordering::Relaxed), 10, "one attempt a pause");
        assert!(clock.elapsed() >= sink.tuning.backoff_min * 10, "{:?}", clock.elapsed());
        assert_eq!(sink.status().failures_in_a_row, 10);
    }

    #[test]
    fn after_a_long_outage_the_claims_are_listed_before_one_is_written() {
        let store = Store::new(Answer::Down);
        let (sink, clock) = sink_over(&store);
        let (mut log, claim) = (ClaimLog::new(&sink, store.as_ref()), claim("mine", ""));
        let mut claiming = Box::pin(log.claim(&claim));
        let is_claimed = loop {
            if let Some(is_claimed) = claiming.as_mut().now_or_never() {
                break is_claimed;
            }
            let outage = clock.elapsed();
            assert!(outage <= sink.tuning.outage_max + sink.tuning.backoff_max * 2, "it goes on after {outage:?}");
        };
        drop(claiming);
        assert!(!is_claimed && clock.elapsed() > sink.tuning.outage_max);
        assert_eq!(store.lists.load(Ordering::Relaxed), 0);
        assert!(sink.status().twin.is_none(), "nobody was met");
        log.recover().now_or_never().unwrap().unwrap();
        assert_eq!(store.lists.load(Ordering::Relaxed), 1);
        assert!(!sink.is_out_of_touch(), "the store has answered");
    }

    #[test]
    fn a_foreign_claim_at_our_number_names_both_and_the_second_ends_a_fragile_process() {
        let store = Store::new(Answer::Foreign);
        let (sink, _) = sink_over(&store);
        let (log, claim) = (ClaimLog::new(&sink, store.as_ref()), claim("mine", ""));
        let watch = sink.facts.watch.clone();
        watch.set_fragile(true);
        assert_eq!(log.claim(&claim).now_or_never(), Some(false));
        let names = ("the data directory another".to_owned(), "the data directory ".to_owned());
        assert_eq!(sink.status().twin, Some(names));
        assert!(matches!(watch.news().now_or_never(), Some(News::Met(twin)) if twin.sink == sink.id));
        assert_eq!(log.claim(&claim).now_or_never(), Some(false));
        let _second = watch.news().now_or_never();
        assert!(matches!(watch.news().now_or_never(), Some(News::End(Ending::Twins(_)))));
        assert!(log.claim(&claim).now_or_never().is_none(), "nothing is sent any more");
        assert_eq!(store.claims.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_process_that_stood_still_sends_no_claim() {
        let store = Store::new(Answer::Foreign);
        let (sink, clock) = sink_over(&store);
        let (log, claim) = (ClaimLog::new(&sink, store.as_ref()), claim("mine", ""));
        assert_eq!(log.claim(&claim).now_or_never(), Some(false));
        let stands_still = clock.sleep(FROZEN_MAX + Duration::from_secs(1));
        assert!(stands_still.now_or_never().is_none());
        assert!(log.claim(&claim).now_or_never().is_none());
        assert_eq!(store.claims.load(Ordering::Relaxed), 1);
    }
}
