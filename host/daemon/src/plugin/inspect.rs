//! `sawlog plugin inspect`: what is known of a component without running it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sawlog_chain::Digest;

use super::{PluginError, say};
use crate::digest::ContentDigest;

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct Options {
    /// The component.
    component: PathBuf,
}

/// What the plugin at `path`, whose bytes these are, imports and exports.
pub fn plugin(path: &Path, bytes: &[u8]) -> Result<sawlog_componentize::Interface, PluginError> {
    let wrong = |why| PluginError::NoPlugin { path: path.to_owned(), why };
    let found = sawlog_componentize::interface(bytes).map_err(|_| wrong("it is no whole WASM"))?;
    let is_plugin = found.exports.iter().any(|export| export.starts_with("sawlog:plugin/"));
    if is_plugin { Ok(found) } else { Err(wrong("it exports nothing of the contract")) }
}

/// Prints it.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let path = &options.component;
    let bytes = std::fs::read(path).map_err(PluginError::io(path))?;
    let found = sawlog_componentize::interface(&bytes)
        .map_err(|source| PluginError::Component { path: path.clone(), source })?;
    let exports = |interface: &str| found.exports.iter().any(|e| e.starts_with(&format!("sawlog:plugin/{interface}@")));
    let world = match (exports("transform"), exports("transform-records"), exports("state")) {
        (true, _, true) => "stateful-transformer",
        (true, _, false) => "transformer",
        (false, true, _) => "record-transformer",
        (false, false, _) => "none of this contract",
    };
    let kernels = found.imports.iter().any(|import| import.starts_with("sawlog:plugin/kernels@"));
    let needs = [(exports("state"), "state"), (kernels, "kernels")];
    let needs: Vec<&str> = needs.into_iter().filter_map(|(is_needed, word)| is_needed.then_some(word)).collect();
    say(&format!("size     {} bytes", bytes.len()))?;
    say(&format!("digest   {}", ContentDigest::of(&bytes)))?;
    say(&format!("epoch    {}", Digest::of(&bytes)))?;
    say(&format!("world    {world}"))?;
    say(&format!("allow    [{}]", needs.join(", ")))?;
    say(&format!("imports  {}", found.imports.join(", ")))?;
    say(&format!("exports  {}", found.exports.join(", ")))?;
    match sawlog_chain::schema_of_component(&bytes)? {
        Some(schema) => say(&format!("config   {schema:#}"))?,
        None => say("config   no schema: anything is taken")?,
    }
    Ok(ExitCode::SUCCESS)
}
