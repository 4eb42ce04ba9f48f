//! Worlds in which memory, workers and the journal's room are short, so that lanes wait for them too. Whether a world is one is told
//! by its seed's number, and nothing is drawn for it: the others go as they always went.

use crate::world::World;
use sawlog_core::memory::{Pool, Share};
use sawlog_core::pace::{CatchUp, Pressure};
use sawlog_core::shared::Common;
use std::sync::Arc;

/// Every so many seeds one is narrow.
const EVERY: u64 = 8;
/// Which of them.
const WHICH: u64 = 5;

/// Whether the world of this seed is.
pub fn is_narrow(seed: u64) -> bool {
    seed % EVERY == WHICH
}

/// Room for two or three reads at once, and a quarter of the only worker for lanes behind the frontier.
pub fn common(world: &World) -> Common {
    match world.get().narrow {
        true => Common { memory: Pool::new(2_000), catch_up: Arc::new(CatchUp::new(25, 1)), ..Common::default() },
        false => Common::default(),
    }
}

/// Room for the batches of one sink.
pub fn intake(world: &World) -> Arc<Share> {
    Share::new(if world.get().narrow { 3_000 } else { usize::MAX })
}

/// So many kept entries are usual.
pub fn entries_calm(world: &World) -> u64 {
    if world.get().narrow { 50 } else { u64::MAX }
}

/// The journal is short of room every now and then.
pub fn pressure(world: &World) -> Pressure {
    let outside = world.get();
    match outside.elapsed.as_millis() % 2_000 {
        100..200 if outside.narrow => Pressure::High,
        200..250 if outside.narrow => Pressure::Half,
        _ => Pressure::Low,
    }
}
