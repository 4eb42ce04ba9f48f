//! `cargo xtask soak`: builds the agent, the plugins and the bench, and lets the bench soak it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{plugins, workspace};

/// What a soak may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// How long it lasts
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// What faults and their times are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Soaks.
pub fn run(options: &Options) -> Result<ExitCode> {
    plugins::build(false)?;
    workspace::build(&["sawlog", "sawlog-bench"])?;
    let binaries = workspace::binaries()?;
    let mut soak = Command::new(binaries.join("sawlog-bench"));
    soak.arg("soak").arg("--agent").arg(binaries.join("sawlog")).arg("--plugins").arg(plugins::folder());
    soak.arg("--folder").arg(binaries.join("soak"));
    soak.args(["--minutes", &options.minutes.to_string(), "--seed", &options.seed.to_string()]);
    let status = soak.status().context("cannot run the bench")?;
    Ok(ExitCode::from(u8::from(!status.success())))
}
