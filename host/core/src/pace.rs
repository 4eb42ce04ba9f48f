//! How fast lanes may go where going faster would cost somebody else: planning while the journal is short of room, and catching up
//! beside lanes at the frontier. Pure decisions over numbers, and the account of who worked when.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How much of its room the journal uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Pressure {
    /// Below half.
    #[default]
    Low,
    /// Half and more: strides get longer, and a checkpoint is due.
    Half,
    /// Nine tenths and more, or a full disk: what is left is for cursors, which relieve it. Nothing new is planned.
    High,
}

/// The longest pause between two PLANs of a partition.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The pause where as many entries are kept as are usual.
const PAUSE_AT_CALM: Duration = Duration::from_millis(10);

/// How long a partition waits between two PLANs; `None`: until the journal has room again. A sink that is down keeps every entry
/// since its cursor (`kept`), in memory and in each checkpoint: strides get longer as they grow beyond `calm`, so that a long
/// outage costs little more than a short one.
pub fn pause_between_plans(pressure: Pressure, kept: u64, calm: u64) -> Option<Duration> {
    match pressure {
        Pressure::High => None,
        Pressure::Half => Some(PAUSE_MAX),
        Pressure::Low if kept < calm => Some(Duration::ZERO),
        Pressure::Low => Some(PAUSE_AT_CALM.mul_f64((kept as f64 / calm.max(1) as f64).powi(2)).min(PAUSE_MAX)),
    }
}

/// After this long without input at the frontier nobody is disturbed by lanes behind it.
const CONTENDED: Duration = Duration::from_secs(1);
/// Lanes behind the frontier may use at once what they did not use for so long.
const SAVED_MAX: Duration = Duration::from_millis(50);

/// When lanes behind the frontier may work again, `work` of theirs being done at `now`: they take at most `percent` of the time
/// of `workers`. `free_at` is what this told the last time.
pub fn free_again(free_at: Duration, now: Duration, work: Duration, percent: u8, workers: u32) -> Duration {
    let rate = f64::from(percent.clamp(1, 100)) / 100.0 * f64::from(workers.max(1));
    let began = now.saturating_sub(work);
    free_at.max(began.saturating_sub(SAVED_MAX)) + work.div_f64(rate)
}

/// Letters of this long may be handed over at once.
const LETTERS_SAVED_MAX: Duration = Duration::from_secs(1);

/// When `letters` handed over at `now` are paid for, at `per_second`; they go out then. `paid_at` is what this told the last time.
pub fn letters_paid_at(paid_at: Duration, now: Duration, letters: usize, per_second: NonZeroU32) -> Duration {
    let cost = Duration::from_secs_f64(letters as f64 / f64::from(per_second.get()));
    paid_at.max(now.saturating_sub(LETTERS_SAVED_MAX)) + cost
}

/// The account of all lanes behind the frontier, of all engines of a process.
#[derive(Debug)]
pub struct CatchUp {
    percent: AtomicU8,
    workers: u32,
    free_at: Mutex<Duration>,
    /// When a lane at the frontier last planned input, nanoseconds of the clock's elapsed time; 0 = never.
    frontier_at: AtomicU64,
}

impl CatchUp {
    /// Lanes behind the frontier may take `percent` of the time of `workers`.
    pub fn new(percent: u8, workers: u32) -> Self {
        let (percent, frontier_at) = (AtomicU8::new(percent), AtomicU64::new(0));
        Self { percent, workers, free_at: Mutex::default(), frontier_at }
    }

    /// Changes what they may take.
    pub fn set_percent(&self, percent: u8) {
        self.percent.store(percent, Ordering::Relaxed);
    }

    /// A lane at the frontier has planned input.
    pub fn note_frontier(&self, now: Duration) {
        self.frontier_at.store(now.as_nanos() as u64, Ordering::Relaxed);
    }

    /// A lane behind the frontier has worked for `work`.
    pub fn note_behind(&self, now: Duration, work: Duration) {
        let percent = self.percent.load(Ordering::Relaxed);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = free_again(*free_at, now, work, percent, self.workers);
    }

    /// Until when a lane behind the frontier has to leave the workers to those at it; `None`: it may go.
    pub fn rests_until(&self, now: Duration) -> Option<Duration> {
        let frontier_at = self.frontier_at.load(Ordering::Relaxed);
        let is_contended = frontier_at > 0 && now < Duration::from_nanos(frontier_at) + CONTENDED;
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        (is_contended && now < free_at).then_some(free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_journal_short_of_room_is_left_to_cursors() {
        assert_eq!(pause_between_plans(Pressure::Low, 9, 10), Some(Duration::ZERO));
        assert_eq!(pause_between_plans(Pressure::Half, 0, 10), Some(PAUSE_MAX));
        assert_eq!(pause_between_plans(Pressure::High, 0, 10), None);
    }

    #[test]
    fn an_outage_of_a_day_keeps_little_more_than_one_of_an_hour() {
        let kept_after = |seconds: u64, partitions: u64| {
            let (mut kept, mut now) = (0, Duration::ZERO);
            while now < Duration::from_secs(seconds) {
                kept += partitions;
                now += pause_between_plans(Pressure::Low, kept, 65_536).unwrap_or(PAUSE_MAX).max(10 * MS);
            }
            kept
        };
        assert!(kept_after(60, 1) <= 6_000, "a short one costs no latency");
        let (hour, day) = (kept_after(3_600, 1), kept_after(86_400, 1));
        assert!(hour < 170_000 && day < 500_000, "{hour} {day}");
        assert!(kept_after(3_600, 100) < 900_000);
    }

    #[test]
    fn letters_beyond_a_seconds_worth_wait_for_their_time() {
        let (rate, now) = (NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN), 3_600 * 1_000 * MS);
        assert_eq!(letters_paid_at(Duration::ZERO, now, 100, rate), now, "a second's worth goes at once");
        let paid_at = letters_paid_at(Duration::ZERO, now, 150, rate);
        assert_eq!(paid_at, now + 500 * MS);
        assert_eq!(letters_paid_at(paid_at, now + 500 * MS, 1, rate), now + 510 * MS, "and then one after the other");
        assert_eq!(
            letters_paid_at(paid_at, 2 * now, 1, rate),
            2 * now - 990 * MS,
            "what was paid long ago is forgotten"
        );
    }

    /// How long lanes behind the frontier worked in ten seconds, in steps of `step`, of which the frontier plans all the while.
    fn worked(percent: u8, workers: u32, lanes: u32, step: Duration) -> Duration {
        let catch_up = CatchUp::new(percent, workers);
        let (mut now, mut work) = (100 * MS, Duration::ZERO);
        while now < Duration::from_secs(10) {
            catch_up.note_frontier(now);
            match catch_up.rests_until(now) {
                Some(free_at) => now = free_at,
                None => {
                    now += step;
                    (0..lanes).for_each(|_| catch_up.note_behind(now, step));
                    work += step * lanes;
                }
            }
        }
        work
    }

    #[test]
    fn lanes_behind_take_no_more_of_the_workers_than_they_may() {
        for (percent, workers, lanes) in [(50, 1, 1), (50, 2, 1), (25, 4, 3), (10, 1, 1), (50, 2, 2)] {
            let allowed = Duration::from_secs(10).mul_f64(f64::from(percent) / 100.0) * workers;
            for step in [MS, 5 * MS, 40 * MS] {
                let work = worked(percent, workers, lanes, step);
                let most = allowed + SAVED_MAX * workers + step * (lanes + 1);
                assert!(
                    work <= most,
                    "{work:?} of {allowed:?}: {percent} % of {workers}, {lanes} lanes, steps of {step:?}"
                );
                let busy = allowed.min(Duration::from_secs(10) * lanes).mul_f64(0.9);
                assert!(work >= busy, "{work:?} of {allowed:?}: nor much less than that");
            }
        }
    }

    #[test]
    fn where_nobody_is_at_the_frontier_nobody_rests() {
        let catch_up = CatchUp::new(50, 1);
        let mut now = 5 * MS;
        for _ in 0..100 {
            assert_eq!(catch_up.rests_until(now), None);
            now += 10 * MS;
            catch_up.note_behind(now, 10 * MS);
        }
        catch_up.note_frontier(now);
        assert!(catch_up.rests_until(now).is_some());
        assert_eq!(catch_up.rests_until(now + CONTENDED), None);
    }
}
