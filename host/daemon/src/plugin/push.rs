//! `sawlog plugin push`: a component into a registry. What is printed last is the name that never changes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{PluginError, blocking, say};
use crate::registry::{self, Access, Reference, Registry};

/// Options of `push`.
#[derive(Debug, Args)]
pub struct Options {
    /// Where to: HOST/NAME:TAG, or HOST/NAME to give it no tag.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The component.
    component: PathBuf,
    /// How the registry is reached.
    #[command(flatten)]
    access: Access,
}

/// Pushes it, and prints how it is pulled.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let path = &options.component;
    let bytes = std::fs::read(path).map_err(PluginError::io(path))?;
    let interface = super::inspect::plugin(path, &bytes)?;
    let mut registry = Registry::new(options.reference.clone(), &options.access)?;
    let pin = blocking()?.block_on(registry::push(&mut registry, bytes, &interface))?;
    say(&options.reference.pinned(&pin))?;
    Ok(ExitCode::SUCCESS)
}
