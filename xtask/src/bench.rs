//! `cargo xtask bench`.

use std::process::ExitCode;

use anyhow::Result;

/// What a bench may be asked for.
#[derive(clap::Args)]
pub struct Options {}

/// Runs every bench beside its floor.
pub fn run(_: &Options) -> Result<ExitCode> {
    Ok(crate::not_built_yet("bench"))
}
