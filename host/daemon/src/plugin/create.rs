//! `sawlog plugin new`: a folder that builds and passes its test.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::sdk::{FOLDER, Language, SHARED};
use super::{PluginError, say};

/// Letters of the longest name.
const NAME_LETTERS_MAX: usize = 64;
/// What only the repository has: the example is no part of what a plugin is given.
const RUST_EXAMPLE: &str = ", \"example\"";

/// Options of `new`.
#[derive(Debug, Args)]
pub struct Options {
    /// Its name, and that of its folder.
    name: String,
    /// Its language.
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
}

/// Writes the folder.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    let name = &options.name;
    let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || name.len() > NAME_LETTERS_MAX || !name.chars().all(is_small) {
        return Err(PluginError::Name(name.clone()));
    }
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(PluginError::Exists(folder));
    }
    for (path, content) in options.lang.template().iter().chain(SHARED) {
        write(&folder.join(path), &content.replace("NAME", name))?;
    }
    for (path, content) in options.lang.sdk() {
        write(&folder.join(FOLDER).join(path), &content.replace(RUST_EXAMPLE, ""))?;
    }
    say(&format!("{name}/ is written; next: sawlog plugin test {name}"))?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, content: &str) -> Result<(), PluginError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(PluginError::io(folder))?;
    std::fs::write(path, content).map_err(PluginError::io(path))
}
