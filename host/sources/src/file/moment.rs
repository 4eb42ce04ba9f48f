//! When something happened, in as little memory as will do: there may be many thousands of files that are quiet.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One unit, milliseconds.
const UNIT_MS: u64 = 10;

/// A moment of this process, to a hundredth of a second. What lies more than 497 days back seems to have been later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(u32);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        let units = BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64 / UNIT_MS;
        Self(units as u32)
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Duration::from_millis(u64::from(Self::now().0.wrapping_sub(self.0)) * UNIT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_also_where_the_count_begins_anew() {
        let then = Moment::now();
        assert!(then.elapsed() < Duration::from_secs(60));
        let before_the_count_began = Moment(then.0.wrapping_sub(700));
        let passed = before_the_count_began.elapsed();
        assert!(passed >= Duration::from_secs(7) && passed < Duration::from_secs(67), "{passed:?}");
    }
}
