//! `cargo xtask plugins`: from Rust sources to components that the agent loads.

use std::process::ExitCode;

use anyhow::Result;

/// What can be done with the plugins of this repository.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Compile every plugin and make a component of it
    Build,
}

/// Runs one verb.
pub fn run(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Build => Ok(crate::not_built_yet("plugins build")),
    }
}
