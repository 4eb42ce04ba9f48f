//! SIGHUP: a changed configuration as one transaction. Everything that can fail is done first, beside what runs; then one EPOCH
//! is journalled, and only what changed begins anew. Where anything is wrong, all of the old configuration goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sawlog_core::engine::{Change, Route};
use sawlog_core::input::Unrescued;
use sawlog_core::sink::Sink;
use sawlog_core::{SourceId, reload};
use sawlog_settings::component::StartFrom;
use sawlog_sources::http::config::HttpSource;
use sawlog_sources::registry::SourceOptions;

use super::canary;
use super::changes::{self, Changes};
use super::epochs::{self, Epoch};
use super::overrides;
use super::parts::{Running, wanted};
use super::pipelines::PluginBytes;
use super::{groups, replay, runtime, sources};
use crate::config::files::Files;
use crate::config::references::Machine;
use crate::config::{self, Config, Loaded};
use crate::{diagnostics, own_log};

/// What became of a configuration that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What was added, removed, begun anew.
    pub done: String,
    /// Keys that stay as they were until the next start.
    pub waiting: Vec<&'static str>,
}

/// What becomes of components that stand in the place of configured ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptOverrides {
    /// They stay.
    All,
    /// The configured ones come back.
    None,
}

/// A configuration that nothing refuses yet.
pub(super) struct Judged {
    pub(super) files: Files,
    pub(super) config: Config,
    pub(super) certificates: changes::Certificates,
    pub(super) changes: Changes,
    pub(super) bytes: PluginBytes,
    pub(super) epoch: Epoch,
}

impl Running {
    /// Takes the configuration anew. Where anything is wrong with it, all of the old one goes on, and the error says why.
    pub async fn reload(&mut self, path: &Path, kept: KeptOverrides) -> Result<Taken, String> {
        match self.try_reload(path, kept).await {
            Ok(taken) => {
                if kept == KeptOverrides::None {
                    self.end_shadows();
                    self.returned.clear();
                }
                tracing::info!(done = taken.done, "the configuration was reloaded");
                if !taken.waiting.is_empty() {
                    tracing::warn!(keys = taken.waiting.join(", "), "changed, and in effect after a restart only");
                }
                Ok(taken)
            }
            Err(reason) => {
                tracing::error!(reason, "the configuration was not reloaded; the old one goes on");
                Err(reason)
            }
        }
    }

    /// What a reload would make of these files, as far as that can be told without touching what runs; else why it would refuse them.
    pub async fn weigh(&self, files: Files) -> Result<Taken, String> {
        let loaded = runtime::aside(move || config::understand(files, &Machine)).await.map_err(|e| e.to_string())?;
        let Judged { config, changes, bytes, epoch, .. } = self.judge(loaded, KeptOverrides::All).await?;
        reload::decide(&self.ground.journal.state(), &wanted(&config, &epoch)).map_err(|e| e.to_string())?;
        check_certificates(&config, &changes)?;
        let waiting = changes::waiting(&self.started, &config.sections);
        Ok(Taken { done: self.describe(&config, &changes, &bytes), waiting })
    }

    /// Everything about a configuration that is said before anything is touched.
    async fn judge(&self, loaded: Loaded, kept: KeptOverrides) -> Result<Judged, String> {
        let Some(config) = loaded.config else { return Err(diagnostics::text(&loaded.complaints, &loaded.files)) };
        let certificates = changes::certificates(&config);
        let changes = changes::between(&self.config, &config, (&self.certificates, &certificates))?;
        check_groups(&self.config, &config)?;
        let puts = match kept {
            KeptOverrides::All => overrides::puts(&self.groups.plan().bytes),
            KeptOverrides::None => overrides::Puts::default(),
        };
        let bytes = overrides::plugin_bytes(&config, puts).await.map_err(|e| e.to_string())?;
        let epoch = Epoch::build_aside(&config, &bytes, &self.plugins, &self.fields, None).await;
        let epoch = epoch.map_err(|e| e.to_string())?;
        Ok(Judged { files: loaded.files, config, certificates, changes, bytes, epoch })
    }

    async fn try_reload(&mut self, path: &Path, kept: KeptOverrides) -> Result<Taken, String> {
        let path = path.to_owned();
        let loaded = runtime::aside(move || config::load(&path, &Machine)).await.map_err(|e| e.to_string())?;
        let judged = self.judge(loaded.map_err(|e| e.to_string())?, kept).await?;
        self.take(judged).await
    }

    /// Takes a configuration as one transaction: its EPOCH is journalled, or nothing has changed.
    pub(super) async fn take(&mut self, judged: Judged) -> Result<Taken, String> {
        let taken = self.try_take(judged).await;
        self.ground.journal.release_blobs();
        taken
    }

    async fn try_take(&mut self, judged: Judged) -> Result<Taken, String> {
        let Judged { files, config, certificates, changes, bytes, mut epoch } = judged;
        let held = Epoch::hold_blobs(&files, &bytes, &self.ground.journal).await;
        epoch.blobs = held.map_err(|e| e.to_string())?;
        let wanted = wanted(&config, &epoch);
        // Refused here, it is refused before anything is touched; asked again when it is journalled.
        reload::decide(&self.ground.journal.state(), &wanted).map_err(|e| e.to_string())?;
        let packed = Arc::new(epochs::pack(&files).map_err(|e| e.to_string())?);
        let sinks = self.new_sinks(&config, &changes, &packed)?;
        check_certificates(&config, &changes)?;
        let renewed = self.read_outward(&config.sections)?;
        let drained = self.groups.drain_what_goes(&config, self.grace()).await?;
        let routes = match self.new_sources(&config, &changes).await {
            Ok(routes) => routes,
            Err(reason) => {
                self.groups.begin_again(&drained);
                return Err(reason);
            }
        };
        if epoch.id != self.present {
            self.epochs.add(&epoch);
        }
        let named = config.sources.keys().map(String::as_str);
        let sources = named.chain([replay::SOURCE]).map(SourceId::new).collect();
        let done = self.describe(&config, &changes, &bytes);
        let ended = routes.iter().map(|route| route.id.to_string()).collect();
        match self.engine.reload(Change { wanted, sources, sinks, routes }).await {
            Ok(unrescued) => tell("a source", unrescued),
            Err(refused) => {
                self.begin_again(ended).await;
                self.groups.begin_again(&drained);
                return Err(refused.to_string());
            }
        }
        self.take_sections(&config);
        self.take_outward(renewed);
        self.ground.take(packed);
        let waiting = changes::waiting(&self.started, &config.sections);
        // Under the same id lanes keep their instances, and those belong to the plugins that were loaded then.
        if epoch.id != self.present {
            self.end_shadows();
            self.loaded = epoch.plugins.clone();
        }
        (self.config, self.certificates, self.present) = (config.clone(), certificates, epoch.id);
        self.groups.take(groups::Plan { config: config.clone(), files, bytes, epoch });
        if let Err(error) = self.groups.change(&config) {
            tracing::error!(%error, "a group can't be joined; restart the agent: nothing is lost by it");
        }
        Ok(Taken { done, waiting })
    }

    /// What a reload does, for the own log.
    fn describe(&self, new: &Config, changes: &Changes, bytes: &PluginBytes) -> String {
        let (before, now) = (self.overrides(), overrides::of(bytes));
        let ended = before.keys().filter(|name| !now.contains_key(*name));
        let ended = ended.map(|name| format!("; the override of {name} ends"));
        let stand = now.iter().map(|(name, known)| format!("; {name} is overridden by {}", known.digest));
        let plan = self.groups.plan();
        let done = describe((&self.config, new), (&plan.bytes, bytes), changes);
        let (had, have) = (self.canaries(), canary::of(bytes));
        let shares = have.iter().map(|(name, one)| {
            format!("; {} takes {} % of the records of {name}", one.known.digest, one.terms.share.percent())
        });
        let end = had.keys().filter(|name| !have.contains_key(*name));
        let end = end.map(|name| format!("; no other component takes records of {name} any more"));
        std::iter::once(done).chain(ended).chain(stand).chain(end).chain(shares).collect()
    }

    /// Sections that are no component's and take effect at once. A level that was changed by `sawlog log-level` stays until the
    /// config changes it.
    fn take_sections(&self, config: &Config) {
        self.engine.set_checkpoint_interval(config.sections.checkpoint.interval.as_duration());
        self.common.watch.set_fragile(super::parts::repeats_beside_a_twin(config));
        self.memory.take(config);
        self.common.catch_up.set_percent(config.sections.limits.catch_up_cpu);
        let level = config.sections.telemetry.log.level;
        if level != self.config.sections.telemetry.log.level
            && let Err(error) = own_log::set_level(level)
        {
            tracing::warn!(%error, "the level of the own log stays as it was");
        }
    }

    fn new_sinks(&self, config: &Config, changes: &Changes, packed: &Arc<Vec<u8>>) -> Result<Vec<Arc<Sink>>, String> {
        let added = config.sinks.keys().filter(|name| !self.config.sinks.contains_key(*name));
        let made = added.chain(&changes.sinks).map(|name| self.ground.sink(config, name, packed.clone()));
        made.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    /// Opens sources that are new, then those that changed, each after its former self has ended: both would have the same queue
    /// and the same address. Where one can't be opened, those that had ended begin again as they were.
    async fn new_sources(&mut self, config: &Config, changes: &Changes) -> Result<Vec<Route>, String> {
        let is_new = |name: &&String| !self.config.sources.contains_key(*name);
        // Those that share their partitions are not the node's own.
        let is_own = |name: &&String| groups::shared_source(&config.sources[*name].options).is_none();
        // Those that go on keep the room that they have until the next start.
        self.owner.disk_shares = config.disk_shares();
        let named = config.sources.keys().filter(is_new).chain(&changes.sources);
        let names: Vec<String> = named.filter(is_own).cloned().collect();
        let (mut routes, mut ended) = (Vec::new(), BTreeSet::new());
        for name in &names {
            let id = SourceId::new(name);
            tell(name, self.engine.end_source(&id).await);
            if let Some(figures) = self.figures.remove(name) {
                sources::release(&figures).await;
            }
            ended.insert(name.clone());
            match self.open_source(config, name) {
                Ok(route) => routes.push(route),
                Err(reason) => {
                    drop(routes);
                    self.begin_again(ended).await;
                    return Err(reason);
                }
            }
        }
        Ok(routes)
    }

    fn open_source(&mut self, config: &Config, name: &str) -> Result<Route, String> {
        let options = &config.sources[name].options;
        let opened = sources::open(name, options, &self.owner, false).map_err(|e| e.to_string())?;
        self.fields.fill(name, opened.fields);
        self.figures.insert(name.to_owned(), opened.figures);
        let (id, idle_timeout) = (SourceId::new(name), options.idle_timeout());
        Ok(Route { id, source: opened.source, retired: None, idle_timeout })
    }

    async fn begin_again(&mut self, ended: BTreeSet<String>) {
        self.owner.disk_shares = self.config.disk_shares();
        for name in ended {
            if let Some(figures) = self.figures.remove(&name) {
                sources::release(&figures).await;
            }
            let config = self.config.clone();
            if !config.sources.contains_key(&name) {
                continue;
            }
            match self.open_source(&config, &name) {
                Ok(route) => self.engine.start_source(route),
                Err(reason) => tracing::error!(
                    source = name,
                    reason,
                    "it can't be opened again either; restart the agent: nothing is lost by it"
                ),
            }
        }
    }
}

/// Says what a source could not rescue before it ended.
fn tell(source: &str, unrescued: Vec<Unrescued>) {
    for given_up in unrescued {
        tracing::error!(
            source,
            %given_up,
            "the source ended without it, and counts it as lost unless it can be read again; `sawlog loss` shows it"
        );
    }
}

/// A source that begins anew could not go on as it was with certificates that can't be read: they are the same files.
fn check_certificates(config: &Config, changes: &Changes) -> Result<(), String> {
    for name in &changes.sources {
        if let SourceOptions::Http(HttpSource { tls: Some(tls), .. }) = &config.sources[name].options {
            sawlog_sources::http::acceptor(tls).map_err(|error| format!("source {name}: {error}"))?;
        }
    }
    Ok(())
}

/// A source that shares its partitions keeps what their journals go by, and goes on sharing them.
fn check_groups(old: &Config, new: &Config) -> Result<(), String> {
    let is_shared =
        |source: &&String| old.sources.get(*source).is_some_and(|s| groups::shared_source(&s.options).is_some());
    for source in new.sources.keys().filter(is_shared) {
        let fed = new.subgraph(source).sinks;
        let is_oldest =
            |sink: &&&str| !old.sinks.contains_key(**sink) && new.sinks[**sink].common.from == StartFrom::Oldest;
        if let Some(sink) = fed.iter().find(is_oldest) {
            return Err(format!(
                "sink {sink} is added with `from: oldest` to source {source}, whose partitions move between agents and have planned \
                 input already, which is not built: leave `from` out"
            ));
        }
    }
    for (name, source) in &new.sources {
        let Some(before) = old.sources.get(name) else { continue };
        let said = match (groups::shared_source(&before.options), groups::shared_source(&source.options)) {
            (None, None) => continue,
            (Some(old), Some(new)) if old.group_id != new.group_id => "`group_id`",
            (Some(old), Some(new)) if old.journal_topic != new.journal_topic => "`journal_topic`",
            (Some(old), Some(new)) if old.topics_pattern.is_some() && old.topics_pattern != new.topics_pattern => {
                "`topics_pattern`"
            }
            (Some(_), Some(_)) => continue,
            _ => "`partitions`",
        };
        return Err(format!(
            "source {name}: {said} changed, and positions don't pass from one to the other; give the new one another name, and \
             take the old one out once it owes nothing"
        ));
    }
    Ok(())
}

/// What a reload does to components.
fn describe((old, new): (&Config, &Config), bytes: (&PluginBytes, &PluginBytes), changes: &Changes) -> String {
    let missing = |from: Vec<&String>, there: &dyn Fn(&str) -> bool| -> Vec<String> {
        from.into_iter().filter(|name| !there(name)).cloned().collect()
    };
    let added = missing(new.sources.keys().chain(new.sinks.keys()).collect(), &|name| {
        old.sources.contains_key(name) || old.sinks.contains_key(name)
    });
    let removed = missing(old.sources.keys().chain(old.sinks.keys()).collect(), &|name| {
        new.sources.contains_key(name) || new.sinks.contains_key(name)
    });
    let anew: Vec<String> = changes.sources.iter().chain(&changes.sinks).cloned().collect();
    let changed = changed((old, new), bytes).into_iter().collect::<Vec<_>>();
    let lists = [added, removed, anew, changed].map(|names| names.join(", "));
    let done =
        format!("added [{}], removed [{}], begun anew [{}], changed [{}]", lists[0], lists[1], lists[2], lists[3]);
    let switches = changes.switches.iter().map(|switch| format!("; {switch}"));
    std::iter::once(done).chain(switches).collect()
}

/// Transforms and plugins that come, go or change, and sinks with other inputs: what is planned from now on goes another way.
fn changed((old, new): (&Config, &Config), bytes: (&PluginBytes, &PluginBytes)) -> BTreeSet<String> {
    let transforms = old.transforms.keys().chain(new.transforms.keys());
    let transforms = transforms.filter(|name| old.transforms.get(*name) != new.transforms.get(*name));
    let plugins =
        old.plugins.keys().chain(new.plugins.keys()).filter(|name| {
            old.plugins.get(*name) != new.plugins.get(*name) || bytes.0.get(*name) != bytes.1.get(*name)
        });
    let has_other_inputs =
        |name: &String| new.sinks.get(name).is_some_and(|sink| sink.inputs != old.sinks[name].inputs);
    let sinks = old.sinks.keys().filter(|name| has_other_inputs(name));
    transforms.chain(plugins).chain(sinks).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::files::SourceFile;
    use crate::run::slots::Slots;
    use std::path::PathBuf;

    fn config(parts: &str) -> Config {
        let group = "type: kafka, brokers: [\"k:9092\"], topics: [t], group_id: g, start: earliest, journal_topic: j";
        of_sources(&format!("  orders: {{ {group} }}\n{parts}"))
    }

    fn of_sources(sources: &str) -> Config {
        let text = format!("version: 1\nagent: {{ id: a }}\nsources:\n{sources}");
        let file = SourceFile::of_config(PathBuf::from("c.yaml"), text);
        let loaded = config::understand(
            Files { files: vec![file], folder: PathBuf::from("/nowhere"), ..Files::default() },
            &Machine,
        );
        loaded.config.unwrap_or_else(|| panic!("{}", diagnostics::text(&loaded.complaints, &loaded.files)))
    }

    /// Partitions that are named by hand don't move, and are as silent as those of a group about what they keep.
    #[tokio::test]
    async fn a_source_of_topics_is_one_that_cannot_tell_what_it_keeps_and_a_source_of_files_is_none() {
        let by_hand = "type: kafka, brokers: [\"k:9092\"], topics: [t], partitions: [0], group_id: g, start: earliest";
        let config = of_sources(&format!(
            "  orders: {{ {by_hand} }}\n  app: {{ type: file, include: [/logs/*.log] }}\n\
             sinks:\n  out: {{ type: blackhole, inputs: [orders, app] }}\n"
        ));
        let engine = sawlog_chain::Engine::new(sawlog_chain::EngineLimits::default(), None).unwrap();
        let epoch = Epoch::build_aside(&config, &PluginBytes::new(), &engine, &Slots::default(), None).await.unwrap();
        assert_eq!(wanted(&config, &epoch).untold, BTreeSet::from([SourceId::new("orders")]));
    }

    #[test]
    fn a_sink_that_a_group_feeds_is_not_added_from_the_oldest() {
        let out = "sinks:\n  out: { type: blackhole, inputs: [orders] }\n";
        let (before, more) = (config(out), "  more: { type: blackhole, inputs: [INPUT], from: oldest }\n");
        let refused = check_groups(&before, &config(&format!("{out}{}", more.replace("INPUT", "orders")))).unwrap_err();
        assert!(refused.contains("sink more") && refused.contains("source orders"), "{refused}");
        let other = "  app: { type: file, include: [/logs/*.log] }\n";
        let beside = config(&format!("{other}{out}{}", more.replace("INPUT", "app")));
        assert_eq!(check_groups(&before, &beside), Ok(()), "what it does not feed is no matter of it");
    }
}
