//! When hours are closed: the time below which no row of a later claim will be named, carried by every claim and published once
//! all keys of the claim exist. A log without rows says so with an empty claim.

use super::ClaimLog;
use crate::claims::{Moved, raise};
use crate::mutation;

impl ClaimLog<'_> {
    /// The lowest received time, unix nanoseconds, that rows behind a claim of `moved` may have: that of what it leaves open, of
    /// what its sources have not planned yet, else the present, below which nothing will be planned.
    pub(super) fn lowest_open(&self, moved: &[Moved]) -> i64 {
        let mut after = self.passed.clone();
        raise(&mut after, moved.iter().map(|m| (m.generation, m.to.clone())));
        let feeders = self.sink.feeders();
        // Nothing is appended; the journal's time is what the next PLAN cannot fall below.
        let (planned, _) = self.sink.journal.append_with(false, |state, now| {
            let mine = |g| state.generations.get(&g).is_some_and(|known| feeders.contains_key(&known.source));
            let mut lowest = now;
            for partition in state.partitions.values().filter(|p| p.stream.generations().any(mine)) {
                let cursor = |g| after.get(&g).map_or_else(|| state.start(&self.sink.id, g), |m| m.cursor);
                let Ok(place) = state.place_by(&self.sink.id, &partition.stream, cursor) else {
                    return (Vec::new(), 0);
                };
                let open = partition.stream.iter().skip_while(|(n, _)| *n < place.entry).map(|(_, p)| p.time).min();
                lowest = lowest.min(open.unwrap_or(lowest));
            }
            (Vec::new(), lowest)
        });
        feeders.values().filter_map(|feeder| feeder.inputs.oldest_unplanned()).fold(planned, i64::min)
    }

    /// Whether an empty claim would close an hour that no claim has closed yet.
    pub(super) fn closes_an_hour(&self) -> bool {
        self.hour_of(self.lowest_open(&[])) > self.hour_of(self.closed)
    }

    fn hour_of(&self, time: i64) -> i64 {
        time.div_euclid(i64::try_from(self.sink.tuning.hour.as_nanos()).unwrap_or(i64::MAX).max(1))
    }

    /// Tells readers which hours are closed, where that has changed; only what a claim says whose keys all exist. A failure is
    /// made good after the next claim or within a minute.
    pub(super) async fn publish(&mut self) {
        if self.hour_of(self.closed) <= self.hour_of(self.published) && self.published != i64::MIN {
            return;
        }
        let closed = self.closed;
        self.sink.may_send().await;
        match self.port.publish_complete(closed).await {
            Ok(()) => self.published = closed,
            Err(error) => self.sink.note(|status| status.last_error = Some(error.to_string())),
        }
    }

    /// The `closed` of the newest claim, as the next one is to carry it on.
    pub(super) fn carried_closed(&self) -> i64 {
        if mutation::on("closed_forgotten") { 0 } else { self.closed }
    }
}
