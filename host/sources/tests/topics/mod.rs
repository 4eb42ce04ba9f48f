//! The real broker of `SAWLOG_TEST_KAFKA`, filled and disturbed by plain librdkafka clients.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::{Duration, SystemTime};

const TIMEOUT: Duration = Duration::from_secs(20);

pub struct TestBroker {
    pub address: String,
    admin: AdminClient<DefaultClientContext>,
}

impl TestBroker {
    /// The broker, or a line that says why the test does not run.
    pub fn find(test: &str) -> Option<Self> {
        let Ok(address) = std::env::var("SAWLOG_TEST_KAFKA") else {
            println!("NOT RUN: {test}: SAWLOG_TEST_KAFKA names no broker");
            return None;
        };
        let admin = ClientConfig::new().set("bootstrap.servers", &address).create().unwrap();
        Some(Self { address, admin })
    }

    /// A name that no other test has.
    pub fn unique(name: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
        format!("t-{name}-{}-{}", std::process::id(), now.as_micros())
    }

    pub async fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for made in self.admin.create_topics(&[new], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        // The broker answers before all of it knows.
        while self.partitions(topic) != usize::try_from(partitions).unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn delete(&self, topic: &str) {
        for deleted in self.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            deleted.unwrap();
        }
        while self.partitions(topic) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn partitions(&self, topic: &str) -> usize {
        self.admin.inner().fetch_metadata(Some(topic), TIMEOUT).unwrap().topics()[0].partitions().len()
    }

    /// Removes the messages of a partition below `offset`, as retention does.
    pub async fn remove_below(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    /// One transaction with these values, all in one partition.
    pub fn send(&self, topic: &str, partition: i32, values: &[String], commit: bool) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("transactional.id", Self::unique("id"))
            .create()
            .unwrap();
        producer.init_transactions(TIMEOUT).unwrap();
        producer.begin_transaction().unwrap();
        for value in values {
            let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(TIMEOUT).unwrap();
        if commit {
            producer.commit_transaction(TIMEOUT).unwrap();
            return;
        }
        // Aborting needs a thread that polls; a successor ends it just as well.
        let id = std::thread::scope(|scope| {
            let polling = scope.spawn(|| (0..20).for_each(|_| producer.poll(Duration::from_millis(100))));
            let aborted = producer.abort_transaction(TIMEOUT);
            polling.join().unwrap();
            aborted
        });
        id.unwrap();
    }

    /// What a group has committed for a partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.address).set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let known = consumer.committed_offsets(list, TIMEOUT).unwrap();
        match known.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}
