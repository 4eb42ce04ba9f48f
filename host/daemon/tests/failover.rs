//! Two ways to one Elasticsearch, of which one hangs, is unwell, loses answers, dies, and comes back: every document is created once.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use operator::Node;
use operator::elasticsearch::Elasticsearch;
use serde_json::Value;

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is passed on.
    Open,
    /// It is accepted, and nobody answers.
    Hangs,
    /// It is answered with 503.
    Unwell,
    /// It is passed on, and ends before the answer.
    LosesAnswers,
    /// It ends at once.
    Dead,
}

/// A way to the server.
struct Gate {
    url: String,
    way: Arc<Mutex<Way>>,
}

impl Gate {
    fn to(server: &Elasticsearch) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (way, to) = (Arc::new(Mutex::new(Way::Open)), server.url.trim_start_matches("http://").to_owned());
        let now = way.clone();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for client in listener.incoming().flatten() {
                let (way, to) = (*now.lock().unwrap(), to.clone());
                match way {
                    Way::Hangs => held.push(client),
                    way => drop(std::thread::spawn(move || pass(client, &to, way))),
                }
            }
        });
        Self { url, way }
    }

    fn turn(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

/// Either side may go at any time.
fn pass(mut client: TcpStream, to: &str, way: Way) -> Option<()> {
    match way {
        Way::Dead | Way::Hangs => None,
        Way::Unwell => {
            let mut head = [0; 1024];
            _ = client.read(&mut head).ok()?;
            client.write_all(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()
        }
        Way::Open | Way::LosesAnswers => {
            let mut server = TcpStream::connect(to).ok()?;
            let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
            drop(std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server)));
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).ok()?;
            if way == Way::Open {
                client.write_all(&answer).ok()?;
            }
            client.shutdown(Shutdown::Both).ok()
        }
    }
}

#[test]
fn every_document_is_created_once_whichever_way_is_left() {
    let server = Elasticsearch::start();
    let (one, other) = (Gate::to(&server), Gate::to(&server));
    let (first, second) = (one.url.clone(), other.url.clone());
    let node = Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             checkpoint: {{ interval: 200ms }}\ntelemetry: {{ metrics: 127.0.0.1:0 }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n\
             sinks:\n  out: {{ type: elasticsearch, inputs: [read], endpoints: [\"{first}\", \"{second}\"], index: logs, all: true, \
             request_timeout: 1s, gzip: false, batch: {{ age: 100ms }}, retry: {{ initial: 50ms, max: 200ms }} }}\n"
        )
    });
    let mut log = std::fs::File::create(node.folder().join("logs/app.log")).unwrap();
    let mut sent = 0;
    let mut send = || {
        let lines: String = (sent..sent + 50).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        log.write_all(lines.as_bytes()).unwrap();
        sent += 50;
        sent
    };
    let mut agent = node.start();
    let mut told = Vec::new();
    for (what, ways) in [
        ("the first hangs", (Way::Hangs, Way::Open)),
        ("the second is unwell", (Way::Open, Way::Unwell)),
        ("the first loses what it answers", (Way::LosesAnswers, Way::Open)),
        ("the second dies", (Way::Open, Way::Dead)),
    ] {
        one.turn(ways.0);
        other.turn(ways.1);
        let wanted = send();
        agent.wait_until(|| server.documents().len() as u64 >= wanted);
        told.push(what);
        assert_eq!((server.documents().len() as u64, server.created_most()), (wanted, 1), "{told:?}");
    }
    // Neither is left, and the sink says so; then one comes back.
    one.turn(Way::Dead);
    let wanted = send();
    let trouble = || agent.get("api.listen", "/readyz").1;
    agent.wait_until(|| trouble().contains("\"component\":\"out\""));
    assert!(trouble().contains(&one.url) && trouble().contains(&other.url), "both are named: {}", trouble());
    other.turn(Way::Open);
    agent.wait_until(|| server.documents().len() as u64 >= wanted);
    agent.wait_until(|| !trouble().contains("\"component\":\"out\""));
    let ledger: Value = serde_json::from_str(&node.verb(&["loss", "--format", "json"]).unwrap()).unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(server.created_most(), 1);
    let metrics = agent.get("api.listen", "/metrics").1;
    assert!(metrics.contains("sawlog_ledger_records_total{outcome=\"delivered\""), "{metrics}");
    agent.terminate();
}
