//! From what an author names to a plugin that runs.

use std::path::{Path, PathBuf};

use sawlog_chain::{Allow, Engine, EngineLimits, Plugin, PluginConfig, PluginLimits};

use super::{Loading, PluginError, build};
use crate::config::plugins::{Isolation, Plugin as Options};

/// A component and what runs it.
pub struct Loaded {
    engine: Engine,
    bytes: Vec<u8>,
    limits: PluginLimits,
    allow: Allow,
    isolation: Isolation,
    /// The file.
    pub path: PathBuf,
}

impl Loaded {
    /// Builds what has to be built, and reads the component.
    pub fn new(options: &Loading) -> Result<Self, PluginError> {
        let path = if options.plugin.is_dir() { build::build(&options.plugin)? } else { options.plugin.clone() };
        let bytes = std::fs::read(&path).map_err(PluginError::io(&path))?;
        let may = |word: &str| options.allow.iter().any(|one| one == word);
        let allow = Allow { state: may("state"), timers: may("timers"), kernels: may("kernels") };
        let engine = Engine::new(EngineLimits { instances_max: 64, ..EngineLimits::default() }, None)?;
        let engine = engine.runs_apart(super::process());
        let (limits, isolation) = (PluginLimits::default(), Isolation::default());
        Ok(Self { engine, bytes, limits, allow, isolation, path })
    }

    /// The same in processes of its own, or in this one.
    pub fn isolated(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// The same without a bound on what a call may cost: the host would cut a batch that costs too much, a measurement must not.
    pub fn unbounded(mut self) -> Self {
        self.limits.fuel_per_record = u64::MAX / 1_000; // rare calls get a multiple
        self
    }

    /// The plugin as the config of an agent has it, but with `config_json` where that is given.
    pub fn as_configured(&self, options: &Options, config_json: Option<String>) -> Result<Plugin, PluginError> {
        let mut granted = options.granted(options.read_files()?, &[]);
        if let Some(config_json) = config_json {
            granted.config_json = config_json;
        }
        Ok(self.engine.load(&self.name(), &self.bytes, granted)?)
    }

    fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The plugin, configured with `config_json`, with the files of `files` if there is such a folder.
    pub fn plugin(&self, config_json: String, files: Option<&Path>) -> Result<Plugin, PluginError> {
        let files = files.filter(|folder| folder.is_dir()).map(read_files).transpose()?.unwrap_or_default();
        let (allow, limits, isolation) = (self.allow, self.limits, self.isolation.into());
        let config = PluginConfig { config_json, files, allow, limits, isolation, ..PluginConfig::default() };
        Ok(self.engine.load(&self.name(), &self.bytes, config)?)
    }
}

/// The files of `folder` by their names.
fn read_files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, PluginError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(PluginError::io(folder))? {
        let path = entry.map_err(PluginError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, std::fs::read(&path).map_err(PluginError::io(&path))?));
    }
    files.sort();
    Ok(files)
}
