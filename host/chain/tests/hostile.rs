//! Plugins that misbehave: the error is clear, the poisonous record alone is lost to them, everything else goes on.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{
    Allow, CallFailure, Engine, EngineLimits, Leniency, LoadError, Outcome, Plugin, PluginConfig, PluginLimits,
    RunError, Runner, apply, conformance, trial,
};
use sawlog_core::ports::{Chain as _, ChainFailure, Context};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::sync::Arc;
use support::through::{COMPONENT, chain, finished, input};

const ALLOW: Allow = Allow { state: true, timers: true, kernels: true };

fn config(config_json: &str, allow: Allow) -> PluginConfig {
    let limits = PluginLimits { memory_bytes_max: 16 << 20, ..PluginLimits::default() };
    PluginConfig { config_json: config_json.into(), limits, allow, ..Default::default() }
}

fn hostile() -> Plugin {
    support::engine().load("hostile", &support::component("hostile"), config("{}", ALLOW)).unwrap()
}

/// Runs one record per word of `words`.
fn run(runner: &mut Runner, words: &[&str]) -> Outcome {
    let lines: Vec<String> = words.iter().map(|word| format!(r#"{{"do":"{word}"}}"#)).collect();
    let batch = trial::read(&lines.join("\n")).unwrap();
    let columns = apply::Columns::of(runner.plugin());
    let origin = apply::BatchOrigin { input: "in", source: "s", time: 7, watermark: runner.watermark() };
    runner.process_isolating(Arc::new(columns.view(&batch, origin).unwrap()), &[]).unwrap()
}

/// How many records the plugin's state has counted.
fn seen(runner: &mut Runner) -> u64 {
    let state = runner.snapshot().unwrap().unwrap();
    u64::from_le_bytes(state.snapshot.try_into().unwrap())
}

fn load_error(bytes: &[u8], config: PluginConfig) -> LoadError {
    support::engine().load("bad", bytes, config).map(|_| ()).unwrap_err()
}

#[test]
fn every_kind_of_misbehaviour_costs_exactly_its_own_record() {
    let plugin = hostile();
    let ways = [
        ("trap", "trap"),
        ("loop", "fuel"),
        ("overflow", "trap"),
        ("grow", "memory"),
        ("chatter", "trap"),
        ("reject", "rejected"),
        ("bad-offsets", "bad_output"),
        ("falling-offsets", "bad_output"),
        ("bad-utf8", "bad_output"),
        ("bad-json", "bad_output"),
        ("bad-record", "bad_output"),
        ("read-only", "bad_output"),
        ("bad-row", "bad_output"),
        ("bad-path", "bad_output"),
        ("bad-parent", "bad_output"),
        ("bad-route", "bad_output"),
        ("nan", "bad_output"),
        ("huge", "bad_output"),
        ("swell", "bad_output"),
        ("bad-drop", "bad_output"),
        ("bad-fate", "bad_output"),
        ("long-reason", "bad_output"),
        ("twice", "bad_output"),
        ("stray-rows", "bad_output"),
        ("far-offsets", "bad_output"),
        ("no-offsets", "bad_output"),
        ("long-mask", "bad_output"),
        ("line-break", "bad_output"),
        ("deep-json", "bad_output"),
        ("bad-json-number", "bad_output"),
        ("long-name", "bad_output"),
        ("no-name", "bad_output"),
        ("bad-times", "bad_output"),
        ("few-times", "bad_output"),
        ("rename-own", "bad_output"),
        ("remove-own", "bad_output"),
        ("set-own", "bad_output"),
    ];
    for (word, code) in ways {
        let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
        run(&mut runner, &["good", "good"]);
        let outcome = run(&mut runner, &["good", word, "good", "good"]);
        let poison: Vec<_> = outcome.poison.iter().map(|(row, failure)| (*row, failure.code())).collect();
        assert_eq!(poison, [(1, code)], "{word}: {:?}", outcome.poison);
        let covered: u32 = outcome.parts.iter().map(|p| p.end - p.start).sum();
        assert_eq!((covered, seen(&mut runner)), (3, 5), "{word}");
    }
}

/// What a plugin says of itself is bounded and no fault; and work just below the limit is none either.
#[test]
fn floods_of_lines_and_series_are_bounded_and_slow_records_are_taken() {
    let mut runner = Runner::new(hostile(), Leniency::Usual);
    for word in ["log-flood", "series", "slow"] {
        assert_eq!(run(&mut runner, &["good", word, "good"]).poison, [], "{word}");
    }
    let told = runner.take_telemetry();
    assert_eq!((told.lines.len(), told.counters.len(), seen(&mut runner)), (16, 100, 6));
    assert_eq!(told.suppressed, (900 - 16) + (900 - 100));
}

#[test]
fn a_plugin_that_fails_at_its_snapshot_keeps_its_state_and_goes_on() {
    let component = support::component("hostile");
    for (config_json, code) in [(r#"{"a":"shy"}"#, "trap"), (r#"{"a":"bloated"}"#, "memory")] {
        let plugin = support::engine().load("hostile", &component, config(config_json, ALLOW)).unwrap();
        let mut runner = Runner::new(plugin, Leniency::Usual);
        run(&mut runner, &["good", "good"]);
        let failure = runner.snapshot().unwrap().unwrap_err();
        assert_eq!(failure.code(), code, "{failure:?}");
        assert_eq!(run(&mut runner, &["good", "trap", "good"]).poison.len(), 1);
        let flushed = format!("{:?}", runner.flush(3).unwrap().unwrap());
        assert!(flushed.contains("Integer(4)"), "{config_json}: {flushed}");
    }
}

#[test]
fn the_verdict_is_the_same_at_a_replay_and_poison_is_not_shown_twice() {
    let plugin = hostile();
    let words = ["good", "trap", "good", "loop", "trap", "good"];
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    let first = run(&mut runner, &words);
    let rows: Vec<u32> = first.poison.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [1, 3, 4]);
    let again = run(&mut Runner::new(plugin.clone(), Leniency::Usual), &words);
    assert_eq!(first.poison, again.poison);

    let batch = trial::read(&words.map(|word| format!(r#"{{"do":"{word}"}}"#)).join("\n")).unwrap();
    let origin = apply::BatchOrigin { input: "in", source: "s", time: 7, watermark: None };
    let view = Arc::new(apply::Columns::of(&plugin).view(&batch, origin).unwrap());
    let mut told = Runner::new(plugin, Leniency::Usual);
    let outcome = told.process_isolating(view, &rows).unwrap();
    assert_eq!((outcome.poison.len(), seen(&mut told)), (0, 3));
    let parts: Vec<_> = outcome.parts.iter().map(|p| (p.start, p.end)).collect();
    assert_eq!(parts, [(0, 1), (2, 3), (5, 6)]);
}

#[test]
fn a_failed_flush_leaves_the_state_as_it_was() {
    let mut runner = Runner::new(hostile(), Leniency::Usual);
    run(&mut runner, &["good", "good"]);
    assert!(matches!(runner.flush(1).unwrap(), Err(CallFailure::Trap(_))));
    assert_eq!(runner.flush(2).unwrap(), Err(CallFailure::Rejected("as asked".into())));
    assert_eq!((runner.flush(3).unwrap().unwrap().len(), seen(&mut runner)), (1, 2));
}

#[test]
fn a_flush_that_has_a_verdict_is_not_asked_for_again_until_rows_come() {
    let component = support::component("hostile");
    let plugin = support::engine().load("hostile", &component, config(r#"{"a":"sleepy"}"#, ALLOW)).unwrap();
    let partition = PartitionId::derive("hostile", &[]);
    let mut instance = chain(&plugin).instance(partition);
    let context = |poison| Context { partition, time: 1, poison, first_run: true, generous: false };
    let good = || input(0, &[r#"{"do":"good"}"#.to_owned()]);
    finished(instance.apply(good(), &context(Vec::new()))).unwrap();
    let (generation, at) = (Generation([1; 16]), Cursor { pos: 1, slot: 0 });
    let trapped = finished(instance.flush(COMPONENT, generation, at, 1, &context(Vec::new())));
    let Err(ChainFailure::Poison(poison)) = trapped else { panic!("it is to trap") };
    assert_eq!(instance.wake_at(), [(COMPONENT, i64::MAX)], "nothing is said of it yet");
    let judged = poison.into_iter().map(|(pos, slot, component, _)| (pos, slot, component)).collect();
    finished(instance.flush(COMPONENT, generation, at, 1, &context(judged))).unwrap();
    assert_eq!(instance.wake_at(), []);
    finished(instance.apply(good(), &context(Vec::new()))).unwrap();
    assert_eq!(instance.wake_at(), [(COMPONENT, i64::MAX)]);
}

#[test]
fn a_runner_goes_on_from_a_snapshot_and_a_refused_one_stops_it() {
    let plugin = hostile();
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    run(&mut runner, &["good"; 100]);
    let state = runner.snapshot().unwrap().unwrap();
    let state = sawlog_chain::ComponentState::from_bytes(&state.to_bytes()).unwrap();
    let mut restored = Runner::restored(plugin, Leniency::Usual, state.clone()).unwrap();
    run(&mut restored, &["good", "trap"]);
    assert_eq!(seen(&mut restored), 101);

    let component = support::component("hostile");
    let stubborn = support::engine().load("hostile", &component, config(r#"{"a":"stubborn"}"#, ALLOW)).unwrap();
    let refused = Runner::restored(stubborn.clone(), Leniency::Usual, state.clone()).unwrap_err();
    assert!(matches!(refused, RunError::Restore(CallFailure::Rejected(_))), "{refused}");
    assert!(Runner::upgraded(stubborn, Leniency::Usual, 0, state.clone()).is_err());
    let fragile = support::engine().load("hostile", &component, config(r#"{"a":"fragile"}"#, ALLOW)).unwrap();
    let refused = Runner::restored(fragile, Leniency::Usual, state).unwrap_err();
    assert!(matches!(refused, RunError::Restore(CallFailure::Trap(_))), "{refused}");
}

#[test]
fn timers_need_permission_at_every_call() {
    let component = support::component("hostile");
    let sleepy = |timers| {
        let allow = Allow { timers, ..ALLOW };
        let plugin = support::engine().load("hostile", &component, config(r#"{"a":"sleepy"}"#, allow)).unwrap();
        let mut runner = Runner::new(plugin, Leniency::Usual);
        (run(&mut runner, &["good"]).poison.len(), runner.wake_at())
    };
    assert_eq!(sleepy(true), (0, Some(i64::MAX)));
    assert_eq!(sleepy(false), (1, None));
}

/// A component of these sections (number, content), each shorter than 128 bytes.
fn assembled(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    for (number, content) in sections {
        bytes.extend_from_slice(&[*number, content.len() as u8]);
        bytes.extend_from_slice(content);
    }
    bytes
}

/// A component that imports the empty instance `name`.
fn importing(name: &str) -> Vec<u8> {
    let import = [&[1, 0, name.len() as u8][..], name.as_bytes(), &[5, 0]].concat();
    assembled(&[(7, b"\x01\x42\x00"), (10, &import)])
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let told = |bytes: &[u8]| load_error(bytes, config("{}", ALLOW)).to_string();
    let cases = [
        (b"\x7fELF and so on".to_vec(), "no WASM at all"),
        (Vec::new(), "no WASM at all"),
        (b"\0asm\x01\0\0\0".to_vec(), "core WASM module"),
        (assembled(&[]), "exports []"),
        (assembled(&[(5, b"\x01\x01\x00"), (11, b"\x01\x00\x0ba:b/c@1.0.0\x05\x00\x00")]), "exports [a:b/c@1.0.0]"),
        (importing("evil:net/socket@1.0.0"), "evil:net/socket@1.0.0"),
        (importing("sawlog:plugin/host@0.2.0"), "built for version 0.2.0 of the contract, this agent speaks 0.1.0"),
        (importing("sawlog:plugin/types@0.0.9"), "built for version 0.0.9 of the contract, this agent speaks 0.1.0"),
        (importing("wasi:http/types@0.2.0"), "wasi:http/types@0.2.0"),
        // A core module whose memory has 64-bit addresses.
        (assembled(&[(1, b"\0asm\x01\0\0\0\x05\x03\x01\x04\x01")]), "not valid"),
    ];
    for (bytes, expected) in cases {
        let told = told(&bytes);
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let mut cut = support::component("hostile");
    cut.truncate(cut.len() / 2);
    assert!(told(&cut).contains("damaged"), "{}", told(&cut));
}

#[test]
fn configure_permissions_and_limits_are_checked_when_loading() {
    let component = support::component("hostile");
    let told = |c: PluginConfig| load_error(&component, c).to_string();
    assert!(told(config("{}", Allow::default())).contains("add `state`"));
    assert!(told(config(r#"{"a":"refuse"}"#, ALLOW)).contains("configure refused: as asked"));
    assert!(told(config(r#"{"a":"explode"}"#, ALLOW)).contains("trapped"));
    assert!(told(config(r#"{"a":"odd-column"}"#, ALLOW)).contains("$secret"));
    assert!(told(config(r#"{"a":"twins"}"#, ALLOW)).contains("registered twice"));
    let mut greedy = config("{}", ALLOW);
    greedy.limits.memory_bytes_max = 1 << 40;
    assert!(told(greedy).contains("lower `limits.memory`"));
    let mut tiny = config("{}", ALLOW);
    tiny.limits.memory_bytes_max = 1 << 16;
    assert!(told(tiny).contains("memory"));

    let kernels = support::component("redact-pattern");
    let config_json = r#"{"rules":[{"pattern":"(","with":""}]}"#.to_owned();
    let refused = load_error(&kernels, PluginConfig { config_json: config_json.clone(), ..Default::default() });
    assert!(refused.to_string().contains("add `kernels`"), "{refused}");
    let refused = load_error(&kernels, PluginConfig { config_json, allow: ALLOW, ..Default::default() });
    assert!(refused.to_string().contains("unclosed group"), "{refused}");
    let refused = load_error(&kernels, PluginConfig { config_json: r#"{"rule":1}"#.into(), ..Default::default() });
    assert!(refused.to_string().contains("rule"), "{refused}");
}

#[test]
fn a_full_pool_is_no_verdict() {
    let limits = EngineLimits { instances_max: 2, ..EngineLimits::default() };
    let engine = Engine::new(limits, None).unwrap();
    let plugin = engine.load("hostile", &support::component("hostile"), config("{}", ALLOW)).unwrap();
    let _held = (plugin.instance().unwrap(), plugin.instance().unwrap());
    let refused = Runner::new(plugin, Leniency::Usual).snapshot().unwrap_err();
    assert!(matches!(refused, RunError::Create(sawlog_chain::CreateError::NoRoom(_))), "{refused}");
}

#[test]
fn compiled_code_comes_from_the_cache_and_a_damaged_artefact_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("code");
    let component = support::component("level-filter");
    let load = || {
        let engine = Engine::new(EngineLimits { instances_max: 4, ..Default::default() }, Some(path.clone())).unwrap();
        let config = PluginConfig { config_json: r#"{"at_least":"warn"}"#.into(), ..Default::default() };
        engine.load("level-filter", &component, config).unwrap();
        assert!(engine.take_cache_failures().is_empty());
    };
    let artefacts = || std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    load();
    let [artefact] = &artefacts()[..] else { panic!("one artefact") };
    let made = std::fs::read(artefact).unwrap();
    let mut damaged = made.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    std::fs::write(artefact, &damaged).unwrap();
    load();
    assert!(std::fs::read(artefact).unwrap() == made, "the damaged artefact was replaced");
    load();
    assert_eq!(artefacts().len(), 1);
}

#[test]
fn a_batch_that_costs_too_much_is_cut_and_the_size_remembered() {
    let component = support::component("level-filter");
    let mut small = config(r#"{"at_least":"warn"}"#, Allow::default());
    small.limits.fuel_per_record = 60_000;
    let plugin = support::engine().load("level-filter", &component, small).unwrap();
    let batch = trial::read(&vec![r#"{"level":"warning"}"#; 4_000].join("\n")).unwrap();
    let origin = apply::BatchOrigin { input: "in", source: "s", time: 0, watermark: None };
    let view = Arc::new(apply::Columns::of(&plugin).view(&batch, origin).unwrap());
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    let first = runner.process_isolating(Arc::clone(&view), &[]).unwrap();
    assert!(first.poison.is_empty() && first.parts.len() > 1, "{} parts", first.parts.len());
    let again = runner.process_isolating(Arc::clone(&view), &[]).unwrap();
    assert_eq!(again.parts.iter().map(|p| p.end - p.start).max(), again.parts.first().map(|p| p.end - p.start));
    assert!(sawlog_chain::conformance::agrees(&mut runner.twin().unwrap().unwrap(), &view, &again));
}

#[test]
fn a_row_is_no_poison_for_what_earlier_calls_left_behind() {
    let mut runner = Runner::new(hostile(), Leniency::Usual);
    assert_eq!(run(&mut runner, &["good"]).poison, []);
    seen(&mut runner); // a snapshot, so that an instance is restored without calls
    let outcome = run(&mut runner, &["collect"]);
    assert_eq!((outcome.poison, outcome.parts.len()), (Vec::new(), 1));
    assert_eq!(run(&mut runner, &["loop"]).poison.len(), 1, "one that costs too much of itself still is");
    assert_eq!(seen(&mut runner), 2);
}

/// What the WASI build of the plugin sees, asked in two instances.
#[test]
fn a_runtime_that_insists_on_wasi_gets_no_capability_and_every_instance_sees_the_same() {
    let plugin = support::engine().load("hostile", &support::component("wasi/hostile"), config("{}", ALLOW)).unwrap();
    let ask = |runner: &mut Runner| {
        let outcome = run(runner, &["wasi"]);
        assert_eq!(outcome.poison, []);
        format!("{:?}", outcome.parts[0].edits.edits().added)
    };
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    let first = ask(&mut runner);
    assert!(first.contains("Ok(7ns) 0 false"), "the planned time, no environment, no file: {first}");
    assert_eq!(first, ask(&mut Runner::new(plugin.clone(), Leniency::Usual)));
    let outcome = run(&mut runner, &["good", "trap", "good"]);
    assert_eq!(outcome.poison.iter().map(|(row, f)| (*row, f.code())).collect::<Vec<_>>(), [(1, "trap")]);
}

#[test]
fn a_long_run_is_restored_from_the_snapshots_that_bounded_it() {
    let mut runner = Runner::new(hostile(), Leniency::Usual);
    let long = "good-".repeat(500);
    for batch in 0..12 {
        let mut words = vec![long.as_str(); 99];
        words.push(if batch % 4 == 3 { "trap" } else { "good" });
        assert_eq!(run(&mut runner, &words).poison.len(), usize::from(batch % 4 == 3));
    }
    assert_eq!(seen(&mut runner), 12 * 100 - 3);
}

#[test]
fn the_conformance_check_finds_plugins_that_depend_on_cuts_or_forget_state() {
    let component = support::component("hostile");
    let batch = trial::read(&vec![r#"{"do":"good"}"#; 200].join("\n")).unwrap();
    let check = |config_json: &str| {
        let plugin = support::engine().load("hostile", &component, config(config_json, ALLOW)).unwrap();
        conformance::check(&plugin, &batch).map_err(|e| e.to_string())
    };
    check("{}").unwrap();
    assert!(check(r#"{"a":"batchy"}"#).unwrap_err().contains("instead of"));
    assert!(check(r#"{"a":"forgetful"}"#).unwrap_err().contains(r#""seen":200"#));
}
