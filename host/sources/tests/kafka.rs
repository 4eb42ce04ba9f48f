//! The Kafka source against a real broker, driven as the core drives it.
#![allow(missing_docs, clippy::unwrap_used)]

mod topics;

use sawlog_core::ports::{ReadError, ReadLimits, Source, SourceEvent};
use sawlog_record::id::{Generation, PartitionId};
use sawlog_sources::kafka::KafkaTopics;
use sawlog_sources::kafka::config::KafkaSource;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use topics::TestBroker;

const LIMITS: ReadLimits = ReadLimits { bytes_max: 1 << 20, records_max: 7 };

fn options(broker: &TestBroker, topics: &[&str], group: &str, more: &serde_json::Value) -> KafkaSource {
    let mut written = json!({ "brokers": [broker.address], "topics": topics, "group_id": group });
    written.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(written).expect("the options are complete")
}

fn open(options: &KafkaSource) -> KafkaTopics {
    KafkaTopics::open(options, "node-1", "in", false).expect("the source opens")
}

fn values(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

/// What the core would know of a generation.
struct Known {
    partition: PartitionId,
    identity: Arc<[u8]>,
    at: u64,
    gone: bool,
}

/// Reads as the core does.
struct Driver {
    source: KafkaTopics,
    known: BTreeMap<Generation, Known>,
    read: Vec<(u64, String)>,
    finished: bool,
}

impl Driver {
    async fn start(options: &KafkaSource, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) -> Self {
        Self::start_with(open(options), known).await
    }

    async fn start_with(source: KafkaTopics, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) -> Self {
        let one = |(g, partition, identity, at): &(Generation, PartitionId, Arc<[u8]>, u64)| {
            (*g, Known { partition: *partition, identity: identity.clone(), at: *at, gone: false })
        };
        let driver = Self { source, known: known.iter().map(one).collect(), read: Vec::new(), finished: false };
        driver.source.restore(known).await;
        driver
    }

    /// Follows events until `enough`, or for ten seconds.
    async fn follow(&mut self, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !enough(self) && Instant::now() < deadline {
            let Ok(event) = tokio::time::timeout(Duration::from_millis(200), self.source.event()).await else {
                continue;
            };
            match event {
                SourceEvent::Opened { generation, partition, identity, start } => {
                    self.known.insert(generation, Known { partition, identity, at: start, gone: false });
                }
                SourceEvent::Available { generation, end } => self.read_to(generation, end).await,
                SourceEvent::Gone { generation } => self.known.get_mut(&generation).unwrap().gone = true,
                SourceEvent::Finished => self.finished = true,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn read_to(&mut self, generation: Generation, end: u64) {
        loop {
            let at = self.known[&generation].at;
            if at >= end {
                return;
            }
            let input = match self.source.read(generation, at, end, LIMITS).await {
                Ok(input) => input,
                Err(ReadError::Unavailable(_)) => return,
                Err(ReadError::Gone) => return,
            };
            for record in &input.records {
                assert!(record.pos >= at && record.end <= end);
                let text = sawlog_record::attached::split(&input.arena, record.text, |_, _, _| {});
                self.read.push((record.pos, String::from_utf8(text.of(&input.arena).to_vec()).unwrap()));
            }
            self.known.get_mut(&generation).unwrap().at = input.records.last().unwrap().end;
        }
    }

    fn texts(&self) -> Vec<String> {
        self.read.iter().map(|(_, text)| text.clone()).collect()
    }

    /// What a journal would hand back after a restart.
    fn journalled(&self) -> Vec<(Generation, PartitionId, Arc<[u8]>, u64)> {
        self.known.iter().map(|(g, k)| (*g, k.partition, k.identity.clone(), k.at)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_messages_come_once_at_their_offsets_also_after_a_restart() {
    let Some(broker) = TestBroker::find("committed_messages_come_once") else { return };
    let topic = TestBroker::unique("once");
    broker.create(&topic, 2).await;
    broker.send(&topic, 1, &values(0..20), true);
    broker.send(&topic, 1, &["aborted".to_owned(), "too".to_owned()], false);
    broker.send(&topic, 1, &values(20..40), true);
    let options = options(&broker, &[&topic], &topic, &json!({ "partitions": [1] }));
    let mut driver = Driver::start(&options, vec![]).await;
    driver.follow(|d| d.read.len() >= 40).await;
    assert_eq!(driver.texts(), values(0..40));
    let offsets: BTreeSet<u64> = driver.read.iter().map(|(pos, _)| *pos).collect();
    assert_eq!(offsets.len(), 40);
    assert_eq!(*offsets.last().unwrap(), 43, "20 + marker + 2 aborted + marker + 20");
    let (generation, again) = (*driver.known.keys().next().unwrap(), driver.read[25].0);
    let input = driver.source.read(generation, again, 44, LIMITS).await.unwrap();
    assert_eq!(input.records[0].pos, again, "the same place gives the same record");
    driver.source.trim(generation, 30).await;
    let anchor = driver.source.anchor(generation, 30).await;
    assert_eq!(anchor.len(), 16);
    let mut known = driver.journalled();
    known[0].3 = 30;
    let deadline = Instant::now() + Duration::from_secs(10);
    while broker.committed(&topic, &topic, 1) != Some(30) {
        assert!(Instant::now() < deadline, "lag tools see what every sink has finished");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expected = driver.read.iter().filter(|(pos, _)| *pos >= 30).count() + 5;
    drop(driver);
    broker.send(&topic, 1, &values(40..45), true);
    let mut driver = Driver::start(&options, known).await;
    driver.follow(|d| d.read.len() >= expected).await;
    assert_eq!(driver.read.len(), expected);
    assert_eq!(driver.read.last().unwrap().1, "line 44");
    assert_eq!(driver.known.len(), 1, "the generation is the same one");
    assert_eq!(driver.source.anchor(generation, 30).await, anchor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_buffer_dropped_is_fetched_again() {
    let Some(broker) = TestBroker::find("what_the_buffer_dropped") else { return };
    let topic = TestBroker::unique("replay");
    broker.create(&topic, 1).await;
    let large: Vec<String> = (0..60).map(|n| format!("{n} {}", "x".repeat(100_000))).collect();
    broker.send(&topic, 0, &large, true);
    let options = options(&broker, &[&topic], &topic, &json!({ "partitions": [0], "fetch_bytes_max": "1MiB" }));
    let mut driver = Driver::start(&options, vec![]).await;
    driver.follow(|d| d.read.len() >= 60).await;
    assert_eq!(driver.texts(), large, "a small buffer slows, and loses nothing");
    let generation = *driver.known.keys().next().unwrap();
    let mut at = 0;
    while at < 60 {
        let input = driver.source.read(generation, at, 60, LIMITS).await.unwrap();
        for record in &input.records {
            let text = sawlog_record::attached::split(&input.arena, record.text, |_, _, _| {});
            assert_eq!(text.of(&input.arena), large[usize::try_from(record.pos).unwrap()].as_bytes());
        }
        assert_eq!(input.records[0].pos, at);
        at = input.records.last().unwrap().end;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_retention_took_are_gone_and_said_so() {
    let Some(broker) = TestBroker::find("messages_that_retention_took") else { return };
    let topic = TestBroker::unique("gone");
    broker.create(&topic, 1).await;
    broker.send(&topic, 0, &values(0..20), true);
    let options = options(&broker, &[&topic], &topic, &json!({ "partitions": [0] }));
    let mut driver = Driver::start(&options, vec![]).await;
    driver.follow(|d| d.read.len() >= 20).await;
    let mut known = driver.journalled();
    drop(driver);
    known[0].3 = 5;
    broker.remove_below(&topic, 0, 10).await;
    let mut driver = Driver::start(&options, known).await;
    driver.follow(|d| d.known.values().any(|k| k.gone)).await;
    let generation = *driver.known.keys().next().unwrap();
    assert!(driver.known[&generation].gone);
    assert!(matches!(driver.source.read(generation, 5, 20, LIMITS).await, Err(ReadError::Gone)));
    assert_eq!(driver.read, [], "it does not go on as if nothing had happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_is_another_history() {
    let Some(broker) = TestBroker::find("a_topic_that_was_made_again") else { return };
    let topic = TestBroker::unique("again");
    broker.create(&topic, 1).await;
    broker.send(&topic, 0, &values(0..10), true);
    let options = options(&broker, &[&topic], &topic, &json!({ "partitions": [0], "start": "earliest" }));
    let mut driver = Driver::start(&options, vec![]).await;
    driver.follow(|d| d.read.len() >= 10).await;
    let known = driver.journalled();
    let old = known[0].0;
    drop(driver);
    broker.delete(&topic).await;
    broker.create(&topic, 1).await;
    broker.send(&topic, 0, &values(100..105), true);
    let mut driver = Driver::start(&options, known).await;
    driver.follow(|d| d.read.len() >= 5).await;
    assert_eq!(driver.texts(), values(100..105), "all of the new topic, from its first message");
    assert!(driver.known[&old].gone);
    assert_eq!(driver.known.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_does_not_end_the_reading_of_others() {
    let Some(broker) = TestBroker::find("a_topic_that_is_deleted") else { return };
    let [stays, goes] = ["stays", "goes"].map(TestBroker::unique);
    for topic in [&stays, &goes] {
        broker.create(topic, 1).await;
        broker.send(topic, 0, &values(0..5), true);
    }
    let options = options(&broker, &[&goes, &stays], &stays, &json!({ "start": "earliest" }));
    let mut driver = Driver::start(&options, vec![]).await;
    driver.follow(|d| d.read.len() >= 10).await;
    broker.delete(&goes).await;
    // The client finds out, and so does whoever looks whether the topics are still the same.
    let until = Instant::now() + Duration::from_secs(30);
    while !driver.source.trouble().is_some_and(|words| words.contains(&goes)) {
        assert!(Instant::now() < until, "it is told: {:?}", driver.source.trouble());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    broker.send(&stays, 0, &values(5..10), true);
    driver.follow(|d| d.read.len() >= 15).await;
    assert_eq!(driver.read.len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_group_share_partitions_and_leave_nothing_out() {
    let Some(broker) = TestBroker::find("members_of_a_group") else { return };
    let topic = TestBroker::unique("group");
    broker.create(&topic, 4).await;
    for partition in 0..4u64 {
        broker.send(&topic, i32::try_from(partition).unwrap(), &values(partition * 100..partition * 100 + 10), true);
    }
    let options = options(&broker, &[&topic], &topic, &json!({ "session_timeout": "6s" }));
    let mut first = Driver::start(&options, vec![]).await;
    first.follow(|d| d.read.len() >= 40).await;
    assert_eq!(first.read.len(), 40);
    for (generation, known) in &first.known {
        first.source.trim(*generation, known.at).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut second = Driver::start(&options, vec![]).await;
    let (mut one, mut two) = (BTreeSet::new(), BTreeSet::new());
    let deadline = Instant::now() + Duration::from_secs(40);
    while one.len() + two.len() != 4 || two.is_empty() {
        assert!(Instant::now() < deadline, "the group came to no balance: {one:?} {two:?}");
        first.follow(|_| false).await;
        second.follow(|_| false).await;
        one = first.source.lag().iter().map(|lag| lag.partition).collect();
        two = second.source.lag().iter().map(|lag| lag.partition).collect();
    }
    assert!(one.is_disjoint(&two), "{one:?} {two:?}");
    assert_eq!(second.read, [], "what the first had finished does not come again");
    for partition in 0..4u64 {
        broker.send(
            &topic,
            i32::try_from(partition).unwrap(),
            &values(partition * 100 + 10..partition * 100 + 20),
            true,
        );
    }
    first.follow(|d| d.read.len() >= 40 + 10 * one.len()).await;
    second.follow(|d| d.read.len() >= 10 * two.len()).await;
    let all: BTreeSet<String> = first.texts().into_iter().chain(second.texts()).collect();
    assert_eq!(all.len(), 80);
    assert_eq!(first.read.len() + second.read.len(), 80, "nothing came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_eof_ends_at_the_ends_that_were_there_also_where_a_transaction_was_aborted() {
    let Some(broker) = TestBroker::find("until_eof_ends") else { return };
    let (one, two) = (TestBroker::unique("eof"), TestBroker::unique("eof"));
    for topic in [&one, &two] {
        broker.create(topic, 1).await;
        broker.send(topic, 0, &values(0..10), true);
        broker.send(topic, 0, &["aborted".to_owned()], false);
    }
    let options = options(&broker, &[&one, &two], &one, &json!({}));
    let source = KafkaTopics::open(&options, "node-1", "in", true).unwrap();
    let mut driver = Driver::start_with(source, vec![]).await;
    driver.follow(|d| d.finished).await;
    assert!(driver.finished);
    assert_eq!(driver.read.len(), 20);
    broker.send(&one, 0, &values(10..20), true);
    driver.follow(|d| d.read.len() > 20).await;
    assert_eq!(driver.read.len(), 20, "what came later is for the next run");
}
