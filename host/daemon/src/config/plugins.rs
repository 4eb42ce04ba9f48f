//! The `plugins` section: where a plugin comes from, what it gets and what it may. It loads none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sawlog_chain::{Allow, PluginConfig};
use sawlog_settings::component::Finding;
use sawlog_settings::{ByteSize, Count};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::ContentDigest;
use crate::signature::{self, SignatureError};

/// The largest memory of an instance: so much address space is kept for each.
const MEMORY_MAX: ByteSize = ByteSize::mib(256);

/// What a plugin may take, per instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PluginLimits {
    /// Linear memory of an instance.
    pub memory: ByteSize,
    /// Fuel for one record. It decides whether a record is poison, on every machine alike.
    pub fuel: Count,
    /// A snapshot of the state of one partition.
    pub state: ByteSize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { memory: ByteSize::mib(32), fuel: Count(10_000_000), state: ByteSize::mib(16) }
    }
}

/// What a plugin may beyond seeing its columns and answering with edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Keep state between batches.
    State,
    /// Hold rows back and be called when time has passed.
    Timers,
    /// Call the host's column kernels.
    Kernels,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the agent's process, in the sandbox of the WASM engine.
    #[default]
    None,
    /// In processes of its own, which can do nothing but read, write to the agent, and compute: for a plugin that is trusted less
    /// than that sandbox. Its calls give the same and take longer.
    Process,
}

impl From<Isolation> for sawlog_chain::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::None => Self::None,
            Isolation::Process => Self::Process,
        }
    }
}

/// A WASM plugin, by the name that `wasm` transforms call it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Where the component is: `file:./redact.wasm`, from the folder of the config, or `file:/path`.
    pub source: String,
    /// Digest that the component must have, `sha256:` and 64 hexadecimal digits. Without one a changed file is another
    /// plugin at the next reload. What `sawlog plugin swap` puts in the component's place has a digest of its own.
    #[serde(default)]
    pub digest: Option<String>,
    /// PEM file of public keys, one of which must have signed the component; the signature lies beside it, with `.sig` behind its
    /// name, as `sawlog plugin sign` writes it. It is verified before the component is loaded, at each start and reload; what
    /// `sawlog plugin swap` puts in its place must be signed alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<PathBuf>,
    /// What the plugin is configured with; its own schema decides what it may hold.
    #[serde(default = "empty")]
    pub config: serde_json::Value,
    /// Files that the plugin gets at its configuration, by the names it knows them by.
    #[serde(default)]
    pub files: BTreeMap<String, PathBuf>,
    /// What the plugin may take.
    #[serde(default)]
    pub limits: PluginLimits,
    /// What the plugin may.
    #[serde(default)]
    pub allow: Vec<Permission>,
    /// Where the plugin runs.
    #[serde(default)]
    pub isolation: Isolation,
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// Why a plugin's component can't be had. The part after the semicolon says how to mend it.
#[derive(Debug, Error)]
pub enum PluginFileError {
    /// No such file, or no right to it.
    #[error("the component {path} can't be read: {error}; build or copy it there, and let this user read it", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        error: std::io::Error,
    },
    /// Another component than the one that was meant.
    #[error("the component {path} is {found}, not {wanted}; copy the right one there, or change `digest`", path = .path.display())]
    OtherDigest {
        /// The file.
        path: PathBuf,
        /// The digest in the config.
        wanted: String,
        /// The digest of the file.
        found: ContentDigest,
    },
    /// Nobody who may has signed it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Plugin {
    /// The component's bytes, which have the digest and the signature that the config demands.
    pub fn read(&self, folder: &Path) -> Result<Vec<u8>, PluginFileError> {
        let path = self.file(folder);
        let bytes = std::fs::read(&path).map_err(|error| PluginFileError::Unreadable { path: path.clone(), error })?;
        self.held(folder, &path, &bytes)?;
        Ok(bytes)
    }

    /// Holds the bytes of the component at `path` against the digest and the signature that the config demands.
    pub fn held(&self, folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), PluginFileError> {
        if let Some(wanted) = &self.digest {
            let found = ContentDigest::of(bytes);
            if ContentDigest::parse(wanted).as_ref() != Some(&found) {
                return Err(PluginFileError::OtherDigest { path: path.to_owned(), wanted: wanted.clone(), found });
            }
        }
        let key = self.signed_by.as_ref().map(|key| folder.join(key));
        key.map_or(Ok(()), |key| Ok(signature::verify(path, bytes, &key)?))
    }

    /// The component's file, from the folder of the config.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join(self.source.strip_prefix("file:").unwrap_or(&self.source))
    }

    /// Its files as they are now: name and content.
    pub fn read_files(&self) -> Result<Vec<(String, Vec<u8>)>, PluginFileError> {
        let read = self.files.iter().map(|(name, path)| {
            let read = std::fs::read(path).map(|bytes| (name.clone(), bytes));
            read.map_err(|error| PluginFileError::Unreadable { path: path.clone(), error })
        });
        read.collect()
    }

    /// What the plugin gets, and what it may, as the config says.
    pub fn granted(&self, files: Vec<(String, Vec<u8>)>, epoch: &[u8]) -> PluginConfig {
        let allows = |what| self.allow.contains(&what);
        PluginConfig {
            config_json: if self.config.is_null() { "{}".to_owned() } else { self.config.to_string() },
            files,
            limits: sawlog_chain::PluginLimits {
                memory_bytes_max: usize::try_from(self.limits.memory.as_bytes()).unwrap_or(usize::MAX),
                fuel_per_record: self.limits.fuel.0,
                state_bytes_max: usize::try_from(self.limits.state.as_bytes()).unwrap_or(usize::MAX),
            },
            allow: Allow {
                state: allows(Permission::State),
                timers: allows(Permission::Timers),
                kernels: allows(Permission::Kernels),
            },
            epoch: epoch.to_vec(),
            isolation: self.isolation.into(),
        }
    }

    /// Options that contradict each other or ask for what is not built.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.source.split_once(':') {
            Some(("file", path)) if !path.is_empty() => {}
            Some(("oci" | "https" | "http", _)) => findings.push(Finding::error(
                "source",
                format!("`{}` would have to be fetched, which this version doesn't; fetch it when you roll out, and write file:/path", self.source),
            )),
            _ => findings.push(Finding::error("source", format!("`{}` says not how to find it; write file:./NAME.wasm", self.source))),
        }
        if let Some(digest) = &self.digest
            && ContentDigest::parse(digest).is_none()
        {
            findings.push(Finding::error(
                "digest",
                format!("`{digest}` is no digest; write sha256: and 64 hexadecimal digits"),
            ));
        }
        if self.allow.contains(&Permission::Timers) && !self.allow.contains(&Permission::State) {
            findings.push(Finding::error("allow", "`timers` hold rows back, which is state; add `state`"));
        }
        if self.limits.fuel.0 == 0 || self.limits.fuel.0 > 1_000_000_000 {
            findings
                .push(Finding::error("limits.fuel", format!("{} is out of bounds; write 1 to 1G", self.limits.fuel)));
        }
        if self.limits.memory < ByteSize::mib(1) || self.limits.memory > MEMORY_MAX {
            findings.push(Finding::error(
                "limits.memory",
                format!("{} is out of bounds; write 1MiB to {MEMORY_MAX}", self.limits.memory),
            ));
        }
        findings
    }
}
