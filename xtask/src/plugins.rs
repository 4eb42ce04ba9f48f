//! `cargo xtask plugins`: from the sources below `plugins/` to components that the agent loads.
//!
//! Knows where plugins are and where components go; how one is made is known to `host/componentize`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// What can be done with the plugins of this repository.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Compile every plugin and make a component of it
    Build,
}

/// Runs one verb.
pub fn run(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Build => build().map(|()| ExitCode::SUCCESS),
    }
}

/// The folder into which components are built; tests find it in `SAWLOG_TEST_PLUGINS`.
pub fn folder() -> Result<PathBuf> {
    Ok(workspace::binaries()?.parent().context("the target folder has no parent")?.join("plugins"))
}

/// Builds every plugin.
pub fn build() -> Result<()> {
    let sources = sources()?;
    ensure!(!sources.is_empty(), "there are no plugins below plugins/");
    let out = folder()?;
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string()))
        .args(["run", "--quiet", "--package", "xtask", "--features", "componentize", "--bin", "build-plugins", "--"])
        .arg(&out)
        .args(&sources)
        .current_dir(workspace::root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "not every plugin could be built");
    Ok(())
}

/// The folders of plugins written in Rust, in a fixed order.
fn sources() -> Result<Vec<PathBuf>> {
    let folder = workspace::root().join("plugins");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("cdylib")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
