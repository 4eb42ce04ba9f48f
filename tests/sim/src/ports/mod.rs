//! The core's ports over the simulated world.

pub mod chain;
pub mod documents;
pub mod journal;
pub mod sinks;
pub mod source;
pub mod topic;

use crate::world::World;
use async_trait::async_trait;
use sawlog_core::ports::Clock;
use std::time::Duration;

/// The clock: wall time jumps, elapsed time does not.
pub struct SimClock(pub World);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> i64 {
        let outside = self.0.get();
        outside.wall_offset + outside.elapsed.as_nanos() as i64
    }

    fn elapsed(&self) -> Duration {
        self.0.get().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    fn nonce(&self) -> u64 {
        self.0.rng(crate::rng::Rng::next)
    }
}
