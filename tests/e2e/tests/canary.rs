//! A component that takes a share of a plugin's records in earnest, on the real binary, under load and kills: every row is there once, in
//! order, made by one of the two, at a sink that lags by the same one; what it alone fails on the plugin's own component makes, and it is
//! returned from by itself. A plugin with state hands its state over and back.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, ask, verb};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::service;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
/// Rows by the candidate before its share is counted.
const COUNTED: usize = 500;
/// A note on which `redact` takes more fuel than it may have, and at which `normalise-level` does not look.
const LONG: &str = "a@b.example ";
const LONG_TIMES: usize = 3_000;
/// Whether lines with such notes are written: one of so many.
static HARD: AtomicBool = AtomicBool::new(false);
const HARD_EVERY: u64 = 10;

/// Which component made a row: each leaves a mark of its own, and takes the config that suits the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// `normalise-level`, the plugin's own: the level is in small letters, the note as it was written.
    Own,
    /// `redact`, the candidate: the other way round.
    Candidate,
}

fn line(number: u64) -> String {
    with_note(number, 1)
}

fn line_at_times_hard(number: u64) -> String {
    let is_hard = HARD.load(Ordering::Relaxed) && number.is_multiple_of(HARD_EVERY);
    with_note(number, if is_hard { LONG_TIMES } else { 1 })
}

fn with_note(number: u64, times: usize) -> String {
    let note = LONG.repeat(times);
    format!("{{\"seq\":{number},\"level\":\"WARN\",\"note\":\"{note}\"}}")
}

fn rows(path: &Path) -> Vec<(u64, Made)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let made = match (row["level"].as_str().unwrap(), row["note"].as_str().unwrap()) {
            ("warn", note) if note.starts_with(LONG) => Made::Own,
            ("WARN", "[email] ") => Made::Candidate,
            _ => panic!("no component made this row alone: {}", &line[..line.len().min(200)]),
        };
        (row["seq"].as_u64().unwrap(), made)
    };
    whole.lines().map(row).collect()
}

/// Waits until there are so many rows, and has each of `0..sent` there once, in order.
fn whole(agent: &mut Agent, path: &Path, sent: u64) -> Vec<(u64, Made)> {
    agent.wait_until("all rows", WAIT_MAX, || Ok(rows(path).len() as u64 >= sent)).unwrap();
    let rows = rows(path);
    let numbers: Vec<u64> = rows.iter().map(|(n, _)| *n).collect();
    let differs = numbers.iter().zip(0..).find(|(found, wanted)| **found != *wanted);
    assert!(
        differs.is_none() && numbers.len() as u64 == sent,
        "lost, duplicated or out of order in {}: {} rows, of {sent} sent; the first other one, and what is there: {differs:?}",
        path.display(),
        numbers.len()
    );
    rows
}

/// An agent's folder: two sinks behind the plugin `mark`, one of which can't write before it is cleared.
struct Place(tempfile::TempDir, PathBuf);

impl Place {
    fn new(plugins: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap(), PathBuf::from(plugins));
        std::fs::create_dir(place.path("logs")).unwrap();
        std::fs::create_dir_all(place.path("late.jsonl/stays")).unwrap();
        std::fs::write(place.path("mark.wasm"), place.component("normalise-level")).unwrap();
        std::fs::write(place.path("next.wasm"), place.component("redact")).unwrap();
        let text = "version: 1\nagent: { id: e2e }\ndata_dir: ./data\ncheckpoint: { interval: 1s }\ndead_letter: letters\napi: { listen: \"127.0.0.1:0\" }\n\
             plugins:\n  mark: { source: \"file:./mark.wasm\", config: { fields: [level, note] }, limits: { fuel: 400k } }\n\
             sources:\n  app: { type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }\n\
             transforms:\n  parsed: { type: parse, inputs: [app], try: [json] }\n  marked: { type: wasm, inputs: [parsed], chain: [mark] }\n\
             sinks:\n  out: { type: file, inputs: [marked], path: ./out.jsonl, batch: { age: 100ms } }\n  \
             late: { type: file, inputs: [marked], path: ./late.jsonl, batch: { age: 100ms }, retry: { initial: 50ms, max: 200ms } }\n  \
             letters: { type: file, path: ./letters.jsonl, batch: { age: 50ms } }\n";
        std::fs::write(place.path("sawlog.yaml"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn component(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.1.join(format!("{name}.wasm"))).unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&verb(self.folder(), &["status", "--format", "json"]).unwrap()).unwrap()
    }

    /// What takes a share of the plugin's records, as `status` has it; `validate` names the same.
    fn canary(&self) -> Value {
        let found = self.status()["canaries"]["mark"].clone();
        let said = verb(self.folder(), &["validate"]).unwrap();
        let is_there = said.contains("takes 20 % of its records");
        assert_eq!(is_there, found["digest"].is_string() && found["ended"].is_null(), "{found} {said}");
        found
    }

    fn swap(&self, more: &[&str]) -> String {
        let path = self.path("next.wasm");
        verb(self.folder(), &[&["plugin", "swap", "mark", path.to_str().unwrap()], more].concat()).unwrap()
    }
}

/// Writes lines until it is told to stop.
struct Load(std::thread::JoinHandle<()>, Arc<AtomicBool>, Arc<AtomicU64>);

impl Load {
    fn begin(place: &Place) -> Self {
        let (stop, sent): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (stopped, sending) = (stop.clone(), sent.clone());
        let mut feed = Feed::of(&place.path("logs/app.log"), line_at_times_hard);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                feed.send(25).unwrap();
                sending.store(feed.sent(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self(thread, stop, sent)
    }

    fn sent(&self) -> u64 {
        self.2.load(Ordering::Relaxed)
    }

    fn end(self) -> u64 {
        self.1.store(true, Ordering::Relaxed);
        self.0.join().unwrap();
        self.2.load(Ordering::Relaxed)
    }
}

fn by_candidate(rows: &[(u64, Made)]) -> usize {
    rows.iter().filter(|(_, made)| *made == Made::Candidate).count()
}

#[test]
fn it_takes_its_share_through_kills_and_is_returned_from_when_it_fails() {
    let Some(plugins) = service("a canary", "SAWLOG_TEST_PLUGINS") else { return };
    let place = Place::new(&plugins);
    let out = place.path("out.jsonl");
    let mut agent = Agent::start_answering(place.folder()).unwrap();
    let load = Load::begin(&place);
    agent.wait_until("rows", WAIT_MAX, || Ok(rows(&out).len() > 200)).unwrap();
    assert!(place.canary().is_null());

    assert!(place.swap(&["--canary", "20%"]).contains("takes 20"));
    for part in 1..=4 {
        agent
            .wait_until("rows of the candidate", WAIT_MAX, || Ok(by_candidate(&rows(&out)) > COUNTED * part / 4))
            .unwrap();
        agent.kill_now().unwrap();
        assert!(place.canary()["digest"].is_string(), "the directory says it too");
        agent = Agent::start_answering(place.folder()).unwrap();
    }
    let metrics = agent.metrics().unwrap();
    for name in ["calls_total{plugin=\"mark@canary\"", "canary_share{plugin=\"mark\"} 0.2"] {
        assert!(metrics.contains(&format!("sawlog_plugin_{name}")), "{name}: {metrics}");
    }

    HARD.store(true, Ordering::Relaxed);
    agent.wait_until("a return", WAIT_MAX, || Ok(place.status()["canaries"]["mark"]["ended"].is_string())).unwrap();
    let (found, returned_at) = (place.canary(), load.sent());
    assert!(found["ended"].as_str().unwrap().contains("more than 1 %"), "{found}");
    assert!(verb(place.folder(), &["status"]).unwrap().contains("returned from: it fails on"));
    agent.wait_until("rows behind it", WAIT_MAX, || Ok(rows(&out).len() as u64 > returned_at + 200)).unwrap();
    agent.kill_now().unwrap();
    assert!(place.canary().is_null());
    agent = Agent::start_answering(place.folder()).unwrap();
    let sent = load.end();

    std::fs::remove_dir_all(place.path("late.jsonl")).unwrap();
    let made = whole(&mut agent, &out, sent);
    assert!(made == whole(&mut agent, &place.path("late.jsonl"), sent), "the sink that lags has rows by others");
    agent.terminate().unwrap();
    let first = made.iter().position(|(_, made)| *made == Made::Candidate).unwrap();
    let last = made.iter().rposition(|(_, made)| *made == Made::Candidate).unwrap();
    assert!((last as u64) < returned_at, "the candidate made row {last}, sent after the return at {returned_at}");
    let its = by_candidate(&made) as f64 / (last + 1 - first) as f64;
    assert!((0.15..0.25).contains(&its), "{its} of the rows");
    assert_eq!(std::fs::read_to_string(place.path("letters.jsonl")).unwrap_or_default(), "");
    println!(
        "{sent} records, {:.1} % of {} through a candidate, 5 kills, a return: lost 0, duplicated 0, dead letters 0, at both sinks the same",
        its * 100.0,
        last + 1 - first
    );
}

#[test]
fn it_ends_by_hand_by_a_swap_and_with_the_overrides_and_what_is_unfit_is_refused() {
    let Some(plugins) = service("the ends of a canary", "SAWLOG_TEST_PLUGINS") else { return };
    let place = Place::new(&plugins);
    std::fs::remove_dir_all(place.path("late.jsonl")).unwrap();
    let mut feed = Feed::of(&place.path("logs/app.log"), line);
    let mut agent = Agent::start_answering(place.folder()).unwrap();
    let out = place.path("out.jsonl");
    // How many of 100 more rows the candidate makes.
    let mut more = |agent: &mut Agent| {
        feed.send(100).unwrap();
        let all = whole(agent, &out, feed.sent());
        by_candidate(&all[all.len() - 100..])
    };
    let ended = |place: &Place| verb(place.folder(), &["plugin", "end-trial", "mark"]).unwrap();
    assert_eq!(more(&mut agent), 0);
    place.swap(&["--canary", "100"]);
    assert!(place.swap(&["--canary", "100%"]).contains("already"));
    assert_eq!(more(&mut agent), 100);
    verb(place.folder(), &["reload"]).unwrap();
    assert_eq!(more(&mut agent), 100, "a reload keeps it");
    assert!(ended(&place).contains("takes no records of mark any more"));
    assert_eq!(more(&mut agent), 0);
    place.swap(&["--canary", "50"]);
    verb(place.folder(), &["reload", "--discard-overrides"]).unwrap();
    assert_eq!(more(&mut agent), 0);
    place.swap(&["--shadow"]);
    assert!(ended(&place).contains("runs beside mark no more") && ended(&place).contains("nothing was changed"));
    place.swap(&["--canary", "50"]);
    assert!((20..80).contains(&more(&mut agent)));
    place.swap(&[]);
    assert!(place.status()["canaries"]["mark"].is_null(), "it has all records now");
    assert_eq!(more(&mut agent), 100);
    let next = place.path("next.wasm");
    for (component, options, word) in [
        ("redact", &["--canary", "0"][..], "more than 0"),
        ("redact", &["--canary", "101"], "from 0 to 100"),
        ("redact", &["--canary", "5", "--failing-max", "-1"], "from 0 to 100"),
        ("level-filter", &["--canary", "5"], "the plugin `mark` refuses this"),
        ("dedupe", &["--canary", "5"], "add `state` to its `allow`"),
    ] {
        std::fs::write(&next, place.component(component)).unwrap();
        let options: Vec<String> =
            options.windows(2).step_by(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
        let mut arguments = vec!["plugin", "swap", "mark", next.to_str().unwrap()];
        arguments.extend(options.iter().map(String::as_str));
        let said = ask(place.folder(), &arguments).unwrap();
        assert!(!said.done && said.complaints.contains(word), "{arguments:?}: {}", said.complaints);
    }
    assert_eq!(more(&mut agent), 100);
    agent.terminate().unwrap();
}

const PARTITIONS: u64 = 16;

#[test]
fn a_plugin_with_state_hands_it_over_partition_by_partition_and_takes_it_back() {
    let Some(plugins) = service("a canary with state", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (folder, plugins) = (folder.path(), PathBuf::from(plugins));
    std::fs::create_dir(folder.join("logs")).unwrap();
    let mut component = std::fs::read(plugins.join("dedupe.wasm")).unwrap();
    std::fs::write(folder.join("once.wasm"), &component).unwrap();
    component.extend([0, 3, 2, b'v', b'2']);
    std::fs::write(folder.join("next.wasm"), &component).unwrap();
    let text = "version: 1\nagent: { id: e2e }\ndata_dir: ./data\ncheckpoint: { interval: 1s }\napi: { listen: \"127.0.0.1:0\" }\n\
         plugins:\n  once: { source: \"file:./once.wasm\", config: { fields: [file, seq], window_seconds: 80000 }, allow: [state] }\n\
         sources:\n  app: { type: file, include: [./logs/*.log] }\n\
         transforms:\n  parsed: { type: parse, inputs: [app], try: [json] }\n  firsts: { type: wasm, inputs: [parsed], chain: [once] }\n\
         sinks:\n  out: { type: file, inputs: [firsts], path: ./out.jsonl, batch: { age: 50ms } }\n";
    std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
    let mut agent = Agent::start_answering(folder).unwrap();
    // The lines of the round before again, and ten new ones, in each file.
    let send = |round: u64| {
        for file in 0..PARTITIONS {
            let path = folder.join(format!("logs/{file}.log"));
            let mut log = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            let lines = round.saturating_sub(1) * 10..round * 10 + 10;
            let text: String = lines.map(|seq| format!("{{\"file\":{file},\"seq\":{seq}}}\n")).collect();
            log.write_all(text.as_bytes()).unwrap();
        }
    };
    let out = || {
        let text = std::fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut seen = BTreeMap::<u64, Vec<u64>>::new();
        for line in whole.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            seen.entry(row["file"].as_u64().unwrap()).or_default().push(row["seq"].as_u64().unwrap());
        }
        seen
    };
    let wait = |agent: &mut Agent, rounds: u64| {
        let there = || out().values().map(Vec::len).sum::<usize>() as u64;
        agent.wait_until("rows", WAIT_MAX, || Ok(there() >= PARTITIONS * rounds * 10)).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let seen = out();
        assert!(seen.values().all(|seqs| seqs.iter().copied().eq(0..rounds * 10)), "after {rounds} rounds: {seen:?}");
    };
    let status = || -> Value { serde_json::from_str(&verb(folder, &["status", "--format", "json"]).unwrap()).unwrap() };
    send(0);
    wait(&mut agent, 1);
    let next = folder.join("next.wasm");
    verb(folder, &["plugin", "swap", "once", next.to_str().unwrap(), "--canary", "50%"]).unwrap();
    send(1);
    wait(&mut agent, 2);
    let found = status()["canaries"]["once"].clone();
    let (own, its) = (found["own"].as_u64().unwrap(), found["records"].as_u64().unwrap());
    assert!(own + its == PARTITIONS * 20 && own % 20 == 0 && own > 0 && its > 0, "by whole partitions: {found}");
    agent.kill_and_start(folder).unwrap();
    send(2);
    wait(&mut agent, 3);
    verb(folder, &["plugin", "end-trial", "once"]).unwrap();
    send(3);
    wait(&mut agent, 4);
    agent.kill_and_start(folder).unwrap();
    send(4);
    wait(&mut agent, 5);
    agent.terminate().unwrap();
    println!(
        "{PARTITIONS} partitions, {} of them through a candidate with state: nothing forgotten, nothing repeated",
        its / 20
    );
}
