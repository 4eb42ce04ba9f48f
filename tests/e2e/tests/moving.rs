//! Two agents in one consumer group: partitions hand over by kill -9 and by SIGSTOP for longer than the session, to S3 and to
//! Kafka.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::chaos::{self, Reach};
use sawlog_e2e::feed::{Topic, plain};
use sawlog_e2e::pair;
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::shown::Committed;
use sawlog_e2e::wire::Wire;
use sawlog_e2e::{read, service, unique};

const PARTITIONS: i32 = 4;

/// A config of a member of the group; two agents on a host need two addresses.
fn config(agent: &str, brokers: &str, topic: &str, journal: &str, sink: &str) -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!(
        "version: 1\nagent: {{ id: {agent} }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:{port}\" }}\ncheckpoint: {{ interval: 2s }}\n\
         sources:\n  orders: {{ type: kafka, brokers: [\"{brokers}\"], topics: [{topic}], group_id: {topic}, start: earliest, session_timeout: 6s, journal_topic: {journal} }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [orders], try: [json, text] }}\n\
         sinks:\n  out: {sink}\n"
    )
}

#[test]
fn kafka_to_s3_with_two_agents_hands_partitions_over() {
    let Some(brokers) = service("kafka → s3, two agents", "SAWLOG_TEST_KAFKA") else { return };
    let Some(bucket) = Bucket::find("kafka → s3, two agents") else { return };
    let (from, journal) = (unique("from"), unique("journal"));
    read::make_topics(&brokers, &[(&from, PARTITIONS, false)]).unwrap();
    let feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    let wire = chaos::seed().unwrap().map(|_| Wire::to_url(&bucket.endpoint).unwrap());
    let sink = wire.as_ref().map_or(bucket.clone(), |wire| bucket.through(wire)).sink("parsed");
    let reach = Reach { service: Some("s3"), wire: wire.as_ref() };
    pair::run(|agent| config(agent, &brokers, &from, &journal, &sink), feed, &bucket, reach).unwrap();
}

#[test]
fn kafka_to_kafka_with_two_agents_hands_partitions_over() {
    let Some(brokers) = service("kafka → kafka, two agents", "SAWLOG_TEST_KAFKA") else { return };
    let (from, to) = (unique("from"), unique("to"));
    let (journal, cursors) = (unique("journal"), unique("cursors"));
    read::make_topics(&brokers, &[(&from, PARTITIONS, false), (&to, 3, false), (&cursors, 16, true)]).unwrap();
    let feed = Topic::numbered(&brokers, &from, 0, plain).unwrap();
    let wire = chaos::seed().unwrap().map(|_| Wire::to_kafka().unwrap());
    let (through, timeout) = (wire.as_ref().map_or(brokers.clone(), Wire::address), chaos::transaction_timeout());
    let sink = format!(
        "{{ type: kafka, inputs: [parsed], brokers: [\"{through}\"], topic: {to}, cursor_topic: {cursors}, transaction_timeout: {timeout}, batch: {{ age: 200ms }} }}"
    );
    let reach = Reach { service: Some("kafka"), wire: wire.as_ref() };
    let shown = Committed::of(&brokers, &to);
    pair::run(|agent| config(agent, &through, &from, &journal, &sink), feed, &shown, reach).unwrap();
}
