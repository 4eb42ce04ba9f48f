//! Every plugin that we ship does what its golden files say, wherever batches are cut and instances reset.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Allow, PluginConfig, conformance, trial};
use std::path::Path;

/// Write the golden outputs instead of comparing them: for their author, who then reads the diff.
const REWRITE: &str = "SAWLOG_GOLDEN_WRITE";

fn golden(name: &str, allow: Allow) {
    let engine = support::engine();
    let bytes = support::component(name);
    let folder = support::repository().join("plugins").join(name).join("golden");
    let mut cases = 0;
    for case in std::fs::read_dir(&folder).unwrap() {
        let case = case.unwrap().path();
        let config_json = std::fs::read_to_string(case.join("config.json")).unwrap();
        let plugin = engine.load(name, &bytes, PluginConfig { config_json, allow, ..Default::default() });
        let plugin = plugin.unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        let input = trial::read(&std::fs::read_to_string(case.join("input.ndjson")).unwrap()).unwrap();
        let found = trial::run(&plugin, &input).unwrap().join("\n") + "\n";
        compare(&case, &found);
        conformance::check(&plugin, &input).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        cases += 1;
    }
    assert!(cases > 0, "no golden files in {}", folder.display());
}

fn compare(case: &Path, found: &str) {
    let path = case.join("output.ndjson");
    if std::env::var_os(REWRITE).is_some() {
        return std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{} line {}", path.display(), i + 1);
    }
    assert_eq!(found, expected, "{}", path.display());
}

#[test]
fn level_filter() {
    golden("level-filter", Allow::default());
}

#[test]
fn redact() {
    golden("redact", Allow::default());
}

#[test]
fn redact_pattern() {
    golden("redact-pattern", Allow { kernels: true, ..Allow::default() });
}

#[test]
fn count_window() {
    golden("count-window", Allow { state: true, timers: true, kernels: false });
}

#[test]
fn sample_c() {
    golden("sample-c", Allow::default());
}

#[test]
fn the_world_of_typed_records() {
    golden("typed", Allow::default());
}
