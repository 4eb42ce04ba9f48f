//! The data directory is lost with the agent's id kept: sinks that hold their own cursors stay exact for files still on disk, and
//! so does Elasticsearch where the names of its indexes go by the records' own times.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::search::Index;
use sawlog_e2e::shown::{Committed, Differences, Folder, Hdfs, Shown, control};
use sawlog_e2e::{read, service, unique};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Longest time until everything is there.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Losses of the directory, each by kill -9 while rows are owed or on their way.
const LOSSES: u64 = 4;

/// A line with a time of its own; two days are among them.
fn line(number: u64) -> String {
    format!("{{\"seq\":{number},\"at\":{},\"message\":\"line {number}\"}}", 1_700_000_000 + number * 20)
}

fn run<S: Shown>(sink: &str, shown: impl Fn(&Path) -> S) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    std::fs::create_dir(path.join("logs"))?;
    let at = path.display();
    let config = format!(
        "version: 1\nagent: {{ id: forgetful }}\ndata_dir: {at}/data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{at}/logs/app.log], rotated: [{at}/logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text], timestamp: {{ field: at, format: unix }} }}\n\
         sinks:\n  out: {sink}\n"
    );
    std::fs::write(path.join("sawlog.yaml"), config.replace("FOLDER", &at.to_string()))?;
    let shown = shown(path);
    let mut feed = Feed::of(&path.join("logs/app.log"), line);
    for round in 0..LOSSES {
        let before = shown.rows()?.len();
        let mut agent = Agent::start(path)?;
        feed.send(900)?;
        // Something is there when the directory goes, and something is owed or on its way.
        agent.wait_until("rows of this life", DRAIN_MAX, || Ok(shown.rows()?.len() > before))?;
        feed.send(200)?;
        std::thread::sleep(Duration::from_millis(round * 150));
        agent.kill()?;
        std::fs::remove_dir_all(path.join("data"))?;
    }
    let mut agent = Agent::start(path)?;
    feed.send(900)?;
    let sent = feed.sent();
    agent.wait_until("every row", DRAIN_MAX, || Ok(shown.rows()?.len() as u64 >= sent))?;
    let log = agent.log_tail();
    says_what_it_costs(path, &mut agent, !sink.contains("elasticsearch"))?;
    agent.terminate()?;
    // Only behind the agent's end nothing more can come, also nothing for the second time.
    let differences = Differences::of(&shown.rows()?, &(0..sent).collect::<Vec<_>>());
    ensure!(differences == Differences::default(), "{} of {sent}:\n{log}", differences.summary());
    control(&shown)?;
    println!("{sent} records over {LOSSES} lost directories: lost 0, duplicated 0");
    Ok(())
}

/// Where a sink holds cursors of another life, the log and `status` say that the directory was lost and what that costs.
fn says_what_it_costs(folder: &Path, agent: &mut Agent, sink_holds_cursors: bool) -> Result<()> {
    let status =
        || Ok::<_, anyhow::Error>(serde_json::from_str::<Value>(&verb(folder, &["status", "--format", "json"])?)?);
    if !sink_holds_cursors {
        ensure!(status()?["lost_directory"].is_null(), "nobody can tell: {}", status()?["lost_directory"]);
        return Ok(());
    }
    agent.wait_until("it says so", DRAIN_MAX, || Ok(!status()?["lost_directory"].is_null()))?;
    let (told, log, text) = (status()?["lost_directory"].to_string(), agent.log(), verb(folder, &["status"])?);
    for said in [&told, &log, &text] {
        for part in [
            "the data directory was empty, and the sink out holds cursors from another one",
            "what the lost directory costs: files still on disk",
        ] {
            ensure!(said.contains(part), "`{part}` is not in {said}");
        }
    }
    let validated = verb(folder, &["validate"])?;
    let cost = "undelivered pushed input and the plugins' state are lost";
    ensure!(told.contains(cost) && validated.contains(cost), "validate says it beforehand: {validated}");
    Ok(())
}

#[test]
fn a_lake_stays_exact() {
    if service("lost directory, lake", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let sink = "{ type: file, inputs: [parsed], path: \"FOLDER/lake/dt={received_time:%Y-%m-%d}/hour={received_time:%H}\", format: jsonl, roll: { size: 1MiB, age: 1s } }";
    run(sink, |folder| Folder(folder.join("lake"))).unwrap();
}

#[test]
fn kafka_stays_exact() {
    let Some(brokers) = service("lost directory, kafka", "SAWLOG_TEST_KAFKA") else { return };
    let topic = unique("lost");
    let cursors = format!("{topic}-cursors");
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let sink = format!(
        "{{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {topic}, cursor_topic: {cursors}, batch: {{ age: 200ms }} }}"
    );
    run(&sink, |_| Committed::of(&brokers, &topic)).unwrap();
}

#[test]
fn a_bucket_stays_exact() {
    let Some(bucket) = Bucket::find("lost directory, s3") else { return };
    run(&bucket.sink("parsed"), |_| bucket.clone()).unwrap();
}

#[test]
fn hdfs_stays_exact() {
    let Some(url) = service("lost directory, hdfs", "SAWLOG_TEST_HDFS") else { return };
    let web = std::env::var("SAWLOG_TEST_WEBHDFS").unwrap();
    let root = format!("/{}", unique("lost"));
    let sink = format!(
        "{{ type: hdfs, inputs: [parsed], url: \"{url}\", path: \"{root}/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}"
    );
    run(&sink, |_| Hdfs { url: web.clone(), root: root.clone() }).unwrap();
}

/// Its cursor was in the directory; what is sent again meets the same ids in the same indexes.
#[test]
fn documents_stay_exact_in_indexes_named_by_event_time() {
    let Some(url) = service("lost directory, elasticsearch", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let index = unique("lost");
    let sink = format!(
        "{{ type: elasticsearch, inputs: [parsed], all: true, endpoints: [\"{url}\"], index: \"{index}-{{event_time:%Y.%m.%d}}\", event_time_bounds: {{ past: 20000d, future: 1d }}, batch: {{ age: 200ms }} }}"
    );
    run(&sink, |_| Index::of(&url, &index)).unwrap();
}
