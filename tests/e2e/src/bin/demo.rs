//! What `cargo xtask demo` runs once everything is built: `demo local FOLDER LINES`, or `demo services FOLDER` once the
//! services stand.

use anyhow::{Context, bail};
use sawlog_e2e::demo::{local, services};
use std::path::Path;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let stage = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["local", folder, lines] => local::stage(Path::new(folder), lines.parse().context("LINES is no number")?)?,
        ["services", folder] => services::stage(&services::Services::from_environment()?, Path::new(folder))?,
        _ => bail!("usage: demo local FOLDER LINES | demo services FOLDER"),
    };
    let (lost, duplicated) = stage.play()?;
    println!("lost {lost}, duplicated {duplicated}");
    Ok(ExitCode::from(u8::from(lost + duplicated > 0)))
}
