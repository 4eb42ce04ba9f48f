//! Windows of every kind and in two languages, in the real binary: rows late and out of order, a crash at every record, one half of the
//! sinks far behind the other, then a silence that closes what is open and makes late what comes behind it. Expected is what a
//! plain model of windows says of the same rows.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::draw::Draw;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::service;
use sawlog_e2e::told::Ledger;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
/// Until both components are compiled, on a busy machine.
const COMPILE_MAX: Duration = Duration::from_secs(240);
/// Seconds since 1970; a window begins there.
const BEGIN: i64 = 1_700_000_000;
const LATENESS: i64 = 5;
/// Records that are sent one by one, each with a crash.
const CRASHES: u64 = 10;
/// The same where the whole suite has its time.
const CRASHES_FULL: u64 = 90;
/// Records behind the silence.
const BEHIND: u64 = 6;

/// Event time of a record, seconds: a leap of twenty at every tenth, some out of order, some late.
fn second_of(number: u64) -> i64 {
    let back = match (number % 7, number % 13) {
        (3, _) => 4,
        (_, 5) => 30,
        _ => 0,
    };
    BEGIN + (number / 3 + number / 10 * 20) as i64 - back
}

fn key_of(number: u64) -> &'static str {
    ["a", "b", "a", "c"][(number % 4) as usize]
}

fn line(number: u64) -> String {
    format!("{{\"seq\":{number},\"at\":{},\"key\":\"{}\"}}", second_of(number), key_of(number))
}

/// How time is cut, in seconds.
#[derive(Clone, Copy)]
enum Kind {
    /// Length, and from one start to the next.
    Of(i64, i64),
    Gap(i64),
    Records(u64),
}

const KINDS: [(&str, Kind, &str); 4] = [
    ("tumbling", Kind::Of(10, 10), "window_seconds: 10"),
    ("sliding", Kind::Of(10, 5), "window_seconds: 10, slide_seconds: 5"),
    ("session", Kind::Gap(8), "gap_seconds: 8"),
    ("count", Kind::Records(4), "records: 4"),
];

/// Start, end and key of a window, how many records it has.
type Window = (i64, i64, String, u64);

/// What becomes of records: the windows that close, and the records that are in none.
#[derive(Debug, Default, PartialEq)]
struct Model {
    windows: Vec<Window>,
    late: u64,
}

impl Model {
    /// Of the records 0..sent; those from `silent_before` on come behind a silence that closed all that time closes.
    fn of(kind: Kind, sent: u64, silent_before: u64) -> Self {
        let (mut model, mut watermark, mut open) = (Self::default(), i64::MIN, Vec::new());
        let time_closes = !matches!(kind, Kind::Records(_));
        for number in 0..=sent {
            if number == silent_before && time_closes {
                model.windows.append(&mut open);
                watermark = i64::MAX;
            }
            if number == sent {
                break;
            }
            let (time, key) = (second_of(number), key_of(number));
            let is_counted = match kind {
                Kind::Of(length, step) => of(&mut open, (length, step), watermark, time, key),
                Kind::Gap(gap) => gap_of(&mut open, gap, watermark, time, key),
                Kind::Records(_) => records_of(&mut open, time, key),
            };
            model.late += u64::from(!is_counted);
            watermark = watermark.max(time - LATENESS);
            model.windows.extend(open.extract_if(.., |window| match kind {
                Kind::Records(records) => window.3 == records,
                _ => window.1 <= watermark,
            }));
        }
        model.windows.sort();
        model
    }
}

fn of(open: &mut Vec<Window>, (length, step): (i64, i64), watermark: i64, time: i64, key: &str) -> bool {
    let mut is_counted = false;
    for start in (time - length + 1..=time).filter(|start| start % step == 0 && start + length > watermark) {
        is_counted = true;
        match open.iter_mut().find(|window| window.0 == start && window.2 == key) {
            Some(window) => window.3 += 1,
            None => open.push((start, start + length, key.to_owned(), 1)),
        }
    }
    is_counted
}

fn gap_of(open: &mut Vec<Window>, gap: i64, watermark: i64, time: i64, key: &str) -> bool {
    let joined: Vec<Window> =
        open.extract_if(.., |window| window.2 == key && time < window.1 && window.0 < time + gap).collect();
    if joined.is_empty() && time + gap <= watermark {
        return false;
    }
    let one = (time, time + gap, key.to_owned(), 1);
    open.push(joined.into_iter().fold(one, |all, part| (all.0.min(part.0), all.1.max(part.1), all.2, all.3 + part.3)));
    true
}

fn records_of(open: &mut Vec<Window>, time: i64, key: &str) -> bool {
    match open.iter_mut().find(|window| window.2 == key) {
        Some(window) => *window = (window.0.min(time), window.1.max(time), key.to_owned(), window.3 + 1),
        None => open.push((time, time, key.to_owned(), 1)),
    }
    true
}

/// One source whose records go through every kind in every language, each to a sink that keeps up and one that lags.
struct All {
    folder: tempfile::TempDir,
    /// Component by language.
    plugins: BTreeMap<&'static str, String>,
}

impl All {
    fn new(plugins: BTreeMap<&'static str, String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        Self { folder, plugins }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Kinds in each language, and the name by which they go.
    fn each(&self) -> impl Iterator<Item = (String, Kind)> {
        let languages = self.plugins.keys();
        languages.flat_map(|language| KINDS.map(|(name, kind, _)| (format!("{name}-{language}"), kind)))
    }

    fn write(&self, idle: &str) {
        let (mut plugins, mut transforms, mut sinks) = (String::new(), String::new(), String::new());
        for (language, component) in &self.plugins {
            for (kind, _, options) in KINDS {
                let name = format!("{kind}-{language}");
                writeln!(
                    plugins,
                    "  {name}: {{ source: \"file:{component}\", allow: [state, timers], config: {{ key: key, absorb: true, \
                     lateness_seconds: {LATENESS}, {options} }} }}"
                )
                .unwrap();
                writeln!(transforms, "  {name}: {{ type: wasm, inputs: [parsed], chain: [{name}] }}").unwrap();
                for sink in ["prompt", "lagging"] {
                    writeln!(
                        sinks,
                        "  {sink}-{name}: {{ type: file, inputs: [{name}.windows], path: ./{sink}/{name}.jsonl, batch: {{ age: 50ms }} }}"
                    )
                    .unwrap();
                }
            }
        }
        let text = format!(
            "version: 1\nagent: {{ id: windows }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\nplugins:\n{plugins}\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*], idle_timeout: {idle} }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json], timestamp: {{ field: at, format: unix }} }}\n{transforms}\
             sinks:\n{sinks}"
        );
        std::fs::write(self.path().join("sawlog.yaml"), text).unwrap();
    }

    /// The windows that a sink has, in order of time; fails where one can't be read.
    fn windows(&self, sink: &str, name: &str) -> Vec<Window> {
        let path = self.path().join(sink).join(format!("{name}.jsonl"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let window = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("every line is JSON");
            let second = |name: &str| row[name].as_i64().unwrap() / 1_000_000_000;
            let (key, count) = (row["key"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap());
            (second("window_start"), second("window_end"), key, count)
        };
        // The last line may be half written.
        let mut windows: Vec<Window> =
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(window).collect();
        windows.sort();
        windows
    }

    /// Whether every sink has what the model says, and an error where one has more.
    fn are_there(&self, sent: u64, silent_before: u64) -> Result<bool> {
        let mut are_there = true;
        for (name, kind) in self.each() {
            let expected = Model::of(kind, sent, silent_before).windows;
            for sink in ["prompt", "lagging"] {
                let found = self.windows(sink, &name);
                ensure!(found.len() <= expected.len(), "{sink}-{name} has {found:?} instead of {expected:?}");
                are_there &= found == expected;
            }
        }
        Ok(are_there)
    }

    /// Whether the sinks that keep up are through with so many records.
    fn is_through(&self, sent: u64) -> bool {
        let Ok(ledger) = Ledger::of(self.path()) else { return false };
        self.each().all(|(name, _)| {
            let told = ["absorbed", "delivered", "dropped"].map(|o| ledger.count(&format!("prompt-{name}"), "app", o));
            told.iter().sum::<u64>() >= sent
        })
    }
}

fn components() -> Option<BTreeMap<&'static str, String>> {
    let folder = service("windows in the binary", "SAWLOG_TEST_PLUGINS")?;
    let paths = [("rust", "count-window.wasm"), ("go", "tidy/count-window-go.wasm")];
    let found = paths.into_iter().map(|(language, path)| (language, PathBuf::from(&folder).join(path)));
    let built: BTreeMap<_, _> =
        found.filter(|(_, path)| path.exists()).map(|(l, path)| (l, path.display().to_string())).collect();
    if !built.contains_key("go") {
        println!("NOT RUN: windows in Go, which need Go 1.24 or newer");
    }
    Some(built)
}

#[test]
fn windows_of_every_kind_are_exact_through_a_crash_at_every_record_and_a_sink_that_lags() {
    let Some(plugins) = components() else { return };
    let crashes = if std::env::var_os("SAWLOG_TEST_FULL").is_some() { CRASHES_FULL } else { CRASHES };
    let (all, mut draw) = (All::new(plugins), Draw::fresh().unwrap());
    let mut feed = Feed::of(&all.path().join("logs/app.log"), line);
    all.write("1h");
    // What lies there is in the way of the sinks that lag.
    std::fs::write(all.path().join("lagging"), "in the way").unwrap();
    let mut agent = Agent::start(all.path()).unwrap();
    feed.send(20).unwrap();
    agent.wait_until("the first records", COMPILE_MAX, || Ok(all.is_through(feed.sent()))).unwrap();
    for crash in 0..crashes {
        feed.send(1).unwrap();
        match crash % 2 {
            0 => std::thread::sleep(draw.time(Duration::from_millis(400))),
            _ => agent.wait_until("the record is through", WAIT_MAX, || Ok(all.is_through(feed.sent()))).unwrap(),
        }
        agent.kill_and_start(all.path()).unwrap();
    }
    std::fs::remove_file(all.path().join("lagging")).unwrap();
    feed.send(50).unwrap();
    let sent = feed.sent();
    agent.wait_until("the windows that are over", WAIT_MAX, || all.are_there(sent, u64::MAX)).unwrap();
    agent.kill().unwrap();

    // A silence closes the rest, and what comes behind it for that time is late.
    all.write("300ms");
    let mut agent = Agent::start(all.path()).unwrap();
    agent.wait_until("the windows that a silence closes", WAIT_MAX, || all.are_there(sent, sent)).unwrap();
    feed.send(BEHIND).unwrap();
    let is_through = || Ok(all.is_through(feed.sent()));
    agent.wait_until("the records behind the silence", WAIT_MAX, is_through).unwrap();
    agent.wait_until("their windows", WAIT_MAX, || all.are_there(feed.sent(), sent)).unwrap();
    agent.terminate().unwrap();
    let (ledger, mut windows) = (Ledger::of(all.path()).unwrap(), 0);
    for (name, kind) in all.each() {
        let model = Model::of(kind, feed.sent(), sent);
        windows += model.windows.len();
        for sink in ["prompt", "lagging"] {
            let told = ["absorbed", "delivered", "dropped"]
                .map(|outcome| ledger.count(&format!("{sink}-{name}"), "app", outcome));
            // A record is absorbed, or delivered where it made some window close. One that is late is no less accounted for.
            assert_eq!(told.iter().sum::<u64>(), feed.sent(), "{sink}-{name}: {told:?}");
        }
        assert!(matches!(kind, Kind::Records(_)) || model.late > BEHIND, "{name}: {} late", model.late);
    }
    println!("{} records in {windows} windows of {} kinds, {} crashes", feed.sent(), all.each().count(), crashes + 1);
}
