//! x
use std::process::ExitCode;
/// x
#[derive(clap::Args)]
pub struct Options {}
/// x
pub fn run(_: &Options) -> anyhow::Result<ExitCode> {
    Ok(crate::not_built_yet("test"))
}
