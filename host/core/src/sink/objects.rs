//! Object sinks (delivery.md §4.3): *claim, then data*. A numbered claim, created with put-if-absent, fixes what will be written
//! before it is; "exists" means adopt it; recovery makes the missing keys of claims that exist, then goes on behind them.
//!
//! ```text
//!   rows ─► staging ─► claim n ─► data keys of n ─► hint in the journal
//!                        │ exists and is not mine: drop the staging, recover from n
//! ```

use super::{Sink, Stop};
use crate::claims::{Claim, KnownVector, Marks, Moved, Vector, decisions, raise};
use crate::journal::{Mark, Record, SinkFacts};
use crate::mutation;
use crate::ports::{ObjectStore, Offer, PutOutcome, SinkError, Staging};
use crate::stream::Place;
use futures_util::future::{Either, select};
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

/// Calls until it succeeds, with pauses between.
macro_rules! retrying {
    ($sink:expr, $call:expr) => {
        loop {
            match $call.await {
                Ok(value) => break value,
                Err(error) => $sink.back_off(&error).await,
            }
        }
    };
}

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
    /// Taken, but with more paths than the open claim may name: first of the next one.
    carried: Vec<Offer>,
}

/// Rows that wait for the next claim.
struct Open {
    staging: Box<dyn Staging>,
    offers: Vec<Offer>,
    since: Option<Duration>,
}

pub(super) async fn run(sink: &Sink, port: &dyn ObjectStore) -> Result<(), Stop> {
    let (passed, known) = (Marks::new(), KnownVector::default());
    let mut log = ClaimLog { sink, port, next: 1, passed, known, closed: 0, carried: Vec::new() };
    loop {
        log.recover().await?;
        log.deliver().await?;
        sink.intake.close();
    }
}

impl ClaimLog<'_> {
    // ------------------------------------------------------------ recovery

    /// Walks the claims from the larger of the hint and the newest claim's `passed`, and makes what is missing.
    async fn recover(&mut self) -> Result<(), Stop> {
        self.passed = self.sink.journalled();
        self.carried.clear();
        let hint = self.sink.journal.state().facts.get(&self.sink.id).and_then(|f| f.next_claim);
        self.next = hint.unwrap_or(1);
        let listed = retrying!(self.sink, self.port.list_claims());
        if let Some(newest) = listed.last().copied().filter(|n| *n >= self.next || hint.is_none()) {
            self.jump(newest, &listed).await?;
        }
        while let Some(claim) = self.get(self.next).await {
            self.adopt(claim).await?;
        }
        self.sink.intake.reset(self.passed.clone(), None);
        self.sink.succeeded();
        Ok(())
    }

    /// Starts at the newest claim's `passed` where that is further than the hint.
    async fn jump(&mut self, newest: u64, listed: &[u64]) -> Result<(), Stop> {
        let Some(claim) = self.get(newest).await else { return Ok(()) };
        self.closed = self.closed.max(claim.floor);
        if let Some(since) = claim.vector.since.filter(|s| listed.contains(s))
            && let Some(full) = self.get(since).await
        {
            self.known.learn(since, &full.vector);
        }
        self.known.learn(newest, &claim.vector);
        if claim.passed <= self.next {
            return Ok(());
        }
        let marks = self.known.resolve(&claim.vector).ok_or_else(|| {
            Stop(format!(
                "claim {newest} of sink {} names the cursor vector of claim {:?}, which is gone: \
                 restore the claim, or start the sink anew with `sawlog sink forget`",
                self.sink.id, claim.vector.since
            ))
        })?;
        raise(&mut self.passed, marks);
        self.next = claim.passed;
        self.hint();
        Ok(())
    }

    /// Takes over a claim that exists: its decisions first, then its missing keys, then the cursor.
    async fn adopt(&mut self, claim: Claim) -> Result<(), Stop> {
        self.closed = self.closed.max(claim.closed);
        self.known.learn(self.next, &claim.vector);
        if claim.directory != self.sink.facts.directory {
            self.journal_decisions(&claim).await?;
        }
        if !mutation::on("claim_without_adoption") {
            let missing = self.missing(&claim).await;
            if !missing.is_empty() {
                self.make(&claim, &missing).await?;
            }
        }
        self.pass(&claim);
        Ok(())
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

    fn hint(&self) {
        let marks: Vec<_> = self.passed.iter().map(|(g, m)| (*g, m.clone())).collect();
        let facts = SinkFacts { next_claim: Some(self.next), ..SinkFacts::default() };
        self.sink.journal.hint(vec![self.sink.cursor_record(&marks, Some(facts))]);
    }

    /// PLAN entries and verdicts of another life, for what this journal has not planned yet, cut at the claim's ends.
    async fn journal_decisions(&self, claim: &Claim) -> Result<(), Stop> {
        let ends: BTreeMap<_, _> = claim.moved.iter().map(|m| (m.generation, m.to.cursor)).collect();
        let ((), durable) = self.sink.journal.append_with(true, |state, _| {
            let mut fresh = BTreeSet::new();
            let mut planned = BTreeMap::new();
            let mut records = Vec::new();
            for (partition, entry) in &claim.plans {
                let generation = entry.entry.generation();
                let known = state.generations.get(&generation).map(|g| g.planned);
                let have = *planned.entry(generation).or_insert(known);
                let Some(cut) = entry.clone().cut_to(have, ends.get(&generation).copied()) else { continue };
                planned.insert(generation, Some(cut.entry.end()));
                fresh.insert((generation, cut.entry.start().pos));
                records.push(Record::Plan { entries: vec![(*partition, cut)] });
            }
            let new = |v: &&crate::journal::Verdict| {
                fresh.iter().any(|(g, lo)| *g == v.generation && v.pos >= *lo) && !state.verdicts.contains(*v)
            };
            records.extend(claim.verdicts.iter().filter(new).cloned().map(Record::Verdict));
            (records, ())
        });
        Ok(self.sink.journal.checked(durable.await)?)
    }

    async fn missing(&self, claim: &Claim) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        for (path, key) in &claim.keys {
            if !retrying!(self.sink, self.port.exists(key)) {
                missing.push((path.clone(), key.clone()));
            }
        }
        missing
    }

    /// Has the claim's ranges fed again, exactly, and writes the keys that are missing.
    async fn make(&self, claim: &Claim, missing: &[(String, String)]) -> Result<(), Stop> {
        let limits = self.ends_of(claim)?;
        self.sink.intake.reset(self.passed.clone(), Some(limits.clone()));
        let mut open = Open { staging: self.port.stage(), offers: Vec::new(), since: None };
        let paths: Vec<String> = claim.keys.iter().map(|(path, _)| path.clone()).collect();
        open.staging.restrict(&paths);
        while !self.reached(&limits) || self.sink.intake.backlog().0 > 0 {
            let offered = self.sink.intake.offered();
            for offer in self.sink.intake.take(self.sink.tuning.batch_bytes_max) {
                self.stage(&mut open, offer, claim.floor).await;
            }
            if self.reached(&limits) {
                continue;
            }
            offered.await;
        }
        let named: BTreeSet<&String> = claim.keys.iter().map(|(path, _)| path).collect();
        if let Some(path) = open.staging.paths().iter().find(|p| !named.contains(p)) {
            return Err(Stop(format!(
                "claim {} of sink {} names no object for path {path:?} though a record in its range belongs there: \
                 the configuration under which it was made is not the one at hand",
                self.next, self.sink.id
            )));
        }
        self.put_data(&mut open, missing).await;
        Ok(())
    }

    fn reached(&self, limits: &BTreeMap<PartitionId, Place>) -> bool {
        let seats = self.sink.intake.seats();
        limits.iter().all(|(p, end)| seats.get(p).is_some_and(|s| s.next >= *end))
    }

    /// Where the claim ends in each partition that it moves.
    fn ends_of(&self, claim: &Claim) -> Result<BTreeMap<PartitionId, Place>, Stop> {
        let mut after = self.passed.clone();
        raise(&mut after, claim.moved.iter().map(|m| (m.generation, m.to.clone())));
        let state = self.sink.journal.state();
        let mut ends = BTreeMap::new();
        for moved in &claim.moved {
            let Some(partition) = state.partitions.get(&moved.partition) else { continue };
            let cursor = |g| after.get(&g).map_or_else(|| state.start(&self.sink.id, g), |m| m.cursor);
            let end = partition.stream.place_of(cursor).map_err(|e| Stop(format!("sink {}: {e}", self.sink.id)))?;
            ends.insert(moved.partition, end);
        }
        Ok(ends)
    }

    // ------------------------------------------------------------ delivery

    /// Stages, seals and writes until a claim of another writer is met.
    async fn deliver(&mut self) -> Result<(), Stop> {
        loop {
            let mut open = self.fill().await?;
            if open.offers.is_empty() {
                continue;
            }
            let claim = self.seal(&open);
            if mutation::on("claim_after_data") {
                self.put_data(&mut open, &claim.keys).await;
            }
            if !self.claim(&claim).await {
                return Ok(());
            }
            self.put_data(&mut open, &claim.keys).await;
            self.known.learn(self.next, &claim.vector);
            self.closed = claim.closed;
            self.pass(&claim);
            self.sink.succeeded();
        }
    }

    /// Gathers rows until size, age, the number of paths or a flush says that they are to be sealed.
    async fn fill(&mut self) -> Result<Open, Stop> {
        let tuning = self.sink.tuning;
        let mut open = Open { staging: self.port.stage(), offers: Vec::new(), since: None };
        loop {
            let (offered, flush) = (self.sink.intake.offered(), self.sink.flush.listen());
            let mut offers = std::mem::take(&mut self.carried);
            offers.extend(self.sink.intake.take(tuning.batch_bytes_max));
            for offer in offers {
                if self.carried.is_empty() && open.staging.fits(&offer, self.closed) {
                    self.stage(&mut open, offer, self.closed).await;
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
                return Ok(open);
            }
            let wait = tuning.roll_age_max.saturating_sub(age.unwrap_or_default());
            let wait = pin!(self.sink.clock.sleep(wait.max(Duration::from_millis(1))));
            match select(select(offered, flush), wait).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }

    async fn stage(&self, open: &mut Open, offer: Offer, floor: i64) {
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
        let (plans, verdicts) = decisions(&self.sink.journal.state(), &moved);
        let vector: Vector = self.known.next(self.next, &self.passed);
        Claim {
            directory: self.sink.facts.directory.clone(),
            attempt,
            sink_epoch: self.sink.facts.sink_epoch.clone(),
            closed: self.closed.max(self.lowest_open(&moved)),
            floor: self.closed,
            moved,
            plans,
            verdicts,
            keys,
            passed: self.next,
            vector,
            switch: None,
        }
    }

    /// The lowest received time that rows behind this claim may have: that of the first entry it leaves open, else the journal's.
    fn lowest_open(&self, moved: &[Moved]) -> i64 {
        let mut after = self.passed.clone();
        raise(&mut after, moved.iter().map(|m| (m.generation, m.to.clone())));
        let state = self.sink.journal.state();
        let mut lowest = state.time;
        for partition in state.partitions.values() {
            let cursor = |g| after.get(&g).map_or_else(|| state.start(&self.sink.id, g), |m| m.cursor);
            let Ok(place) = partition.stream.place_of(cursor) else { return 0 };
            let open = partition.stream.iter().skip_while(|(n, _)| *n < place.entry).map(|(_, p)| p.time).min();
            lowest = lowest.min(open.unwrap_or(lowest));
        }
        lowest
    }

    /// Creates the claim; `false` where another writer's claim has the number.
    async fn claim(&self, claim: &Claim) -> bool {
        loop {
            match self.port.put_claim(self.next, claim).await {
                Ok(PutOutcome::Created) => return true,
                Ok(PutOutcome::Exists) => {
                    if let Some(there) = self.get(self.next).await {
                        return there.attempt == claim.attempt;
                    }
                }
                Ok(PutOutcome::Conflict) => {
                    self.sink.back_off(&SinkError::Unavailable("conflict with a concurrent request".into())).await;
                }
                Err(error) => self.sink.back_off(&error).await,
            }
        }
    }

    /// Makes every key visible; a key that exists holds exactly these rows, because its name holds the claim's attempt.
    async fn put_data(&self, open: &mut Open, keys: &[(String, String)]) {
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

    async fn get(&self, number: u64) -> Option<Claim> {
        retrying!(self.sink, self.port.get_claim(number))
    }
}
