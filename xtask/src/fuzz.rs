//! `cargo xtask fuzz`: the targets of bad input for as long as one likes. The usual run of the tests gives each a taste.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The targets; each is a test of this name behind `fuzz_`.
const TARGETS: [&str; 12] = [
    "json",
    "decoders",
    "paths_and_templates",
    "journal_records",
    "rescued_frames",
    "http_bodies",
    "compressed_bodies",
    "bulk_answers",
    "claims",
    "config",
    "plugin_answers",
    "process_answers",
];

/// What a fuzz run is asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Only targets whose name holds this
    #[arg(default_value = "")]
    target: String,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the changes are drawn from; another seed gives other inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the targets one after the other; an input that fails is written to a file, and its name printed.
pub fn run(options: &Options) -> Result<ExitCode> {
    let targets: Vec<&str> = TARGETS.into_iter().filter(|target| target.contains(&options.target)).collect();
    ensure!(!targets.is_empty(), "no target's name holds `{}`; there are {}", options.target, TARGETS.join(", "));
    // The whole workspace is selected, as everywhere: another selection has other features of what is shared.
    let command = ["test", "--quiet", "--workspace", "--lib", "--test", "json", "--test", "fuzz", "--"];
    let status = workspace::cargo()
        .args(command)
        .args(["--nocapture", "--test-threads", "1"])
        .args(targets.iter().map(|target| format!("fuzz_{target}")))
        .env("SAWLOG_FUZZ_SECONDS", options.seconds.to_string())
        .env("SAWLOG_FUZZ_SEED", options.seed.to_string())
        .current_dir(workspace::root())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sources(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => sources(&path, into),
                false if path.extension().is_some_and(|e| e == "rs") => {
                    into.push_str(&std::fs::read_to_string(path).unwrap_or_default())
                }
                false => {}
            }
        }
    }

    #[test]
    fn every_target_is_a_test_and_every_such_test_a_target() {
        let mut text = String::new();
        sources(&workspace::root().join("host"), &mut text);
        let found = text.split("fn fuzz_").skip(1).filter_map(|rest| rest.split('(').next());
        let mut found: Vec<&str> = found.collect();
        let mut targets = TARGETS.to_vec();
        found.sort_unstable();
        targets.sort_unstable();
        assert_eq!(found, targets);
    }
}
