//! Letters of a plugin, on the real binary: records that cost a plugin too much lie in the dead letters, and when it may spend
//! more they enter in front of it again, each once. And the windows of one, which close when their own source is idle.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::feed::{Feed, Posts, Sender};
use sawlog_e2e::told::Ledger;
use sawlog_e2e::{read, service};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const LINES: u64 = 200;

/// A plugin that drops what is below `info`, with so much fuel a record, between a parser and two sinks.
fn write(folder: &Path, plugins: &str, fuel: &str) {
    let text = format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         plugins:\n  filter: {{ source: \"file:{plugins}/level-filter.wasm\", config: {{ at_least: info }}, limits: {{ fuel: {fuel} }} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n  clean: {{ type: wasm, inputs: [parsed], chain: [filter] }}\n\
         sinks:\n  out: {{ type: file, inputs: [clean], path: ./out.jsonl, batch: {{ age: 100ms }} }}\n  raw: {{ type: file, inputs: [parsed], path: ./raw.jsonl }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
}

fn letters(folder: &Path) -> Vec<Value> {
    let list = verb(folder, &["dlq", "list", "--format", "json", "--limit", "10000"]).unwrap();
    serde_json::from_str::<Value>(&list).unwrap()["letters"].as_array().unwrap().clone()
}

#[track_caller]
fn until(agent: &mut Agent, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        agent.check().unwrap();
        assert!(Instant::now() < deadline, "not within a minute:\n{}", agent.log_tail());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn letters_of_a_plugin_enter_in_front_of_it_again() {
    let Some(plugins) = service("letters of a plugin", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("logs")).unwrap();
    write(folder, &plugins, "300");
    let mut feed = Feed::new(&folder.join("logs/app.log"));
    feed.send(LINES).unwrap();
    let mut agent = Agent::start(folder).unwrap();
    until(&mut agent, || letters(folder).len() as u64 == LINES);
    let one = &letters(folder)[7];
    assert_eq!(one["of"], "filter (clean.0)", "{one}");
    assert!(one["reason"].as_str().unwrap().contains("fuel"), "{one}");
    assert_eq!(read::folder(&folder.join("out.jsonl")).unwrap_or_default().len(), 0);

    // Its author can try the very record, under the limits that the config gives.
    let component = format!("{plugins}/level-filter.wasm");
    let (id, config) = (one["id"].as_str().unwrap(), folder.join("sawlog.yaml").display().to_string());
    let trial = ["plugin", "run", &component, "--letters", &config, "--record", id];
    let tried = verb(folder, &trial).unwrap();
    assert!(tried.contains("\"dead\":\"fuel\""), "{tried}");
    write(folder, &plugins, "10000000");
    let row =
        serde_json::from_str::<Vec<Value>>(&verb(folder, &["dlq", "show", id]).unwrap()).unwrap()[0]["row"].clone();
    let tried = verb(folder, &trial).unwrap();
    assert!(tried.contains("\"route\":\"default\"") && tried.contains(row["message"].as_str().unwrap()), "{tried}");
    assert_eq!(
        verb(folder, &[&trial[..6], &["unknown"]].concat()).unwrap_err().to_string().matches("dlq list").count(),
        1
    );
    verb(folder, &["reload"]).unwrap();
    let told = verb(folder, &["dlq", "replay", "--all"]).unwrap();
    assert!(told.starts_with(&format!("{LINES} replayed, 0 ")), "{told}");
    agent.kill().unwrap();
    let mut agent = Agent::start(folder).unwrap();
    until(&mut agent, || read::folder(&folder.join("out.jsonl")).unwrap_or_default().len() as u64 >= LINES);
    let told = verb(folder, &["dlq", "replay", "--of", "filter", "--all"]).unwrap();
    assert!(told.starts_with(&format!("0 replayed, {LINES} ")), "{told}");
    verb(folder, &["drain", "--wait", "--timeout", "30s"]).unwrap();
    let mut rows = read::folder(&folder.join("out.jsonl")).unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (0..LINES).collect::<Vec<_>>());
    assert_eq!(read::folder(&folder.join("raw.jsonl")).unwrap().len() as u64, LINES, "the other way had them already");
    agent.terminate().unwrap();
}

#[test]
fn what_a_plugin_cannot_take_is_dropped_where_that_is_said() {
    let Some(plugins) = service("dropped by a plugin", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("logs")).unwrap();
    write(folder, &plugins, "300");
    let config = folder.join("sawlog.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("chain: [filter]", "chain: [filter], on_error: drop")).unwrap();
    let mut feed = Feed::new(&folder.join("logs/app.log"));
    feed.send(LINES).unwrap();
    let mut agent = Agent::start(folder).unwrap();
    let counted = |sink: &str, outcome: &str| Ledger::of(folder).map_or(0, |ledger| ledger.count(sink, "app", outcome));
    until(&mut agent, || counted("out", "dropped") == LINES && counted("raw", "delivered") == LINES);
    assert_eq!((counted("out", "dead_lettered"), counted("raw", "dropped")), (0, 0), "the other way has them");
    assert!(letters(folder).is_empty());
    let loss = verb(folder, &["loss"]).unwrap();
    assert!(loss.contains(&format!("rejected {LINES}")), "{loss}");
    agent.kill().unwrap();
    write(folder, &plugins, "10000000");
    let mut agent = Agent::start(folder).unwrap();
    feed.send(LINES).unwrap();
    until(&mut agent, || counted("out", "delivered") == LINES);
    let mut rows = read::folder(&folder.join("out.jsonl")).unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (LINES..2 * LINES).collect::<Vec<_>>());
    agent.terminate().unwrap();
}

/// A plugin that counts in windows of a second, behind two sources that are idle soon and one that is not.
fn write_windows(folder: &Path, plugins: &str, address: &str) {
    let text = format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\n\
         plugins:\n  count: {{ source: \"file:{plugins}/count-window.wasm\", allow: [state, timers], config: {{ key: k, window_seconds: 1, absorb: true }} }}\n\
         sources:\n  quick: {{ type: file, include: [./logs/quick.log], idle_timeout: 300ms }}\n  \
         push: {{ type: http, listen: \"{address}\", idle_timeout: 300ms }}\n  \
         slow: {{ type: file, include: [./logs/slow.log], idle_timeout: 1h }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [quick, push, slow], try: [json] }}\n  counted: {{ type: wasm, inputs: [parsed], chain: [count] }}\n\
         sinks:\n  out: {{ type: file, inputs: [counted, counted.windows], path: ./out.jsonl, batch: {{ age: 100ms }} }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
}

#[test]
fn windows_close_when_their_own_source_has_been_idle_for_as_long_as_it_says() {
    let Some(plugins) = service("windows of an idle source", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("logs")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    write_windows(folder, &plugins, &address);
    let mut agent = Agent::start_answering(folder).unwrap();
    for name in ["slow", "quick"] {
        std::fs::write(folder.join(format!("logs/{name}.log")), format!("{{\"k\":\"{name}\"}}\n").repeat(3)).unwrap();
    }
    Posts::numbered(format!("http://{address}/"), 0, |_| "{\"k\":\"push\"}".to_owned()).send(3).unwrap();
    let begun = Instant::now();
    let windows = || {
        let text = std::fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut windows: Vec<_> = rows.map(|row| (row["key"].to_string(), row["count"].as_u64().unwrap())).collect();
        windows.sort();
        windows
    };
    let closed = [("\"push\"".to_owned(), 3), ("\"quick\"".to_owned(), 3)];
    until(&mut agent, || windows() == closed);
    // Had all of them one and the same time, that of the slow one would close too.
    std::thread::sleep(Duration::from_secs(7).saturating_sub(begun.elapsed()));
    assert_eq!(windows(), closed);
    agent.terminate().unwrap();
}
