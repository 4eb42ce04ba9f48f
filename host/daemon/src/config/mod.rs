//! The config: from a path to a value that holds together, or to every mistake in it at once. The way is read →
//! merge → resolve references → parse → check → validate, a file each. It knows nothing of the terminal that shows
//! complaints, and starts nothing.

mod check;
mod columns;
pub mod components;
mod dead_letter;
pub mod disk;
pub mod files;
mod folder;
pub mod graph;
mod merge;
mod names;
mod overlap;
mod parsed;
pub mod plugins;
pub mod references;
pub mod routes;
pub mod sections;
pub mod transforms;
pub mod validated;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sawlog_settings::component::{OnError, Provenance, Severity};
use sawlog_settings::decode::Complaint;
use sawlog_settings::node::{Node, Place};

use files::{Files, FilesError};
use graph::Graph;
use parsed::Parsed;
use references::{AsKept, Kept, References};
use transforms::TransformOptions;
pub use validated::Config;
use validated::{DEAD_LETTER, Sink, Source, Transform, builtin_dead_letter};

/// What came of a config: it, if nothing refuses it, and all that is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The config; `None` where a complaint is an error.
    pub config: Option<Config>,
    /// Errors and warnings, by file and place.
    pub complaints: Vec<Complaint>,
    /// The files that the complaints' places are in.
    pub files: Files,
}

/// Reads the file or folder `path` and everything that it refers to.
pub fn load(path: &Path, from: &dyn References) -> Result<Loaded, FilesError> {
    Ok(understand(files::read(path)?, from))
}

/// What the files say, and everything that is wrong with it. Files that were understood before mean what they meant then.
pub fn understand(mut files: Files, from: &dyn References) -> Loaded {
    let before = std::mem::take(&mut files.kept);
    let from = &AsKept::new(before, from);
    let mut complaints = Vec::new();
    let mut tree = files.tree(&mut complaints);
    if complaints.iter().any(|complaint| complaint.reason.starts_with("this is not YAML")) {
        return Loaded { config: None, complaints, files };
    }
    let written = tree.clone();
    let secrets = files.folder.join(secrets_dir(&tree));
    references::resolve(&mut tree, &secrets, from, &mut complaints);
    columns::include(&mut tree, &mut files, &mut complaints);
    let parsed = parsed::parse(tree, &mut complaints);
    let graph = Graph::of(&parsed, &mut complaints);
    check::check(&parsed, &mut complaints);
    components::check(&parsed, &files.folder, from, &mut complaints);
    routes::check(&parsed, &graph, &mut complaints);
    let memory_place = parsed.tree.place_of("limits.memory").unwrap_or(parsed.tree.place);
    let config = match complaints.iter().any(|complaint| complaint.severity == Severity::Error) {
        true => None,
        false => validate(parsed, graph, files.folder.clone()),
    };
    if let Some(config) = &config {
        complaints.extend(memory(config, memory_place));
        files.kept = kept(&written, config, &secrets, from);
    }
    complaints.sort_by_key(|complaint| (complaint.place, complaint.severity));
    Loaded { config, complaints, files }
}

/// What references of components that make rows stand for, but secrets: rows that were planned under this configuration are made by
/// these values, also after a start in another environment.
fn kept(written: &Node, config: &Config, secrets_dir: &Path, from: &dyn References) -> Kept {
    let mut secrets = BTreeSet::new();
    // A secret is shown as it was written.
    for shown in [serde_json::to_value(&config.sources), serde_json::to_value(&config.sinks)].into_iter().flatten() {
        texts(&shown, &mut secrets);
    }
    let sections = ["sources", "transforms", "plugins"].into_iter().filter_map(|name| written.entry(name));
    sections.flat_map(|section| references::kept(&section.value, &secrets, secrets_dir, from)).collect()
}

fn texts(value: &serde_json::Value, texts_of: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) if text.contains("${") => _ = texts_of.insert(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, texts_of)),
        serde_json::Value::Object(members) => members.values().for_each(|member| texts(member, texts_of)),
        _ => {}
    }
}

/// `secrets.dir`, needed before anything else can be read.
fn secrets_dir(tree: &Node) -> PathBuf {
    let written = tree.entry("secrets").and_then(|secrets| secrets.value.entry("dir")).and_then(|dir| dir.value.text());
    written.map_or_else(|| sections::Secrets::default().dir, PathBuf::from)
}

/// The parts without their places. `None` only where some part is missing, which has then been complained about.
fn validate(parsed: Parsed, graph: Graph, folder: PathBuf) -> Option<Config> {
    let order = graph.order().ok()?.into_iter().map(str::to_owned).collect();
    let letters: Vec<String> = dead_letter::named(&parsed).into_iter().map(|(name, _)| name.to_owned()).collect();
    let sections = parsed.sections?;
    let inputs = |name: &str| graph.vertices.get(name).map(|vertex| vertex.inputs.clone()).unwrap_or_default();
    let mut plugins = BTreeMap::new();
    for plugin in parsed.plugins {
        plugins.insert(plugin.name, plugin.options?);
    }
    let mut sources = BTreeMap::new();
    for source in parsed.sources {
        sources
            .insert(source.name, Source { r#type: source.type_name?, common: source.common, options: source.options? });
    }
    let mut transforms = BTreeMap::new();
    for transform in parsed.transforms {
        let (inputs, mut options) = (inputs(&transform.name), transform.options?);
        if let TransformOptions::Wasm(wasm) = &mut options
            && sections.defaults.on_error == OnError::Drop
        {
            // What output depends on belongs to the transform itself.
            wasm.on_error.get_or_insert(OnError::Drop);
        }
        transforms.insert(transform.name, Transform { r#type: transform.type_name?, inputs, options });
    }
    let mut sinks = BTreeMap::new();
    for sink in parsed.sinks {
        let takes_letters = letters.contains(&sink.name);
        let row = sawlog_sinks::registry::SINKS.iter().find(|row| Some(row.name) == sink.type_name)?;
        let general = sections.dead_letter.clone().unwrap_or_else(|| DEAD_LETTER.to_owned());
        let bare = matches!(row.name, "file" | "console") && !takes_letters;
        let validated = Sink {
            r#type: row.name,
            inputs: inputs(&sink.name),
            delivery: sink.common.delivery.or(row.delivery).unwrap_or(sections.defaults.delivery),
            on_error: sink.common.on_error.unwrap_or(sections.defaults.on_error),
            dead_letter: (!takes_letters).then(|| sink.common.dead_letter.clone().unwrap_or(general)),
            provenance: sink.common.provenance.unwrap_or(if bare { Provenance::None } else { Provenance::Full }),
            common: sink.common,
            options: sink.options?,
        };
        sinks.insert(sink.name, validated);
    }
    if sections.dead_letter.is_none() {
        sinks.insert(DEAD_LETTER.to_owned(), builtin_dead_letter());
    }
    let mut config = Config { folder, sections, plugins, sources, transforms, sinks, graph, order };
    folder::make_absolute(&mut config);
    Some(config)
}

/// Budgets of the parts must fit into the whole.
fn memory(config: &Config, place: Place) -> Option<Complaint> {
    let (need, limit) = (config.memory_bytes_max(), config.sections.limits.memory);
    let reason =
        format!("sinks and plugins may take {} MiB together, more than the {limit} of `limits.memory`", need >> 20);
    let mend = "raise `limits.memory`, or lower `stage_memory`, `batch.bytes` or the plugins' `limits.memory`";
    (need > limit.as_bytes()).then(|| Complaint::warning(place, reason).mend(mend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::SourceFile;

    /// Every variable and file is there.
    struct Anything;
    impl References for Anything {
        fn env(&self, _: &str) -> Option<String> {
            Some("value".to_owned())
        }
        fn file(&self, _: &Path) -> Result<String, String> {
            Ok("value".to_owned())
        }
    }

    fn understood(text: &str) -> Loaded {
        let file = SourceFile::of_config(PathBuf::from("c.yaml"), text.to_owned());
        understand(Files { files: vec![file], folder: PathBuf::from("/nowhere"), kept: Kept::new() }, &Anything)
    }

    /// Whatever a finger or a bad disk does to a config, it is taken or complained about, at places that exist.
    #[test]
    fn fuzz_config() {
        let whole = include_str!("../../../../examples/everything.yaml");
        let small = "version: 1\nsources: { app: { type: file, include: [/a] } }\nsinks: { out: { type: console, inputs: [app] } }\n";
        let telling = "{ a: &a [1, 'b'], <<: *a, \"c\": ${env:NODE}, d: null }\n";
        let (mut taken, mut refused) = (0, 0);
        let drawn = sawlog_fuzz::hammer("config", &[whole.as_bytes(), small.as_bytes(), telling.as_bytes()], |text| {
            let loaded = understood(&String::from_utf8_lossy(text));
            let errors = loaded.complaints.iter().filter(|complaint| complaint.severity == Severity::Error).count();
            assert_eq!(loaded.config.is_none(), errors > 0);
            match loaded.config {
                Some(_) => taken += 1,
                None => refused += 1,
            }
            assert!(
                loaded.complaints.is_empty() || !crate::diagnostics::text(&loaded.complaints, &loaded.files).is_empty()
            );
        });
        assert!(!drawn || (taken > 1 && refused > 1), "both kinds were met: {taken} taken, {refused} refused");
    }

    #[test]
    fn the_order_of_components_depends_on_names_and_edges_only() {
        let text = |first: &str, second: &str| {
            format!(
                "version: 1\nsources: {{ app: {{ type: file, include: [/a] }} }}\ntransforms:\n{first}{second}sinks: {{ out: {{ type: console, inputs: [z] }} }}\n"
            )
        };
        let (z, b) = (
            "  z: { type: filter, inputs: [b, a], condition: 'x == 1' }\n",
            "  b: { type: filter, inputs: [app], condition: 'x == 1' }\n  a: { type: filter, inputs: [app], condition: 'x == 1' }\n",
        );
        for text in [text(z, b), text(b, z)] {
            let config = understood(&text).config.expect("it holds together");
            assert_eq!(config.order, ["a", "b", "z"]);
            assert_eq!(config.subgraph("app").transforms, ["a", "b", "z"]);
            assert_eq!(config.subgraph("app").sinks, ["out"]);
            assert_eq!(config.dead_letter(), "dead_letter");
            assert!(config.is_dead_letter_sink("dead_letter") && !config.is_dead_letter_sink("out"));
        }
    }

    #[test]
    fn what_is_written_for_the_epoch_names_secrets_by_reference() {
        let config =
            understood(include_str!("../../../../examples/everything.yaml")).config.expect("it holds together");
        let text = config.digest_text().expect("a config is JSON");
        assert!(text.contains("${secret:es}") && !text.contains("\"value\""), "{text}");
    }
}
