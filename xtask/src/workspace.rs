//! Where things are: the repository, the user's cache, the programs that cargo built.
//!
//! Knows folders only; what lies in them belongs to the modules that put it there.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

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

/// A call of `program` without what `cargo run` says of this package: some build scripts look at that, and would run again, with
/// all that depends on them, whenever somebody builds without `cargo xtask` in between.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let is_ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_ours)) {
        command.env_remove(name);
    }
    command
}

/// A call of cargo.
pub fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Compiles programs of this workspace. The whole workspace is selected, as everywhere: another selection has other features of
/// what is shared, and cargo would compile the half of it again.
pub fn build(programs: &[&str]) -> Result<()> {
    build_as(&[], programs)
}

/// The same with optimisation, which takes very long; returns where the program is.
pub fn build_with_optimisation(program: &str) -> Result<PathBuf> {
    build_as(&["--release"], &[program])?;
    Ok(binaries()?.with_file_name("release").join(program))
}

fn build_as(profile: &[&str], programs: &[&str]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--workspace"]).args(profile).current_dir(root());
    programs.iter().for_each(|program| {
        cargo.args(["--bin", program]);
    });
    ensure!(cargo.status().context("cannot run cargo")?.success(), "{} does not compile", programs.join(" or "));
    Ok(())
}

/// The names of the test programs in a folder, for `cargo test --test`.
pub fn tests_below(folder: &str) -> Result<Vec<String>> {
    let path = root().join(folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))? {
        let path = entry?.path();
        let is_test =
            if path.is_dir() { path.join("main.rs").is_file() } else { path.extension() == Some("rs".as_ref()) };
        names.extend(path.file_stem().filter(|_| is_test).map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
