//! Whether the end of a process that a plugin runs in is the doing of the call that was made there. Only what ends one process after
//! the other has itself to blame; what somebody else ended says nothing of any record.

use super::RunError;
use crate::apart::EndedBy;
use crate::instance::{CallFailure, CreateError};

/// Processes that the same call may end one after the other; the last one is its own doing.
const OWN_MAX: u32 = 3;
/// Processes that somebody else may end one after the other during the same call; then its partition waits.
const OTHERS_MAX: u32 = 20;

/// Ends in a row, with no call that succeeded between them.
#[derive(Debug, Default)]
pub(super) struct Ends {
    own: u32,
    others: u32,
}

impl Ends {
    /// Whether a call failed for an end that may be chance, so that it is to be made again.
    pub fn is_chance(&mut self, failure: &CallFailure) -> Result<bool, RunError> {
        let CallFailure::Ended(end) = failure else { return Ok(false) };
        let (count, most) = match end.by {
            EndedBy::AnotherCall => return Ok(true),
            EndedBy::Itself => (&mut self.own, OWN_MAX),
            EndedBy::Other => (&mut self.others, OTHERS_MAX),
        };
        *count += 1;
        if *count < most {
            return Ok(true);
        }
        *self = Self::default();
        if end.by == EndedBy::Itself { Ok(false) } else { Err(RunError::Killed(end.clone())) }
    }

    /// The same of an instance that was on its way to the state that follows.
    pub fn kept_from_rising(&mut self, error: &RunError) -> Result<bool, RunError> {
        match error {
            RunError::Restore(failure) | RunError::NotDeterministic(failure) => self.is_chance(failure),
            RunError::Create(CreateError::Ended(end)) => self.is_chance(&CallFailure::Ended(end.clone())),
            RunError::Create(_) | RunError::Killed(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::apart::ProcessEnd;

    fn ended(by: EndedBy) -> CallFailure {
        CallFailure::Ended(ProcessEnd { by, reason: "so".to_owned() })
    }

    #[test]
    fn the_third_end_in_a_row_is_the_calls_own_doing_and_kills_never_are() {
        let mut ends = Ends::default();
        assert!(!ends.is_chance(&CallFailure::Fuel).unwrap());
        for round in 0..2 {
            assert!(ends.is_chance(&ended(EndedBy::Itself)).unwrap(), "{round}");
            assert!(ends.is_chance(&ended(EndedBy::AnotherCall)).unwrap(), "{round}");
            assert!(ends.is_chance(&ended(EndedBy::Itself)).unwrap(), "{round}");
            assert!(!ends.is_chance(&ended(EndedBy::Itself)).unwrap(), "{round}: each call has as many");
        }
        for kill in 1..OTHERS_MAX {
            assert!(ends.is_chance(&ended(EndedBy::Other)).unwrap(), "{kill}");
        }
        assert!(matches!(ends.is_chance(&ended(EndedBy::Other)), Err(RunError::Killed(_))));
    }
}
