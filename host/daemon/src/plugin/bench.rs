//! `sawlog plugin bench`: what a call costs, over the records of a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use sawlog_chain::apply::{BatchOrigin, Columns};
use sawlog_chain::{BATCH_ROWS_MAX, trial};

use super::load::Loaded;
use super::{Loading, PluginError, say};

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which plugin.
    #[command(flatten)]
    loading: Loading,
    /// The records, one JSON object a line; they are one batch.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What it is configured with, JSON text.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// A folder of files that it gets, by their names.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// How long to measure, seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

/// Calls the plugin over and over and prints the best call.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let loaded = Loaded::new(&options.loading)?.unbounded();
    let plugin = loaded.plugin(options.config.clone(), options.files.as_deref())?;
    let path = &options.input;
    let text = std::fs::read_to_string(path).map_err(PluginError::io(path))?;
    let place = path.display().to_string();
    let batch = trial::read(&text).map_err(|source| PluginError::Input { place, source })?;
    let (max, found) = (BATCH_ROWS_MAX, batch.rows.len());
    let origin =
        BatchOrigin { input: "bench", source: "bench", time: 0, watermark: plugin.stateful().then_some(i64::MIN) };
    let view = Columns::of(&plugin).view(&batch, origin).ok_or(PluginError::TooMany { max, found })?;
    let view = Arc::new(view);
    let mut instance = plugin.instance().map_err(sawlog_chain::RunError::from)?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let (mut best, mut calls) = (Duration::MAX, 0u64);
    while Instant::now() < end {
        let start = Instant::now();
        instance.process(&view).map_err(PluginError::Call)?;
        best = best.min(start.elapsed());
        calls += 1;
    }
    let seconds = best.as_secs_f64().max(1e-9);
    let per_record = seconds * 1e9 / found.max(1) as f64;
    let figures = plugin.figures();
    say(&format!("records   {found} a call, {calls} calls"))?;
    say(&format!("time      {per_record:.1} ns a record in the best call, {:.0} records/s", found as f64 / seconds))?;
    say(&format!("input     {:.1} MB/s", text.len() as f64 / seconds / 1e6))?;
    say(&format!("fuel      {:.0} a record", figures.fuel as f64 / (calls * found as u64).max(1) as f64))?;
    say(&format!("memory    {} bytes at most", figures.memory_bytes_max))?;
    Ok(ExitCode::SUCCESS)
}
