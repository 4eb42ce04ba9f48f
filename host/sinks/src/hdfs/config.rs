//! Options of the `hdfs` sink and what they promise. It opens no connection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sawlog_settings::ByteSize;
use sawlog_settings::checked::NameTemplate;
use sawlog_settings::component::{DescribeSink, Finding, Promise, RouteFacts, SinkCommon};
use sawlog_settings::format::{Column, ObjectFormat, PATHS_MAX, Roll, check_objects};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kerberos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kerberos {
    /// Principal.
    pub principal: String,
    /// Keytab file.
    pub keytab: PathBuf,
}

/// Writes rows as files below a hive layout, each made visible by one rename that overwrites nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HdfsSink {
    /// Namenode or nameservice: `hdfs://HOST:PORT` or `hdfs://NAMESERVICE`.
    pub url: String,
    /// Folder of the data files, may be a template: `/logs/dt={received_time:%Y-%m-%d}`.
    pub path: NameTemplate,
    /// User on a cluster without Kerberos; the process's own where none is given.
    #[serde(default)]
    pub user: Option<String>,
    /// Kerberos.
    #[serde(default)]
    pub kerberos: Option<Kerberos>,
    /// Client options by their Hadoop names (`dfs.nameservices`, …).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What a file holds.
    #[serde(default)]
    pub format: ObjectFormat,
    /// Declared columns of Parquet: a list, or the path of a YAML file with the list.
    #[serde(default)]
    #[schemars(schema_with = "sawlog_settings::format::columns_schema")]
    pub columns: Vec<Column>,
    /// When an open file is closed and becomes visible.
    #[serde(default)]
    pub roll: Roll,
    /// Most memory for all open files of this sink; the rest is staged on disk.
    #[serde(default = "stage_memory")]
    pub stage_memory: ByteSize,
    /// Most paths that are open at once.
    #[serde(default = "paths_max")]
    pub paths_max: u32,
}

fn stage_memory() -> ByteSize {
    ByteSize::mib(64)
}
fn paths_max() -> u32 {
    PATHS_MAX
}

impl HdfsSink {
    /// The folder below which everything is written: the literal part of `path`, without a slash at its end.
    pub fn root(&self) -> &str {
        self.path.root().trim_end_matches('/')
    }
}

impl DescribeSink for HdfsSink {
    fn check(&self, _: &SinkCommon) -> Vec<Finding> {
        let mut findings = check_objects(self.format, &self.columns, &self.roll, self.stage_memory, self.paths_max);
        if self.url.strip_prefix("hdfs://").is_none_or(|host| host.is_empty() || host.contains('/')) {
            findings.push(Finding::error(
                "url",
                format!("`{}` is no HDFS address; write hdfs://HOST:PORT or hdfs://NAMESERVICE", self.url),
            ));
        }
        if !self.path.starts_with('/') || self.path.split('/').any(|part| part == "..") {
            findings
                .push(Finding::error("path", "a path begins with `/` and holds no `..`; write it from the root down"));
        }
        if self.path.split('/').any(|part| part.starts_with(['_', '.'])) {
            findings.push(Finding::error("path", "readers skip names that begin with `_` or `.`; rename that part"));
        }
        if self.kerberos.is_some() && self.user.is_some() {
            findings.push(Finding::error("user", "with Kerberos the principal is the user; remove `user`"));
        }
        findings
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        Promise::kept(route, "numbered claim, hdfs tmp+rename")
    }

    fn rights(&self) -> Vec<String> {
        let root = self.root();
        vec![format!("read, write, execute on {root} and below (creates {root}/_sawlog, {root}/_tmp and data folders)")]
    }

    fn readers(&self) -> Vec<String> {
        vec!["skip names that begin with `_` (Hive, Spark and Trino do)".to_owned()]
    }

    fn place(&self) -> String {
        let (url, path) = (self.url.trim_end_matches('/'), self.path.as_str());
        crate::place::objects(&format!("{url}{path}"), self.format, &self.columns)
    }

    fn ordering(&self) -> &'static str {
        "per source partition within a file"
    }

    fn memory_bytes_max(&self, _: &SinkCommon) -> u64 {
        self.stage_memory.as_bytes()
    }
}
