//! State that an older build of a plugin kept is taken over by a newer one, by its export `upgrade`: two real components between a
//! source and its sinks, as the core runs them. Where that can't be, the state begins fresh, and nothing else happens.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Allow, Plugin, PluginConfig};
use sawlog_core::SinkId;
use sawlog_core::plan::{ComponentId, UpgradeOutcome};
use sawlog_core::ports::{Applied, Chain as _, ChainInstance, Context};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::BTreeMap;
use std::path::Path;
use support::through::{COMPONENT, chain_to, finished, input};

const CONFIG: &str = r#"{"key":"key","window_seconds":10,"lateness_seconds":3,"absorb":true}"#;
const ROWS: [(i64, &str); 12] = [
    (1, "a"),
    (2, "b"),
    (9, "a"),
    (8, "b"),
    (12, "a"),
    (11, "c"),
    (7, "a"),
    (19, "b"),
    (24, "a"),
    (16, "c"),
    (3, "a"),
    (41, "b"),
];

/// The component that count-window was when its state had version 1, as it was built then.
fn older() -> Plugin {
    let path = "tests/data/contract-0.1.0/stateful-transformer/plugin.component";
    load(&std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap())
}

fn newer() -> Plugin {
    load(&support::component("count-window"))
}

fn load(bytes: &[u8]) -> Plugin {
    let allow = Allow { state: true, timers: true, ..Allow::default() };
    let config = PluginConfig { config_json: CONFIG.into(), allow, ..PluginConfig::default() };
    support::engine().load("count-window", bytes, config).unwrap()
}

struct Life {
    instance: Box<dyn ChainInstance>,
    /// What came out, as text, by sink.
    given: Vec<(&'static str, String)>,
}

impl Life {
    fn of(plugin: &Plugin) -> Self {
        let chain = chain_to(plugin, &["late", "windows"]);
        Self { instance: chain.instance(PartitionId::derive("upgrade", &[])), given: Vec::new() }
    }

    fn context() -> Context {
        let partition = PartitionId::derive("upgrade", &[]);
        Context { partition, time: 1, poison: Vec::new(), first_run: true, generous: false }
    }

    fn rows(&mut self, from: usize, to: usize) {
        let lines: Vec<String> =
            ROWS[from..to].iter().map(|(at, key)| format!(r#"{{"at":{at},"key":"{key}"}}"#)).collect();
        let applied = finished(self.instance.apply(input(from as u64, &lines), &Self::context())).unwrap();
        self.take(&applied);
    }

    fn end(&mut self) {
        let at = Cursor { pos: ROWS.len() as u64, slot: 0 };
        let context = Self::context();
        let applied = finished(self.instance.flush(COMPONENT, Generation([1; 16]), at, i64::MAX, &context)).unwrap();
        self.take(&applied);
    }

    fn take(&mut self, applied: &Applied) {
        for sink in ["late", "windows"] {
            let output = &applied.outputs[&SinkId::new(sink)].output;
            for row in &output.rows {
                let mut text = Vec::new();
                sawlog_chain::apply::write_record(&output.batch, &output.batch.rows[*row as usize], &mut text);
                self.given.push((sink, String::from_utf8(text).unwrap()));
            }
        }
    }

    fn state(&mut self) -> BTreeMap<ComponentId, Vec<u8>> {
        finished(self.instance.snapshot()).unwrap()
    }

    /// What becomes of the state of another build.
    fn upgrade(&mut self, old: &BTreeMap<ComponentId, Vec<u8>>) -> UpgradeOutcome {
        finished(self.instance.upgrade(COMPONENT, old[&COMPONENT].clone())).unwrap()
    }
}

#[test]
fn a_newer_build_goes_on_where_the_older_one_stood_whichever_row_that_was() {
    let (older, newer) = (older(), newer());
    let version = |plugin: &Plugin| plugin.registration().state_version;
    assert_eq!((version(&older), version(&newer)), (1, 2));
    assert_ne!(older.digest(), newer.digest());
    let mut whole = Life::of(&newer);
    whole.rows(0, ROWS.len());
    whole.end();
    for handover in 0..=ROWS.len() {
        let mut before = Life::of(&older);
        if handover > 0 {
            before.rows(0, handover);
        }
        let state = before.state();
        let mut after = Life::of(&newer);
        assert_eq!(after.upgrade(&state), UpgradeOutcome::Carried);
        // Whoever restores the new build's own state later has the same.
        let kept = after.state();
        let mut again = Life::of(&newer);
        finished(again.instance.restore(kept.clone())).unwrap();
        assert_eq!(
            (again.state(), again.instance.wake_at()),
            (kept, before.instance.wake_at()),
            "before row {handover}"
        );
        if handover < ROWS.len() {
            again.rows(handover, ROWS.len());
        }
        again.end();
        let mut given = before.given;
        given.append(&mut again.given);
        // By sink: a row that is late stands before or behind a window of the same batch.
        let of = |given: &[(&'static str, String)], sink| {
            given.iter().filter(|(name, _)| *name == sink).map(|(_, text)| text.clone()).collect::<Vec<_>>()
        };
        for sink in ["late", "windows"] {
            assert_eq!(of(&given, sink), of(&whole.given, sink), "{sink}, handed over before row {handover}");
        }
    }
    assert!(whole.given.len() > 6, "{:?}", whole.given);
}

#[test]
fn a_build_that_does_not_know_the_form_begins_with_fresh_state() {
    let (older, newer) = (older(), newer());
    let mut before = Life::of(&newer);
    before.rows(0, 5);
    let state = before.state();
    // The way back: version 1 knows nothing of version 2.
    let mut after = Life::of(&older);
    assert_eq!(after.upgrade(&state), UpgradeOutcome::Fresh);
    let fresh = Life::of(&older).state();
    assert_eq!(after.state(), fresh, "what was refused has left nothing behind");
    after.rows(5, ROWS.len());
    after.end();
    assert!(after.given.iter().any(|(sink, _)| *sink == "windows"), "and it works");

    // State of the right version that is not what it says: refused, not guessed at.
    let mut damaged = before.state();
    let blob = damaged.get_mut(&COMPONENT).unwrap();
    blob[0] = 1;
    let mut after = Life::of(&newer);
    assert_eq!(after.upgrade(&damaged), UpgradeOutcome::Fresh);
    assert_eq!(after.state(), Life::of(&newer).state());
}
