//! Whether the loop of `run` still turns: what `/livez` goes by. It knows nothing of what the loop does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two beats of a loop that has nothing to do.
pub const BEAT: Duration = Duration::from_secs(5);
/// A loop that has stood still for so long does not come back by itself.
const STILL_MAX: Duration = Duration::from_secs(60);

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
