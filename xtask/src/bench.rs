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
    /// Only these rows: json, plugins (in two forms, and the same steps natively), apart (plugins in processes of their own), nginx,
    /// cri, http, idle, recovery, files, chain, cores; and bytes, kafka (needs `SAWLOG_TEST_KAFKA`), latency (with Kafka where that is
    /// set), which nothing else measures; and lifecycle, what instances of plugins cost apart from their calls
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// The row that is no run of the agent: an example of the chain, which has no floor.
const LIFECYCLE: &str = "lifecycle";

/// Runs every row beside its floor, or those that are asked for.
pub fn run(options: &Options) -> Result<ExitCode> {
    println!("building with optimisation what is measured, and the plugins …");
    plugins::build(false)?;
    let (lifecycle, rows): (Vec<&String>, Vec<&String>) = options.only.iter().partition(|row| *row == LIFECYCLE);
    let is_all = options.only.is_empty();
    if is_all || !lifecycle.is_empty() {
        let example = ["run", "--quiet", "--release", "-p", "sawlog-chain", "--example", LIFECYCLE];
        let status = workspace::cargo().args(example).current_dir(workspace::root()).status();
        ensure!(status.context("cannot run cargo")?.success(), "what instances cost could not be measured");
    }
    if !is_all && rows.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--release", "-p", "sawlog", "-p", "sawlog-bench", "-p", "sawlog-native"]);
    let built = build.current_dir(workspace::root()).status().context("cannot run cargo")?;
    ensure!(built.success(), "the agent or the bench does not compile");
    let target = workspace::binaries()?.parent().context("the folder of binaries has no parent")?.to_owned();
    let binaries = target.join("release");
    let mut bench = Command::new(binaries.join("sawlog-bench"));
    bench.arg("run").arg("--agent").arg(binaries.join("sawlog")).arg("--plugins").arg(plugins::folder());
    bench.arg("--native").arg(binaries.join("sawlog-native"));
    bench.arg("--folder").arg(target.join("bench")).args(["--megabytes", &options.megabytes.to_string()]);
    bench.args(["--runs", &options.runs.to_string()]);
    if !is_all {
        let rows: Vec<&str> = rows.into_iter().map(String::as_str).collect();
        bench.args(["--only", &rows.join(",")]);
    }
    let status = bench.status().context("cannot run the bench")?;
    Ok(ExitCode::from(u8::from(!status.success())))
}
