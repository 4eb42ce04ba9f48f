//! Counting of delivery reports, how far they say that messages lie, and the newest trouble that librdkafka reports on its own.
//! Waiting here instead of in `flush` spares up to 100 ms a transaction.

use crate::endings::Endings;
use crate::{ClientError, Failure, PartitionRef, Trouble};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long reports may pause after a failure before the others are given up.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(300);

#[derive(Default)]
struct State {
    open: usize,
    failures: Vec<Failure>,
    reached: Reached,
}

/// The newest offset that messages took, by topic and partition.
#[derive(Default)]
struct Reached(BTreeMap<String, Vec<Option<u64>>>);

impl Reached {
    /// A message without an offset (one that the broker had already) says nothing.
    fn note(&mut self, topic: &str, partition: i32, offset: i64) {
        let (Ok(partition), Ok(offset)) = (usize::try_from(partition), u64::try_from(offset)) else { return };
        // Every message comes here: no name is copied but for the first of its topic.
        if !self.0.contains_key(topic) {
            self.0.insert(topic.to_owned(), Vec::new());
        }
        let Some(partitions) = self.0.get_mut(topic) else { return };
        if partitions.len() <= partition {
            partitions.resize(partition + 1, None);
        }
        partitions[partition] = partitions[partition].max(Some(offset));
    }

    fn take(&mut self) -> Vec<(PartitionRef, u64)> {
        let mut taken = Vec::new();
        for (topic, partitions) in &mut self.0 {
            for (partition, offset) in (0..).zip(partitions) {
                let place = || PartitionRef { topic: topic.clone(), partition };
                taken.extend(offset.take().map(|offset| (place(), offset)));
            }
        }
        taken
    }
}

/// Messages that are under way.
#[derive(Default)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) ailment: Ailment,
    pub(crate) endings: Endings,
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more is under way.
    pub(crate) fn sent(&self) {
        self.lock().open += 1;
    }

    /// It was not taken after all.
    pub(crate) fn unsent(&self) {
        self.lock().open -= 1;
    }

    /// Waits until fewer than `open` are under way; false at the deadline.
    pub(crate) fn wait_below(&self, open: usize, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.open >= open {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| *d > Duration::ZERO) else {
                return false;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until nothing is under way; false at the deadline. After a failure the transaction is doomed and the client sends
    /// no more of it, so that some messages get no report at all: then a pause in the reports is the end of them.
    pub(crate) fn wait_settled(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.open > 0 {
            let doomed = !state.failures.is_empty();
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if doomed { left.min(PAUSE_AFTER_FAILURE) } else { left };
            let (next, timeout) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() && state.open > 0 {
                return !state.failures.is_empty();
            }
        }
        true
    }

    /// A message that was not even sent.
    pub(crate) fn refuse(&self, failure: Failure) {
        self.lock().failures.push(failure);
    }

    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    /// How far messages lie that were taken since this was asked last.
    pub(crate) fn take_reached(&self) -> Vec<(PartitionRef, u64)> {
        self.lock().reached.take()
    }

    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.lock().failures)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.endings.hear(message);
        log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.ailment.note(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut state = self.lock();
        state.open -= 1;
        match result {
            Ok(message) => state.reached.note(message.topic(), message.partition(), message.offset()),
            Err((error, message)) => {
                let call = format!("message to {}", message.topic());
                state.failures.push(Failure { number, error: ClientError::of(call, error) });
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// What librdkafka says of its connections on its own; calls that time out don't know why.
#[derive(Default)]
pub(crate) struct Ailment(Mutex<Option<(Weight, String)>>);

/// How much a complaint explains; a lighter one never takes the place of a heavier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// "All brokers are down" says less than any reason before it.
    Summary,
    Passing,
    /// Credentials and certificates don't mend themselves.
    Lasting,
}

impl Ailment {
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        let weight = match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL,
            ) => Weight::Lasting,
            Some(RDKafkaErrorCode::AllBrokersDown) => Weight::Summary,
            _ => Weight::Passing,
        };
        tracing::debug!(%error, reason, "kafka client");
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(heaviest, _)| weight >= *heaviest) {
            let words = ClientError::of("", error).reason;
            *known = Some((weight, format!("{words} ({reason})")));
        }
    }

    /// Adds to `error` why the brokers can't be reached, if that is known.
    pub(crate) fn explain(&self, mut error: ClientError) -> ClientError {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Trouble::Unavailable | Trouble::Unknown, Some((weight, words))) = (error.trouble, known.as_ref()) {
            error.reason = format!("{}: {words}", error.reason);
            if *weight == Weight::Lasting && error.trouble == Trouble::Unavailable {
                error.trouble = Trouble::Refused;
            }
        }
        error
    }
}

/// Hands librdkafka's own lines to our log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka client"),
        _ => tracing::debug!(facility, message, "kafka client"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_partition_is_told_once() {
        let mut reached = Reached::default();
        for (topic, partition, offset) in
            [("b", 2, 7), ("a", 0, 3), ("b", 2, 9), ("b", 2, 8), ("b", 0, 0), ("a", 1, -1)]
        {
            reached.note(topic, partition, offset);
        }
        let at = |topic: &str, partition| PartitionRef { topic: topic.to_owned(), partition };
        assert_eq!(reached.take(), [(at("a", 0), 3), (at("b", 0), 0), (at("b", 2), 9)]);
        assert_eq!(reached.take(), []);
        reached.note("a", 0, 4);
        assert_eq!(reached.take(), [(at("a", 0), 4)]);
    }
}
