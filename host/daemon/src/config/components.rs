//! Components that a config names, as far as they lie on this machine: held against their digest, their signature and their own
//! schema. None is compiled or run.

use std::path::Path;

use sawlog_chain::{LoadError, SchemaError, check_config};
use sawlog_settings::decode::Complaint;

use super::parsed::{Named, Parsed};
use super::plugins::Plugin;
use super::references::References;

/// Holds every component that is there against what the config says of it; for one that has to be signed it is told that it is not.
pub fn check(parsed: &Parsed, folder: &Path, from: &dyn References, complaints: &mut Vec<Complaint>) {
    for plugin in &parsed.plugins {
        let Some(options) = plugin.clean_options().filter(|options| options.check().is_empty()) else { continue };
        let path = options.file(folder);
        match from.component(&path) {
            Some(Ok(bytes)) => held(plugin, options, (folder, &path, &bytes), complaints),
            Some(Err(error)) if options.signed_by.is_some() => {
                let place = plugin.node.place_of("signed_by").unwrap_or(plugin.place);
                let reason = format!(
                    "the signature was not verified: the component {} can't be read here: {error}",
                    path.display()
                );
                complaints.push(Complaint::warning(place, reason).mend("validate where the component lies too"));
            }
            _ => {}
        }
    }
}

fn held(
    plugin: &Named<(), Plugin>,
    options: &Plugin,
    (folder, path, bytes): (&Path, &Path, &[u8]),
    complaints: &mut Vec<Complaint>,
) {
    let mut complain = |at: &str, reason: String| {
        let place = plugin.node.place_of(at).unwrap_or(plugin.place);
        complaints.push(Complaint::error(place, reason));
    };
    if let Err(error) = options.held(folder, path, bytes) {
        let at = if matches!(error, super::plugins::PluginFileError::Signature(_)) { "signed_by" } else { "digest" };
        return complain(at, error.to_string());
    }
    match check_config(&plugin.name, bytes, &options.config.to_string()) {
        Ok(()) => {}
        Err(LoadError::Schema { source: SchemaError::Config(mistakes), .. }) => {
            for mistake in mistakes {
                let at = format!("config.{}", mistake.path.join("."));
                complain(&at, format!("the plugin `{}` refuses this: {}", plugin.name, mistake.text));
            }
        }
        Err(error) => complain("source", error.to_string()),
    }
}
