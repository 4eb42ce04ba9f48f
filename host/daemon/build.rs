//! Asks the linker to pack the two and a half megabytes of addresses that the loader mends at the start (`DT_RELR`, 1/50 of the size):
//! they stay resident as long as the agent runs. A C library before 2.36 could not load that, so it is asked first.

use std::process::Command;

/// The oldest glibc whose loader reads packed relocations.
const GLIBC_MIN: (u32, u32) = (2, 36);

/// The version in what `getconf GNU_LIBC_VERSION` says: `glibc 2.36`.
fn glibc_version(said: &str) -> Option<(u32, u32)> {
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_native = std::env::var("HOST").ok() == std::env::var("TARGET").ok();
    let Ok(said) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return };
    if is_native && glibc_version(&String::from_utf8_lossy(&said.stdout)).is_some_and(|version| version >= GLIBC_MIN) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
