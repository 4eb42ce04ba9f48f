//! How a sink fares, as an operator sees it, and its pauses after failures. What is tried again and when is its protocol's.

use super::Sink;
use crate::mutation;
use crate::ports::{Hidden, SinkError, SinkPort};
use crate::watch::Twin;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

/// Whether a sink is being tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Circuit {
    /// It takes what it is sent, or has not failed often enough in a row.
    Closed,
    /// It has; one try is under way.
    HalfOpen,
    /// It has, and the pause before the next try runs.
    Open,
}

/// What an operator sees of a sink.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// So many of them open the circuit.
    pub open_circuit_after: u32,
    /// When the first of these was, by the boot-time clock.
    pub failing_since: Option<Duration>,
    /// Failures since the process began, by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// The newest failure; it stays after a success.
    pub last_error: Option<String>,
    /// Its kind.
    pub last_kind: Option<&'static str>,
    /// Whether the sink knows where it stands.
    pub recovered: bool,
    /// Whether the pause before the next try runs.
    pub pausing: bool,
    /// Whether refused rows wait for the dead-letter sink.
    pub waiting_for_letters: bool,
    /// How long refused rows have waited for it since the process began.
    pub waited_for_letters: Duration,
    /// How often another process was met that writes under this agent's id.
    pub twins: u64,
    /// The last one, and this one, by their names.
    pub twin: Option<(String, String)>,
    /// The place that it leaves and the one that it goes to, while what is under way to the first is finished there.
    pub switching: Option<(String, String)>,
    /// What it has committed and readers don't see.
    pub hidden: Option<Hidden>,
}

impl SinkStatus {
    /// Whether the sink is being tried.
    pub fn circuit(&self) -> Circuit {
        match (self.failures_in_a_row < self.open_circuit_after.max(1), self.pausing) {
            (true, _) => Circuit::Closed,
            (false, false) => Circuit::HalfOpen,
            (false, true) => Circuit::Open,
        }
    }

    /// The same sink in two engines as one: how the worse of them fares, and the failures of both.
    pub fn merged(self, other: Self) -> Self {
        let recovered = self.recovered && other.recovered;
        let waiting_for_letters = self.waiting_for_letters || other.waiting_for_letters;
        let (mut worse, other) = if self.circuit() >= other.circuit() { (self, other) } else { (other, self) };
        for (kind, n) in other.failures {
            *worse.failures.entry(kind).or_default() += n;
        }
        worse.waited_for_letters += other.waited_for_letters;
        worse.last_error = worse.last_error.or(other.last_error);
        worse.last_kind = worse.last_kind.or(other.last_kind);
        worse.switching = worse.switching.or(other.switching);
        worse.hidden = [worse.hidden, other.hidden].into_iter().flatten().max_by_key(|hidden| hidden.age);
        Self { recovered, waiting_for_letters, ..worse }
    }
}

/// The word for a kind of failure, in metrics and reports.
fn kind(error: &SinkError) -> &'static str {
    match error {
        SinkError::Unknown(_) => "unknown",
        SinkError::Fenced(_) => "fenced",
        SinkError::Unavailable(_) => "unavailable",
        SinkError::Refused(_) => "refused",
    }
}

impl Sink {
    /// What an operator sees.
    pub fn status(&self) -> SinkStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let hidden = match &self.port {
            SinkPort::Transaction(port) => port.hidden(),
            _ => None,
        };
        SinkStatus { open_circuit_after: self.tuning.open_circuit_after, hidden, ..status }
    }

    pub(super) fn note<R>(&self, change: impl FnOnce(&mut SinkStatus) -> R) -> R {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another process writes where this one does, under the same agent id.
    pub(super) fn note_twin(&self, (other, own): (String, String)) {
        if self.facts.moves {
            return;
        }
        self.note(|s| {
            s.twins += 1;
            s.twin = Some((other.clone(), own.clone()));
        });
        self.facts.watch.meet(Twin { sink: self.id.clone(), other, own }, self.clock.booted());
    }

    /// Returns where something may be sent; never, where the process is to end first.
    pub(super) async fn may_send(&self) {
        if !self.facts.watch.look(self.clock.booted()) && !mutation::on("sent_after_sleep") {
            std::future::pending().await
        }
    }

    pub(super) fn succeeded(&self) {
        self.note(|s| {
            s.failures_in_a_row = 0;
            s.failing_since = None;
            s.recovered = true;
        });
    }

    /// Whether it has failed for so long that other writers may have come and gone unseen.
    pub(super) fn is_out_of_touch(&self) -> bool {
        let since = self.note(|s| s.failing_since);
        !mutation::on("claim_after_outage")
            && since.is_some_and(|since| self.clock.booted().saturating_sub(since) > self.tuning.outage_max)
    }

    /// Notes a failure and waits: twice as long each time, with jitter.
    pub(super) async fn back_off(&self, error: &SinkError) {
        let now = self.clock.booted();
        let failures = self.note(|s| {
            s.failing_since.get_or_insert(now);
            s.failures_in_a_row = s.failures_in_a_row.saturating_add(1);
            *s.failures.entry(kind(error)).or_default() += 1;
            s.last_error = Some(error.to_string());
            s.last_kind = Some(kind(error));
            s.pausing = true;
            s.failures_in_a_row
        });
        let factor = 1u32 << failures.saturating_sub(1).min(16);
        let full = self.tuning.backoff_min.saturating_mul(factor).min(self.tuning.backoff_max);
        let jitter = full.mul_f64((self.clock.nonce() % 1000) as f64 / 2000.0);
        self.clock.sleep(full / 2 + jitter).await;
        self.note(|s| s.pausing = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{self, Nothing, Waiting};
    use crate::ports::{Clock as _, SinkPort};
    use crate::sink::SinkTuning;
    use futures_util::FutureExt as _;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn pauses_double_up_to_the_longest_and_no_two_sinks_keep_step() {
        let clock = Arc::new(Waiting::default());
        let sink = fakes::sink("out", SinkPort::Documents(Arc::new(Nothing)), &fakes::journal(clock.clone()), &clock);
        let tuning = SinkTuning::default();
        let mut parts = BTreeSet::new();
        for failures in 0..20 {
            let before = clock.elapsed();
            let error = SinkError::Unavailable("refused".into());
            let mut waiting = std::pin::pin!(sink.back_off(&error));
            while (&mut waiting).now_or_never().is_none() {}
            let full = tuning.backoff_min.saturating_mul(1 << failures.min(16)).min(tuning.backoff_max);
            let pause = clock.elapsed() - before;
            assert!(full / 2 <= pause + Duration::from_millis(1) && pause <= full, "{pause:?} of {full:?}");
            parts.insert(pause.as_millis() * 20 / full.as_millis());
        }
        assert!(parts.len() >= 4, "the pauses are spread over {parts:?} twentieths only");
        assert_eq!(sink.status().failures_in_a_row, 20);
    }
}
