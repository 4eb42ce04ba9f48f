//! `cargo xtask bench`: builds the agent and the bench with optimisation, and lets the bench measure. Never part of the tests.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::{plugins, workspace};

/// What a bench may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Megabytes (10^6 bytes) of input of one run
    #[arg(long, default_value_t = 400)]
    megabytes: u64,
    /// Interleaved runs; medians count
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these rows: json, plugins, nginx, cri, http, idle, recovery, files, chain, cores; and bytes, kafka (needs
    /// `SAWLOG_TEST_KAFKA`), which nothing else measures
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Runs every row beside its floor.
pub fn run(options: &Options) -> Result<ExitCode> {
    println!("building the agent and the bench with optimisation, and the plugins …");
    plugins::build(false)?;
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--release", "-p", "sawlog", "-p", "sawlog-bench"]);
    let built = build.current_dir(workspace::root()).status().context("cannot run cargo")?;
    ensure!(built.success(), "the agent or the bench does not compile");
    let target = workspace::binaries()?.parent().context("the folder of binaries has no parent")?.to_owned();
    let binaries = target.join("release");
    let mut bench = Command::new(binaries.join("sawlog-bench"));
    bench.arg("run").arg("--agent").arg(binaries.join("sawlog")).arg("--plugins").arg(plugins::folder());
    bench.arg("--folder").arg(target.join("bench")).args(["--megabytes", &options.megabytes.to_string()]);
    bench.args(["--runs", &options.runs.to_string()]);
    if !options.only.is_empty() {
        bench.args(["--only", &options.only.join(",")]);
    }
    let status = bench.status().context("cannot run the bench")?;
    Ok(ExitCode::from(u8::from(!status.success())))
}
