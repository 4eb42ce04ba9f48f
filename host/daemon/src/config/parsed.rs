//! A config as it was written: every component with its place, its options read but not yet held against each other.

use sawlog_settings::component::{Finding, Severity, SinkCommon, SourceCommon};
use sawlog_settings::decode::{Complaint, Decoded, decode, suggestion};
use sawlog_settings::node::{Entry, Node, Place, Value};
use sawlog_sinks::registry::{SINKS, SinkOptions, SinkRow};
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
    /// The word in `type`.
    pub type_name: &'static str,
    /// What was written below the name.
    pub node: Node,
    /// Options of all of its kind; what was wrong in them is left out.
    pub common: C,
    /// Its own options; `None` where they were complained about.
    pub options: Option<O>,
}

/// All that was written.
#[derive(Debug)]
pub struct Parsed {
    /// The whole tree.
    pub tree: Node,
    /// Sections beside the components; `None` where they were complained about.
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
    let sections = decode::<Sections>(&rest, tree.place, &COMPONENTS, complaints).clean();
    let named = |section: &str| components.entry(section).map(|entry| &entry.value);
    let plugins = each(named("plugins"), complaints, |entry, complaints| {
        let options = decode::<Plugin>(&entry.value, entry.key_place, &[], complaints).clean();
        Some(name(entry, "wasm", (), options))
    });
    let sources = each(named("sources"), complaints, |entry, complaints| {
        let row = row_of(entry, SOURCES, |row| row.name, "source", complaints)?;
        let (common, options) = read::<SourceCommon, _>(entry, row.parse, complaints);
        Some(name(entry, row.name, common, options))
    });
    let transforms = each(named("transforms"), complaints, |entry, complaints| {
        let row = row_of(entry, TRANSFORMS, |row| row.name, "transform", complaints)?;
        let (common, options) = read::<TransformCommon, _>(entry, row.parse, complaints);
        Some(name(entry, row.name, common, options))
    });
    let sinks = each(named("sinks"), complaints, |entry, complaints| {
        let row: &SinkRow = row_of(entry, SINKS, |row| row.name, "sink", complaints)?;
        let (common, options) = read::<SinkCommon, _>(entry, row.parse, complaints);
        Some(name(entry, row.name, common, options))
    });
    Parsed { tree, sections, plugins, sources, transforms, sinks }
}

fn name<C, O>(entry: &Entry, type_name: &'static str, common: C, options: Option<O>) -> Named<C, O> {
    Named { name: entry.key.clone(), place: entry.key_place, type_name, node: entry.value.clone(), common, options }
}

/// Reads every entry of a section, and looks at its name.
fn each<T>(
    section: Option<&Node>,
    complaints: &mut Vec<Complaint>,
    mut read: impl FnMut(&Entry, &mut Vec<Complaint>) -> Option<T>,
) -> Vec<T> {
    let Some(section) = section else { return Vec::new() };
    if !matches!(section.value, Value::Map(_) | Value::Null) {
        complaints.push(
            Complaint::error(section.place, format!("expected a mapping, found {}", section.kind()))
                .mend("write NAME: { … }"),
        );
    }
    let mut all = Vec::new();
    for entry in section.entries() {
        complaints.extend(names::complaint(&entry.key, entry.key_place));
        all.extend(read(entry, complaints));
    }
    all
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

/// The options of all of its kind, and its own. Carets survive because the body is read after `type` was, as a struct.
fn read<C: DeserializeOwned + JsonSchema + Default, O>(
    entry: &Entry,
    own: fn(&Node, Place, &[&str], &mut Vec<Complaint>) -> Decoded<O>,
    complaints: &mut Vec<Complaint>,
) -> (C, Option<O>) {
    let keys = sawlog_settings::schema::keys::<C>();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (common, body) = split(&entry.value, &keys);
    let (_, body) = split(&body, &["type"]);
    let common = decode::<C>(&common, entry.key_place, &[], complaints).value.unwrap_or_default();
    let options = own(&body, entry.key_place, &keys, complaints).clean();
    (common, options)
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
