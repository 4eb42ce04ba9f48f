//! What a component refuses and what it adds, on the real binary: rows that a sink refuses and the configuration drops, requests
//! for which there is no memory, a run to the end of what has none, rows that carry the path of their file; and a queue that
//! keeps its shards.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use operator::Node;
use operator::elasticsearch::Elasticsearch;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const LINES: u64 = 300;

fn head(here: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: refused }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
         telemetry: {{ metrics: 127.0.0.1:0 }}\ncheckpoint: {{ interval: 200ms }}\n"
    )
}

/// A sink's line of the ledger, which must balance.
fn line(node: &Node, sink: &str) -> Value {
    let ledger: Value = serde_json::from_str(&node.verb(&["loss", "--format", "json"]).unwrap()).unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger}");
    ledger["lines"].as_array().unwrap().iter().find(|line| line["sink"] == sink).cloned().unwrap_or_default()
}

fn rows(node: &Node, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(node.folder().join(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_sink_refuses_is_dropped_where_that_is_said_and_the_rest_is_delivered() {
    let server = Elasticsearch::start();
    // Every tenth line.
    server.refuse(Some("\"tenth\":true"));
    let node = Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  es: {{ type: elasticsearch, inputs: [read], all: true, endpoints: [\"{}\"], index: logs, gzip: false, on_error: drop }}\n  \
             out: {{ type: file, inputs: [read], path: {here}/out.jsonl }}\n",
            head(here),
            server.url
        )
    });
    node.write_lines(LINES);
    let mut agent = node.start();
    let (delivered, dropped) = (LINES - LINES / 10, LINES / 10);
    agent.wait_until(|| line(&node, "es")["delivered"] == delivered && line(&node, "out")["delivered"] == LINES);
    let es = line(&node, "es");
    assert_eq!((&es["dropped"]["rejected"], &es["dead_lettered"]), (&Value::from(dropped), &Value::from(0)), "{es}");
    assert_eq!(server.documents().len() as u64, delivered);
    assert!(server.documents().values().all(|document| document["tenth"] == false));
    let metrics = agent.get("telemetry.metrics", "/metrics").1;
    let counted = metrics.lines().find(|line| {
        line.starts_with("sawlog_ledger_records_total{") && line.contains("\"es\"") && line.contains("rejected")
    });
    assert!(counted.is_some_and(|line| line.ends_with(&format!(" {dropped}"))), "{counted:?}");
    agent.terminate();
    let letters = node.verb(&["dlq", "list", "--format", "json"]).unwrap();
    let letters: Value = serde_json::from_str(&letters).unwrap();
    assert_eq!(letters["letters"].as_array().map(Vec::len), Some(0), "{letters}");
}

#[test]
fn a_full_dead_letter_sink_makes_its_sink_wait_and_nobody_else_until_it_has_room() {
    let server = Elasticsearch::start();
    server.refuse(Some("\"tenth\":true"));
    // A letter has some hundred bytes: this takes a few of the thirty.
    let small = ", max_size: 4KiB";
    let node = Node::of(|here| {
        format!(
            "{}dead_letter: letters\nsources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  es: {{ type: elasticsearch, inputs: [read], all: true, endpoints: [\"{}\"], index: logs, gzip: false, batch: {{ age: 100ms }} }}\n  \
             out: {{ type: file, inputs: [read], path: {here}/out.jsonl }}\n  letters: {{ type: file, path: {here}/letters.jsonl{small}, batch: {{ records: 1, age: 10ms }} }}\n",
            head(here),
            server.url
        )
    });
    node.write_lines(LINES);
    let mut agent = node.start();
    let troubles = |agent: &operator::Agent| -> Vec<(String, String)> {
        let (ready, told) = agent.get("api.listen", "/readyz");
        assert_eq!(ready, 200, "input is taken all the same: {told}");
        let told: Value = serde_json::from_str(&told).unwrap();
        let word = |reason: &Value, key: &str| reason[key].as_str().unwrap().to_owned();
        told["degraded"].as_array().unwrap().iter().map(|r| (word(r, "component"), word(r, "what"))).collect()
    };
    let waits = |agent: &operator::Agent| troubles(agent).contains(&("es".into(), "waiting_for_dead_letters".into()));
    agent.wait_until(|| waits(&agent));
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    let told = troubles(&agent);
    assert!(told.iter().all(|(component, _)| component != "out"), "nobody else is disturbed: {told:?}");
    let before = rows(&node, "letters.jsonl").len();
    assert!(before < 30, "{before} letters in 4 KiB");
    agent.kill();
    let mut agent = node.start();
    agent.wait_until(|| waits(&agent));
    node.edit(|config| config.replace(small, ", max_size: 1MiB"));
    node.verb(&["reload"]).unwrap();
    let (delivered, refused) = (LINES - LINES / 10, LINES / 10);
    agent.wait_until(|| line(&node, "es")["delivered"] == delivered && line(&node, "es")["dead_lettered"] == refused);
    agent.wait_until(|| !waits(&agent));
    agent.terminate();
    assert_eq!((server.documents().len() as u64, server.created_most()), (delivered, 1));
    let mut letters: Vec<u64> =
        rows(&node, "letters.jsonl").iter().filter_map(|row| row["row"]["n"].as_u64()).collect();
    letters.sort_unstable();
    assert_eq!(letters, (0..LINES).step_by(10).collect::<Vec<_>>(), "each letter once");
    assert_eq!(rows(&node, "out.jsonl").len() as u64, LINES);
}

fn request(bytes: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
    )
}

/// Status and head of the answer to a small request.
fn post(address: &str) -> (u16, String) {
    let body = "a line\n".repeat(10_000);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all((request(body.len()) + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn requests_are_turned_away_for_a_while_when_their_memory_is_used_up_and_taken_again() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let node = Node::of(|here| {
        format!(
            "{}limits: {{ memory: 128MiB }}\nsources:\n  app: {{ type: http, listen: \"{address}\", shards: 1, decode: lines }}\n\
             sinks:\n  out: {{ type: file, inputs: [app], path: {here}/out.jsonl }}\n",
            head(here)
        )
    });
    let mut agent = node.start();
    assert_eq!(post(&address).0 / 100, 2);
    // Clients that send all of a body but its end hold what they have sent: large ones first, then what fits beside them.
    let bodies = [4 << 20, 1 << 20, 256 << 10, 64 << 10].into_iter().flat_map(|bytes| [bytes; 8]);
    let mut slow = Vec::new();
    let refused = bodies.into_iter().find_map(|bytes: usize| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        stream.write_all(request(bytes).as_bytes()).unwrap();
        // One that is turned away itself may not be read to its end.
        drop(stream.write_all(&vec![b'x'; bytes - 1]));
        slow.push(stream);
        let (status, answer) = post(&address);
        (status != 200 && status != 202 && status != 204).then_some((status, answer))
    });
    let (status, answer) = refused.unwrap();
    assert_eq!(status, 503, "{answer}");
    let after = answer.lines().find_map(|line| line.to_lowercase().strip_prefix("retry-after: ").map(str::to_owned));
    assert!(after.as_deref().is_some_and(|seconds| seconds.trim().parse::<u64>().is_ok_and(|n| n > 0)), "{answer}");
    assert!(answer.contains("limits.memory"), "{answer}");
    let (ready, _) = agent.get("api.listen", "/readyz");
    assert_eq!(ready, 200, "it is ready all the same");
    drop(slow);
    agent.wait_until(|| post(&address).0 / 100 == 2);
    let metrics = agent.get("telemetry.metrics", "/metrics").1;
    let told =
        metrics.lines().any(|line| line.starts_with("sawlog_component_errors_total{") && line.contains("\"503\""));
    assert!(told, "the refusals are counted");
    agent.terminate();
    let sent = rows(&node, "out.jsonl").len();
    assert!(sent.is_multiple_of(10_000) && sent >= 20_000, "whole requests, or nothing of them: {sent}");
}

#[test]
fn rows_carry_the_path_of_their_file_also_after_it_was_rotated() {
    let node = Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [\"{here}/logs/*.log\"], rotated: [\"{here}/logs/*.log.*\"], path_field: true }}\n  \
             bare: {{ type: file, include: [\"{here}/logs/*.txt\"] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app, bare], try: [json] }}\n\
             sinks:\n  out: {{ type: file, inputs: [read], path: {here}/out.jsonl }}\n",
            head(here)
        )
    });
    let logs = node.folder().join("logs");
    fs::write(logs.join("a.log"), "{\"n\":1}\n").unwrap();
    fs::write(logs.join("b.log"), "{\"n\":2}\n").unwrap();
    fs::write(logs.join("c.txt"), "{\"n\":3}\n").unwrap();
    let mut agent = node.start();
    agent.wait_until(|| rows(&node, "out.jsonl").len() == 3);
    agent.kill();
    fs::rename(logs.join("a.log"), logs.join("a.log.1")).unwrap();
    let appended = fs::OpenOptions::new().append(true).open(logs.join("a.log.1"));
    appended.unwrap().write_all(b"{\"n\":4}\n").unwrap();
    fs::write(logs.join("a.log"), "{\"n\":5}\n").unwrap();
    let mut again = node.start();
    again.wait_until(|| rows(&node, "out.jsonl").len() == 5);
    let path = |name: &str| Value::from(logs.join(name).display().to_string());
    for row in rows(&node, "out.jsonl") {
        let wanted = match row["n"].as_u64().unwrap() {
            1 | 4 | 5 => path("a.log"),
            2 => path("b.log"),
            _ => Value::Null,
        };
        assert_eq!(row["log.file.path"], wanted, "{row}");
    }
    again.terminate();
}

#[test]
fn a_run_that_is_to_end_with_its_input_refuses_a_source_that_has_no_end() {
    let node = Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [\"{here}/logs/*.log\"] }}\n  push: {{ type: http, listen: \"127.0.0.1:0\" }}\n\
             sinks:\n  out: {{ type: file, inputs: [app, push], path: {here}/out.jsonl }}\n",
            head(here)
        )
    });
    let refused = node.verb(&["run", "--until-eof"]).unwrap_err();
    assert!(refused.contains("`--until-eof`") && refused.contains("source `push` has no end"), "{refused}");
    assert!(!node.data_dir().exists(), "nothing has begun");
}

#[test]
fn a_queue_is_read_in_the_shards_that_it_was_made_with_whatever_workers_there_are_now() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let config = |here: &str, workers: u32| {
        format!(
            "{}limits: {{ cpu: {workers}, disk: 1GiB }}\nsources:\n  push: {{ type: http, listen: \"{address}\", decode: lines }}\n\
             sinks:\n  out: {{ type: file, inputs: [push], path: {here}/rows/out.jsonl }}\n",
            head(here)
        )
    };
    let node = Node::of(|here| config(here, 5));
    let shards = || fs::read_to_string(node.data_dir().join("queue-push/meta")).unwrap();
    // Nothing is delivered before the shards' number could have changed.
    fs::write(node.folder().join("rows"), "in the way").unwrap();
    let mut agent = node.start();
    (0..5).for_each(|_| assert_eq!(post(&address).0 / 100, 2));
    agent.kill();
    assert_eq!(shards().trim(), "sawlog-queue 1 shards 5");
    fs::remove_file(node.folder().join("rows")).unwrap();
    node.write_config(&config(&node.folder().display().to_string(), 1));
    let mut again = node.start();
    again.wait_until(|| rows(&node, "rows/out.jsonl").len() == 50_000);
    again.terminate();
    assert_eq!((shards().trim(), line(&node, "out")["delivered"].as_u64()), ("sawlog-queue 1 shards 5", Some(50_000)));
}

/// What is no component never starts, and a running agent goes on without it; both say where it lies and what it is.
#[test]
fn a_plugin_that_is_no_component_is_refused_and_what_runs_goes_on() {
    let node = Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             sinks:\n  out: {{ type: file, inputs: [app], path: {here}/out.jsonl, batch: {{ age: 50ms }} }}\n",
            head(here)
        )
    });
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    let component = node.folder().join("module.wasm");
    let with_plugin = |config: &str| {
        let plugin = format!("plugins: {{ module: {{ source: \"file:{}\" }} }}\n", component.display());
        let transform = "transforms: { sent: { type: wasm, inputs: [app], chain: [module] } }\n";
        format!("{plugin}{transform}{}", config.replace("inputs: [app]", "inputs: [sent]"))
    };
    node.edit(with_plugin);
    let path = component.display().to_string();
    for (content, what) in [(None, "can't be read"), (Some(&b"\0asm\x01\0\0\0"[..]), "this is a core WASM module")] {
        content.inspect(|bytes| fs::write(&component, bytes).unwrap());
        let refused = node.verb(&["reload"]).unwrap_err();
        assert!(refused.contains(what) && refused.contains(&path), "{refused}");
        let ready = agent.get("api.listen", "/readyz").1;
        assert!(ready.contains("reload_refused") && ready.contains(what), "{ready}");
    }
    node.write_lines(2 * LINES);
    agent.wait_until(|| line(&node, "out")["delivered"] == 2 * LINES);
    agent.terminate();
    let refused = node.verb(&["run"]).unwrap_err();
    let told = refused.lines().find(|line| line.contains("core WASM module")).unwrap_or_default();
    let expected =
        format!("{path}: plugin module: this is a core WASM module, but a WASM component is needed; build it with");
    assert!(told.contains(&expected), "{refused}");
}
