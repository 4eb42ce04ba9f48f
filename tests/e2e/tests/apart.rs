//! Plugins with `isolation: process` in the real binary: whoever kills their processes under load costs no record, no window and no
//! repetition, the agent says how many ended, and its own end leaves none of them behind.
#![allow(clippy::unwrap_used)]

use rustix::process::{Pid, Signal, kill_process};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::told::metric;
use sawlog_e2e::{read, service};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);
/// Kills of all processes, and records between two of them.
const ROUNDS: u64 = 12;
const RECORDS: u64 = 400;
/// The least number of processes that must have been killed for the test to mean something.
const KILLED_MIN: u64 = 6;

fn line(number: u64) -> String {
    format!(
        "{{\"seq\":{number},\"at\":{},\"level\":\"info\",\"mail\":\"n{number}@example.org\"}}",
        1_700_000_000 + number / 50
    )
}

fn write(folder: &Path, plugins: &str) {
    let config = format!(
        "version: 1\nagent: {{ id: apart }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 500ms }}\n\
         plugins:\n  redact: {{ source: \"file:{plugins}/redact.wasm\", config: {{ fields: [mail] }}, isolation: process }}\n  \
         counted: {{ source: \"file:{plugins}/count-window.wasm\", allow: [state, timers], isolation: process, \
         config: {{ key: level, window_seconds: 10, absorb: true }} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json], timestamp: {{ field: at, format: unix }} }}\n  \
         redacted: {{ type: wasm, inputs: [parsed], chain: [redact] }}\n  windows: {{ type: wasm, inputs: [parsed], chain: [counted] }}\n\
         sinks:\n  out: {{ type: file, inputs: [redacted], path: ./out/out.jsonl, batch: {{ age: 100ms }} }}\n  \
         counts: {{ type: file, inputs: [windows.windows], path: ./counts/out.jsonl, batch: {{ age: 100ms }} }}\n"
    );
    std::fs::create_dir(folder.join("logs")).unwrap();
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
}

/// What a process does just now, a letter, and who started it; `None` where there is none.
fn state_and_parent(pid: i32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut behind_name = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((behind_name.next()?, behind_name.next()?))
}

/// The processes that an agent has started that have not ended.
fn children(agent: u32) -> Vec<Pid> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some((state, parent)) = state_and_parent(pid) else { continue };
        if parent == agent.to_string() && state != "Z" {
            children.extend(Pid::from_raw(pid));
        }
    }
    children
}

/// What the system itself says of a process that a plugin runs in.
fn confined(agent: &Agent, child: Pid) {
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.as_raw_nonzero())).unwrap();
    let status = of("status");
    for line in ["Threads:\t1\n", "Seccomp:\t2\n", "NoNewPrivs:\t1\n"] {
        assert!(status.contains(line), "{line:?} is not in {status}");
    }
    assert_eq!(of("cmdline"), "sawlog-plugin\0plugin-process\0");
    if rustix::process::geteuid().is_root() {
        let network = |pid: String| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let own = network(child.as_raw_nonzero().to_string()) != network(agent.pid().to_string());
        assert!(own || agent.log().contains("have no namespaces of their own here"), "{}", agent.log_tail());
        assert_eq!(of("environ"), "_RJEM_MALLOC_CONF=background_thread:false,narenas:1\0");
    }
}

fn rows(folder: &Path) -> Vec<u64> {
    read::folder(&folder.join("out")).unwrap_or_default()
}

#[test]
fn kills_of_plugins_processes_lose_and_repeat_nothing_and_none_outlives_its_agent() {
    let Some(plugins) = service("plugins in processes of their own", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, &plugins);
    let mut feed = Feed::of(&folder.join("logs/app.log"), line);
    let mut agent = Agent::start_answering(folder).unwrap();
    let mut killed = 0;
    for _ in 0..ROUNDS {
        feed.send(RECORDS).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        for child in children(agent.pid()) {
            killed += u64::from(kill_process(child, Signal::KILL).is_ok());
        }
    }
    // And some for the processes that took the places of the last.
    feed.send(RECORDS).unwrap();
    let sent = feed.sent();
    agent.wait_until("every row", WAIT_MAX, || Ok(rows(folder).len() as u64 >= sent)).unwrap();
    assert!(killed >= KILLED_MIN, "only {killed} processes were there to be killed");
    let metrics = agent.metrics().unwrap();
    let of = |name: &str| {
        let of = |plugin| metric(&metrics, &format!("sawlog_plugin_{name}{{plugin=\"{plugin}\"}}")).unwrap();
        of("redact") + of("counted")
    };
    // One that was killed while nobody asked it anything is missed when it is asked.
    let (restarts, running) = (of("process_restarts_total"), of("processes"));
    assert!(
        restarts >= KILLED_MIN as f64 / 2.0 && running >= 1.0,
        "{killed} killed, {restarts} restarts, {running} run"
    );

    let left = children(agent.pid());
    assert!(!left.is_empty());
    left.iter().for_each(|child| confined(&agent, *child));
    agent.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    // One that has ended and that nobody asks for its status is still in the list.
    let lives = |pid: &Pid| state_and_parent(pid.as_raw_nonzero().get()).is_some_and(|(state, _)| state != "Z");
    while left.iter().any(lives) {
        assert!(Instant::now() < deadline, "processes of plugins outlive their agent: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }

    // The rest of the windows comes with the end of the file.
    let (done, said) = Agent::start_until_eof(folder).unwrap().ended(WAIT_MAX).unwrap();
    assert!(done, "{said}");
    let expected: Vec<u64> = (0..sent).collect();
    assert_eq!(compare(&rows(folder), &expected), (0, 0, 0), "(lost, repeated, strange)");
    let text = std::fs::read_to_string(folder.join("counts/out.jsonl")).unwrap();
    let counts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), sent, "each record is in one window");
}
