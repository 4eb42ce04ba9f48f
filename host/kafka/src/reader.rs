//! Reads one partition from its beginning, committed transactions only.

use crate::connection::Connection;
use crate::deliveries::{Ailment, log};
use crate::{ClientError, Entry, PartitionRef, Trouble};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// Context of consumers that only read.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) ailment: Ailment,
}

impl ClientContext for Reading {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.ailment.note(&error, reason);
    }
}

impl ConsumerContext for Reading {}

/// How long one poll waits; the deadline is looked at in between.
const POLL: Duration = Duration::from_millis(100);

/// Gives committed messages of `partition` to `each`, from the first on, until `each` returns true.
pub(crate) fn read_until(
    connection: &Connection,
    partition: &PartitionRef,
    deadline: Instant,
    each: &mut dyn FnMut(Entry<'_>) -> bool,
) -> Result<(), ClientError> {
    let call = format!("read of {partition}");
    let mut settings = connection.settings()?;
    settings
        .set("group.id", format!("{}-reader", connection.client_id))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50")
        .set("check.crcs", "true");
    let consumer: BaseConsumer<Reading> =
        settings.create_with_context(Reading::default()).map_err(|error| ClientError::of(&call, &error))?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(&partition.topic, partition.partition, Offset::Beginning)
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| ClientError::of(&call, &error))?;
    while Instant::now() < deadline {
        match consumer.poll(POLL) {
            Some(Ok(message))
                if each(Entry {
                    offset: message.offset(),
                    key: message.key(),
                    value: message.payload(),
                    time: message.timestamp().to_millis(),
                }) =>
            {
                return Ok(());
            }
            Some(Ok(_)) | None => {}
            Some(Err(error)) => {
                let error = ClientError::of(&call, &error);
                if error.trouble == Trouble::Refused {
                    return Err(error);
                }
                tracing::debug!(%error, "kafka client");
            }
        }
    }
    let reason =
        "the end that was looked for did not show in time; an open transaction of another agent may hold it back";
    Err(consumer.context().ailment.explain(ClientError::new(call, Trouble::Unavailable, reason)))
}
