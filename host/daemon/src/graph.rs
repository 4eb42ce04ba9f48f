//! The graph of a config as a drawing: mermaid or dot. It knows names and edges only.

use std::fmt::Write as _;

use crate::config::Config;
use crate::config::graph::{Input, Kind};

/// A language for drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// For markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// The drawing. Sources stand left, sinks right; a named output labels its edge.
pub fn draw(config: &Config, language: Language) -> String {
    let mut out = String::from(match language {
        Language::Mermaid => "flowchart LR\n",
        Language::Dot => "digraph sawlog {\n  rankdir=LR;\n",
    });
    for (name, vertex) in &config.graph.vertices {
        append(&mut out, &node(name, &type_of(config, name), vertex.kind, language));
    }
    for (name, vertex) in &config.graph.vertices {
        for input in &vertex.inputs {
            append(&mut out, &edge(input, name, language));
        }
    }
    if language == Language::Dot {
        append(&mut out, "}");
    }
    out
}

fn append(out: &mut String, line: &str) {
    if writeln!(out, "{line}").is_err() {
        unreachable!("a string takes every write");
    }
}

fn type_of(config: &Config, name: &str) -> String {
    let sources = config.sources.get(name).map(|source| source.r#type);
    let transforms = config.transforms.get(name).map(|transform| transform.r#type);
    let sink = config.sinks.get(name);
    let layer =
        sink.and_then(|sink| sink.common.layer).map_or(String::new(), |layer| format!(", {} layer", layer.word()));
    sources.or(transforms).or(sink.map(|sink| sink.r#type)).unwrap_or_default().to_owned() + &layer
}

fn node(name: &str, type_name: &str, kind: Kind, language: Language) -> String {
    match (language, kind) {
        (Language::Mermaid, Kind::Source) => format!("  {name}([\"{name}: {type_name}\"])"),
        (Language::Mermaid, Kind::Transform) => format!("  {name}[\"{name}: {type_name}\"]"),
        (Language::Mermaid, Kind::Sink) => format!("  {name}[(\"{name}: {type_name}\")]"),
        (Language::Dot, Kind::Source) => format!("  \"{name}\" [label=\"{name}\\n{type_name}\", shape=oval];"),
        (Language::Dot, Kind::Transform) => format!("  \"{name}\" [label=\"{name}\\n{type_name}\", shape=box];"),
        (Language::Dot, Kind::Sink) => format!("  \"{name}\" [label=\"{name}\\n{type_name}\", shape=cylinder];"),
    }
}

fn edge(input: &Input, to: &str, language: Language) -> String {
    let from = &input.from;
    match (language, &input.output) {
        (Language::Mermaid, Some(output)) => format!("  {from} -- {output} --> {to}"),
        (Language::Mermaid, None) => format!("  {from} --> {to}"),
        (Language::Dot, Some(output)) => format!("  \"{from}\" -> \"{to}\" [label=\"{output}\"];"),
        (Language::Dot, None) => format!("  \"{from}\" -> \"{to}\";"),
    }
}
