//! Another component that takes a share of a plugin's records in earnest. Of a plugin without state those records whose ids a hash picks,
//! all rows of a record alike; of one with state whole partitions, because their state can be in one component's hands only. The
//! choice follows from the two components and the share alone, which the epoch names: a replay makes the same, however batches are cut.
//!
//! A record on which the candidate of a plugin without state fails is given to the plugin's own component: a trial costs no record. That is a
//! decision, so it is a verdict like any other, durable before its effect, under a number that no stage has.

use crate::apply::Columns;
use crate::plugin::Plugin;
use sawlog_record::id::{Generation, PartitionId, hash};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of the whole that a share is counted in.
const WHOLE: u32 = 1_000_000;
/// Records that the candidate must have run before it is judged by the share on which it fails …
const JUDGED_FROM: u64 = 100;
/// … unless it has failed on so many.
const FAILURES_ENOUGH: u64 = 10;

/// A share of records, in parts of a million.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    /// So many per cent; `None` below 0 and above 100.
    pub fn of_percent(percent: f64) -> Option<Self> {
        let parts = percent * f64::from(WHOLE) / 100.0;
        (0.0..=f64::from(WHOLE)).contains(&parts).then_some(Self(parts.round() as u32))
    }

    /// In per cent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) * 100.0 / f64::from(WHOLE)
    }

    /// Whether there is nothing in it.
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether what hashes so is in it: what is in a smaller share is in every larger one.
    fn takes(self, hash: [u8; 32]) -> bool {
        let [a, b, c, d, ..] = hash;
        (u64::from(u32::from_le_bytes([a, b, c, d])) * u64::from(WHOLE)) >> 32 < u64::from(self.0)
    }

    /// Whether `some` of `all` is more than it.
    fn is_exceeded(self, some: u64, all: u64) -> bool {
        u128::from(some) * u128::from(WHOLE) > u128::from(all) * u128::from(self.0)
    }
}

/// Which of a plugin's components.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Seat {
    /// Its own.
    Own,
    /// The one that takes a share.
    Candidate,
}

/// What has come of a candidate so far, in input records that were run for the first time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CanaryFigures {
    /// Records that the plugin's own component ran.
    pub own: u64,
    /// Records that the candidate ran.
    pub candidate: u64,
    /// Records on which it failed.
    pub failing: u64,
    /// How it failed on the newest of them.
    pub failure: Option<String>,
    /// Batches in which it gave something else when they were run again.
    pub disagreed: u64,
}

/// Why a component can't take a share of another's records.
#[derive(Debug, thiserror::Error)]
#[error("it can't take a share of the records: {0}")]
pub struct CanaryError(&'static str);

/// A component that takes a share of a plugin's records.
#[derive(Debug)]
pub struct Canary {
    plugin: Plugin,
    pub(crate) columns: Columns,
    share: Share,
    /// By its own routes: which of the plugin's outputs has the same name.
    outputs: Vec<Option<u8>>,
    own: AtomicU64,
    candidate: AtomicU64,
    failing: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Plugin {
    /// The same with `candidate` taking `share` of its records.
    pub fn with_canary(self, candidate: Plugin, share: Share) -> Result<Self, CanaryError> {
        if self.stateful() != candidate.stateful() {
            return Err(CanaryError("one of the two components keeps state, and the other does not"));
        }
        if candidate.registration().state_version < self.registration().state_version {
            return Err(CanaryError("its state is of an older form than that of the present component"));
        }
        let canary = Canary {
            columns: Columns::of(&candidate),
            outputs: outputs(&self.registration().routes, &candidate.registration().routes),
            plugin: candidate,
            share,
            own: AtomicU64::default(),
            candidate: AtomicU64::default(),
            failing: AtomicU64::default(),
            failure: Mutex::default(),
        };
        Ok(Self { canary: Some(Arc::new(canary)), ..self })
    }

    /// What takes a share of its records.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_deref()
    }

    /// The component in this seat; the plugin's own where nobody sits there.
    pub(crate) fn seated(&self, seat: Seat) -> &Plugin {
        match (seat, self.canary()) {
            (Seat::Candidate, Some(canary)) => &canary.plugin,
            _ => self,
        }
    }

    /// The digest under which states of a partition are kept. With a candidate it is that of both and of the share: whatever of it
    /// changes, each partition hands its state over, if only from a component to the same one.
    pub(crate) fn digest_of_state(&self) -> [u8; 32] {
        let own = self.digest().0;
        self.canary().map_or(own, |canary| {
            hash("sawlog.canary.state", &[&own, &canary.plugin.digest().0, &canary.share.0.to_le_bytes()])
        })
    }
}

impl Canary {
    /// The candidate.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Its share.
    pub fn share(&self) -> Share {
        self.share
    }

    /// What has come of it so far.
    pub fn figures(&self) -> CanaryFigures {
        CanaryFigures {
            own: self.own.load(Ordering::Relaxed),
            candidate: self.candidate.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
            failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            disagreed: self.plugin.figures().disagreed,
        }
    }

    /// Whether it gets the input at this position and slot. Journals depend on the answer: it is the same in every build.
    pub(crate) fn takes_record(&self, generation: Generation, (pos, slot): (u64, u16)) -> bool {
        let parts: [&[u8]; 4] = [&self.plugin.digest().0, &generation.0, &pos.to_le_bytes(), &slot.to_le_bytes()];
        self.share.takes(hash("sawlog.canary.record", &parts))
    }

    /// Whether it gets this partition. Journals depend on the answer: it is the same in every build.
    pub(crate) fn takes_partition(&self, partition: PartitionId) -> bool {
        self.share.takes(hash("sawlog.canary.partition", &[&self.plugin.digest().0, &partition.0]))
    }

    /// The plugin's output for the candidate's own one; `None` where the plugin has none of that name, and so nobody reads it.
    pub(crate) fn output(&self, own: u8) -> Option<u8> {
        match own.checked_sub(1) {
            None => Some(0),
            Some(route) => self.outputs.get(usize::from(route)).copied().flatten(),
        }
    }

    /// Records were run to their end by the component in this seat.
    pub(crate) fn passed(&self, seat: Seat, records: u64) {
        let count = if seat == Seat::Own { &self.own } else { &self.candidate };
        count.fetch_add(records, Ordering::Relaxed);
    }

    /// The candidate failed on records.
    pub(crate) fn failed(&self, records: u64, newest: String) {
        self.candidate.fetch_add(records, Ordering::Relaxed);
        self.failing.fetch_add(records, Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(newest);
    }
}

/// For each route of the candidate, which output has the same name.
fn outputs(own: &[String], candidate: &[String]) -> Vec<Option<u8>> {
    let output = |name: &String| own.iter().position(|route| route == name).map(|at| at as u8 + 1);
    candidate.iter().map(output).collect()
}

impl CanaryFigures {
    /// Why the candidate is to be returned from by now, where it may fail on `failing_max` of its records.
    pub fn beyond(&self, failing_max: Share) -> Option<String> {
        if self.disagreed > 0 {
            return Some("it is not deterministic: a batch gave something else when it was run again".to_owned());
        }
        let is_enough = self.candidate >= JUDGED_FROM || self.failing >= FAILURES_ENOUGH;
        (is_enough && failing_max.is_exceeded(self.failing, self.candidate)).then(|| {
            let (failing, all, most) = (self.failing, self.candidate, failing_max.percent());
            let failure = self.failure.as_deref().unwrap_or("unknown");
            format!("it fails on {failing} of {all} records, more than {most} %; the newest failure: {failure}")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn taken(percent: f64) -> Vec<u32> {
        let share = Share::of_percent(percent).unwrap();
        (0..20_000_u32).filter(|n| share.takes(hash("test", &[&n.to_le_bytes()]))).collect()
    }

    #[test]
    fn a_share_takes_so_much_and_a_larger_one_what_the_smaller_took() {
        let (none, small, large, all) = (taken(0.0), taken(5.0), taken(20.0), taken(100.0));
        assert_eq!((none.len(), all.len()), (0, 20_000));
        assert!((900..1_100).contains(&small.len()), "{}", small.len());
        assert!((3_800..4_200).contains(&large.len()), "{}", large.len());
        assert!(small.iter().all(|n| large.contains(n)));
        for wrong in [-0.1, 100.1, f64::NAN] {
            assert_eq!(Share::of_percent(wrong), None);
        }
        assert_eq!(Share::of_percent(0.25).unwrap().percent(), 0.25);
    }

    #[test]
    fn its_outputs_are_those_of_the_same_names() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = outputs(&names(&["side", "late"]), &names(&["late", "new", "side"]));
        assert_eq!(found, [Some(2), None, Some(1)]);
    }

    #[test]
    fn what_a_journal_was_written_by_is_chosen_in_every_build() {
        let chosen = |n: u8| Share::of_percent(50.0).unwrap().takes([n; 32]);
        assert_eq!((chosen(0), chosen(127), chosen(128), chosen(255)), (true, true, false, false));
    }

    #[test]
    fn at_the_bound_it_goes_on_and_beyond_it_returns_once_there_is_enough_to_go_by() {
        let beyond = |candidate, failing, percent| {
            let figures = CanaryFigures { candidate, failing, ..CanaryFigures::default() };
            figures.beyond(Share::of_percent(percent).unwrap())
        };
        assert_eq!(beyond(99, 9, 1.0), None, "too few of either");
        assert!(beyond(99, 10, 1.0).is_some_and(|why| why.contains("fails on 10 of 99")));
        assert_eq!(beyond(100, 1, 1.0), None);
        assert!(beyond(100, 2, 1.0).is_some());
        assert_eq!(beyond(100, 0, 0.0), None);
        assert!(beyond(100, 1, 0.0).is_some());
        assert_eq!(beyond(100, 100, 100.0), None);
        let doubtful = CanaryFigures { disagreed: 1, ..CanaryFigures::default() };
        assert!(doubtful.beyond(Share::of_percent(100.0).unwrap()).is_some());
    }
}
