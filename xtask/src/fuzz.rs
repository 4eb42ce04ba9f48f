//! `cargo xtask fuzz`: the targets of bad input for as long as one likes. The usual run of the tests gives each a taste.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace;

/// What a fuzz run is asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Only targets whose name holds this: json, decoders, paths, journal, rescued, http, compressed, bulk, claims, config, plugin
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
    let name = format!("fuzz_{}", options.target);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    // The whole workspace is selected, as everywhere: another selection has other features of what is shared.
    let command =
        ["test", "--quiet", "--workspace", "--lib", "--bin", "sawlog", "--test", "json", "--test", "fuzz", "--"];
    let status = Command::new(cargo)
        .args(command)
        .args(["--nocapture", "--test-threads", "1", &name])
        .env("SAWLOG_FUZZ_SECONDS", options.seconds.to_string())
        .env("SAWLOG_FUZZ_SEED", options.seed.to_string())
        .current_dir(workspace::root())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
