//! SIGHUP: a changed configuration as one transaction. Everything that can fail is done first, beside what runs; then one EPOCH
//! is journalled, and only what changed begins anew. Where anything is wrong, all of the old configuration goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sawlog_core::engine::{Change, Route};
use sawlog_core::input::Unrescued;
use sawlog_core::sink::Sink;
use sawlog_core::{SourceId, reload};

use super::changes::{self, Changes};
use super::epochs::Epoch;
use super::parts::{Running, plugin_bytes, wanted};
use super::{groups, replay, sources};
use crate::config::references::Machine;
use crate::config::validated::Source;
use crate::config::{self, Config};
use crate::diagnostics;

impl Running {
    /// Takes the configuration anew. Where anything is wrong with it, all of the old one goes on, and the error says why.
    pub async fn reload(&mut self, path: &Path) -> Result<(), String> {
        match self.try_reload(path).await {
            Ok(done) => {
                tracing::info!(done, "the configuration was reloaded");
                Ok(())
            }
            Err(reason) => {
                tracing::error!(reason, "the configuration was not reloaded; the old one goes on");
                Err(reason)
            }
        }
    }

    async fn try_reload(&mut self, path: &Path) -> Result<String, String> {
        let loaded = config::load(path, &Machine).map_err(|e| e.to_string())?;
        let Some(config) = loaded.config else { return Err(diagnostics::text(&loaded.complaints, &loaded.files)) };
        let certificates = changes::certificates(&config);
        let changes = changes::between(&self.config, &config, (&self.certificates, &certificates))?;
        same_groups(&self.config, &config)?;
        let bytes = plugin_bytes(&config).map_err(|e| e.to_string())?;
        let mut epoch = Epoch::build(&config, &bytes, &self.plugins, &self.fields).map_err(|e| e.to_string())?;
        epoch.store(&loaded.files, &bytes, &self.ground.journal).await.map_err(|e| e.to_string())?;
        let wanted = wanted(&config, &epoch);
        // Refused here, it is refused before anything is touched; asked again when it is journalled.
        reload::decide(&self.ground.journal.state(), &wanted).map_err(|e| e.to_string())?;
        let sinks = self.new_sinks(&config, &changes)?;
        let routes = self.new_sources(&config, &changes).await?;
        self.epochs.add(&epoch);
        let named = config.sources.keys().map(String::as_str);
        let sources = named.chain([replay::SOURCE]).map(SourceId::new).collect();
        let done = describe(&self.config, &config, &changes);
        let ended = routes.iter().map(|route| route.id.to_string()).collect();
        match self.engine.reload(Change { wanted, sources, sinks, routes }).await {
            Ok(unrescued) => tell("a source", unrescued),
            Err(refused) => {
                self.begin_again(ended).await;
                return Err(refused.to_string());
            }
        }
        (self.config, self.certificates, self.loaded) = (config.clone(), certificates, epoch.plugins.clone());
        self.groups.take(groups::Plan { config, files: loaded.files, bytes, epoch });
        Ok(done)
    }

    fn new_sinks(&self, config: &Config, changes: &Changes) -> Result<Vec<Arc<Sink>>, String> {
        let added = config.sinks.keys().filter(|name| !self.config.sinks.contains_key(*name));
        let made = added.chain(&changes.sinks).map(|name| self.ground.sink(config, name));
        made.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    /// Opens sources that are new, then those that changed, each after its former self has ended: both would have the same queue
    /// and the same address. Where one can't be opened, those that had ended begin again as they were.
    async fn new_sources(&mut self, config: &Config, changes: &Changes) -> Result<Vec<Route>, String> {
        let is_new = |name: &&String| !self.config.sources.contains_key(*name);
        let names: Vec<String> = config.sources.keys().filter(is_new).chain(&changes.sources).cloned().collect();
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
        Ok(Route { id: SourceId::new(name), source: opened.source, retired: None })
    }

    async fn begin_again(&mut self, ended: BTreeSet<String>) {
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

/// A source that shares its partitions stays as it is: membership in a group is not handed over within a process.
fn same_groups(old: &Config, new: &Config) -> Result<(), String> {
    let shared = |config: &Config| -> Vec<(String, Source)> {
        let shared = config.sources.iter().filter(|(_, source)| groups::shared_source(&source.options).is_some());
        shared.map(|(name, source)| (name.clone(), source.clone())).collect()
    };
    if shared(old) == shared(new) {
        return Ok(());
    }
    Err("a source that shares its partitions with other agents changed, which takes a restart: nothing is lost by one"
        .into())
}

/// What a reload did, for the own log.
fn describe(old: &Config, new: &Config, changes: &Changes) -> String {
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
    format!("added [{}], removed [{}], begun anew [{}]", added.join(", "), removed.join(", "), anew.join(", "))
}
