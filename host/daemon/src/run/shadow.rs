//! A component beside that of a plugin, to see what would come of a swap: held against all that a swap holds it against, and compiled;
//! then it runs on the same batches, and what it makes of them is compared and thrown away. No EPOCH names it: it ends with the agent and
//! with the configuration.

use std::collections::BTreeMap;

use sawlog_chain::{ShadowFigures, ShadowLimits};
use serde_json::{Value, json};

use super::overrides::{Override, Put};
use super::parts::Running;
use super::runtime;
use super::swap::SwapError;
use crate::complete::when;
use crate::digest::ContentDigest;

/// A component that runs beside another.
#[derive(Debug, Clone)]
pub struct Shadowing {
    /// Its digest.
    pub digest: ContentDigest,
    /// Since when, unix nanoseconds.
    pub since: i64,
}

/// Such components by the names of their plugins.
pub type Shadows = BTreeMap<String, Shadowing>;

impl Running {
    /// What runs beside plugins, or did until what it showed ended it.
    pub fn shadows(&self) -> Shadows {
        self.shadows.clone()
    }

    /// Begins to run `component` beside that of plugin `name`, in the place of what ran beside it before; `now` in unix nanoseconds.
    pub async fn shadow(
        &mut self,
        name: &str,
        (component, signature): (Vec<u8>, Option<String>),
        limits: ShadowLimits,
        now: i64,
    ) -> Result<Shadowing, SwapError> {
        self.knows(name)?;
        let digest = ContentDigest::of(&component);
        let put = Put { component, known: Override { digest: digest.clone(), since: now, signature } };
        match self.try_shadow(name, put, limits).await {
            Ok(()) => {
                tracing::info!(plugin = name, %digest, "another component runs beside that of the plugin, to be compared");
                let shadowing = Shadowing { digest, since: now };
                self.shadows.insert(name.to_owned(), shadowing.clone());
                Ok(shadowing)
            }
            Err(reason) => Err(SwapError::Refused(reason, name.to_owned())),
        }
    }

    async fn try_shadow(&self, name: &str, put: Put, limits: ShadowLimits) -> Result<(), String> {
        self.fits(name, &put)?;
        let files = self.groups.plan().bytes.get(name).map(|parts| parts.files.clone()).unwrap_or_default();
        let granted = self.config.plugins[name].granted(files, &self.present.0);
        let (engine, named) = (self.plugins.clone(), name.to_owned());
        let candidate = runtime::aside(move || engine.load(&named, &put.component, granted)).await;
        let candidate = candidate.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let present = self.loaded.get(name).ok_or_else(|| format!("{name}: its component is not at hand"))?;
        present.begin_shadow(candidate, limits).map_err(|error| error.to_string())
    }

    /// Ends what runs beside plugins.
    pub(super) fn end_shadows(&mut self) {
        let names: Vec<String> = self.shadows.keys().cloned().collect();
        names.iter().for_each(|name| drop(self.end_shadow(name)));
    }

    /// Ends what runs beside a plugin, and says what it was.
    pub(super) fn end_shadow(&mut self, name: &str) -> Option<ContentDigest> {
        let Shadowing { digest, .. } = self.shadows.remove(name)?;
        if let Some(found) = self.loaded.get(name).and_then(sawlog_chain::Plugin::end_shadow) {
            let ShadowFigures { records, differing, failing, .. } = found;
            tracing::info!(plugin = name, %digest, records, differing, failing, "what ran beside the plugin has ended");
        }
        Some(digest)
    }
}

/// What runs beside plugins, and what has come of it, as programs read it.
pub fn views(shadows: &Shadows, plugins: &BTreeMap<String, sawlog_chain::Plugin>) -> Value {
    let one = |(name, shadowing): (&String, &Shadowing)| {
        let found = plugins.get(name)?.figures().shadow?;
        let view = json!({
            "digest": shadowing.digest.as_str(), "since": when(Some(shadowing.since)),
            "batches": found.batches, "failing_batches": found.failing_batches, "skipped_batches": found.skipped_batches,
            "records": found.records, "differing": found.differing, "failing": found.failing,
            "failure": found.failure, "ended": found.ended,
        });
        Some((name.clone(), view))
    };
    Value::Object(shadows.iter().filter_map(one).collect())
}

/// What [`views`] gave, a line for each.
pub fn lines(views: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |(name, view): (&String, &Value)| {
        let state = view["ended"].as_str().map_or("runs".to_owned(), |why| format!("ended: {why}"));
        format!(
            "{name}: beside it {} since {}: {} records compared, {} differ, {} failed, {} batches skipped; {state}",
            text(&view["digest"]),
            text(&view["since"]),
            view["records"],
            view["differing"],
            view["failing"],
            view["skipped_batches"]
        )
    };
    views.as_object().into_iter().flatten().map(line).collect()
}
