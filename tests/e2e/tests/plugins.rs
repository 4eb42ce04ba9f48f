//! Real plugins in the real binary: windows of a stateful one through rotations, kills and a sink that lags; swaps of it by SIGHUP,
//! good and refused ones; and one that misbehaves beside a source that it must not disturb.
#![allow(clippy::unwrap_used)]

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use sawlog_e2e::agent::{Agent, ask, verb};
use sawlog_e2e::cell::{compare, reload};
use sawlog_e2e::draw::Draw;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::{self, Ledger, REFUSED, troubles};
use sawlog_e2e::{read, service};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);
const SECOND: u64 = 1_000_000_000;
/// Event time of the first record, seconds since 1970; a window begins there.
const BEGIN: u64 = 1_700_000_000;
const WINDOW_SECS: u64 = 10;
const LEVELS: [&str; 3] = ["info", "warn", "error"];

fn second_of(number: u64) -> u64 {
    BEGIN + number / 7
}

fn level_of(number: u64) -> &'static str {
    LEVELS[(number % 11 % 3) as usize]
}

fn line(number: u64) -> String {
    format!("{{\"seq\":{number},\"at\":{},\"level\":\"{}\"}}", second_of(number), level_of(number))
}

/// Start of a window in seconds, and key: how many records.
type Windows = BTreeMap<(u64, String), u64>;

/// The windows of the records 0..sent, by an arithmetic of its own.
fn windows_of(sent: u64) -> Windows {
    let mut windows = Windows::new();
    for number in 0..sent {
        let start = second_of(number) / WINDOW_SECS * WINDOW_SECS;
        *windows.entry((start, level_of(number).to_owned())).or_default() += 1;
    }
    windows
}

/// One agent whose `app` goes through the plugin that a test names.
struct Counting {
    folder: tempfile::TempDir,
    feed: Feed,
}

impl Counting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        let feed = Feed::of(&folder.path().join("logs/app.log"), line);
        Self { folder, feed }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Windows are flushed when the source has been idle for so long.
    fn write(&self, plugin: &str, config: &str, idle: &str) {
        let text = format!(
            "version: 1\nagent: {{ id: counting }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             plugins:\n  counted: {{ source: \"file:{plugin}\", allow: [state, timers], config: {config} }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*], idle_timeout: {idle} }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json], timestamp: {{ field: at, format: unix }} }}\n  \
             counted: {{ type: wasm, inputs: [parsed], chain: [counted] }}\n\
             sinks:\n  first: {{ type: file, inputs: [counted.OUTPUT], path: ./first/out.jsonl, batch: {{ age: 100ms }} }}\n  \
             second: {{ type: file, inputs: [counted.OUTPUT], path: ./second/out.jsonl, batch: {{ age: 100ms }} }}\n"
        );
        let output = if plugin.ends_with("/aggregate.wasm") { "metrics" } else { "windows" };
        std::fs::write(self.path().join("sawlog.yaml"), text.replace("OUTPUT", output)).unwrap();
    }

    /// The rows of a sink.
    fn rows(&self, sink: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path().join(sink).join("out.jsonl")).unwrap_or_default();
        // The last line may be half written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .collect()
    }

    /// Records that the windows of a sink have counted.
    fn counted(&self, sink: &str) -> u64 {
        self.rows(sink).iter().map(count).sum()
    }
}

fn count(row: &Value) -> u64 {
    row["count"].as_u64().unwrap_or(0)
}

/// Windows as a sink has them, and whether one is there twice.
fn windows(rows: &[Value]) -> Result<Windows> {
    let mut found = Windows::new();
    for row in rows {
        let start = row["window_start"].as_u64().with_context(|| format!("no window: {row}"))? / SECOND;
        let key = row["key"].as_str().or(row["level"].as_str()).with_context(|| format!("no key: {row}"))?;
        ensure!(found.insert((start, key.to_owned()), count(row)).is_none(), "a window twice: {row}");
    }
    Ok(found)
}

fn component(name: &str) -> Option<String> {
    let plugins = service("plugins in the binary", "SAWLOG_TEST_PLUGINS")?;
    Some(format!("{plugins}/{name}.wasm"))
}

const COUNT: &str = "{ key: level, window_seconds: 10, absorb: true }";

#[test]
fn windows_are_exact_through_rotations_kills_and_a_sink_that_lags() {
    let Some(plugin) = component("count-window") else { return };
    let mut counting = Counting::new();
    let mut draw = Draw::fresh().unwrap();
    counting.write(&plugin, COUNT, "1h");
    // What lies there is in the way of the second sink.
    std::fs::write(counting.path().join("second"), "in the way").unwrap();
    let mut agent = Agent::start(counting.path()).unwrap();
    for round in 0..5 {
        counting.feed.send(400 + draw.below(900)).unwrap();
        std::thread::sleep(draw.time(Duration::from_millis(500)));
        agent.kill_and_start(counting.path()).unwrap();
        if round == 2 {
            std::fs::remove_file(counting.path().join("second")).unwrap();
        }
        if round == 3 {
            // Another configuration of the same plugin takes its state over.
            counting.feed.send(300).unwrap();
            counting.write(&plugin, "{ key: level, window_seconds: 10, absorb: true, keys_max: 500 }", "1h");
            reload(&mut agent, counting.path()).unwrap();
        }
    }
    counting.feed.send(500).unwrap();
    let expected = windows_of(counting.feed.sent());
    // The last windows are open: nothing moves the watermark past their end, until an idle source wakes the plugin.
    let last = expected.keys().map(|(start, _)| *start).max().unwrap();
    let closed: u64 = expected.iter().filter(|((start, _), _)| *start < last).map(|(_, count)| count).sum();
    let is_there = |wanted: u64| Ok(["first", "second"].iter().all(|sink| counting.counted(sink) >= wanted));
    agent.wait_until("the closed windows", WAIT_MAX, || is_there(closed)).unwrap();
    assert_eq!(counting.counted("first"), closed, "windows that are open are not given out");
    agent.kill().unwrap();
    counting.write(&plugin, "{ key: level, window_seconds: 10, absorb: true, keys_max: 500 }", "300ms");
    let mut agent = Agent::start(counting.path()).unwrap();
    agent.wait_until("the last windows", WAIT_MAX, || is_there(counting.feed.sent())).unwrap();
    agent.terminate().unwrap();
    let (first, second) = (windows(&counting.rows("first")).unwrap(), windows(&counting.rows("second")).unwrap());
    assert_eq!(first, expected);
    assert_eq!(second, expected);
    let ledger = Ledger::of(counting.path()).unwrap();
    for sink in ["first", "second"] {
        let told = ["delivered", "absorbed"].map(|outcome| ledger.count(sink, "app", outcome));
        assert_eq!(told.iter().sum::<u64>(), counting.feed.sent(), "{sink}: {told:?}");
    }
    println!("{} records in {} windows, 6 kills", counting.feed.sent(), expected.len());
}

fn wait_for_lanes(agent: &mut Agent, wanted: f64) {
    let deadline = Instant::now() + WAIT_MAX;
    while told::metric(&agent.metrics().unwrap(), r#"sawlog_lanes{source="app",state="frontier"}"#) != Some(wanted) {
        agent.check().unwrap();
        assert!(Instant::now() < deadline, "not {wanted} lanes within {WAIT_MAX:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The lane of a partition goes once its state is saved, and the plugin's instance with it: memory is not kept for input that rests.
/// What comes next goes on from the saved state.
#[test]
fn an_idle_partition_lets_its_instance_go_and_goes_on_from_the_saved_state() {
    let Some(plugin) = component("dedupe") else { return };
    let mut counting = Counting::new();
    let text = format!(
        "version: 1\nagent: {{ id: resting }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         plugins:\n  once: {{ source: \"file:{plugin}\", allow: [state], config: {{ fields: [level], window_seconds: 3600 }} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json], timestamp: {{ field: at, format: unix }} }}\n  \
         once: {{ type: wasm, inputs: [parsed], chain: [once] }}\n\
         sinks:\n  first: {{ type: file, inputs: [once], path: ./first/out.jsonl }}\n"
    );
    std::fs::write(counting.path().join("sawlog.yaml"), text).unwrap();
    let mut agent = Agent::start_answering(counting.path()).unwrap();
    counting.feed.send(105).unwrap();
    wait_for_lanes(&mut agent, 1.0);
    wait_for_lanes(&mut agent, 0.0);
    counting.feed.send(20).unwrap();
    let folder = counting.path().to_owned();
    let wanted = counting.feed.sent() - LEVELS.len() as u64;
    let is_dropped = || Ok(Ledger::of(&folder)?.count("first", "app", "dropped") == wanted);
    agent.wait_until("duplicates", WAIT_MAX, is_dropped).unwrap();
    agent.terminate().unwrap();
    assert_eq!(counting.rows("first").len(), LEVELS.len(), "each level once, also behind the rest");
}

/// The agent refuses this plugin, says `words`, and goes on with the one it has.
fn refused(counting: &Counting, agent: &mut Agent, plugin: &str, config: &str, words: &str) {
    let before = agent.log().matches(REFUSED).count();
    counting.write(plugin, config, "1h");
    agent.signal(Signal::HUP).unwrap();
    let log = agent.log_path();
    let said = || Ok(std::fs::read_to_string(&log)?.matches(REFUSED).count() > before);
    agent.wait_until("it refuses", WAIT_MAX, said).unwrap();
    let told = troubles(counting.path()).unwrap();
    assert!(told.contains("reload_refused") && told.contains(words), "{words}: {told}");
}

#[test]
fn a_stateful_plugin_is_swapped_or_goes_on_and_counts_every_record_once() {
    let (Some(plugin), Some(other)) = (component("count-window"), component("aggregate")) else { return };
    let Some(hostile) = component("hostile") else { return };
    let mut counting = Counting::new();
    let at = |name: &str| -> PathBuf { counting.folder.path().join(name) };
    std::fs::write(at("text.wasm"), "no module at all").unwrap();
    // A component that exports nothing.
    std::fs::write(at("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let (text, empty) = (at("text.wasm").display().to_string(), at("empty.wasm").display().to_string());
    counting.write(&plugin, COUNT, "1h");
    let mut agent = Agent::start_answering(counting.path()).unwrap();
    counting.feed.send(500).unwrap();
    refused(&counting, &mut agent, &hostile, "{ mode: explode }", "configure");
    counting.feed.send(300).unwrap();
    refused(&counting, &mut agent, &text, COUNT, "no WASM at all");
    refused(&counting, &mut agent, &empty, COUNT, "export");
    counting.feed.send(300).unwrap();
    // Nothing of all this has moved a count.
    let expected = windows_of(counting.feed.sent());
    let last = expected.keys().map(|(start, _)| *start).max().unwrap();
    let closed: u64 = expected.iter().filter(|((start, _), _)| *start < last).map(|(_, count)| count).sum();
    agent.wait_until("the closed windows", WAIT_MAX, || Ok(counting.counted("first") >= closed)).unwrap();
    assert!(windows(&counting.rows("first")).unwrap().iter().all(|(key, count)| expected[key] == *count));

    // Another state-version, which can't read this one's state: what it holds back is given out first, then it begins anew.
    let as_count = "{ by: [level], window_seconds: 10, absorb: true, metrics: [{ kind: count, name: count }] }";
    counting.write(&other, as_count, "300ms");
    let folder = counting.path().to_owned();
    reload(&mut agent, &folder).unwrap();
    assert!(!troubles(&folder).unwrap().contains("reload_refused"), "a good one ends the complaint");
    counting.feed.send(600).unwrap();
    agent.kill_and_start(&folder).unwrap();
    let sent = counting.feed.sent();
    let is_there = || Ok(["first", "second"].iter().all(|sink| counting.counted(sink) >= sent));
    agent.wait_until("every record in a window", WAIT_MAX, is_there).unwrap();
    agent.terminate().unwrap();
    let mut sums = Windows::new();
    for row in counting.rows("first") {
        let ((start, key), count) = windows(std::slice::from_ref(&row)).unwrap().pop_first().unwrap();
        *sums.entry((start, key)).or_default() += count;
    }
    assert_eq!(sums, windows_of(sent), "a window that was cut by the swap is two rows, and their sum is right");
    let sorted = |sink: &str| {
        let mut rows: Vec<String> = counting.rows(sink).iter().map(Value::to_string).collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted("first"), sorted("second"));
}

/// count-window as it was built when its state had another form.
const OLDER: &str = "../../host/chain/tests/data/contract-0.1.0/stateful-transformer/plugin.component";

#[test]
fn a_newer_build_takes_over_the_state_of_an_older_one_and_no_window_is_cut() {
    let Some(newer) = component("count-window") else { return };
    let older = std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join(OLDER)).unwrap();
    let mut counting = Counting::new();
    let folder = counting.path().to_owned();
    counting.write(older.to_str().unwrap(), COUNT, "1h");
    let mut agent = Agent::start_answering(&folder).unwrap();
    counting.feed.send(520).unwrap();
    agent.kill_and_start(&folder).unwrap();
    counting.feed.send(220).unwrap();
    // Windows of three keys are open here.
    counting.write(&newer, COUNT, "1h");
    reload(&mut agent, &folder).unwrap();
    counting.feed.send(300).unwrap();
    agent.kill_and_start(&folder).unwrap();
    counting.feed.send(100).unwrap();
    agent.kill().unwrap();
    counting.write(&newer, COUNT, "300ms");
    let mut agent = Agent::start(&folder).unwrap();
    let is_there = || Ok(["first", "second"].iter().all(|sink| counting.counted(sink) >= counting.feed.sent()));
    agent.wait_until("every record in a window", WAIT_MAX, is_there).unwrap();
    agent.terminate().unwrap();
    let expected = windows_of(counting.feed.sent());
    for sink in ["first", "second"] {
        assert_eq!(windows(&counting.rows(sink)).unwrap(), expected, "{sink}");
    }
}

/// What the fiftieth, and so on, record asks the plugin to do.
const DEEDS: [(u64, &str, &str); 6] = [
    (50, "trap", "trap"),
    (140, "loop", "fuel"),
    (220, "grow", "memory"),
    (310, "bad-utf8", "invalid utf-8"),
    (380, "huge", "2097161 bytes"),
    (450, "reject", "asked"),
];

/// What it says of itself without failing.
const WORDS: [(u64, &str); 2] = [(460, "log-flood"), (470, "series")];

fn deed(number: u64) -> String {
    let words = DEEDS.iter().map(|(at, word, _)| (*at, *word)).chain(WORDS);
    let word = words.into_iter().find(|(at, _)| *at == number).map_or("nothing", |(_, word)| word);
    format!("{{\"seq\":{number},\"do\":\"{word}\"}}")
}

/// What the agent counts of a plugin has values.
fn assert_figures(metrics: &str) {
    for name in ["calls_total", "call_duration_seconds_total", "fuel_total", "memory_bytes"] {
        let figure = told::metric(metrics, &format!("sawlog_plugin_{name}{{plugin=\"hostile\"}}"));
        assert!(figure.is_some_and(|figure| figure > 0.0), "{name}: {metrics}");
    }
    for name in ["plugin_traps_total{plugin=\"hostile\",reason=", "plugin_info{digest="] {
        assert!(metrics.contains(&format!("\nsawlog_{name}")), "{name}: {metrics}");
    }
}

#[test]
fn a_hostile_plugin_costs_its_own_records_and_disturbs_no_other_source() {
    let Some(hostile) = component("hostile") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let config = format!(
        "version: 1\nagent: {{ id: hostile }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         plugins:\n  hostile: {{ source: \"file:{hostile}\", allow: [state, timers], config: {{}}, limits: {{ memory: 16MiB }} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n  calm: {{ type: file, include: [./logs/calm.log], rotated: [./logs/calm.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  abused: {{ type: wasm, inputs: [parsed], chain: [hostile] }}\n  \
         other: {{ type: parse, inputs: [calm], try: [json] }}\n\
         sinks:\n  out: {{ type: file, inputs: [abused], path: ./out/out.jsonl, batch: {{ age: 100ms }} }}\n  \
         undisturbed: {{ type: file, inputs: [other], path: ./calm/out.jsonl, batch: {{ age: 100ms }} }}\n"
    );
    std::fs::write(path.join("sawlog.yaml"), config).unwrap();
    let mut feed = Feed::of(&path.join("logs/app.log"), deed);
    let mut calm = Feed::new(&path.join("logs/calm.log"));
    let mut agent = Agent::start(path).unwrap();
    for (lines, pause) in [(200, 300), (150, 80), (156, 0)] {
        feed.send(lines).unwrap();
        calm.send(lines).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        if pause > 0 {
            agent.kill_and_start(path).unwrap();
        }
    }
    let sent = feed.sent();
    let (bad, good): (Vec<u64>, Vec<u64>) = (0..sent).partition(|n| DEEDS.iter().any(|(at, _, _)| at == n));
    let rows = |name: &str| read::folder(&path.join(name)).unwrap_or_default();
    let counted = |outcome: &str| Ledger::of(path).map_or(0, |ledger| ledger.count("out", "app", outcome));
    let is_there = || Ok(rows("out").len() >= good.len() && counted("dead_lettered") == bad.len() as u64);
    agent.wait_until("every row and letter", WAIT_MAX, is_there).unwrap();
    agent.wait_until("the other source", WAIT_MAX, || Ok(rows("calm").len() as u64 >= sent)).unwrap();
    let listed = || -> Result<Value> {
        Ok(serde_json::from_str(&verb(path, &["dlq", "list", "--format", "json", "--limit", "1000"])?)?)
    };
    let lie_there = || Ok(listed()?["letters"].as_array().is_some_and(|letters| letters.len() >= bad.len()));
    agent.wait_until("every letter lies there", WAIT_MAX, lie_there).unwrap();
    let metrics = agent.metrics().unwrap();
    assert!(metrics.contains("sawlog_plugin_count_total{metric=\"series 7\",plugin=\"hostile\"} 1\n"), "{metrics}");
    assert_eq!(metrics.matches("\nsawlog_plugin_count_total{").count(), 100, "{metrics}");
    let log = agent.log_path();
    let is_told = || Ok(std::fs::read_to_string(&log)?.contains("the plugin said more than is told in a second"));
    agent.wait_until("its lines are told", WAIT_MAX, is_told).unwrap();
    // Those of the batch that was cut come again with it.
    assert!((10..=20).contains(&agent.log().matches("sawlog_plugin: line ").count()), "{}", agent.log_tail());
    assert_figures(&metrics);
    agent.terminate().unwrap();
    let list = listed().unwrap();
    let letters = list["letters"].as_array().unwrap();
    assert_eq!(compare(&rows("out"), &good), (0, 0, 0));
    assert_eq!(compare(&rows("calm"), &(0..sent).collect::<Vec<_>>()), (0, 0, 0));
    control(&Folder(path.join("out"))).unwrap();
    assert_eq!(letters.len(), DEEDS.len(), "{list}");
    for (number, word, reason) in DEEDS {
        // Where the record's line begins; the file was never rotated.
        let position = (0..number).map(|n| deed(n).len() + 1).sum::<usize>().to_string();
        let found: Vec<&Value> = letters.iter().filter(|letter| letter["position"] == *position).collect();
        assert_eq!(found.len(), 1, "{word}: {list}");
        let told = found[0]["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{word}: {told}");
    }
    let ledger = Ledger::of(path).unwrap();
    assert_eq!(ledger.count("out", "app", "delivered"), good.len() as u64);
    assert_eq!(ledger.count("undisturbed", "calm", "delivered"), sent);
}

/// Where a reload changes nothing that output depends on, lanes keep their instances: what those say and count is told, and not what
/// was loaded beside them to find out that nothing changed.
#[test]
fn a_plugin_is_heard_behind_a_reload_that_changes_nothing_of_it() {
    let Some(hostile) = component("hostile") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let write = |age: &str| {
        let config = format!(
            "version: 1\nagent: {{ id: heard }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             plugins:\n  hostile: {{ source: \"file:{hostile}\", allow: [state, timers], config: {{}} }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  loud: {{ type: wasm, inputs: [parsed], chain: [hostile] }}\n\
             sinks:\n  out: {{ type: file, inputs: [loud], path: ./out/out.jsonl, batch: {{ age: {age} }} }}\n"
        );
        std::fs::write(path.join("sawlog.yaml"), config).unwrap();
    };
    let mut feed = Feed::of(&path.join("logs/app.log"), |number| format!("{{\"seq\":{number},\"do\":\"log-flood\"}}"));
    write("100ms");
    let mut agent = Agent::start_answering(path).unwrap();
    let log = agent.log_path();
    let heard = |times| Ok(std::fs::read_to_string(&log)?.matches("sawlog_plugin: line 0").count() == times);
    feed.send(1).unwrap();
    agent.wait_until("it is heard", WAIT_MAX, || heard(1)).unwrap();
    let calls = |agent: &Agent| {
        told::metric(&agent.metrics().unwrap(), "sawlog_plugin_calls_total{plugin=\"hostile\"}").unwrap()
    };
    let before = calls(&agent);
    write("200ms");
    reload(&mut agent, path).unwrap();
    feed.send(1).unwrap();
    agent.wait_until("it is heard behind the reload", WAIT_MAX, || heard(2)).unwrap();
    assert!(calls(&agent) > before, "its calls are counted on");
    agent.terminate().unwrap();
}

/// Only the plugin itself knows which outputs it has: where an input names one, `validate` asks it.
#[test]
fn an_output_that_no_plugin_has_is_refused_before_anything_starts() {
    let Some(plugin) = component("count-window") else { return };
    let counting = Counting::new();
    counting.write(&plugin, COUNT, "1s");
    verb(counting.path(), &["validate"]).unwrap();
    let config = counting.path().join("sawlog.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("counted.windows", "counted.window", 1)).unwrap();
    let said = ask(counting.path(), &["validate"]).unwrap();
    assert!(!said.done, "{}", said.out);
    let line = 1 + text.lines().position(|line| line.contains("counted.windows")).unwrap();
    let place = format!("sawlog.yaml:{line}:");
    for part in ["no plugin of `counted` has an output `window`", &place, "did you mean `windows`"] {
        assert!(said.complaints.contains(part), "`{part}` is not in {}", said.complaints);
    }
}

#[test]
fn a_plugin_that_is_not_deterministic_is_found_out_and_its_documents_are_promised_at_least_once() {
    let Some(plugin) = component("hostile") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let config = format!(
        "version: 1\nagent: {{ id: twice }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         plugins:\n  hostile: {{ source: \"file:{plugin}\", allow: [state, timers], config: {{}} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  tallied: {{ type: wasm, inputs: [parsed], chain: [hostile] }}\n\
         sinks:\n  out: {{ type: file, inputs: [tallied], path: ./out/out.jsonl }}\n  \
         search: {{ type: elasticsearch, inputs: [tallied], endpoints: [\"http://127.0.0.1:9\"], index: logs, all: true }}\n"
    );
    std::fs::write(path.join("sawlog.yaml"), config).unwrap();
    let promise = || {
        let said = verb(path, &["validate"]).unwrap();
        let route = said.lines().skip_while(|line| !line.ends_with("\u{2192} search")).nth(1).map(str::trim);
        route.map(str::to_owned).unwrap_or_default()
    };
    // What it answers depends on how long its instance has lived.
    let mut feed = Feed::of(&path.join("logs/app.log"), |number| format!("{{\"seq\":{number},\"do\":\"tally\"}}"));
    let mut agent = Agent::start_answering(path).unwrap();
    assert!(promise().starts_with("exactly_once"), "{}", promise());
    let is_found = || {
        feed.send(1)?;
        Ok(troubles(path)?.contains("nondeterministic"))
    };
    agent.wait_until("the plugin is found out", WAIT_MAX, is_found).unwrap();
    assert!(promise().starts_with("at_least_once"), "{}", promise());
    let metrics = agent.metrics().unwrap();
    assert!(told::metric(&metrics, "sawlog_plugin_disagreements_total{plugin=\"hostile\"}") >= Some(1.0), "{metrics}");
    let log = agent.log_path();
    let says_so = || Ok(std::fs::read_to_string(&log)?.contains("is not deterministic"));
    agent.wait_until("its log says so", WAIT_MAX, says_so).unwrap();
    agent.kill().unwrap();
}
