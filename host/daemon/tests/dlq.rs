//! Dead letters on the real binary: a sink refuses records, the letters are listed, shown and replayed, with the agent running,
//! killed in between, and stopped. What comes back keeps its id and is there once.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use operator::Node;
use operator::elasticsearch::Elasticsearch;
use serde_json::Value;

const LINES: u64 = 100;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn letters(node: &Node) -> Vec<Value> {
    let list = json(&node.verb(&["dlq", "list", "--format", "json"]).unwrap());
    assert_eq!((&list["more"], &list["unreadable"]), (&0.into(), &0.into()), "{list}");
    list["letters"].as_array().unwrap().clone()
}

fn replay(node: &Node, arguments: &[&str]) -> String {
    node.verb(&[&["dlq", "replay"], arguments].concat()).unwrap()
}

fn node(server: &Elasticsearch) -> Node {
    Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             checkpoint: {{ interval: 200ms }}\ntelemetry: {{ metrics: 127.0.0.1:0 }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  es: {{ type: elasticsearch, inputs: [read], all: true, endpoints: [\"{}\"], index: logs, gzip: false, retry: {{ initial: 20ms, max: 200ms }} }}\n  \
             out: {{ type: file, inputs: [read], path: {here}/out }}\n",
            server.url
        )
    })
}

#[test]
fn refused_records_are_listed_and_replayed_once() {
    let server = Elasticsearch::start();
    server.refuse(Some("\"tenth\":true"));
    let node = node(&server);
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| letters(&node).len() as u64 == LINES / 10 && server.documents().len() as u64 == LINES * 9 / 10);
    let found = letters(&node);
    assert!(found.iter().all(|l| l["of"] == "es" && l["source"] == "app"), "{found:?}");
    assert!(found[0]["reason"].as_str().unwrap().contains("mapper_parsing_exception"), "{}", found[0]);
    let first = found[0]["id"].as_str().unwrap().to_owned();
    assert!(node.verb(&["dlq", "list"]).unwrap().contains(&first));
    assert_eq!(node.verb(&["dlq", "list", "--of", "out"]).unwrap().trim(), "no dead letters");
    let shown = json(&node.verb(&["dlq", "show", &first]).unwrap());
    assert_eq!((&shown[0]["row"]["n"], &shown[0]["row"]["tenth"]), (&0.into(), &true.into()), "{shown}");
    assert_eq!(shown[0]["record"], "{\"n\":0,\"tenth\":true}");

    // Refused again it is a letter again, of the same record.
    assert!(replay(&node, &[&first]).starts_with("1 replayed, 0 had been replayed before"));
    agent.wait_until(|| letters(&node).len() as u64 == LINES / 10 + 1);
    let again: Vec<Value> = letters(&node).into_iter().filter(|letter| letter["id"] == first.as_str()).collect();
    assert_eq!(again.len(), 2, "{again:?}");
    assert_eq!(json(&node.verb(&["dlq", "show", &first]).unwrap())[1]["record"], "{\"n\":0,\"tenth\":true}");

    agent.wait_until(|| agent.log().contains("records went to the dead letters"));

    // Mended, everything comes once, under the id that it had.
    server.refuse(None);
    assert!(replay(&node, &["--all"]).starts_with("10 replayed, 1 had been replayed before"));
    agent.wait_until(|| server.documents().len() as u64 == LINES);
    let documents = server.documents();
    assert!(found.iter().all(|letter| documents.contains_key(letter["id"].as_str().unwrap())), "ids were kept");
    assert_eq!(documents[&first]["n"], 0);
    let ledger = || json(&node.verb(&["loss", "--format", "json"]).unwrap());
    let line = |ledger: &Value, sink: &str, key: &str| {
        let lines = ledger["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["source"] == "dlq.replay" && line["sink"] == sink).unwrap();
        line[key].clone()
    };
    agent.wait_until(|| line(&ledger(), "es", "delivered") == 10);
    assert_eq!((ledger()["balanced"].clone(), line(&ledger(), "es", "dead_lettered")), (true.into(), 1.into()));
    assert_eq!(line(&ledger(), "out", "delivered"), 0, "a letter goes to the sink that refused it");

    agent.kill();
    let mut agent = node.start();
    agent.wait_until(|| agent.get("api.listen", "/livez").0 == 200);
    assert!(replay(&node, &["--all"]).starts_with("0 replayed, 11 had been replayed before"));
    node.verb(&["reload"]).unwrap();
    node.verb(&["drain", "--wait", "--timeout", "20s"]).unwrap();
    assert_eq!((server.documents().len() as u64, server.created_most()), (LINES, 1));
    agent.terminate();
}

#[test]
fn letters_of_a_stopped_agent_wait_for_its_next_start() {
    let server = Elasticsearch::start();
    server.refuse(Some("\"tenth\":true"));
    let node = node(&server);
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| letters(&node).len() as u64 == LINES / 10);
    agent.terminate();
    let found = letters(&node);
    let unknown = node.verb(&["dlq", "replay", &"A".repeat(36)]).unwrap_err();
    assert!(unknown.contains("0 replayed") && unknown.contains("sawlog dlq list"), "{unknown}");
    let no_sink = node.verb(&["dlq", "list", "--sink", "es"]).unwrap_err();
    assert!(no_sink.contains("no sink that takes dead letters") && no_sink.contains("dead_letter"), "{no_sink}");
    let text = replay(&node, &[found[3]["id"].as_str().unwrap(), found[4]["id"].as_str().unwrap()]);
    assert!(text.starts_with("2 replayed") && text.contains("next start delivers them"), "{text}");
    server.refuse(None);
    let before = server.documents().len();
    let mut agent = node.start();
    agent.wait_until(|| server.documents().len() == before + 2);
    assert!(replay(&node, &["--all", "--of", "es"]).starts_with("8 replayed, 2 had been replayed before"));
    agent.wait_until(|| server.documents().len() as u64 == LINES);
    assert_eq!(server.created_most(), 1);
    agent.terminate();

    // Without the sink its letters have nowhere to go.
    node.edit(|config| {
        let kept = config.lines().filter(|line| !line.contains("elasticsearch"));
        kept.collect::<Vec<_>>().join("\n") + "\nremove: { es: forget }\n"
    });
    let refused = node.verb(&["dlq", "replay", "--all"]).unwrap_err();
    assert!(refused.contains("10 not replayed: the configuration has no sink `es`"), "{refused}");
}
