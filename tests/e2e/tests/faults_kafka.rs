//! A Kafka sink of the real binary whose broker says no: an unknown topic, a wrong password, no rights, a message that is
//! too large, another agent of the same id. Each is said with what mends it, holds up nobody else, and once it is mended every row is there once.
#![allow(clippy::unwrap_used)]

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender as _, plain};
use sawlog_e2e::shown::{Committed, Differences, Shown as _, control};
use sawlog_e2e::told::troubles;
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::{read, service, unique};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(90);

/// Every fiftieth line is longer than the topic allows.
fn sometimes_long(number: u64) -> String {
    let padding = if is_long(number) { "x".repeat(60_000) } else { String::new() };
    format!("{{\"seq\":{number},\"padding\":\"{padding}\"}}")
}

fn is_long(number: u64) -> bool {
    number % 50 == 7
}

fn sink(brokers: &str, topic: &str, cursors: &str, more: &str) -> String {
    format!(
        "{{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {topic}, cursor_topic: {cursors}, batch: {{ age: 200ms }}, retry: {{ max: 1s }}{more} }}"
    )
}

#[test]
fn an_unknown_topic_is_named_and_waited_for() {
    let Some(brokers) = service("an unknown topic", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("absent"), unique("cursors"));
    read::make_topics(&brokers, &[(&cursors, 16, true)]).unwrap();
    let mut trial = Trial::begin(plain, &sink(&brokers, &topic, &cursors, "")).unwrap();
    trial.feed.send(400).unwrap();
    trial.says(&topic).unwrap();
    trial.says("sawlog setup").unwrap();
    trial.kill().unwrap();
    trial.feed.send(400).unwrap();
    trial.says(&topic).unwrap();
    read::make_topics(&brokers, &[(&topic, 3, false)]).unwrap();
    trial.exact(none, &Committed::of(&brokers, &topic)).unwrap();
}

#[test]
fn refused_credentials_and_rights_are_said_and_mended_by_a_reload() {
    let Some(brokers) = service("kafka authorisation", "SAWLOG_TEST_KAFKA") else { return };
    let Some(asking) = service("kafka authorisation", "SAWLOG_TEST_KAFKA_SASL") else { return };
    let (topic, cursors) = (unique("guarded"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let as_user = |user: &str| {
        let sasl = format!(", sasl: {{ mechanism: PLAIN, username: {user}, password: \"${{secret:kafka}}\" }}");
        sink(&asking, &topic, &cursors, &sasl)
    };
    let mut trial = Trial::begin(plain, &sink(&asking, &topic, &cursors, "")).unwrap();
    trial.secret("kafka", "a-wrong-password").unwrap();
    trial.reload(&as_user("admin")).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("check `sasl`").unwrap();
    trial.secret("kafka", "weak-secret").unwrap();
    trial.reload(&as_user("weak")).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("grant this user").unwrap();
    trial.kill().unwrap();
    trial.secret("kafka", "admin-secret").unwrap();
    trial.reload(&as_user("admin")).unwrap();
    trial.feed.send(300).unwrap();
    let log = trial.agent().unwrap().log();
    assert!(!log.contains("a-wrong-password") && !log.contains("admin-secret"), "the log shows a secret");
    trial.exact(none, &Committed::of(&brokers, &topic)).unwrap();
}

/// The same user and the same config: only the secret's file has changed.
#[test]
fn a_secret_that_was_exchanged_is_read_again_by_a_reload() {
    let Some(brokers) = service("a kafka secret", "SAWLOG_TEST_KAFKA") else { return };
    let Some(asking) = service("a kafka secret", "SAWLOG_TEST_KAFKA_SASL") else { return };
    let (topic, cursors) = (unique("rotated"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let sasl = ", sasl: { mechanism: PLAIN, username: admin, password: \"${secret:kafka}\" }";
    let sink = sink(&asking, &topic, &cursors, sasl);
    let mut trial = Trial::begin(plain, &sink.replace(sasl, "")).unwrap();
    trial.secret("kafka", "an-old-password").unwrap();
    trial.reload(&sink).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("check `sasl`").unwrap();
    trial.secret("kafka", "admin-secret").unwrap();
    trial.reload(&sink).unwrap();
    trial.exact(none, &Committed::of(&brokers, &topic)).unwrap();
}

#[test]
fn messages_that_are_too_large_go_to_the_dead_letters_and_no_others() {
    let Some(brokers) = service("kafka, messages too large", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("narrow"), unique("cursors"));
    read::make_topics(&brokers, &[(&cursors, 16, true)]).unwrap();
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let narrow = NewTopic::new(&topic, 3, TopicReplication::Fixed(1)).set("max.message.bytes", "20000");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(admin.create_topics(&[narrow], &AdminOptions::new())).unwrap();
    made.into_iter().for_each(|topic| drop(topic.unwrap()));
    let mut trial = Trial::begin(sometimes_long, &sink(&brokers, &topic, &cursors, ", compression: none")).unwrap();
    trial.feed.send(500).unwrap();
    trial.kill().unwrap();
    trial.feed.send(500).unwrap();
    let trial = trial.exact(is_long, &Committed::of(&brokers, &topic)).unwrap();
    for letter in trial.letter_texts().unwrap() {
        let reason = letter["reason"].as_str().unwrap();
        assert!(letter["sink"] == "out" && reason.contains("large"), "{letter}");
        assert!(letter["position"].is_u64() && letter["source"] == "app", "its origin is there: {letter}");
    }
}

/// Each fences the other's producer, and finds its cursors where the other left them.
#[test]
fn two_agents_with_one_id_write_a_topic_exactly_and_say_so() {
    let Some(brokers) = service("two agents with one id and Kafka", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("twins"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let write = |data: &str| {
        let config = format!(
            "version: 1\nagent: {{ id: twin }}\ndata_dir: ./{data}\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\nsinks:\n  out: {}\n",
            sink(&brokers, &topic, &cursors, "")
        );
        std::fs::write(path.join("sawlog.yaml"), config).unwrap();
    };
    let mut feed = Feed::new(&path.join("logs/app.log"));
    let shown = Committed::of(&brokers, &topic);
    let reached =
        |agent: &mut Agent, sent: u64| agent.wait_until("rows", WAIT_MAX, || Ok(shown.rows()?.len() as u64 >= sent));
    write("data");
    feed.send(300).unwrap();
    let mut first = Agent::start(path).unwrap();
    reached(&mut first, 300).unwrap();
    write("other");
    let mut second = Agent::start(path).unwrap();
    for _ in 0..6 {
        feed.send(300).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        first.check().unwrap();
    }
    // Whoever recovers behind a cursor of the other says so; under load each of them comes to that.
    let said = || {
        feed.send(20)?;
        let told = ["data", "other"].map(|data| {
            write(data);
            troubles(path).unwrap_or_default()
        });
        Ok(told.concat().contains("another agent with the id twin"))
    };
    second.wait_until("the twin is said", WAIT_MAX, said).unwrap();
    drop(first);
    feed.send(300).unwrap();
    reached(&mut second, feed.sent()).unwrap();
    let log = second.log_tail();
    second.terminate().unwrap();
    let sent = feed.sent();
    let found = Differences::of(&shown.rows().unwrap(), &(0..sent).collect::<Vec<_>>());
    assert!(found == Differences::default(), "{} of {sent}:\n{log}", found.summary());
    control(&shown).unwrap();
}
