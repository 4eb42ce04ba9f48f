//! Components that the configuration no longer names and that still owe: sinks that drain, sources whose planned range is not
//! delivered. They are built from the newest former configuration that names them.

use std::collections::BTreeMap;

use sawlog_core::journal::{Journal, JournalState};
use sawlog_core::{EpochId, SinkId, reload};
use sawlog_sources::registry::SourceOptions;

use super::replay;
use crate::config::Config;

/// Former configurations that the journal still names, oldest first.
pub type Former = Vec<(EpochId, Config)>;

/// Sinks of the journal that `config` does not name, each with the newest configuration that does.
pub fn sinks<'a>(journal: &Journal, former: &'a Former, config: &Config) -> Vec<(String, &'a Config)> {
    let state = journal.state();
    let is_gone = |id: &&SinkId| !config.sinks.contains_key(id.as_str());
    let newest = |id: &SinkId| {
        let named = former.iter().rev().find(|(_, config)| config.sinks.contains_key(id.as_str()));
        if named.is_none() {
            tracing::error!(sink = %id, "it is to drain, and no configuration that names it is at hand: name it in the configuration again, or give it up with `remove: {{ NAME: forget }}`");
        }
        named.map(|(_, config)| (id.to_string(), config))
    };
    state.sinks().filter(is_gone).filter_map(newest).collect()
}

/// Sources of the journal that `config` does not name and that still owe, each with the newest configuration that does.
pub fn sources<'a>(journal: &Journal, former: &'a Former, config: &Config) -> Vec<(String, EpochId, &'a Config)> {
    let state = journal.state();
    let names: BTreeMap<String, ()> = state.generations.values().map(|g| (g.source.to_string(), ())).collect();
    let is_gone = |name: &String| !name.is_empty() && name != replay::SOURCE && !config.sources.contains_key(name);
    let gone = names.into_keys().filter(is_gone);
    let newest = |name: String| {
        let (epoch, config) = former.iter().rev().find(|(_, config)| config.sources.contains_key(&name))?;
        owes(&state, &name, config).then_some((name, *epoch, config))
    };
    gone.filter_map(newest).collect()
}

/// Whether anything may be undelivered. Of pushed input only the queue itself knows.
fn owes(state: &JournalState, name: &str, config: &Config) -> bool {
    let is_pushed = matches!(config.sources[name].options, SourceOptions::Http(_));
    is_pushed || !reload::is_source_delivered(state, &sawlog_core::SourceId::new(name))
}
