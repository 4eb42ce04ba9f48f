//! Files that begin with the same line, older ones of them gone with the data directory: nothing of a newer one is taken for
//! what an older one had delivered.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::{read, service};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time until everything is there.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// The number in the line that every file begins with.
const GREETING: u64 = 0;

fn append(path: &Path, numbers: impl Iterator<Item = u64>) -> Result<()> {
    let text: String = numbers.map(|n| sawlog_e2e::feed::plain(n) + "\n").collect();
    Ok(File::options().create(true).append(true).open(path)?.write_all(text.as_bytes())?)
}

fn until(agent: &mut Agent, lake: &Path, last: u64) -> Result<()> {
    let deadline = Instant::now() + DRAIN_MAX;
    while !read::folder(lake)?.contains(&last) {
        ensure!(Instant::now() < deadline, "record {last} did not come:\n{}", agent.log_tail());
        agent.check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn run(folder: &Path) -> Result<BTreeMap<u64, u64>> {
    fs::create_dir(folder.join("logs"))?;
    let (at, app, lake) = (folder.display(), folder.join("logs/app.log"), folder.join("lake"));
    let config = format!(
        "version: 1\nagent: {{ id: forgetful }}\ndata_dir: {at}/data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{at}/logs/app.log], rotated: [{at}/logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {{ type: file, inputs: [parsed], path: \"{at}/lake/hour={{received_time:%H}}\", format: jsonl, \
         roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    fs::write(folder.join("sawlog.yaml"), config)?;
    append(&app, [GREETING].into_iter().chain(1..=400))?;
    let mut agent = Agent::start(folder)?;
    until(&mut agent, &lake, 400)?;
    fs::rename(&app, folder.join("logs/app.log.1"))?;
    append(&app, [GREETING].into_iter().chain(401..=450))?;
    until(&mut agent, &lake, 450)?;
    agent.kill()?;
    // The older one goes with the directory: the live one alone is left, shorter than what was delivered of the other.
    fs::remove_dir_all(folder.join("data"))?;
    fs::remove_file(folder.join("logs/app.log.1"))?;
    append(&app, 451..=500)?;
    let mut agent = Agent::start(folder)?;
    until(&mut agent, &lake, 500)?;
    agent.kill()?;
    // Now none of them is left, and a new one begins like they did.
    fs::remove_dir_all(folder.join("data"))?;
    fs::remove_file(&app)?;
    append(&app, [GREETING].into_iter().chain(501..=900))?;
    let mut agent = Agent::start(folder)?;
    until(&mut agent, &lake, 900)?;
    agent.terminate()?;
    let mut times = BTreeMap::new();
    read::folder(&lake)?.into_iter().for_each(|n| *times.entry(n).or_default() += 1);
    Ok(times)
}

#[test]
fn nothing_of_a_file_is_taken_for_what_another_had_delivered() {
    if service("equal first lines", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let times = run(folder.path()).unwrap();
    let wrong: Vec<(u64, u64)> = (0..=900)
        .map(|n| (n, times.get(&n).copied().unwrap_or(0)))
        .filter(|(n, k)| *k != if *n == GREETING { 3 } else { 1 })
        .collect();
    assert!(wrong.is_empty(), "(number, times) of 901 records in three files: {wrong:?}");
}
