//! A transactional producer. After any error but a refused message it is spent: drop it, open a new one, `init`. So it is after a
//! commit whose request was sent twice: the first one may arrive later, and end the next transaction (delivery.md 4.1).

use crate::connection::{Compression, Connection};
use crate::deliveries::Deliveries;
use crate::{ClientError, Failure, Message, PartitionRef, Trouble, endings};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::thread;
use std::time::{Duration, Instant};

/// What a transactional producer is opened with.
#[derive(Clone, PartialEq, Debug)]
pub struct ProducerOptions {
    /// Whoever opens a producer of the same id fences this one.
    pub transactional_id: String,
    /// Time after which the broker aborts a transaction that does not end.
    pub transaction_timeout: Duration,
    /// Compression of batches.
    pub compression: Compression,
    /// Largest message, before compression.
    pub message_bytes_max: usize,
    /// Largest batch of messages of one partition, before compression; a larger single message is a batch of its own.
    pub batch_bytes_max: usize,
    /// Every message goes alone, so that a refusal means that message and no other.
    pub one_by_one: bool,
}

/// What a commit leaves of its producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Committed {
    /// It can begin the next transaction.
    Fit,
    /// Another request for the end of this transaction may still be on its way, and would end the next one: drop the producer
    /// and open a new one, whose `init` makes the broker refuse that request.
    Spent,
}

/// A producer whose messages become visible together or not at all.
pub trait TransactionalProducer: Send {
    /// Fences every older producer of the id and ends its open transaction.
    ///
    /// # Errors
    /// Any [`Trouble`] but those of a message.
    fn init(&mut self, timeout: Duration) -> Result<(), ClientError>;

    /// Opens a transaction.
    ///
    /// # Errors
    /// The producer is spent.
    fn begin(&mut self) -> Result<(), ClientError>;

    /// Queues a message of the open transaction; waits while the queue is full. Once a message was refused the others may be
    /// left out: the transaction can't be committed, and `settle` says why.
    ///
    /// # Errors
    /// The producer is spent.
    fn send(&mut self, message: &Message<'_>, deadline: Instant) -> Result<(), ClientError>;

    /// Waits until every queued message is taken or refused, and gives the refused ones, or some of them. Where any was, the
    /// transaction can only be abandoned.
    ///
    /// # Errors
    /// Reports are missing at the deadline.
    fn settle(&mut self, deadline: Instant) -> Result<Vec<Failure>, ClientError>;

    /// Each partition in which messages were taken since this was asked last, with the newest offset of them; what the broker does
    /// not tell is left out.
    fn take_reached(&mut self) -> Vec<(PartitionRef, u64)> {
        Vec::new()
    }

    /// Commits the open transaction, and says whether the producer can go on.
    ///
    /// # Errors
    /// [`Trouble::Fenced`] means not committed by us; [`Trouble::Unknown`] that nobody knows.
    fn commit(&mut self, timeout: Duration) -> Result<Committed, ClientError>;
}

/// librdkafka's. Its thread serves the delivery reports: without polling an abort waits for its deadline.
pub(crate) struct LibrdkafkaProducer {
    client: ThreadedProducer<Deliveries>,
    /// Why a message was not even queued; the transaction is doomed then.
    left_out: Option<ClientError>,
}

/// Room for messages that wait in the client; a full queue makes `send` wait.
const QUEUE_MESSAGES_MAX: &str = "200000";
const QUEUE_KIB_MAX: &str = "65536";
/// librdkafka's name for "all the same" is a count of one.
const ONE: &str = "1";

impl LibrdkafkaProducer {
    pub(crate) fn open(connection: &Connection, options: &ProducerOptions) -> Result<Self, ClientError> {
        let mut settings = connection.settings()?;
        let timeout_millis = options.transaction_timeout.as_millis();
        settings
            .set("transactional.id", &options.transactional_id)
            .set("transaction.timeout.ms", timeout_millis.to_string())
            .set("compression.type", options.compression.setting())
            .set("message.max.bytes", options.message_bytes_max.to_string())
            .set("batch.size", options.batch_bytes_max.min(options.message_bytes_max).to_string())
            .set("linger.ms", "1")
            .set("debug", endings::DEBUG_CONTEXT)
            .set("partitioner", "murmur2_random")
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("queue.buffering.max.messages", QUEUE_MESSAGES_MAX)
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX);
        settings.set_log_level(RDKafkaLogLevel::Debug);
        if options.one_by_one {
            settings.set("batch.num.messages", ONE);
        }
        let producer = ThreadedProducer::from_config_and_context(&settings, Deliveries::default());
        producer
            .map(|client| Self { client, left_out: None })
            .map_err(|error| ClientError::new("producer", Trouble::Refused, error.to_string()))
    }

    fn deliveries(&self) -> &Deliveries {
        self.client.client().context()
    }

    fn error(&self, call: &str, error: &KafkaError) -> ClientError {
        let mut error = ClientError::of(call, error);
        if let Some(fatal) = self.fatal(call) {
            error = fatal;
        }
        self.deliveries().ailment.explain(error)
    }

    /// What has ended this producer for good: being fenced, above all. Later calls only say that they came too late.
    fn fatal(&self, call: &str) -> Option<ClientError> {
        let (code, reason) = self.client.client().fatal_error()?;
        let mut error = ClientError::of(call, &KafkaError::Global(code));
        error.reason = format!("{}: {reason}", error.reason);
        Some(error)
    }
}

impl TransactionalProducer for LibrdkafkaProducer {
    fn init(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.client
            .init_transactions(timeout)
            .map_err(|error| self.error("begin of the transactional producer", &error))
    }

    fn begin(&mut self) -> Result<(), ClientError> {
        self.client.begin_transaction().map_err(|error| self.error("begin of a transaction", &error))
    }

    fn send(&mut self, message: &Message<'_>, deadline: Instant) -> Result<(), ClientError> {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (name, value) in message.headers {
            headers = headers.insert(Header { key: name, value: Some(*value) });
        }
        let mut record = BaseRecord::with_opaque_to(message.topic, message.number).headers(headers);
        record.partition = message.partition;
        record.key = message.key;
        record.payload = message.value;
        loop {
            self.deliveries().sent();
            let (error, unsent) = match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            self.deliveries().unsent();
            record = unsent;
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            let under_way = self.deliveries().open();
            if full && self.deliveries().wait_below(under_way.max(1), deadline) {
                continue;
            }
            let error = self.error(&format!("message to {}", message.topic), &error);
            if error.trouble == Trouble::TooLarge {
                self.deliveries().refuse(Failure { number: message.number, error });
            } else {
                // A refused message spoils the transaction before its report arrives, and the report says more than this.
                self.left_out.get_or_insert(error);
            }
            return Ok(());
        }
    }

    fn settle(&mut self, deadline: Instant) -> Result<Vec<Failure>, ClientError> {
        if !self.deliveries().wait_settled(deadline) {
            let reason = format!("{} messages without an answer", self.deliveries().open());
            let error = ClientError::new("messages of a transaction", Trouble::Unavailable, reason);
            return Err(self.deliveries().ailment.explain(error));
        }
        if let Some(error) = self.fatal("messages of a transaction") {
            return Err(error);
        }
        let failures = self.deliveries().take_failures();
        match self.left_out.take() {
            Some(error) if failures.is_empty() => Err(error),
            _ => Ok(failures),
        }
    }

    fn take_reached(&mut self) -> Vec<(PartitionRef, u64)> {
        self.deliveries().take_reached()
    }

    fn commit(&mut self, timeout: Duration) -> Result<Committed, ClientError> {
        let deadline = Instant::now() + timeout;
        // A report is counted a moment before librdkafka forgets its message, and `commit` polls 100 ms where one is left.
        while self.client.in_flight_count() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(100));
        }
        let ended_before = self.deliveries().endings.told();
        self.client.commit_transaction(timeout).map_err(|error| {
            let mut error = self.error("commit of a transaction", &error);
            if error.trouble == Trouble::Unavailable {
                error.trouble = Trouble::Unknown;
            }
            error
        })?;
        Ok(self.deliveries().endings.since(ended_before))
    }
}
