//! Checkpoints in a second place: a lost data directory comes back from there by itself, a damaged journal by a verb, and an
//! object sink stays exact over both.
#![allow(clippy::unwrap_used)]

use anyhow::{Context, Result, bail, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::{read, service, unique};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest time until everything is there.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// Runs `sawlog` with `arguments` on the agent's config; what it says, and whether it went well.
fn sawlog(folder: &Path, arguments: &[&str]) -> Result<(String, bool)> {
    let binary = std::env::var("SAWLOG_TEST_BINARY").context("SAWLOG_TEST_BINARY is not set")?;
    let done = Command::new(binary).args(arguments).arg("--config").arg(folder.join("sawlog.yaml")).output()?;
    let said = [done.stdout, done.stderr].concat();
    Ok((String::from_utf8_lossy(&said).into_owned(), done.status.success()))
}

fn configure(folder: &Path, backup: &str) -> Result<Feed> {
    fs::create_dir(folder.join("logs"))?;
    let at = folder.display();
    let config = format!(
        "version: 1\nagent: {{ id: keeper }}\ndata_dir: {at}/data\ncheckpoint: {{ interval: 300ms, backup: {backup} }}\n\
         sources:\n  app: {{ type: file, include: [{at}/logs/app.log], rotated: [{at}/logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {{ type: file, inputs: [parsed], path: \"{at}/lake/hour={{received_time:%H}}\", format: jsonl, \
         roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    fs::write(folder.join("sawlog.yaml"), config)?;
    Ok(Feed::new(&folder.join("logs/app.log")))
}

fn drain(agent: &mut Agent, folder: &Path, sent: u64) -> Result<()> {
    let deadline = Instant::now() + DRAIN_MAX;
    while (read::folder(&folder.join("lake"))?.len() as u64) < sent && Instant::now() < deadline {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    read::folder(&folder.join("lake"))?.into_iter().for_each(|n| *times.entry(n).or_default() += 1);
    let wrong: Vec<u64> = (0..sent).filter(|n| times.get(n) != Some(&1)).collect();
    ensure!(
        wrong.is_empty(),
        "{} of {sent} are not there once: {:?}\n{}",
        wrong.len(),
        wrong.first(),
        agent.log_tail()
    );
    Ok(())
}

fn back_up(agent: &mut Agent, folder: &Path) -> Result<()> {
    let deadline = Instant::now() + DRAIN_MAX;
    loop {
        agent.check()?;
        match sawlog(folder, &["checkpoint", "backup"])? {
            (said, true) if said.contains("is copied") => return Ok(()),
            (said, _) if Instant::now() > deadline => bail!("no backup: {said}"),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn run(folder: &Path, backup: &str) -> Result<()> {
    let mut feed = configure(folder, backup)?;
    let mut agent = Agent::start(folder)?;
    feed.send(900)?;
    back_up(&mut agent, folder)?;
    // What comes now is in no backup.
    feed.send(900)?;
    std::thread::sleep(Duration::from_millis(700));
    agent.kill()?;
    fs::remove_dir_all(folder.join("data"))?;
    let mut agent = Agent::start(folder)?;
    feed.send(300)?;
    drain(&mut agent, folder, feed.sent())?;
    ensure!(
        agent.log().contains("was brought back from a backup"),
        "it began without its backup:\n{}",
        agent.log_tail()
    );
    agent.kill()?;

    damage(&folder.join("data"))?;
    let refused = Agent::start(folder)?.finish(DRAIN_MAX);
    ensure!(refused.is_err(), "it runs on a damaged journal");
    let log = fs::read_to_string(folder.join("agent.log"))?;
    ensure!(log.contains("sawlog checkpoint restore --from backup"), "no way out is told:\n{log}");
    let (said, well) = sawlog(folder, &["checkpoint", "restore", "--from", "backup"])?;
    ensure!(well && said.contains("was brought back") && said.contains("is kept in"), "restore: {said}");
    let (said, well) = sawlog(folder, &["checkpoint", "restore", "--from", "backup"])?;
    ensure!(!well && said.contains("is whole"), "a second restore: {said}");
    let mut agent = Agent::start(folder)?;
    feed.send(300)?;
    drain(&mut agent, folder, feed.sent())?;
    agent.kill()?;

    fs::remove_dir_all(folder.join("data"))?;
    let (said, well) = sawlog(folder, &["checkpoint", "restore", "--from", "sinks"])?;
    ensure!(well, "from sinks: {said}");
    let mut agent = Agent::start(folder)?;
    feed.send(300)?;
    drain(&mut agent, folder, feed.sent())?;
    agent.terminate()?;
    println!("{} records over lost and damaged journals: lost 0, duplicated 0", feed.sent());
    Ok(())
}

/// Turns a bit in the middle of every checkpoint.
fn damage(data: &Path) -> Result<()> {
    let mut damaged = 0;
    for entry in fs::read_dir(data.join("checkpoints"))? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes)?;
        damaged += 1;
    }
    ensure!(damaged > 0, "there was no checkpoint to damage");
    Ok(())
}

#[test]
fn a_folder_brings_it_back() {
    if service("backup, folder", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(folder.path(), &format!("{{ type: folder, path: {}, every: 1h }}", place.path().display())).unwrap();
}

#[test]
fn s3_brings_it_back() {
    let Some(bucket) = Bucket::find("backup, s3") else { return };
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &bucket.backup()).unwrap();
}

#[test]
fn hdfs_brings_it_back() {
    let Some(url) = service("backup, hdfs", "SAWLOG_TEST_HDFS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = format!("/{}", unique("backup"));
    run(folder.path(), &format!("{{ type: hdfs, url: \"{url}\", path: {place}, every: 1h }}")).unwrap();
}
