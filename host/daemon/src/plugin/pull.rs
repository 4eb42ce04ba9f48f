//! `sawlog plugin pull`: a component out of a registry, held against the digest that names it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{PluginError, blocking, say};
use crate::digest::ContentDigest;
use crate::registry::{self, Access, Reference, Registry, RegistryError};

/// Options of `pull`.
#[derive(Debug, Args)]
pub struct Options {
    /// What: HOST/NAME@sha256:…, which `push` prints.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The file to write, in place of what is there; NAME.wasm where none is given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Take what a tag names at this moment; the digest that it names is printed.
    #[arg(long)]
    allow_tag: bool,
    /// How the registry is reached.
    #[command(flatten)]
    access: Access,
}

/// Pulls it, and prints what a configuration says of it.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let reference = &options.reference;
    if reference.digest.is_none() && !options.allow_tag {
        return Err(RegistryError::Tag(reference.clone()).into());
    }
    let mut registry = Registry::new(reference.clone(), &options.access)?;
    let pulled = blocking()?.block_on(registry::pull(&mut registry))?;
    let path = options.output.clone().unwrap_or_else(|| default_path(reference));
    super::inspect::plugin(Path::new(&reference.to_string()), &pulled.component)?;
    let is_other = || std::fs::read(&path).is_ok_and(|there| there != pulled.component);
    if options.output.is_none() && is_other() {
        return Err(PluginError::Exists(path));
    }
    write(&path, &pulled.component)?;
    say(&reference.pinned(&pulled.pin))?;
    say(&format!("source: file:{}", path.display()))?;
    say(&format!("digest: {}", ContentDigest::of(&pulled.component)))?;
    Ok(ExitCode::SUCCESS)
}

fn default_path(reference: &Reference) -> PathBuf {
    PathBuf::from(format!("{}.wasm", reference.name.rsplit('/').next().unwrap_or(&reference.name)))
}

/// Whole or not at all: an agent may read it at any time.
fn write(path: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, bytes).map_err(PluginError::io(&new))?;
    std::fs::rename(&new, path).map_err(PluginError::io(path))
}
