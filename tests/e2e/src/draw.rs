//! Times and numbers drawn from a seed that a run prints: `SAWLOG_TEST_SEED` repeats it.

use anyhow::{Context, Result};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers for the same seed.
pub struct Draw(pub u64);

impl Draw {
    /// One of another seed each time, or of the one that the environment names.
    pub fn fresh() -> Result<Self> {
        let seed = match std::env::var("SAWLOG_TEST_SEED") {
            Ok(seed) => seed.parse().with_context(|| format!("SAWLOG_TEST_SEED is {seed:?}, which is no seed"))?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64 % 1_000_000_000,
        };
        println!("seed {seed}; SAWLOG_TEST_SEED={seed} draws the same");
        Ok(Self(seed))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A time below `max`.
    pub fn time(&mut self, max: Duration) -> Duration {
        Duration::from_millis(self.below(max.as_millis() as u64))
    }
}
