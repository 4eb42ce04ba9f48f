//! Options of the `file` sink, an appended file or a lake of files, and what they promise. It opens no file.

use sawlog_settings::ByteSize;
use sawlog_settings::checked::NameTemplate;
use sawlog_settings::component::{Delivery, DescribeSink, Finding, Promise, RouteFacts, SinkCommon, SourceKind};
use sawlog_settings::format::{Column, ObjectFormat, PATHS_MAX, Roll, check_objects};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Appends rows to one file, or, where `path` holds a template or the format is Parquet, writes a lake of files below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// Folder of the files. `{data_dir}` stands for the agent's data directory. With a template
    /// (`/lake/dt={received_time:%Y-%m-%d}`) it is a lake: each file is named by a claim and made visible by one rename.
    pub path: NameTemplate,
    /// What a file holds.
    #[serde(default)]
    pub format: ObjectFormat,
    /// Declared columns of Parquet: a list, or the path of a YAML file with the list.
    #[serde(default)]
    #[schemars(schema_with = "sawlog_settings::format::columns_schema")]
    pub columns: Vec<Column>,
    /// When a file is closed: an appended one gets its number, one of a lake becomes visible.
    #[serde(default)]
    pub roll: Roll,
    /// Most bytes that all files of an appended sink may take; what comes then waits, and `/readyz` says so.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
    /// Most memory for all open files of a lake; the rest is staged on disk.
    #[serde(default = "stage_memory")]
    pub stage_memory: ByteSize,
    /// Most paths of a lake that are open at once.
    #[serde(default = "paths_max")]
    pub paths_max: u32,
}

fn stage_memory() -> ByteSize {
    ByteSize::mib(64)
}
fn paths_max() -> u32 {
    PATHS_MAX
}

impl FileSink {
    /// An appended file at `path` with all options at their defaults.
    pub fn appended(path: NameTemplate, max_size: ByteSize) -> Self {
        Self {
            path,
            format: ObjectFormat::default(),
            columns: Vec::new(),
            roll: Roll::default(),
            max_size: Some(max_size),
            stage_memory: stage_memory(),
            paths_max: PATHS_MAX,
        }
    }

    /// A lake, as against one appended file.
    pub fn is_lake(&self) -> bool {
        self.format == ObjectFormat::Parquet || self.below_data_dir().unwrap_or(self.path.as_str()).contains('{')
    }

    /// The rest of a path that begins with `{data_dir}`.
    pub fn below_data_dir(&self) -> Option<&str> {
        self.path.as_str().strip_prefix("{data_dir}")
    }

    /// The folder below which everything is written: the path up to its first template, perhaps with `{data_dir}`.
    pub fn root(&self) -> &str {
        let path = self.path.as_str();
        let from = if self.below_data_dir().is_some() { "{data_dir}".len() } else { 0 };
        match path[from..].find('{') {
            Some(at) => path[..from + at].rsplit_once('/').map_or("", |(root, _)| root),
            None => path,
        }
    }
}

impl DescribeSink for FileSink {
    fn check(&self, _: &SinkCommon) -> Vec<Finding> {
        let mut findings = check_objects(self.format, &self.columns, &self.roll, self.stage_memory, self.paths_max);
        let path = self.path.as_str();
        if !path.starts_with('/') && !path.starts_with("./") && self.below_data_dir().is_none() {
            findings.push(Finding::error("path", "a path begins with `/`, `./` or `{data_dir}`; write it so"));
        }
        if path.split('/').any(|part| part == "..") {
            findings.push(Finding::error("path", "a path holds no `..`; write where it leads to"));
        }
        if self.is_lake() && self.max_size.is_some() {
            findings
                .push(Finding::error("max_size", "`max_size` bounds an appended file, and this is a lake; remove it"));
        }
        findings
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        let mechanism =
            if self.is_lake() { "numbered claim, no-overwrite rename" } else { "local append, journalled length" };
        match route.source {
            SourceKind::Moving => Promise::at_most(
                route,
                Delivery::AtLeastOnce,
                mechanism,
                "partitions of a consumer group move between agents, local files don't; write `partitions: […]` on the source, or `delivery: at_least_once`",
            ),
            _ => Promise::kept(route, mechanism).provided("the disk honours fsync"),
        }
    }

    fn rights(&self) -> Vec<String> {
        vec![format!("read, write, execute on {} and below", self.root())]
    }

    fn readers(&self) -> Vec<String> {
        match self.is_lake() {
            true => vec!["skip names that begin with `_` (Hive, Spark and Trino do)".to_owned()],
            false => vec![
                "read closed files; whoever follows a `.part` file may see rows that a crash takes back".to_owned(),
            ],
        }
    }

    fn place(&self) -> String {
        crate::place::objects(self.path.as_str(), self.format, &self.columns)
    }

    fn ordering(&self) -> &'static str {
        "per source partition within a file"
    }

    fn memory_bytes_max(&self, common: &SinkCommon) -> u64 {
        if self.is_lake() {
            self.stage_memory.as_bytes()
        } else {
            common.batch.bytes.unwrap_or(ByteSize::mib(4)).as_bytes() * 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_makes_a_lake() {
        let file = |path: &str| FileSink::appended(NameTemplate::parse(path).expect("a template"), ByteSize::gib(1));
        assert!(!file("/var/log/out").is_lake());
        assert!(!file("{data_dir}/dead-letter").is_lake());
        assert!(file("{data_dir}/lake/dt={received_time:%F}").is_lake());
        assert_eq!(file("/lake/raw/dt={received_time:%F}").root(), "/lake/raw");
        assert_eq!(file("{data_dir}/lake/dt={received_time:%F}").root(), "{data_dir}/lake");
        assert_eq!(file("/var/log/out").root(), "/var/log/out");
    }
}
