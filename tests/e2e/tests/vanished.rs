//! Files that go away before a sink had them, while nobody looks: the ledger names each by its path, its file and its range, and
//! still does after another start.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::feed::plain;
use sawlog_e2e::{read, service};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

fn config(folder: &Path) {
    let here = folder.display();
    let source = |name: &str| {
        format!("  {name}: {{ type: file, include: [{here}/{name}/live.log], rotated: [{here}/{name}/live.log.1] }}\n")
    };
    let sink = |name: &str, inputs: &str| {
        format!(
            "  {name}: {{ type: elasticsearch, inputs: [{inputs}], endpoints: [\"{NOBODY}\"], index: lost, all: true }}\n"
        )
    };
    let text = format!(
        "version: 1\nagent: {{ id: watchful }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n{}{}{}transforms:\n  parsed: {{ type: parse, inputs: [both, whole], try: [json] }}\n\
         sinks:\n  lake: {{ type: file, inputs: [parsed], path: \"{here}/lake/hour={{received_time:%H}}\", format: jsonl, \
         roll: {{ size: 1MiB, age: 1s }} }}\n{}",
        source("both"),
        source("alone"),
        source("whole"),
        sink("search", "both, alone"),
    );
    fs::write(folder.join("sawlog.yaml"), text).unwrap();
}

/// Writes lines; the length of the file then.
fn write(path: &Path, numbers: impl Iterator<Item = u64>) -> u64 {
    let text: String = numbers.map(|n| plain(n) + "\n").collect();
    File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    fs::metadata(path).unwrap().len()
}

fn missing(folder: &Path) -> Result<Vec<Value>> {
    let ledger: Value = serde_json::from_str(&verb(folder, &["loss", "--format", "json"])?)?;
    let all = ledger["missing"].as_array().unwrap();
    let told = |m: &Value| {
        json!([m["source"], m["sink"], m["path"], m["file"]["inode"], m["from"], m["to"], m["at_least"], m["reason"]])
    };
    let mut told: Vec<Value> = all.iter().map(told).collect();
    told.sort_by_key(Value::to_string);
    Ok(told)
}

fn run(folder: &Path) -> Result<()> {
    let live = |name: &str| folder.join(name).join("live.log");
    for name in ["both", "alone", "whole"] {
        fs::create_dir(folder.join(name))?;
    }
    config(folder);
    let sizes = [write(&live("both"), 0..100), write(&live("alone"), 100..250), write(&live("whole"), 250..300)];
    let inodes = ["both", "alone", "whole"].map(|name| fs::metadata(live(name)).unwrap().ino());
    let mut agent = Agent::start_answering(folder)?;
    let lake = folder.join("lake");
    agent.wait_until("the lake has its lines", WAIT_MAX, || Ok(read::folder(&lake)?.len() == 150))?;
    let knows = || Ok(verb(folder, &["status", "--format", "json"])?.contains("\"alone\""));
    agent.wait_until("the file without a lake is known", WAIT_MAX, knows)?;
    // The length is journalled once the file is quiet.
    write(&live("both"), 300..310);
    agent.wait_until("more of them", WAIT_MAX, || Ok(read::folder(&lake)?.len() == 160))?;
    let grown = fs::metadata(live("both"))?.len();
    std::thread::sleep(Duration::from_secs(2));
    agent.kill()?;
    ensure!(missing(folder)?.is_empty(), "nothing is missing yet");
    // One is rotated twice over, beyond the pattern; one is deleted; one that was read to its end is deleted too.
    fs::rename(live("both"), folder.join("both/live.log.2"))?;
    fs::remove_file(live("alone"))?;
    fs::remove_file(live("whole"))?;
    write(&live("both"), 400..410);
    let path = |name: &str| live(name).to_str().unwrap().to_owned();
    let expected = vec![
        json!(["alone", "search", path("alone"), inodes[1], 0, sizes[1], true, "input_gone"]),
        json!(["both", "search", path("both"), inodes[0], 0, grown, true, "input_gone"]),
        json!(["whole", null, path("whole"), inodes[2], sizes[2], sizes[2], true, "input_gone"]),
    ];
    let mut agent = Agent::start_answering(folder)?;
    agent.wait_until("the lake has the new file", WAIT_MAX, || Ok(read::folder(&lake)?.len() == 170))?;
    let mut found = Vec::new();
    let is_told = agent.wait_until("all three are named", WAIT_MAX, || {
        found = missing(folder)?;
        Ok(found == expected)
    });
    ensure!(is_told.is_ok(), "found {found:#?}\nexpected {expected:#?}\n{}", agent.log_tail());
    let text = verb(folder, &["loss"])?;
    for (name, told) in [
        ("alone", format!("search lacks positions 0 to {} of {}", sizes[1], path("alone"))),
        ("both", format!("search lacks positions 0 to {grown} of {}", path("both"))),
        ("whole", format!("every sink has all up to {}", sizes[2])),
    ] {
        ensure!(text.contains(&told), "{name}: {text}");
    }
    ensure!(
        verb(folder, &["loss", "--sink", "lake"])?.contains("every sink has all"),
        "what may be more concerns every sink"
    );
    agent.kill()?;
    ensure!(missing(folder)? == expected, "the directory tells the same");
    let mut agent = Agent::start_answering(folder)?;
    ensure!(missing(folder)? == expected, "nothing is told twice: {:#?}", missing(folder)?);
    agent.check()?;
    agent.kill()?;
    Ok(())
}

#[test]
fn the_ledger_names_what_went_away_unread() {
    if service("what went away unread", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    run(folder.path()).unwrap();
}
