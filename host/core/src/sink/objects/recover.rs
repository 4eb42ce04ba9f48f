//! Recovery of a claim log: from the newest claim back to what is certain, then forward claim by claim, making the keys that are
//! missing under the claim's own decisions. It writes no claim.

use super::{ClaimLog, Open, retrying};
use crate::claims::{Claim, Marks, Moved, raise};
use crate::journal::{Mark, Record, end_of};
use crate::ledger::Counts;
use crate::mutation;
use crate::partition::loss::INPUT_GONE;
use crate::plan::{Entry, Planned};
use crate::ports::Offer;
use crate::sink::{Limits, Stop};
use crate::stream::Place;
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

impl ClaimLog<'_> {
    /// Learns where the log ends, and takes rows from there on.
    pub(super) async fn recover(&mut self) -> Result<(), Stop> {
        self.walk().await?;
        self.sink.adopt(&self.passed).await?;
        self.sink.intake.reset(self.passed.clone(), None);
        self.sink.succeeded();
        Ok(())
    }

    /// Walks the claims from the larger of the hint and the newest claim's `passed`, and makes what is missing.
    pub(super) async fn walk(&mut self) -> Result<(), Stop> {
        self.walk_from(self.sink.journalled()).await
    }

    /// The same, by a sink that stands at `passed`.
    pub(super) async fn walk_from(&mut self, passed: Marks) -> Result<(), Stop> {
        self.passed = passed;
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
        for claim in self.ahead().await? {
            self.adopt(claim).await?;
        }
        Ok(())
    }

    /// The claims from here on. What they and those before them hold is told first: who is to make their missing keys may have
    /// to find the files by it.
    async fn ahead(&self) -> Result<Vec<Claim>, Stop> {
        let mut claims = Vec::new();
        while let Some(claim) = self.get(self.next + claims.len() as u64).await {
            self.refuse_ended(self.next + claims.len() as u64, &claim)?;
            claims.push(claim);
        }
        let mut held = self.passed.clone();
        for claim in &claims {
            raise(&mut held, claim.moved.iter().map(|m| (m.generation, m.to.clone())));
            if claim.switch.is_some() {
                raise(&mut held, claim.vector.marks.iter().cloned());
            }
            // Also what one of them holds alone, as the sink stands when it has taken over that one, need be none of our order.
            self.sink.adopt(&held).await?;
        }
        self.sink.tell_held(&held).await?;
        Ok(claims)
    }

    /// W6: claims below the hint existed with all their keys, and the newest is never deleted.
    fn refuse_lost_claims(&self, hint: Option<u64>, listed: &[u64]) -> Result<(), Stop> {
        let newest = listed.last().copied().unwrap_or(0);
        match hint.filter(|hint| newest + 1 < *hint) {
            None => Ok(()),
            Some(hint) => Err(Stop(format!(
                "sink {} lost data: claim {} was written and the newest that is there is {newest}; restore what was deleted at the \
                 destination; or give the sink up with `remove: {{ {}: forget }}`",
                self.sink.id,
                hint - 1,
                self.sink.id
            ))),
        }
    }

    /// Starts at the newest claim's `passed` where that is further than the hint.
    async fn jump(&mut self, newest: u64, listed: &[u64]) -> Result<(), Stop> {
        let Some(claim) = self.get(newest).await else { return Ok(()) };
        self.refuse_ended(newest, &claim)?;
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
                "sink {id} lost data: its claim {newest} names the cursor vector of claim {}, which is gone from the destination; \
                 restore that claim and start again, or give the sink up with `remove: {{ {id}: forget }}`",
                claim.vector.since.unwrap_or_default(),
                id = self.sink.id,
            ))
        })?;
        raise(&mut self.passed, marks);
        self.next = claim.passed;
        self.hint();
        Ok(())
    }

    /// Takes over a claim that exists: its decisions first, then its missing keys, then the cursor.
    async fn adopt(&mut self, mut claim: Claim) -> Result<(), Stop> {
        self.closed = self.closed.max(claim.closed);
        self.known.learn(self.next, &claim.vector);
        if !mutation::on("claim_without_adoption") {
            let missing = self.missing(&claim).await;
            if !missing.is_empty() {
                match self.is_own(&claim) || mutation::on("foreign_decisions_ignored") {
                    true => self.make(&mut claim, &missing).await?,
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
    async fn make(&self, claim: &mut Claim, missing: &[(String, String)]) -> Result<(), Stop> {
        let limits = self.ends_of(claim)?;
        let again = Limits { ends: limits.clone(), lost: Some(claim.lost.clone()) };
        self.sink.intake.reset(self.passed.clone(), Some(again));
        let mut open = Open::new(self.port);
        let paths: Vec<String> = claim.keys.iter().map(|(path, _)| path.clone()).collect();
        open.staging.restrict(&paths);
        while !self.sink.has_reached(&limits)? || self.sink.intake.backlog().0 > 0 {
            let offered = self.sink.intake.offered();
            for offer in self.sink.intake.take(&self.sink.tuning) {
                self.stage(&mut open, offer, claim.floor).await;
            }
            // A full intake says nothing until more of it is taken.
            if self.sink.has_reached(&limits)? || self.sink.intake.backlog().0 > 0 {
                continue;
            }
            offered.await;
        }
        self.recount(claim, &open.offers).await?;
        self.put_made(&mut open, claim, missing).await
    }

    /// What a claim promised and can't be made any more, because its input is gone meanwhile, is journalled as lost and counts as
    /// that: its own counts were taken when it was sealed.
    async fn recount(&self, claim: &mut Claim, made: &[Offer]) -> Result<(), Stop> {
        let mut lost = Vec::new();
        for moved in &mut claim.moved {
            let made: Vec<&Offer> = made.iter().filter(|offer| offer.generation == moved.generation).collect();
            let gaps = gaps(moved, &claim.plans, &made);
            let given_up = made.iter().filter(|offer| offer.is_lost() && !is_claimed_lost(&claim.lost, offer));
            let given_up: Vec<_> = given_up.map(|offer| (offer.cursor_from, offer.mark.cursor)).collect();
            if gaps.is_empty() && given_up.is_empty() {
                continue;
            }
            let mut counts =
                self.passed.get(&moved.generation).map(|mark: &Mark| mark.counts.clone()).unwrap_or_default();
            made.iter().for_each(|offer| counts.add(&offer.mark.counts));
            counts.add(&Counts::unread(INPUT_GONE, gaps.iter().map(|(from, to)| to.pos - from.pos).sum()));
            moved.to.counts = counts;
            lost.extend(gaps.into_iter().chain(given_up).map(|(from, to)| (moved.generation, from, to)));
        }
        let sink = &self.sink.id;
        let record = |(generation, from, to)| Record::Lost {
            sink: sink.clone(),
            generation,
            from,
            to,
            reason: INPUT_GONE.to_owned(),
        };
        Ok(self.sink.journal.commit(lost.into_iter().map(record).collect()).await?)
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

/// Parts of what a claim moves that nobody could feed again. Its FLUSHes are looked for one by one: records begin at the first slot
/// of their position, whether the FLUSHes there were fed or are gone.
fn gaps(moved: &Moved, plans: &[(PartitionId, Planned)], made: &[&Offer]) -> Vec<(Cursor, Cursor)> {
    let was_fed = |from: Cursor, to: Cursor| {
        let of_slots = |offer: &&&Offer| offer.is_lost() || offer.cursor_from.pos == offer.mark.cursor.pos;
        made.iter().filter(of_slots).any(|offer| offer.cursor_from <= from && to <= offer.mark.cursor)
    };
    let mut flushes = Vec::new();
    for entry in plans.iter().map(|(_, planned)| &planned.entry) {
        let (from, to) = (entry.start(), entry.end());
        let is_moved = entry.generation() == moved.generation && moved.from <= from && to <= moved.to.cursor;
        if matches!(entry, Entry::Flush { .. }) && is_moved && !was_fed(from, to) {
            flushes.push((from, to));
        }
    }
    let (mut at, mut gaps) = (moved.from, Vec::new());
    for offer in made {
        if offer.cursor_from > at {
            gaps.push((at, offer.cursor_from));
        }
        at = at.max(offer.mark.cursor);
    }
    if moved.to.cursor > at {
        gaps.push((at, moved.to.cursor));
    }
    flushes.retain(|(from, to)| !gaps.iter().any(|(begin, end)| begin <= from && to <= end));
    flushes.into_iter().chain(gaps).collect()
}

/// Whether the claim itself says that all of this is lost.
fn is_claimed_lost(lost: &[(Generation, Cursor, Cursor)], offer: &Offer) -> bool {
    let mine = lost.iter().filter(|(generation, ..)| *generation == offer.generation);
    let ranges: Vec<_> = mine.map(|(_, from, to)| (*from, *to, String::new())).collect();
    end_of(&ranges, offer.cursor_from).is_some_and(|end| end >= offer.mark.cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EpochId;
    use crate::fakes;
    use sawlog_record::batch::Batch;

    const G: Generation = Generation([1; 16]);
    const P: PartitionId = PartitionId([2; 16]);

    fn at(pos: u64, slot: u16) -> Cursor {
        Cursor { pos, slot }
    }

    /// What nobody fed again of a claim of FLUSHes at 30 and 50 and of the records between and behind them.
    fn gone(made: &[(Cursor, Cursor)]) -> Vec<(Cursor, Cursor)> {
        let flush = |pos| Entry::Flush { generation: G, at: at(pos, 0), component: 1, now: 5 };
        let range = |lo, hi| Entry::Range { generation: G, lo, hi };
        let entries = [range(10, 30), flush(30), range(30, 50), flush(50), range(50, 80), flush(80)];
        let plans = entries.map(|entry| (P, Planned { time: 1, epoch: EpochId([3; 16]), entry }));
        let to = Mark::at(at(80, 0));
        let moved = Moved { generation: G, partition: P, from: at(30, 0), to };
        let made: Vec<Offer> = made.iter().map(|(from, to)| fakes::offer(Batch::new(G), *from, *to)).collect();
        gaps(&moved, &plans, &made.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_flush_that_is_gone_is_missed_though_the_records_behind_it_are_fed() {
        let flushes = [(at(30, 0), at(30, 1)), (at(50, 0), at(50, 1))];
        let ranges = [(at(30, 0), at(50, 0)), (at(50, 0), at(80, 0))];
        assert_eq!(gone(&[flushes[0], ranges[0], flushes[1], ranges[1]]), []);
        assert_eq!(gone(&[ranges[0], flushes[1], ranges[1]]), [flushes[0]]);
        assert_eq!(gone(&[ranges[0], ranges[1]]), flushes);
        assert_eq!(gone(&[flushes[1], ranges[1]]), [ranges[0]], "what holds it is missed already");
        assert_eq!(gone(&[]), [(at(30, 0), at(80, 0))]);
    }
}
