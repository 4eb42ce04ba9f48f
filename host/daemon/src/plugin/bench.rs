//! `sawlog plugin bench`: what a call costs, over the records of a file or, for every plugin of a folder, over its golden input.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use sawlog_chain::apply::{BatchOrigin, Columns};
use sawlog_chain::{BATCH_ROWS_MAX, Plugin, trial};

use super::load::Loaded;
use super::{Loading, PluginError, say};
use crate::config::plugins::Isolation;

/// Records of a call in the table of all plugins; golden input is repeated until it has as many.
const TABLE_RECORDS: usize = 1_000;

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which plugin.
    #[command(flatten)]
    loading: Loading,
    /// The records, one JSON object a line; they are one batch.
    #[arg(long, value_name = "FILE", required_unless_present = "all")]
    input: Option<PathBuf>,
    /// What it is configured with, JSON text.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// A folder of files that it gets, by their names.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Where it runs, as a configuration says it: `none`, in this process, or `process`, in one of its own.
    #[arg(long, value_enum, default_value = "none")]
    isolation: Isolation,
    /// How long to measure, seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// A table of every plugin in the folder that is named instead of one: each over the largest of its golden inputs, repeated, with
    /// everything allowed. Components are taken from `target/components` of that folder, where they are built beforehand.
    #[arg(long, conflicts_with_all = ["input", "files", "allow"])]
    all: bool,
    /// Runs a plugin of the table has, each with a fresh instance; their median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100), requires = "all")]
    runs: u64,
}

/// Calls the plugin over and over and prints what that cost.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    if options.all {
        return table(options);
    }
    let loaded = Loaded::new(&options.loading)?.unbounded().isolated(options.isolation);
    let plugin = loaded.plugin(options.config.clone(), options.files.as_deref())?;
    let path = options.input.clone().unwrap_or_default();
    let text = std::fs::read_to_string(&path).map_err(PluginError::io(&path))?;
    let cost = measure(&plugin, &text, &path, Duration::from_secs(options.seconds))?;
    let (records, seconds) = (cost.records as f64, cost.best.as_secs_f64().max(1e-9));
    say(&format!("records   {} a call, {} calls", cost.records, cost.calls))?;
    say(&format!(
        "time      {:.1} ns a record in the best call, {:.0} records/s",
        seconds * 1e9 / records,
        records / seconds
    ))?;
    say(&format!("input     {:.1} MB/s", text.len() as f64 / seconds / 1e6))?;
    say(&format!("fuel      {:.0} a record", cost.fuel_per_record()))?;
    say(&format!("memory    {} bytes at most", plugin.figures().memory_bytes_max))?;
    Ok(ExitCode::SUCCESS)
}

/// What calls over one batch cost.
struct Cost {
    records: usize,
    calls: u64,
    best: Duration,
    fuel: u64,
}

impl Cost {
    fn fuel_per_record(&self) -> f64 {
        self.fuel as f64 / (self.calls * self.records as u64).max(1) as f64
    }
}

/// Calls a fresh instance of `plugin` over `text`, the records of `path`, for as long as `duration`.
fn measure(plugin: &Plugin, text: &str, path: &Path, duration: Duration) -> Result<Cost, PluginError> {
    let place = path.display().to_string();
    let batch = trial::read(text).map_err(|source| PluginError::Input { place, source })?;
    let (max, found) = (BATCH_ROWS_MAX, batch.rows.len());
    let origin =
        BatchOrigin { input: "bench", source: "bench", time: 0, watermark: plugin.stateful().then_some(i64::MIN) };
    let view = Columns::of(plugin).view(&batch, origin).ok_or(PluginError::TooMany { max, found })?;
    let view = Arc::new(view);
    let mut instance = plugin.instance().map_err(sawlog_chain::RunError::from)?;
    let fuel_before = plugin.figures().fuel;
    let end = Instant::now() + duration;
    let (mut best, mut calls) = (Duration::MAX, 0u64);
    while Instant::now() < end || calls == 0 {
        let start = Instant::now();
        instance.process(&view).map_err(PluginError::Call)?;
        best = best.min(start.elapsed());
        calls += 1;
    }
    Ok(Cost { records: found.max(1), calls, best, fuel: plugin.figures().fuel - fuel_before })
}

/// A line for every plugin of the folder.
fn table(options: &Options) -> Result<ExitCode, PluginError> {
    let folder = &options.loading.plugin;
    let (mut measured, mut left_out) = (0, 0);
    say("| plugin | golden case | bytes a record | ns a record | MB/s | fuel a record | memory, MiB |")?;
    say("|---|---|---|---|---|---|---|")?;
    for plugin in folders(folder)? {
        let Some((case, text)) = largest_case(&plugin)? else { continue };
        let name = plugin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let component = folder.join("target/components").join(format!("{name}.wasm"));
        match row(options, &component, &case, &text) {
            Ok(row) => {
                measured += 1;
                say(&format!("| {name} | {row} |"))?;
            }
            Err(why) => {
                left_out += 1;
                say(&format!("| {name} | not measured: {why} |"))?;
            }
        }
    }
    Ok(if measured > 0 && left_out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What stands behind the name of a plugin: the medians of its runs over the golden input `text` of `case`.
fn row(options: &Options, component: &Path, case: &Path, text: &str) -> Result<String, PluginError> {
    let allow = ["state", "timers", "kernels"].map(str::to_owned).to_vec();
    let loaded = Loaded::new(&Loading { plugin: component.to_owned(), allow })?.unbounded().isolated(options.isolation);
    let config = case.join("config.json");
    let config = std::fs::read_to_string(&config).map_err(PluginError::io(&config))?;
    let plugin = loaded.plugin(config, Some(&case.join("files")))?;
    let lines = text.lines().count().max(1);
    let text = text.repeat(TABLE_RECORDS.div_ceil(lines));
    let each = Duration::from_secs(options.seconds).div_f64(options.runs as f64);
    let runs = (0..options.runs).map(|_| measure(&plugin, &text, &case.join("input.ndjson"), each));
    let mut runs = runs.collect::<Result<Vec<_>, _>>()?;
    runs.sort_by_key(|run| run.best);
    let median = &runs[runs.len() / 2];
    let (records, seconds) = (median.records as f64, median.best.as_secs_f64().max(1e-9));
    Ok(format!(
        "{} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1}",
        case.file_name().unwrap_or_default().to_string_lossy(),
        text.len() as f64 / records,
        seconds * 1e9 / records,
        text.len() as f64 / seconds / 1e6,
        median.fuel_per_record(),
        plugin.figures().memory_bytes_max as f64 / f64::from(1 << 20),
    ))
}

/// The golden case with the most records of the plugin in `folder`, and its input; none where it has no golden files or no schema.
fn largest_case(folder: &Path) -> Result<Option<(PathBuf, String)>, PluginError> {
    let golden = folder.join("golden");
    if !golden.is_dir() || !folder.join("schema.json").is_file() {
        return Ok(None);
    }
    let mut largest: Option<(PathBuf, String)> = None;
    for case in folders(&golden)? {
        let path = case.join("input.ndjson");
        let text = std::fs::read_to_string(&path).map_err(PluginError::io(&path))?;
        if largest.as_ref().is_none_or(|(_, other)| text.lines().count() > other.lines().count()) {
            largest = Some((case, text));
        }
    }
    Ok(largest)
}

/// The folders in `folder`, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(PluginError::io(folder))? {
        let path = entry.map_err(PluginError::io(folder))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
