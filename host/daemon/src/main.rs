//! The binary `sawlog`.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sawlog::main(|chains| chains)
}
