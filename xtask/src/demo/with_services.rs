//! `cargo xtask demo --services`: provisions and starts the real services, builds, and hands over to the program of the
//! end-to-end tests that feeds, kills, reads and counts. Whatever was started is ended, also on failure.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use super::agent;
use crate::services::{self, Service};
use crate::{plugins, workspace};

/// Runs it.
pub fn run() -> Result<ExitCode> {
    println!("building the agent, the plugins and the readers …");
    plugins::build()?;
    let binary = agent::build()?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "sawlog-e2e", "--bin", "services_demo"]);
    ensure!(
        build.current_dir(workspace::root()).status().context("cannot run cargo")?.success(),
        "the readers do not compile"
    );
    let folder = workspace::root().join("target/demo-services");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    services::guarded(|run| {
        println!("starting Kafka, Elasticsearch, S3 and HDFS (fetched and built at the first time) …");
        run.start(&Service::DEFAULT)?;
        let mut demo = Command::new(workspace::binaries()?.join("services_demo"));
        demo.arg(&folder).envs(run.environment()?);
        demo.env("SAWLOG_TEST_BINARY", &binary).env("SAWLOG_TEST_PLUGINS", plugins::folder());
        let status = demo.status().context("cannot run the demonstration")?;
        Ok(ExitCode::from(u8::from(!status.success())))
    })
}
