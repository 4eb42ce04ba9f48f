//! What a plugin that misbehaves costs another partition on the same worker: its p99 is below twice what it is beside a plugin that
//! behaves, and the fuel of one call. Figures hold on a machine with time to spare: they are asserted in the full run alone.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Allow, Plugin, PluginConfig, PluginLimits};
use sawlog_core::ports::{Chain as _, ChainFailure, Context};
use sawlog_record::id::PartitionId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::through::{chain, input};

const RECORDS: usize = 100;
/// How long each misbehaviour is measured.
const LENGTH: Duration = Duration::from_millis(100);
const LENGTH_FULL: Duration = Duration::from_secs(2);
const WORDS: [&str; 10] =
    ["loop", "trap", "overflow", "grow", "chatter", "reject", "huge", "log-flood", "series", "slow"];

fn is_full() -> bool {
    std::env::var_os("SAWLOG_TEST_FULL").is_some()
}

fn load(name: &str, config_json: &str) -> Plugin {
    let limits = PluginLimits { memory_bytes_max: 16 << 20, ..PluginLimits::default() };
    let allow = Allow { state: true, timers: true, kernels: true };
    let config = PluginConfig { config_json: config_json.into(), limits, allow, ..PluginConfig::default() };
    support::engine().load(name, &support::component(name), config).unwrap()
}

fn context(partition: &str) -> Context {
    let partition = PartitionId::derive(partition, &[]);
    Context { partition, time: 1, poison: Vec::new(), first_run: true, generous: false }
}

/// Runs batches of which every tenth record does `word`, as the core does: what is poison gets its verdict, and the batch comes again.
async fn misbehave(plugin: &Plugin, word: &str, ended: &AtomicBool) {
    let chain = chain(plugin);
    let mut instance = chain.instance(PartitionId::derive("hostile", &[]));
    let record = |n: usize| format!(r#"{{"do":"{}"}}"#, if n.is_multiple_of(10) { word } else { "good" });
    let (lines, mut from) = ((0..RECORDS).map(record).collect::<Vec<_>>(), 0);
    while !ended.load(Ordering::Relaxed) {
        let mut context = context("hostile");
        while let Err(failure) = instance.apply(input(from, &lines), &context).await {
            let ChainFailure::Poison(found) = failure else { panic!("{word}: {failure}") };
            context.poison.extend(found.into_iter().map(|(pos, slot, component, _)| (pos, slot, component)));
        }
        from += RECORDS as u64;
        tokio::task::yield_now().await;
    }
}

/// The p99 of a batch of a plugin that behaves, from when it wants its turn, beside `word`; and how many there were.
fn p99_beside(calm: &Plugin, hostile: &Plugin, word: &'static str) -> (Duration, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let mut took = runtime.block_on(async {
        let (plugin, until) = (hostile.clone(), ended.clone());
        let other = tokio::spawn(async move { misbehave(&plugin, word, &until).await });
        let calm = chain(calm);
        let mut instance = calm.instance(PartitionId::derive("calm", &[]));
        let lines = vec![r#"{"level":"error","message":"one"}"#.to_owned(); RECORDS];
        let until = Instant::now() + if is_full() { LENGTH_FULL } else { LENGTH };
        let mut took = Vec::new();
        while Instant::now() < until || took.len() < 20 {
            let began = Instant::now();
            tokio::task::yield_now().await;
            instance.apply(input(1_000 * took.len() as u64, &lines), &context("calm")).await.unwrap();
            took.push(began.elapsed());
        }
        ended.store(true, Ordering::Relaxed);
        other.await.unwrap();
        took
    });
    // The first failure of all may cost more.
    took.remove(0);
    took.sort();
    (took[took.len() * 99 / 100], took.len())
}

#[test]
fn another_partition_on_the_same_worker_waits_for_one_call_at_most() {
    let (calm, hostile) = (load("level-filter", r#"{"at_least":"warn"}"#), load("hostile", "{}"));
    let fuel_of_one_call = (0..5).map(|_| one_loop(&hostile)).max().unwrap();
    let (usual, _) = p99_beside(&calm, &hostile, "good");
    let most = 2 * usual + fuel_of_one_call;
    println!("p99 {usual:?} beside one that behaves, all fuel of one call {fuel_of_one_call:?}: at most {most:?}");
    let mut broken = Vec::new();
    for word in WORDS {
        let (p99, batches) = p99_beside(&calm, &hostile, word);
        println!("{word}: p99 {p99:?} of {batches} batches");
        if p99 > most {
            broken.push(format!("{word}: {p99:?}"));
        }
    }
    if is_full() {
        assert!(broken.is_empty(), "more than {most:?}: {}", broken.join(", "));
    }
}

/// What a call that burns all its fuel takes.
fn one_loop(hostile: &Plugin) -> Duration {
    let mut instance = chain(hostile).instance(PartitionId::derive("one", &[]));
    let lines = [r#"{"do":"loop"}"#.to_owned()];
    let began = Instant::now();
    let looped = support::through::finished(instance.apply(input(0, &lines), &context("one")));
    assert!(matches!(looped, Err(ChainFailure::Poison(_))));
    began.elapsed()
}
