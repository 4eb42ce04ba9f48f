//! Rows that Kafka took and does not show: a transaction that stays open holds back what readers see, whoever's it is. The agent has
//! delivered, and says that nobody sees it, until it is seen.
#![allow(clippy::unwrap_used)]

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sawlog_e2e::feed::{Sender as _, plain};
use sawlog_e2e::shown::{Committed, Shown as _};
use sawlog_e2e::told::{Ledger, metric, troubles};
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::{read, service, unique};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(90);
/// Twice the sink's `transaction_timeout`, and the 10 seconds in which a broker ends what outlived its time.
const PATIENCE: Duration = Duration::from_secs(20);
const SERIES: &str = "sawlog_sink_hidden_seconds{sink=\"out\"}";
const ALARM: &str = "rows were delivered and readers don't see them";
const SEEN: &str = "readers see again what was delivered";

/// Somebody else's transaction in `topic`, with one message, that does not end by itself for a long time.
fn open_transaction(brokers: &str, topic: &str) -> BaseProducer {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("transactional.id", unique("another"));
    let producer: BaseProducer = settings.set("transaction.timeout.ms", "600000").create().unwrap();
    producer.init_transactions(WAIT_MAX).unwrap();
    producer.begin_transaction().unwrap();
    let message = BaseRecord::<(), str>::to(topic).partition(1).payload("{\"seq\":1000000}");
    producer.send(message).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT_MAX).unwrap();
    producer
}

#[test]
fn rows_behind_an_open_transaction_are_said_to_be_hidden_until_it_ends() {
    let Some(brokers) = service("hidden rows", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("hidden"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let another = open_transaction(&brokers, &topic);
    // Keys spread the rows over all partitions.
    let sink = format!(
        "{{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {topic}, key: \"{{seq}}\", cursor_topic: {cursors}, \
         transaction_timeout: 5s, batch: {{ age: 200ms }}, retry: {{ max: 1s }} }}"
    );
    let mut trial = Trial::begin(plain, &sink).unwrap();
    let (path, shown) = (trial.path().to_owned(), Committed::of(&brokers, &topic));
    trial.feed.send(300).unwrap();
    let delivered = |n| Ledger::of(&path).is_ok_and(|ledger| ledger.count("out", "app", "delivered") == n);
    trial.agent().unwrap().wait_until("the ledger", WAIT_MAX, || Ok(delivered(300))).unwrap();
    let since = Instant::now();
    let seen = shown.rows().unwrap().len();
    assert!(0 < seen && seen < 300, "a part of what is delivered is seen: {seen}");
    let is_hidden = |trial: &mut Trial| metric(&trial.agent().unwrap().metrics().unwrap(), SERIES).unwrap() > 0.0;
    assert!(!is_hidden(&mut trial) && !troubles(&path).unwrap().contains("hidden"), "it may be a lawful transaction");

    while !is_hidden(&mut trial) {
        assert!(since.elapsed() < WAIT_MAX, "nothing is said to be hidden:\n{}", trial.agent().unwrap().log_tail());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(since.elapsed() + Duration::from_secs(2) > PATIENCE, "after {:?}", since.elapsed());
    let agent = trial.agent().unwrap();
    agent.wait_until("the alarm", WAIT_MAX, || Ok(troubles(&path)?.contains("\"hidden\""))).unwrap();
    let log = path.join("agent.log");
    let logged = |words: &str| std::fs::read_to_string(&log).unwrap().matches(words).count();
    agent.wait_until("the alarm in the log", WAIT_MAX, || Ok(logged(ALARM) == 1)).unwrap();
    let told = troubles(&path).unwrap();
    for words in [format!("topic {topic}, partition 1: "), "from offset 0 on".to_owned(), "runbook".to_owned()] {
        assert!(told.contains(&words) && logged(&words) == 1, "{words}: {told}");
    }
    trial.feed.send(100).unwrap();
    trial.agent().unwrap().wait_until("the ledger", WAIT_MAX, || Ok(delivered(400))).unwrap();
    assert!(shown.rows().unwrap().len() < 400, "delivery goes on, and part of it is hidden");

    another.abort_transaction(WAIT_MAX).unwrap();
    let agent = trial.agent().unwrap();
    agent.wait_until("it is seen", WAIT_MAX, || Ok(logged(SEEN) == 1)).unwrap();
    assert!(!is_hidden(&mut trial) && !troubles(&path).unwrap().contains("hidden"));
    trial.exact(none, &shown).unwrap();
}
