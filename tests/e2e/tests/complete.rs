//! `sawlog complete` over a local lake, S3 and HDFS: an hour that is past is closed, the present one is not, and whoever holds
//! back is named.
#![allow(clippy::unwrap_used)]

use anyhow::{Context, Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::{service, unique};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HOUR_SECS: u64 = 3600;
/// Longest time until the claim of a few rows is there.
const CLAIM_MAX: Duration = Duration::from_secs(30);

/// `YYYY-MM-DDTHH` of UTC, by `date`, which shares no code with the agent.
fn hour(before_now: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = format!("@{}", now - before_now * HOUR_SECS);
    let out = Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H"]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn complete(folder: &Path, more: &[&str]) -> Result<(Option<i32>, String)> {
    let binary = std::env::var("SAWLOG_TEST_BINARY").context("SAWLOG_TEST_BINARY is not set")?;
    let mut command = Command::new(binary);
    let out = command.args(["complete", "--config"]).arg(folder.join("sawlog.yaml")).args(more).output()?;
    let text = [out.stdout, out.stderr].concat();
    Ok((out.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

fn ask(sink: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    std::fs::create_dir(path.join("logs"))?;
    let config = format!(
        "version: 1\nagent: {{ id: asked }}\ndata_dir: {0}/data\nsources:\n  app: {{ type: file, include: [{0}/logs/app.log] }}\nsinks:\n  out: {sink}\n",
        path.display()
    );
    std::fs::write(path.join("sawlog.yaml"), config.replace("FOLDER", &path.display().to_string()))?;
    let (code, text) = complete(path, &["--hour", &hour(1)])?;
    ensure!(
        code == Some(1) && text.contains("no agent has written here yet"),
        "before the first claim: {code:?} {text}"
    );
    let mut feed = Feed::new(&path.join("logs/app.log"));
    feed.send(100)?;
    let mut agent = Agent::start(path)?;
    let deadline = Instant::now() + CLAIM_MAX;
    loop {
        agent.check()?;
        let (code, text) = complete(path, &["--hour", &hour(1)])?;
        if code == Some(0) {
            ensure!(text.contains("out: closed"), "{text}");
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "the past hour is not closed after {CLAIM_MAX:?}: {text}\n{}",
            agent.log_tail()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    // The present hour is open, unless it ended while it was asked for.
    let present = hour(0);
    let next = complete(path, &["--hour", &present])?;
    let later = complete(path, &["--hour", "2199-01-01T00"])?;
    ensure!(next.0 == Some(1) && next.1.contains("holds it back") || hour(0) != present, "{next:?}");
    ensure!(later.0 == Some(1) && later.1.contains("asked/out holds it back"), "{later:?}");
    let silent = complete(path, &["--hour", "2199-01-01T00", "--silent-for", "0s"])?;
    ensure!(silent.0 == Some(1) && silent.1.contains("asked/out is left out"), "silence closes nothing: {silent:?}");
    let wrong = complete(path, &["--hour", "yesterday"])?;
    ensure!(wrong.0 == Some(2) && wrong.1.contains("is no hour"), "{wrong:?}");
    agent.terminate()
}

#[test]
fn a_past_hour_of_a_lake_is_closed() {
    if service("complete over a lake", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    ask("{ type: file, inputs: [app], path: \"FOLDER/lake/hour={received_time:%Y-%m-%dT%H}\", format: jsonl, roll: { size: 1MiB, age: 1s } }")
        .unwrap();
}

#[test]
fn a_past_hour_of_a_bucket_is_closed() {
    let name = "complete over S3";
    let Some(endpoint) = service(name, "SAWLOG_TEST_S3_ENDPOINT") else { return };
    let variable = |name: &str| std::env::var(format!("SAWLOG_TEST_S3_{name}")).unwrap();
    let (bucket, access, secret) = (variable("BUCKET"), variable("ACCESS_KEY"), variable("SECRET_KEY"));
    let root = unique("complete");
    ask(&format!(
        "{{ type: s3, inputs: [app], bucket: \"{bucket}\", prefix: \"{root}/hour={{received_time:%Y-%m-%dT%H}}\", endpoint: \"{endpoint}\", path_style: true, credentials: {{ access_key_id: \"{access}\", secret_access_key: \"{secret}\" }}, format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}"
    ))
    .unwrap();
}

#[test]
fn a_past_hour_of_hdfs_is_closed() {
    let Some(url) = service("complete over HDFS", "SAWLOG_TEST_HDFS") else { return };
    let root = unique("complete");
    ask(&format!(
        "{{ type: hdfs, inputs: [app], url: \"{url}\", path: \"/{root}/hour={{received_time:%Y-%m-%dT%H}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}"
    ))
    .unwrap();
}
