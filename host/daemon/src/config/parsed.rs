//! A config as it was written: every component with its place, its options read but not yet held against each other.

use sawlog_settings::component::{Finding, Severity, SinkCommon, SourceCommon};
use sawlog_settings::decode::{Complaint, Decoded, decode, suggestion};
use sawlog_settings::node::{Entry, Node, Place, Value};
use sawlog_sinks::registry::{SINKS, SinkOptions};
use sawlog_sources::registry::{SOURCES, SourceOptions};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::names;
use super::plugins::Plugin;
use super::sections::Sections;
use super::transforms::{TRANSFORMS, TransformCommon, TransformOptions};

/// A named part of a config: what all of its kind have, and its own options where they could be read.
#[derive(Debug)]
pub struct Named<C, O> {
    /// The name, a key of the config.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// The word in `type`; `None` where no component is called so, which was complained about.
    pub type_name: Option<&'static str>,
    /// What was written below the name.
    pub node: Node,
    /// Options of all of its kind; what was wrong in them is left out.
    pub common: C,
    /// Its own options; what was wrong in them is left out, and they are `None` where they can't do without it.
    pub options: Option<O>,
    /// Its own options are exactly what was written.
    pub clean: bool,
}

impl<C, O> Named<C, O> {
    /// The options, if they are exactly what was written: for rules that a part left out could mislead.
    pub fn clean_options(&self) -> Option<&O> {
        self.options.as_ref().filter(|_| self.clean)
    }
}

/// All that was written.
#[derive(Debug)]
pub struct Parsed {
    /// The whole tree.
    pub tree: Node,
    /// Sections beside the components; what was wrong in them is left out.
    pub sections: Option<Sections>,
    /// Plugins.
    pub plugins: Vec<Named<(), Plugin>>,
    /// Sources.
    pub sources: Vec<Named<SourceCommon, SourceOptions>>,
    /// Transforms.
    pub transforms: Vec<Named<TransformCommon, TransformOptions>>,
    /// Sinks.
    pub sinks: Vec<Named<SinkCommon, SinkOptions>>,
}

const COMPONENTS: [&str; 4] = ["plugins", "sources", "transforms", "sinks"];

/// Reads the sections of a tree.
pub fn parse(tree: Node, complaints: &mut Vec<Complaint>) -> Parsed {
    let (components, rest) = split(&tree, &COMPONENTS);
    let sections = decode::<Sections>(&rest, tree.place, &COMPONENTS, complaints).value;
    let entries = |section: &str| components.entry(section).map_or(&[][..], |entry| entry.value.entries());
    for section in &COMPONENTS {
        look_at(components.entry(section), complaints);
    }
    let plugin = |entry: &Entry, complaints: &mut Vec<Complaint>| {
        let decoded = decode::<Plugin>(&entry.value, entry.key_place, &[], complaints);
        named(entry, Some("wasm"), (), decoded)
    };
    let plugins = entries("plugins").iter().map(|entry| plugin(entry, complaints)).collect();
    let sources = entries("sources").iter().map(|entry| {
        let row = row_of(entry, SOURCES, |row| row.name, "source", complaints);
        component(entry, row.map(|row| (row.name, row.parse)), complaints)
    });
    let sources = sources.collect();
    let transforms = entries("transforms").iter().map(|entry| {
        let row = row_of(entry, TRANSFORMS, |row| row.name, "transform", complaints);
        component(entry, row.map(|row| (row.name, row.parse)), complaints)
    });
    let transforms = transforms.collect();
    let sinks = entries("sinks").iter().map(|entry| {
        let row = row_of(entry, SINKS, |row| row.name, "sink", complaints);
        component(entry, row.map(|row| (row.name, row.parse)), complaints)
    });
    let sinks = sinks.collect();
    Parsed { tree, sections, plugins, sources, transforms, sinks }
}

fn named<C, O>(entry: &Entry, type_name: Option<&'static str>, common: C, decoded: Decoded<O>) -> Named<C, O> {
    Named {
        name: entry.key.clone(),
        place: entry.key_place,
        type_name,
        node: entry.value.clone(),
        common,
        options: decoded.value,
        clean: decoded.clean,
    }
}

/// A section is a mapping, and its keys are names.
fn look_at(section: Option<&Entry>, complaints: &mut Vec<Complaint>) {
    let Some(section) = section else { return };
    if !matches!(section.value.value, Value::Map(_) | Value::Null) {
        let reason = format!("expected a mapping, found {}", section.value.kind());
        complaints.push(Complaint::error(section.value.place, reason).mend("write NAME: { … }"));
    }
    complaints.extend(section.value.entries().iter().filter_map(|entry| names::complaint(&entry.key, entry.key_place)));
}

/// The registry's row for the component's `type`.
fn row_of<'r, R>(
    entry: &Entry,
    rows: &'r [R],
    name: fn(&R) -> &'static str,
    kind: &str,
    complaints: &mut Vec<Complaint>,
) -> Option<&'r R> {
    let known: Vec<&str> = rows.iter().map(name).collect();
    if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
        let reason = format!("expected a mapping, found {}", entry.value.kind());
        complaints
            .push(Complaint::error(entry.value.place, reason).mend(format!("write {}: {{ type: … }}", entry.key)));
        return None;
    }
    let Some(written) = entry.value.entry("type") else {
        let reason = format!("the {kind} `{}` has no `type`", entry.key);
        complaints.push(
            Complaint::error(entry.key_place, reason).mend(format!("add `type:` and one of {}", known.join(", "))),
        );
        return None;
    };
    let row = written.value.text().and_then(|text| rows.iter().find(|row| name(row) == text));
    if row.is_none() {
        let word = written.value.text().unwrap_or(written.value.kind());
        let complaint = Complaint::error(written.value.place, format!("unknown type of {kind} `{word}`"));
        complaints.push(complaint.mend(suggestion(word, &known, "type")));
    }
    row
}

/// How a registry reads a component's own options.
type Parse<O> = fn(&Node, Place, &[&str], &mut Vec<Complaint>) -> Decoded<O>;

/// The options of all of its kind, and its own where its type is known. Carets survive because the body is read after
/// `type` was, as a struct.
fn component<C: DeserializeOwned + JsonSchema + Default, O>(
    entry: &Entry,
    row: Option<(&'static str, Parse<O>)>,
    complaints: &mut Vec<Complaint>,
) -> Named<C, O> {
    let keys = sawlog_settings::schema::keys::<C>();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (common, body) = split(&entry.value, &keys);
    let (_, body) = split(&body, &["type"]);
    let common = decode::<C>(&common, entry.key_place, &[], complaints).value.unwrap_or_default();
    let decoded = match row {
        Some((_, own)) => own(&body, entry.key_place, &keys, complaints),
        None => Decoded { value: None, clean: false },
    };
    named(entry, row.map(|(name, _)| name), common, decoded)
}

/// The entries with these keys, and the others.
fn split(node: &Node, keys: &[&str]) -> (Node, Node) {
    let (with, without) = node.entries().iter().cloned().partition(|entry| keys.contains(&entry.key.as_str()));
    (Node { place: node.place, value: Value::Map(with) }, Node { place: node.place, value: Value::Map(without) })
}

/// Findings of a part of the config become complaints at the places that they name, else at the part's own.
pub fn locate(findings: Vec<Finding>, node: &Node, title: Place) -> impl Iterator<Item = Complaint> {
    findings.into_iter().map(move |finding| {
        let place = node.place_of(&finding.path).unwrap_or(title);
        match finding.severity {
            Severity::Error => Complaint::error(place, finding.reason),
            Severity::Warning => Complaint::warning(place, finding.reason),
        }
    })
}
