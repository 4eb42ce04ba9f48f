//! What a changed configuration means for the components of the old one: which go on as they are, which begin anew, and what
//! can't be taken by a running agent. Pure but for the certificates, whose files are read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::config::sections::{Otlp, Sections};
use crate::config::validated::{Sink, Source};
use sawlog_settings::connection::TlsServer;
use sawlog_sinks::registry::SinkOptions;

/// What becomes of components with the same name in both configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sinks whose settings changed.
    pub sinks: Vec<String>,
    /// Sources whose settings changed.
    pub sources: Vec<String>,
    /// Which sinks deliver elsewhere from now on, and what that asks of readers, in sentences.
    pub switches: Vec<String>,
}

/// Contents of the certificate files that each component names, as digests.
pub type Certificates = BTreeMap<String, Vec<[u8; 32]>>;

/// Keys that a running agent keeps as they were when it started, of those that differ now.
pub fn waiting(started: &Sections, now: &Sections) -> Vec<&'static str> {
    let (limits, api, telemetry) =
        ((&started.limits, &now.limits), (&started.api, &now.api), (&started.telemetry, &now.telemetry));
    let differs = [
        ("limits.disk", limits.0.disk != limits.1.disk),
        ("limits.cpu", limits.0.cpu != limits.1.cpu),
        ("api.listen", api.0.listen != api.1.listen),
        ("api.tls", asks(&api.0.tls) != asks(&api.1.tls)),
        ("telemetry.metrics", telemetry.0.metrics != telemetry.1.metrics),
        ("telemetry.log.format", telemetry.0.log.format != telemetry.1.log.format),
        ("telemetry.otlp", pushed(&telemetry.0.otlp) != pushed(&telemetry.1.otlp)),
        ("checkpoint.keep", started.checkpoint.keep != now.checkpoint.keep),
        ("checkpoint.backup", started.checkpoint.backup.is_some() != now.checkpoint.backup.is_some()),
        ("on_missing_epoch", started.on_missing_epoch != now.on_missing_epoch),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// Whether TLS is spoken, and whether clients have to show a certificate. The files themselves are read at every reload.
fn asks(tls: &Option<TlsServer>) -> Option<bool> {
    tls.as_ref().map(|tls| tls.client_ca.is_some())
}

/// What is pushed, where and how often. The way there is read at every reload.
fn pushed(otlp: &Option<Otlp>) -> Option<Otlp> {
    otlp.clone().map(|otlp| Otlp { tls: None, proxy: None, ..otlp })
}

/// Compares; a sentence where the change takes more than a reload.
pub fn between(old: &Config, new: &Config, certificates: (&Certificates, &Certificates)) -> Result<Changes, String> {
    let mut changes = Changes::default();
    if old.sections.data_dir != new.sections.data_dir || old.sections.agent != new.sections.agent {
        return Err("`agent` or `data_dir` changed: this is another agent, which takes a restart".to_owned());
    }
    let same_files = |name: &String| certificates.0.get(name) == certificates.1.get(name);
    for (name, sink) in &new.sinks {
        let Some(before) = old.sinks.get(name) else { continue };
        changes.switches.extend(switch(name, &Destination::of(before), sink)?);
        let inputs = before.inputs.clone();
        if *before != (Sink { inputs, ..sink.clone() }) || !same_files(name) {
            changes.sinks.push(name.clone());
        }
    }
    for (name, source) in &new.sources {
        let Some(before) = old.sources.get(name) else { continue };
        check_type(name, before.r#type, source.r#type)?;
        if before != source || !same_files(name) {
            changes.sources.push(name.clone());
        }
    }
    Ok(changes)
}

fn check_type(name: &str, before: &str, now: &str) -> Result<(), String> {
    match before == now {
        true => Ok(()),
        false => Err(format!(
            "`{name}` was of type {before} and is of type {now} now: positions don't pass from one to the other; \
             give the new one another name, and say `remove: {{ {name}: drain }}`"
        )),
    }
}

/// Where a sink delivers, as its configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    r#type: String,
    place: String,
    is_appended: bool,
}

impl Destination {
    /// That of a sink.
    pub fn of(sink: &Sink) -> Self {
        let is_appended = matches!(&sink.options, SinkOptions::File(file) if !file.is_lake());
        Self { r#type: sink.r#type.to_owned(), place: sink.options.describe().place(), is_appended }
    }
}

/// What a changed place means; `None` where it is the same, and an error where the sink can't move there.
pub fn switch(name: &str, before: &Destination, now: &Sink) -> Result<Option<String>, String> {
    check_type(name, &before.r#type, now.r#type)?;
    let Destination { place: new, is_appended, .. } = Destination::of(now);
    let old = &before.place;
    if *old == new {
        return Ok(None);
    }
    if before.is_appended != is_appended {
        return Err(format!(
            "sink {name}: an appended file does not become a lake, nor a lake an appended file; give the new one another name, and \
             say `remove: {{ {name}: drain }}` for this one"
        ));
    }
    // Clusters are told apart by their ids, which only a connection shows.
    let unless = match now.r#type {
        "kafka" | "elasticsearch" => {
            " (unless these are other addresses of the same cluster, and nothing else is another)"
        }
        _ => "",
    };
    Ok(Some(format!("{name} switches from {old} to {new}{unless}: {}", now.options.switching())))
}

/// Reads what the components' certificate files hold now. A file that can't be read counts as empty: who opens it complains.
pub fn certificates(config: &Config) -> Certificates {
    let sinks = config.sinks.iter().map(|(name, sink)| (name, serde_json::to_value(&sink.options)));
    let sources =
        config.sources.iter().map(|(name, source): (_, &Source)| (name, serde_json::to_value(&source.options)));
    let digests = |options: Result<Value, serde_json::Error>| {
        let mut digests = Vec::new();
        if let Ok(options) = options {
            digest_files(&options, false, &mut digests);
        }
        digests
    };
    sinks.chain(sources).map(|(name, options)| (name.clone(), digests(options))).collect()
}

fn digest_files(value: &Value, is_file: bool, digests: &mut Vec<[u8; 32]>) {
    match value {
        Value::String(path) if is_file => {
            let bytes = std::fs::read(Path::new(path)).unwrap_or_default();
            digests.push(sawlog_record::id::hash("sawlog.certificate", &[&bytes]));
        }
        Value::Object(members) => {
            for (key, value) in members {
                let names_file = matches!(key.as_str(), "ca" | "cert" | "key" | "client_ca" | "keytab");
                digest_files(value, names_file && value.is_string(), digests);
            }
        }
        _ => {}
    }
}
