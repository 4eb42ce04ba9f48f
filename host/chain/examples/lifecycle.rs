//! What instances cost apart from their calls: a first one, one after a trap, loading from the cache of compiled code, finding one
//! poisonous record among a thousand, how long others wait while ten megabytes of state are saved, and what a call costs in a process of
//! its own beside the same in this one. `cargo xtask bench --only lifecycle` builds and runs it with optimisation; medians of many,
//! with the worst of those that somebody waits for.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[macro_use]
#[path = "../tests/support/crooked.rs"]
mod by_hand;

#[allow(dead_code)]
#[path = "../tests/support/through.rs"]
mod through;

use by_hand::Parts;
use sawlog_chain::apply::{BatchOrigin, Columns};
use sawlog_chain::{
    Allow, BatchView, Engine, EngineLimits, Instance, Isolation, Leniency, Plugin, PluginConfig, PluginLimits, Runner,
    apart, trial,
};
use sawlog_core::ports::{Chain as _, ChainInstance, Context};
use sawlog_record::id::PartitionId;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const COMPONENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/target/components");
/// Times that the quick things are done.
const TIMES: usize = 200;
const ROWS: usize = 1_000;
/// Has this program be the process that plugins run in.
const PROCESS: &str = "plugin-process";
/// Keys of a state of ten megabytes.
const KEYS: usize = 300_000;

/// Ten plugins of an agent that has many.
const TEN: [(&str, &str); 10] = [
    ("level-filter", r#"{"at_least":"info"}"#),
    ("redact", "{}"),
    ("mask-ip", "{}"),
    ("normalise-level", "{}"),
    ("parse-json", "{}"),
    ("parse-logfmt", "{}"),
    ("parse-syslog", "{}"),
    ("parse-time", "{}"),
    ("parse-user-agent", "{}"),
    ("fingerprint", "{}"),
];

/// A stateless plugin that traps at every batch with an exclamation mark in the field `crooked`.
const TRAPS: Parts = Parts {
    module: "",
    configure: one_column!(),
    process: Some(
        "(local $at i32) (local $end i32)
        (local.set $at (i32.load offset=8 (local.get 7)))
        (local.set $end (i32.add (local.get $at) (i32.load offset=12 (local.get 7))))
        (block $done (loop $next
          (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
          (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 33)) (then unreachable))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next)))
        (global.set $next (i32.const 65536))
        (i32.const 4096)",
    ),
    realloc: None,
    state: None,
};

fn bytes(name: &str) -> Option<Vec<u8>> {
    std::fs::read(Path::new(COMPONENTS).join(format!("{name}.wasm"))).ok()
}

fn load(engine: &Engine, bytes: &[u8], config_json: &str) -> Plugin {
    load_into(engine, bytes, config_json, Isolation::None)
}

fn load_into(engine: &Engine, bytes: &[u8], config_json: &str, isolation: Isolation) -> Plugin {
    let allow = Allow { state: true, timers: true, kernels: true };
    let limits = PluginLimits { memory_bytes_max: 128 << 20, fuel_per_record: 1 << 33, ..PluginLimits::default() };
    let config_json = config_json.to_owned();
    engine.load("it", bytes, PluginConfig { config_json, allow, limits, isolation, ..Default::default() }).unwrap()
}

fn engine(cache: &Path) -> Engine {
    Engine::new(EngineLimits::default(), Some(cache.to_owned())).unwrap()
}

/// Median and worst of what `work` says it took.
fn times(count: usize, mut work: impl FnMut() -> Duration) -> (Duration, Duration) {
    let mut all: Vec<Duration> = (0..count).map(|_| work()).collect();
    all.sort();
    (all[count / 2], all[count - 1])
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn row(what: &str, (median, worst): (Duration, Duration), aim: &str) {
    println!("| {what} | {median:.1?} | {worst:.1?} | {aim} |");
}

fn view(plugin: &Plugin, lines: &[String]) -> Arc<BatchView> {
    let batch = trial::read(&lines.join("\n")).unwrap();
    let origin = BatchOrigin { input: "in", source: "s", time: 7, watermark: plugin.stateful().then_some(i64::MIN) };
    Arc::new(Columns::of(plugin).view(&batch, origin).unwrap())
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == PROCESS) {
        return apart::serve();
    }
    let folder = tempfile::tempdir().unwrap();
    let cache: PathBuf = folder.path().join("code");
    println!("| what | median | worst | aim |\n|---|---|---|---|");
    start(&cache);
    let engine = engine(&cache);
    instances(&engine);
    traps(&engine);
    poison(&engine);
    state(&engine);
    processes(&engine.runs_apart(apart::Program::this(&[PROCESS])));
    ExitCode::SUCCESS
}

/// Loading from the cache, each plugin by itself and ten in an engine that just started.
fn start(cache: &Path) {
    let ten = TEN.map(|(name, config)| (bytes(name).expect("cargo xtask plugins build"), config));
    let warm = engine(cache);
    ten.iter().for_each(|(bytes, config)| drop(load(&warm, bytes, config)));
    let one = times(TIMES, || timed(|| black_box(load(&warm, &ten[0].0, ten[0].1))).0);
    row("load level-filter from the cache", one, "1 ms");
    for name in ["tidy/go", "tidy/javascript"] {
        let config = r#"{"at_least":"warn","fields":["body"],"add":{"name":"a","text":"b"}}"#;
        let Some(bytes) = bytes(name) else { continue };
        drop(load(&warm, &bytes, config));
        row(&format!("load {name} from the cache"), times(10, || timed(|| load(&warm, &bytes, config)).0), "–");
    }
    drop(warm);
    let all = times(20, || {
        let (took, plugins) = timed(|| {
            let engine = engine(cache);
            ten.iter().map(|(bytes, config)| load(&engine, bytes, config)).collect::<Vec<_>>()
        });
        drop(plugins);
        took
    });
    row("an engine, and ten plugins from the cache", all, "50 ms");
}

fn instances(engine: &Engine) {
    let names = [("level-filter", r#"{"at_least":"info"}"#), ("hostile", "{}")];
    for (name, config) in names {
        let plugin = load(engine, &bytes(name).unwrap(), config);
        row(&format!("an instance of {name}"), times(TIMES, || timed(|| plugin.instance().unwrap()).0), "30 µs");
    }
    let config = r#"{"at_least":"warn","fields":["body"],"add":{"name":"a","text":"b"}}"#;
    for name in ["tidy/go", "tidy/javascript"] {
        let Some(bytes) = bytes(name) else { continue };
        let plugin = load(engine, &bytes, config);
        row(&format!("an instance of {name}"), times(20, || timed(|| plugin.instance().unwrap()).0), "–");
    }
}

fn said(word: &str, at: usize) -> Vec<String> {
    let say = |row| if row == at { word } else { "good" };
    (0..ROWS).map(|row| format!(r#"{{"do":"{0}","crooked":"{0}"}}"#, say(row))).collect()
}

/// From the call that traps to another instance that is ready.
fn traps(engine: &Engine) {
    let trapped = |plugin: &Plugin, view: &Arc<BatchView>, mut instance: Instance| {
        let (took, next) = timed(|| {
            assert!(instance.process(view).is_err());
            drop(instance);
            plugin.instance().unwrap()
        });
        (took, next)
    };
    let plugin = load(engine, &by_hand::component(TRAPS), "{}");
    let bad = view(&plugin, &said("bad!", 0)[..1]);
    row(
        "a trap, and the next instance",
        times(TIMES, || trapped(&plugin, &bad, plugin.instance().unwrap()).0),
        "200 µs",
    );
    let plugin = load(engine, &bytes("hostile").unwrap(), "{}");
    let bad = view(&plugin, &said("trap", 0)[..1]);
    let rust = times(TIMES, || trapped(&plugin, &bad, plugin.instance().unwrap()).0);
    row("the same by a panic in Rust", rust, "200 µs");
    let good = view(&plugin, &said("good", 0));
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    runner.process_isolating(Arc::clone(&good), &[]).unwrap();
    runner.snapshot().unwrap().unwrap();
    let restored = times(TIMES, || {
        // A batch since the snapshot, which is run again.
        runner.process_isolating(Arc::clone(&good), &[]).unwrap();
        let took = timed(|| {
            assert_eq!(runner.process_isolating(Arc::clone(&bad), &[]).unwrap().poison.len(), 1);
            while !runner.rise().unwrap() {}
        });
        runner.snapshot().unwrap().unwrap();
        took.0
    });
    row("the same with state: restored, and 1,000 records run again", restored, "–");
}

/// A batch of a thousand records of which one traps: with its verdict, and all others done.
fn poison(engine: &Engine) {
    let cases = [
        ("no state", load(engine, &by_hand::component(TRAPS), "{}"), "bad!"),
        ("a panic in Rust, with state", load(engine, &bytes("hostile").unwrap(), "{}"), "trap"),
    ];
    for (what, plugin, word) in cases {
        let views: Vec<_> = [0, 617, 999].map(|at| view(&plugin, &said(word, at))).to_vec();
        let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
        let mut next = 0;
        let found = times(TIMES, || {
            next += 1;
            let view = Arc::clone(&views[next % views.len()]);
            let (took, outcome) = timed(|| runner.process_isolating(view, &[]).unwrap());
            assert_eq!(outcome.poison.len(), 1);
            took
        });
        row(&format!("one poisonous record among 1,000 found: {what}"), found, "5 ms");
    }
}

/// How long another task of the only worker waits while a large state is saved, and while it is restored.
fn state(engine: &Engine) {
    let config = r#"{"fields":["key"],"window_seconds":3600,"keys_max":1000000}"#;
    let plugin = load(engine, &bytes("dedupe").unwrap(), config);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let chain = through::chain(&plugin);
    let fresh = || chain.instance(PartitionId::derive("state", &[]));
    runtime.block_on(async {
        let mut instance = fresh();
        fill(&mut *instance).await;
        let mut waits = Vec::new();
        let mut bytes = 0;
        for _ in 0..5 {
            let ((waited, took), states) = beside_another(instance.snapshot()).await;
            bytes = states.unwrap().values().map(Vec::len).sum();
            waits.push((waited, took));
        }
        waits.sort();
        println!("| state saved, bytes | {bytes} | – | 10 MB |");
        row("saving it: others wait", (waits[2].0, waits[4].0), "20 ms");
        let took: Vec<_> = waits.iter().map(|(_, took)| *took).collect();
        row("saving it takes", (took[2], *took.iter().max().unwrap()), "–");
        let states = instance.snapshot().await.unwrap();
        let mut waits = Vec::new();
        for _ in 0..5 {
            let mut other = fresh();
            let ((waited, _), done) = beside_another(other.restore(states.clone())).await;
            done.unwrap();
            waits.push(waited);
        }
        waits.sort();
        row("restoring it: others wait", (waits[2], waits[4]), "20 ms");
    });
}

/// The same calls here and in a process of its own; and what a process costs that is started, and one that is lost.
fn processes(engine: &Engine) {
    let line = |row: usize| {
        let level = ["debug", "info", "warn"][row % 3];
        let body = format!("{row} {} n{row}@example.org", "connection of a client was closed by its peer".repeat(5));
        format!(r#"{{"level":"{level}","body":"{body}","inner":"{{\"a\":{row},\"b\":[1,2,3]}}"}}"#)
    };
    let lines: Vec<String> = (0..ROWS).map(line).collect();
    let few = [
        ("level-filter", r#"{"at_least":"info"}"#),
        ("redact", r#"{"fields":["body"]}"#),
        ("parse-json", r#"{"field":"inner"}"#),
    ];
    for (name, config) in few {
        let bytes = bytes(name).unwrap();
        for (place, isolation) in [("", Isolation::None), (", in a process of its own", Isolation::Process)] {
            let plugin = load_into(engine, &bytes, config, isolation);
            let (view, mut instance) = (view(&plugin, &lines), plugin.instance().unwrap());
            let call = times(TIMES, || timed(|| black_box(instance.process(&view).unwrap())).0);
            row(&format!("{ROWS} records through {name}{place}"), call, "–");
        }
    }
    let (name, config) = few[0];
    let bytes = bytes(name).unwrap();
    let loaded = times(20, || timed(|| load_into(engine, &bytes, config, Isolation::Process)).0);
    row("load level-filter from the cache, into a process", loaded, "–");
    let plugin = load_into(engine, &bytes, config, Isolation::Process);
    let _first: Vec<_> = (0..8).map(|_| plugin.instance().unwrap()).collect();
    row("an instance of it", times(TIMES, || timed(|| plugin.instance().unwrap()).0), "–");
    let view = view(&plugin, &lines);
    let plugin = load_into(engine, &bytes, config, Isolation::Process);
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    let lost = times(20, || {
        runner.process_isolating(Arc::clone(&view), &[]).unwrap();
        for pid in plugin.process_ids() {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        timed(|| runner.process_isolating(Arc::clone(&view), &[]).unwrap()).0
    });
    row("1,000 records through it whose process was killed before", lost, "–");
}

/// Has the instance see so many keys.
async fn fill(instance: &mut dyn ChainInstance) {
    let partition = PartitionId::derive("state", &[]);
    let context = Context { partition, time: 1, poison: Vec::new(), first_run: true, generous: false };
    for from in (0..KEYS).step_by(4_000) {
        let lines: Vec<String> = (from..from + 4_000).map(|n| format!(r#"{{"key":"{n}"}}"#)).collect();
        instance.apply(through::input(from as u64, &lines), &context).await.unwrap();
    }
}

/// Does `work` beside another task that wants its turn all the time: the longest that this one waited, and how long the work took.
async fn beside_another<T>(work: impl Future<Output = T>) -> ((Duration, Duration), T) {
    let ended = Arc::new(AtomicBool::new(false));
    let until = ended.clone();
    let another = tokio::spawn(async move {
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        while !until.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    let done = work.await;
    let took = began.elapsed();
    ended.store(true, Ordering::Relaxed);
    ((another.await.unwrap(), took), done)
}
