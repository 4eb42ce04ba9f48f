//! Files that are no logs and bytes that are no text, through the whole binary to a lake: nothing else is disturbed, each is said
//! where a person must do something, and every byte that can be read is there once, counted by the ledger.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb_says};
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Sender, plain};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::Ledger;
use sawlog_e2e::{read, service};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(90);
/// The default of `line_bytes_max`.
const LINE_BYTES_MAX: usize = 1 << 20;
const LONG_LINE_BYTES: usize = 100 << 20;

fn config(folder: &Path) -> String {
    let here = folder.display();
    format!(
        "version: 1\nagent: {{ id: messy }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{here}/logs/*.log], rotated: [{here}/logs/*.log.*] }}\n  \
         odd: {{ type: file, include: [{here}/odd/*.log] }}\n  \
         long: {{ type: file, include: [{here}/long/*.log] }}\n\
         transforms:\n{}sinks:\n{}",
        each(|name| format!("  {name}_parsed: {{ type: parse, inputs: [{name}], try: [json, text] }}\n")),
        each(|name| format!(
            "  {name}_lake: {{ type: file, inputs: [{name}_parsed], provenance: full, path: \"{here}/lake/from={name}/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 256MiB, age: 1s }} }}\n"
        )),
    )
}

fn each(text: impl Fn(&str) -> String) -> String {
    ["app", "odd", "long"].into_iter().map(text).collect()
}

/// Bytes in which every value occurs, with line ends among them.
fn garbage() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..400_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bytes.push(b'\n');
    bytes
}

fn odd_lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        &b"a NUL \0 in the middle"[..],
        b"\0\0\0",
        b"latin-1: caf\xe9",
        b"cut utf-8: \xf0\x9f\x98",
        b"\xff\xfe\xfd",
        b"an overlong slash \xc0\xaf, a surrogate \xed\xa0\x80",
        b"{\"json\": \"with \xff inside\"}",
        b"{\"broken\": ",
        b"{\"a\":1}{\"a\":2}",
        b"",
        b"\x1b[31mred\x07",
        b"\"just a string\"",
        b"[1,2,3]",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    lines.push([vec![b'['; 100_000], vec![b']'; 100_000]].concat());
    lines.push([&b"{\"deep\":"[..], &vec![b'['; 50_000]].concat());
    lines.push(b"the last".to_vec());
    lines
}

/// Rows of one source, without the agent's own files.
fn rows(folder: &Path) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries.map(Result::unwrap).filter(|entry| !entry.file_name().to_string_lossy().starts_with('_')) {
        let path = entry.path();
        if path.is_dir() {
            all.extend(rows(&path));
        } else {
            let text = fs::read_to_string(path).expect("a lake is UTF-8");
            all.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON")));
        }
    }
    all
}

/// The bytes of a row's text, and how often each came.
fn texts(rows: &[Value]) -> BTreeMap<Vec<u8>, usize> {
    let mut times = BTreeMap::new();
    for row in rows {
        let bytes = match (row["body_base64"].as_str(), row["body"].as_str()) {
            (Some(packed), _) => base64(packed),
            (None, Some(text)) => text.as_bytes().to_vec(),
            _ => format!("{row}").into_bytes(),
        };
        *times.entry(bytes).or_default() += 1;
    }
    times
}

/// Reads base64, by hand: no code of the agent.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut kept) = (Vec::new(), 0u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|d| *d == digit).expect("a digit of base64");
        bits = bits << 6 | value as u32;
        kept += 6;
        if kept >= 8 {
            kept -= 8;
            bytes.push((bits >> kept) as u8);
        }
    }
    bytes
}

fn expected_texts(lines: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<Vec<u8>, usize> {
    let mut times = BTreeMap::new();
    for line in lines {
        let line = line.strip_suffix(b"\r").map_or(line.clone(), <[u8]>::to_vec);
        *times.entry(line).or_default() += 1;
    }
    times
}

/// Everything that only looks like a log, beside the one that is.
fn lay_traps(logs: &Path, outside: &Path) {
    fs::write(logs.join("secret.log"), "not to be read\n").unwrap();
    fs::set_permissions(logs.join("secret.log"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(logs.join("folder.log")).unwrap();
    fs::write(outside.join("shadow"), "outside\n").unwrap();
    symlink(outside.join("shadow"), logs.join("link.log")).unwrap();
    symlink(logs.join("nowhere"), logs.join("dangling.log")).unwrap();
    symlink(logs.join("ring.log"), logs.join("ring.log")).unwrap();
    let made = Command::new("mkfifo").arg(logs.join("fifo.log")).status().unwrap();
    assert!(made.success());
    let socket = std::os::unix::net::UnixListener::bind(logs.join("socket.log")).unwrap();
    drop(socket);
    fs::write(logs.join("empty.log"), "").unwrap();
}

/// The first number in files that are there for little longer than a second.
const FLEETING: u64 = 2_000_000;

/// Files that are gone when the agent has found them, while other lines are written; the numbers of their lines.
fn fleeting(logs: &Path, feed: &mut Feed) -> Vec<u64> {
    const FILES: u64 = 12;
    const LINES: u64 = 20;
    let at = |file: u64| logs.join(format!("fleeting-{file}.log"));
    for file in 0..FILES {
        let first = FLEETING + file * LINES;
        fs::write(at(file), (first..first + LINES).map(|n| plain(n) + "\n").collect::<String>()).unwrap();
        feed.send(100).unwrap();
    }
    std::thread::sleep(Duration::from_millis(1_200));
    (0..FILES).for_each(|file| fs::remove_file(at(file)).unwrap());
    (FLEETING..FLEETING + FILES * LINES).collect()
}

#[test]
fn what_is_no_log_is_said_and_bytes_of_every_kind_arrive_once() {
    if service("files that are no logs", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path();
    for name in ["logs", "odd", "long"] {
        fs::create_dir(path.join(name)).unwrap();
    }
    lay_traps(&path.join("logs"), outside.path());
    let odd = odd_lines();
    fs::write(path.join("odd/odd.log"), [odd.join(&b'\n'), b"\n".to_vec()].concat()).unwrap();
    fs::write(path.join("odd/garbage.log"), garbage()).unwrap();
    fs::write(path.join("sawlog.yaml"), config(path)).unwrap();
    let mut agent = Agent::start_without_privileges(path).unwrap();
    let mut feed = Feed::new(&path.join("logs/app.log"));
    let fleeting = fleeting(&path.join("logs"), &mut feed);
    let mut expected: Vec<Vec<u8>> = odd_lines();
    expected.extend(garbage().split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
    expected.pop(); // behind the last line end
    let wanted = expected.len();
    let lake = |source: &str| rows(&path.join(format!("lake/from={source}")));
    agent.wait_until("the odd lines", WAIT_MAX, || Ok(lake("odd").len() >= wanted)).unwrap();
    let of_the_gone = || {
        let numbers = lake("app").into_iter().filter_map(|row| row["seq"].as_u64());
        numbers.filter(|number| *number >= FLEETING).count()
    };
    agent.wait_until("lines of files that are gone", WAIT_MAX, || Ok(of_the_gone() >= fleeting.len())).unwrap();
    agent.kill().unwrap();
    let mut agent = Agent::start_without_privileges(path).unwrap();
    feed.send(800).unwrap();
    let good: Vec<u64> = (0..feed.sent()).chain(fleeting).collect();
    agent.wait_until("the good lines", WAIT_MAX, || Ok(lake("app").len() >= good.len())).unwrap();

    let found = lake("odd");
    let (found, expected) = (texts(&found), expected_texts(expected));
    assert!(found == expected, "texts differ: {}", difference(&found, &expected));
    let numbers = read::folder(&path.join("lake/from=app")).unwrap();
    assert_eq!(compare(&numbers, &good), (0, 0, 0), "{}", agent.log_tail());
    control(&Folder(path.join("lake/from=app"))).unwrap();

    let log = agent.log();
    for (name, words) in [
        ("secret.log", "give the agent the right to read it"),
        ("folder.log", "is a directory"),
        ("fifo.log", "is a FIFO"),
        ("socket.log", "is a socket"),
        ("link.log", "list its folder in `roots`"),
    ] {
        assert!(log.lines().any(|l| l.contains(name) && l.contains(words)), "{name}: {words}:\n{log}");
    }
    assert!(!log.contains("not to be read") && !log.contains("outside\n"));
    let ledger = Ledger::of(path).unwrap();
    assert_eq!(ledger.count("odd_lake", "odd", "delivered"), wanted as u64);
    assert_eq!(ledger.count("app_lake", "app", "delivered"), good.len() as u64);
    // Once the right is given, the file is read.
    fs::set_permissions(path.join("logs/secret.log"), fs::Permissions::from_mode(0o600)).unwrap();
    agent
        .wait_until("the secret", WAIT_MAX, || Ok(lake("app").iter().any(|row| row["body"] == "not to be read")))
        .unwrap();
    agent.terminate().unwrap();
}

fn difference(found: &BTreeMap<Vec<u8>, usize>, expected: &BTreeMap<Vec<u8>, usize>) -> String {
    let shown = |of: &[u8]| String::from_utf8_lossy(&of[..of.len().min(80)]).into_owned();
    let only = |a: &BTreeMap<Vec<u8>, usize>, b: &BTreeMap<Vec<u8>, usize>| -> Vec<(String, usize)> {
        a.iter().filter(|(text, n)| b.get(*text) != Some(n)).take(5).map(|(text, n)| (shown(text), *n)).collect()
    };
    format!("found {:?}, expected {:?}", only(found, expected), only(expected, found))
}

#[test]
fn a_line_of_100_mb_is_one_marked_row_and_its_neighbours_are_whole() {
    if service("a line of 100 MB", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["logs", "odd", "long"] {
        fs::create_dir(path.join(name)).unwrap();
    }
    fs::write(path.join("sawlog.yaml"), config(path)).unwrap();
    let mut file = fs::File::create(path.join("long/long.log")).unwrap();
    file.write_all(b"before\n").unwrap();
    let mut agent = Agent::start(path).unwrap();
    for piece in 0..LONG_LINE_BYTES >> 20 {
        file.write_all(&vec![b'a' + (piece % 26) as u8; 1 << 20]).unwrap();
    }
    file.write_all(b"\nbehind\n").unwrap();
    let mut feed = Feed::new(&path.join("logs/app.log"));
    feed.send(300).unwrap();
    let lake = |source: &str| rows(&path.join(format!("lake/from={source}")));
    agent.wait_until("three rows", WAIT_MAX, || Ok(lake("long").len() >= 3)).unwrap();
    agent.wait_until("the good lines", WAIT_MAX, || Ok(lake("app").len() >= 300)).unwrap();
    let resident = resident_mib(agent.pid());
    agent.kill().unwrap();
    let mut agent = Agent::start(path).unwrap();
    file.write_all(b"after a kill\n").unwrap();
    agent.wait_until("four rows", WAIT_MAX, || Ok(lake("long").len() >= 4)).unwrap();
    let mut found = lake("long");
    found.sort_by_key(|row| row["sawlog"]["position"].as_u64());
    let bodies: Vec<&str> = found.iter().map(|row| row["body"].as_str().unwrap()).collect();
    assert_eq!([bodies[0], bodies[2], bodies[3]], ["before", "behind", "after a kill"]);
    assert_eq!(bodies[1].len(), LINE_BYTES_MAX);
    assert_eq!((&found[1]["log.truncated"], &found[0]["log.truncated"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(Ledger::of(path).unwrap().count("long_lake", "long", "delivered"), 4);
    let (_, status) = verb_says(path, &["status", "--format", "json"]).unwrap();
    println!("resident {resident} MiB with a line of 100 MB");
    assert!(resident < 384, "{resident} MiB resident, limits.memory is 384: {status}");
    agent.terminate().unwrap();
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
