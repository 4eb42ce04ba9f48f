//! SIGHUP under load, on the real binary: a sink is added, a plugin is changed, a sink's batches are, a source is added and taken
//! away, and a config with a mistake is refused by its line; kill -9 between. Every row is there once.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::{REFUSED, TAKEN, has_sink};
use sawlog_e2e::{read, service};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The parts of a config that this test changes.
#[derive(Clone, Default)]
struct Parts {
    plugin: &'static str,
    batch_age: &'static str,
    second: bool,
    more: bool,
    remove: &'static str,
    mistake: &'static str,
}

impl Parts {
    fn write(&self, folder: &Path) {
        let plugins = std::env::var("SAWLOG_TEST_PLUGINS").unwrap();
        let more = "  more: { type: file, include: [./logs/more.log] }\n";
        let second = "  second: { type: file, inputs: [clean], path: \"./second/dt={received_time:%Y-%m-%d}\", roll: { size: 1MiB, age: 1s } }\n";
        let config = if self.plugin == "level-filter" { ", config: { at_least: info }" } else { "" };
        let inputs = if self.more { "[app, more]" } else { "[app]" };
        let text = format!(
            "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n{}\
             plugins:\n  clean: {{ source: \"file:{plugins}/{}.wasm\"{config} }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n{}\
             transforms:\n  parsed: {{ type: parse, inputs: {inputs}, try: [json, text] }}\n  clean: {{ type: wasm, inputs: [parsed], chain: [clean] }}\n\
             sinks:\n  out: {{ type: file, inputs: [clean], path: ./out.jsonl, batch: {{ age: {} }}{} }}\n{}",
            self.remove,
            self.plugin,
            if self.more { more } else { "" },
            self.batch_age,
            self.mistake,
            if self.second { second } else { "" },
        );
        std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
    }
}

/// Writes lines for as long as the test runs.
fn load(folder: &Path, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let mut feed = Feed::new(&folder.join("logs/app.log"));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            feed.send(100).unwrap();
            std::thread::sleep(Duration::from_millis(80));
        }
        feed.sent()
    })
}

/// (lost, duplicated) of the numbers `from..to`.
fn judge(rows: &[u64], from: u64, to: u64) -> (usize, usize) {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    rows.iter().for_each(|n| *times.entry(*n).or_default() += 1);
    let lost = (from..to).filter(|n| !times.contains_key(n)).count();
    (lost, times.values().map(|n| n - 1).sum())
}

fn settled(folder: &Path, name: &str, sent: u64) -> Vec<u64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = read::folder(&folder.join(name)).unwrap_or_default();
        if rows.contains(&(sent - 1)) || Instant::now() > deadline {
            std::thread::sleep(Duration::from_millis(500));
            return read::folder(&folder.join(name)).unwrap_or_default();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The first number of the second source's rows.
const MORE: u64 = 1_000_000_000;

fn write_more(folder: &Path, numbers: std::ops::Range<u64>) {
    let text: String = numbers.map(|n| format!("{{\"seq\":{}}}\n", MORE + n)).collect();
    let file = File::options().create(true).append(true).open(folder.join("logs/more.log"));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A mistake in the config, then a plugin that is not there: each is told, and the old configuration goes on.
fn mistakes_are_refused(agent: &mut Agent, folder: &Path, good: &Parts) {
    Parts { mistake: ", batchh: 1", ..good.clone() }.write(folder);
    agent.reload(REFUSED).unwrap();
    let told = agent.log();
    assert!(told.contains("batchh") && told.contains("sawlog.yaml:"), "it names the line:\n{}", agent.log_tail());
    Parts { plugin: "nowhere", ..good.clone() }.write(folder);
    agent.reload(REFUSED).unwrap();
}

/// What an independent reader finds, and that it would notice a row removed and one repeated.
fn count(folder: &Path, sent: u64, first_of_second: u64, agent: &Agent) {
    let rows = settled(folder, "out.jsonl", sent);
    let (plain, more): (Vec<u64>, Vec<u64>) = rows.into_iter().partition(|n| *n < MORE);
    assert_eq!(judge(&plain, 0, sent), (0, 0), "of {sent}; the agent's log:\n{}", agent.log_tail());
    assert_eq!(judge(&more, MORE, MORE + 201), (0, 0), "the source that came and went");
    let second = read::folder(&folder.join("second")).unwrap();
    let second: Vec<u64> = second.into_iter().filter(|n| *n < MORE).collect();
    let last_of_second = second.iter().max().copied().unwrap();
    assert_eq!(judge(&second, first_of_second, last_of_second + 1), (0, 0), "the sink that came and went");
    assert!(first_of_second > 0 && last_of_second < sent, "it was there for a part only");
    control(&Folder(folder.join("out.jsonl"))).unwrap();
    control(&Folder(folder.join("second"))).unwrap();
}

#[test]
fn sighup_under_load_changes_only_what_changed_and_loses_nothing() {
    if service("reload", "SAWLOG_TEST_BINARY").is_none() || service("reload", "SAWLOG_TEST_PLUGINS").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let mut parts = Parts { plugin: "redact", batch_age: "100ms", ..Parts::default() };
    parts.write(path);
    let mut agent = Agent::start(path).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let feeding = load(path, stop.clone());
    // What the added sink is not to get.
    let has_begun = || Ok(!read::folder(&path.join("out.jsonl"))?.is_empty());
    agent.wait_until("the first sink has begun", Duration::from_secs(60), has_begun).unwrap();
    std::thread::sleep(Duration::from_millis(300));

    parts.second = true;
    parts.write(path);
    agent.reload(TAKEN).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let first_of_second = *read::folder(&path.join("second")).unwrap().iter().min().expect("the added sink has begun");

    parts.batch_age = "300ms";
    parts.plugin = "level-filter";
    parts.write(path);
    agent.reload(TAKEN).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    agent.kill().unwrap();
    agent = Agent::start(path).unwrap();
    std::thread::sleep(Duration::from_millis(700));

    parts.more = true;
    write_more(path, 0..1);
    parts.write(path);
    agent.reload(TAKEN).unwrap();
    write_more(path, 1..201);
    std::thread::sleep(Duration::from_millis(1_500));

    mistakes_are_refused(&mut agent, path, &parts);
    parts.batch_age = "50ms";
    parts.more = false;
    parts.write(path);
    agent.reload(TAKEN).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    agent.kill().unwrap();
    agent = Agent::start(path).unwrap();
    std::thread::sleep(Duration::from_millis(700));

    parts.second = false;
    parts.write(path);
    parts.remove = "remove: { second: drain }\n";
    parts.write(path);
    agent.reload(TAKEN).unwrap();
    stop.store(true, Ordering::Relaxed);
    let sent = feeding.join().unwrap();
    let has_drained = || Ok(!has_sink(path, "second")?);
    agent.wait_until("the removed sink has drained", Duration::from_secs(60), has_drained).unwrap();

    count(path, sent, first_of_second, &agent);
    agent.terminate().unwrap();
    println!("{sent} records through 6 reloads, 2 refused configs, 2 kills: lost 0, duplicated 0");
}
