//! A Kafka sink of the real binary whose broker says no: an unknown topic, a wrong password, no rights. Each is said with what mends it, holds up nobody else, and once it is mended every row is there once.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::feed::{Sender as _, plain};
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::{read, service, unique};

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
    trial.exact(none, || read::kafka(&brokers, &topic)).unwrap();
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
    trial.exact(none, || read::kafka(&brokers, &topic)).unwrap();
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
    trial.exact(none, || read::kafka(&brokers, &topic)).unwrap();
}
