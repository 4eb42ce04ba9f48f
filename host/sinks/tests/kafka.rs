//! The Kafka sink against a real broker. The readers here are plain librdkafka consumers and use nothing of the sink.
#![allow(missing_docs, clippy::unwrap_used)]

mod rows;
mod topics;

use rows::{Rows, values};
use sawlog_core::SinkId;
use sawlog_core::journal::Mark;
use sawlog_core::ports::{SinkError, TransactionLog};
use sawlog_record::id::Generation;
use sawlog_settings::checked::{NameTemplate, ValueTemplate};
use sawlog_settings::component::Provenance;
use sawlog_settings::connection::{Sasl, SaslMechanism};
use sawlog_settings::{ByteSize, Secret};
use sawlog_sinks::kafka::config::{Compression, KafkaSink};
use sawlog_sinks::kafka::setup::{SetupOptions, create};
use sawlog_sinks::kafka::{KafkaTransactions, Owner};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use topics::{Isolation, TestBroker};

const G: Generation = Generation([9; 16]);

/// A sink's options and owner, with topics of its own on the broker.
struct Bench {
    options: KafkaSink,
    owner: Owner,
}

impl Bench {
    fn new(broker: &TestBroker, name: &str) -> Self {
        let unique = broker.unique(name);
        let bench = Self::without_topics(&broker.address, &unique);
        let one_node = SetupOptions { partitions: 3, replicas: 1, in_sync_min: 1 };
        create(&bench.options, &bench.owner, &one_node).expect("the broker makes topics");
        bench
    }

    fn without_topics(address: &str, unique: &str) -> Self {
        let written = serde_json::json!({ "brokers": [address], "topic": format!("{unique}-data"),
            "cursor_topic": format!("{unique}-cursors"), "transaction_timeout": "120s" });
        let options: KafkaSink = serde_json::from_value(written).expect("the options are complete");
        let owner = Owner { cluster: unique.to_owned(), agent: "node/1".into(), sink: SinkId::new("out") };
        Self { options, owner }
    }

    fn set_topic(&mut self, ending: &str) {
        self.options.topic = NameTemplate::parse(&format!("{}{ending}", self.owner.cluster)).expect("a template");
    }

    fn sink(&self) -> KafkaTransactions {
        KafkaTransactions::open(&self.options, &self.owner, Provenance::Full).expect("the sink opens")
    }
}

async fn commit(sink: &KafkaTransactions, rows: &Rows, range: std::ops::Range<u64>) -> Result<usize, SinkError> {
    let offer = rows.offer(range);
    let marks = [(G, Mark::at(offer.mark.cursor))];
    sink.commit(&[offer], &marks, &[]).await.map(|refused| refused.len())
}

/// Recovers as the core does: what is not available now is tried again. A busy machine is no failure.
async fn recovered(sink: &KafkaTransactions) -> Result<BTreeMap<Generation, Mark>, SinkError> {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        match sink.recover().await {
            Err(SinkError::Unavailable(words)) if Instant::now() < deadline => println!("again: {words}"),
            outcome => return outcome,
        }
    }
}

fn numbered(range: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    range.map(|n| (n, 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_cursors_become_visible_together_with_their_origin() {
    let Some(broker) = TestBroker::find("rows_and_cursors") else { return };
    let bench = Bench::new(&broker, "together");
    let (sink, rows) = (bench.sink(), Rows::of(G));
    assert_eq!(recovered(&sink).await.unwrap(), BTreeMap::new(), "a new sink knows no cursor");
    let opened = sink.activity().recoveries.load(Ordering::Relaxed);
    let begun = Instant::now();
    for batch in 0..20 {
        assert_eq!(commit(&sink, &rows, batch * 50..(batch + 1) * 50).await.unwrap(), 0);
    }
    let each = begun.elapsed() / 20;
    assert_eq!(sink.activity().recoveries.load(Ordering::Relaxed), opened, "one producer commits them all");
    println!("a transaction of 50 rows: {each:?}");
    let read = broker.read(bench.options.topic.as_str(), Isolation::Committed);
    assert_eq!(values(&read), numbered(0..1000));
    let first = read.iter().find(|m| m.value.contains("\"n\":7}")).expect("row 7 was read");
    assert_eq!(first.header("agent"), "node/1");
    assert_eq!(first.header("source"), "app");
    assert_eq!(first.header("position"), "7");
    assert_eq!(first.header("received"), "1970-01-01T00:00:01.000000000Z");
    assert_eq!(first.header("time"), "1970-01-01T00:00:01.000000000Z");
    assert!(first.sent_at_millis > 1_700_000_000_000, "retention goes by the time of sending");
    assert_eq!(first.header("rid").len(), 36);
    let again = bench.sink();
    let found = recovered(&again).await.unwrap();
    assert_eq!(found.get(&G).unwrap().cursor.pos, 1000);
    again.commit(&[], &[], &[G]).await.unwrap();
    assert_eq!(recovered(&bench.sink()).await.unwrap(), BTreeMap::new(), "a forgotten generation has no cursor");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_producer_fences_the_first_and_cursors_stay_exact() {
    let Some(broker) = TestBroker::find("a_second_producer_fences") else { return };
    let bench = Bench::new(&broker, "fence");
    let (first, second, rows) = (bench.sink(), bench.sink(), Rows::of(G));
    recovered(&first).await.unwrap();
    commit(&first, &rows, 0..10).await.unwrap();
    assert_eq!(recovered(&second).await.unwrap().get(&G).unwrap().cursor.pos, 10);
    let fenced = commit(&first, &rows, 10..20).await.unwrap_err();
    assert!(matches!(fenced, SinkError::Fenced(_)), "{fenced}");
    commit(&second, &rows, 10..30).await.unwrap();
    assert_eq!(recovered(&first).await.unwrap().get(&G).unwrap().cursor.pos, 30, "what the second wrote is the truth");
    assert_eq!(first.activity().twins.load(Ordering::Relaxed), 1, "the twin is noticed");
    assert_eq!(second.activity().twins.load(Ordering::Relaxed), 0);
    let (other, own) = first.twin().expect("the core is told of it");
    assert!(other != own && other.starts_with("the producer's life "), "{other} and {own}");
    assert_eq!((first.twin(), second.twin()), (None, None), "it is told once");
    commit(&first, &rows, 30..40).await.unwrap();
    assert_eq!(values(&broker.read(bench.options.topic.as_str(), Isolation::Committed)), numbered(0..40));
}

/// Not a test of its own: what `kill_9` starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let (Ok(unique), Ok(address)) = (std::env::var("SAWLOG_TEST_CHILD"), std::env::var("SAWLOG_TEST_KAFKA")) else {
        return;
    };
    let bench = Bench::without_topics(&address, &unique);
    deliver_to(&bench, u64::MAX).await;
}

/// Delivers from the cursor on, as the core does: after any error it recovers and begins at the cursor.
async fn deliver_to(bench: &Bench, end: u64) {
    let (sink, rows) = (bench.sink(), Rows::of(G));
    loop {
        let Ok(marks) = sink.recover().await else { continue };
        let mut at = marks.get(&G).map_or(0, |mark| mark.cursor.pos);
        while at < end {
            let to = (at + 40).min(end);
            if commit(&sink, &rows, at..to).await.is_err() {
                break;
            }
            at = to;
        }
        if at >= end {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_transactions_loses_and_repeats_nothing() {
    let Some(broker) = TestBroker::find("kill_9") else { return };
    let bench = Bench::new(&broker, "kill");
    let mut kills = 0;
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env("SAWLOG_TEST_CHILD", &bench.owner.cluster)
            .env("SAWLOG_TEST_KAFKA", &broker.address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = broker.read(bench.options.topic.as_str(), Isolation::Uncommitted).len();
        let deadline = Instant::now() + Duration::from_secs(40);
        while broker.read(bench.options.topic.as_str(), Isolation::Uncommitted).len() <= before
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let reached = recovered(&bench.sink()).await.unwrap().get(&G).map_or(0, |mark| mark.cursor.pos);
    assert!(reached > 0, "no child committed anything");
    let end = reached + 200;
    deliver_to(&bench, end).await;
    let committed = values(&broker.read(bench.options.topic.as_str(), Isolation::Committed));
    let written = broker.read(bench.options.topic.as_str(), Isolation::Uncommitted).len();
    println!("{kills} kills, {end} rows: read_committed {}, read_uncommitted {written}", committed.len());
    assert_eq!(committed, numbered(0..end));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_transaction_is_seen_by_no_committed_reader() {
    let Some(broker) = TestBroker::find("an_aborted_transaction") else { return };
    let bench = Bench::new(&broker, "abort");
    let (sink, rows) = (bench.sink(), Rows::of(G));
    recovered(&sink).await.unwrap();
    commit(&sink, &rows, 0..10).await.unwrap();
    broker.leave_transaction_open(&format!("{}/node/1/out", bench.owner.cluster), bench.options.topic.as_str(), 5);
    assert!(commit(&sink, &rows, 10..20).await.is_err(), "the sink was fenced");
    assert_eq!(recovered(&sink).await.unwrap().get(&G).unwrap().cursor.pos, 10);
    commit(&sink, &rows, 10..20).await.unwrap();
    assert_eq!(values(&broker.read(bench.options.topic.as_str(), Isolation::Committed)), numbered(0..20));
    let uncommitted = broker.read(bench.options.topic.as_str(), Isolation::Uncommitted).len();
    assert!(uncommitted >= 25, "the five aborted messages are really there: {uncommitted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_rows_that_are_too_large_are_refused() {
    let Some(broker) = TestBroker::find("only_the_rows_that_are_too_large") else { return };
    let mut bench = Bench::new(&broker, "large");
    bench.options.message_bytes_max = ByteSize::kib(200);
    let (sink, rows) = (bench.sink(), Rows::of(G).padded(13, 300 << 10));
    recovered(&sink).await.unwrap();
    let offer = rows.offer(0..30);
    let marks = [(G, offer.mark.clone())];
    let refused = sink.commit(std::slice::from_ref(&offer), &marks, &[]).await.unwrap();
    assert_eq!(refused.iter().map(|r| (r.offer, r.row)).collect::<Vec<_>>(), [(0, 13)]);
    assert!(refused[0].reason.contains("message_bytes_max"), "{}", refused[0].reason);
    assert!(
        broker.read(bench.options.topic.as_str(), Isolation::Uncommitted).is_empty(),
        "nothing was sent before the check"
    );
    sink.commit(&[rows.without(offer, 13)], &marks, &[]).await.unwrap();
    let read = values(&broker.read(bench.options.topic.as_str(), Isolation::Committed));
    assert_eq!(read, numbered(0..30).into_iter().filter(|(n, _)| *n != 13).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_a_lower_limit_refuses_the_same_rows_and_no_others() {
    let Some(broker) = TestBroker::find("a_topic_with_a_lower_limit") else { return };
    let mut bench = Bench::new(&broker, "lower");
    bench.set_topic("-small");
    broker.create_topic(bench.options.topic.as_str(), &[("max.message.bytes", "20000")]);
    bench.options.compression = Compression::None;
    let (sink, rows) = (bench.sink(), Rows::of(G).padded(5, 30_000).padded(17, 19_000));
    recovered(&sink).await.unwrap();
    let offer = rows.offer(0..2000);
    let marks = [(G, offer.mark.clone())];
    let refused = sink.commit(std::slice::from_ref(&offer), &marks, &[]).await.unwrap();
    assert_eq!(refused.iter().map(|r| (r.offer, r.row)).collect::<Vec<_>>(), [(0, 5)], "{refused:?}");
    println!("the broker's reason: {}", refused[0].reason);
    let rest = rows.without(offer, 5);
    assert_eq!(sink.commit(&[rest], &marks, &[]).await.unwrap(), []);
    let read = values(&broker.read(bench.options.topic.as_str(), Isolation::Committed));
    assert_eq!(read, numbered(0..2000).into_iter().filter(|(n, _)| *n != 5).collect());
    assert_eq!(recovered(&bench.sink()).await.unwrap().get(&G).unwrap().cursor.pos, 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_topics_are_named_with_a_remedy() {
    let Some(broker) = TestBroker::find("unknown_topics") else { return };
    let bench = Bench::without_topics(&broker.address, &broker.unique("missing"));
    let error = recovered(&bench.sink()).await.unwrap_err();
    assert!(
        matches!(&error, SinkError::Refused(words) if words.contains("-data") && words.contains("sawlog setup")),
        "{error}"
    );
    let mut bench = Bench::new(&broker, "template");
    bench.set_topic(".{team}");
    let (sink, rows) = (bench.sink(), Rows::of(G));
    recovered(&sink).await.unwrap();
    let error = commit(&sink, &rows, 0..3).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(words) if words.contains(".blue")), "{error}");
    broker.create_topic(&format!("{}.blue", bench.owner.cluster), &[]);
    assert_eq!(recovered(&sink).await.unwrap(), BTreeMap::new());
    commit(&sink, &rows, 0..3).await.unwrap();
    let read = broker.read(&format!("{}.blue", bench.owner.cluster), Isolation::Committed);
    assert_eq!(values(&read), numbered(0..3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rendered_and_keep_the_order_of_their_rows() {
    let Some(broker) = TestBroker::find("keys_are_rendered") else { return };
    let mut bench = Bench::new(&broker, "keys");
    // A field that is missing is empty, in any key.
    bench.options.key = Some(ValueTemplate::parse("{team}-{absent}").expect("a template"));
    let (sink, rows) = (bench.sink(), Rows::of(G));
    recovered(&sink).await.unwrap();
    for batch in 0..4 {
        commit(&sink, &rows, batch * 25..(batch + 1) * 25).await.unwrap();
    }
    let read = broker.read(bench.options.topic.as_str(), Isolation::Committed);
    assert_eq!(values(&read), numbered(0..100));
    assert!(read.iter().all(|message| message.key.as_deref() == Some("blue-")), "{:?}", read[0].key);
    assert!(read.iter().all(|message| message.partition == read[0].partition), "one key is one partition");
    let order: Vec<u64> = read.iter().map(|message| number(&message.value)).collect();
    assert!(order.is_sorted(), "{order:?}");

    bench.options.key = Some(ValueTemplate::parse("{n}").expect("a template"));
    let sink = bench.sink();
    recovered(&sink).await.unwrap();
    commit(&sink, &rows, 100..160).await.unwrap();
    let read = broker.read(bench.options.topic.as_str(), Isolation::Committed);
    assert_eq!(values(&read), numbered(0..160));
    let later: Vec<_> = read.iter().filter(|message| number(&message.value) >= 100).collect();
    assert!(later.iter().all(|message| message.key == Some(number(&message.value).to_string())));
    assert!(later.iter().any(|message| message.partition != later[0].partition), "keys spread over partitions");

    bench.options.key = None;
    let sink = bench.sink();
    recovered(&sink).await.unwrap();
    commit(&sink, &rows, 160..170).await.unwrap();
    let read = broker.read(bench.options.topic.as_str(), Isolation::Committed);
    assert_eq!(values(&read), numbered(0..170));
    assert!(read.iter().filter(|message| number(&message.value) >= 160).all(|message| message.key.is_none()));
}

fn number(value: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(value).expect("JSON")["n"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_that_can_be_written_into_a_config_is_built_in() {
    let Some(broker) = TestBroker::find("every_compression") else { return };
    let mut bench = Bench::new(&broker, "compressed");
    let rows = Rows::of(G);
    for (at, compression) in (0..).zip([Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd]) {
        bench.options.compression = compression;
        let sink = bench.sink();
        recovered(&sink).await.unwrap();
        assert_eq!(commit(&sink, &rows, at * 50..(at + 1) * 50).await.unwrap(), 0, "{compression:?}");
    }
    assert_eq!(values(&broker.read(bench.options.topic.as_str(), Isolation::Committed)), numbered(0..200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_beyond_the_limit_are_one() {
    let Some(broker) = TestBroker::find("topics_beyond_the_limit") else { return };
    let mut bench = Bench::new(&broker, "many");
    bench.set_topic(".{n}");
    bench.options.topics_max = 2;
    for topic in ["0", "1", "other"] {
        broker.create_topic(&format!("{}.{topic}", bench.owner.cluster), &[]);
    }
    let (sink, rows) = (bench.sink(), Rows::of(G));
    recovered(&sink).await.unwrap();
    commit(&sink, &rows, 0..7).await.unwrap();
    let of = |topic: &str| values(&broker.read(&format!("{}.{topic}", bench.owner.cluster), Isolation::Committed));
    assert_eq!([of("0"), of("1"), of("other")], [numbered(0..1), numbered(1..2), numbered(2..7)]);
    assert_eq!(sink.activity().over_topics_max.load(Ordering::Relaxed), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_topic_that_forgets_is_refused() {
    let Some(broker) = TestBroker::find("a_cursor_topic_that_forgets") else { return };
    let bench = Bench::without_topics(&broker.address, &broker.unique("forgets"));
    broker.create_topic(bench.options.topic.as_str(), &[]);
    let error = recovered(&bench.sink()).await.unwrap_err();
    assert!(error.to_string().contains("needs 16"), "{error}");
    broker.create_topic_of(&bench.options.cursor_topic, 16, &[("cleanup.policy", "delete")]);
    let error = recovered(&bench.sink()).await.unwrap_err();
    assert!(error.to_string().contains("cleanup.policy=delete"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_is_no_refusal() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let bench = Bench::without_topics(&address, "gone");
    let begun = Instant::now();
    let error = bench.sink().recover().await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(words) if words.contains("refused")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// `SAWLOG_TEST_KAFKA_SASL` is `HOST:PORT` of a broker with an authorizer and SASL/PLAIN, whose super user is `admin` with the
/// password `admin-secret`, and whose user `weak` with `weak-secret` has no rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_and_rights_are_told_apart() {
    let Ok(address) = std::env::var("SAWLOG_TEST_KAFKA_SASL") else {
        println!("NOT RUN: refused_credentials: SAWLOG_TEST_KAFKA_SASL names no broker");
        return;
    };
    let broker = TestBroker { address };
    let mut bench = Bench::without_topics(&broker.address, &broker.unique("sasl"));
    let as_user = |bench: &mut Bench, username: &str, password: &str| {
        let (username, password) = (username.to_owned(), Secret::clear(password));
        bench.options.sasl = Some(Sasl { mechanism: SaslMechanism::Plain, username, password });
    };
    as_user(&mut bench, "admin", "admin-secret");
    let one_node = SetupOptions { partitions: 3, replicas: 1, in_sync_min: 1 };
    create(&bench.options, &bench.owner, &one_node).expect("the super user makes topics");
    let (sink, rows) = (bench.sink(), Rows::of(G));
    recovered(&sink).await.unwrap();
    commit(&sink, &rows, 0..10).await.unwrap();

    as_user(&mut bench, "admin", "wrong");
    let error = recovered(&bench.sink()).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(words) if words.contains("check `sasl`")), "{error}");

    as_user(&mut bench, "weak", "weak-secret");
    let error = recovered(&bench.sink()).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(words) if words.contains("grant this user")), "{error}");
    let error = create(&bench.options, &bench.owner, &one_node).unwrap_err();
    assert!(error.to_string().contains("grant") || error.to_string().contains("authorization"), "{error}");

    commit(&sink, &rows, 10..20).await.expect("the sink with rights goes on");
}
