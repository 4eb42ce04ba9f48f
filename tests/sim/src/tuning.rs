//! Times and limits of simulated agents: small, so that a run of seconds sees what takes a day.

use crate::narrow;
use crate::ports::sinks::HOUR;
use crate::world::World;
use sawlog_core::ports::ReadLimits;
use sawlog_core::shared::Tuning;
use sawlog_core::sink::{IntakeLimits, SinkTuning};
use std::time::Duration;

/// Limits of the main path.
pub fn tuning(world: &World) -> Tuning {
    let stride = 40 + 40 * world.rng(|r| r.below(5)) as u64;
    Tuning {
        read: ReadLimits { bytes_max: 100, records_max: 5 },
        stride_bytes_max: stride,
        patience: Duration::from_millis(30),
        retry: Duration::from_millis(20),
        rest_after: Duration::from_millis(stride / 4),
        accept_skew: false,
        budget_look: Duration::from_millis(60),
        entries_calm: narrow::entries_calm(world),
    }
}

/// A partition without input for this long gives out what its plugins hold back.
pub const IDLE_TIMEOUT: Duration = Duration::from_millis(150);

/// When simulated sinks send.
pub fn sink_tuning() -> SinkTuning {
    SinkTuning {
        batch_bytes_max: 300,
        batch_records_max: u64::MAX,
        batch_age_max: Duration::from_millis(10),
        roll_bytes_max: 1500,
        roll_age_max: Duration::from_millis(80),
        paths_max: 5,
        decisions_max: 40,
        hour: Duration::from_nanos(HOUR.unsigned_abs()),
        full_vector_every: 4,
        claims_kept_min: 3,
        claim_life: Duration::from_secs(10),
        outage_max: Duration::from_millis(60),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(100),
        open_circuit_after: 5,
        drop_refused: false,
        letters_per_second: None,
        drop_oldest: None,
    }
}

/// How much simulated sinks hold.
pub fn sink_limits(world: &World) -> IntakeLimits {
    IntakeLimits { memory: narrow::intake(world), batches_max: 4 }
}
