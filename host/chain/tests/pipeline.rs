//! Plugins within a pipeline: what they say is heard once, the budgets of a replay are not those of a first run, and others
//! have their turn between the calls of a hunt for poison.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use sawlog_chain::apply::Columns;
use sawlog_chain::{Allow, Engine, EngineLimits, Leniency, Plugin, PluginConfig, PluginLimits, Runner, apply, trial};
use sawlog_core::SinkId;
use sawlog_core::ports::{Applied, Chain, ChainFailure, ChainInstance, Context};
use sawlog_record::batch::Input;
use sawlog_record::id::PartitionId;
use support::through::{self, chain, finished};

fn load(name: &str, config_json: &str, fuel_per_record: u64) -> Plugin {
    let limits = PluginLimits { fuel_per_record, ..PluginLimits::default() };
    let allow = Allow { state: true, timers: true, kernels: true };
    let config = PluginConfig { config_json: config_json.into(), limits, allow, ..PluginConfig::default() };
    support::engine().load(name, &support::component(name), config).unwrap()
}

fn partition() -> PartitionId {
    PartitionId::derive("test", &[])
}

fn run(instance: &mut dyn ChainInstance, pos: u64, record: &str, first_run: bool) -> Result<Applied, ChainFailure> {
    run_from(instance, pos, &[record.to_owned()], Vec::new(), first_run)
}

/// Runs a batch in an instance.
fn run_from(
    instance: &mut dyn ChainInstance,
    from: u64,
    lines: &[String],
    poison: Vec<(u64, u16, u8)>,
    first_run: bool,
) -> Result<Applied, ChainFailure> {
    let (input, context) = batch(from, lines, poison, first_run);
    finished(instance.apply(input, &context))
}

fn batch(from: u64, lines: &[String], poison: Vec<(u64, u16, u8)>, first_run: bool) -> (Input, Context) {
    (through::input(from, lines), Context { partition: partition(), time: 1, poison, first_run, generous: !first_run })
}

fn passes(plugin: &Plugin, record: &str) -> bool {
    let batch = trial::read(record).unwrap();
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    let origin = apply::BatchOrigin { input: "in", source: "app", time: 1, watermark: runner.watermark() };
    let view = Columns::of(plugin).view(&batch, origin).unwrap();
    runner.process_isolating(Arc::new(view), &[]).unwrap().poison.is_empty()
}

/// The plugin with a budget that `record` is beyond, though not four times.
fn starved(name: &str, config_json: &str, record: &str) -> Plugin {
    let fits = (7..40).map(|n| 1 << n).find(|fuel| passes(&load(name, config_json, *fuel), record)).unwrap();
    load(name, config_json, fits / 2)
}

#[test]
fn budgets_of_a_replay_are_not_found_by_a_first_run() {
    let plugins = [
        ("level-filter", r#"{"at_least":"info"}"#, r#"{"level":"error","message":"one"}"#),
        // It keeps state.
        ("hostile", "{}", r#"{"do":"slow"}"#),
    ];
    for (name, config_json, record) in plugins {
        let chain = chain(&starved(name, config_json, record));
        let mut instance = chain.instance(partition());
        for round in 0..2 {
            let replayed = run(&mut *instance, 2 * round, record, false);
            assert!(replayed.is_ok(), "{name}: what passed under another build passes again: {:?}", replayed.err());
            let first = run(&mut *instance, 2 * round + 1, record, true);
            assert!(
                matches!(first, Err(ChainFailure::Poison(_))),
                "{name}: the limit of the config decides at the frontier"
            );
        }
    }
}

#[test]
fn a_plugin_that_answers_otherwise_on_a_fresh_instance_is_found_out() {
    let cases = [
        ("level-filter", r#"{"at_least":"info"}"#, r#"{"level":"error"}"#, true, (1, 0)),
        ("level-filter", r#"{"at_least":"info"}"#, r#"{"level":"error"}"#, false, (0, 0)),
        // It keeps state: a fresh instance has that of the newest snapshot.
        ("hostile", "{}", r#"{"do":"good"}"#, true, (1, 0)),
        ("hostile", "{}", r#"{"do":"tally"}"#, true, (1, 1)),
    ];
    for (name, config_json, record, first_run, expected) in cases {
        let plugin = load(name, config_json, PluginLimits::default().fuel_per_record);
        let chain = chain(&plugin);
        let mut instance = chain.instance(partition());
        for pos in 0..100 {
            run(&mut *instance, pos, record, first_run).unwrap();
            if pos % 10 == 9 {
                finished(instance.snapshot()).unwrap();
            }
        }
        let figures = plugin.figures();
        assert_eq!((figures.rechecked, figures.disagreed), expected, "{name} with {record}, first run: {first_run}");
    }
}

#[test]
fn what_a_plugin_says_of_itself_counts_once() {
    let plugin = load("hostile", "{}", PluginLimits::default().fuel_per_record);
    let chain = chain(&plugin);
    let mut instances: BTreeMap<bool, _> =
        [true, false].into_iter().map(|first| (first, chain.instance(partition()))).collect();
    for (pos, word) in ["log-flood", "series"].into_iter().enumerate() {
        for (first_run, instance) in &mut instances {
            run(&mut **instance, pos as u64, &format!(r#"{{"do":"{word}"}}"#), *first_run).unwrap();
        }
    }
    let figures = plugin.figures();
    assert_eq!((figures.counters.len(), figures.counters["series 7"], figures.gauges.len()), (100, 1, 0));
    assert_eq!(figures.suppressed, (900 - 16) + (900 - 100));
    assert_eq!((plugin.take_lines().len(), plugin.take_lines().len()), (16, 0));
    // A batch with poison comes again, and counts then.
    let mut instance = chain.instance(partition());
    let records = ["series", "trap"].map(|word| format!(r#"{{"do":"{word}"}}"#));
    let cut = run_from(&mut *instance, 10, &records, Vec::new(), true).unwrap_err();
    let ChainFailure::Poison(poison) = cut else { panic!("{cut:?}") };
    assert_eq!(plugin.figures().counters["series 7"], 1);
    let poison = poison.into_iter().map(|(pos, slot, component, _)| (pos, slot, component)).collect();
    run_from(&mut *instance, 10, &records, poison, true).unwrap();
    assert_eq!(plugin.figures().counters["series 7"], 2);
}

/// Every fifth of these records is one on which `hostile` loops.
fn looping() -> Vec<String> {
    (0..40).map(|n| format!(r#"{{"do":"{}"}}"#, if n % 5 == 0 { "loop" } else { "good" })).collect()
}

fn positions(failure: ChainFailure) -> Vec<u64> {
    let ChainFailure::Poison(poison) = failure else { panic!("{failure:?}") };
    poison.into_iter().map(|(pos, ..)| pos).collect()
}

/// Polls `work` to its end; the most calls that `plugin` had in one turn, and what came of it.
fn turns<T>(plugin: &Plugin, work: impl Future<Output = T>) -> (u64, T) {
    let (mut work, mut most) = (pin!(work), 0);
    loop {
        let before = plugin.figures().calls;
        let polled = work.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()));
        most = most.max(plugin.figures().calls - before);
        if let Poll::Ready(done) = polled {
            return (most, done);
        }
    }
}

#[test]
fn others_have_their_turn_between_any_two_calls_of_a_hunt() {
    let lines = looping();
    let bad: Vec<u64> = (0..40).filter(|n| n % 5 == 0).collect();
    let fuel = 1_000_000;
    // One that keeps state, which is restored, and its batches run again, after each failure; and one that keeps none.
    let plugins =
        [load("hostile", "{}", fuel), starved("level-filter", r#"{"at_least":"info"}"#, r#"{"level":"error"}"#)];
    for plugin in plugins {
        let chain = chain(&plugin);
        let mut instance = chain.instance(partition());
        if plugin.stateful() {
            let good = vec![r#"{"do":"good"}"#.to_owned(); 3];
            for from in [100, 200, 300] {
                let (input, context) = batch(from, &good, Vec::new(), true);
                let (most, applied) = turns(&plugin, instance.apply(input, &context));
                assert!(most == 1 && applied.is_ok(), "a batch that passes is one call");
            }
        }
        let before = plugin.figures().calls;
        let (input, context) = batch(400, &lines, Vec::new(), true);
        let (most, applied) = turns(&plugin, instance.apply(input, &context));
        let poison = positions(applied.unwrap_err());
        assert_eq!(most, 1, "{}", plugin.name());
        assert!(plugin.figures().calls - before > 40, "{} calls", plugin.figures().calls - before);
        let expected: Vec<u64> = if plugin.stateful() { bad.clone() } else { (0..40).collect() };
        assert_eq!(poison, expected.iter().map(|n| 400 + n).collect::<Vec<_>>());
        if plugin.stateful() {
            // A snapshot too has others go before it, and before each batch that is run again for it.
            let (most, state) = turns(&plugin, instance.snapshot());
            assert!(most <= 1 && state.is_ok());
        }
    }
}

/// Whoever waits between two calls holds an instance of its own: not all may do so at once.
#[test]
fn many_hunts_at_once_need_few_instances() {
    let limits = EngineLimits { instances_max: 5, ..EngineLimits::default() };
    let engine = Engine::new(limits, None).unwrap();
    let config = PluginConfig { config_json: r#"{"at_least":"info"}"#.into(), ..PluginConfig::default() };
    let plugin = engine.load("level-filter", &support::component("level-filter"), config).unwrap();
    let chain = chain(&plugin);
    let lines: Vec<String> = (0..30).map(|n| format!(r#"{{"level":"error","n":{n}}}"#)).collect();
    // Verdicts of an earlier life cut the batch into many calls.
    let judged: Vec<(u64, u16, u8)> = (0..30).filter(|n| n % 3 == 0).map(|n| (n, 0, 1)).collect();
    let mut hunts: Vec<_> = (0..12)
        .map(|_| {
            let (mut instance, (input, context)) =
                (chain.instance(partition()), batch(0, &lines, judged.clone(), true));
            Box::pin(async move { instance.apply(input, &context).await })
        })
        .collect();
    let mut done = Vec::new();
    while !hunts.is_empty() {
        hunts.retain_mut(|hunt| match hunt.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
            Poll::Ready(applied) => {
                done.push(applied.unwrap());
                false
            }
            Poll::Pending => true,
        });
    }
    let rows = |applied: &Applied| applied.outputs[&SinkId::new("out")].output.rows.len();
    assert_eq!(done.iter().map(rows).collect::<Vec<_>>(), [20; 12]);
}

/// A large state is saved and restored while all others go on, also where there is one worker alone.
#[test]
fn saving_and_restoring_a_large_state_keeps_no_other_waiting() {
    let plugin = load("dedupe", r#"{"fields":["key"],"window_seconds":3600,"keys_max":1000000}"#, 1 << 40);
    let chain = chain(&plugin);
    let mut instance = chain.instance(partition());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (saved, restored) = runtime.block_on(async {
        for from in (0..KEYS).step_by(4_000) {
            let lines: Vec<String> = (from..from + 4_000).map(|n| format!(r#"{{"key":"{n}"}}"#)).collect();
            let (input, context) = batch(from, &lines, Vec::new(), true);
            instance.apply(input, &context).await.unwrap();
        }
        let (saved, states) = beside_another(instance.snapshot()).await;
        let states = states.unwrap();
        assert!(states[&1].len() > 2 << 20, "{} bytes", states[&1].len());
        let mut other = chain.instance(partition());
        let (restored, done) = beside_another(other.restore(states.clone())).await;
        done.unwrap();
        assert!(other.snapshot().await.unwrap() == states, "the state is the same");
        (saved, restored)
    });
    println!("the longest wait of another and the time of the work: saved {saved:?}, restored {restored:?}");
    for (waited, took) in [saved, restored] {
        assert!(waited < took / 2, "{waited:?} of {took:?}");
    }
}

const KEYS: u64 = 60_000;

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
