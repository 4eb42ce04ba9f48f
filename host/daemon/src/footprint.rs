//! What of its machine an agent touches: the files and folders that it reads or writes, and where it listens. It touches none of
//! them itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sawlog_settings::node::{Node, Value};
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::registry::SourceOptions;
use serde::Serialize;

use crate::agent_id;
use crate::config::Config;
use crate::config::files::Files;

/// What is done with a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It is read.
    Read,
    /// It is read and written, and made where it is absent.
    Write,
}

/// A file, or a folder with all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Where it is.
    pub path: PathBuf,
    /// What is done with it.
    pub access: Access,
    /// Who does that.
    pub by: String,
}

impl Touched {
    /// For a person.
    pub fn line(&self) -> String {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "read, write",
        };
        format!("{}: {access} {}", self.by, self.path.display())
    }
}

/// Everything that `config`, of these files, has the agent read or write, each path once: the agent's own first, then those of the
/// plugins, the sources and the sinks. What lies below a folder that may be written is left out.
pub fn paths(config: &Config, files: &Files) -> Vec<Touched> {
    let mut found = Found::default();
    files.files.iter().for_each(|file| found.add("config", Access::Read, &file.path));
    found.add("data_dir", Access::Write, &config.sections.data_dir);
    references(&files.tree(&mut Vec::new()), &mut |reference| match reference.split_once(':') {
        Some(("secret", name)) => {
            found.add(&format!("secret {name}"), Access::Read, &config.folder.join(&config.sections.secrets.dir));
        }
        Some(("file", path)) => found.add("config", Access::Read, Path::new(path)),
        _ => {}
    });
    if config.sections.agent.id == agent_id::AUTO {
        found.add("agent.id", Access::Read, Path::new(agent_id::MACHINE_ID_FILES[0]));
    }
    let backup = config.sections.checkpoint.backup.as_ref().and_then(|backup| backup.path.as_ref());
    backup.iter().for_each(|path| found.add("checkpoint.backup", Access::Write, path));
    of_components(config, &mut found);
    found.least()
}

fn of_components(config: &Config, found: &mut Found) {
    for (name, plugin) in &config.plugins {
        found.add(name, Access::Read, &plugin.file(&config.folder));
        plugin.files.values().chain(&plugin.signed_by).for_each(|path| found.add(name, Access::Read, path));
    }
    for (name, source) in &config.sources {
        if let SourceOptions::File(file) = &source.options {
            file.include.iter().chain(&file.rotated).for_each(|it| found.add(name, Access::Read, &root_of(it)));
            file.roots.iter().for_each(|root| found.add(name, Access::Read, root));
        }
        found.certificates(name, serde_json::to_value(&source.options));
    }
    for (name, sink) in &config.sinks {
        if let SinkOptions::File(file) = &sink.options
            && !file.path.as_str().starts_with("{data_dir}")
        {
            found.add(name, Access::Write, Path::new(file.path.root()));
        }
        if let SinkOptions::Hdfs(hdfs) = &sink.options {
            hdfs.kerberos.iter().for_each(|kerberos| found.add(name, Access::Read, &kerberos.keytab));
        }
        found.certificates(name, serde_json::to_value(&sink.options));
    }
    found.certificates("api, telemetry, checkpoint", serde_json::to_value(&config.sections));
}

/// Where the agent listens, each address with what for.
pub fn listens(config: &Config) -> Vec<String> {
    let api = &config.sections.api;
    let guard = match (&api.token, &api.tls) {
        (Some(_), Some(_)) => ", with token and TLS",
        (Some(_), None) => ", with token",
        (None, Some(_)) => ", with TLS",
        (None, None) => "",
    };
    let mut lines = vec![format!("{} (api{guard})", api.listen)];
    lines.extend(config.sections.telemetry.metrics.map(|address| format!("{address} (metrics)")));
    lines.extend(config.sources.iter().filter_map(|(name, source)| match &source.options {
        SourceOptions::Http(http) => Some(format!("{} (source {name})", http.listen)),
        SourceOptions::File(_) | SourceOptions::Kafka(_) => None,
    }));
    lines
}

#[derive(Default)]
struct Found(Vec<Touched>);

impl Found {
    fn add(&mut self, by: &str, access: Access, path: &Path) {
        let path = absolute(path);
        match self.0.iter_mut().find(|known| known.path == path) {
            Some(known) => known.access = known.access.max(access),
            None => self.0.push(Touched { path, access, by: by.to_owned() }),
        }
    }

    /// The files of every `tls` in options.
    fn certificates(&mut self, by: &str, options: Result<serde_json::Value, serde_json::Error>) {
        let mut left: Vec<serde_json::Value> = options.into_iter().collect();
        while let Some(value) = left.pop() {
            let serde_json::Value::Object(members) = value else { continue };
            for (key, value) in members {
                if key == "tls" {
                    let files = ["ca", "cert", "key", "client_ca"].into_iter();
                    let files = files.filter_map(|file| value.get(file)?.as_str());
                    files.for_each(|path| self.add(by, Access::Read, Path::new(path)));
                }
                left.push(value);
            }
        }
    }

    fn least(self) -> Vec<Touched> {
        let written: BTreeSet<PathBuf> =
            self.0.iter().filter(|one| one.access == Access::Write).map(|one| one.path.clone()).collect();
        let is_below = |path: &Path| path.ancestors().skip(1).any(|above| written.contains(above));
        self.0.into_iter().filter(|one| !is_below(&one.path)).collect()
    }
}

/// What stands between `${` and `}` in the texts of a config.
fn references(node: &Node, found: &mut impl FnMut(&str)) {
    match &node.value {
        Value::Text(text) => {
            let parts = text.written.replace("$${", "");
            parts.split("${").skip(1).filter_map(|rest| rest.split_once('}')).for_each(|(name, _)| found(name));
        }
        Value::List(items) => items.iter().for_each(|item| references(item, found)),
        Value::Map(entries) => entries.iter().for_each(|entry| references(&entry.value, found)),
        _ => {}
    }
}

/// The folder below which everything lies that a pattern matches, or the file that it names.
fn root_of(pattern: &str) -> PathBuf {
    match pattern.find(['*', '?', '[', '{', '\\']) {
        Some(at) => PathBuf::from(pattern[..at].rsplit_once('/').map_or("", |(root, _)| root)),
        None => PathBuf::from(pattern),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::SourceFile;
    use crate::config::references::References;
    use crate::config::understand;

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

    #[test]
    fn every_file_that_a_configuration_names_is_there_once_with_the_most_that_is_done_with_it() {
        let text = "version: 1\nagent: { id: auto }\ndata_dir: /state\n\
                    api: { token: \"${secret:api}\", tls: { cert: /tls/api.pem, key: /tls/api.key } }\n\
                    checkpoint: { backup: { type: folder, path: /backup } }\n\
                    plugins:\n  keep: { source: \"file:./keep.wasm\", signed_by: ./keys.pem, files: { table: /tables/hosts } }\n\
                    sources:\n  app: { type: file, include: [/var/log/app/*.log, /var/log/one.log], rotated: [/var/old/*.gz] }\n\
                    transforms:\n  kept: { type: wasm, inputs: [app], chain: [keep] }\n\
                    sinks:\n  lake: { type: file, inputs: [kept], path: \"/lake/a/dt={received_time:%Y}\", format: jsonl }\n  \
                    own: { type: file, inputs: [kept], path: /state/own/rows.jsonl }\n  \
                    out: { type: kafka, inputs: [kept], brokers: [\"k:9092\"], topic: t, key: \"{id}\", tls: { ca: /tls/ca.pem }, \
                    sasl: { mechanism: PLAIN, username: \"${file:/user}\", password: \"${secret:kafka}\" } }\n";
        let file = SourceFile::of_config(PathBuf::from("/etc/sawlog/c.yaml"), text.to_owned());
        let loaded = understand(
            Files { files: vec![file], folder: PathBuf::from("/etc/sawlog"), ..Files::default() },
            &Anything,
        );
        let config = loaded.config.expect("it holds together");
        let touched = paths(&config, &loaded.files);
        let lines: Vec<String> = touched.iter().map(|one| format!("{:?} {}", one.access, one.path.display())).collect();
        assert_eq!(
            lines,
            [
                "Read /etc/sawlog/c.yaml",
                "Write /state",
                "Read /etc/sawlog/secrets",
                "Read /user",
                "Read /etc/machine-id",
                "Write /backup",
                "Read /etc/sawlog/keep.wasm",
                "Read /tables/hosts",
                "Read /etc/sawlog/keys.pem",
                "Read /var/log/app",
                "Read /var/log/one.log",
                "Read /var/old",
                "Write /lake/a",
                "Read /tls/ca.pem",
                "Read /tls/api.pem",
                "Read /tls/api.key",
            ]
        );
    }
}
