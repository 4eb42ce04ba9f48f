//! Whether the loop of `run` still turns: what `/livez` goes by. It knows nothing of what the loop does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two beats of a loop that has nothing to do.
pub const BEAT: Duration = Duration::from_secs(5);
/// A loop that has stood still for so long does not come back by itself.
const STILL_MAX: Duration = Duration::from_secs(60);
/// A reload or a verb may keep the loop so long; then it counts as stuck.
const WAITING_MAX: Duration = Duration::from_secs(30 * 60);

/// When the loop last turned.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    last_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// It turns.
    pub fn beat(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.fetch_max(since, Ordering::Relaxed);
    }

    /// Does `work`. The loop is well while it waits for that: for a full disk, or for a sink that ends. Not without end.
    pub async fn beat_beside<T>(&self, work: impl Future<Output = T>) -> T {
        self.beat_every(BEAT, WAITING_MAX, work).await
    }

    async fn beat_every<T>(&self, every: Duration, max: Duration, work: impl Future<Output = T>) -> T {
        let (mut work, mut beat) = (std::pin::pin!(work), tokio::time::interval(every));
        let until = Instant::now() + max;
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => if Instant::now() < until { self.beat() },
            }
        }
    }

    /// For how long it has not turned.
    pub fn still(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// Whether a loop that has stood still for so long is taken to be alive. A reload may wait for the grace before it goes on.
pub fn is_alive(still: Duration, grace: Duration) -> bool {
    still < STILL_MAX.max(grace.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_dead_after_a_minute_or_twice_the_grace() {
        let seconds = Duration::from_secs;
        assert!(is_alive(seconds(59), seconds(20)));
        assert!(!is_alive(seconds(60), seconds(20)));
        assert!(is_alive(seconds(100), seconds(60)) && !is_alive(seconds(120), seconds(60)));
    }

    #[tokio::test]
    async fn a_loop_that_waits_for_long_work_beats_on_and_not_without_end() {
        let (pulse, every) = (Pulse::default(), Duration::from_millis(5));
        let beats = || pulse.last_ms.load(Ordering::Relaxed);
        let seen_twice = async {
            let first = loop {
                match beats() {
                    0 => tokio::time::sleep(every).await,
                    first => break first,
                }
            };
            while beats() == first {
                tokio::time::sleep(every).await;
            }
        };
        let work = tokio::time::timeout(Duration::from_secs(10), seen_twice);
        assert!(pulse.beat_every(every, STILL_MAX, work).await.is_ok(), "it stands still while it works");

        let stuck = Pulse::default();
        stuck.beat_every(every, Duration::ZERO, tokio::time::sleep(Duration::from_millis(50))).await;
        assert_eq!(stuck.last_ms.load(Ordering::Relaxed), 0, "it beats without end");
        assert!(stuck.still() >= Duration::from_millis(50));
    }

    #[test]
    fn a_beat_ends_the_stillness() {
        let pulse = Pulse::default();
        std::thread::sleep(Duration::from_millis(30));
        assert!(pulse.still() >= Duration::from_millis(30));
        pulse.beat();
        // How long ago that was depends on the machine; that it was noted does not.
        assert!(pulse.last_ms.load(Ordering::Relaxed) >= 30);
    }
}
