//! The real broker of `SAWLOG_TEST_KAFKA`, read and disturbed by plain librdkafka clients.

use futures_util::FutureExt as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::{Duration, SystemTime};

pub struct TestBroker {
    pub address: String,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Isolation {
    Committed,
    Uncommitted,
}

pub struct ReadMessage {
    pub partition: i32,
    pub key: Option<String>,
    pub value: String,
    pub sent_at_millis: i64,
    headers: Vec<(String, String)>,
}

impl AsRef<str> for ReadMessage {
    fn as_ref(&self) -> &str {
        &self.value
    }
}

impl ReadMessage {
    pub fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(n, _)| n == name).expect("the header is there").1
    }
}

impl TestBroker {
    /// The broker, or a line that says why the test does not run.
    pub fn find(test: &str) -> Option<Self> {
        match std::env::var("SAWLOG_TEST_KAFKA") {
            Ok(address) => Some(Self { address }),
            Err(_) => {
                println!("NOT RUN: {test}: SAWLOG_TEST_KAFKA names no broker");
                None
            }
        }
    }

    /// A name that no other test has.
    pub fn unique(&self, name: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
        format!("t-{name}-{}-{}", std::process::id(), now.as_micros())
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// All messages up to the end that the isolation shows.
    pub fn read(&self, topic: &str, isolation: Isolation) -> Vec<ReadMessage> {
        let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", "test-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("isolation.level", level)
            .set("fetch.wait.max.ms", "20")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        let partitions: Vec<i32> =
            metadata.topics()[0].partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
        let mut assignment = TopicPartitionList::new();
        partitions.iter().for_each(|p| assignment.add_partition_offset(topic, *p, Offset::Beginning).unwrap());
        consumer.assign(&assignment).unwrap();
        let (mut read, mut ended) = (Vec::new(), 0);
        while ended < partitions.len() {
            match consumer.poll(Duration::from_secs(20)).expect("the broker answers") {
                Ok(message) => {
                    let headers = message.headers().map(|headers| {
                        let text =
                            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                        headers.iter().map(|h| (h.key.to_owned(), text(h.value))).collect()
                    });
                    let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                    let sent_at_millis = message.timestamp().to_millis().unwrap_or(0);
                    let key = message.key().map(|key| String::from_utf8_lossy(key).into_owned());
                    let partition = message.partition();
                    read.push(ReadMessage {
                        partition,
                        key,
                        value,
                        sent_at_millis,
                        headers: headers.unwrap_or_default(),
                    });
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("reading {topic}: {error}"),
            }
        }
        read
    }

    pub fn create_topic(&self, name: &str, settings: &[(&str, &str)]) {
        self.create_topic_of(name, 3, settings);
    }

    pub fn create_topic_of(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let topics = [topic];
        let mut created = Box::pin(admin.create_topics(&topics, &options));
        let result = loop {
            match created.as_mut().now_or_never() {
                Some(result) => break result,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        for topic in result.unwrap() {
            topic.unwrap();
        }
        // The broker answers before all of it knows.
        let known = || {
            let metadata = admin.inner().fetch_metadata(Some(name), Duration::from_secs(10)).unwrap();
            metadata.topics()[0].partitions().len() == usize::try_from(partitions).unwrap()
        };
        while !known() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends messages under a transactional id and dies without ending the transaction.
    #[allow(dead_code)]
    pub fn leave_transaction_open(&self, id: &str, topic: &str, messages: usize) {
        let producer: BaseProducer =
            self.config().set("transactional.id", id).set("transaction.timeout.ms", "60000").create().unwrap();
        producer.init_transactions(Duration::from_secs(20)).unwrap();
        producer.begin_transaction().unwrap();
        for n in 0..messages {
            let value = format!("{{\"n\":{n}}}");
            producer.send(BaseRecord::<(), str>::to(topic).payload(&value)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }
}
