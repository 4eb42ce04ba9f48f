//! From transforms of a config to the graph of stages behind one source. Plugins of a chain become stages in a row, each with a
//! component number of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sawlog_chain::apply::Columns;
use sawlog_chain::pipeline::{self, FieldsOf, From, Node, Parts, Pipeline, PipelineChain, Tap};
use sawlog_chain::{CanaryError, Engine, LoadError, Plugin};
use sawlog_core::{SinkId, SourceId};
use sawlog_record::decode::{DecodeSpec, Decoder, Format};
use sawlog_record::expr::Expr;
use sawlog_settings::component::OnError;
use sawlog_sources::registry::SourceOptions;

use super::canary::Candidate;
use super::overrides::{Override, WAY_BACK};
use super::{RunError, replay};
use crate::config::Config;
use crate::config::graph::Input;
use crate::config::routes::STAGES_MAX;
use crate::config::transforms::TransformOptions;
use crate::letters::{Door, Doors, Stage};

/// Bytes of the plugins of a config, by the names it gives them.
pub type PluginBytes = BTreeMap<String, PluginParts>;

/// What a plugin is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginParts {
    /// The component.
    pub component: Vec<u8>,
    /// The files that the config names for it: name and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where the component is not the one that the config names: what is known of it.
    pub overridden: Option<Override>,
    /// What takes a share of the records.
    pub canary: Option<Candidate>,
}

/// A plugin that can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{component}: {error}{}", if *.is_override { WAY_BACK } else { "" })]
pub struct Unloaded {
    /// Its component: the file, or the digest of what stands in its place.
    component: String,
    /// Why, with the name that it has in the configuration.
    error: LoadError,
    is_override: bool,
}

impl Unloaded {
    /// Why, in the words of those who load it.
    pub fn reason(&self) -> String {
        self.error.to_string()
    }
}

/// Compiles and configures every plugin of the config.
pub fn load_plugins(
    config: &Config,
    bytes: &PluginBytes,
    engine: &Engine,
    epoch: &[u8],
) -> Result<BTreeMap<String, Plugin>, RunError> {
    let mut plugins = BTreeMap::new();
    for (name, options) in &config.plugins {
        let refuse = |reason: String| RunError::Component { name: name.clone(), reason };
        let parts = bytes.get(name).ok_or_else(|| refuse("its component is not at hand".into()))?;
        let granted = options.granted(parts.files.clone(), epoch);
        let component = match &parts.overridden {
            Some(known) => known.digest.to_string(),
            None => options.file(&config.folder).display().to_string(),
        };
        let refuse = |error| Unloaded { component, error, is_override: parts.overridden.is_some() };
        let mut plugin = engine.load(name, &parts.component, granted.clone()).map_err(refuse)?;
        if let Some(Candidate { put, terms }) = &parts.canary {
            let refuse = |error| Unloaded { component: put.known.digest.to_string(), error, is_override: true };
            let candidate = engine.load(name, &put.component, granted).map_err(refuse)?;
            let refuse = |error: CanaryError| RunError::Component {
                name: name.clone(),
                reason: format!("{}: {error}{WAY_BACK}", put.known.digest),
            };
            plugin = plugin.with_canary(candidate, terms.share).map_err(refuse)?;
        }
        plugins.insert(name.clone(), plugin);
    }
    Ok(plugins)
}

/// The chain of one source.
pub fn build(
    config: &Config,
    source: &str,
    fields: FieldsOf,
    plugins: &BTreeMap<String, Plugin>,
) -> Result<Arc<PipelineChain>, RunError> {
    let below = config.subgraph(source);
    let mut graph = Building { config, source, nodes: Vec::new(), outputs: BTreeMap::new(), doors: None };
    for name in &below.transforms {
        graph.transform(name, plugins)?;
    }
    let mut taps = Vec::new();
    for name in &below.sinks {
        let inputs = graph.inputs(&config.sinks[*name].inputs)?;
        taps.push(Tap { sink: SinkId::new(name), inputs });
    }
    let parts = Parts {
        source: SourceId::new(source),
        decoder: Arc::new(decoder_of(config, source)?),
        fields,
        entrances: None,
        nodes: graph.nodes,
        taps,
        dead_letter: SinkId::new(config.dead_letter()),
    };
    Ok(Pipeline::chain(parts))
}

/// Where dead letters may come back into a configuration, numbered as outputs of their source: before every plugin, and at
/// every sink.
pub fn doors(config: &Config) -> BTreeMap<Door, u8> {
    let mut doors = BTreeSet::new();
    for name in &config.order {
        let TransformOptions::Wasm(wasm) = &config.transforms[name].options else { continue };
        let stages = wasm.chain.iter().enumerate();
        doors.extend(stages.map(|(i, plugin)| Door::Plugin(Stage { plugin: plugin.clone(), place: place(name, i) })));
    }
    let sinks = config.sinks.keys().filter(|sink| !config.is_dead_letter_sink(sink));
    doors.extend(sinks.cloned().map(Door::Sink));
    // Output 0 is nobody's; what can't be numbered can't be replayed.
    doors.into_iter().zip(1..=u8::MAX).collect()
}

/// The chain of what comes back from the dead letters: all stages of the configuration but its parsers, entered anywhere.
pub fn build_replay(config: &Config, plugins: &BTreeMap<String, Plugin>) -> Result<Arc<PipelineChain>, RunError> {
    let doors = doors(config);
    let (nodes, outputs) = (Vec::new(), BTreeMap::new());
    let mut graph = Building { config, source: replay::SOURCE, nodes, outputs, doors: Some(doors.clone()) };
    for name in &config.order {
        graph.transform(name, plugins)?;
    }
    let mut taps = Vec::new();
    for (name, sink) in config.sinks.iter().filter(|(name, _)| !config.is_dead_letter_sink(name)) {
        let mut inputs = graph.inputs(&sink.inputs)?;
        inputs.extend(graph.door(&Door::Sink(name.clone())));
        taps.push(Tap { sink: SinkId::new(name), inputs });
    }
    let spec = DecodeSpec { attempts: vec![Format::Text], ..DecodeSpec::default() };
    let refuse = |e: sawlog_record::decode::SpecError| RunError::Component {
        name: replay::SOURCE.to_owned(),
        reason: e.to_string(),
    };
    let parts = Parts {
        source: SourceId::new(replay::SOURCE),
        decoder: Arc::new(Decoder::new(&spec).map_err(refuse)?),
        fields: Arc::new(|_| sawlog_record::decode::Source::default()),
        entrances: Some(Arc::new(Doors(doors))),
        nodes: graph.nodes,
        taps,
        dead_letter: SinkId::new(config.dead_letter()),
    };
    Ok(Pipeline::chain(parts))
}

/// How dead letters name a plugin's place.
fn place(transform: &str, index: usize) -> String {
    format!("{transform}.{index}")
}

/// How a source's records are read by those who take them as they are: text, or what the source says they are.
fn decoder_of(config: &Config, source: &str) -> Result<Decoder, RunError> {
    let attempts = match config.sources.get(source).map(|s| &s.options) {
        Some(SourceOptions::Http(_)) => vec![Format::Json, Format::Text],
        _ => vec![Format::Text],
    };
    let spec = DecodeSpec { attempts, ..DecodeSpec::default() };
    Decoder::new(&spec).map_err(|e| RunError::Component { name: source.to_owned(), reason: e.to_string() })
}

struct Building<'a> {
    config: &'a Config,
    source: &'a str,
    nodes: Vec<Node>,
    /// Where the outputs of a transform are: by its name and the output's.
    outputs: BTreeMap<(String, Option<String>), From>,
    /// Where letters come in, in their own graph.
    doors: Option<BTreeMap<Door, u8>>,
}

impl Building<'_> {
    fn inputs(&self, inputs: &[Input]) -> Result<Vec<From>, RunError> {
        let mut found = Vec::new();
        for input in inputs {
            if input.from == self.source {
                found.push(From { node: None, output: 0 });
            } else if let Some(from) = self.outputs.get(&(input.from.clone(), input.output.clone())) {
                found.push(*from);
            } else if self.outputs.keys().any(|(name, _)| *name == input.from) {
                return Err(RunError::Component {
                    name: input.from.clone(),
                    reason: format!("it has no output `{}`", input.output.as_deref().unwrap_or("(default)")),
                });
            }
            // Else it lies behind another source.
        }
        Ok(found)
    }

    fn door(&self, door: &Door) -> Option<From> {
        let output = *self.doors.as_ref()?.get(door)?;
        Some(From { node: None, output })
    }

    fn transform(&mut self, name: &str, plugins: &BTreeMap<String, Plugin>) -> Result<(), RunError> {
        let refuse = |reason: String| RunError::Component { name: name.to_owned(), reason };
        let transform = &self.config.transforms[name];
        let inputs = self.inputs(&transform.inputs)?;
        match &transform.options {
            // Nothing comes back in front of a parser.
            TransformOptions::Parse(_) if self.doors.is_some() => {}
            TransformOptions::Parse(parse) => {
                if inputs.iter().any(|from| from.node.is_some()) {
                    return Err(refuse(
                        "a parse transform reads a source's records; let it stand directly behind sources".into(),
                    ));
                }
                let decoder = Decoder::new(&parse.spec()).map_err(|e| refuse(e.to_string()))?;
                let at = self.push(name, name.to_owned(), inputs, pipeline::Stage::Decode(Arc::new(decoder)))?;
                self.outputs.insert((name.to_owned(), None), at);
            }
            TransformOptions::Filter(filter) => {
                let condition = Expr::parse(filter.condition.as_str()).map_err(|e| refuse(e.to_string()))?;
                let at = self.push(name, name.to_owned(), inputs, pipeline::Stage::Filter(Arc::new(condition)))?;
                self.outputs.insert((name.to_owned(), None), at);
            }
            TransformOptions::Route(route) => {
                let names: Vec<&String> = route.routes.keys().collect();
                let parsed = route.routes.values().map(|c| Expr::parse(c.as_str()).map(Arc::new));
                let conditions = parsed.collect::<Result<Vec<_>, _>>().map_err(|e| refuse(e.to_string()))?;
                let unmatched = names.iter().position(|n| **n == route.unmatched).map(|at| at as u8 + 1);
                let at = self.push(name, name.to_owned(), inputs, pipeline::Stage::Route { conditions, unmatched })?;
                for (i, output) in names.into_iter().enumerate() {
                    self.outputs.insert((name.to_owned(), Some(output.clone())), From { output: i as u8 + 1, ..at });
                }
            }
            TransformOptions::Wasm(wasm) => {
                let mut inputs = inputs;
                for (index, plugin) in wasm.chain.iter().enumerate() {
                    let place = place(name, index);
                    inputs.extend(self.door(&Door::Plugin(Stage { plugin: plugin.clone(), place: place.clone() })));
                    let plugin = plugins.get(plugin).ok_or_else(|| refuse(format!("there is no plugin `{plugin}`")))?;
                    let columns = Arc::new(Columns::of(plugin));
                    let routes = plugin.registration().routes.clone();
                    let drops_rejected = wasm.on_error == Some(OnError::Drop);
                    let stage = pipeline::Stage::Plugin { plugin: plugin.clone(), columns, drops_rejected };
                    let at = self.push(plugin.name(), place, inputs, stage)?;
                    for (i, route) in routes.into_iter().enumerate() {
                        let from = From { output: i as u8 + 1, ..at };
                        self.outputs.insert((name.to_owned(), Some(route)), from);
                    }
                    self.outputs.insert((name.to_owned(), None), at);
                    inputs = vec![at];
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, name: &str, place: String, inputs: Vec<From>, stage: pipeline::Stage) -> Result<From, RunError> {
        let number = u8::try_from(self.nodes.len() + 1).map_err(|_| RunError::Component {
            name: name.to_owned(),
            reason: format!("there are more than {STAGES_MAX} stages behind one source; let several agents share them"),
        })?;
        // Numbers name stateful components in the journal: letters count theirs from the other end.
        let component = if self.doors.is_some() { u8::MAX - number + 1 } else { number };
        self.nodes.push(Node { component, name: name.to_owned(), place, inputs, stage });
        Ok(From { node: Some(self.nodes.len() - 1), output: 0 })
    }
}
