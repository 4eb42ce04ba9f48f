//! S3 and HDFS sinks of the real binary whose store says no: a bucket that is missing, a wrong secret, a proxy in between, a
//! cluster in safe mode.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::feed::{Sender as _, plain};
use sawlog_e2e::proxy::Proxy;
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::shown::{Hdfs, Shown as _};
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::{service, unique};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the running services, and what their state file says of a process.
fn services() -> (PathBuf, Value) {
    let path = PathBuf::from(std::env::var("SAWLOG_TEST_SERVICES").unwrap());
    (path.parent().unwrap().to_owned(), serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
}

#[test]
fn a_missing_bucket_is_said_and_waited_for() {
    let Some(bucket) = Bucket::find("a missing bucket") else { return };
    let bucket = bucket.named(&unique("missing"));
    let mut trial = Trial::begin(plain, &bucket.sink("parsed")).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("create the bucket").unwrap();
    trial.kill().unwrap();
    trial.feed.send(300).unwrap();
    trial.says(bucket.name()).unwrap();
    // A bucket of this gateway is a folder.
    std::fs::create_dir(services().0.join("s3/data").join(bucket.name())).unwrap();
    trial.exact(none, &bucket).unwrap();
}

#[test]
fn a_wrong_secret_is_said_and_mended_by_a_reload_and_a_proxy_is_used() {
    let Some(bucket) = Bucket::find("a wrong secret") else { return };
    let right = bucket.secret().to_owned();
    let sink = bucket.sink("parsed").replace(&right, "\"${secret:s3}\"");
    let mut trial = Trial::begin(plain, &bucket.sink("parsed").replace(&right, "no-secret-at-all")).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("credentials").unwrap();
    trial.secret("s3", "wrong-again").unwrap();
    trial.reload(&sink).unwrap();
    trial.says("credentials").unwrap();
    trial.kill().unwrap();
    trial.secret("s3", &right).unwrap();
    let proxy = Proxy::start().unwrap();
    let through = sink.replace("type: s3,", &format!("type: s3, proxy: \"http://{}\",", proxy.address()));
    trial.reload(&through).unwrap();
    trial.feed.send(300).unwrap();
    assert!(!trial.agent().unwrap().log().contains(&right), "the log shows a secret");
    trial.exact(none, &bucket).unwrap();
    assert!(proxy.connections() > 0, "the proxy was used");
}

/// Asks the namenode of the test services for another mode, by Hadoop's own tool.
fn safe_mode(how: &str, scratch: &Path) {
    let (_, state) = services();
    let processes = state["processes"].as_array().unwrap();
    let command = &processes.iter().find(|one| one["name"] == "hdfs-namenode").unwrap()["command"];
    let arguments: Vec<&str> = command["arguments"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let (main, flags) = arguments.split_last().unwrap();
    assert!(main.ends_with("NameNode"));
    let mut tool = Command::new(command["program"].as_str().unwrap());
    tool.args(flags).args(["org.apache.hadoop.hdfs.tools.DFSAdmin", "-safemode", how]).current_dir(scratch);
    let output = tool.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn safe_mode_is_said_and_waited_for() {
    let Some(url) = service("hdfs in safe mode", "SAWLOG_TEST_HDFS") else { return };
    let web = std::env::var("SAWLOG_TEST_WEBHDFS").unwrap();
    let root = format!("/{}", unique("safe"));
    let sink = format!(
        "{{ type: hdfs, inputs: [parsed], url: \"{url}\", path: \"{root}/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }}, retry: {{ max: 1s }} }}"
    );
    let mut trial = Trial::begin(plain, &sink).unwrap();
    trial.feed.send(300).unwrap();
    let there = Hdfs { url: web.clone(), root: root.clone() };
    let wait = std::time::Duration::from_secs(60);
    trial.agent().unwrap().wait_until("rows", wait, || Ok(there.rows()?.len() == 300)).unwrap();
    safe_mode("enter", trial.path());
    trial.feed.send(300).unwrap();
    let said = trial.says("safe mode").and_then(|()| trial.kill()).and_then(|()| trial.feed.send(300));
    let said = said.and_then(|()| trial.says("safe mode"));
    safe_mode("leave", trial.path());
    said.unwrap();
    trial.exact(none, &Hdfs { url: web, root }).unwrap();
}
