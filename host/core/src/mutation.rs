//! Planted protocol mistakes. In a normal build every switch is off at compile time; the simulator's build turns one on and
//! checks that its oracle notices.

/// Names of the switches, each a rule of the delivery specification that is then not kept.
pub const NAMES: &[&str] = &[
    "accept_anywhere",
    "adopted_by_reach",
    "adopted_cursor_ignored",
    "adopted_unconfirmed",
    "agent_in_generation",
    "anchor_believed",
    "arrived_by_hints",
    "barrier_skipped",
    "change_half_begun",
    "claim_after_data",
    "claim_after_outage",
    "claim_lost_ignored",
    "claim_names_what_follows",
    "claim_without_adoption",
    "closed_forgotten",
    "complete_before_keys",
    "conflict_is_exists",
    "cursor_before_ack",
    "cursor_without_slot",
    "cursors_left_behind",
    "dead_letter_after_cursor",
    "documents_left_under_way",
    "dormant_deaf",
    "end_written_over",
    "failed_fsync_trusted",
    "file_left_uncut",
    "floor_ignores_snap",
    "foreign_claim_taken",
    "foreign_decisions_ignored",
    "forgotten_is_lost",
    "heir_by_number",
    "held_ignored",
    "history_apart",
    "history_beside",
    "history_ends_early",
    "history_for_all",
    "history_holds_back",
    "hole_is_skipped",
    "joined_from_the_start",
    "journal_goes_on",
    "journal_read_unfenced",
    "late_letter_dropped",
    "leave_keeps_buffer",
    "let_go_by_hints",
    "letters_posted_twice",
    "loss_not_durable",
    "lost_state_holds_back",
    "names_not_durable",
    "never_let_go",
    "newest_full_deleted",
    "opened_in_any_order",
    "place_by_address",
    "plan_not_durable",
    "producer_by_agent",
    "queue_read_unsynced",
    "rename_taken_for_own",
    "repeat_unprotected",
    "rescue_gives_up",
    "rescue_holds_source",
    "rescue_skipped",
    "rescued_overtakes",
    "rescued_unsynced",
    "sent_after_sleep",
    "source_beside",
    "stale_vector_taken",
    "state_kept_after_trap",
    "stateful_by_number",
    "successor_beside",
    "switch_before_passed",
    "twin_endured",
    "vanished_unnamed",
    "vector_skipped",
    "verdict_not_durable",
    "wall_clock_time",
    "written_off_unrescued",
];

#[cfg(feature = "mutations")]
mod active {
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Turns one mistake on for whatever runs on this thread, or all off.
    pub fn plant(name: Option<&'static str>) {
        ACTIVE.set(name);
    }

    pub(crate) fn on(name: &str) -> bool {
        ACTIVE.get().is_some_and(|active| active == name)
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
