//! Components that a config names: held against their digest, their signature, the contract and their own schema. Only one whose outputs some input names is compiled, and asked which it has.

use std::collections::BTreeMap;
use std::path::Path;

use sawlog_chain::{Engine, EngineLimits, LoadError, SchemaError, check_bytes, check_config, check_interface};
use sawlog_componentize::EncodeError;
use sawlog_settings::decode::{Complaint, suggestion};
use sawlog_settings::node::Node;

use super::graph::Input;
use super::parsed::{Named, Parsed};
use super::plugins::{Plugin, PluginFileError};
use super::references::References;
use super::transforms::TransformOptions;

/// Holds every component against what the config says of it.
pub fn check(parsed: &Parsed, folder: &Path, from: &dyn References, complaints: &mut Vec<Complaint>) {
    let mut good = BTreeMap::new();
    for plugin in &parsed.plugins {
        let Some(options) = plugin.clean_options().filter(|options| options.check().is_empty()) else { continue };
        let path = options.file(folder);
        match from.component(&path) {
            Some(Ok(bytes)) if held(plugin, options, (folder, &path, &bytes), complaints) => {
                good.insert(plugin.name.as_str(), (plugin, options, bytes));
            }
            Some(Err(error)) => {
                let place = plugin.node.place_of("source").unwrap_or(plugin.place);
                let unreadable = PluginFileError::Unreadable { path, error };
                complaints.push(Complaint::error(place, unreadable.to_string()));
            }
            _ => {}
        }
    }
    outputs(parsed, folder, &good, complaints);
}

/// A plugin that can be had, by its name.
type Good<'a> = BTreeMap<&'a str, (&'a Named<(), Plugin>, &'a Plugin, Vec<u8>)>;

/// An input that names an output of a chain of plugins names one that some plugin of it has, as far as all of them can be had here.
fn outputs(parsed: &Parsed, folder: &Path, good: &Good, complaints: &mut Vec<Complaint>) {
    let mut named: BTreeMap<String, Vec<(&Node, usize, String)>> = BTreeMap::new();
    let of_transforms = parsed.transforms.iter().map(|t| (&t.node, &t.common.inputs));
    for (node, inputs) in of_transforms.chain(parsed.sinks.iter().map(|s| (&s.node, &s.common.inputs))) {
        for (i, text) in inputs.iter().enumerate() {
            let Input { from, output } = Input::of(text);
            output.into_iter().for_each(|output| named.entry(from.clone()).or_default().push((node, i, output)));
        }
    }
    for transform in &parsed.transforms {
        let Some(TransformOptions::Wasm(wasm)) = transform.clean_options() else { continue };
        let Some(named) = named.get(&transform.name) else { continue };
        let chain: Option<Vec<_>> = wasm.chain.iter().map(|name| good.get(name.as_str())).collect();
        let Some(known) = chain.and_then(|chain| known_outputs(folder, &chain, complaints)) else { continue };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for (node, i, output) in named.iter().filter(|(.., output)| !known.contains(&output.as_str())) {
            let place = node.place_of(&format!("inputs.{i}")).unwrap_or(transform.place);
            let reason = format!("no plugin of `{}` has an output `{output}`", transform.name);
            let mend = match known.is_empty() {
                true => format!("write `{}`", transform.name),
                false => suggestion(output, &known, "output"),
            };
            complaints.push(Complaint::error(place, reason).mend(mend));
        }
    }
}

/// The outputs that the plugins of a chain say they have; `None` where one can't be loaded, which is complained about.
fn known_outputs(
    folder: &Path,
    chain: &[&(&Named<(), Plugin>, &Plugin, Vec<u8>)],
    complaints: &mut Vec<Complaint>,
) -> Option<Vec<String>> {
    let mut known = Vec::new();
    for (plugin, options, bytes) in chain {
        // A file that a plugin gets may be elsewhere, as the component may.
        let read =
            |(file, path): (&String, &std::path::PathBuf)| Some((file.clone(), std::fs::read(folder.join(path)).ok()?));
        let granted = options.granted(options.files.iter().map(read).collect::<Option<_>>()?, &[]);
        let engine = Engine::new(EngineLimits { instances_max: 1, ..EngineLimits::default() }, None).ok()?;
        let engine = engine.runs_apart(crate::plugin::process());
        match engine.load(&plugin.name, bytes, granted) {
            Ok(loaded) => known.extend(loaded.registration().routes.iter().cloned()),
            Err(error) => {
                let place = plugin.node.place_of("source").unwrap_or(plugin.place);
                let complaint = Complaint::error(place, error.to_string());
                if !complaints.iter().any(|known| known.place == place) {
                    complaints.push(complaint);
                }
                return None;
            }
        }
    }
    Some(known)
}

/// Whether the component is what the config says.
fn held(
    plugin: &Named<(), Plugin>,
    options: &Plugin,
    (folder, path, bytes): (&Path, &Path, &[u8]),
    complaints: &mut Vec<Complaint>,
) -> bool {
    let mut complain = |at: &str, reason: String| {
        let place = plugin.node.place_of(at).unwrap_or(plugin.place);
        complaints.push(Complaint::error(place, reason));
    };
    if let Err(error) = options.held(folder, path, bytes) {
        let at = if matches!(error, PluginFileError::Signature(_)) { "signed_by" } else { "digest" };
        complain(at, error.to_string());
        return false;
    }
    let wrong = outside(&plugin.name, bytes, options);
    wrong.iter().for_each(|Wrong { at, reason }| complain(at, reason.clone()));
    wrong.is_empty()
}

/// What of a component's outside does not fit the agent or the config.
#[derive(Debug)]
pub struct Wrong {
    /// The option of the plugin that it concerns, as a path.
    pub at: String,
    /// Why, and what mends it.
    pub reason: String,
}

/// Everything that can be told of a component without running it: that it is a plugin of this agent's contract, that it gets what it
/// needs, and that its own schema takes its config.
pub fn outside(name: &str, bytes: &[u8], options: &Plugin) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut complain = |at: &str, reason: String| wrong.push(Wrong { at: at.to_owned(), reason });
    match is_plugin(name, bytes, options) {
        Ok(()) => {}
        Err(error @ LoadError::NotAllowed { .. }) => complain("allow", error.to_string()),
        Err(error) => {
            complain("source", error.to_string());
            return wrong;
        }
    }
    match check_config(name, bytes, &options.config.to_string()) {
        Ok(()) => {}
        Err(LoadError::Schema { source: SchemaError::Config(mistakes), .. }) => {
            for mistake in mistakes {
                let at = format!("config.{}", mistake.path.join("."));
                complain(&at, format!("the plugin `{name}` refuses this: {}", mistake.text));
            }
        }
        Err(error) => complain("source", error.to_string()),
    }
    wrong
}

/// Whether it is a plugin of this agent's contract, as far as its outside shows that.
fn is_plugin(name: &str, bytes: &[u8], options: &Plugin) -> Result<(), LoadError> {
    check_bytes(name, bytes, EngineLimits::default().component_bytes_max)?;
    let damaged = |error| {
        let reason = match error {
            EncodeError::NotWasm(reason) => reason,
            other => other.to_string(),
        };
        LoadError::Schema { plugin: name.to_owned(), source: SchemaError::Damaged(reason) }
    };
    let found = sawlog_componentize::interface(bytes).map_err(damaged)?;
    check_interface(name, &found.imports, &found.exports, options.granted(Vec::new(), &[]).allow)
}
