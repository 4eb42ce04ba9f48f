//! An operator's day with the real binary: an agent that runs is asked over HTTP and by every verb, then the same of its data
//! directory, and what is wrong is told with what mends it.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use operator::elasticsearch::Elasticsearch;
use operator::{Node, page_metrics};
use serde_json::Value;

const LINES: u64 = 1_000;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The line of the ledger about `sink`.
fn line(ledger: &Value, sink: &str) -> Value {
    ledger["lines"].as_array().unwrap().iter().find(|line| line["sink"] == sink).cloned().unwrap_or_default()
}

/// The value of a series in Prometheus' text.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

/// The sum of the series that begin so.
fn sum(text: &str, beginning: &str) -> f64 {
    let series = text.lines().filter(|line| line.starts_with(beginning));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn assert_balanced(ledger: &Value) {
    assert_eq!(ledger["balanced"], true, "{ledger}");
    for line in ledger["lines"].as_array().unwrap() {
        let sum = |key: &str| match &line[key] {
            Value::Object(by_reason) => by_reason.values().map(|n| n.as_u64().unwrap()).sum(),
            n => n.as_u64().unwrap(),
        };
        let outcomes = ["delivered", "absorbed", "dropped", "dead_lettered", "lost", "in_flight"];
        assert_eq!(sum("read"), outcomes.into_iter().map(sum).sum::<u64>(), "{line}");
        assert_eq!(line["imbalance"], 0, "{line}");
    }
}

#[test]
fn every_verb_speaks_to_the_agent_and_reads_its_directory() {
    let node = Node::new("");
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&json(&agent.get("api.listen", "/v1/loss").1), "out")["delivered"] == LINES);

    let ledger = json(&node.verb(&["loss", "--format", "json"]).unwrap());
    assert_balanced(&ledger);
    assert_eq!(line(&ledger, "out")["read"], LINES);
    assert_eq!(line(&ledger, "some")["delivered"], LINES / 10, "{ledger}");
    assert!(node.verb(&["loss"]).unwrap().contains("balanced: every record"));
    let status = node.verb(&["top"]).unwrap();
    assert!(status.contains(" ready, ") && status.contains("closed"), "{status}");
    assert_eq!(json(&node.verb(&["status", "--format", "json"]).unwrap())["agent"], "operated");
    node.verb(&["checkpoint", "now"]).unwrap();
    let listed = json(&node.verb(&["checkpoint", "list", "--format", "json"]).unwrap());
    // The newest: an older one may be gone when it is asked for.
    let number = listed["checkpoints"].as_array().unwrap().last().unwrap()["number"].to_string();
    json(&node.verb(&["checkpoint", "show", &number]).unwrap());
    let live = json(&node.verb(&["checkpoint", "show"]).unwrap());
    assert_eq!(node.verb(&["log-level"]).unwrap().trim(), "info");
    assert_eq!(node.verb(&["log-level", "debug"]).unwrap().trim(), "debug");
    assert_eq!(node.verb(&["log-level"]).unwrap().trim(), "debug");
    node.verb(&["drain", "--wait", "--timeout", "10s"]).unwrap();
    let (code, body) = agent.get("api.listen", "/readyz");
    assert_eq!((code, json(&body)["reasons"][0]["what"].as_str()), (503, Some("winding_down")), "{body}");
    assert!(node.verb(&["reload"]).unwrap_err().contains("winding down"));
    agent.terminate();

    let ledger = json(&node.verb(&["loss", "--format", "json"]).unwrap());
    assert_balanced(&ledger);
    assert_eq!(line(&ledger, "out")["delivered"], LINES);
    let down = json(&node.verb(&["checkpoint", "show"]).unwrap());
    assert_eq!(down["sinks"]["out"], live["sinks"]["out"]);
    node.verb(&["checkpoint", "list"]).unwrap();
    assert!(node.verb(&["status"]).unwrap().contains("no agent runs"));
    for verb in [&["log-level", "warn"][..], &["reload"], &["drain"], &["checkpoint", "now"]] {
        let refused = node.verb(verb).unwrap_err();
        assert!(refused.contains("no agent runs on") && refused.contains("sawlog run"), "{verb:?}: {refused}");
    }
}

#[test]
fn metrics_say_what_the_ledger_says() {
    let node = Node::new("");
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| line(&json(&agent.get("api.listen", "/v1/loss").1), "out")["delivered"] == LINES);
    // Batches are observed once their commit is durable, a moment after the ledger has them.
    let observed = "sawlog_end_to_end_latency_seconds_count{sink=\"out\"";
    agent.wait_until(|| agent.get("telemetry.metrics", "/metrics").1.contains(observed));
    let text = agent.get("telemetry.metrics", "/metrics").1;
    assert_eq!(agent.get("api.listen", "/metrics").0, 200);
    let value = |series: &str| value(&text, series);
    for sink in ["out", "some", "dead_letter"] {
        assert_eq!(value(&format!("sawlog_ledger_imbalance{{sink=\"{sink}\",source=\"app\"}}")), 0.0);
    }
    let delivered = "sawlog_ledger_records_total{outcome=\"delivered\",reason=\"\",sink=\"out\",source=\"app\"}";
    assert_eq!(value(delivered), LINES as f64);
    let received = "sawlog_component_received_records_total{component_id=\"app\",component_kind=\"source\",component_type=\"file\"}";
    assert_eq!(value(received), LINES as f64);
    assert!(value("sawlog_end_to_end_latency_seconds_count{sink=\"out\",source=\"app\"}") >= 1.0);

    agent.terminate();
}

/// A node with a source of each kind that needs no service, and sinks of which one refuses rows and one is down.
fn troubled(search: &Elasticsearch, web: SocketAddr) -> Node {
    let search = &search.url;
    Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             checkpoint: {{ interval: 200ms }}\ntelemetry: {{ metrics: 127.0.0.1:0 }}\nshutdown: {{ grace: 1s }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n  web: {{ type: http, listen: \"{web}\", shards: 1 }}\n\
             sinks:\n  out: {{ type: file, inputs: [app, web], path: {here}/out }}\n  \
             search: {{ type: elasticsearch, layer: speed, inputs: [app], endpoints: [\"{search}\"], index: logs, all: true, gzip: false, batch: {{ age: 100ms }} }}\n  \
             dead: {{ type: elasticsearch, layer: batch, inputs: [app, web], endpoints: [\"http://127.0.0.1:1\"], index: logs, all: true }}\n"
        )
    })
}

#[test]
fn every_metric_of_the_page_has_its_value_where_there_is_such_a_component_or_trouble() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let search = Elasticsearch::start();
    search.refuse(Some("true"));
    let node = troubled(&search, web);
    node.write_lines(LINES);
    let mut agent = node.start();
    for _ in 0..2 {
        assert!(post(web, "idempotency-key: one\r\n", "[{\"pushed\":1}]").starts_with("HTTP/1.1 2"));
    }
    let ledger = || json(&agent.get("api.listen", "/v1/loss").1);
    agent.wait_until(|| dead(&line(&ledger(), "search")) == LINES / 10);
    agent.wait_until(|| line(&ledger(), "search")["in_flight"] == 0 && line(&ledger(), "dead")["behind"] != 0);
    let metrics = || agent.get("telemetry.metrics", "/metrics").1;
    let late =
        ["latency_seconds_count{sink=\"out\",source=\"web\"", "checkpoint_age_seconds", "sawlog_sink_retries_total"];
    agent.wait_until(|| late.iter().all(|name| metrics().contains(name)));
    // A sink that forgets begins anew, and so do its own figures.
    let before = metrics();
    node.verb(&["sink", "forget", "dead"]).unwrap();
    let text = before + &metrics();
    let value = |series: &str| value(&text, series);
    let bytes = std::fs::metadata(node.folder().join("logs/app.log")).unwrap().len() as f64;
    for (series, exactly) in [
        ("http_requests_total{outcome=\"taken\",source=\"web\"}", 1.0),
        ("http_requests_total{outcome=\"repeated\",source=\"web\"}", 1.0),
        (
            "ledger_records_total{outcome=\"dead_lettered\",reason=\"\",sink=\"search\",source=\"app\"}",
            LINES as f64 / 10.0,
        ),
        ("lost_bytes_total{reason=\"forgotten\",sink=\"dead\",source=\"app\"}", bytes),
        ("sink_info{layer=\"\",sink=\"out\",type=\"file\"}", 1.0),
        ("sink_info{layer=\"speed\",sink=\"search\",type=\"elasticsearch\"}", 1.0),
        ("sink_info{layer=\"batch\",sink=\"dead\",type=\"elasticsearch\"}", 1.0),
    ] {
        assert_eq!(value(&format!("sawlog_{series}")), exactly, "{series}");
    }
    for series in [
        "component_errors_total{component_id=\"dead\",component_kind=\"sink\",component_type=\"elasticsearch\",",
        "sink_retries_total{sink=\"dead\",",
        "backpressure_seconds_total{cause=\"dead_letter\",component_id=\"search\"}",
        "queue_disk_bytes{source=\"web\"}",
        "queue_fsyncs_total{source=\"web\"}",
        "queue_fsync_duration_seconds_total{source=\"web\"}",
    ] {
        assert!(sum(&text, &format!("sawlog_{series}")) > 0.0, "{series}");
    }

    let exposed: BTreeSet<String> =
        text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())).collect();
    let documented = page_metrics();
    let unknown: Vec<_> = exposed.difference(&documented).collect();
    assert!(unknown.is_empty(), "docs/metrics.md says nothing of {unknown:?}");
    // Those of plugins, Kafka sources and Kafka sinks are seen beside real ones: in `plugins`, `kafka_topics` and `hidden` of
    // tests/e2e.
    let elsewhere = |name: &&String| {
        ["sawlog_plugin_", "sawlog_kafka_", "sawlog_sink_hidden_"].iter().any(|of| name.starts_with(of))
    };
    let missing: Vec<_> = documented.difference(&exposed).filter(|name| !elsewhere(name)).collect();
    assert!(missing.is_empty(), "the agent exposes nothing of {missing:?}");
    agent.terminate();
}

#[test]
fn a_sink_that_is_down_is_told_and_keeps_no_input_out() {
    // A folder where the sink's file should be.
    let node = Node::new("");
    std::fs::create_dir_all(node.folder().join("out")).unwrap();
    std::fs::write(node.folder().join("out").join("out.jsonl"), "").unwrap();
    node.break_sink();
    node.write_lines(10);
    let mut agent = node.start();
    agent.wait_until(|| json(&agent.get("api.listen", "/readyz").1)["degraded"][0]["component"] == "out");
    assert_eq!(agent.get("telemetry.metrics", "/readyz").0, 200);
    assert_eq!(agent.get("api.listen", "/readyz?strict=true").0, 503);
    assert_eq!(agent.get("api.listen", "/livez"), (200, "alive\n".to_owned()));
    let metrics = agent.get("api.listen", "/metrics").1;
    assert!(metrics.contains("sawlog_sink_retries_total{sink=\"out\""), "{metrics}");
    let ledger = json(&node.verb(&["loss", "--format", "json"]).unwrap());
    assert_balanced(&ledger);
    assert_eq!(line(&ledger, "some")["read"], 10, "the other sink goes on: {ledger}");
    let began = std::time::Instant::now();
    let drained = node.verb(&["drain", "--wait", "--timeout", "1s"]).unwrap_err();
    assert!(drained.contains("not everything is delivered yet: out\n"), "{drained}");
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    agent.terminate();
}

/// One look after the other, the failures that a sink has and whether it is being tried are of the same moment.
#[test]
fn a_circuit_opens_after_as_many_failures_as_the_configuration_says() {
    const SINKS: [(&str, f64); 2] = [("hasty", 3.0), ("patient", 6.0)];
    let node = Node::of(|here| {
        let sinks = SINKS.map(|(name, after)| {
            format!(
                "  {name}: {{ type: elasticsearch, inputs: [app], endpoints: [\"http://127.0.0.1:1\"], index: logs, all: true, \
                 retry: {{ initial: 600ms, max: 600ms, open_circuit_after: {after} }} }}\n"
            )
        });
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             telemetry: {{ metrics: 127.0.0.1:0 }}\nshutdown: {{ grace: 1s }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\nsinks:\n{}",
            sinks.concat()
        )
    });
    node.write_lines(1);
    let mut agent = node.start();
    let seen = std::cell::RefCell::new(BTreeSet::new());
    agent.wait_until(|| {
        let text = agent.get("telemetry.metrics", "/metrics").1;
        for (name, after) in SINKS {
            let of_sink = format!("sawlog_sink_retries_total{{sink=\"{name}\",");
            let failures = sum(&text, &of_sink);
            let is_open = value(&text, &format!("sawlog_sink_circuit_state{{sink=\"{name}\"}}")) > 0.0;
            assert_eq!(is_open, failures >= after, "{name} after {failures} failures");
            seen.borrow_mut().insert((name, failures as u64));
        }
        seen.borrow().contains(&("patient", 6))
    });
    let seen = seen.into_inner();
    let missed: Vec<_> =
        [("hasty", 2), ("hasty", 3), ("patient", 5)].into_iter().filter(|one| !seen.contains(one)).collect();
    assert!(missed.is_empty(), "not looked at {missed:?}: {seen:?}");
    agent.terminate();
}

/// Records come a few at a time while both servers are unwell, and wait together.
#[test]
fn a_batch_has_no_more_records_than_the_configuration_says() {
    let (counted, whole) = (Elasticsearch::start(), Elasticsearch::start());
    let node = Node::of(|here| {
        let sink = |server: &Elasticsearch, records: &str| {
            format!(
                "{{ type: elasticsearch, inputs: [app], endpoints: [\"{}\"], index: logs, all: true, gzip: false, \
                 retry: {{ initial: 50ms, max: 100ms, open_circuit_after: 1000 }}, batch: {{ age: 100ms{records} }} }}",
                server.url
            )
        };
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             telemetry: {{ metrics: 127.0.0.1:0 }}\nsources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n\
             sinks:\n  counted: {}\n  whole: {}\n",
            sink(&counted, ", records: 10"),
            sink(&whole, "")
        )
    });
    let mut log = std::fs::File::create(node.folder().join("logs/app.log")).unwrap();
    let mut agent = node.start();
    let planned = || json(&agent.get("api.listen", "/v1/loss").1);
    log.write_all(b"one\ntwo\nthree\nfour\nfive\n").unwrap();
    // A sink that has never reached its server takes nothing yet.
    agent.wait_until(|| [&counted, &whole].iter().all(|server| server.documents().len() == 5));
    [&counted, &whole].into_iter().for_each(|server| server.be_unwell(true));
    for read in 2..=8_u64 {
        log.write_all(b"one\ntwo\nthree\nfour\nfive\n").unwrap();
        agent.wait_until(|| ["counted", "whole"].iter().all(|sink| line(&planned(), sink)["read"] == read * 5));
    }
    [&counted, &whole].into_iter().for_each(|server| server.be_unwell(false));
    agent.wait_until(|| [&counted, &whole].iter().all(|server| server.documents().len() == 40));
    let (counted, whole) = (counted.bulks(), whole.bulks());
    assert!(counted.iter().all(|records| *records <= 10) && counted.contains(&10), "{counted:?}");
    assert!(whole.iter().any(|records| *records > 10), "what waits goes together otherwise: {whole:?}");
    agent.terminate();
}

#[test]
fn what_is_wrong_is_told_with_what_mends_it() {
    let node = Node::new("");
    let nowhere = node.verb(&["loss"]).unwrap_err();
    assert!(nowhere.contains("is no agent's data directory") && nowhere.contains("--data-dir"), "{nowhere}");
    let elsewhere = node.folder().to_str().unwrap().to_owned();
    let wrong = node.verb(&["status", "--data-dir", &elsewhere]).unwrap_err();
    assert!(wrong.contains("no agent has left its lock there"), "{wrong}");
    node.write_lines(1);
    let mut agent = node.start();
    agent.wait_until(|| line(&json(&agent.get("api.listen", "/v1/loss").1), "out")["delivered"] == 1);
    let unknown = node.verb(&["loss", "--sink", "nope"]).unwrap_err();
    assert!(unknown.contains("no sink `nope`") && unknown.contains("out"), "{unknown}");
    assert!(node.verb(&["checkpoint", "show", "999"]).unwrap_err().contains("on the disk are:"));
    let (code, body) = agent.get("api.listen", "/v1/sinks/nope");
    assert_eq!(code, 404);
    assert!(body.contains("the sinks are dead_letter, out, some"), "{body}");
    assert_eq!(agent.ask("api.listen", "POST", "/v1/drain").0, 403);
    assert_eq!(agent.get("telemetry.metrics", "/v1/status").0, 404);
    assert_eq!(agent.get("api.listen", "/nothing").0, 404);

    node.write_config("sources: {}\n");
    let refused = node.verb(&["reload", "--data-dir", node.data_dir().to_str().unwrap()]).unwrap_err();
    assert!(refused.contains("the old one goes on"), "{refused}");
    let degraded = json(&agent.get("api.listen", "/readyz").1);
    assert_eq!(degraded["degraded"][0]["what"], "reload_refused", "{degraded}");
    node.restore_config();
    node.verb(&["reload"]).unwrap();
    assert_eq!(json(&agent.get("api.listen", "/readyz").1)["degraded"], json("[]"));
    agent.kill();
    // The socket is left over, and nobody listens on it.
    assert!(node.data_dir().join("sawlog.sock").exists());
    assert!(node.verb(&["status"]).unwrap().contains("no agent runs"));
    let mut agent = node.start();
    agent.wait_until(|| agent.get("api.listen", "/livez").0 == 200);
    node.verb(&["status"]).unwrap();
    agent.terminate();
}

#[test]
fn run_opens_with_a_summary_of_everything() {
    let node = Node::new("");
    let dry = node.verb(&["run", "--dry-run"]).unwrap();
    let agent = node.start();
    for told in [&dry, &agent.log()] {
        for line in [
            "sawlog 0.1.0, agent operated, config ",
            "  limits   384MiB of memory, 8GiB of disk; a shutdown takes at most 4s",
            "  listens  127.0.0.1:0 (api)\n           127.0.0.1:0 (metrics)",
            "  sources  app (file)",
            "  routes   app → out: exactly_once by local append, journalled length",
            "           app → some: exactly_once by local append, journalled length",
            "           dead letters → dead_letter, of every component that names no other",
        ] {
            assert!(told.contains(line), "no {line:?} in\n{told}");
        }
    }
}

#[test]
fn every_described_path_answers() {
    let node = Node::new("");
    node.write_lines(10);
    let mut agent = node.start();
    agent.wait_until(|| line(&json(&agent.get("api.listen", "/v1/loss").1), "out")["delivered"] == 10);
    let described = json(&agent.get("api.listen", "/v1/openapi.json").1);
    assert_eq!(described["openapi"], "3.1.0");
    for (path, calls) in described["paths"].as_object().unwrap() {
        if calls.get("get").is_some() && !path.contains('{') {
            let (status, body) = agent.get("api.listen", path);
            assert_eq!(status, 200, "{path}: {body}");
        }
    }
    let files = json(&agent.get("api.listen", "/v1/files").1);
    assert!(files["app"][0]["path"].as_str().unwrap().ends_with("/logs/app.log"), "{files}");
    assert_eq!(files["app"][0]["bytes"], files["app"][0]["found_bytes"], "{files}");
    let config = json(&agent.get("api.listen", "/v1/config").1);
    assert_eq!(
        (&config["sinks"]["out"]["type"], &config["sections"]["agent"]["id"]),
        (&"file".into(), &"operated".into())
    );
    assert_eq!(json(&agent.get("api.listen", "/v1/plugins").1), json("[]"));
    agent.terminate();
}

#[test]
fn a_group_that_nobody_answers_for_is_told_and_nothing_is_called_delivered() {
    let node = Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             telemetry: {{ metrics: 127.0.0.1:0 }}\nshutdown: {{ grace: 4s }}\n\
             checkpoint: {{ interval: 200ms, backup: {{ type: folder, path: {here}/backup }} }}\n\
             sources:\n  orders: {{ type: kafka, brokers: [\"127.0.0.1:1\"], topics: [orders], group_id: g, start: earliest, journal_topic: j }}\n\
             transforms:\n  read: {{ type: parse, inputs: [orders], try: [json, text] }}\n\
             sinks:\n  out: {{ type: file, inputs: [read], path: {here}/out, delivery: at_least_once }}\n"
        )
    });
    let mut agent = node.start();
    let degraded = || json(&agent.get("api.listen", "/readyz").1)["degraded"][0].clone();
    agent.wait_until(|| degraded()["what"] == "group_down" && degraded()["component"] == "orders");
    assert!(degraded()["detail"].as_str().unwrap().contains("127.0.0.1:1"), "{}", degraded());
    assert_eq!(agent.get("api.listen", "/readyz?strict=true").0, 503);
    let drained = node.verb(&["drain", "--wait", "--timeout", "500ms"]).unwrap_err();
    assert!(drained.contains("orders (joining its group)"), "{drained}");
    let began = std::time::Instant::now();
    agent.terminate();
    assert!(began.elapsed().as_secs() < 10, "it ends within its grace: {:?}", began.elapsed());
}

#[test]
fn a_token_guards_everything_but_the_probes() {
    let node = Node::new("token: opensesame, ");
    let mut agent = node.start();
    agent.wait_until(|| agent.get("api.listen", "/livez").0 == 200);
    assert_eq!(agent.get("api.listen", "/readyz").0, 200);
    for path in ["/metrics", "/v1/status", "/v1/loss"] {
        assert_eq!(agent.get("api.listen", path).0, 401, "{path}");
    }
    assert_eq!(agent.ask_with("api.listen", "GET", "/v1/status", "Bearer opensesame").0, 200);
    for path in ["/v1/topology", "/v1/config"] {
        assert_eq!(agent.get("api.listen", path).0, 401, "{path}");
        let (status, body) = agent.ask_with("api.listen", "GET", path, "Bearer opensesame");
        assert!(status == 200 && !body.contains("opensesame"), "{path}: {body}");
    }
    assert_eq!(agent.ask_with("api.listen", "POST", "/v1/checkpoints", "Bearer opensesame").0, 200);
    agent.terminate();
}

/// At its finest level, with lines that are fine, binary, refused and malformed: the own log names places, never contents.
#[test]
fn the_own_log_has_no_contents_of_records_and_each_of_its_lines_parses() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             checkpoint: {{ interval: 200ms }}\ntelemetry: {{ metrics: 127.0.0.1:0, log: {{ level: trace, format: json }} }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n  web: {{ type: http, listen: \"{web}\" }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  out: {{ type: file, inputs: [read], path: {here}/out }}\n  pushed: {{ type: file, inputs: [web], path: {here}/pushed }}\n"
        )
    });
    let mut text: Vec<u8> = Vec::new();
    for n in 0..50 {
        text.extend(format!("{{\"n\":{n},\"told\":\"sentinel\"}}\nno json sentinel {n}\n").bytes());
    }
    text.extend(b"\xff\xfe sentinel \x00\n{\"sentinel\":\n");
    std::fs::write(node.folder().join("logs/app.log"), text).unwrap();
    let mut agent = node.start();
    let told = |agent: &operator::Agent| json(&agent.get("api.listen", "/v1/loss").1);
    let settled = |ledger: &Value| line(ledger, "out")["delivered"].as_u64().unwrap_or(0) + dead(&line(ledger, "out"));
    agent.wait_until(|| settled(&told(&agent)) == 102);
    for body in ["{\"sentinel\":", "[1, \"sentinel\"]", "sentinel"] {
        let answer = post(web, "", body);
        assert!(answer.starts_with("HTTP/1.1 4"), "{body}: {answer}");
    }
    agent.terminate();
    let log = agent.log();
    let own = log.lines().filter(|line| line.starts_with('{')).map(json).count();
    assert!(own >= 4, "{log}");
    let after_summary = log.lines().skip_while(|line| !line.starts_with('{'));
    assert_eq!(after_summary.filter(|line| !line.starts_with('{')).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!log.contains("sentinel"), "{}", log.lines().find(|line| line.contains("sentinel")).unwrap());
}

/// Posts a body as JSON, with more lines of a head; the whole answer.
fn post(to: SocketAddr, more: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let length = body.len();
    let head = "POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json";
    write!(stream, "{head}\r\n{more}content-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Dead letters on a line of the ledger.
fn dead(line: &Value) -> u64 {
    match &line["dead_lettered"] {
        Value::Object(by_reason) => by_reason.values().filter_map(Value::as_u64).sum(),
        n => n.as_u64().unwrap_or(0),
    }
}
