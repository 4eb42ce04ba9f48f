//! `limits.memory` on the binary: many files and several dead sinks, each of which could hold more than there is. The healthy sink
//! gets everything, nothing is lost, and metrics say who waited for what.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::Ledger;
use sawlog_e2e::{read, service};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(120);
const LIMIT_MIB: u64 = 160;
const FILES: u64 = 100;
const LINES: u64 = 5_000;
const DEAD: usize = 6;

#[test]
fn memory_stays_below_its_limit_while_sinks_are_dead_and_the_healthy_one_gets_everything() {
    if service("limits.memory", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, here) = (folder.path(), folder.path().display());
    fs::create_dir(path.join("logs")).unwrap();
    fs::create_dir(path.join("flat")).unwrap();
    let padding = "x".repeat(250);
    for file in 0..FILES {
        let mut lines = String::new();
        for line in file * LINES..(file + 1) * LINES {
            writeln!(lines, "{{\"seq\":{line},\"file\":{file},\"padding\":\"{padding}\"}}").unwrap();
        }
        fs::write(path.join(format!("logs/{file}.log")), lines).unwrap();
    }
    let mut config = format!(
        "version: 1\nagent: {{ id: narrow }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\nlimits: {{ memory: {LIMIT_MIB}MiB }}\n\
         sources:\n  app: {{ type: file, include: [\"{here}/logs/*.log\"], read_from: beginning }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  flat: {{ type: file, inputs: [parsed], path: {here}/flat/out.jsonl, batch: {{ age: 100ms }} }}\n"
    );
    let endpoint = sick_server();
    for dead in 0..DEAD {
        writeln!(
            config,
            "  dead{dead}: {{ type: elasticsearch, inputs: [parsed], endpoints: [\"http://{endpoint}\"], index: logs, all: true, \
             retry: {{ max: 1s }} }}"
        )
        .unwrap();
    }
    fs::write(path.join("sawlog.yaml"), config).unwrap();
    let mut agent = Agent::start_answering(path).unwrap();
    let expected = FILES * LINES;
    let delivered = || Ok(Ledger::of(path).map_or(0, |ledger| ledger.count("flat", "app", "delivered")) >= expected);
    agent.wait_until("the healthy sink has everything", WAIT_MAX, delivered).unwrap();
    let (most, metrics) = (peak_mib(agent.pid()), agent.metrics().unwrap());
    println!("at most {most} MiB resident with {DEAD} dead sinks, limits.memory is {LIMIT_MIB}");
    assert!(most <= LIMIT_MIB, "{most} MiB resident: {}", told(&metrics, "sawlog_memory"));
    for dead in 0..DEAD {
        let waited = told(&metrics, &format!("sawlog_backpressure_seconds_total{{cause=\"dead{dead}\""));
        assert!(!waited.is_empty(), "who was full is said: {}", told(&metrics, "sawlog_backpressure"));
    }
    assert!(told(&metrics, "sawlog_memory_limit_bytes").ends_with(&(LIMIT_MIB << 20).to_string()));
    let held = told(&metrics, "sawlog_memory_bytes{subsystem=\"sinks\"}");
    assert!(held.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 1e6, "dead sinks hold what they took: {held}");
    let rows = read::folder(&path.join("flat")).unwrap();
    assert_eq!(compare(&rows, &(0..expected).collect::<Vec<_>>()), (0, 0, 0));
    control(&Folder(path.join("flat"))).unwrap();
    agent.kill().unwrap();
}

/// The address of a server that tells nothing of itself and takes nothing: a sink knows its place there, and is dead.
fn sick_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.set_read_timeout(Some(Duration::from_secs(1))).and_then(|()| stream.read(&mut request));
            let Ok(read) = read else { continue };
            let status =
                if request[..read].starts_with(b"GET / ") { "404 Not Found" } else { "503 Service Unavailable" };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            // Whoever has gone meanwhile meets a dead server all the same.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// The lines that begin so.
fn told(metrics: &str, start: &str) -> String {
    metrics.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>().join("\n")
}

/// The most that the process ever had resident.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
