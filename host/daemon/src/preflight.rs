//! What can be checked on this machine before anything starts: folders, plugins and files that a config names. It opens
//! no connection and changes nothing.

use std::path::Path;

use sawlog_settings::connection::TlsServer;
use sawlog_sources::registry::SourceOptions;

use crate::agent_id;
use crate::config::Config;
use crate::config::references::Machine;
use crate::validate::Report;

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

/// What `run` opens with: sources, sinks, guarantees, limits, addresses.
pub fn summary(config: &Config, report: &Report) -> String {
    let mut lines = vec![format!("sawlog {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(agent_id::resolve(&config.sections.agent.id, &Machine).ok().map(|id| format!("  agent    {id}")));
    lines.push(format!("  data     {}", config.sections.data_dir.display()));
    lines.push(format!("  api      {}", config.sections.api.listen));
    lines.extend(config.sections.telemetry.metrics.map(|address| format!("  metrics  {address}")));
    lines.push(format!("  limits   memory {}, disk {}", config.sections.limits.memory, config.sections.limits.disk));
    lines.extend(config.sources.iter().map(|(name, source)| format!("  source   {name} ({})", source.r#type)));
    lines.extend(epoch(config).map(|digest| format!("  config   {digest}")));
    for (name, sink) in &config.sinks {
        let promise = report.routes.iter().find(|route| route.sink == *name).map(|route| &route.promise);
        let promise =
            promise.map_or_else(|| letters(config, name), |p| format!("{} by {}", p.delivery.word(), p.mechanism));
        lines.push(format!("  sink     {name} ({}): {promise}", sink.r#type));
    }
    lines.join("\n")
}

/// The first digits of the config's digest: equal on two agents that run the same config.
fn epoch(config: &Config) -> Option<String> {
    let text = config.digest_text().ok()?;
    let hash = sawlog_record::id::hash("sawlog.config", &[text.as_bytes()]);
    Some(hash[..6].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn letters(config: &Config, sink: &str) -> String {
    let of = if config.dead_letter() == sink {
        "dead letters of every component that names no other"
    } else {
        "dead letters"
    };
    format!("takes {of}")
}
