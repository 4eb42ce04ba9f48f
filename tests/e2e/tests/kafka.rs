//! The cells with Kafka at their beginning: Kafka to Kafka and to S3, HTTP to Kafka; the broker and S3 are killed on the way, and
//! the configuration is loaded anew under load. Then a broker that is gone for longer. Tests that leave the broker alone, and so bear
//! others beside them, are in files of their own.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb, verb_says};
use sawlog_e2e::cell::{self, Plan, run_with};
use sawlog_e2e::chaos::{self, Reach};
use sawlog_e2e::feed::{Posts, Sender as _, Topic, plain};
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::shown::{Committed, Shown as _};
use sawlog_e2e::told::Ledger;
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::wire::Wire;
use sawlog_e2e::{read, service, unique};
use std::time::Duration;

const PLAN: Plan<'_> = Plan { hangups: true, ..Plan::of_kills(4, 900) };

/// A config from partitions of `topic` that are assigned by hand.
fn config(brokers: &str, topic: &str, sink: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  orders: {{ type: kafka, brokers: [\"{brokers}\"], topics: [{topic}], partitions: [0, 1, 2], group_id: {topic}, start: earliest }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [orders], try: [json, text] }}\n\
         sinks:\n  out: {sink}\n"
    )
}

fn kafka_sink(brokers: &str, input: &str, topic: &str, cursors: &str) -> String {
    let timeout = chaos::transaction_timeout();
    format!(
        "{{ type: kafka, inputs: [{input}], brokers: [\"{brokers}\"], topic: {topic}, cursor_topic: {cursors}, transaction_timeout: {timeout}, batch: {{ age: 200ms }} }}"
    )
}

#[test]
fn kafka_to_kafka_survives_kills_a_broker_killed_and_reloads_under_load() {
    let Some(brokers) = service("kafka → kafka", "SAWLOG_TEST_KAFKA") else { return };
    let (from, to, cursors) = (unique("from"), unique("to"), unique("cursors"));
    read::make_topics(&brokers, &[(&from, 3, false), (&to, 3, false), (&cursors, 16, true)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wire = chaos::seed().unwrap().map(|_| Wire::to_kafka().unwrap());
    let through = wire.as_ref().map_or(brokers.clone(), Wire::address);
    let config = config(&through, &from, &kafka_sink(&through, "parsed", &to, &cursors));
    let reach = Reach { service: Some("kafka"), wire: wire.as_ref() };
    let plan = Plan { restarts: &["kafka"], reach, ..PLAN };
    let feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    run_with(folder.path(), &config, plan, feed, &Committed::of(&brokers, &to)).unwrap();
}

#[test]
fn kafka_to_s3_survives_kills_and_s3_killed() {
    let Some(brokers) = service("kafka → s3", "SAWLOG_TEST_KAFKA") else { return };
    let Some(bucket) = Bucket::find("kafka → s3") else { return };
    let from = unique("from");
    read::make_topics(&brokers, &[(&from, 3, false)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wire = chaos::seed().unwrap().map(|_| Wire::to_url(&bucket.endpoint).unwrap());
    let sink = wire.as_ref().map_or(bucket.clone(), |wire| bucket.through(wire)).sink("parsed");
    let config = config(&brokers, &from, &sink);
    let feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    let reach = Reach { service: Some("s3"), wire: wire.as_ref() };
    let plan = Plan { restarts: &["s3"], reach, ..PLAN };
    run_with(folder.path(), &config, plan, feed, &bucket).unwrap();
}

#[test]
fn http_to_kafka_survives_kills() {
    let Some(brokers) = service("http → kafka", "SAWLOG_TEST_KAFKA") else { return };
    let (to, cursors) = (unique("to"), unique("cursors"));
    read::make_topics(&brokers, &[(&to, 3, false), (&cursors, 16, true)]).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wire = chaos::seed().unwrap().map(|_| Wire::to_kafka().unwrap());
    let sink = kafka_sink(&wire.as_ref().map_or(brokers.clone(), Wire::address), "web", &to, &cursors);
    let config = format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", decode: ndjson }}\nsinks:\n  out: {sink}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let posts = Posts::new(format!("http://127.0.0.1:{port}/"));
    let reach = Reach { service: Some("kafka"), wire: wire.as_ref() };
    let plan = Plan { restarts: &["kafka"], reach, ..PLAN };
    run_with(folder.path(), &config, plan, posts, &Committed::of(&brokers, &to)).unwrap();
}

#[test]
fn a_broker_that_is_gone_is_said_and_disturbs_no_other_sink() {
    let Some(brokers) = service("a broker that is gone", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("gone"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let sink = kafka_sink(&brokers, "parsed", &topic, &cursors).replace("batch:", "retry: { max: 1s }, batch:");
    let mut trial = Trial::begin(plain, &sink).unwrap();
    trial.feed.send(300).unwrap();
    let shown = Committed::of(&brokers, &topic);
    let wait = Duration::from_secs(90);
    trial.agent().unwrap().wait_until("rows", wait, || Ok(shown.rows()?.len() == 300)).unwrap();
    cell::services("kill", "kafka").unwrap();
    let said = trial.feed.send(300).and_then(|()| trial.says("refused")).and_then(|()| trial.kill());
    let said = said.and_then(|()| trial.feed.send(300)).and_then(|()| trial.says("refused"));
    cell::restart("kafka").unwrap();
    said.unwrap();
    trial.exact(none, &shown).unwrap();
}

#[test]
fn a_backfill_from_kafka_ends_by_itself() {
    let Some(brokers) = service("kafka until eof", "SAWLOG_TEST_KAFKA") else { return };
    let from = unique("from");
    read::make_topics(&brokers, &[(&from, 3, false)]).unwrap();
    let mut feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    feed.send(2_000).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sink = "{ type: file, inputs: [parsed], path: \"./lake/dt={received_time:%Y-%m-%d}\", format: jsonl, roll: { size: 1MiB, age: 1s } }";
    std::fs::write(folder.path().join("sawlog.yaml"), config(&brokers, &from, sink)).unwrap();
    Agent::start_until_eof(folder.path()).unwrap().finish(Duration::from_secs(60)).unwrap();
    let mut rows = read::folder(&folder.path().join("lake")).unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (0..2_000).collect::<Vec<u64>>());
}

#[test]
fn setup_makes_the_topics_of_a_sink_once() {
    let Some(brokers) = service("setup", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("setup"), unique("setup-cursors"));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sawlog.yaml");
    let text = format!(
        "version: 1\nagent: {{ id: e2e }}\nsources:\n  app: {{ type: file, include: [/var/log/app.log] }}\nsinks:\n  \
         out: {{ type: kafka, inputs: [app], brokers: [\"{brokers}\"], topic: {topic}, cursor_topic: {cursors} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let setup = || {
        let mut command = std::process::Command::new(std::env::var("SAWLOG_TEST_BINARY").unwrap());
        let output = command.args(["setup", "--replicas", "1", "-c"]).arg(&config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(setup().matches(": made").count(), 2);
    assert_eq!(setup().matches(": is there, as it was").count(), 2);
    assert_eq!(read::kafka(&brokers, &topic).unwrap(), Vec::<u64>::new());
}

/// Each partition is sent back to its beginning; its transactions carry the cursors of what comes again, also over a kill.
#[test]
fn partitions_of_a_topic_come_again() {
    let Some(brokers) = service("kafka seek", "SAWLOG_TEST_KAFKA") else { return };
    let (from, to, cursors) = (unique("from"), unique("to"), unique("cursors"));
    read::make_topics(&brokers, &[(&from, 3, false), (&to, 3, false), (&cursors, 16, true)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(
        path.join("sawlog.yaml"),
        config(&brokers, &from, &kafka_sink(&brokers, "parsed", &to, &cursors))
            .replace("data_dir: ./data\n", "data_dir: ./data\napi: { listen: \"127.0.0.1:0\" }\n"),
    )
    .unwrap();
    let mut feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    feed.send(300).unwrap();
    let mut agent = Agent::start_answering(path).unwrap();
    let wait = Duration::from_secs(60);
    let delivered = |records: u64| Ok(Ledger::of(path).is_ok_and(|l| l.count("out", "orders", "delivered") == records));
    agent.wait_until("every row", wait, || delivered(300)).unwrap();
    let said = verb_says(path, &["source", "seek", "orders", "--to", "oldest", "--accept-duplicates"]).unwrap();
    assert!(!said.0 && said.1.contains("name a position"), "{}", said.1);
    let shown: serde_json::Value = serde_json::from_str(&verb(path, &["checkpoint", "show"]).unwrap()).unwrap();
    let places = shown["sinks"]["out"].as_array().unwrap().iter().map(|place| place["partition"].as_str().unwrap());
    for partition in places {
        verb(path, &["source", "seek", "orders", "--partition", partition, "--to", "0", "--accept-duplicates"])
            .unwrap();
    }
    agent.kill().unwrap();
    let mut agent = Agent::start_answering(path).unwrap();
    feed.send(30).unwrap();
    agent.wait_until("every row again", wait, || delivered(630)).unwrap();
    let (mut rows, ledger) = (read::kafka(&brokers, &to).unwrap(), Ledger::of(path).unwrap());
    rows.sort_unstable();
    let mut wanted: Vec<u64> = (0..300).chain(0..330).collect();
    wanted.sort_unstable();
    assert_eq!((rows, ledger.count("out", "orders", "repeated")), (wanted, 300));
    agent.terminate().unwrap();
}
