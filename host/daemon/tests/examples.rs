//! The configs in `examples/` hold together, fit the JSON Schema, and are what the drawings and reports are made from.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn sawlog(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawlog"));
    command.current_dir(folder()).env_clear().args(arguments).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn examples() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let configs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<String> = configs.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_example_holds_together_without_a_warning() {
    assert!(examples().len() >= 4, "{:?}", examples());
    for example in examples() {
        let output = sawlog(&["validate", "-c", &example, "--format", "json"]);
        let report = json(&output);
        assert_eq!(report["complaints"], serde_json::json!([]), "{example}");
        assert!(output.status.success() && report["valid"] == true, "{example}");
        assert!(!report["report"]["routes"].as_array().unwrap().is_empty(), "{example}");
    }
}

#[test]
fn every_example_fits_the_schema_and_a_wrong_one_does_not() {
    let schema = json(&sawlog(&["schema"]));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for example in examples() {
        let text = std::fs::read_to_string(folder().join(&example)).unwrap();
        let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&config).map(|error| format!("{} {error}", error.instance_path())).collect();
        assert_eq!(errors, Vec::<String>::new(), "{example}");
        // Each of these is a mistake that the loader finds too.
        for (pointer, wrong) in [("/version", "one"), ("/sources", "none"), ("/sinks", "none")] {
            let mut config = config.clone();
            *config.pointer_mut(pointer).unwrap() = wrong.into();
            assert!(!validator.is_valid(&config), "{example} {pointer}");
        }
        let mut config = config.clone();
        let sink = config["sinks"].as_object_mut().unwrap().values_mut().next().unwrap();
        sink["unknown_key"] = true.into();
        assert!(!validator.is_valid(&config), "{example}");
    }
}

#[test]
fn every_route_says_what_makes_its_promise_hold() {
    let report = json(&sawlog(&["validate", "-c", "everything.yaml", "--format", "json"]));
    let promise = |source: &str, sink: &str| {
        let routes = report["report"]["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["source"] == source && route["sink"] == sink).unwrap();
        format!(
            "{} by {}",
            route["promise"]["delivery"].as_str().unwrap(),
            route["promise"]["mechanism"].as_str().unwrap()
        )
    };
    assert_eq!(promise("app", "stream"), "exactly_once by kafka transaction");
    assert_eq!(promise("orders", "stream"), "exactly_once by kafka transaction");
    let moving = report["report"]["routes"].as_array().unwrap().iter().find(|r| r["source"] == "orders").unwrap();
    assert!(moving["promise"]["provided"].to_string().contains("journal topic keeps 3 replicas"), "{moving}");
    assert_eq!(promise("web", "search"), "exactly_once by es deterministic _id");
    assert_eq!(promise("web", "lake"), "exactly_once by numbered claim, If-None-Match");
    assert_eq!(promise("app", "hadoop"), "exactly_once by numbered claim, hdfs tmp+rename");
    assert_eq!(promise("app", "local"), "exactly_once by local append, journalled length");
    assert_eq!(promise("web", "nowhere"), "best_effort by counted, then thrown away");
}

#[test]
fn the_graph_names_every_component_and_edge() {
    let mermaid = String::from_utf8(sawlog(&["graph", "-c", "kubernetes.yaml"]).stdout).unwrap();
    for line in ["pods([\"pods: file\"])", "pods --> parsed", "split -- search --> search", "parsed --> hadoop"] {
        assert!(mermaid.contains(line), "{line} in {mermaid}");
    }
    let dot = String::from_utf8(sawlog(&["graph", "-c", "kubernetes.yaml", "--format", "dot"]).stdout).unwrap();
    assert!(
        dot.starts_with("digraph sawlog {") && dot.contains("\"split\" -> \"search\" [label=\"search\"];"),
        "{dot}"
    );
}

/// A secret's value is in no output of any verb, whatever the example.
#[test]
fn no_output_shows_a_secret() {
    for example in examples() {
        for arguments in [
            &["validate", "-c", &example, "--format", "json"][..],
            &["graph", "-c", &example],
            &["run", "--dry-run", "-c", &example],
        ] {
            let output = sawlog(arguments);
            let shown = [output.stdout, output.stderr].concat();
            assert!(!String::from_utf8(shown).unwrap().contains("replace-me"), "{arguments:?}");
        }
    }
}

#[test]
fn setup_says_what_it_would_make_and_makes_nothing() {
    let output = sawlog(&["setup", "--dry-run", "-c", "everything.yaml"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cursors = text.lines().find(|line| line.contains("topic sawlog-cursors")).unwrap();
    assert!(cursors.contains("cleanup.policy=compact") && cursors.contains("3 replicas"), "{text}");
    assert!(cursors.ends_with("would be made if it is missing"), "{text}");
    assert!(text.contains("logs.{service.name}: its names come from records"), "{text}");
    let none = sawlog(&["setup", "-c", "file-to-lake.yaml"]);
    assert_eq!(String::from_utf8(none.stdout).unwrap(), "no sink of this config needs a topic or an index template\n");
}
