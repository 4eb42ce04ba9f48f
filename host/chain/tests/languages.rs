//! The example that every SDK has gives the same bytes in every language, under every cut of batches and reset of instances.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Allow, Engine, PluginConfig, conformance, trial};
use std::path::Path;

const GO: &str = "Go 1.24 or newer";

/// The component `name` of an SDK's example and an engine for it; says that there is none where it was not built.
fn built(name: &str, needs: &str) -> Option<(Vec<u8>, Engine)> {
    let path = support::repository().join("plugins/target/components/tidy").join(format!("{name}.wasm"));
    let Ok(bytes) = std::fs::read(&path) else {
        println!("NOT RUN: the example {name} was not built; it needs {needs}");
        return None;
    };
    Some((bytes, support::engine()))
}

/// Runs the component over the golden files in `folder`.
fn golden(name: &str, (bytes, engine): (&[u8], &Engine), folder: &Path, allow: Allow) {
    for case in support::folders(&support::repository().join(folder)) {
        let config_json = std::fs::read_to_string(case.join("config.json")).unwrap();
        let config = PluginConfig { config_json, allow, ..Default::default() };
        let plugin = engine.load("example", bytes, config).unwrap();
        let input = trial::read(&std::fs::read_to_string(case.join("input.ndjson")).unwrap()).unwrap();
        let found = trial::run(&plugin, &input).unwrap().join("\n") + "\n";
        let expected = case.join("output.ndjson");
        if name == "rust" && std::env::var_os("SAWLOG_GOLDEN_WRITE").is_some() {
            std::fs::write(&expected, &found).unwrap();
        }
        let golden = std::fs::read_to_string(&expected).unwrap();
        for (i, (found, golden)) in found.lines().zip(golden.lines()).enumerate() {
            assert_eq!(found, golden, "{name}: {} line {}", expected.display(), i + 1);
        }
        assert_eq!(found, golden, "{name}: {}", expected.display());
        conformance::check(&plugin, &input).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// The example of `language` over the golden files that all share, and a configuration that it refuses.
fn tidy(language: &str, needs: &str) {
    let Some((bytes, engine)) = built(language, needs) else { return };
    golden(language, (&bytes, &engine), Path::new("sdk/example/golden"), Allow::default());
    let wrong = PluginConfig {
        config_json: r#"{"at_least":"loud","fields":["body"],"add":{"name":"a","text":"b"}}"#.into(),
        ..Default::default()
    };
    let refused = engine.load("tidy", &bytes, wrong).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("at_least"), "{language}: {refused}");
}

#[test]
fn rust() {
    tidy("rust", "nothing but the toolchain of this repository");
}

#[test]
fn c() {
    tidy("c", "clang with lld, or the Python package ziglang");
}

#[test]
fn cpp() {
    tidy("cpp", "clang with lld, or the Python package ziglang");
}

#[test]
fn go() {
    tidy("go", GO);
}

/// Windows of event time in a second language, by the golden files of the plugin in Rust.
#[test]
fn windows_in_go() {
    let name = "count-window-go";
    let Some((bytes, engine)) = built(name, GO) else { return };
    let allow = Allow { state: true, timers: true, ..Allow::default() };
    golden(name, (&bytes, &engine), Path::new("plugins/count-window/golden"), allow);
}

/// Plugins by the contract's binary interface alone, in languages without an SDK.
fn by_hand(language: &str, needs: &str) {
    let name = format!("no-debug-{language}");
    let Some((bytes, engine)) = built(&name, needs) else { return };
    golden(&name, (&bytes, &engine), Path::new("sdk/example/no-debug"), Allow::default());
}

#[test]
fn zig() {
    by_hand("zig", "the Python package ziglang");
}

#[test]
fn assemblyscript() {
    by_hand("assemblyscript", "Node.js 20 or newer with npm; cargo xtask plugins build --full sees to it");
}

#[test]
fn javascript() {
    tidy("javascript", "Node.js 20 or newer with npm");
}

#[test]
fn python() {
    tidy(
        "python",
        "SAWLOG_COMPONENTIZE_PY, which names `componentize-py`; cargo xtask plugins build --full sees to it",
    );
}
