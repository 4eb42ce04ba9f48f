//! `sawlog plugin build`: the language follows from the sources.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sawlog_componentize::{
    C_COMPILER, JAVASCRIPT_TOOL, PYTHON_TOOL, TARGET, build_c, build_crate, build_go, build_javascript, build_python,
    c_compiler, javascript_entry,
};

use super::{PluginError, say, sdk};

/// Options of `build`.
#[derive(Debug, Args)]
pub struct Options {
    /// The folder of the plugin.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Builds, and prints where the component is.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    say(&build(&options.folder)?.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the plugin in `folder` into its folder `target`; the path of the component.
pub fn build(folder: &Path) -> Result<PathBuf, PluginError> {
    let folder = std::fs::canonicalize(folder).map_err(PluginError::io(folder))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let out = folder.join("target/plugin");
    let has = |file: &str| folder.join(file).is_file();
    if has("Cargo.toml") {
        return Ok(build_crate(&folder, TARGET, &out)?);
    }
    if has("go.mod") {
        return Ok(build_go(&folder, &name, &folder, &out)?);
    }
    let library = |language: &str| folder.join(sdk::FOLDER).join("sdk").join(language);
    if has("app.py") {
        let missing = || {
            let remedy = "pip install componentize-py==0.25.1";
            PluginError::Tool(format!(
                "{PYTHON_TOOL} does not name the program `componentize-py`; {remedy}, and set it"
            ))
        };
        let tool = std::env::var_os(PYTHON_TOOL).ok_or_else(missing)?;
        return Ok(build_python(&folder, &library("python"), &name, &folder, Path::new(&tool), &out)?);
    }
    if let Some(entry) = javascript_entry(&folder) {
        let library = library("javascript");
        let tool = std::env::var_os(JAVASCRIPT_TOOL).map_or_else(|| library.join("build"), PathBuf::from);
        return Ok(build_javascript(&entry, &library, &name, &folder, &tool, &out)?);
    }
    let entries = std::fs::read_dir(&folder).map_err(PluginError::io(&folder))?;
    if entries.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == "c" || e == "cpp")) {
        let missing = || {
            let remedy = "install clang and lld, or the Python package ziglang";
            PluginError::Tool(format!("no C compiler for WASM answers; {remedy}, or set {C_COMPILER}"))
        };
        return Ok(build_c(&folder, &library("c"), &c_compiler().ok_or_else(missing)?, &out)?);
    }
    Err(PluginError::NoSources(folder))
}
