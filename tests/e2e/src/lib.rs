//! End-to-end cells: the binary `sawlog` between a real rotating file and a real service, killed with -9 on the way. What is
//! expected comes from the sender's own record; readers use no code of `host/` and prove on a spoiled copy that they would
//! notice. The tests are in `tests/`.
#![forbid(unsafe_code)]

pub mod acl;
pub mod agent;
pub mod cell;
pub mod chaos;
pub mod demo;
pub mod disk;
pub mod draw;
pub mod feed;
pub mod followed;
pub mod pair;
pub mod proxy;
pub mod read;
pub mod rotating;
pub mod s3;
pub mod search;
pub mod secure;
pub mod shown;
pub mod stray;
pub mod switching;
pub mod told;
pub mod trial;
pub mod turning;
pub mod wire;

use std::sync::atomic::{AtomicU64, Ordering};

/// The value of an environment variable that the test command sets; `None` prints that the test is not run.
pub fn service(test: &str, name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        println!("NOT RUN: {test}: {name} is not set; `cargo xtask test` starts the services and sets it");
    }
    value
}

/// A name that no other test has, also none that runs at the same time.
pub fn unique(name: &str) -> String {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{}-{}-{}", std::process::id(), since.as_millis(), GIVEN.fetch_add(1, Ordering::Relaxed))
}
