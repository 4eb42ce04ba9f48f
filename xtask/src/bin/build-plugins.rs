//! `build-plugins OUT FOLDER…`: each folder of Rust sources becomes a component in OUT.
//!
//! A program of its own, so that `cargo xtask` does not compile the WASM tooling for every other verb.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((out, folders)) = arguments.split_first() else {
        eprintln!("usage: build-plugins OUT FOLDER…");
        return ExitCode::from(2);
    };
    let mut failed = 0;
    for folder in folders {
        match sawlog_componentize::build_crate(Path::new(folder), Path::new(out)) {
            Ok(path) => println!("{}", path.display()),
            Err(error) => {
                eprintln!("{error}");
                failed += 1;
            }
        }
    }
    println!("plugins: {} passed, {failed} failed", folders.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}
