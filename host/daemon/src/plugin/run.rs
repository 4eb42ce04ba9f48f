//! `sawlog plugin run`: records in, outcomes out, until the input ends.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sawlog_chain::trial;

use super::load::Loaded;
use super::{Loading, PluginError, say};

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which plugin.
    #[command(flatten)]
    loading: Loading,
    /// What it is configured with, JSON text.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// A folder of files that it gets, by their names.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
}

/// Runs the records of standard input, one JSON object a line; `$time` is the event time, unix nanoseconds.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let loaded = Loaded::new(&options.loading)?;
    let plugin = loaded.plugin(options.config.clone(), options.files.as_deref())?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(PluginError::io("standard input"))?;
    let place = "standard input".to_owned();
    let input = trial::read(&text).map_err(|source| PluginError::Input { place, source })?;
    for line in trial::run(&plugin, &input)? {
        say(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}
