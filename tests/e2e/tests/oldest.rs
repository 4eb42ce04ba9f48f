//! A sink that is added with `from: oldest`, on the real binary: it has every record of files that were read before, one of them
//! rotated and then deleted, and what comes meanwhile, through kill -9; the others have nothing twice, and windows count alike.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::service;
use sawlog_e2e::told::Ledger;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["a", "b", "c"];
const WINDOW_SECS: u64 = 50;
const WAIT_MAX: Duration = Duration::from_secs(60);

fn config(folder: &Path, plugin: &str, added: bool) {
    let new = "  new: { type: file, inputs: [counted, counted.windows], from: oldest, path: \"./new/dt={received_time:%Y-%m-%d}\", \
               provenance: full, batch: { age: 50ms }, roll: { age: 1s }, retry: { initial: 50ms, max: 200ms } }\n";
    let text = format!(
        "version: 1\nagent: {{ id: oldest }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 300ms }}\n\
         plugins:\n  count: {{ source: \"file:{plugin}\", allow: [state, timers], config: {{ key: file, window_seconds: {WINDOW_SECS}, idle_flush: false }} }}\n\
         sources:\n  app: {{ type: file, include: [\"./logs/*.log\"], rotated: [\"./logs/*.log.*\"] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json], timestamp: {{ field: seq, format: unix }} }}\n  \
         counted: {{ type: wasm, inputs: [parsed], chain: [count] }}\n\
         sinks:\n  old: {{ type: file, inputs: [counted, counted.windows], path: ./old/out.jsonl, provenance: full, batch: {{ age: 50ms }} }}\n{}",
        if added { new } else { "" }
    );
    fs::write(folder.join("sawlog.yaml"), text).unwrap();
}

/// Numbered lines of each file, from 1 on; their numbers are their times.
struct Logs {
    folder: PathBuf,
    sent: BTreeMap<&'static str, u64>,
}

impl Logs {
    fn write(&mut self, name: &'static str, lines: u64) {
        let sent = self.sent.entry(name).or_default();
        let text: String = (1..=lines).map(|n| format!("{{\"file\":\"{name}\",\"seq\":{}}}\n", *sent + n)).collect();
        let file = File::options().create(true).append(true).open(self.folder.join(format!("{name}.log")));
        file.unwrap().write_all(text.as_bytes()).unwrap();
        *sent += lines;
    }

    fn rotate(&self, name: &str, number: u32) {
        fs::rename(self.folder.join(format!("{name}.log")), self.folder.join(format!("{name}.log.{number}"))).unwrap();
    }
}

/// Rows of a sink in the order of its files' names, which count up.
fn rows(folder: &Path) -> Vec<Value> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if !name.starts_with('_') => folders.push(path),
                false if !name.ends_with(".part") => files.push((name, path)),
                _ => {}
            }
        }
    }
    files.sort();
    let text: String = files.iter().map(|(_, path)| fs::read_to_string(path).unwrap_or_default()).collect();
    let whole = text.rfind('\n').map_or("", |at| &text[..at]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a sink has.
#[derive(PartialEq, Debug, Default)]
struct Had {
    /// How often each line of each file is there.
    lines: BTreeMap<(String, u64), u64>,
    /// Start of a window, in seconds, and file: what was counted, each time.
    windows: BTreeMap<(u64, String), Vec<u64>>,
    ids: BTreeSet<String>,
}

/// What is there; the numbers of each file must only rise where `in_order`.
fn had(folder: &Path, in_order: bool) -> Had {
    let (mut had, mut newest) = (Had::default(), BTreeMap::<String, u64>::new());
    for row in rows(folder) {
        had.ids.insert(row["sawlog"]["id"].as_str().unwrap_or_else(|| panic!("no id: {row}")).to_owned());
        if let Some(start) = row["window_start"].as_u64() {
            let key = (start / 1_000_000_000, row["key"].as_str().unwrap().to_owned());
            had.windows.entry(key).or_default().push(row["count"].as_u64().unwrap());
            continue;
        }
        let (file, n) = (row["file"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap());
        let before = newest.insert(file.clone(), n).unwrap_or(0);
        assert!(!in_order || before < n, "{file}: {n} comes after {before}");
        *had.lines.entry((file, n)).or_default() += 1;
    }
    had
}

/// What every sink is to have, but for the ids, by an arithmetic of its own.
fn expected(sent: &BTreeMap<&'static str, u64>) -> Had {
    let lines = sent.iter().flat_map(|(name, sent)| (1..=*sent).map(|n| (((*name).to_owned(), n), 1))).collect();
    let closed = |(name, sent): (&&'static str, &u64)| {
        let name = (*name).to_owned();
        let starts = (0..*sent / WINDOW_SECS).map(|number| number * WINDOW_SECS);
        // Numbers begin at 1.
        starts.map(|at| ((at, name.clone()), vec![WINDOW_SECS - u64::from(at == 0)])).collect::<Vec<_>>()
    };
    Had { lines, windows: sent.iter().flat_map(closed).collect(), ids: BTreeSet::new() }
}

/// Writes to all files, and rotates one of them once, until it is told to stop.
fn load(mut logs: Logs, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Logs> {
    std::thread::spawn(move || {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            for name in NAMES {
                logs.write(name, 7);
            }
            round += 1;
            if round == 20 {
                logs.rotate("c", 2);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        logs
    })
}

/// Whether the agent has a file of this name open, deleted or not.
fn has_open(pid: u32, name: &str) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|path| path.to_string_lossy().contains(name))
}

#[test]
fn an_added_sink_has_what_was_read_before_it_and_nobody_has_anything_twice() {
    let Some(plugins) = service("a sink from the oldest", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let plugin = format!("{plugins}/count-window.wasm");
    config(path, &plugin, false);
    fs::create_dir(path.join("logs")).unwrap();
    let mut logs = Logs { folder: path.join("logs"), sent: BTreeMap::new() };
    NAMES.into_iter().for_each(|name| logs.write(name, 1_000));
    let mut agent = Agent::start_answering(path).unwrap();
    let wait = |agent: &mut Agent, what: &str, sink: &str, count: usize| {
        agent.wait_until(what, WAIT_MAX, || Ok(had(&path.join(sink), false).lines.len() >= count)).unwrap();
    };
    wait(&mut agent, "the first lines", "old", 3_000);
    logs.rotate("c", 1);
    NAMES.into_iter().for_each(|name| logs.write(name, 1_000));
    wait(&mut agent, "what follows", "old", 6_000);

    // What lies there is in the way of the new sink: it is killed with all of it before it.
    fs::write(path.join("new"), "in the way").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let loaded = load(logs, stop.clone());
    config(path, &plugin, true);
    verb(path, &["reload"]).unwrap();
    agent.kill_and_start(path).unwrap();
    let pid = agent.pid();
    agent.wait_until("the rotated file open again", WAIT_MAX, || Ok(has_open(pid, "c.log.1"))).unwrap();
    fs::remove_file(path.join("logs/c.log.1")).unwrap();
    agent.wait_until("its rescue", WAIT_MAX, || Ok(!has_open(pid, "c.log.1"))).unwrap();
    fs::remove_file(path.join("new")).unwrap();
    wait(&mut agent, "the first of what was read before", "new", 1);
    agent.kill_and_start(path).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let sent = loaded.join().unwrap().sent;

    let Had { lines, windows, .. } = expected(&sent);
    for sink in ["old", "new"] {
        wait(&mut agent, "every line", sink, lines.len());
    }
    let is_drained = || {
        let ledger = Ledger::of(path)?;
        let counted = |sink: &str| ledger.count(sink, "app", "delivered");
        Ok(["old", "new"].iter().all(|sink| counted(sink) == lines.len() as u64))
    };
    agent.wait_until("a ledger that has it all", WAIT_MAX, is_drained).unwrap();
    let ledger = Ledger::of(path).unwrap();
    for sink in ["old", "new"] {
        let others = ["lost", "dropped", "dead_lettered", "absorbed", "repeated"];
        assert_eq!(others.map(|outcome| ledger.count(sink, "app", outcome)), [0; 5], "{sink}");
    }
    agent.terminate().unwrap();
    let (old, new) = (had(&path.join("old"), true), had(&path.join("new"), true));
    assert_eq!(old.lines, lines, "nobody else has anything twice");
    assert_eq!(old.windows, windows, "nor is it counted twice for them");
    assert_eq!(new.lines, lines);
    assert_eq!(new.windows, windows, "its windows are those of the others");
    assert_eq!(new.ids, old.ids, "they are the same records");
}
