//! What the tests of this room share: the repository's plugins, built beforehand, and an engine.

use sawlog_chain::{Engine, EngineLimits};
use std::path::{Path, PathBuf};

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The component of `plugins/<name>`.
pub fn component(name: &str) -> Vec<u8> {
    let path = repository().join("plugins/target/components").join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| {
        panic!("{}: {e}; build the plugins first: cargo run -p sawlog-componentize", path.display())
    })
}

pub fn engine() -> Engine {
    let limits = EngineLimits { instances_max: 64, ..EngineLimits::default() };
    Engine::new(limits, None).expect("an engine")
}
