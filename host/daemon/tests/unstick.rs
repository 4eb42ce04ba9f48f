//! Delivery that can't go on by itself, on the real binary: a sink that is down gives up what is beyond its budget and frees the
//! queue, or is told to forget; a source skips; each costs what the ledger says, and nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use operator::{Agent, Node};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

const LINES: u64 = 500;

/// An address of this machine on which nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn line(node: &Node, sink: &str) -> Value {
    let ledger = json(&node.verb(&["loss", "--format", "json"]).unwrap());
    assert_eq!(ledger["balanced"], true, "{ledger}");
    ledger["lines"].as_array().unwrap().iter().find(|line| line["sink"] == sink).cloned().unwrap_or_default()
}

fn head(here: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: stuck }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
         telemetry: {{ metrics: 127.0.0.1:0 }}\ncheckpoint: {{ interval: 500ms }}\nshutdown: {{ grace: 1s }}\n"
    )
}

/// A node with a file, a sink that takes it, and one that is down.
fn node(port: u16) -> Node {
    Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             sinks:\n  out: {{ type: file, inputs: [app], path: {here}/out.jsonl }}\n{}",
            head(here),
            dead(port, "")
        )
    })
}

fn dead(port: u16, more: &str) -> String {
    format!(
        "  dead: {{ type: elasticsearch, inputs: [app], endpoints: [\"http://127.0.0.1:{port}\"], index: logs, all: true{more} }}\n"
    )
}

#[test]
fn a_dead_sink_is_told_to_forget_and_the_ledger_has_what_it_cost() {
    let port = closed_port();
    let node = node(port);
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    let bytes = fs::metadata(node.folder().join("logs/app.log")).unwrap().len();
    assert_eq!(line(&node, "dead")["behind"], bytes);

    let unknown = node.verb(&["sink", "forget", "nobody"]).unwrap_err();
    assert!(unknown.contains("no sink `nobody`") && unknown.contains("dead, dead_letter, out"), "{unknown}");
    let said = node.verb(&["sink", "forget", "dead"]).unwrap();
    assert!(said.contains(&format!("gives up {bytes} positions")), "{said}");
    let check = |what: &str| {
        let dead = line(&node, "dead");
        assert_eq!(dead["lost_bytes"]["forgotten"], bytes, "{what}: {dead}");
        assert_eq!((&dead["behind"], &dead["delivered"]), (&Value::from(0), &Value::from(0)), "{what}: {dead}");
        assert_eq!(line(&node, "out")["delivered"], LINES, "{what}");
        assert!(node.verb(&["loss"]).unwrap().contains("an operator said `sink forget dead`"), "{what}");
    };
    check("at once");
    agent.kill();
    check("of the dead agent's directory");
    let mut again = node.start();
    again.wait_until(|| line(&node, "out")["delivered"] == LINES);
    check("after a restart");
    again.terminate();
}

#[test]
fn a_sink_that_the_configuration_forgets_leaves_its_loss_in_the_ledger() {
    let port = closed_port();
    let node = node(port);
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    let bytes = line(&node, "dead")["behind"].as_u64().unwrap();
    assert!(bytes > 0);
    node.edit(|text| text.replace(&dead(port, ""), ""));
    let refused = node.verb(&["reload"]).unwrap_err();
    assert!(refused.contains("remove: { dead: drain }") && refused.contains("remove: { dead: forget }"), "{refused}");
    node.edit(|text| format!("{}remove: {{ dead: forget }}\n", text.replace(&dead(port, ""), "")));
    node.verb(&["reload"]).unwrap();
    assert_eq!(line(&node, "dead")["lost_bytes"]["forgotten"], bytes);
    agent.terminate();
    assert_eq!(line(&node, "dead")["lost_bytes"]["forgotten"], bytes);
}

#[test]
fn a_source_skips_to_its_end_and_goes_on_there() {
    let node = node(closed_port());
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    let refused = node.verb(&["source", "seek", "app", "--to", "end"]).unwrap_err();
    assert!(refused.contains("--accept-loss"), "{refused}");
    let seek = |to: &str| node.verb(&["source", "seek", "app", "--to", to, "--accept-loss"]);
    assert!(seek("oldest").unwrap_err().contains("--accept-duplicates"));
    assert!(seek("3").unwrap_err().contains("lies before"));
    assert!(seek("99999999").unwrap_err().contains("--to end"));
    assert!(seek("soon").unwrap_err().contains("neither a position nor `end` nor `oldest`"));
    assert!(seek("end").unwrap().contains("nothing is skipped"));
    let partition = json(&node.verb(&["checkpoint", "show"]).unwrap())["sinks"]["out"][0]["partition"].clone();
    let refused = node.verb(&["partition", "resume", partition.as_str().unwrap(), "--discard-state"]).unwrap_err();
    assert!(refused.contains("has not stopped"), "{refused}");
    agent.terminate();
}

/// A node whose only sink can't make its folder, because a file lies in its place.
fn blocked() -> Node {
    let node = Node::of(|here| {
        format!(
            "{}sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  out: {{ type: file, inputs: [read], path: {here}/late/out.jsonl }}\n",
            head(here)
        )
    });
    fs::write(node.folder().join("late"), "in the way").unwrap();
    node
}

fn unblock(node: &Node) {
    fs::remove_file(node.folder().join("late")).unwrap();
}

fn append(node: &Node) {
    let file = fs::OpenOptions::new().append(true).open(node.folder().join("logs/app.log"));
    let text: String = (0..LINES).map(|n| format!("{{\"later\":{n}}}\n")).collect();
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn delivered_lines(node: &Node) -> u64 {
    let text = fs::read_to_string(node.folder().join("late/out.jsonl")).unwrap_or_default();
    text.lines().count() as u64
}

/// An agent whose partition has stopped, because the configuration under which its input was planned is gone.
fn stopped() -> (Node, Agent, String) {
    let node = blocked();
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&node, "out")["behind"].as_u64().is_some_and(|behind| behind > 0));
    let bytes = fs::metadata(node.folder().join("logs/app.log")).unwrap().len();
    agent.wait_until(|| line(&node, "out")["behind"] == bytes);
    let partition = json(&node.verb(&["checkpoint", "show"]).unwrap())["sinks"]["out"][0]["partition"].clone();
    agent.kill();
    node.edit(|text| text.replace("try: [json]", "try: [json, logfmt]"));
    fs::remove_dir_all(node.data_dir().join("blobs")).unwrap();
    unblock(&node);
    let again = node.start();
    let partition = partition.as_str().unwrap().to_owned();
    let says = format!("partition resume {partition} --accept-skew");
    again.wait_until(|| again.get("api.listen", "/readyz").1.contains(&says));
    (node, again, partition)
}

#[test]
fn a_partition_without_its_configuration_goes_on_under_the_present_one() {
    let (node, mut agent, partition) = stopped();
    node.verb(&["partition", "resume", &partition, "--accept-skew"]).unwrap();
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    assert_eq!(delivered_lines(&node), LINES);
    let said = format!("an operator said `partition resume --accept-skew {partition}");
    assert!(node.verb(&["loss"]).unwrap().contains(&said), "{}", node.verb(&["loss"]).unwrap());
    agent.kill();
    let mut again = node.start();
    append(&node);
    again.wait_until(|| line(&node, "out")["delivered"] == LINES * 2);
    assert_eq!(delivered_lines(&node), LINES * 2, "what was accepted holds after a restart");
    again.terminate();
}

#[test]
fn a_partition_gives_up_what_needs_its_state_and_the_ledger_has_what_it_cost() {
    let (node, mut agent, partition) = stopped();
    let bytes = line(&node, "out")["behind"].as_u64().unwrap();
    let said = node.verb(&["partition", "resume", &partition, "--discard-state"]).unwrap();
    assert!(said.contains(&bytes.to_string()), "{said}");
    append(&node);
    agent.wait_until(|| line(&node, "out")["delivered"] == LINES);
    let out = line(&node, "out");
    assert_eq!(
        (&out["lost_bytes"]["state_discarded"], &out["behind"]),
        (&Value::from(bytes), &Value::from(0)),
        "{out}"
    );
    assert_eq!(delivered_lines(&node), LINES);
    agent.terminate();
}

/// Posts lines of about a kilobyte until `done`; how many were taken.
fn post_until(address: &str, mut done: impl FnMut(u16, u64) -> bool) -> u64 {
    let body = (0..200).map(|i| format!("{{\"n\":{i},\"pad\":\"{}\"}}\n", "x".repeat(1_000))).collect::<String>();
    let mut taken = 0;
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        taken += u64::from((200..300).contains(&status));
        if done(status, taken) {
            return taken;
        }
    }
}

/// An agent with a small queue before a sink that is down.
fn crowded(policy: &str) -> (Node, Agent, String) {
    let (port, http) = (closed_port(), closed_port());
    let policy = format!(", {policy}");
    let node = Node::of(|here| {
        format!(
            "{}limits: {{ disk: 256MiB }}\nsources:\n  app: {{ type: http, listen: \"127.0.0.1:{http}\", shards: 1 }}\nsinks:\n{}",
            head(here),
            dead(port, &policy)
        )
    });
    let agent = node.start();
    (node, agent, format!("127.0.0.1:{http}"))
}

#[test]
fn a_full_queue_turns_senders_away_where_a_sink_blocks_and_is_freed_where_it_gives_up_the_oldest() {
    let (_node, mut agent, address) = crowded("on_budget: block");
    let taken = post_until(&address, |status, _| status == 503);
    agent.terminate();

    let (node, mut agent, address) = crowded("on_budget: drop_oldest");
    let enough = taken * 2;
    let mut refusals = 0;
    post_until(&address, |status, taken| {
        if status != 200 && status != 202 && status != 204 {
            refusals += 1;
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(refusals < 600, "the queue is not freed: {}", node.verb(&["status"]).unwrap());
        taken >= enough
    });
    let dead = line(&node, "dead");
    assert!(dead["lost_bytes"]["budget"].as_u64().is_some_and(|lost| lost > 0), "{dead}");
    assert_eq!(dead["delivered"], 0, "{dead}");
    agent.terminate();
}

/// What the second of two queues takes before it turns senders away, in requests of a mebibyte; it is there from the beginning, or
/// from a reload on.
fn taken_by_the_second(is_added: bool) -> usize {
    let ports = [closed_port(), closed_port()];
    let source = |name: &str, port: u16| {
        format!("  {name}: {{ type: http, listen: \"127.0.0.1:{port}\", shards: 1, decode: lines }}\n")
    };
    let (one, two, dead) = (source("one", ports[0]), source("two", ports[1]), dead(closed_port(), ""));
    let config = |here: &str, sources: &str, inputs: &str| {
        let dead = dead.replace("app", inputs);
        format!("{}limits: {{ disk: 224MiB }}\nsources:\n{sources}sinks:\n{dead}", head(here))
    };
    let both = format!("{one}{two}");
    let node = Node::of(|here| if is_added { config(here, &one, "one") } else { config(here, &both, "one, two") });
    let mut agent = node.start();
    if is_added {
        node.write_config(&config(&node.folder().display().to_string(), &both, "one, two"));
        node.verb(&["reload"]).unwrap();
    }
    let body = format!("{}\n", "x".repeat(1_023)).repeat(1_024);
    let taken = (0..).find(|_| post(&format!("127.0.0.1:{}", ports[1]), &body) == 503).unwrap();
    agent.kill();
    taken
}

#[test]
fn a_queue_that_a_reload_adds_has_the_share_of_the_disk_that_it_has_after_a_restart() {
    let from_the_beginning = taken_by_the_second(false);
    assert!(from_the_beginning > 8, "{from_the_beginning} MiB");
    assert_eq!(taken_by_the_second(true), from_the_beginning);
}

fn post(address: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\nconnection: close";
    stream.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
