//! How often the end of a transaction was asked for. librdkafka asks again on its own when a connection goes before the answer,
//! and tells so in its debug lines alone; each line is given to us in the order in which it was written.

use crate::Committed;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The lines that are needed, by librdkafka's name of them.
pub(crate) const DEBUG_CONTEXT: &str = "eos";
/// The answer to a request for the end, with the name of its code behind it. Codes of the broker are no answer lost: theirs don't
/// begin with an underscore.
const RETURNED: &str = "EndTxn returned ";
const TAKEN: &str = "NO_ERROR ";
const LOST: &str = "_";
/// A transaction without messages ends without a request.
const NOT_SENT: &str = "not sending EndTxn";
/// Time for the line to come after the call that it is about. What was not told counts as the worst.
const TOLD_MAX: Duration = Duration::from_secs(8);

/// What has been told so far.
#[derive(Default)]
pub(crate) struct Endings {
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Told {
    /// Transactions that ended.
    ended: u64,
    /// Requests for an end whose answer never came.
    lost: u64,
}

impl Endings {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line of librdkafka.
    pub(crate) fn hear(&self, line: &str) {
        let returned = line.split_once(RETURNED).map(|(_, code)| code);
        let mut told = self.lock();
        match returned {
            Some(code) if code.starts_with(TAKEN) => told.ended += 1,
            Some(code) if code.starts_with(LOST) => told.lost += 1,
            None if line.contains(NOT_SENT) => told.ended += 1,
            _ => return,
        }
        drop(told);
        self.changed.notify_all();
    }

    /// Transactions that ended so far.
    pub(crate) fn told(&self) -> u64 {
        self.lock().ended
    }

    /// What the end of a transaction that committed has left: of this producer, of which `ended_before` had ended before.
    pub(crate) fn since(&self, ended_before: u64) -> Committed {
        let untold = |told: &mut Told| told.ended <= ended_before;
        let waited = self.changed.wait_timeout_while(self.lock(), TOLD_MAX, untold);
        let (told, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if told.lost > 0 || timeout.timed_out() { Committed::Spent } else { Committed::Fit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Committed {
        let endings = Endings::default();
        lines.iter().for_each(|line| endings.hear(line));
        endings.since(0)
    }

    #[test]
    fn an_answer_that_was_lost_spends_the_producer_and_one_of_the_broker_does_not() {
        let taken = "[thrd:main]: EndTxn returned NO_ERROR in state CommittingTransaction (may_retry=true)";
        let busy =
            "[thrd:main]: EndTxn returned CONCURRENT_TRANSACTIONS in state CommittingTransaction (may_retry=true)";
        let gone = "[thrd:main]: EndTxn returned _TRANSPORT in state CommittingTransaction (may_retry=true)";
        let empty = "[thrd:main]: No partitions registered: not sending EndTxn";
        assert_eq!(after(&["[thrd:main]: Idempotent producer state change", taken]), Committed::Fit);
        assert_eq!(after(&[busy, taken]), Committed::Fit);
        assert_eq!(after(&[empty]), Committed::Fit);
        assert_eq!(after(&[gone, taken]), Committed::Spent);
        assert_eq!(after(&[]), Committed::Spent, "nothing was told");
    }
}
