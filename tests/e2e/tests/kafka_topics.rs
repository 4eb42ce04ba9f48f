//! A Kafka source of the real binary whose topics are not there yet: it says so, holds up no other source, and once they are made
//! every row is there once.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender as _, Topic, plain};
use sawlog_e2e::{read, service, told, unique};
use std::path::Path;
use std::time::{Duration, Instant};

/// A source of a group, and a file source beside it.
fn start_reading(folder: &Path, brokers: &str, topics: &str, journal: &str) -> Agent {
    std::fs::create_dir(folder.join("logs")).unwrap();
    let text = format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  orders: {{ type: kafka, brokers: [\"{brokers}\"], {topics}, group_id: {journal}, journal_topic: {journal}, start: earliest }}\n  \
         app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [orders], try: [json] }}\n  own: {{ type: parse, inputs: [app], try: [json] }}\n\
         sinks:\n  out: {{ type: file, delivery: at_least_once, inputs: [parsed], path: \"./lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n  \
         lines: {{ type: file, inputs: [own], path: ./lines.jsonl }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
    Agent::start_answering(folder).unwrap()
}

fn read_rows(agent: &mut Agent, folder: &Path, rows: u64) {
    let found = || read::folder(&folder.join("lake"));
    agent.wait_until("rows of topics", Duration::from_secs(60), || Ok(found()?.len() as u64 >= rows)).unwrap();
    let mut found = found().unwrap();
    found.sort_unstable();
    assert_eq!(found, (0..rows).collect::<Vec<_>>());
}

#[test]
fn a_source_whose_topic_is_absent_says_so_holds_up_no_other_and_reads_it_once_it_is_there() {
    let Some(brokers) = service("a source's absent topic", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, journal) = (unique("absent-source"), unique("journal"));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut agent = start_reading(folder, &brokers, &format!("topics: [{topic}]"), &journal);
    Feed::new(&folder.join("logs/app.log")).send(200).unwrap();
    let told = || Ok(told::troubles(folder)?.contains(&topic));
    agent.wait_until("it says what is missing", Duration::from_secs(45), told).unwrap();
    let others = || Ok(read::folder(&folder.join("lines.jsonl"))?.len() == 200);
    agent.wait_until("the other source goes on", Duration::from_secs(30), others).unwrap();
    read::make_topics(&brokers, &[(&topic, 2, false)]).unwrap();
    Topic::numbered(&brokers, &topic, 0, plain).unwrap().send(300).unwrap();
    read_rows(&mut agent, folder, 300);
    // What the client counts it tells every few seconds.
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = agent.metrics().unwrap();
        let figure = |name: &str| told::metric(&metrics, &format!("sawlog_kafka_{name}{{source=\"orders\"}}"));
        if figure("lag") == Some(0.0) && figure("fetch_latency_seconds").is_some_and(|took| took > 0.0) {
            break;
        }
        assert!(Instant::now() < until, "{metrics}");
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.terminate().unwrap();
}

#[test]
fn topics_by_pattern_are_read_as_they_come_and_neither_kafkas_own_nor_the_journal() {
    let Some(brokers) = service("topics by pattern", "SAWLOG_TEST_KAFKA") else { return };
    let prefix = unique("pattern");
    let name = |end: &str| format!("{prefix}-{end}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let topics = format!("topics_pattern: \"^(__consumer_offsets|{prefix}-.*)$\"");
    let mut agent = start_reading(folder, &brokers, &topics, &name("journal"));
    let told = || Ok(told::troubles(folder)?.contains("no topic matches `topics_pattern`"));
    agent.wait_until("it says that nothing matches", Duration::from_secs(30), told).unwrap();
    read::make_topics(&brokers, &[(&name("one"), 1, false)]).unwrap();
    Topic::numbered(&brokers, &name("one"), 0, plain).unwrap().send(200).unwrap();
    read_rows(&mut agent, folder, 200);
    read::make_topics(&brokers, &[(&name("two"), 1, false)]).unwrap();
    let made = Instant::now();
    Topic::numbered(&brokers, &name("two"), 200, plain).unwrap().send(100).unwrap();
    read_rows(&mut agent, folder, 300);
    assert!(made.elapsed() < Duration::from_secs(20), "a look every 10 s, and a rebalance: {:?}", made.elapsed());
    let log = agent.log();
    let came: Vec<&str> = log.lines().filter(|line| line.contains("partitions came")).collect();
    assert!(!came.is_empty() && came.iter().all(|line| line.contains("-one") || line.contains("-two")), "{came:?}");
    let others = ["__consumer_offsets", "-journal ["];
    assert!(!came.iter().any(|line| others.iter().any(|other| line.contains(other))), "{came:?}");
    agent.terminate().unwrap();
}
