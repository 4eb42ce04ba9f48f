//! Plugins in processes of their own do what they do in the agent's, to the byte; the end of a process costs nothing but time, unless
//! one record ends one after the other; and whoever takes such a process over has nothing but the plugin's own records.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::apart::EndedBy;
use sawlog_chain::{
    Allow, CallFailure, Engine, Isolation, Leniency, Outcome, Plugin, PluginConfig, PluginLimits, Runner, apply,
    conformance, trial,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::example::Example;

/// A process takes some of it to start on a machine that is busy.
const BETWEEN_KILLS: Duration = Duration::from_millis(250);
const ALL: Allow = Allow { state: true, timers: true, kernels: true };

#[test]
#[ignore = "the child of the tests below, which start it for their plugins"]
fn child() {
    support::apart::be_the_process();
}

fn engine() -> Engine {
    support::apart::engine("child")
}

/// The same plugin in this process, and in processes of its own.
fn both(name: &str, bytes: &[u8], config: &PluginConfig) -> [Plugin; 2] {
    let engine = engine();
    [Isolation::None, Isolation::Process].map(|isolation| {
        let config = PluginConfig { isolation, ..config.clone() };
        engine.load(name, bytes, config).unwrap_or_else(|error| panic!("{isolation:?}: {error}"))
    })
}

fn apart(name: &str) -> Plugin {
    let config = PluginConfig { allow: ALL, isolation: Isolation::Process, ..PluginConfig::default() };
    engine().load(name, &support::component(name), config).unwrap()
}

/// Golden files of `name`, in both: the same outcomes, as they stand in the files, under all cuts and resets, with the same fuel.
fn golden(name: &str) {
    let folder = support::repository().join("plugins").join(name);
    let (allow, bytes) = (Example::read(&folder).allow, support::component(name));
    for case in support::folders(&folder.join("golden")) {
        let read = |file: &str| std::fs::read_to_string(case.join(file)).unwrap();
        let files = support::files_in(&case.join("files"));
        let config = PluginConfig { config_json: read("config.json"), files, allow, ..PluginConfig::default() };
        let [here, apart] = both(name, &bytes, &config);
        assert_eq!(here.registration(), apart.registration());
        let input = trial::read(&read("input.ndjson")).unwrap();
        let found = trial::run(&apart, &input).unwrap();
        assert_eq!(found, trial::run(&here, &input).unwrap(), "{}", case.display());
        assert_eq!(found.join("\n") + "\n", read("output.ndjson"), "{}", case.display());
        let figures = |plugin: &Plugin| {
            let figures = plugin.figures();
            (figures.calls, figures.fuel, figures.memory_bytes_max, figures.failures)
        };
        assert_eq!(figures(&apart), figures(&here), "{}", case.display());
        let digest = |plugin: &Plugin| conformance::check(plugin, &input).unwrap();
        assert_eq!(digest(&apart), digest(&here), "{}", case.display());
        let processes = apart.figures().processes.unwrap();
        assert_eq!((processes.ended, here.figures().processes), (0, None), "{processes:?}");
        assert!(processes.running >= 1);
    }
}

/// Native kernels; state and timers; a table from a file; a language's runtime with its WASI; added rows and windows.
#[test]
fn golden_files_come_out_the_same_in_a_process() {
    let few = ["redact-pattern", "count-window", "enrich", "sample-c"];
    let more = ["sessionize", "join-exceptions", "aggregate", "parse-json", "sample-tail", "throttle", "fields"];
    let full = std::env::var_os("SAWLOG_TEST_FULL").is_some();
    few.into_iter().chain(more.into_iter().filter(|_| full)).for_each(golden);
}

/// Runs one record per word of `words`.
fn run(runner: &mut Runner, words: &[&str]) -> Outcome {
    let lines: Vec<String> = words.iter().map(|word| format!(r#"{{"do":"{word}"}}"#)).collect();
    let batch = trial::read(&lines.join("\n")).unwrap();
    let columns = apply::Columns::of(runner.plugin());
    let origin = apply::BatchOrigin { input: "in", source: "s", time: 7, watermark: runner.watermark() };
    runner.process_isolating(Arc::new(columns.view(&batch, origin).unwrap()), &[]).unwrap()
}

fn small() -> PluginConfig {
    let limits = PluginLimits { memory_bytes_max: 16 << 20, ..PluginLimits::default() };
    PluginConfig { limits, allow: ALL, ..PluginConfig::default() }
}

/// Each kind of failure, with what the plugin says of itself, its state, snapshots, restores and flushes that fail.
#[test]
fn misbehaviour_is_told_and_costs_the_same_in_a_process() {
    let component = support::component("hostile");
    let ways = [
        "trap",
        "loop",
        "overflow",
        "grow",
        "chatter",
        "reject",
        "bad-offsets",
        "bad-utf8",
        "nan",
        "huge",
        "swell",
        "log-flood",
        "series",
        "slow",
        "far-offsets",
        "good",
    ];
    for name in ["hostile", "wasi/hostile"] {
        let mut runners = both(name, &support::component(name), &small()).map(|p| Runner::new(p, Leniency::Usual));
        for way in ways {
            let words = ["good", way, "good", "good"];
            let [here, apart] = runners.each_mut().map(|runner| (run(runner, &words), runner.take_telemetry()));
            assert_eq!(here, apart, "{name} {way}");
        }
        let [here, apart] = runners.each_mut().map(|runner| {
            let flushed = [1, 2, 3].map(|now| runner.flush(now).unwrap());
            (flushed, runner.snapshot().unwrap().unwrap())
        });
        assert_eq!(here, apart, "{name}");
        assert_eq!(runners[1].plugin().figures().processes.unwrap().ended, 0, "all of it the engine held");
    }
    for config_json in [r#"{"a":"shy"}"#, r#"{"a":"bloated"}"#, r#"{"a":"sleepy"}"#, r#"{"a":"batchy"}"#] {
        let config = PluginConfig { config_json: config_json.into(), ..small() };
        let mut runners = both("hostile", &component, &config).map(|p| Runner::new(p, Leniency::Usual));
        let [here, apart] = runners.each_mut().map(|runner| {
            let outcome = run(runner, &["good", "trap", "good"]);
            (outcome, runner.wake_at(), runner.snapshot().unwrap())
        });
        assert_eq!(here, apart, "{config_json}");
    }
    for config_json in [r#"{"a":"refuse"}"#, r#"{"a":"explode"}"#, r#"{"a":"odd-column"}"#] {
        let [here, apart] = [Isolation::None, Isolation::Process].map(|isolation| {
            let config = PluginConfig { config_json: config_json.into(), isolation, ..small() };
            engine().load("hostile", &component, config).map(drop).unwrap_err().to_string()
        });
        assert_eq!(here, apart, "{config_json}");
    }
}

/// Kills all processes of the plugin while `work` goes on, with time between for some calls.
fn killing<T>(plugin: &Plugin, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for pid in plugin.process_ids() {
                    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                }
                std::thread::sleep(BETWEEN_KILLS);
            }
        });
        let result = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[test]
fn whoever_kills_processes_costs_no_record_and_no_state() {
    let [here, apart] = both("hostile", &support::component("hostile"), &small());
    let work = |plugin: &Plugin| {
        let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
        let outcomes: Vec<_> = (0..240)
            .map(|round| {
                std::thread::sleep(Duration::from_millis(4));
                // Each failure has what came since the last snapshot run again.
                let bad = if round % 10 == 0 { ["trap", "reject"] } else { ["good", "good"] };
                let outcome = run(&mut runner, &["good", bad[0], "good", "good", bad[1], "good"]);
                let saved = (round % 8 == 0).then(|| runner.snapshot().unwrap().unwrap());
                let poison: Vec<_> = outcome.poison.iter().map(|(row, why)| (*row, why.code())).collect();
                (poison, saved)
            })
            .collect();
        (outcomes, runner.flush(3).unwrap(), runner.snapshot().unwrap().unwrap())
    };
    let undisturbed = work(&here);
    let disturbed = killing(&apart, || work(&apart));
    assert_eq!(disturbed, undisturbed);
    let processes = apart.figures().processes.unwrap();
    assert!(processes.ended >= 3, "{processes:?}");
    assert_eq!(processes.newest_end.as_deref(), Some("somebody killed it (SIGKILL)"));
}

/// As if a record broke the engine's sandbox: it ends every process that sees it.
#[test]
fn a_record_that_ends_every_process_is_poison_and_the_others_are_not() {
    let plugin = engine().load(
        "hostile",
        &support::component("hostile"),
        PluginConfig { isolation: Isolation::Process, ..small() },
    );
    let mut runner = Runner::new(plugin.unwrap(), Leniency::Usual);
    run(&mut runner, &["good", "good"]);
    let outcome = run(&mut runner, &["good", "good", support::apart::DEADLY, "good", "good", "good"]);
    let [(2, CallFailure::Ended(end))] = &outcome.poison[..] else { panic!("{:?}", outcome.poison) };
    assert_eq!((end.by, outcome.poison[0].1.code()), (EndedBy::Itself, "process"));
    assert!(end.reason.contains("SIGABRT"), "{end}");
    let covered: u32 = outcome.parts.iter().map(|part| part.end - part.start).sum();
    assert_eq!(covered, 5);
    let state = runner.snapshot().unwrap().unwrap().snapshot;
    assert_eq!(u64::from_le_bytes(state.try_into().unwrap()), 2 + 5);
    let again = run(&mut runner, &["good", support::apart::DEADLY]);
    assert_eq!(again.poison[0].1, outcome.poison[0].1, "the reason is the same");
}

#[test]
fn from_within_nothing_can_be_done_but_to_compute() {
    let plugin = apart("hostile");
    let attempt = |what: &str| plugin.attempt(what).unwrap();
    assert_eq!(attempt("nothing").as_deref(), Ok("done"));
    assert_eq!(attempt("environment").as_deref(), Ok("[]"));
    assert_eq!(attempt("time").as_deref(), Ok("true"));
    let refused = [
        "socket",
        "unix socket",
        "open",
        "folder",
        "own folder",
        "create",
        "program",
        "other program",
        "thread",
        "kill",
        "end with nobody",
        "be seen",
        "files",
        "run what it wrote",
    ];
    for what in refused {
        let end = attempt(what).unwrap_err();
        assert_eq!((end.by, end.reason.contains("SIGSYS")), (EndedBy::Itself, true), "{what}: {end}");
    }
    assert!(!Path::new("/tmp/sawlog-was-here").exists());
    let end = attempt("memory").unwrap_err();
    assert!(end.reason.contains("SIGABRT"), "4 GiB: {end}");
    let end = attempt("hang").unwrap_err();
    assert!(end.reason.contains("no answer for 2 s"), "{end}");
    assert_eq!(plugin.figures().processes.unwrap().ended, refused.len() as u64 + 2);
    assert_eq!(attempt("nothing").as_deref(), Ok("done"), "the next one is as good as new");
}

/// What the system itself says of such a process.
#[test]
fn a_process_has_no_environment_and_no_file_but_its_stream() {
    let plugin = apart("hostile");
    let _instance = plugin.instance().unwrap();
    let [pid] = plugin.process_ids()[..] else { panic!("{:?}", plugin.process_ids()) };
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let status = of("status");
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let limits = of("limits");
    for name in ["Max core file size", "Max file size", "Max processes", "Max open files"] {
        let limit = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(limit[name.len()..].trim_start().starts_with("0 "), "{limit}");
    }
    if !rustix::process::geteuid().is_root() {
        return; // It is hidden from its own user.
    }
    assert_eq!((of("environ").as_str(), std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap()), ("", "/".into()));
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let files: Vec<String> =
        files.map(|file| std::fs::read_link(file.unwrap().path()).unwrap().display().to_string()).collect();
    // The data that every instance begins with is memory with a number, which nothing can be written to any more.
    let strange =
        files.iter().filter(|file| !file.starts_with("socket:") && !file.starts_with("/memfd:wasm-memory-image"));
    assert_eq!(strange.count(), 0, "{files:?}");
    assert_eq!(files.iter().filter(|file| file.starts_with("socket:")).count(), 1, "{files:?}");
    // A namespace is left by the thread that makes calls; in the binary there is no other.
    let network = |of: &Path| std::fs::read_link(of.join("ns/net")).unwrap();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let own = network(Path::new("/proc/self"));
    let left = threads.map(|thread| network(&thread.unwrap().path())).any(|other| other != own);
    let without = plugin.figures().processes.unwrap().without_namespaces;
    assert_eq!(left, without.is_none(), "{without:?}");
}

/// Processes end with the last that holds the plugin; and many instances share few of them.
#[test]
fn instances_share_processes_and_leave_none_behind() {
    let plugin = apart("hostile");
    let instances: Vec<_> = (0..40).map(|_| plugin.instance().unwrap()).collect();
    let pids = plugin.process_ids();
    let most = std::thread::available_parallelism().unwrap().get() * 2;
    assert!(pids.len() >= 2 && pids.len() <= most.max(2), "{} processes for 40 instances", pids.len());
    drop(plugin);
    assert!(Path::new(&format!("/proc/{}", pids[0])).exists());
    drop(instances);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
}

#[test]
fn without_a_program_to_start_it_is_refused() {
    let config = PluginConfig { isolation: Isolation::Process, ..PluginConfig::default() };
    let refused =
        support::engine().load("hostile", &support::component("hostile"), PluginConfig { allow: ALL, ..config });
    let refused = refused.map(drop).unwrap_err();
    assert!(refused.to_string().contains("no process of its own can be had for it"), "{refused}");
}
