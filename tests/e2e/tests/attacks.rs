//! What whoever names files, writes records or answers requests may try against the real binary: to get out of the folder of a sink,
//! to write lines of their own into its output or into the agent's log, to talk to an operator's terminal, to make names without
//! end, to have a secret shown. Every record is there once all the same.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb_says};
use sawlog_e2e::cell::compare;
use sawlog_e2e::read;
use sawlog_e2e::service;
use sawlog_e2e::shown::{Folder, control};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
/// What a forged line begins with, wherever it would be one.
const FORGED: &str = "2026-01-01T00:00:00.000000Z ERROR sawlog: forged";
/// Clears a terminal.
const CLEAR: &str = "\u{1b}[2J";
/// Folders that one claim of a lake may make.
const PATHS_MAX: usize = 20;
const PASSWORD: &str = "a-password-nobody-may-see";
const TOKEN: &str = "a-token-nobody-may-see";

fn config(folder: &Path, web: u16, sick: &str) -> String {
    let here = folder.display();
    let roll = "format: jsonl, roll: { size: 1MiB, age: 1s }";
    format!(
        "version: 1\nagent: {{ id: attacked }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\", token: \"${{secret:token}}\" }}\n\
         checkpoint: {{ interval: 1s }}\nsecrets: {{ dir: {here}/secrets }}\ntelemetry: {{ log: {{ level: debug }} }}\n\
         sources:\n  app: {{ type: file, include: [\"{here}/logs/*.log\"], multiline: {{ start: \"^.?[{{]\" }}, idle_timeout: 1s }}\n  \
         web: {{ type: http, listen: \"127.0.0.1:{web}\" }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  flat: {{ type: file, inputs: [parsed, web], path: {here}/flat.jsonl, batch: {{ age: 100ms }} }}\n  \
         lake: {{ type: file, inputs: [parsed, web], path: \"{here}/lake/ns={{ns}}/{{a}}-{{b}}-{{c}}-{{d}}\", paths_max: {PATHS_MAX}, {roll} }}\n  \
         sick: {{ type: elasticsearch, inputs: [parsed], all: true, endpoints: [\"http://{sick}\"], index: \"logs-{{ns}}\", \
         auth: {{ username: sawlog, password: \"${{secret:password}}\" }}, retry: {{ max: 1s }} }}\n"
    )
}

/// A server that is well at first sight and answers everything else with somebody's words: a forged line, a clear screen, and a lot.
fn sick_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.set_read_timeout(Some(Duration::from_secs(1))).and_then(|()| stream.read(&mut request));
            let Ok(read) = read else { continue };
            let is_first = request[..read].starts_with(b"GET / ");
            let status = if is_first { "404 Not Found" } else { "403 Forbidden" };
            let words = format!("no\n{FORGED}\r\n{CLEAR}{}", "x".repeat(100_000));
            let body = json!({ "error": { "type": words, "reason": words } }).to_string();
            let head = "content-type: application/json\r\nconnection: close\r\ncontent-length:";
            let answer = format!("HTTP/1.1 {status}\r\n{head} {}\r\n\r\n{body}", body.len());
            // Whoever has gone meanwhile has heard enough.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// A name of a file with a forged line and a clear screen in it.
fn evil_name(kind: &str) -> String {
    format!("{kind}\n{FORGED}\r{CLEAR}.log")
}

/// Records that want to be somewhere else, from number `first` on.
fn records(first: u64) -> Vec<String> {
    let long = |of: char| of.to_string().repeat(64);
    let mut members = vec![
        json!({ "a": long('a'), "b": long('b'), "c": long('c'), "d": long('d'), "ns": "long" }),
        json!({ "a": format!("x\n{FORGED}"), "ns": "line" }),
        json!({ "body": format!("{FORGED}{CLEAR}"), "ns": { "is": "no text" } }),
        json!({ format!("name\n{FORGED}"): 1, "\u{2028}": "\u{2028}", "ns": null }),
        json!({ "sawlog": { "id": "forged" }, "_sawlog": 1, "ns": 7 }),
    ];
    let elsewhere = [
        "../../elsewhere",
        "..",
        ".",
        "/etc",
        "a/b",
        "a\\b",
        "a\u{0}b",
        "%2e%2e%2f",
        "",
        " ",
        "-rf",
        "_hidden",
        "+x",
        "*",
        "{ns}",
        "é",
        "CON",
        "a\nb",
        "a\tb",
        "$(id)",
        "`id`",
        "a;b",
        "a'b",
        "a\"b",
        "ns=x",
    ];
    members.extend(elsewhere.map(|ns| json!({ "ns": ns, "a": ns, "d": ns })));
    members.push(json!({ "ns": "x".repeat(100_000) }));
    // Names without end.
    members.extend((0..200).map(|n| json!({ "ns": format!("team-{n}") })));
    let numbered = (first..).zip(members).map(|(number, mut record)| {
        record.as_object_mut().unwrap().insert("seq".into(), number.into());
        record
    });
    numbered.map(|record| record.to_string()).collect()
}

/// The same record over several lines, as a person writes it.
fn spread(record: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(record).unwrap()).unwrap()
}

fn post(port: u16, body: &str) -> i32 {
    let request = minreq::post(format!("http://127.0.0.1:{port}/")).with_body(body).with_timeout(20);
    request.with_header("Content-Type", "application/json").send().unwrap().status_code
}

/// Folders below `folder`, as paths within it.
fn folders(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(within) = todo.pop() {
        for entry in fs::read_dir(folder.join(&within)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() && !entry.file_name().to_string_lossy().starts_with('_') {
                todo.push(within.join(entry.file_name()));
                found.insert(within.join(entry.file_name()));
            }
        }
    }
    found
}

/// Text that a person reads holds no line of somebody else's making, no word to the terminal, and no secret.
fn is_tame(what: &str, text: &str) {
    for line in text.lines() {
        assert!(!line.starts_with(FORGED), "{what} has a forged line:\n{text}");
    }
    let talks = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t');
    assert!(talks.is_none(), "{what} has {talks:?}:\n{}", text.escape_debug());
    for secret in [PASSWORD, TOKEN] {
        assert!(!text.contains(secret), "{what} shows {secret}");
    }
}

fn write(path: &Path, text: &str) {
    File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn names_records_and_answers_of_others_stay_what_they_are() {
    if service("names, records and answers of others", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/agent");
    fs::create_dir_all(path.join("logs")).unwrap();
    fs::create_dir_all(path.join("secrets")).unwrap();
    fs::write(path.join("secrets/token"), TOKEN).unwrap();
    fs::write(path.join("secrets/password"), PASSWORD).unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(path.join("sawlog.yaml"), config(&path, web, &sick_server())).unwrap();
    assert!(Command::new("mkfifo").arg(path.join("logs").join(evil_name("fifo"))).status().unwrap().success());
    let evil = path.join("logs").join(evil_name("file"));
    let (plain, wide, posted) = (records(0), records(1_000), records(2_000));
    write(&path.join("logs/app.log"), &plain.iter().map(|r| r.clone() + "\n").collect::<String>());
    write(&evil, &wide.iter().map(|r| spread(r) + "\n").collect::<String>());
    let mut agent = Agent::start_answering(&path).unwrap();
    let array = format!("[\n{}\n]", posted.iter().map(|r| spread(r)).collect::<Vec<_>>().join(",\n"));
    assert_eq!(post(web, &array), 200);

    let of = |first: u64, records: &[String]| first..first + records.len() as u64;
    let expected: Vec<u64> = of(0, &plain).chain(of(1_000, &wide)).chain(of(2_000, &posted)).collect();
    for sink in ["flat.jsonl", "lake"] {
        let shown = Folder(path.join(sink));
        let rows = || read::folder(&path.join(sink)).unwrap();
        agent.wait_until(sink, WAIT_MAX, || Ok(rows().len() >= expected.len())).unwrap();
        assert_eq!(compare(&rows(), &expected), (0, 0, 0), "{sink}: {}", agent.log_tail());
        control(&shown).unwrap();
    }
    // Folders have harmless names, are not too many, and lie where they belong.
    let made = folders(&path.join("lake"));
    let is_harmless = |name: char| name.is_ascii_lowercase() || name.is_ascii_digit() || "-_=/".contains(name);
    assert!(made.iter().all(|folder| folder.to_str().unwrap().chars().all(is_harmless)), "{made:?}");
    assert!(made.len() <= 2 * PATHS_MAX * 6, "{} folders", made.len());
    let around: Vec<PathBuf> = folders(folder.path()).into_iter().filter(|f| !f.starts_with("a/b/agent")).collect();
    assert_eq!(around, ["a", "a/b"].map(PathBuf::from));
    secrets_and_rights(&path, &agent);

    // One that goes away unread is named by the ledger.
    agent.kill().unwrap();
    write(&evil, "{\"seq\":3000}\n{\"seq\":3001}\n");
    fs::remove_file(&evil).unwrap();
    let mut agent = Agent::start_answering(&path).unwrap();
    let loss = || verb_says(&path, &["loss"]).unwrap().1;
    let told = agent.wait_until("the loss", WAIT_MAX, || Ok(loss().contains("forged")));
    told.unwrap_or_else(|error| panic!("{}\n{error}", loss()));
    for verb in [&["loss"][..], &["status"], &["validate"], &["graph"], &["loss", "--format", "json"]] {
        is_tame(&format!("sawlog {verb:?}"), &verb_says(&path, verb).unwrap().1);
    }
    let log = agent.log();
    assert!(log.contains("forged"), "the refused file is named");
    is_tame("the own log", &log);
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest < 4 << 10, "an answer of 100 KB is not told whole: {longest} bytes in a line");
    agent.kill().unwrap();
}

/// Nobody else may enter the data directory or ask by its socket, and nothing that is told by the API shows a secret.
fn secrets_and_rights(path: &Path, agent: &Agent) {
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data"), mode("data/sawlog.sock")), (0o700, 0o600));
    let api = agent.api().unwrap();
    for view in ["v1/config", "v1/status", "v1/files", "v1/loss", "v1/sinks/sick", "v1/topology", "metrics", "readyz"] {
        let request = minreq::get(format!("{api}/{view}")).with_header("Authorization", format!("Bearer {TOKEN}"));
        let answer = request.with_timeout(20).send().unwrap();
        let text = answer.as_str().unwrap();
        assert!(!text.contains(PASSWORD) && !text.contains(TOKEN), "{view} shows a secret: {text}");
        is_tame(view, text);
    }
    assert_eq!(minreq::get(format!("{api}/v1/config")).send().unwrap().status_code, 401);
}
