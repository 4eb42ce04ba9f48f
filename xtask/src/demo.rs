//! `cargo xtask demo`: the main job on this machine. Builds the agent, the plugins and the program of the end-to-end tests that
//! feeds, kills with -9, reads and counts, and hands over to it; with `--services` it provisions the real services first, and
//! whatever was started is ended, also on failure.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::services::{self, Service};
use crate::{plugins, workspace};

/// What a demonstration may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Use real Kafka, Elasticsearch, S3 and HDFS, provisioned on loopback, as well
    #[arg(long)]
    services: bool,
    /// How many log lines are written (without --services)
    #[arg(long, default_value_t = 30_000)]
    lines: u64,
}

/// Runs the demonstration.
pub fn run(options: &Options) -> Result<ExitCode> {
    println!("building the agent, the plugins and the readers …");
    plugins::build(false)?;
    workspace::build(&["sawlog", "demo"])?;
    if !options.services {
        let folder = empty("demo")?;
        return show(&folder, &["local"], &[&options.lines.to_string()], Vec::new());
    }
    let folder = empty("demo-services")?;
    services::guarded(|run| {
        println!("starting Kafka, Elasticsearch, S3 and HDFS (fetched and built at the first time) …");
        run.start(&Service::DEFAULT)?;
        show(&folder, &["services"], &[], run.environment()?.into_iter().collect())
    })
}

/// An empty folder of that name.
fn empty(name: &str) -> Result<PathBuf> {
    let folder = workspace::root().join("target").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(folder)
}

fn show(folder: &Path, what: &[&str], more: &[&str], environment: Vec<(String, String)>) -> Result<ExitCode> {
    let binaries = workspace::binaries()?;
    let mut demo = Command::new(binaries.join("demo"));
    demo.args(what).arg(folder).args(more).envs(environment);
    demo.env("SAWLOG_TEST_BINARY", binaries.join("sawlog")).env("SAWLOG_TEST_PLUGINS", plugins::folder());
    let status = demo.status().context("cannot run the demonstration")?;
    Ok(ExitCode::from(u8::from(!status.success())))
}
