//! A component that takes a share of a plugin's records in earnest: held against all that a swap holds it against, then taken as one, an
//! EPOCH that names its blob and the share. It ends by hand, by a swap, or by itself once it fails too often: another EPOCH without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sawlog_chain::{CanaryFigures, Plugin, Share};
use sawlog_core::ports::Clock as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SystemClock;
use super::handle::Handle;
use super::overrides::{Override, Put};
use super::parts::Running;
use super::pipelines::{PluginBytes, PluginParts};
use super::swap::SwapError;
use crate::complete::when;
use crate::digest::ContentDigest;

/// How often what came of them is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After a return that could not be journalled.
const RETRY: Duration = Duration::from_secs(10);

/// How much it takes, and how much of that it may fail on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Its share.
    pub share: Share,
    /// Of its records: beyond that it is returned from.
    pub failing_max: Share,
}

/// What is known of a component that takes a share of a plugin's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Its digest, since when it does, and its signature.
    #[serde(flatten)]
    pub known: Override,
    /// On which terms.
    #[serde(flatten)]
    pub terms: Terms,
}

/// Such components by the names of their plugins.
pub type Canaries = BTreeMap<String, Canary>;

/// The same with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The component.
    pub put: Put,
    /// On which terms it takes a share.
    pub terms: Terms,
}

impl Candidate {
    /// What is known of it.
    pub fn known(&self) -> Canary {
        Canary { known: self.put.known.clone(), terms: self.terms }
    }
}

/// One that was returned from by itself.
#[derive(Debug, Clone)]
pub struct Returned {
    /// What it was.
    pub canary: Canary,
    /// When, unix nanoseconds.
    pub at: i64,
    /// Why.
    pub reason: String,
    /// What had come of it.
    pub figures: CanaryFigures,
}

/// Those of this life, by the names of their plugins, until another takes a share.
pub type Returns = BTreeMap<String, Returned>;

/// What takes a share of records of these plugins.
pub fn of(bytes: &PluginBytes) -> Canaries {
    bytes.iter().filter_map(|(name, parts)| Some((name.clone(), parts.canary.as_ref()?.known()))).collect()
}

/// What came of an order that was taken.
#[derive(Debug)]
pub struct Begun {
    /// What takes a share now.
    pub canary: Canary,
    /// Whether it did already, on the same terms.
    pub is_same: bool,
}

/// What was ended by hand.
#[derive(Debug, Default)]
pub struct Ended {
    /// What took a share of the records.
    pub canary: Option<ContentDigest>,
    /// What ran beside the plugin.
    pub shadow: Option<ContentDigest>,
}

impl Running {
    /// What takes a share of plugins' records.
    pub fn canaries(&self) -> Canaries {
        of(&self.groups.plan().bytes)
    }

    /// What did, and was returned from by itself.
    pub fn returned(&self) -> Returns {
        self.returned.clone()
    }

    /// Gives `component` a share of the records of plugin `name`, in the place of what has one; `now` in unix nanoseconds.
    pub async fn begin_canary(
        &mut self,
        name: &str,
        (component, signature): (Vec<u8>, Option<String>),
        terms: Terms,
        now: i64,
    ) -> Result<Begun, SwapError> {
        self.knows(name)?;
        let known = Override { digest: ContentDigest::of(&component), since: now, signature };
        let is_it = |one: &Canary| {
            (&one.known.digest, &one.known.signature, one.terms) == (&known.digest, &known.signature, terms)
        };
        if let Some(canary) = self.canaries().remove(name).filter(is_it) {
            return Ok(Begun { canary, is_same: true });
        }
        let candidate = Candidate { put: Put { component, known }, terms };
        let (canary, share) = (candidate.known(), terms.share.percent());
        match self.try_canary(name, candidate).await {
            Ok(()) => {
                self.returned.remove(name);
                tracing::warn!(plugin = name, digest = %canary.known.digest, share, "another component takes so many per cent of the plugin's records");
                Ok(Begun { canary, is_same: false })
            }
            Err(reason) => Err(SwapError::Refused(reason.trim_end().to_owned(), name.to_owned())),
        }
    }

    async fn try_canary(&mut self, name: &str, candidate: Candidate) -> Result<(), String> {
        self.fits(name, &candidate.put)?;
        // It must be fit to take all of them: routes lead somewhere with it alone.
        let put = candidate.put.clone();
        self.built_with(name, |parts| parts.put(put)).await?;
        self.exchange(name, |parts| parts.canary = Some(candidate)).await?;
        Ok(())
    }

    /// Ends what takes a share of a plugin's records, and what runs beside it; its own component goes on.
    pub async fn end_trial(&mut self, name: &str) -> Result<Ended, SwapError> {
        self.knows(name)?;
        let mut ended = Ended { shadow: self.end_shadow(name), canary: None };
        if let Some(canary) = self.canaries().remove(name) {
            let done = self.exchange(name, |parts| parts.canary = None).await;
            done.map_err(|reason| SwapError::Refused(reason.trim_end().to_owned(), name.to_owned()))?;
            tracing::warn!(plugin = name, digest = %canary.known.digest, "its share of the plugin's records has ended");
            ended.canary = Some(canary.known.digest);
        }
        Ok(ended)
    }

    /// Returns from what takes a share of a plugin's records, if it is still `canary`.
    async fn return_from(&mut self, name: &str, canary: &Canary, reason: String, now: i64) -> Result<(), String> {
        if self.canaries().get(name) != Some(canary) {
            return Ok(());
        }
        let figures = self.loaded.get(name).and_then(|plugin| Some(plugin.canary()?.figures())).unwrap_or_default();
        self.exchange(name, |parts| parts.canary = None).await?;
        tracing::error!(
            plugin = name, digest = %canary.known.digest, reason,
            "the component that took a share of the plugin's records is returned from; the plugin's own takes all of them again"
        );
        self.returned.insert(name.to_owned(), Returned { canary: canary.clone(), at: now, reason, figures });
        Ok(())
    }
}

impl PluginParts {
    /// Has this component stand in the place of the present one, for all records.
    pub fn put(&mut self, Put { component, known }: Put) {
        (self.component, self.overridden, self.canary) = (component, Some(known), None);
    }
}

/// Returns from those that fail too often, until the agent has gone.
pub async fn watch(handle: Weak<Handle>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let Some(handle) = handle.upgrade() else { return };
        for (name, canary) in handle.canaries().iter() {
            let figures = handle.plugins().get(name).and_then(|plugin| Some(plugin.canary()?.figures()));
            let Some(reason) = figures.and_then(|found| found.beyond(canary.terms.failing_max)) else { continue };
            if !give_back(&handle, name, canary, reason).await {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Whether it need not be asked for again.
async fn give_back(handle: &Arc<Handle>, name: &str, canary: &Canary, reason: String) -> bool {
    let (noting, plugin, canary) = (handle.clone(), name.to_owned(), canary.clone());
    let outcome = handle.ask(move |running| {
        Box::pin(async move {
            let outcome = running.return_from(&plugin, &canary, reason, SystemClock.now()).await;
            noting.show(running);
            outcome
        })
    });
    match outcome.await {
        Ok(Ok(())) => true,
        Ok(Err(reason)) => {
            tracing::error!(
                plugin = name,
                reason,
                "what takes a share of the plugin's records can't be returned from yet"
            );
            false
        }
        // The next start finds it, and counts anew.
        Err(_) => false,
    }
}

/// What takes a share of records, and what was returned from, as programs read it. `plugins` where an agent runs.
pub fn views(canaries: &Canaries, returned: &Returns, plugins: Option<&BTreeMap<String, Plugin>>) -> Value {
    let view = |canary: &Canary, figures: Option<CanaryFigures>, ended: Option<&Returned>| {
        let mut view = canary.known.view();
        view["share"] = canary.terms.share.percent().into();
        view["failing_max"] = canary.terms.failing_max.percent().into();
        if let Some(found) = figures {
            view["own"] = found.own.into();
            view["records"] = found.candidate.into();
            view["failing"] = found.failing.into();
            view["failure"] = json!(found.failure);
        }
        view["ended"] = json!(ended.map(|ended| &ended.reason));
        view["ended_at"] = json!(ended.map(|ended| when(Some(ended.at))));
        view
    };
    let mut all = serde_json::Map::new();
    for (name, ended) in returned {
        all.insert(name.clone(), view(&ended.canary, Some(ended.figures.clone()), Some(ended)));
    }
    for (name, canary) in canaries {
        let figures = plugins.and_then(|plugins| Some(plugins.get(name)?.canary()?.figures()));
        all.insert(name.clone(), view(canary, figures, None));
    }
    Value::Object(all)
}

/// What [`views`] gave, a line for each.
pub fn lines(views: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |(name, view): (&String, &Value)| {
        let (digest, since, share) =
            (text(&view["digest"]), text(&view["since"]), view["share"].as_f64().unwrap_or_default());
        let counted = match view["records"].as_u64() {
            Some(records) => format!(": {records} of {} records, {} failed", records + own(view), view["failing"]),
            None => String::new(),
        };
        match view["ended"].as_str() {
            None => format!("{name}: {digest} takes {share} % of its records since {since}{counted}"),
            Some(why) => format!(
                "{name}: {digest} took {share} % of its records from {since} to {}{counted}; returned from: {why}",
                text(&view["ended_at"])
            ),
        }
    };
    views.as_object().into_iter().flatten().map(line).collect()
}

/// Records of the plugin's own component, less those that came to it because the candidate had failed on them.
fn own(view: &Value) -> u64 {
    let count = |key: &str| view[key].as_u64().unwrap_or_default();
    count("own").saturating_sub(count("failing"))
}
