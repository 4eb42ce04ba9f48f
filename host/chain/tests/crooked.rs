//! Plugins that break the binary interface itself: addresses outside of their memory, lengths that lie, tags that there are not,
//! allocators that answer anything, code that runs before it is called. The host lives, says what is wrong, and each costs
//! its own records only.
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "support/crooked.rs"]
mod by_hand;
mod support;

use by_hand::{Parts, State, component};
use sawlog_chain::{
    Allow, CallFailure, ComponentState, Engine, Leniency, LoadError, Outcome, Plugin, PluginConfig, PluginLimits,
    RunError, Runner, apply, trial,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far above what any of these may take, also on a machine with other work.
const TIME_MAX: Duration = Duration::from_secs(20);

/// An answer at 8192 that is empty but for one list, `$at` bytes behind its start, with this address and length.
macro_rules! list {
    ($at:literal, $address:literal, $length:literal) => {
        concat!(
            "(i32.store offset=",
            $at,
            " (i32.const 8192) (i32.const ",
            $address,
            ")) ",
            "(i32.store offset=",
            $at,
            " (i32.const 8196) (i32.const ",
            $length,
            ")) (i32.const 8192)"
        )
    };
}

/// The same behind a stretch of memory that is all ones.
macro_rules! filled {
    ($($answer:tt)*) => {
        concat!("(memory.fill (i32.const 65536) (i32.const 255) (i32.const 4096)) ", $($answer)*)
    };
}

/// An answer with one dead row, whose reason has this address and length.
macro_rules! dead {
    ($address:literal, $length:literal) => {
        concat!(
            "(i32.store (i32.const 65540) ",
            $address,
            ") (i32.store (i32.const 65544) ",
            $length,
            ") ",
            list!(56, 65536, 1)
        )
    };
}

fn engine() -> Engine {
    support::engine_that_keeps_nothing()
}

fn load(engine: &Engine, parts: Parts) -> Result<Plugin, LoadError> {
    let limits = PluginLimits { memory_bytes_max: 8 << 20, fuel_per_record: 1_000_000, ..PluginLimits::default() };
    let allow = Allow { state: true, timers: true, kernels: true };
    engine.load("crooked", &component(parts), PluginConfig { limits, allow, ..PluginConfig::default() })
}

fn run(runner: &mut Runner, records: usize) -> Outcome {
    let batch = trial::read(&vec![r#"{"level":"info"}"#; records].join("\n")).unwrap();
    let origin = apply::BatchOrigin { input: "in", source: "s", time: 7, watermark: runner.watermark() };
    let view = apply::Columns::of(runner.plugin()).view(&batch, origin).unwrap();
    runner.process_isolating(Arc::new(view), &[]).unwrap()
}

/// What it costs where the module begins to matter: every record alone, with this code.
fn poisons(engine: &Engine, name: &str, parts: Parts, code: &str) {
    let began = Instant::now();
    let plugin = load(engine, parts).unwrap_or_else(|error| panic!("{name}: {error}"));
    let outcome = run(&mut Runner::new(plugin, Leniency::Usual), 3);
    let found: Vec<_> = outcome.poison.iter().map(|(row, failure)| (*row, failure.code())).collect();
    assert_eq!(found, [0, 1, 2].map(|row| (row, code)), "{name}: {:?}", outcome.poison);
    assert!(outcome.parts.is_empty() && began.elapsed() < TIME_MAX, "{name}: {:?}", began.elapsed());
}

#[test]
fn an_honest_module_by_hand_is_a_plugin() {
    let engine = engine();
    for state in [None, Some(State::default())] {
        let plugin = load(&engine, Parts { state, ..Parts::default() }).unwrap();
        assert_eq!(
            (plugin.stateful(), run(&mut Runner::new(plugin, Leniency::Usual), 3).poison.len()),
            (state.is_some(), 0)
        );
    }
}

#[test]
fn what_process_answers_is_read_within_its_memory_or_not_at_all() {
    let engine = engine();
    // A result at 8192 whose fields of a list are set: address, length.
    let cases = [
        ("an address behind the memory", "(i32.const 0xfffffff0)", "trap"),
        ("an address that straddles its end", "(i32.const 131064)", "trap"),
        ("an address that is not aligned", "(i32.const 4097)", "trap"),
        ("a tag that there is not", "(i32.store8 (i32.const 8192) (i32.const 7)) (i32.const 8192)", "trap"),
        ("a list behind the memory", list!(8, 0xfffffff8, 1), "trap"),
        ("a list longer than the memory", list!(8, 65536, 0x1fffffff), "trap"),
        ("a list of more than four billion bytes", list!(16, 65536, 0xffffffff), "trap"),
        ("a list that is not aligned", list!(8, 65537, 1), "trap"),
        ("a mask far longer than the batch", list!(8, 65536, 1024), "bad_output"),
        ("edits with tags that there are not", filled!(list!(16, 65536, 16)), "trap"),
        ("routes for rows that there are not", list!(24, 65536, 4096), "bad_output"),
        ("dead rows with a text behind the memory", dead!("(i32.const 0xfffffff0)", "(i32.const 16)"), "trap"),
        ("dead rows with a text that is no UTF-8", dead!("(i32.const 1024)", "(i32.const 8)"), "trap"),
        ("unreachable code", "unreachable", "trap"),
        ("a division by zero", "(i32.div_u (i32.const 1) (i32.const 0))", "trap"),
        ("a read behind the memory", "(i32.load (i32.const 0xfffffff0))", "trap"),
        ("a write behind the memory", "(i32.store (i32.const 0xfffffff0) (i32.const 1)) (i32.const 4096)", "trap"),
        ("no end", "(loop $l (br $l)) unreachable", "fuel"),
        (
            "memory without end",
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (i32.const 4096)",
            "memory",
        ),
        ("all memory at once", "(drop (memory.grow (i32.const 60000))) (i32.const 4096)", "memory"),
    ];
    for (name, process, code) in cases {
        poisons(&engine, name, Parts { process: Some(process), ..Parts::default() }, code);
    }
}

/// A small module that has the host copy the same text a million times: what it may have the host hold is bounded.
#[test]
fn one_text_in_very_many_places_is_no_bomb() {
    let engine = engine();
    let process = r#"
        (local $at i32)
        (drop (memory.grow (i32.const 100)))
        (local.set $at (i32.const 131072))
        (loop $next
          (i32.store offset=4 (local.get $at) (i32.const 2048))
          (i32.store offset=8 (local.get $at) (i32.const 60000))
          (local.set $at (i32.add (local.get $at) (i32.const 12)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const 521216))))
        (i32.store (i32.const 8192) (i32.const 0))
        (i32.store offset=56 (i32.const 8192) (i32.const 131072))
        (i32.store offset=60 (i32.const 8192) (i32.const 32512))
        (i32.const 8192)"#;
    let before = resident_bytes();
    poisons(&engine, "two gigabytes of one text", Parts { process: Some(process), ..Parts::default() }, "trap");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 1 << 30, "{grown} bytes more");
}

/// Memory of this process at its peak.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn an_allocator_may_answer_anything() {
    let engine = engine();
    let cases = [
        ("an address behind the memory", "(i32.const 0xfffffff0)", "trap"),
        ("an address that is not aligned", "(i32.const 65537)", "trap"),
        ("a trap", "unreachable", "trap"),
        ("no end", "(loop $l (br $l)) unreachable", "fuel"),
    ];
    // What `configure` is given must arrive: the allocator turns when it is called for a batch.
    for (name, realloc, code) in cases {
        let realloc =
            format!("(if (global.get $turned) (then (return (block (result i32) {realloc})))) (i32.const 70000)");
        let module = "(global $turned (mut i32) (i32.const 0))";
        let parts = Parts {
            module,
            configure: concat!(one_column!(), "(global.set $turned (i32.const 1))"),
            realloc: Some(String::leak(realloc) as &str),
            ..Parts::default()
        };
        poisons(&engine, name, parts, code);
    }
    // One place for everything is the plugin's own trouble: what it reads is garbage, what it answers is checked.
    let parts = Parts { realloc: Some("(i32.const 70000)"), ..Parts::default() };
    assert_eq!(run(&mut Runner::new(load(&engine, parts).unwrap(), Leniency::Usual), 3).poison, []);
}

/// Tables are not linear memory: they have a limit of their own.
#[test]
fn tables_grow_to_their_limit_and_no_further() {
    let engine = engine();
    let module = "(table $t 1 funcref) (func $f) (elem declare func $f)";
    let grow = "(table.grow $t (ref.func $f) (i32.const 10000))";
    let without_end = format!("(loop $l (br_if $l (i32.ne {grow} (i32.const -1)))) (i32.const 4096)");
    for (name, process, code) in [
        // Elements cost fuel before they count against the limit.
        ("a table without end", String::leak(without_end) as &str, "memory"),
        (
            "a table of four billion",
            "(drop (table.grow $t (ref.func $f) (i32.const 0xfffffffe))) (i32.const 4096)",
            "fuel",
        ),
        ("a call behind the table", "(call_indirect $t (i32.const 77)) (i32.const 4096)", "trap"),
    ] {
        poisons(&engine, name, Parts { module, process: Some(process), ..Parts::default() }, code);
    }
    let declared = Parts { module: "(table 1000000 funcref)", ..Parts::default() };
    let refused = load(&engine, declared).unwrap_err().to_string();
    assert!(refused.contains("table"), "{refused}");
}

#[test]
fn code_that_runs_before_it_is_called_refuses_the_plugin_alone() {
    let engine = engine();
    let cases = [
        ("(func $s unreachable) (start $s)", "unreachable"),
        ("(func $s (loop $l (br $l))) (start $s)", "fuel"),
        ("(func $s (drop (memory.grow (i32.const 60000)))) (start $s)", "memory"),
        ("(func $s (call $s)) (start $s)", "stack"),
        (r#"(data (i32.const 0xfffffff0) "x")"#, "out of bounds"),
    ];
    for (module, word) in cases {
        let refused = match load(&engine, Parts { module, ..Parts::default() }) {
            Err(refused) => refused.to_string(),
            Ok(_) => panic!("{module} was loaded"),
        };
        assert!(refused.contains(word) && !refused.contains("fewer"), "{module}: {refused}");
    }
    for (configure, word) in [
        ("unreachable", "unreachable"),
        ("(loop $l (br $l))", "fuel"),
        ("(return (i32.const 0xfffffff0))", "configure refused"),
        ("(i32.store (i32.const 2056) (i32.const 0xfffffff0))", "configure refused"),
        ("(i32.store (i32.const 2060) (i32.const 8))", "utf-8"),
    ] {
        let refused = load(&engine, Parts { configure, ..Parts::default() }).map(drop).unwrap_err().to_string();
        assert!(refused.contains(word), "{configure}: {refused}");
    }
    assert!(load(&engine, Parts::default()).is_ok(), "the engine goes on");
}

#[test]
fn calls_of_the_host_take_no_lies_either() {
    let engine = engine();
    let module = r#"
        (import "sawlog:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
        (import "sawlog:plugin/host@0.1.0" "count" (func $count (param i32 i32 i64)))
        (import "sawlog:plugin/kernels@0.1.0" "matches" (func $matches (param i32 i32 i32)))
        (import "sawlog:plugin/kernels@0.1.0" "pattern" (func $pattern (param i32 i32 i32)))"#;
    let configure = concat!(one_column!(), "(call $pattern (i32.const 1024) (i32.const 7) (i32.const 8192))");
    for (name, call) in [
        ("a level that there is not", "(call $log (i32.const 9) (i32.const 1024) (i32.const 7))"),
        ("a text behind the memory", "(call $log (i32.const 1) (i32.const 0xfffffff0) (i32.const 64))"),
        ("a text longer than the memory", "(call $log (i32.const 1) (i32.const 1024) (i32.const 0x7fffffff))"),
        ("a name that is no UTF-8", "(call $count (i32.const 1024) (i32.const 8) (i64.const 1))"),
        ("a pattern that there is not", "(call $matches (i32.const 99) (i32.const 0) (i32.const 8192))"),
        ("a column that there is not", "(call $matches (i32.const 0) (i32.const 1) (i32.const 8192))"),
        ("an answer behind the memory", "(call $matches (i32.const 0) (i32.const 0) (i32.const 0xfffffff0))"),
        ("a pattern outside of `configure`", "(call $pattern (i32.const 1024) (i32.const 7) (i32.const 8192))"),
    ] {
        let process = Some(String::leak(format!("{call} (i32.const 4096)")) as &str);
        poisons(&engine, name, Parts { module, configure, process, ..Parts::default() }, "trap");
    }
    let honest = Some("(call $matches (i32.const 0) (i32.const 0) (i32.const 8192)) (i32.const 4096)");
    let plugin = load(&engine, Parts { module, configure, process: honest, ..Parts::default() }).unwrap();
    assert_eq!(run(&mut Runner::new(plugin, Leniency::Usual), 3).poison, []);
}

/// A plugin with state of which one export alone is crooked.
fn keeper(engine: &Engine, state: State) -> Plugin {
    load(engine, Parts { state: Some(state), ..Parts::default() }).unwrap()
}

const WAYS: [(&str, &str); 5] = [
    ("unreachable", "trap"),
    ("(loop $l (br $l)) unreachable", "fuel"),
    ("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (i32.const 4096)", "memory"),
    ("(i32.const 0xfffffff0)", "trap"),
    (
        "(i32.store (i32.const 8192) (i32.const 7)) (i32.store offset=4 (i32.const 8192) (i32.const -1)) (i32.const 8192)",
        "trap",
    ),
];

#[test]
fn every_export_of_a_plugin_with_state_may_fail_in_every_way() {
    let engine = engine();
    for (way, code) in WAYS {
        let mut runner = Runner::new(keeper(&engine, State { snapshot: way, ..State::default() }), Leniency::Usual);
        assert_eq!(run(&mut runner, 2).poison, []);
        assert_eq!(runner.snapshot().unwrap().unwrap_err().code(), code, "snapshot: {way}");
        assert_eq!(run(&mut runner, 2).poison, [], "it goes on with the state that it had");

        let mut runner = Runner::new(keeper(&engine, State { flush: way, ..State::default() }), Leniency::Usual);
        assert_eq!(runner.flush(5).unwrap().unwrap_err().code(), code, "flush: {way}");
        assert_eq!(run(&mut runner, 2).poison, []);

        let kept = ComponentState { watermark: 1, wake_at: None, snapshot: vec![1, 2, 3] };
        let failed = |refused: RunError| match refused {
            RunError::Restore(failure) => failure,
            other => panic!("{other}"),
        };
        let restore = keeper(&engine, State { restore: way, ..State::default() });
        let refused: CallFailure =
            failed(Runner::restored(restore, Leniency::Usual, kept.clone()).map(drop).unwrap_err());
        assert_eq!(refused.code(), code, "restore: {way}");
        let upgrade = keeper(&engine, State { upgrade: way, ..State::default() });
        let refused = failed(Runner::upgraded(upgrade, Leniency::Usual, 0, kept).map(drop).unwrap_err());
        assert_eq!(refused.code(), code, "upgrade: {way}");
    }
}
