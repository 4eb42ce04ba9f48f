//! Another component in the place of a configured plugin's, while the agent runs: held against all that `validate` and a reload hold
//! the configured one against, then taken as a reload is, one EPOCH that names its blob. Where anything is wrong, the old one goes on.

use thiserror::Error;

use super::RunError;
use super::changes::Changes;
use super::epochs::{self, Epoch};
use super::overrides::{self, Override, Overrides, Put, WAY_BACK};
use super::parts::Running;
use super::pipelines::{PluginBytes, PluginParts};
use super::reload::Judged;
use crate::config::components;
use crate::digest::ContentDigest;

/// Why a component was not taken.
#[derive(Debug, Error)]
pub enum SwapError {
    /// The configuration has no such plugin.
    #[error("there is no plugin `{name}`; the plugins are {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It is not fit to take the other one's place.
    #[error("{0}\n{name} goes on as it was", name = .1)]
    Refused(String, String),
}

/// What came of a swap that was taken.
#[derive(Debug)]
pub struct Swapped {
    /// What runs now.
    pub known: Override,
    /// Whether the very same component stood there already.
    pub is_same: bool,
}

impl Running {
    /// The components that stand in the place of configured ones.
    pub fn overrides(&self) -> Overrides {
        overrides::of(&self.groups.plan().bytes)
    }

    /// Takes `component` in the place of the one that plugin `name` has; `now` in unix nanoseconds.
    pub async fn swap(
        &mut self,
        name: &str,
        (component, signature): (Vec<u8>, Option<String>),
        now: i64,
    ) -> Result<Swapped, SwapError> {
        self.knows(name)?;
        let known = Override { digest: ContentDigest::of(&component), since: now, signature };
        // What has a share of the records is ended by a swap, whatever it puts there.
        let before = self
            .overrides()
            .remove(name)
            .filter(|before| (&before.digest, &before.signature) == (&known.digest, &known.signature))
            .filter(|_| !self.canaries().contains_key(name));
        if let Some(known) = before {
            return Ok(Swapped { known, is_same: true });
        }
        let digest = known.digest.clone();
        match self.try_swap(name, Put { component, known: known.clone() }).await {
            Ok(done) => {
                self.returned.remove(name);
                tracing::warn!(plugin = name, %digest, done, "another component stands in the place of the configured one");
                Ok(Swapped { known, is_same: false })
            }
            Err(reason) => {
                tracing::error!(plugin = name, %digest, reason, "the component was not taken; the old one goes on");
                Err(SwapError::Refused(reason.trim_end().to_owned(), name.to_owned()))
            }
        }
    }

    /// Whether there is such a plugin.
    pub(super) fn knows(&self, name: &str) -> Result<(), SwapError> {
        if self.config.plugins.contains_key(name) {
            return Ok(());
        }
        let known = self.config.plugins.keys().cloned().collect();
        Err(SwapError::Unknown { name: name.to_owned(), known })
    }

    /// Whether a component suits what the configuration says of the plugin, as far as its outside shows that.
    pub(super) fn fits(&self, name: &str, put: &Put) -> Result<(), String> {
        let options = &self.config.plugins[name];
        put.held(options, &self.config).map_err(|error| error.to_string())?;
        let wrong = components::outside(name, &put.component, options);
        if wrong.is_empty() {
            return Ok(());
        }
        let lines = wrong.into_iter().map(|wrong| format!("{}: {}", wrong.at, wrong.reason));
        Err(lines.collect::<Vec<_>>().join("\n"))
    }

    async fn try_swap(&mut self, name: &str, put: Put) -> Result<String, String> {
        self.fits(name, &put)?;
        self.exchange(name, |parts| parts.put(put)).await
    }

    /// The configuration with a plugin made of something else: nothing runs with it yet.
    pub(super) async fn built_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut PluginParts),
    ) -> Result<(PluginBytes, Epoch), String> {
        // What the others were made of stays as it is, whatever their files hold by now.
        let mut bytes = self.groups.plan().bytes.clone();
        change(bytes.get_mut(name).ok_or_else(|| format!("{name}: its component is not at hand"))?);
        let epoch = Epoch::build_aside(&self.config, &bytes, &self.plugins, &self.fields, None).await;
        let epoch = epoch.map_err(|error| match error {
            RunError::Plugin(unloaded) => unloaded.reason(),
            // Nothing of it is in force yet that would have to be ended.
            other => other.to_string().replace(WAY_BACK, ""),
        })?;
        Ok((bytes, epoch))
    }

    /// Takes the configuration with a plugin made of something else, as a reload is taken.
    pub(super) async fn exchange(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut PluginParts),
    ) -> Result<String, String> {
        let files = epochs::unpack_files(&self.ground.packed()).map_err(|error| error.to_string())?;
        let (bytes, epoch) = self.built_with(name, change).await?;
        let (config, certificates) = (self.config.clone(), self.certificates.clone());
        let taken =
            self.take(Judged { files, config, certificates, changes: Changes::default(), bytes, epoch }).await?;
        Ok(taken.done)
    }
}
