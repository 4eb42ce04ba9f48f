//! SIGHUP for Kafka sources: topics are added to a group's source, taken away and added again while rows are owed, its options are
//! changed, and a source with partitions of its own changes its options; kill -9 between. Every message comes out once.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb_says};
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Sender as _, Topic, plain};
use sawlog_e2e::shown::{Committed, control};
use sawlog_e2e::{read, service, unique};
use std::path::Path;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(90);
/// The first number of the second topic's messages.
const OTHER: u64 = 1_000_000;

/// The names of one test.
struct Names {
    brokers: String,
    one: String,
    other: String,
    to: String,
    cursors: String,
    journal: String,
}

impl Names {
    fn make(brokers: &str) -> Self {
        let [one, other, to, cursors, journal] = ["one", "other", "to", "cursors", "journal"].map(unique);
        let topics = [
            (one.as_str(), 2, false),
            (other.as_str(), 2, false),
            (to.as_str(), 2, false),
            (cursors.as_str(), 16, true),
        ];
        read::make_topics(brokers, &topics).unwrap();
        Self { brokers: brokers.to_owned(), one, other, to, cursors, journal }
    }

    fn write(&self, folder: &Path, source: &str) {
        let Self { brokers, to, cursors, .. } = self;
        let config = format!(
            "version: 1\nagent: {{ id: turning }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s, backup: {{ type: folder, path: ./backup }} }}\n\
             sources:\n  orders: {{ type: kafka, brokers: [\"{brokers}\"], start: earliest, {source} }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [orders], try: [json, text] }}\n\
             sinks:\n  out: {{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {to}, cursor_topic: {cursors}, batch: {{ age: 200ms }} }}\n"
        );
        std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    }

    fn group(&self, topics: &[&str], more: &str) -> String {
        let Self { one, journal, .. } = self;
        format!("topics: [{}], group_id: {one}, journal_topic: {journal}{more}", topics.join(", "))
    }

    fn rows(&self) -> Vec<u64> {
        read::kafka(&self.brokers, &self.to).unwrap()
    }

    fn settled(&self, agent: &mut Agent, expected: &[u64]) {
        let waited = agent.wait_until("every row", WAIT_MAX, || Ok(self.rows().len() >= expected.len()));
        std::thread::sleep(Duration::from_millis(700));
        let judged = compare(&self.rows(), expected);
        assert_eq!(
            judged,
            (0, 0, 0),
            "lost, duplicated, unknown of {}: {waited:?}\n{}",
            expected.len(),
            agent.log_tail()
        );
    }
}

fn reload(folder: &Path) -> String {
    let (taken, said) = verb_says(folder, &["reload"]).unwrap();
    assert!(taken, "{said}");
    said
}

#[test]
fn topics_of_a_group_come_and_go_and_come_again() {
    let Some(brokers) = service("topics by reload", "SAWLOG_TEST_KAFKA") else { return };
    let names = Names::make(&brokers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut one = Topic::numbered(&brokers, &names.one, 0, plain).unwrap();
    let mut other = Topic::numbered(&brokers, &names.other, OTHER, plain).unwrap();
    let expected = |one: &Topic, other: &Topic| -> Vec<u64> {
        (0..one.sent()).chain((0..other.sent()).map(|n| OTHER + n)).collect()
    };
    names.write(path, &names.group(&[&names.one], ", session_timeout: 6s"));
    let mut agent = Agent::start_answering(path).unwrap();
    one.send(600).unwrap();
    other.send(600).unwrap();
    names.settled(&mut agent, &(0..600).collect::<Vec<_>>());

    names.write(path, &names.group(&[&names.one, &names.other], ", session_timeout: 6s"));
    reload(path);
    names.settled(&mut agent, &expected(&one, &other));
    one.send(600).unwrap();
    other.send(600).unwrap();
    // The first topic goes while rows of it are on their way: those that were planned are delivered first.
    names.write(path, &names.group(&[&names.other], ", session_timeout: 7s, fetch_bytes_max: 4MiB"));
    reload(path);
    one.send(300).unwrap();
    other.send(300).unwrap();
    let all_of_other: Vec<u64> = (0..other.sent()).map(|n| OTHER + n).collect();
    let seen = || Ok(names.rows().iter().filter(|n| **n >= OTHER).count() >= all_of_other.len());
    agent.wait_until("the other topic", WAIT_MAX, seen).unwrap();
    assert!(names.rows().len() < expected(&one, &other).len(), "the topic that went is not read");
    agent.kill().unwrap();
    agent = Agent::start_answering(path).unwrap();
    other.send(200).unwrap();

    names.write(path, &names.group(&[&names.one, &names.other], ", session_timeout: 6s"));
    reload(path);
    one.send(200).unwrap();
    names.settled(&mut agent, &expected(&one, &other));
    control(&Committed::of(&brokers, &names.to)).unwrap();

    // What positions go by can't change, and is said.
    names.write(path, &names.group(&[&names.one], ", session_timeout: 6s").replace("group_id: ", "group_id: not-"));
    let (taken, said) = verb_says(path, &["reload"]).unwrap();
    assert!(!taken && said.contains("`group_id` changed") && said.contains("the old one goes on"), "{said}");
    one.send(100).unwrap();
    names.settled(&mut agent, &expected(&one, &other));
    agent.terminate().unwrap();
}

#[test]
fn options_of_a_source_with_partitions_of_its_own_change() {
    let Some(brokers) = service("kafka options by reload", "SAWLOG_TEST_KAFKA") else { return };
    let Some(asking) = service("kafka options by reload", "SAWLOG_TEST_KAFKA_SASL") else { return };
    let names = Names::make(&brokers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("secrets")).unwrap();
    let mut one = Topic::numbered(&brokers, &names.one, 0, plain).unwrap();
    let own = format!("topics: [{}], group_id: {}", names.one, names.one);
    names.write(path, &format!("{own}, partitions: [0, 1], fetch_bytes_max: 1MiB"));
    let mut agent = Agent::start_answering(path).unwrap();
    one.send(600).unwrap();
    names.settled(&mut agent, &(0..one.sent()).collect::<Vec<_>>());
    names.write(path, &format!("{own}, partitions: [0, 1], fetch_bytes_max: 8MiB"));
    reload(path);
    one.send(300).unwrap();
    names.settled(&mut agent, &(0..one.sent()).collect::<Vec<_>>());
    // To the listener that asks who comes: first without rights, then with them.
    let sasl = |user: &str, password: &str| {
        std::fs::write(path.join("secrets/kafka"), password).unwrap();
        names.write(path, &format!("{own}, partitions: [0, 1], sasl: {{ mechanism: PLAIN, username: {user}, password: \"${{file:{}/secrets/kafka}}\" }}", path.display()));
        let config = std::fs::read_to_string(path.join("sawlog.yaml")).unwrap();
        std::fs::write(path.join("sawlog.yaml"), config.replacen(&brokers, &asking, 1)).unwrap();
    };
    sasl("weak", "weak-secret");
    reload(path);
    one.send(300).unwrap();
    agent
        .wait_until("it says what is wrong", WAIT_MAX, || Ok(sawlog_e2e::told::troubles(path)?.contains("orders")))
        .unwrap();
    sasl("admin", "admin-secret");
    reload(path);
    one.send(300).unwrap();
    names.settled(&mut agent, &(0..one.sent()).collect::<Vec<_>>());
    agent.kill().unwrap();
    agent = Agent::start_answering(path).unwrap();
    one.send(100).unwrap();
    names.settled(&mut agent, &(0..one.sent()).collect::<Vec<_>>());
    control(&Committed::of(&brokers, &names.to)).unwrap();
    agent.terminate().unwrap();
}
