//! `sawlog plugin test`: the plugin's own tests, golden files, and the check that no cut of batches and no reset of an instance
//! shows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sawlog_chain::{conformance, trial};

use super::load::Loaded;
use super::native::{self, Native};
use super::{Loading, PluginError, say};

/// Options of `test`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which plugin.
    #[command(flatten)]
    loading: Loading,
    /// The folder of golden cases, each a folder with `config.json`, `input.ndjson`, `output.ndjson` and perhaps `files/`;
    /// `golden` beside the sources where none is given.
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// Write the outputs instead of comparing them; read the difference before you keep it.
    #[arg(long)]
    write: bool,
    /// Leave the plugin's own tests out (`cargo test`, `go test`, …), which run natively, before the host has the component.
    #[arg(long)]
    no_native: bool,
}

/// Runs every case; exit code 1 if one fails.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let (mut passed, mut failed) = (0, 0);
    if options.loading.plugin.is_dir() && !options.no_native {
        match native::test(&options.loading.plugin)? {
            Native::Passed(tool) => {
                passed += 1;
                say(&format!("native: ok, {tool}"))?;
            }
            Native::Failed(tool, output) => {
                failed += 1;
                say(&format!("{output}native: FAILED: {tool}"))?;
            }
            Native::NotRun(reason) => say(&format!("native: not run: {reason}"))?,
        }
    }
    let loaded = Loaded::new(&options.loading)?;
    let golden = options.golden.clone().unwrap_or_else(|| options.loading.plugin.join("golden"));
    let mut cases: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&golden).map_err(PluginError::io(&golden))? {
        cases.push(entry.map_err(PluginError::io(&golden))?.path());
    }
    cases.retain(|path| path.is_dir());
    cases.sort();
    let mut is_tested = false;
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self::case(&loaded, case, options.write)? {
            Ok(hash) => {
                is_tested = true;
                passed += 1;
                say(&format!("{name}: ok, {hash} under every cut"))?;
            }
            Err(why) => {
                failed += 1;
                say(&format!("{name}: FAILED: {why}"))?;
            }
        }
    }
    say(&format!("{passed} passed, {failed} failed"))?;
    // A test that tested nothing has not passed.
    Ok(if failed == 0 && is_tested { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one case: the digest of its outcomes, or what is wrong.
fn case(loaded: &Loaded, case: &Path, write: bool) -> Result<Result<String, String>, PluginError> {
    let read = |name: &str| {
        let path = case.join(name);
        std::fs::read_to_string(&path).map_err(PluginError::io(path))
    };
    let plugin = loaded.plugin(read("config.json")?, Some(&case.join("files")))?;
    let place = case.join("input.ndjson").display().to_string();
    let input = trial::read(&read("input.ndjson")?).map_err(|source| PluginError::Input { place, source })?;
    let found = trial::run(&plugin, &input)?;
    let path = case.join("output.ndjson");
    if write {
        std::fs::write(&path, found.join("\n") + "\n").map_err(PluginError::io(&path))?;
    } else if let Some(why) = difference(&found, &read("output.ndjson")?) {
        return Ok(Err(format!("{}: {why}", path.display())));
    }
    Ok(match conformance::check(&plugin, &input) {
        Ok(hash) => Ok(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()),
        Err(divergence) => Err(divergence.to_string()),
    })
}

/// The first line that differs.
fn difference(found: &[String], expected: &str) -> Option<String> {
    let expected: Vec<&str> = expected.lines().collect();
    let differs = |i: &usize| found.get(*i).map(String::as_str) != expected.get(*i).copied();
    let i = (0..found.len().max(expected.len())).find(differs)?;
    let found = found.get(i).map_or("nothing", String::as_str);
    let expected = expected.get(i).copied().unwrap_or("nothing");
    Some(format!("line {} is\n  {found}\nexpected was\n  {expected}", i + 1))
}
