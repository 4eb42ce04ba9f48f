//! `sawlog agent retire` on the binary: what an agent holds ends at the word of another one, holds no hour back any more, and an agent
//! that is started with the id again delivers nothing behind that end and says why.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::{Agent, verb, verb_says};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::service;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rows of each feed.
const ROWS: u64 = 100;
/// Longest time until a few rows are delivered.
const DELIVERY_MAX: Duration = Duration::from_secs(60);

/// An agent's folder, with the sink that it shares with the others.
fn node(at: &Path, id: &str, sink: &str) -> Result<Feed> {
    let here = at.display();
    std::fs::create_dir_all(at.join("logs"))?;
    let config = format!(
        "version: 1\nagent: {{ id: {id} }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\n\
         sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\nsinks:\n  out: {sink}\n"
    );
    std::fs::write(at.join("sawlog.yaml"), config)?;
    Ok(Feed::new(&at.join("logs/app.log")))
}

fn deliver(at: &Path, agent: &mut Agent) -> Result<()> {
    agent.wait_until("its rows are delivered", DELIVERY_MAX, || {
        Ok(verb_says(at, &["loss"])?.1.contains(&format!("{ROWS}")) && delivered(at)? == ROWS)
    })
}

fn delivered(at: &Path) -> Result<u64> {
    let ledger: serde_json::Value = serde_json::from_str(&verb(at, &["loss", "--format", "json"])?)?;
    let lines = ledger["lines"].as_array().cloned().unwrap_or_default();
    Ok(lines.iter().filter(|line| line["sink"] == "out").filter_map(|line| line["delivered"].as_u64()).sum())
}

fn fails(at: &Path, arguments: &[&str], because: &[&str]) -> Result<()> {
    let (done, said) = verb_says(at, arguments)?;
    ensure!(!done && because.iter().all(|reason| said.contains(reason)), "{arguments:?}: {because:?} in {said}");
    Ok(())
}

/// One agent goes, another one stays; both deliver to `sink`.
fn retire(sink: &str, held: &str) -> Result<()> {
    let at = tempfile::tempdir()?;
    let sink = sink.replace("FOLDER", &at.path().display().to_string());
    let (gone, stays) = (at.path().join("gone"), at.path().join("stays"));
    let mut feeds = [node(&gone, "gone", &sink)?, node(&stays, "stays", &sink)?];
    if sink.contains("type: kafka") {
        verb(&gone, &["setup", "--replicas", "1", "--partitions", "1"])?;
    }
    feeds.iter_mut().try_for_each(|feed| feed.send(ROWS))?;
    let mut first = Agent::start_answering(&gone)?;
    deliver(&gone, &mut first)?;
    first.terminate()?;
    let mut other = Agent::start_answering(&stays)?;
    deliver(&stays, &mut other)?;

    fails(&stays, &["agent", "retire", "stays", "--force"], &["the id of the agent that runs here"])?;
    fails(&stays, &["agent", "retire", "nobody"], &["holds anything of an agent `nobody`"])?;
    fails(&stays, &["agent", "retire", "gone"], &[held, "minute", " old", "With `--force`"])?;
    let said = verb(&stays, &["agent", "retire", "gone", "--force"])?;
    ensure!(said.contains("agent `gone` is retired") && !said.contains("given up"), "{said}");
    ensure!(verb(&stays, &["loss"])?.contains("an operator said `agent retire gone`"), "the ledger has what was said");
    let again = verb(&stays, &["agent", "retire", "gone"])?;
    ensure!(again.contains("had ended before"), "{again}");
    if sink.contains("type: file") {
        no_hour_is_held_back(&stays)?;
    }

    feeds[0].send(ROWS)?;
    let mut back = Agent::start_answering(&gone)?;
    back.wait_until("it says that it was retired", DELIVERY_MAX, || {
        let said = verb_says(&gone, &["status"])?.1;
        Ok(said.contains("was retired by `sawlog agent retire`") && said.contains("another `agent.id`"))
    })?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(delivered(&gone)? == ROWS, "rows came behind the end");
    drop(back);

    other.terminate()?;
    fails(&stays, &["agent", "retire", "stays"], &["stays", "minute", " old"])?;
    verb(&stays, &["agent", "retire", "stays", "--force"])?;
    let (done, said) = Agent::start(&stays)?.ended(DELIVERY_MAX)?;
    ensure!(!done && said.contains("the agent id `stays` was retired by `sawlog agent retire`"), "{said}");
    Ok(())
}

fn no_hour_is_held_back(at: &Path) -> Result<()> {
    let (done, said) = verb_says(at, &["complete", "--hour", "2199-01-01T00"])?;
    let (ended, held) = ("gone/out has ended, retired at 20", "stays/out holds it back");
    ensure!(!done && said.contains(ended) && said.contains(held) && !said.contains("gone/out holds"), "{said}");
    Ok(())
}

#[test]
fn a_retired_agent_of_a_lake_holds_no_hour_back_and_stays_away() {
    if service("a retired agent of a lake", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let lake = "{ type: file, inputs: [app], path: \"FOLDER/lake/hour={received_time:%Y-%m-%dT%H}\", format: jsonl, roll: { size: 1MiB, age: 1s } }";
    retire(lake, "gone/out: its newest claim").unwrap();
}

#[test]
fn a_retired_agent_of_a_cluster_has_no_cursors_and_stays_away() {
    let Some(brokers) = service("a retired agent of a cluster", "SAWLOG_TEST_KAFKA") else { return };
    let unique = format!("retire-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let kafka = format!(
        "{{ type: kafka, inputs: [app], brokers: [\"{brokers}\"], topic: {unique}-data, cursor_topic: {unique}-cursors }}"
    );
    retire(&kafka, "its newest cursor").unwrap();
}
