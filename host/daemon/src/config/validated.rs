//! A config that holds together: what assembly, reload and `validate` work from. It has no places any more, and nothing in
//! it was complained about.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sawlog_settings::checked::NameTemplate;
use sawlog_settings::component::{OnError, Promise, Provenance, RouteFacts, SinkCommon, SourceCommon};
use sawlog_settings::{ByteSize, Delivery};
use sawlog_sinks::file::config::FileSink;
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::registry::SourceOptions;
use serde::Serialize;

use super::disk::DiskShares;
use super::graph::{Graph, Input};
use super::plugins::Plugin;
use super::sections::Sections;
use super::transforms::TransformOptions;

/// Name of the sink that takes dead letters where the config names none.
pub const DEAD_LETTER: &str = "dead_letter";

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// The word in `type`.
    pub r#type: &'static str,
    /// Options of every source.
    pub common: SourceCommon,
    /// Its own options.
    pub options: SourceOptions,
}

/// A transform.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transform {
    /// The word in `type`.
    pub r#type: &'static str,
    /// Where its rows come from.
    pub inputs: Vec<Input>,
    /// Its own options.
    pub options: TransformOptions,
}

/// A sink, with everything that `defaults` decide filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sink {
    /// The word in `type`.
    pub r#type: &'static str,
    /// Where its rows come from; none for a sink of dead letters.
    pub inputs: Vec<Input>,
    /// The promise asked for.
    pub delivery: Delivery,
    /// What happens to a record that it refuses.
    pub on_error: OnError,
    /// The sink that takes its dead letters; `None` for sinks of dead letters.
    pub dead_letter: Option<String>,
    /// What every row carries.
    pub provenance: Provenance,
    /// Options of every sink, as written.
    pub common: SinkCommon,
    /// Its own options.
    pub options: SinkOptions,
}

/// Everything that rows of one source pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subgraph<'a> {
    /// Transforms, each behind those that feed it, ties by name.
    pub transforms: Vec<&'a str>,
    /// Sinks, by name.
    pub sinks: Vec<&'a str>,
}

/// A route from a source to a sink, and what it can promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The source.
    pub source: String,
    /// What lies between, one list for each way.
    pub ways: Vec<Vec<String>>,
    /// The sink.
    pub sink: String,
    /// What it can promise.
    pub promise: Promise,
}

/// A config that holds together.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the config, absolute; every path in the config is absolute too.
    pub folder: PathBuf,
    /// Sections beside components and plugins.
    pub sections: Sections,
    /// Plugins by name.
    pub plugins: BTreeMap<String, Plugin>,
    /// Sources by name.
    pub sources: BTreeMap<String, Source>,
    /// Transforms by name.
    pub transforms: BTreeMap<String, Transform>,
    /// Sinks by name, with the one for dead letters.
    pub sinks: BTreeMap<String, Sink>,
    /// Who feeds whom.
    pub graph: Graph,
    /// Names of the transforms, each behind those that feed it, ties by name: the component numbers in
    /// record ids are the places in this list, the same for every agent with this config.
    pub order: Vec<String>,
}

impl Config {
    /// Everything that rows of `source` pass.
    pub fn subgraph(&self, source: &str) -> Subgraph<'_> {
        let below = self.graph.below(source);
        let transforms = self.order.iter().map(String::as_str).filter(|name| below.contains(name)).collect();
        let sinks = self.sinks.keys().map(String::as_str).filter(|name| below.contains(name)).collect();
        Subgraph { transforms, sinks }
    }

    /// How the disk below the data directory is divided.
    pub fn disk_shares(&self) -> DiskShares {
        DiskShares::of_config(&self.sections.limits, self.sources.values().map(|source| &source.options))
    }

    /// The sink that takes dead letters of transforms.
    pub fn dead_letter(&self) -> &str {
        self.sections.dead_letter.as_deref().unwrap_or(DEAD_LETTER)
    }

    /// Sinks that other sinks or transforms send their dead letters to.
    pub fn is_dead_letter_sink(&self, sink: &str) -> bool {
        self.sinks.get(sink).is_some_and(|sink| sink.dead_letter.is_none())
    }

    /// Every route from a source to a sink, by source, then sink.
    pub fn routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for (source_name, source) in &self.sources {
            for sink_name in self.subgraph(source_name).sinks {
                let ways = self.graph.ways(source_name, sink_name, WAYS_MAX);
                let plugins =
                    ways.iter().flatten().any(|name| self.transforms.get(*name).is_some_and(|t| t.r#type == "wasm"));
                let sink = &self.sinks[sink_name];
                let facts = RouteFacts { source: source.options.describe().kind(), asked: sink.delivery, plugins };
                routes.push(Route {
                    source: source_name.clone(),
                    ways: ways.into_iter().map(|way| way.into_iter().map(str::to_owned).collect()).collect(),
                    sink: sink_name.to_owned(),
                    promise: sink.options.describe().promise(&facts),
                });
            }
        }
        routes
    }

    /// Most memory that sinks and plugins may take at once, in bytes.
    pub fn memory_bytes_max(&self) -> u64 {
        let sinks: u64 = self.sinks.values().map(|sink| sink.options.describe().memory_bytes_max(&sink.common)).sum();
        let plugins: u64 = self.plugins.values().map(|plugin| plugin.limits.memory.as_bytes()).sum();
        sinks + plugins
    }

    /// Everything that outputs depend on, as text: what the id of an epoch is made of, beside digests of plugins. Secrets
    /// stand in it by reference.
    pub fn digest_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&(&self.sections, &self.plugins, &self.sources, &self.transforms, &self.sinks))
    }
}

/// Most ways between a source and a sink that are listed.
const WAYS_MAX: usize = 16;

/// The sink that takes dead letters where the config names none.
pub fn builtin_dead_letter() -> Sink {
    let path = NameTemplate::parse("{data_dir}/dead-letter").expect("a literal that parses, as the examples show");
    Sink {
        r#type: "file",
        inputs: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        on_error: OnError::DeadLetter,
        dead_letter: None,
        provenance: Provenance::Full,
        common: SinkCommon::default(),
        options: SinkOptions::File(FileSink::appended(path, ByteSize::gib(1))),
    }
}
