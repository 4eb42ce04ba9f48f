//! The agent's program with native code in the place of WASM plugins: what row B of the bench is held against.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sawlog::main(sawlog_native::between)
}
