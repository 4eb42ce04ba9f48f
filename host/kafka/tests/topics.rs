//! Topics of a real broker: their ids above all, which come through librdkafka's C interface.
#![allow(missing_docs, clippy::unwrap_used)]

use sawlog_kafka::{Cluster as _, Connection, LibrdkafkaCluster, NewTopic, Trouble};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const TIMEOUT: Duration = Duration::from_secs(10);

fn cluster(test: &str) -> Option<LibrdkafkaCluster> {
    let Ok(address) = std::env::var("SAWLOG_TEST_KAFKA") else {
        println!("NOT RUN: {test}: SAWLOG_TEST_KAFKA names no broker");
        return None;
    };
    let connection = Connection { brokers: vec![address], client_id: "test".into(), ..Connection::default() };
    Some(LibrdkafkaCluster::new(connection))
}

fn topic(name: &str) -> NewTopic {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let settings = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    NewTopic { name: format!("t-{name}-{}", now.as_micros()), partitions: 3, replicas: 1, settings }
}

#[test]
fn topics_are_made_once_and_described() {
    let Some(cluster) = cluster("topics_are_made_once_and_described") else { return };
    let (one, other) = (topic("facts"), topic("more"));
    assert_eq!(cluster.topic(&one.name, TIMEOUT).unwrap(), None);
    let made = cluster.create_topics(&[one.clone(), other.clone()], TIMEOUT).unwrap();
    assert_eq!(made, [one.name.clone(), other.name.clone()]);
    assert_eq!(cluster.create_topics(std::slice::from_ref(&one), TIMEOUT).unwrap(), Vec::<String>::new());
    while cluster.topic(&one.name, TIMEOUT).unwrap().is_none_or(|facts| facts.partitions != 3) {}
    assert_eq!(cluster.topic_setting(&one.name, "cleanup.policy", TIMEOUT).unwrap().as_deref(), Some("compact"));
    let too_many = NewTopic { replicas: 3, ..topic("replicas") };
    let error = cluster.create_topics(&[too_many], TIMEOUT).unwrap_err();
    assert_eq!(error.trouble, Trouble::Refused, "{error}");
}

#[test]
fn every_topic_has_an_id_of_its_own_that_stays() {
    let Some(cluster) = cluster("every_topic_has_an_id") else { return };
    let (one, other) = (topic("id"), topic("other"));
    cluster.create_topics(&[one.clone(), other.clone()], TIMEOUT).unwrap();
    while cluster.topic(&other.name, TIMEOUT).unwrap().is_none() {}
    let id = cluster.topic_id(&one.name, TIMEOUT).unwrap();
    assert_ne!(id, [0; 16]);
    for _ in 0..50 {
        assert_eq!(cluster.topic_id(&one.name, TIMEOUT).unwrap(), id);
    }
    assert_ne!(cluster.topic_id(&other.name, TIMEOUT).unwrap(), id);
    let error = cluster.topic_id(&format!("{}-missing", one.name), TIMEOUT).unwrap_err();
    assert_eq!(error.trouble, Trouble::Refused, "{error}");
    assert_eq!(cluster.id(TIMEOUT).unwrap(), cluster.id(TIMEOUT).unwrap());
}
