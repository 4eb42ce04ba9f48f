//! Planted protocol mistakes. In a normal build every switch is off at compile time; the simulator's build turns one on and
//! checks that its oracle notices.

/// Names of the switches, each a rule of the delivery specification that is then not kept.
pub const NAMES: &[&str] = &[
    "accept_anywhere",
    "barrier_skipped",
    "claim_after_data",
    "claim_without_adoption",
    "conflict_is_exists",
    "cursor_before_ack",
    "cursor_without_slot",
    "dead_letter_after_cursor",
    "flush_below_frontier",
    "floor_ignores_snap",
    "leave_keeps_buffer",
    "plan_not_durable",
    "rescue_skipped",
    "snap_at_frontier_name",
    "state_kept_after_trap",
    "verdict_not_durable",
    "wall_clock_time",
];

#[cfg(feature = "mutations")]
mod active {
    use std::sync::RwLock;
    static ACTIVE: RwLock<Option<&'static str>> = RwLock::new(None);

    /// Turns one mistake on for the whole process, or all off.
    pub fn plant(name: Option<&'static str>) {
        *ACTIVE.write().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
    }

    pub(crate) fn on(name: &str) -> bool {
        ACTIVE.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_some_and(|active| active == name)
    }
}

#[cfg(feature = "mutations")]
pub use active::plant;

#[cfg(feature = "mutations")]
pub(crate) use active::on;

/// Whether this mistake is planted: never, in a normal build.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) fn on(_name: &str) -> bool {
    false
}
