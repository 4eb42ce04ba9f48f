//! Rights in Kafka: a user with exactly those that `sawlog validate` prints for a source and a sink delivers every row once; where
//! one is missing the agent says which, and goes on once it is granted.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::acl::Right;
use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::feed::{Sender as _, Topic, plain};
use sawlog_e2e::shown::{Committed, Shown as _, control};
use sawlog_e2e::told::{sink_trouble, troubles};
use sawlog_e2e::{read, service, unique};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
const ROWS: u64 = 300;
/// A user of the broker who may do nothing.
const USER: &str = "weak";

/// What `sawlog validate` says that a component needs.
fn rights(folder: &Path, component: &str) -> Vec<Right> {
    let report: Value = serde_json::from_str(&verb(folder, &["validate", "--format", "json"]).unwrap()).unwrap();
    let needs = report["report"]["rights"].as_array().unwrap().iter().find(|needs| needs["component"] == component);
    let lines = needs.unwrap()["lines"].as_array().unwrap().iter();
    lines.map(|line| Right::parse(line.as_str().unwrap()).unwrap()).collect()
}

#[test]
fn a_user_with_the_rights_that_validate_prints_delivers_and_what_is_missing_is_named() {
    let Some(brokers) = service("kafka rights", "SAWLOG_TEST_KAFKA") else { return };
    let Some(asking) = service("kafka rights", "SAWLOG_TEST_KAFKA_SASL") else { return };
    let (from, to, cursors, journal, group) =
        (unique("from"), unique("to"), unique("cursors"), unique("journal"), unique("group"));
    read::make_topics(&brokers, &[(&from, 2, false), (&to, 2, false), (&cursors, 16, true)]).unwrap();
    let mut feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    feed.send(ROWS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let connection =
        format!("brokers: [\"{asking}\"], sasl: {{ mechanism: PLAIN, username: {USER}, password: weak-secret }}");
    let config = format!(
        "version: 1\nagent: {{ id: {to} }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  orders: {{ type: kafka, {connection}, topics: [{from}], group_id: {group}, journal_topic: {journal}, start: earliest }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [orders], try: [json] }}\n\
         sinks:\n  out: {{ type: kafka, inputs: [parsed], {connection}, topic: {to}, cursor_topic: {cursors}, batch: {{ age: 200ms }}, retry: {{ max: 1s }} }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    let mut missing = [rights(folder, "orders"), rights(folder, "out")].concat();
    let mut agent = Agent::start_answering(folder).unwrap();
    // What it names is granted, until it names nothing any more.
    let shown = Committed::of(&brokers, &to);
    let mut named = Vec::new();
    let names = |right: &Right, trouble: &str| {
        let name = match right.name.as_str() {
            "kafka-cluster" => "on the cluster",
            "sawlog-" => "grant this user Read on the group",
            name if name.starts_with("sawlog/") => "transactional id",
            name => name,
        };
        trouble.contains("grant this user") && trouble.contains(name)
    };
    let grown = || {
        let trouble = format!("{}{:?}", troubles(folder)?, sink_trouble(folder, "out")?);
        if let Some(at) = missing.iter().position(|right| names(right, &trouble)) {
            let right = missing.remove(at);
            right.grant(&brokers, USER)?;
            named.push(right.name);
        }
        Ok(shown.rows()?.len() as u64 >= ROWS)
    };
    let waited = agent.wait_until("every row", WAIT_MAX, grown);
    waited.unwrap_or_else(|error| panic!("{named:?} was granted, {missing:?} was not: {error:?}"));
    // Those by prefix an earlier run on the same broker may have left.
    for essential in [&from, &group, &journal, &cursors, &to] {
        assert!(named.contains(essential), "nobody asked for {essential}: {named:?}");
    }
    let mut rows = shown.rows().unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (0..ROWS).collect::<Vec<_>>());
    control(&shown).unwrap();
    agent.terminate().unwrap();
}
