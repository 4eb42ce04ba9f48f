//! `sawlog plugin keygen`, `sign` and `verify`: who vouches for a component.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{PluginError, say};
use crate::digest::ContentDigest;
use crate::signature;

/// Options of `keygen`.
#[derive(Debug, Args)]
pub struct Pair {
    /// The file of the private key; the public one is FILE.pub.
    #[arg(value_name = "FILE")]
    private: PathBuf,
}

/// Options of `sign` and `verify`.
#[derive(Debug, Args)]
pub struct Options {
    /// The key, PEM: to sign with, or the public ones of which one must have signed.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The component; its signature is COMPONENT.sig.
    component: PathBuf,
}

/// Makes a pair of keys.
pub fn generate(options: &Pair) -> Result<ExitCode, PluginError> {
    signature::generate(&options.private)?;
    let public = signature::public_path_of(&options.private);
    say(&format!("{} signs, keep it secret; {} verifies", options.private.display(), public.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Signs a component.
pub fn sign(options: &Options) -> Result<ExitCode, PluginError> {
    say(&signature::sign(&options.component, &options.key)?.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Verifies a component's signature.
pub fn verify(options: &Options) -> Result<ExitCode, PluginError> {
    let path = &options.component;
    let bytes = std::fs::read(path).map_err(PluginError::io(path))?;
    signature::verify(path, &bytes, &options.key)?;
    say(&format!("{} {} is signed by a key of {}", path.display(), ContentDigest::of(&bytes), options.key.display()))?;
    Ok(ExitCode::SUCCESS)
}
