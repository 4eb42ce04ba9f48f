//! Recovery of a claim log: from the newest claim back to what is certain, then forward claim by claim, making the keys that are
//! missing under the claim's own decisions. It writes no claim.

use super::{ClaimLog, Open, retrying};
use crate::claims::{Claim, raise};
use crate::mutation;
use crate::sink::Stop;
use crate::stream::Place;
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

impl ClaimLog<'_> {
    /// Walks the claims from the larger of the hint and the newest claim's `passed`, and makes what is missing.
    pub(super) async fn recover(&mut self) -> Result<(), Stop> {
        self.passed = self.sink.journalled();
        self.carried.clear();
        let hint = self.sink.journal.state().facts.get(&self.sink.id).and_then(|f| f.next_claim);
        self.next = hint.unwrap_or(1);
        let listed = retrying!(self.sink, self.port.list_claims());
        self.refuse_lost_claims(hint, &listed)?;
        self.oldest = (listed.first().copied().unwrap_or(self.next), None);
        if hint.is_none() && !listed.is_empty() {
            // A first claim whose hint was lost looks the same, and is none the worse for it.
            self.sink.note_adopted().await?;
        }
        if let Some(newest) = listed.last().copied() {
            self.jump(newest, &listed).await?;
        }
        while let Some(claim) = self.get(self.next).await {
            self.adopt(claim).await?;
        }
        self.sink.adopt(&self.passed).await?;
        self.sink.intake.reset(self.passed.clone(), None);
        self.sink.succeeded();
        Ok(())
    }

    /// W6: claims below the hint existed with all their keys, and the newest is never deleted.
    fn refuse_lost_claims(&self, hint: Option<u64>, listed: &[u64]) -> Result<(), Stop> {
        let newest = listed.last().copied().unwrap_or(0);
        match hint.filter(|hint| newest + 1 < *hint) {
            None => Ok(()),
            Some(hint) => Err(Stop(format!(
                "sink {} lost data: claim {} was written and the newest that is there is {newest}; restore what was deleted at the \
                 destination; where the destination was changed, change it back, or give the sink a new name and drain the old one; \
                 or give the sink up with `remove: {{ {}: forget }}`",
                self.sink.id,
                hint - 1,
                self.sink.id
            ))),
        }
    }

    /// Starts at the newest claim's `passed` where that is further than the hint.
    async fn jump(&mut self, newest: u64, listed: &[u64]) -> Result<(), Stop> {
        let Some(claim) = self.get(newest).await else { return Ok(()) };
        // What is behind us in full closes hours by its own word, what is not by its predecessor's.
        self.closed = self.closed.max(if newest < self.next { claim.closed } else { claim.floor });
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
                 restore the claim, or give the sink up with `remove: {{ NAME: forget }}`",
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
        if !mutation::on("claim_without_adoption") {
            let missing = self.missing(&claim).await;
            if !missing.is_empty() {
                match self.is_own(&claim) {
                    true => self.make(&claim, &missing).await?,
                    false => self.make_foreign(&claim, &missing).await?,
                }
            }
        }
        self.pass(&claim);
        Ok(())
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
        self.put_made(&mut open, claim, missing).await
    }

    /// Writes what was made again, if the claim names a key for every row of it: no row is ever dropped.
    pub(super) async fn put_made(
        &self,
        open: &mut Open,
        claim: &Claim,
        missing: &[(String, String)],
    ) -> Result<(), Stop> {
        let named: BTreeSet<&String> = claim.keys.iter().map(|(path, _)| path).collect();
        if let Some(path) = open.staging.paths().iter().find(|p| !named.contains(p)) {
            return Err(Stop(format!(
                "claim {} of sink {} names no object for path {path:?} though a record in its range belongs there: \
                 the configuration under which it was made is not the one at hand",
                self.next, self.sink.id
            )));
        }
        self.put_data(open, missing).await;
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
            let end = state.place_by(&self.sink.id, &partition.stream, cursor);
            let end = end.map_err(|e| Stop(format!("sink {}: {e}", self.sink.id)))?;
            ends.insert(moved.partition, end);
        }
        Ok(ends)
    }
}
