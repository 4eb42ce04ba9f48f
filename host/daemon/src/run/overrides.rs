//! Components that were put in the place of configured ones while the agent ran. Which they are stands in the manifest of the present
//! epoch, so that a start and a reload find them again; their bytes are blobs, as those of all plugins are. It compiles none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RunError;
use super::canary::Candidate;
use super::pipelines::{PluginBytes, PluginParts};
use super::runtime;
use crate::complete::when;
use crate::config::Config;
use crate::config::plugins::{Plugin, PluginFileError};
use crate::digest::ContentDigest;
use crate::signature::{self, SignatureError};

/// How an override ends.
pub const WAY_BACK: &str = "; or end its override with `sawlog reload --discard-overrides`, and `sawlog run --discard-overrides` where \
                            no agent runs";

/// What is known of a component that stands in the place of the one that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Its digest.
    pub digest: ContentDigest,
    /// When it was put there, unix nanoseconds.
    pub since: i64,
    /// Its signature, as a file beside it would hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Overrides by the names of their plugins.
pub type Overrides = BTreeMap<String, Override>;

/// A component that stands in the place of the one that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its bytes.
    pub component: Vec<u8>,
    /// What is known of it.
    pub known: Override,
}

/// What was put to plugins while the agent ran, by their names.
#[derive(Debug, Clone, Default)]
pub struct Puts {
    /// What stands in the place of their components.
    pub in_place: BTreeMap<String, Put>,
    /// What takes a share of their records.
    pub canaries: BTreeMap<String, Candidate>,
}

impl Override {
    /// As programs read it.
    pub fn view(&self) -> Value {
        json!({ "digest": self.digest.as_str(), "since": when(Some(self.since)), "signed": self.signature.is_some() })
    }
}

/// The overrides of `name`d plugins as programs read them.
pub fn views(overrides: &Overrides) -> Value {
    Value::Object(overrides.iter().map(|(name, one)| (name.clone(), one.view())).collect())
}

/// What [`views`] gave, a line for each.
pub fn lines(views: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |(name, view): (&String, &Value)| {
        format!("{name}: {} stands in the place of its component since {}", text(&view["digest"]), text(&view["since"]))
    };
    views.as_object().into_iter().flatten().map(line).collect()
}

impl Put {
    /// Whether its signature satisfies what the configuration demands of this plugin's component. Its digest is the operator's word, as
    /// `digest` in the configuration is.
    pub fn held(&self, plugin: &Plugin, config: &Config) -> Result<(), SignatureError> {
        let key = plugin.signed_by.as_ref().map(|key| config.folder.join(key));
        key.map_or(Ok(()), |key| signature::verify_given(&self.component, self.known.signature.as_deref(), &key))
    }
}

/// The overrides among these plugins.
pub fn of(bytes: &PluginBytes) -> Overrides {
    bytes.iter().filter_map(|(name, parts)| Some((name.clone(), parts.overridden.clone()?))).collect()
}

/// The same with their bytes, and what takes a share of records.
pub fn puts(bytes: &PluginBytes) -> Puts {
    let one = |(name, parts): (&String, &PluginParts)| {
        Some((name.clone(), Put { component: parts.component.clone(), known: parts.overridden.clone()? }))
    };
    let candidate = |(name, parts): (&String, &PluginParts)| Some((name.clone(), parts.canary.clone()?));
    Puts { in_place: bytes.iter().filter_map(one).collect(), canaries: bytes.iter().filter_map(candidate).collect() }
}

/// Reads the components that the configuration names, but for those that others stand in the place of, and the files of all. What was
/// put to a plugin that it does not name ends.
pub async fn plugin_bytes(config: &Config, mut puts: Puts) -> Result<PluginBytes, RunError> {
    let (config, plugins) = (config.clone(), config.plugins.clone());
    let read_one = move |(name, plugin): (&String, &Plugin)| {
        let refuse = |reason: String| RunError::Component { name: name.clone(), reason };
        let unread = |error: PluginFileError| refuse(error.to_string());
        let held = |put: &Put| put.held(plugin, &config).map_err(|error| refuse(format!("{error}{WAY_BACK}")));
        let (component, overridden) = match puts.in_place.remove(name) {
            None => (plugin.read(&config.folder).map_err(unread)?, None),
            Some(put) => {
                held(&put)?;
                (put.component, Some(put.known))
            }
        };
        let canary = puts.canaries.remove(name);
        canary.as_ref().map_or(Ok(()), |candidate| held(&candidate.put))?;
        let files = plugin.read_files().map_err(unread)?;
        Ok((name.clone(), PluginParts { component, files, overridden, canary }))
    };
    runtime::aside(move || plugins.iter().map(read_one).collect()).await?
}
