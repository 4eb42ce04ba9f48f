//! Panics that are caught on purpose. The program ends at every other one, and must be able to tell them apart before the stack
//! unwinds.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

thread_local! {
    /// How many calls of [`contained`] this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Does `work`, whose caller answers for a panic in it: whatever `work` had under way is thrown away, and nothing that goes on
/// has been changed by it.
///
/// # Errors
/// What it panicked with.
pub fn contained<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done
}

/// Whether a panic of this thread, now, is caught on purpose.
pub fn is_contained() -> bool {
    DEPTH.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_is_contained_and_what_comes_after_a_panic_is_not() {
        assert!(!is_contained());
        let failed = contained(|| {
            assert!(contained(|| panic!("deep within")).is_err());
            assert!(is_contained(), "it is still in the outer one");
            panic!("within");
        });
        assert!(failed.is_err_and(|panic| panic.downcast_ref() == Some(&"within")));
        assert!(!is_contained());
    }
}
