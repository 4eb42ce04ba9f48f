//! Another component beside the one that runs: it sees the same batches, and what would come of it is compared and thrown away. It works
//! on a thread of its own, half of the time at most, and batches that it has no time for pass it by. What it shows ends it, and
//! nothing else: no trap, no memory and no slowness of it reaches a record.

mod compare;
mod work;

use crate::plugin::Plugin;
use crate::runner::{Before, Outcome, Runner};
use compare::Judge;
use sawlog_record::batch::Batch;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use work::Worker;

/// Batches that wait for it; more pass it by.
const WAITING_MAX: usize = 2;
/// Bytes of those that wait and of the one that it has, beyond which more pass it by.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Records that it must have seen before it is judged by shares of them.
const JUDGED_FROM: u64 = 100;

/// Shares of the records compared above which it ends, from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ShadowLimits {
    /// Of those on which it fails, where the present component does not.
    pub failing_max: f64,
    /// Of those of which it makes something else.
    pub differing_max: f64,
}

/// What has come of a shadow so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ShadowFigures {
    /// Batches that were compared.
    pub batches: u64,
    /// Those of them on which one of its calls failed.
    pub failing_batches: u64,
    /// Batches that were not: it had no time for them, or there was no saved state from which both begin.
    pub skipped_batches: u64,
    /// Records that were compared.
    pub records: u64,
    /// Those of them of which it made something else.
    pub differing: u64,
    /// Those of them on which it failed.
    pub failing: u64,
    /// How its newest failed call failed.
    pub failure: Option<String>,
    /// Why it ended by itself; `None` as long as it goes on.
    pub ended: Option<String>,
}

/// Why a component can't be the shadow of another.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// One keeps state and the other does not, or an older one.
    #[error("it can't be compared: {0}")]
    Unlike(&'static str),
    /// The machine has no thread for it.
    #[error("no thread can be started for it: {0}")]
    Thread(#[from] std::io::Error),
}

/// A component that runs beside another.
#[derive(Debug)]
pub struct Shadow {
    jobs: SyncSender<Job>,
    books: Arc<Books>,
}

/// What the shadow and its thread share.
#[derive(Debug, Default)]
struct Books {
    waiting_bytes: AtomicUsize,
    skipped: AtomicU64,
    figures: Mutex<ShadowFigures>,
}

/// A batch as the present component got it, and what that made of it.
#[derive(Debug)]
struct Job {
    batch: Batch,
    /// Rows with a journalled verdict, ascending: no component sees them again.
    judged: Vec<u32>,
    outcome: Outcome,
    before: Before,
    input: String,
    source: String,
    time: i64,
    watermark: Option<i64>,
}

/// A batch that the shadow has room for, before the present component has run it.
pub(crate) struct Place {
    shadow: Arc<Shadow>,
    before: Before,
    watermark: Option<i64>,
}

/// Where a batch comes from: the component and the source by their names, and the PLAN's time, unix nanoseconds.
pub(crate) struct Origin<'a> {
    pub input: &'a str,
    pub source: &'a str,
    pub time: i64,
}

impl Shadow {
    /// Begins to run `candidate` beside `present`.
    pub(crate) fn begin(present: &Plugin, candidate: Plugin, limits: ShadowLimits) -> Result<Self, ShadowError> {
        if present.stateful() != candidate.stateful() {
            return Err(ShadowError::Unlike("one of the two components keeps state, and the other does not"));
        }
        if candidate.registration().state_version < present.registration().state_version {
            return Err(ShadowError::Unlike("its state is of an older form than that of the present component"));
        }
        let (jobs, received) = sync_channel(WAITING_MAX);
        let books = Arc::new(Books::default());
        let worker = Worker::new(Judge::between(present, &candidate), candidate, limits, books.clone());
        std::thread::Builder::new().name("plugin shadow".to_owned()).spawn(move || worker.run(&received))?;
        Ok(Self { jobs, books })
    }

    /// What has come of it so far.
    pub(crate) fn figures(&self) -> ShadowFigures {
        let figures = self.books.lock().clone();
        ShadowFigures { skipped_batches: self.books.skipped.load(Ordering::Relaxed), ..figures }
    }

    /// A place for the batch that `runner` runs next; `None` where it passes the shadow by.
    pub(crate) fn place(self: &Arc<Self>, runner: &Runner) -> Option<Place> {
        if self.books.lock().ended.is_some() {
            return None;
        }
        let has_room = self.books.waiting_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX;
        let Some(before) = has_room.then(|| runner.before()).flatten() else {
            self.books.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(Place { shadow: self.clone(), before, watermark: runner.watermark() })
    }
}

impl Place {
    /// Has the shadow run `batch` some time, of which the present component made `outcome`. `judged` are rows with a verdict.
    pub(crate) fn take(self, batch: &Batch, judged: &[u32], outcome: &Outcome, origin: &Origin) {
        let books = &self.shadow.books;
        let bytes = batch.arena.len();
        let job = Job {
            batch: batch.clone(),
            judged: judged.to_vec(),
            outcome: outcome.clone(),
            before: self.before,
            input: origin.input.to_owned(),
            source: origin.source.to_owned(),
            time: origin.time,
            watermark: self.watermark,
        };
        books.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.shadow.jobs.try_send(job).is_err() {
            books.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            books.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, ShadowFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, found: ShadowFigures) {
        let mut sum = self.lock();
        sum.batches += found.batches;
        sum.failing_batches += found.failing_batches;
        sum.records += found.records;
        sum.differing += found.differing;
        sum.failing += found.failing;
        sum.failure = found.failure.or(sum.failure.take());
    }
}

impl ShadowFigures {
    /// Why it is to end, by now.
    fn beyond(&self, limits: ShadowLimits) -> Option<String> {
        let is_beyond =
            |records: u64, share: f64| self.records >= JUDGED_FROM && records as f64 > share * self.records as f64;
        let percent = |share: f64| share * 100.0;
        if is_beyond(self.failing, limits.failing_max) {
            let (failing, all, most) = (self.failing, self.records, percent(limits.failing_max));
            let failure = self.failure.as_deref().unwrap_or("unknown");
            return Some(format!(
                "it fails on {failing} of {all} records, more than {most} %; the newest failure: {failure}"
            ));
        }
        is_beyond(self.differing, limits.differing_max).then(|| {
            let (differing, all, most) = (self.differing, self.records, percent(limits.differing_max));
            format!("it makes something else of {differing} of {all} records, more than {most} %")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_from_enough_records_on_and_at_the_limit_it_goes_on() {
        let limits = ShadowLimits { failing_max: 0.01, differing_max: 0.5 };
        let of = |records, failing, differing| {
            ShadowFigures { records, failing, differing, ..ShadowFigures::default() }.beyond(limits)
        };
        assert_eq!(of(99, 99, 0), None);
        assert_eq!(of(100, 1, 50), None);
        assert!(of(100, 2, 0).is_some_and(|why| why.contains("fails on 2 of 100")));
        assert!(of(100, 1, 51).is_some_and(|why| why.contains("something else of 51 of 100")));
    }
}
