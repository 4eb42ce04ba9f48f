//! What the tests of this room share: the repository's plugins, built beforehand, and an engine.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part

pub mod apart;
pub mod example;
pub mod through;

use sawlog_chain::{Engine, EngineLimits};
use std::path::{Path, PathBuf};

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn component_path(name: &str) -> PathBuf {
    repository().join("plugins/target/components").join(format!("{name}.wasm"))
}

/// Whether the component is there: not every machine has the tools of every language.
pub fn is_built(name: &str) -> bool {
    component_path(name).exists()
}

/// The component of `plugins/<name>`.
pub fn component(name: &str) -> Vec<u8> {
    let path = component_path(name);
    std::fs::read(&path).unwrap_or_else(|e| {
        panic!("{}: {e}; build the plugins first: cargo run -p sawlog-componentize", path.display())
    })
}

/// Compiled code is kept from run to run, by digest: compiling takes most of the time, a language's runtime seconds.
pub fn engine() -> Engine {
    let limits = EngineLimits { instances_max: 64, ..EngineLimits::default() };
    Engine::new(limits, Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"))).expect("an engine")
}

/// An engine that compiles whatever it is given, and keeps nothing.
pub fn engine_that_keeps_nothing() -> Engine {
    let limits = EngineLimits { instances_max: 64, ..EngineLimits::default() };
    Engine::new(limits, None).expect("an engine")
}

/// The folders in `folder`, by name.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

/// The files in `folder` by their names, none if there is no such folder.
pub fn files_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}
