//! How the binary is linked.

fn main() {
    // The table by which the loader moves the binary to its place is read whole at every start, and stays resident: five megabytes
    // of it as it is written by default, a hundredth of that packed. Loaders read it so from glibc 2.36 on.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
