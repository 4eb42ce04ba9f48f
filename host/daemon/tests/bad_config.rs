//! Every config in `bad_config/` gets exactly the diagnostics that stand beside it. A changed diagnostic is rewritten by
//! `UPDATE=1 cargo test -p sawlog --test bad_config`, and then read.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_config")
}

/// What `sawlog validate` says, and its exit code.
fn diagnostics(config: &str) -> String {
    said(&["validate", "-c", config])
}

fn said(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawlog"));
    let output = command.current_dir(folder()).env_clear().args(arguments).output().unwrap();
    let shown = [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    let shown = shown.replace(&folder().display().to_string(), "HERE");
    format!("{}\nexit code {}\n", shown.trim_end(), output.status.code().unwrap())
}

/// Files and folders that are configs, by name.
fn configs() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|e| e == "yaml") || path.ends_with("folder") || path.ends_with("empty_folder")
        })
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.push("absent.yaml".to_owned());
    names.sort();
    names
}

#[test]
fn every_bad_config_is_told_everything_that_is_wrong_with_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differ = Vec::new();
    for config in configs() {
        let golden = folder().join(format!("{}.txt", config.trim_end_matches(".yaml")));
        let found = diagnostics(&config);
        if update {
            std::fs::write(&golden, &found).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            differ.push(format!("{config}, now:\n{found}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{} configs have other diagnostics than their .txt:\n{}",
        differ.len(),
        differ.join("\n")
    );
}

/// Whoever asks beforehand what a start would say of its plugins is told the same, whichever way it is asked.
#[test]
fn a_dry_run_says_of_plugins_what_validate_says() {
    for config in ["no_plugins.yaml", "plugin_schema.yaml"] {
        assert_eq!(said(&["run", "--dry-run", "-c", config]), diagnostics(config));
    }
}

/// Values of secrets stand in no diagnostic, whatever else is wrong.
#[test]
fn no_diagnostic_shows_a_secret() {
    let shown = diagnostics("references.yaml");
    assert!(!shown.contains("not-a-secret") && !shown.contains("hunter2"), "{shown}");
}

/// A pod with a cpuset is such a process: nothing of what the program is made of may complain of it.
#[test]
fn where_only_one_processor_may_be_used_nothing_complains_of_that() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let first = allowed.split(['-', ',']).next().unwrap();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", first, env!("CARGO_BIN_EXE_sawlog"), "schema"]).env_remove("_RJEM_MALLOC_CONF");
    let Ok(output) = command.output() else {
        println!("NOT RUN: a process on one processor: there is no `taskset` here; it comes with util-linux");
        return;
    };
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
