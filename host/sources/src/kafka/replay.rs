//! Reads messages again that the buffer has dropped: a consumer of its own, at one place at a time.

use super::buffer::gather;
use super::config::KafkaSource;
use super::frontier::consumer_options;
use super::message;
use sawlog_core::ports::{ReadError, ReadLimits};
use sawlog_kafka::{ClientError, Cluster, Consumer, Offsets, PartitionRef, Polled, Positions, Trouble};
use sawlog_record::batch::Input;
use sawlog_record::id::Generation;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(15);
/// Once something came, how long more is waited for.
const MORE: Duration = Duration::from_millis(50);

/// The consumer and where it stands.
pub struct Replay {
    cluster: Arc<dyn Cluster>,
    options: KafkaSource,
    open: Option<Box<dyn Consumer>>,
    stands_at: Option<(PartitionRef, u64)>,
    /// Messages that were fetched and not yet asked for.
    ahead: Vec<(u64, Vec<u8>)>,
}

impl Replay {
    /// Nothing is opened before the first read.
    pub fn new(cluster: Arc<dyn Cluster>, options: KafkaSource) -> Self {
        Self { cluster, options, open: None, stands_at: None, ahead: Vec::new() }
    }

    /// Records of `place` from `from` on, none ending above `to`. Blocks.
    ///
    /// # Errors
    /// The messages are gone, or the brokers don't answer.
    pub fn read(
        &mut self,
        place: &PartitionRef,
        generation: Generation,
        (from, to): (u64, u64),
        limits: ReadLimits,
    ) -> Result<Input, ReadError> {
        let result = self.fetch(place, (from, to), limits);
        if result.is_err() {
            (self.open, self.stands_at) = (None, None);
            self.ahead.clear();
        }
        result?;
        let wanted = self.ahead.iter().take_while(|(offset, _)| *offset < to);
        let input = gather(generation, wanted.map(|(offset, value)| (*offset, value.as_slice())), limits);
        let Some(end) = input.records.last().map(|record| record.end) else {
            return Err(ReadError::Gone);
        };
        self.ahead.retain(|(offset, _)| *offset >= end);
        self.stands_at = Some((place.clone(), end));
        Ok(input)
    }

    fn fetch(&mut self, place: &PartitionRef, (from, to): (u64, u64), limits: ReadLimits) -> Result<(), ReadError> {
        let unavailable = |error: ClientError| ReadError::Unavailable(error.to_string());
        if self.stands_at != Some((place.clone(), from)) {
            self.ahead.clear();
            let mut consumer = match self.open.take() {
                Some(consumer) => consumer,
                None => {
                    self.cluster.consumer(&consumer_options(&self.options), Box::new(NoGroup)).map_err(unavailable)?
                }
            };
            consumer.assign(&[(place.clone(), from)]).map_err(unavailable)?;
            self.open = Some(consumer);
        }
        let Some(consumer) = &mut self.open else { return Ok(()) };
        let deadline = Instant::now() + DEADLINE;
        let mut bytes: usize = self.ahead.iter().map(|(_, value)| value.len()).sum();
        loop {
            let enough = self.ahead.last().is_some_and(|(offset, _)| offset + 1 >= to);
            if enough || bytes >= limits.bytes_max || self.ahead.len() >= limits.records_max {
                return Ok(());
            }
            let wait = if self.ahead.is_empty() { deadline.saturating_duration_since(Instant::now()) } else { MORE };
            match consumer.poll(wait) {
                Some(Ok(Polled::Message { partition, offset, message })) if partition == *place && offset >= from => {
                    let record = message::record(&message);
                    bytes += record.len();
                    self.ahead.push((offset, record));
                }
                Some(Ok(Polled::OutOfRange(_))) => return Err(ReadError::Gone),
                Some(Ok(Polled::Unreadable(error))) => return Err(unavailable(error)),
                Some(Ok(_)) => {}
                Some(Err(error)) if Instant::now() >= deadline || error.trouble == Trouble::Refused => {
                    return Err(unavailable(error));
                }
                Some(Err(_)) => {}
                None if !self.ahead.is_empty() => return Ok(()),
                None => return Err(ReadError::Unavailable(format!("no message of {place} came in time"))),
            }
        }
    }
}

/// A consumer that joins no group is never given a partition.
pub(super) struct NoGroup;

impl Positions for NoGroup {
    fn position(&self, partition: &PartitionRef, _: &dyn Offsets) -> Result<u64, ClientError> {
        Err(ClientError::new(format!("replay of {partition}"), Trouble::Refused, "a replay joins no group"))
    }
}
