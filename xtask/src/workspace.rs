//! Where things are: the repository, the user's cache, the programs that cargo built.
//!
//! Knows folders only; what lies in them belongs to the modules that put it there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the repository.
pub fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The folder that outlives a run: fetched and built services. Created when it is not there.
///
/// `SAWLOG_CACHE` wins, then `XDG_CACHE_HOME/sawlog`, then `~/.cache/sawlog`.
pub fn cache() -> Result<PathBuf> {
    let folder = if let Some(named) = env::var_os("SAWLOG_CACHE") {
        PathBuf::from(named)
    } else if let Some(xdg) = env::var_os("XDG_CACHE_HOME") {
        Path::new(&xdg).join("sawlog")
    } else {
        let home =
            env::var_os("HOME").context("neither SAWLOG_CACHE, XDG_CACHE_HOME nor HOME is set: set SAWLOG_CACHE")?;
        Path::new(&home).join(".cache/sawlog")
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
    Ok(folder)
}

/// The folder in which cargo put this very program, and puts `sawlog` beside it.
pub fn binaries() -> Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    this.parent().map(Path::to_path_buf).context("this program lies in no folder")
}
