//! A source goes on reading elsewhere, on the real binary. Further back: exactly what was named comes to every sink again, also
//! over a kill, and the ledger says so. Further on: exactly what lies between is lost.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use operator::elasticsearch::Elasticsearch;
use operator::{Agent, Node};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

const LINES: u64 = 500;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A sink's line of the ledger, which must balance.
fn line(node: &Node, sink: &str) -> Value {
    let ledger = json(&node.verb(&["loss", "--format", "json"]).unwrap());
    assert_eq!(ledger["balanced"], true, "{ledger}");
    ledger["lines"].as_array().unwrap().iter().find(|line| line["sink"] == sink).cloned().unwrap_or_default()
}

fn number(line: &Value, what: &str) -> u64 {
    line[what].as_u64().unwrap_or_default()
}

fn head(here: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: sought }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
         telemetry: {{ metrics: 127.0.0.1:0 }}\ncheckpoint: {{ interval: 200ms }}\n"
    )
}

/// How often each number `n` lies in the files of a folder, or in a file.
fn times(path: std::path::PathBuf) -> BTreeMap<u64, u64> {
    let mut times = BTreeMap::new();
    let files = match path.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect(),
        false => vec![path],
    };
    for file in files.into_iter().filter(|file| file.is_file()) {
        for row in fs::read_to_string(file).unwrap().lines() {
            *times.entry(json(row)["n"].as_u64().unwrap()).or_default() += 1;
        }
    }
    times
}

/// The numbers from 0 on, each with how often it is to be there.
fn expected(times: impl Fn(u64) -> u64, upto: u64) -> BTreeMap<u64, u64> {
    (0..upto).map(|n| (n, times(n))).collect()
}

fn file(node: &Node) -> std::path::PathBuf {
    node.folder().join("logs/app.log")
}

fn append(node: &Node, numbers: std::ops::Range<u64>) {
    let text: String = numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let file = fs::OpenOptions::new().append(true).create(true).open(file(node));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Where line `number` of the log begins.
fn begins(node: &Node, number: usize) -> u64 {
    let text = fs::read_to_string(file(node)).unwrap();
    text.split_inclusive('\n').take(number).map(|line| line.len() as u64).sum()
}

/// A file to an appended file, to a lake and to Elasticsearch.
fn node(url: &str) -> Node {
    Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  out: {{ type: file, inputs: [read], path: {here}/out.jsonl }}\n  \
             lake: {{ type: file, inputs: [read], path: \"{here}/lake/day={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ age: 1s }}, provenance: none }}\n  \
             found: {{ type: elasticsearch, inputs: [read], endpoints: [\"{url}\"], index: logs, all: true, gzip: false }}\n",
            head(here)
        )
    })
}

fn lake(node: &Node) -> BTreeMap<u64, u64> {
    let mut all = BTreeMap::new();
    for folder in fs::read_dir(node.folder().join("lake")).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("day=")) {
            times(folder).into_iter().for_each(|(n, times)| *all.entry(n).or_default() += times);
        }
    }
    all
}

fn wait_for(node: &Node, agent: &Agent, delivered: u64) {
    agent
        .wait_until(|| ["out", "lake", "found"].iter().all(|sink| number(&line(node, sink), "delivered") == delivered));
}

#[test]
fn what_lies_behind_a_position_comes_again_and_the_ledger_says_so() {
    let server = Elasticsearch::start();
    let node = node(&server.url);
    append(&node, 0..LINES);
    let mut agent = node.start();
    wait_for(&node, &agent, LINES);
    let seek = |to: &str| node.verb(&["source", "seek", "app", "--to", to, "--accept-duplicates"]);
    let (from, end) = (begins(&node, 200), fs::metadata(file(&node)).unwrap().len());
    let refused = seek(&(from + 1).to_string()).unwrap_err();
    assert!(refused.contains("no record of") && refused.contains(&begins(&node, 201).to_string()), "{refused}");
    assert!(seek(&end.to_string()).unwrap_err().contains("say --accept-loss instead"));
    assert!(seek("end").unwrap_err().contains("nothing lies behind the end"));
    let both = node.verb(&["source", "seek", "app", "--to", "0", "--accept-duplicates", "--accept-loss"]);
    assert!(both.unwrap_err().contains("cannot be used with"), "one of the two");
    assert_eq!(number(&line(&node, "out"), "repeated"), 0, "nothing was done");

    let said = seek(&from.to_string()).unwrap();
    assert!(said.contains(&format!("{from} to {end}")) && said.contains("by the same ids"), "{said}");
    // Killed at once: what was said is durable.
    agent.kill();
    let mut again = node.start();
    wait_for(&node, &again, 2 * LINES - 200);
    append(&node, LINES..LINES + 50);
    wait_for(&node, &again, 2 * LINES - 150);
    let wanted = expected(|n| 1 + u64::from((200..LINES).contains(&n)), LINES + 50);
    assert_eq!(times(node.folder().join("out.jsonl")), wanted);
    assert_eq!(lake(&node), wanted);
    assert_eq!((server.documents().len() as u64, server.created_most()), (LINES + 50, 1), "the same ids");
    for sink in ["out", "lake", "found"] {
        let line = line(&node, sink);
        assert_eq!((number(&line, "repeated"), number(&line, "behind")), (LINES - 200, 0), "{line}");
        assert_eq!((&line["lost"], &line["lost_bytes"]), (&json("{}"), &json("{}")), "{line}");
    }
    let told = node.verb(&["loss"]).unwrap();
    let positions = 4 * (end - from);
    assert!(told.contains(&format!("--to {from}`: {positions} positions sent again")), "{told}");
    assert!(told.contains(&format!("out has {} records of app once more", LINES - 200)), "{told}");
    let metrics = again.get("telemetry.metrics", "/metrics").1;
    let counted = metrics.lines().find(|line| line.starts_with("sawlog_ledger_repeated") && line.contains("\"out\""));
    assert!(counted.is_some_and(|line| line.ends_with(&format!(" {}", LINES - 200))), "{counted:?}");
    again.terminate();
    assert_eq!(number(&line(&node, "out"), "repeated"), LINES - 200, "of the directory of an agent that is down");
    let down = seek("0").unwrap_err();
    assert!(down.contains("no agent runs") && down.contains("sawlog run"), "{down}");
}

#[test]
fn all_that_can_be_read_comes_again_as_often_as_it_is_said_and_what_has_rotated_away_is_refused() {
    let server = Elasticsearch::start();
    let node = node(&server.url);
    append(&node, 0..LINES);
    let mut agent = node.start();
    wait_for(&node, &agent, LINES);
    let seek = |to: &str| node.verb(&["source", "seek", "app", "--to", to, "--accept-duplicates"]);
    seek("oldest").unwrap();
    wait_for(&node, &agent, 2 * LINES);
    seek("oldest").unwrap();
    wait_for(&node, &agent, 3 * LINES);
    assert_eq!(times(node.folder().join("out.jsonl")), expected(|_| 3, LINES));
    assert_eq!(number(&line(&node, "out"), "repeated"), 2 * LINES);
    // Gone for good, with nothing in its place.
    fs::remove_file(file(&node)).unwrap();
    agent.wait_until(|| {
        let metrics = agent.get("telemetry.metrics", "/metrics").1;
        metrics.lines().any(|line| line.starts_with("sawlog_files{") && line.contains("known") && line.ends_with(" 0"))
    });
    let refused = seek("0").unwrap_err();
    assert!(refused.contains("gone") || refused.contains("can be read"), "{refused}");
    let delivered = || number(&line(&node, "out"), "delivered");
    let before = delivered();
    append(&node, 0..1);
    agent.wait_until(|| delivered() > before);
    agent.terminate();
}

/// Posts `numbers` in one request.
fn post(address: &str, numbers: std::ops::Range<u64>) {
    let body: String = numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[test]
fn what_was_posted_comes_again_while_the_queue_has_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let node = Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: http, listen: \"127.0.0.1:{port}\", shards: 2 }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  out: {{ type: file, inputs: [read], path: {here}/out.jsonl }}\n",
            head(here)
        )
    });
    let mut agent = node.start();
    (0..20).for_each(|n| post(&format!("127.0.0.1:{port}"), n * 10..n * 10 + 10));
    agent.wait_until(|| number(&line(&node, "out"), "delivered") == 200);
    let refused = node.verb(&["source", "seek", "app", "--to", "0", "--accept-duplicates"]).unwrap_err();
    assert!(refused.contains("2 partitions") && refused.contains("--partition"), "{refused}");
    node.verb(&["source", "seek", "app", "--to", "oldest", "--accept-duplicates"]).unwrap();
    agent.wait_until(|| number(&line(&node, "out"), "delivered") == 400);
    assert_eq!(times(node.folder().join("out.jsonl")), expected(|_| 2, 200));
    assert_eq!(number(&line(&node, "out"), "repeated"), 200);
    agent.terminate();
}

/// An agent that drains plans nothing more: what it could still read is skipped, and no more than that.
#[test]
fn what_is_not_planned_yet_is_skipped_and_nothing_else() {
    let server = Elasticsearch::start();
    let node = node(&server.url);
    append(&node, 0..LINES);
    let mut agent = node.start();
    wait_for(&node, &agent, LINES);
    node.verb(&["drain", "--wait"]).unwrap();
    let from = fs::metadata(file(&node)).unwrap().len();
    append(&node, LINES..LINES + 100);
    let to = fs::metadata(file(&node)).unwrap().len();
    let range = format!(": {from} to {to}");
    // Until it has been noticed there is nothing to skip.
    agent.wait_until(|| {
        let said = node.verb(&["source", "seek", "app", "--to", "end", "--accept-loss"]).unwrap();
        assert!(said.contains("nothing is skipped") || said.contains(&range), "{said}");
        said.contains(&range)
    });
    for sink in ["out", "lake", "found"] {
        let line = line(&node, sink);
        assert_eq!((&line["lost_bytes"]["skipped"], number(&line, "behind")), (&Value::from(to - from), 0), "{line}");
    }
    agent.kill();
    append(&node, LINES + 100..LINES + 110);
    let mut again = node.start();
    wait_for(&node, &again, LINES + 10);
    let mut wanted = expected(|_| 1, LINES);
    wanted.extend((LINES + 100..LINES + 110).map(|n| (n, 1)));
    assert_eq!((times(node.folder().join("out.jsonl")), lake(&node)), (wanted.clone(), wanted));
    assert_eq!(server.documents().len() as u64, LINES + 10);
    again.terminate();
}
