//! Sinks that are down or slow, and those that give up what is beyond their budgets.

use crate::world::World;
use sawlog_core::budget::Budget;
use std::time::Duration;

const SINKS: [&str; 4] = ["log", "documents", "objects", "second"];

/// A sink goes down, or comes back.
pub fn toggle_down(world: &World) {
    let sink = SINKS[world.rng(|r| r.below(SINKS.len()))];
    let mut outside = world.get();
    if !outside.down.remove(sink) {
        outside.down.insert(sink);
        *outside.census.entry("outage").or_default() += 1;
    }
}

/// The second source has no room for more input, or has it again.
pub fn toggle_crowded(world: &World) {
    let mut outside = world.get();
    outside.crowded = !outside.crowded;
}

/// The rescue queue has no room for more, or has it again.
pub fn toggle_rescue(world: &World) {
    let mut outside = world.get();
    outside.rescue_is_full = !outside.rescue_is_full;
    if !outside.rescue_is_full {
        outside.rescue_freed.notify(usize::MAX);
    }
}

/// In one seed of four some sinks give up what is beyond their budgets.
pub fn draw_budgets(world: &World, seed: u64) {
    if seed % 4 != 1 {
        return;
    }
    for sink in SINKS {
        let (takes, bytes_max, ages) = world.rng(|r| (r.hits(600), 150 + r.below(400) as u64, r.hits(300)));
        let age_max = ages.then(|| Duration::from_millis(300));
        if takes {
            world.get().budgets.insert(sink, Budget { bytes_max, age_max });
        }
    }
}

/// One sink gets slow, or none is any more.
pub fn toggle_slow(world: &World) {
    let sink = SINKS[world.rng(|r| r.below(SINKS.len()))];
    let mut outside = world.get();
    outside.slow = if outside.slow.is_some() { None } else { Some(sink) };
}
