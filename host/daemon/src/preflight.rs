//! What can be checked on this machine before anything starts: folders, plugins and files that a config names. It opens
//! no connection and changes nothing.

use std::path::Path;

use sawlog_settings::connection::TlsServer;
use sawlog_sources::registry::SourceOptions;

use crate::agent_id;
use crate::config::Config;
use crate::config::references::Machine;

/// Everything that is missing on this machine; each says how to mend it.
pub fn check(config: &Config) -> Vec<String> {
    let mut missing: Vec<String> =
        agent_id::resolve(&config.sections.agent.id, &Machine).err().map(|e| e.to_string()).into_iter().collect();
    let data_dir = &config.sections.data_dir;
    let existing = data_dir.ancestors().find(|folder| folder.exists());
    if data_dir.exists() && !data_dir.is_dir() {
        missing.push(format!("`data_dir` {} is no folder; name another", data_dir.display()));
    } else if existing.is_none_or(|folder| folder.metadata().is_ok_and(|m| m.permissions().readonly())) {
        missing.push(format!(
            "`data_dir` {} can't be written; create it for this user, or name another",
            data_dir.display()
        ));
    }
    for (name, plugin) in &config.plugins {
        missing.extend(plugin.read(&config.folder).err().map(|error| format!("the plugin `{name}`: {error}")));
        let files = plugin
            .files
            .iter()
            .map(|(file, path)| unreadable(path, &format!("the file `{file}` of the plugin `{name}`")));
        missing.extend(files.flatten());
    }
    missing.extend(config.sections.api.tls.iter().flat_map(|tls| certificates(tls, "the API")));
    for (name, source) in &config.sources {
        if let SourceOptions::Http(http) = &source.options {
            missing.extend(http.tls.iter().flat_map(|tls| certificates(tls, &format!("the source `{name}`"))));
        }
    }
    missing
}

/// Sources of which a run that is to end with its input would wait for ever.
pub fn endless(config: &Config) -> Vec<String> {
    let pushed = config.sources.iter().filter(|(_, source)| matches!(source.options, SourceOptions::Http(_)));
    let said = |name: &String| {
        format!(
            "`--until-eof` ends once all input is delivered, and what is pushed to the source `{name}` has no end; take it out of \
             the config of this run, or run without `--until-eof` and end it with SIGTERM"
        )
    };
    pushed.map(|(name, _)| said(name)).collect()
}

fn unreadable(path: &Path, what: &str) -> Option<String> {
    let error = std::fs::File::open(path).and_then(|file| file.metadata()).err()?;
    Some(format!(
        "{what} at {} can't be read: {error}; build or copy it there, and let this user read it",
        path.display()
    ))
}

fn certificates(tls: &TlsServer, of: &str) -> Vec<String> {
    let files = [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()];
    files.into_iter().flatten().filter_map(|path| unreadable(path, &format!("a certificate or key of {of}"))).collect()
}
