//! A component that takes a share of a plugin's records in earnest: which records it gets, in which order rows come out, and what becomes
//! of those that it fails on. Nothing of it depends on how batches are cut, nor on whether they are run for the first time.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use sawlog_chain::apply::write_record;
use sawlog_chain::pipeline::PipelineChain;
use sawlog_chain::{Allow, CanaryFigures, Plugin, PluginConfig, Share};
use sawlog_core::SinkId;
use sawlog_core::plan::UpgradeOutcome;
use sawlog_core::ports::{Applied, Chain, ChainFailure, ChainInstance, Context};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use support::through::{chain, finished};

/// Each of `redact` and `normalise-level` takes it, and leaves a mark of its own.
const CONFIG: &str = r#"{"fields":["level","note"]}"#;
const RECORD: &str = r#"{"level":"WARN","note":"a@b.example"}"#;
const RECORDS: u64 = 2_000;

fn load(bytes: &[u8], config_json: &str) -> Plugin {
    let allow = Allow { state: true, timers: true, kernels: true };
    let config = PluginConfig { config_json: config_json.into(), allow, ..PluginConfig::default() };
    support::engine().load("plugin", bytes, config).unwrap()
}

/// The same work by other bytes.
fn again(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0, 3, 2, b'v', b'2']].concat()
}

fn share(percent: f64) -> Share {
    Share::of_percent(percent).unwrap()
}

/// `redact`, with `candidate` taking a share.
fn with(candidate: &[u8], percent: f64) -> Plugin {
    let redact = load(&support::component("redact"), CONFIG);
    redact.with_canary(load(candidate, CONFIG), share(percent)).unwrap()
}

fn partition(n: u64) -> PartitionId {
    PartitionId::derive("test", &[&n.to_le_bytes()])
}

type Verdicts = BTreeSet<(u64, u16, u8)>;

fn apply(
    instance: &mut dyn ChainInstance,
    (from, to): (u64, u64),
    record: &str,
    verdicts: &Verdicts,
    first_run: bool,
) -> Result<Applied, ChainFailure> {
    let (mut arena, mut records) = (Vec::new(), Vec::new());
    for pos in from..to {
        let text = Span { start: arena.len() as u32, len: record.len() as u32 };
        arena.extend_from_slice(record.as_bytes());
        records.push(InputRecord { pos, end: pos + 1, text, received: 1, flags: 0 });
    }
    let input = Input { generation: Generation([1; 16]), arena, records, open: Vec::new() };
    let poison = verdicts.iter().copied().filter(|(pos, ..)| (from..to).contains(pos)).collect();
    let context = Context { partition: partition(0), time: 1, poison, first_run, generous: !first_run };
    finished(instance.apply(input, &context))
}

/// Rows of a sink in the order in which they come: position and text.
fn rows(applied: &Applied, sink: &str) -> Vec<(u64, String)> {
    let out = &applied.outputs[&SinkId::new(sink)].output;
    let shown = |row: &u32| {
        let row = &out.batch.rows[*row as usize];
        let mut text = Vec::new();
        write_record(&out.batch, row, &mut text);
        (row.id.pos, String::from_utf8(text).unwrap())
    };
    out.rows.iter().map(shown).collect()
}

/// Rows of one sink, each with its position.
type Rows = Vec<(u64, String)>;

/// Runs all records as a lane does, in batches of so many: poison gets a verdict, and the batch comes again. The rows of both sinks.
fn run(chain: &PipelineChain, batch: u64, verdicts: &mut Verdicts, first_run: bool) -> (Rows, Rows) {
    let (mut out, mut dead) = (Vec::new(), Vec::new());
    let mut instance = chain.instance(partition(0));
    let mut from = 0;
    while from < RECORDS {
        let to = RECORDS.min(from + batch);
        match apply(&mut *instance, (from, to), RECORD, verdicts, first_run) {
            Ok(applied) => {
                out.extend(rows(&applied, "out"));
                dead.extend(rows(&applied, "dead"));
                from = to;
            }
            Err(ChainFailure::Poison(found)) => {
                let before = verdicts.len();
                verdicts.extend(found.into_iter().map(|(pos, slot, component, _)| (pos, slot, component)));
                assert!(verdicts.len() > before, "what was judged failed again");
                instance = chain.instance(partition(0));
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    (out, dead)
}

fn figures(plugin: &Plugin) -> CanaryFigures {
    plugin.canary().unwrap().figures()
}

fn is_of_candidate(row: &str) -> bool {
    let (redacted, normalised) = (row.contains("[email]"), row.contains("warn"));
    assert_ne!(redacted, normalised, "one component made it: {row}");
    normalised
}

#[test]
fn the_hash_of_the_record_picks_whatever_the_cut_and_rows_keep_their_order() {
    let plugin = with(&support::component("normalise-level"), 20.0);
    let pipeline = chain(&plugin);
    let (all, dead) = run(&pipeline, 500, &mut Verdicts::new(), true);
    assert!(all.iter().map(|(pos, _)| *pos).eq(0..RECORDS), "each once, in order");
    assert_eq!(dead, []);
    let its = all.iter().filter(|(_, row)| is_of_candidate(row)).count() as u64;
    assert!((RECORDS / 6..RECORDS / 4).contains(&its), "{its} of {RECORDS}");
    let expected = CanaryFigures { own: RECORDS - its, candidate: its, ..CanaryFigures::default() };
    assert_eq!(figures(&plugin), expected);
    for batch in [1, 7, 64, RECORDS] {
        assert_eq!(run(&pipeline, batch, &mut Verdicts::new(), false).0, all, "in batches of {batch}");
    }
    assert_eq!(figures(&plugin), expected, "what is run again was counted before");
    // Loaded anew, as after a restart; and a larger share has what the smaller had.
    let anew = chain(&with(&support::component("normalise-level"), 20.0));
    assert_eq!(run(&anew, 333, &mut Verdicts::new(), false).0, all);
    let more = run(&chain(&with(&support::component("normalise-level"), 40.0)), 500, &mut Verdicts::new(), true).0;
    assert!(all.iter().zip(&more).all(|((_, row), (_, more))| !is_of_candidate(row) || is_of_candidate(more)));
    let all = run(&chain(&with(&support::component("normalise-level"), 100.0)), 500, &mut Verdicts::new(), true).0;
    assert!(all.iter().all(|(_, row)| is_of_candidate(row)));
}

#[test]
fn what_the_candidate_alone_fails_on_the_own_component_takes_and_that_is_a_verdict() {
    let plugin = with(&sawlog_fuzz::trapping(&support::component("normalise-level")), 20.0);
    let pipeline = chain(&plugin);
    let mut verdicts = Verdicts::new();
    let (all, dead) = run(&pipeline, 250, &mut verdicts, true);
    assert!(all.iter().map(|(pos, _)| *pos).eq(0..RECORDS), "each once, in order");
    assert!(dead.is_empty() && all.iter().all(|(_, row)| !is_of_candidate(row)));
    let picked = verdicts.len() as u64;
    assert!((RECORDS / 6..RECORDS / 4).contains(&picked), "{picked} of {RECORDS}");
    assert!(verdicts.iter().all(|(.., number)| *number != 1), "no verdict on the plugin's own component");
    let found = figures(&plugin);
    assert_eq!((found.candidate, found.failing, found.own), (picked, picked, RECORDS));
    assert!(found.beyond(share(99.0)).is_some_and(|why| why.contains("unreachable")), "{found:?}");
    assert_eq!(plugin.figures().failures, BTreeMap::new(), "its failures are not the plugin's");
    // Who replays obeys the verdicts, and finds no more of them.
    let mut known = verdicts.clone();
    assert_eq!(run(&pipeline, 77, &mut known, false), (all, dead));
    assert_eq!(known, verdicts);
}

#[test]
fn what_both_fail_on_is_a_dead_letter() {
    let component = sawlog_fuzz::trapping(&support::component("redact"));
    let plugin = load(&component, CONFIG).with_canary(load(&again(&component), CONFIG), share(20.0)).unwrap();
    let mut verdicts = Verdicts::new();
    let (all, dead) = run(&chain(&plugin), 250, &mut verdicts, true);
    assert!(all.is_empty() && dead.iter().map(|(pos, _)| *pos).eq(0..RECORDS));
    let own = verdicts.iter().filter(|(.., number)| *number == 1).count() as u64;
    assert_eq!((own, verdicts.len() as u64), (RECORDS, RECORDS + figures(&plugin).failing));
}

#[test]
fn of_a_plugin_with_state_it_has_whole_partitions_and_their_state() {
    const GOOD: &str = r#"{"do":"good"}"#;
    let component = support::component("hostile");
    let load_own = || load(&component, "{}");
    let plugin = load_own().with_canary(load(&again(&component), "{}"), share(50.0)).unwrap();
    let (before, during, after) = (chain(&load_own()), chain(&plugin), chain(&load_own()));
    assert_ne!(before.stateful(), during.stateful(), "each partition hands its state over");
    let other = load_own().with_canary(load(&again(&component), "{}"), share(51.0)).unwrap();
    assert_ne!(chain(&other).stateful(), during.stateful());
    let mut its = 0;
    for n in 0..60 {
        let mut instance = before.instance(partition(n));
        apply(&mut *instance, (0, 5), GOOD, &Verdicts::new(), true).unwrap();
        for (from, chain) in [(5, &during), (10, &after)] {
            let state = finished(instance.snapshot()).unwrap().remove(&1).unwrap();
            instance = chain.instance(partition(n));
            assert_eq!(finished(instance.upgrade(1, state)).unwrap(), UpgradeOutcome::Carried);
            let already = figures(&plugin).candidate;
            apply(&mut *instance, (from, from + 5), GOOD, &Verdicts::new(), true).unwrap();
            its += figures(&plugin).candidate - already;
        }
        let context =
            Context { partition: partition(n), time: 1, poison: Vec::new(), first_run: true, generous: false };
        let flushed = finished(instance.flush(1, Generation([1; 16]), Cursor::at(15), 3, &context)).unwrap();
        assert_eq!(rows(&flushed, "out")[0].1, r#"{"seen":15}"#);
    }
    assert!((75..225).contains(&its) && its % 5 == 0, "{its} of 300");
    assert_eq!((figures(&plugin).candidate, figures(&plugin).own), (its, 300 - its));
}

#[test]
fn what_a_candidate_with_state_fails_on_is_a_dead_letter_because_no_other_has_the_state() {
    let component = support::component("hostile");
    let plugin = load(&component, "{}").with_canary(load(&again(&component), "{}"), share(100.0)).unwrap();
    let mut instance = chain(&plugin).instance(partition(0));
    let failed = apply(&mut *instance, (0, 3), r#"{"do":"trap"}"#, &Verdicts::new(), true);
    let Err(ChainFailure::Poison(found)) = failed else { panic!("{failed:?}") };
    assert_eq!(found.iter().map(|(pos, _, number, _)| (*pos, *number)).collect::<Vec<_>>(), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(figures(&plugin).failing, 3);
}

#[test]
fn one_that_could_not_take_over_is_none() {
    let (hostile, redact) = (load(&support::component("hostile"), "{}"), load(&support::component("redact"), "{}"));
    assert!(hostile.clone().with_canary(redact.clone(), share(5.0)).is_err());
    assert!(redact.with_canary(hostile, share(5.0)).is_err());
}
