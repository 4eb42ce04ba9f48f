//! A component beside another: what it would make of records is compared and counted, what it does to itself is no matter of the
//! records, and what it shows ends it.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use sawlog_chain::apply::write_record;
use sawlog_chain::{Allow, Plugin, PluginConfig, ShadowFigures, ShadowLimits};
use sawlog_core::SinkId;
use sawlog_core::ports::{Chain, ChainInstance, Context};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::{Generation, PartitionId};
use support::through::{chain, finished};

const NEVER: ShadowLimits = ShadowLimits { failing_max: 1.0, differing_max: 1.0 };
const RECORD: &str = r#"{"level":"WARN","note":"a@b.example"}"#;

fn load(bytes: &[u8], config_json: &str) -> Plugin {
    let allow = Allow { state: true, timers: true, kernels: true };
    let config = PluginConfig { config_json: config_json.into(), allow, ..PluginConfig::default() };
    support::engine().load("plugin", bytes, config).unwrap()
}

/// Runs a batch of `count` records; the rows that come out, as text.
fn run(instance: &mut dyn ChainInstance, from: u64, record: &str, count: u64, first_run: bool) -> Vec<String> {
    let (mut arena, mut records) = (Vec::new(), Vec::new());
    for pos in from..from + count {
        let text = Span { start: arena.len() as u32, len: record.len() as u32 };
        arena.extend_from_slice(record.as_bytes());
        records.push(InputRecord { pos, end: pos + 1, text, received: 1, flags: 0 });
    }
    let input = Input { generation: Generation([1; 16]), arena, records, open: Vec::new() };
    let partition = PartitionId::derive("test", &[]);
    let context = Context { partition, time: 1, poison: Vec::new(), first_run, generous: !first_run };
    let applied = finished(instance.apply(input, &context)).unwrap();
    assert!(applied.outputs[&SinkId::new("dead")].output.rows.is_empty());
    let out = &applied.outputs[&SinkId::new("out")].output;
    let shown = |row: &u32| {
        let mut text = Vec::new();
        write_record(&out.batch, &out.batch.rows[*row as usize], &mut text);
        String::from_utf8(text).unwrap()
    };
    out.rows.iter().map(shown).collect()
}

fn figures(plugin: &Plugin) -> ShadowFigures {
    plugin.figures().shadow.unwrap()
}

/// Waits until the shadow has dealt with `batches`.
fn dealt_with(plugin: &Plugin, batches: u64) -> ShadowFigures {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let found = figures(plugin);
        if found.batches + found.skipped_batches >= batches || found.ended.is_some() {
            return found;
        }
        assert!(Instant::now() < until, "{found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_same_differs_nowhere_and_another_everywhere_and_neither_is_seen() {
    let config = r#"{"fields":["level","note"]}"#;
    let (redact, normalise) = (support::component("redact"), support::component("normalise-level"));
    let mut again = redact.clone();
    again.extend([0, 3, 2, b'v', b'2']);
    let alone =
        run(&mut *chain(&load(&redact, config)).instance(PartitionId::derive("test", &[])), 0, RECORD, 20, true);
    for (candidate, differing) in [(&again, 0), (&normalise, 20)] {
        let plugin = load(&redact, config);
        plugin.begin_shadow(load(candidate, config), NEVER).unwrap();
        let chain = chain(&plugin);
        let mut instance = chain.instance(PartitionId::derive("test", &[]));
        assert_eq!(run(&mut *instance, 0, RECORD, 20, true), alone);
        let found = dealt_with(&plugin, 1);
        assert_eq!((found.batches, found.records, found.differing, found.failing), (1, 20, differing, 0));
        // What is run again behind a restart was compared before.
        run(&mut *instance, 20, RECORD, 20, false);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(figures(&plugin), found);
        assert_eq!(plugin.end_shadow(), Some(found));
        assert_eq!(plugin.figures().shadow, None);
    }
}

#[test]
fn one_that_traps_or_differs_too_often_ends_and_no_record_is_touched() {
    let config = r#"{"fields":["level","note"]}"#;
    let (redact, normalise) = (support::component("redact"), support::component("normalise-level"));
    let cases = [
        (sawlog_fuzz::trapping(&redact), 0.5, 1.0, "it fails on"),
        (normalise, 1.0, 0.5, "it makes something else of"),
    ];
    for (candidate, failing_max, differing_max, why) in cases {
        let plugin = load(&redact, config);
        plugin.begin_shadow(load(&candidate, config), ShadowLimits { failing_max, differing_max }).unwrap();
        let chain = chain(&plugin);
        let mut instance = chain.instance(PartitionId::derive("test", &[]));
        let until = Instant::now() + Duration::from_secs(30);
        let mut pos = 0;
        while figures(&plugin).ended.is_none() && Instant::now() < until {
            assert_eq!(run(&mut *instance, pos, RECORD, 30, true).len(), 30);
            pos += 30;
            std::thread::sleep(Duration::from_millis(2));
        }
        let found = figures(&plugin);
        assert!(found.ended.as_ref().is_some_and(|ended| ended.contains(why)), "{found:?}");
        assert_eq!(plugin.figures().failures.len(), 0, "its failures are not the plugin's");
        run(&mut *instance, pos, RECORD, 30, true);
        assert_eq!(figures(&plugin), found, "it has ended");
    }
}

#[test]
fn one_with_state_begins_with_the_state_of_the_present_one() {
    let hostile = support::component("hostile");
    let plugin = load(&hostile, "{}");
    plugin.begin_shadow(load(&hostile, "{}"), NEVER).unwrap();
    let chain = chain(&plugin);
    let mut instance = chain.instance(PartitionId::derive("test", &[]));
    for turn in 0..3 {
        for batch in 0..4 {
            run(&mut *instance, turn * 100 + batch * 10, r#"{"do":"good"}"#, 10, true);
            dealt_with(&plugin, turn * 4 + batch + 1);
        }
        finished(instance.snapshot()).unwrap();
    }
    let found = figures(&plugin);
    assert_eq!((found.batches, found.skipped_batches), (3, 9), "one behind each snapshot: {found:?}");
    assert_eq!((found.records, found.differing, found.failing), (30, 0, 0), "{found:?}");
    let stateless = load(&support::component("redact"), r#"{"fields":["do"]}"#);
    assert!(stateless.begin_shadow(plugin.clone(), NEVER).is_err());
    assert!(plugin.begin_shadow(stateless, NEVER).is_err());
}
