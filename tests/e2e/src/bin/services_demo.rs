//! What `cargo xtask demo --services` runs once the services stand.

use sawlog_e2e::lambda::{Services, play};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or_else(|| anyhow::anyhow!("give a folder"))?.into();
    let (lost, duplicated) = play(&Services::from_environment()?, &folder)?;
    println!("lost {lost}, duplicated {duplicated}");
    Ok(ExitCode::from(u8::from(lost + duplicated > 0)))
}
