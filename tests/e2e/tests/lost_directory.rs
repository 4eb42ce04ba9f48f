//! The data directory is lost with the agent's id kept: sinks that hold their own cursors stay exact for files still on disk.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::{read, service};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time until everything is there.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Losses of the directory, each by kill -9 while rows are owed or on their way.
const LOSSES: u64 = 4;

fn run(sink: &str, rows: impl Fn(&Path) -> Result<Vec<u64>>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    std::fs::create_dir(path.join("logs"))?;
    let at = path.display();
    let config = format!(
        "version: 1\nagent: {{ id: forgetful }}\ndata_dir: {at}/data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{at}/logs/app.log], rotated: [{at}/logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\nsinks:\n  out: {sink}\n"
    );
    std::fs::write(path.join("sawlog.yaml"), config.replace("FOLDER", &at.to_string()))?;
    let mut feed = Feed::new(&path.join("logs/app.log"));
    let mut delivered_before = 0;
    for round in 0..LOSSES {
        let agent = Agent::start(path)?;
        feed.send(900)?;
        std::thread::sleep(Duration::from_millis(400 + round * 700));
        delivered_before += rows(path)?.len();
        agent.kill()?;
        std::fs::remove_dir_all(path.join("data"))?;
    }
    ensure!(delivered_before > 0, "nothing was delivered before a loss: this run proves nothing");
    let mut agent = Agent::start(path)?;
    feed.send(900)?;
    let deadline = Instant::now() + DRAIN_MAX;
    let mut found = rows(path)?;
    while (found.len() as u64) < feed.sent() && Instant::now() < deadline {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(300));
        found = rows(path)?;
    }
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    found.iter().for_each(|n| *times.entry(*n).or_default() += 1);
    let lost = (0..feed.sent()).filter(|n| !times.contains_key(n)).count();
    let duplicated: u64 = times.values().map(|n| n - 1).sum();
    let log = agent.log_tail();
    ensure!((lost, duplicated) == (0, 0), "lost {lost}, duplicated {duplicated} of {}:\n{log}", feed.sent());
    println!("{} records over {LOSSES} lost directories: lost 0, duplicated 0", feed.sent());
    agent.terminate()
}

#[test]
fn a_lake_stays_exact() {
    if service("lost directory, lake", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let sink = "{ type: file, inputs: [parsed], path: \"FOLDER/lake/dt={received_time:%Y-%m-%d}/hour={received_time:%H}\", format: jsonl, roll: { size: 1MiB, age: 1s } }";
    run(sink, |folder| read::folder(&folder.join("lake"))).unwrap();
}

#[test]
fn kafka_stays_exact() {
    let Some(brokers) = service("lost directory, kafka", "SAWLOG_TEST_KAFKA") else { return };
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let topic = format!("lost-{}-{}", std::process::id(), since.as_millis());
    let cursors = format!("{topic}-cursors");
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let sink = format!(
        "{{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {topic}, cursor_topic: {cursors}, batch: {{ age: 200ms }} }}"
    );
    run(&sink, |_| read::kafka(&brokers, &topic)).unwrap();
}
