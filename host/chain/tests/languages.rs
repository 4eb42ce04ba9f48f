//! The example that every SDK has gives the same bytes in every language, under every cut of batches and reset of instances.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Engine, EngineLimits, PluginConfig, conformance, trial};

/// Runs the example of `language` over the golden files that all share; says that it could not where it was not built.
fn golden(language: &str, needs: &str) {
    let path = support::repository().join("plugins/target/components/tidy").join(format!("{language}.wasm"));
    let Ok(bytes) = std::fs::read(&path) else {
        println!("NOT RUN: the example in {language} was not built; it needs {needs}");
        return;
    };
    // Compiling a language's runtime takes seconds, so it is done once.
    let cache = tempfile::tempdir().unwrap();
    let limits = EngineLimits { instances_max: 64, ..EngineLimits::default() };
    let engine = Engine::new(limits, Some(cache.path().join("code"))).unwrap();
    for case in support::folders(&support::repository().join("sdk/example/golden")) {
        let config_json = std::fs::read_to_string(case.join("config.json")).unwrap();
        let plugin = engine.load("tidy", &bytes, PluginConfig { config_json, ..Default::default() }).unwrap();
        let input = trial::read(&std::fs::read_to_string(case.join("input.ndjson")).unwrap()).unwrap();
        let found = trial::run(&plugin, &input).unwrap().join("\n") + "\n";
        let expected = case.join("output.ndjson");
        if language == "rust" && std::env::var_os("SAWLOG_GOLDEN_WRITE").is_some() {
            std::fs::write(&expected, &found).unwrap();
        }
        let golden = std::fs::read_to_string(&expected).unwrap();
        for (i, (found, golden)) in found.lines().zip(golden.lines()).enumerate() {
            assert_eq!(found, golden, "{language}: {} line {}", expected.display(), i + 1);
        }
        assert_eq!(found, golden, "{language}: {}", expected.display());
        conformance::check(&plugin, &input).unwrap_or_else(|e| panic!("{language}: {e}"));
    }
    let wrong = PluginConfig {
        config_json: r#"{"at_least":"loud","fields":["body"],"add":{"name":"a","text":"b"}}"#.into(),
        ..Default::default()
    };
    let refused = engine.load("tidy", &bytes, wrong).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("at_least"), "{language}: {refused}");
}

#[test]
fn rust() {
    golden("rust", "nothing but the toolchain of this repository");
}

#[test]
fn c() {
    golden("c", "clang with lld, or the Python package ziglang");
}

#[test]
fn go() {
    golden("go", "Go 1.24 or newer");
}

#[test]
fn javascript() {
    golden("javascript", "Node.js 20 or newer with npm");
}

#[test]
fn python() {
    golden(
        "python",
        "SAWLOG_COMPONENTIZE_PY, which names `componentize-py`; cargo xtask plugins build --full sees to it",
    );
}
