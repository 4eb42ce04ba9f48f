//! Ways through the real binary that part and meet again, sinks that keep nothing, objects that many inputs share, and files that
//! vanish while a sink is down.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Posts, Sender, plain};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::{Ledger, sink_trouble};
use sawlog_e2e::{read, service};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);

fn head(here: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: parted }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n"
    )
}

/// An empty folder with `logs`, and a config in it.
fn prepared(config: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    let here = folder.path().display().to_string();
    fs::write(folder.path().join("sawlog.yaml"), head(&here) + &config(&here)).unwrap();
    folder
}

fn rows(folder: &Path, name: &str) -> Vec<u64> {
    read::folder(&folder.join(name)).unwrap_or_default()
}

fn numbers(sent: u64, is: impl Fn(u64) -> bool) -> Vec<u64> {
    (0..sent).filter(|n| is(*n)).collect()
}

fn line(number: u64) -> String {
    let (parity, third) = (if is_even(number) { "even" } else { "odd" }, if is_third(number) { "yes" } else { "no" });
    format!(
        "{{\"seq\":{number},\"parity\":\"{parity}\",\"third\":\"{third}\",\"message\":\"mail a{number}@example.org\"}}"
    )
}

fn is_even(number: u64) -> bool {
    number.is_multiple_of(2)
}

fn is_third(number: u64) -> bool {
    number.is_multiple_of(3)
}

#[test]
fn rows_part_and_meet_again_and_each_is_where_it_belongs_once() {
    let Some(plugins) = service("routes", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = prepared(|here| {
        let sink = |name: &str, inputs: &str| {
            format!(
                "  {name}: {{ type: file, inputs: [{inputs}], path: {here}/{name}/out.jsonl, batch: {{ age: 100ms }} }}\n"
            )
        };
        let sinks = [
            // Two routes into one sink: rows that take both are there once.
            sink("overlap", "split.even, split.third"),
            sink("unmatched", "split.rest"),
            sink("strict", "thirds.third"),
            // One arm of the diamond has a plugin.
            sink("diamond", "clean, halves.odd"),
        ];
        format!(
            "plugins:\n  redact: {{ source: \"file:{plugins}/redact.wasm\", config: {{ fields: [message] }} }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  \
             split: {{ type: route, inputs: [parsed], routes: {{ even: 'parity == \"even\"', third: 'third == \"yes\"', rest: 'parity == \"neither\"' }}, unmatched: rest }}\n  \
             thirds: {{ type: route, inputs: [parsed], routes: {{ third: 'third == \"yes\"' }}, unmatched: drop }}\n  \
             halves: {{ type: route, inputs: [parsed], routes: {{ even: 'parity == \"even\"', odd: 'parity == \"odd\"' }} }}\n  \
             clean: {{ type: wasm, inputs: [halves.even], chain: [redact] }}\n\
             sinks:\n{}",
            sinks.concat()
        )
    });
    let path = folder.path();
    let mut feed = Feed::of(&path.join("logs/app.log"), line);
    let mut agent = Agent::start(path).unwrap();
    for pause in [60, 250, 0] {
        feed.send(500).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        if pause > 0 {
            agent.kill_and_start(path).unwrap();
        }
    }
    let sent = feed.sent();
    let expected = [
        ("overlap", numbers(sent, |n| is_even(n) || is_third(n))),
        ("unmatched", numbers(sent, |n| !is_even(n) && !is_third(n))),
        ("strict", numbers(sent, is_third)),
        ("diamond", numbers(sent, |_| true)),
    ];
    for (sink, wanted) in &expected {
        agent.wait_until(sink, WAIT_MAX, || Ok(rows(path, sink).len() >= wanted.len())).unwrap();
    }
    verb(path, &["drain", "--wait", "--timeout", "30s"]).unwrap();
    agent.terminate().unwrap();
    let ledger = Ledger::of(path).unwrap();
    for (sink, wanted) in &expected {
        assert_eq!(compare(&rows(path, sink), wanted), (0, 0, 0), "{sink}");
        control(&Folder(path.join(sink))).unwrap();
        let told = ["delivered", "dropped"].map(|outcome| ledger.count(sink, "app", outcome));
        assert_eq!(told[0], wanted.len() as u64, "{sink}: {told:?}");
    }
    let loss: Value = serde_json::from_str(&verb(path, &["loss", "--format", "json"]).unwrap()).unwrap();
    let strict = loss["lines"].as_array().unwrap().iter().find(|line| line["sink"] == "strict").unwrap();
    assert_eq!(strict["dropped"]["not_routed"], sent - expected[2].1.len() as u64, "{strict}");
    let text = fs::read_to_string(path.join("diamond/out.jsonl")).unwrap();
    for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let (number, message) = (row["seq"].as_u64().unwrap(), row["message"].as_str().unwrap());
        let untouched = format!("mail a{number}@example.org");
        assert_eq!(message == untouched, !is_even(number), "the plugin's arm has the even rows: {row}");
    }
}

#[test]
fn a_console_prints_each_row_once_and_a_blackhole_counts_it() {
    if service("console", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = prepared(|here| {
        format!(
            "sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  seen: {{ type: console, inputs: [parsed] }}\n  gone: {{ type: blackhole, inputs: [parsed] }}\n  \
             kept: {{ type: file, inputs: [parsed], path: {here}/kept/out.jsonl, batch: {{ age: 100ms }} }}\n"
        )
    });
    let path = folder.path();
    let mut feed = Feed::new(&path.join("logs/app.log"));
    let mut agent = Agent::start(path).unwrap();
    feed.send(900).unwrap();
    let counted = |sink: &str| Ledger::of(path).map_or(0, |ledger| ledger.count(sink, "app", "delivered"));
    let all = || Ok(["seen", "gone", "kept"].iter().all(|sink| counted(sink) == 900));
    agent.wait_until("all three", WAIT_MAX, all).unwrap();
    let log = agent.log_path();
    agent.terminate().unwrap();
    let printed = fs::read_to_string(log).unwrap();
    let seen: Vec<u64> = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|row| row["seq"].as_u64())
        .collect();
    let expected = numbers(900, |_| true);
    assert_eq!(compare(&seen, &expected), (0, 0, 0), "printed");
    assert_eq!(compare(&rows(path, "kept"), &expected), (0, 0, 0));
    assert_eq!(["seen", "gone", "kept"].map(counted), [900; 3]);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn fifty_files_and_a_client_share_the_objects_of_a_path() {
    const FILES: u64 = 50;
    const LINES: u64 = 20;
    if service("one object a roll", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = prepared(|here| {
        format!(
            "sources:\n  app: {{ type: file, include: [\"{here}/logs/*.log\"] }}\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", decode: ndjson }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  lake: {{ type: file, inputs: [parsed, web], path: \"{here}/lake/all=yes\", format: jsonl, roll: {{ size: 64MiB, age: 4s }} }}\n"
        )
    });
    let path = folder.path();
    for file in 0..FILES {
        let text: String = (0..LINES).map(|n| plain(file * LINES + n) + "\n").collect();
        fs::write(path.join(format!("logs/{file}.log")), text).unwrap();
    }
    let mut agent = Agent::start(path).unwrap();
    let mut posts = Posts::numbered(format!("http://127.0.0.1:{port}/"), FILES * LINES, plain);
    posts.send(200).unwrap();
    let sent = FILES * LINES + posts.sent();
    agent.wait_until("every row", WAIT_MAX, || Ok(rows(path, "lake").len() as u64 >= sent)).unwrap();
    agent.terminate().unwrap();
    assert_eq!(compare(&rows(path, "lake"), &numbers(sent, |_| true)), (0, 0, 0));
    control(&Folder(path.join("lake"))).unwrap();
    let objects = files(&path.join("lake/all=yes"));
    println!("{} objects of 50 files and a client", objects.len());
    // What was read within one roll is one object; input that came later has a second roll, and a slow machine a third.
    assert!(objects.len() <= 3, "{} objects: {objects:?}", objects.len());
}

#[test]
fn files_that_vanish_while_a_sink_is_down_are_rescued_and_what_nobody_read_is_named() {
    if service("rescue", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = prepared(|here| {
        format!(
            "sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  down: {{ type: file, inputs: [parsed], path: {here}/down/out.jsonl, batch: {{ age: 100ms }}, retry: {{ max: 1s }} }}\n  \
             good: {{ type: file, inputs: [parsed], path: {here}/good/out.jsonl, batch: {{ age: 100ms }} }}\n"
        )
    });
    let path = folder.path();
    // What lies there is in the way of the sink.
    fs::write(path.join("down"), "in the way").unwrap();
    let mut agent = Agent::start(path).unwrap();
    let mut feed = Feed::new(&path.join("logs/app.log"));
    feed.send(1_600).unwrap();
    agent.wait_until("the good sink", WAIT_MAX, || Ok(rows(path, "good").len() == 1_600)).unwrap();
    assert!(sink_trouble(path, "down").unwrap().is_some());
    // Two files of 700 lines: both are planned, and one sink has nothing of them.
    for rotated in ["app.log.1", "app.log.2"] {
        fs::remove_file(path.join("logs").join(rotated)).unwrap();
    }
    let pid = agent.pid();
    let rescued = || Ok(open_files(pid, "(deleted)") == 0);
    agent.wait_until("they are rescued, and let go", WAIT_MAX, rescued).unwrap();
    agent.kill_and_start(path).unwrap();
    feed.send(50).unwrap();
    agent.wait_until("the good sink", WAIT_MAX, || Ok(rows(path, "good").len() == 1_650)).unwrap();
    fs::remove_file(path.join("down")).unwrap();
    agent.wait_until("the sink that was down", WAIT_MAX, || Ok(rows(path, "down").len() == 1_650)).unwrap();
    // A crash takes back rows whose length is not journalled yet; here nobody could send them again.
    let delivered = |sink: &str| Ledger::of(path).map_or(0, |ledger| ledger.count(sink, "app", "delivered"));
    agent.wait_until("it is durable", WAIT_MAX, || Ok(["down", "good"].iter().all(|s| delivered(s) == 1_650))).unwrap();
    agent.kill().unwrap();
    for sink in ["down", "good"] {
        assert_eq!(compare(&rows(path, sink), &numbers(1_650, |_| true)), (0, 0, 0), "{sink}");
        control(&Folder(path.join(sink))).unwrap();
    }

    what_nobody_read_is_named(path, feed);
}

/// The agent is down: a file of which one sink has nothing is gone before it comes back.
fn what_nobody_read_is_named(path: &Path, mut feed: Feed) {
    fs::rename(path.join("down"), path.join("before")).unwrap();
    fs::write(path.join("down"), "in the way").unwrap();
    let mut agent = Agent::start(path).unwrap();
    feed.send(60).unwrap();
    agent.wait_until("the good sink", WAIT_MAX, || Ok(rows(path, "good").len() == 1_710)).unwrap();
    agent.kill().unwrap();
    feed.send(40).unwrap();
    fs::remove_file(path.join("logs/app.log")).unwrap();
    fs::remove_file(path.join("down")).unwrap();
    fs::rename(path.join("before"), path.join("down")).unwrap();
    let mut agent = Agent::start_answering(path).unwrap();
    Feed::new(&path.join("logs/app.log")).send(10).unwrap();
    agent.wait_until("what came after it", WAIT_MAX, || Ok(rows(path, "good").len() == 1_720)).unwrap();
    agent.wait_until("what came after it", WAIT_MAX, || Ok(rows(path, "down").len() == 1_660)).unwrap();
    // The file's first 60 lines behind what `down` had, to the byte; what was written while nobody looked is known to nobody.
    let lost: usize = (1_650..1_710).map(|n| plain(n).len() + 1).sum();
    let from: usize = (1_400..1_650).map(|n| plain(n).len() + 1).sum();
    let loss: Value = serde_json::from_str(&verb(path, &["loss", "--format", "json"]).unwrap()).unwrap();
    let line = |sink: &str| loss["lines"].as_array().unwrap().iter().find(|line| line["sink"] == sink).unwrap().clone();
    assert_eq!(line("down")["lost_bytes"]["input_gone"], lost, "{loss}");
    assert!(line("good")["lost_bytes"].as_object().unwrap().is_empty(), "{loss}");
    let named = format!("path={} from={from}", path.join("logs/app.log").display());
    assert!(
        agent.log().lines().any(|line| line.contains("a file went away") && line.contains(&named)),
        "{named}: {}",
        agent.log_tail()
    );
    agent.terminate().unwrap();
    let found = rows(path, "down");
    assert_eq!(compare(&found[..1_650], &numbers(1_650, |_| true)), (0, 0, 0));
    assert_eq!(compare(&found[1_650..], &numbers(10, |_| true)), (0, 0, 0));
}

/// Files that a process has open, whose links end so.
fn open_files(pid: u32, ending: &str) -> usize {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("/logs/") && link.to_string_lossy().ends_with(ending)).count()
}
