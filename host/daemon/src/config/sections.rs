//! The sections of a config beside its components, as options structs. They know nothing of each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use sawlog_settings::component::{Finding, OnError};
use sawlog_settings::connection::{TlsClient, TlsServer, check_url};
use sawlog_settings::{ByteSize, Delivery, Period, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who this agent is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Part of every record's id. `auto`: on a host a hash of its machine id, in Kubernetes of the node's name (in the
    /// variable `SAWLOG_NODE_NAME`) and its machine id. Else a name of your own, different on every node.
    pub id: String,
}

impl Default for Agent {
    fn default() -> Self {
        Self { id: "auto".to_owned() }
    }
}

/// What holds for every sink that doesn't say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// The promise asked for.
    pub delivery: Delivery,
    /// What happens to a record that a component can't take.
    pub on_error: OnError,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { delivery: Delivery::ExactlyOnce, on_error: OnError::DeadLetter }
    }
}

/// What the process may take of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of the process. It is divided among all that waits: the batches of each sink, input that is read and not handed
    /// over, requests that are being taken. Whoever has used up its part waits, and nothing is dropped for it; where the process
    /// comes near the limit all the same, everybody gets less. What sinks and plugins may take together is held against it when
    /// the configuration is read.
    pub memory: ByteSize,
    /// Disk below `data_dir`. The journal has a tenth of it, and no less than 32MiB; dead letters that are delivered again a
    /// sixteenth of the rest, and no more than 256MiB; the queue of each `http` source has two parts of what is left, records of
    /// files that vanish (*rescue*) one, and contents of compressed files while they are read one.
    pub disk: ByteSize,
    /// Worker threads; as many as the process may use cores where none is given.
    pub cpu: Option<f64>,
    /// Part of the workers' time that lanes behind the frontier (of sinks that were down, or are slow) may take together while
    /// others plan what comes, in percent.
    pub catch_up_cpu: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: ByteSize::mib(384), disk: ByteSize::gib(8), cpu: None, catch_up_cpu: 50 }
    }
}

impl Limits {
    /// Worker threads.
    pub fn workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.cpu.map_or(cores, |cpu| cpu.ceil() as usize).clamp(1, 256)
    }

    /// Values out of bounds.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.memory < ByteSize::mib(32) {
            findings.push(Finding::error(
                "memory",
                format!("{} is too little to run in; write at least 32MiB", self.memory),
            ));
        }
        if let Some(cpu) = self.cpu.filter(|cpu| !(0.1..=1024.0).contains(cpu)) {
            findings.push(Finding::error("cpu", format!("{cpu} workers can't be had; write 0.1 to 1024")));
        }
        if !(1..=100).contains(&self.catch_up_cpu) {
            findings.push(Finding::error(
                "catch_up_cpu",
                format!("{} is no percentage; write 1 to 100", self.catch_up_cpu),
            ));
        }
        findings
    }
}

/// The agent's own HTTP interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address to listen on, `IP:PORT`.
    pub listen: SocketAddr,
    /// Bearer token that every verb but `/livez` and `/readyz` needs, by reference. Without it verbs that change
    /// something are refused.
    pub token: Option<Secret>,
    /// TLS, and mTLS by `client_ca`.
    pub tls: Option<TlsServer>,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8686)), token: None, tls: None }
    }
}

impl Api {
    /// An interface that anybody could use.
    pub fn check(&self) -> Vec<Finding> {
        let open = self.token.is_none() && self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none());
        match open && !self.listen.ip().is_loopback() {
            true => vec![Finding::error(
                "listen",
                format!(
                    "anybody who reaches {} could read what runs here; add `token`, or listen on 127.0.0.1",
                    self.listen
                ),
            )],
            false => Vec::new(),
        }
    }
}

/// Level of the agent's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words are the usual ones")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The word as it is written in a config, which is the one that log filters take.
impl std::fmt::Display for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// Format of the agent's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person.
    #[default]
    Text,
}

/// The agent's own log. It never holds contents of records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnLog {
    /// Level.
    pub level: LogLevel,
    /// Format.
    pub format: LogFormat,
}

/// Where telemetry is pushed by OTLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Address of the collector, `http(s)://HOST:PORT`.
    pub endpoint: String,
    /// Part of the batches that are traced, 0 to 1.
    #[serde(default)]
    pub traces: f64,
    /// How often metrics are pushed.
    #[serde(default = "metrics_interval")]
    pub metrics_interval: Period,
    /// TLS to the collector.
    #[serde(default)]
    pub tls: Option<TlsClient>,
    /// Proxy, `http://HOST:PORT`.
    #[serde(default)]
    pub proxy: Option<String>,
}

fn metrics_interval() -> Period {
    Period::from_secs(30)
}

/// What the agent tells of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Address of a second, read-only listener for `/metrics`; they are on the API's address as well.
    pub metrics: Option<SocketAddr>,
    /// The agent's own log.
    pub log: OwnLog,
    /// Where telemetry is pushed.
    pub otlp: Option<Otlp>,
}

impl Telemetry {
    /// Values out of bounds.
    pub fn check(&self) -> Vec<Finding> {
        let Some(otlp) = &self.otlp else { return Vec::new() };
        let mut findings: Vec<Finding> = check_url("otlp.endpoint", &otlp.endpoint).into_iter().collect();
        findings.extend(otlp.proxy.iter().filter_map(|url| check_url("otlp.proxy", url)));
        findings.extend(otlp.tls.iter().flat_map(|tls| tls.check("otlp.tls")));
        if !(0.0..=1.0).contains(&otlp.traces) {
            findings
                .push(Finding::error("otlp.traces", format!("{} is no part of a whole; write 0 to 1", otlp.traces)));
        }
        findings
    }
}

/// Kind of place for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// A bucket of S3 or a clone.
    S3,
    /// A folder of HDFS.
    Hdfs,
    /// A folder, on a volume that outlives the node.
    Folder,
}

/// A copy of the newest checkpoint with the plugins, configurations and plugin state that it names. A start with an empty data
/// directory brings it back by itself where it names this agent's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Kind of place.
    pub r#type: BackupType,
    /// How often.
    #[serde(default = "backup_interval")]
    pub every: Period,
    /// Bucket.
    #[serde(default)]
    pub bucket: Option<String>,
    /// Prefix in the bucket; each agent has a folder of its own below it.
    #[serde(default)]
    pub prefix: String,
    /// Address of a clone of S3, `http(s)://HOST:PORT`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default)]
    pub region: Option<String>,
    /// The bucket stands in the path of a request.
    #[serde(default)]
    pub path_style: bool,
    /// Static credentials. Without them the usual chain is asked.
    #[serde(default)]
    pub credentials: Option<sawlog_sinks::s3::config::S3Credentials>,
    /// TLS to S3 or the clone.
    #[serde(default)]
    pub tls: Option<TlsClient>,
    /// Proxy to S3 or the clone, `http://HOST:PORT`.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Namenode, `hdfs://HOST:PORT` or `hdfs://NAMESERVICE`.
    #[serde(default)]
    pub url: Option<String>,
    /// User on a cluster without Kerberos.
    #[serde(default)]
    pub user: Option<String>,
    /// Folder, local or of HDFS; each agent has one of its own below it.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

fn backup_interval() -> Period {
    Period::from_secs(60)
}

/// Durable snapshots of what has been delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// How often.
    pub interval: Period,
    /// How many are kept.
    pub keep: u32,
    /// A copy somewhere else.
    pub backup: Option<Backup>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { interval: Period::from_secs(5), keep: 5, backup: None }
    }
}

impl Checkpoint {
    /// Values out of bounds, and what a backup lacks.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.interval < Period::from_millis(100) {
            findings.push(Finding::error(
                "interval",
                format!("a checkpoint every {} leaves no time for work; write at least 100ms", self.interval),
            ));
        }
        if self.keep == 0 {
            findings.push(Finding::error("keep", "no checkpoint would be kept; write at least 1"));
        }
        findings.extend(self.backup.iter().flat_map(Backup::check));
        findings
    }
}

impl Backup {
    fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> =
            self.endpoint.iter().filter_map(|url| check_url("backup.endpoint", url)).collect();
        findings.extend(self.proxy.iter().filter_map(|url| check_url("backup.proxy", url)));
        findings.extend(self.tls.iter().flat_map(|tls| tls.check("backup.tls")));
        match self.r#type {
            BackupType::S3 if self.bucket.is_none() => {
                findings.push(Finding::error("backup", "a backup to S3 needs a bucket; add `bucket: NAME`"))
            }
            BackupType::S3 if self.path.is_some() => {
                findings.push(Finding::error("backup.path", "`path` belongs to `type: folder`; use `prefix`"))
            }
            BackupType::Folder | BackupType::Hdfs if self.path.is_none() => {
                findings.push(Finding::error("backup", "a backup to a folder needs its path; add `path: /path`"));
            }
            BackupType::Hdfs if self.url.is_none() => {
                findings
                    .push(Finding::error("backup", "a backup to HDFS needs its namenode; add `url: hdfs://HOST:PORT`"));
            }
            BackupType::Folder | BackupType::Hdfs if self.bucket.is_some() => {
                findings.push(Finding::error("backup.bucket", "`bucket` belongs to `type: s3`; remove it"));
            }
            BackupType::Folder | BackupType::Hdfs if self.tls.is_some() || self.proxy.is_some() => {
                let option = if self.tls.is_some() { "tls" } else { "proxy" };
                let reason = format!("`{option}` belongs to `type: s3`; remove it");
                findings.push(Finding::error(format!("backup.{option}"), reason));
            }
            _ => {}
        }
        findings
    }
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// Longest time that SIGTERM waits for what is under way. What is left is delivered after the next start.
    pub grace: Period,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Period::from_secs(20) }
    }
}

/// Where secrets are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// Folder with one file a secret: `${secret:es}` is the content of `es` in it. Read again at each reload.
    pub dir: PathBuf,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { dir: PathBuf::from("/etc/sawlog/secrets") }
    }
}

/// What becomes of undelivered input of a component that is no longer in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It is delivered first.
    Drain,
    /// It is given up, and the ledger names the ranges.
    Forget,
}

/// What a partition does when the plugins or files of an old epoch are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingEpoch {
    /// It stops and says so.
    #[default]
    Stop,
    /// It goes on with the present epoch, and journals that; rows of the range may differ between sinks.
    AcceptSkew,
}

/// All sections beside components and plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sections {
    /// Version of the config's language: 1.
    pub version: u32,
    /// Who this agent is.
    #[serde(default)]
    pub agent: Agent,
    /// Folder for the journal, the write-ahead queue and staged objects. One agent at a time holds it.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// What holds for every sink that doesn't say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// What the process may take of the machine.
    #[serde(default)]
    pub limits: Limits,
    /// The agent's own HTTP interface.
    #[serde(default)]
    pub api: Api,
    /// What the agent tells of itself.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// Durable snapshots of what has been delivered.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// How the process ends.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// Where secrets are kept.
    #[serde(default)]
    pub secrets: Secrets,
    /// The sink that takes what other components can't: a `file` sink of this config (no lake) without `inputs`. Where none is
    /// named, one called `dead_letter` of 1GiB below `data_dir`.
    #[serde(default)]
    pub dead_letter: Option<String>,
    /// What a partition does when the plugins or files of an old epoch are gone.
    #[serde(default)]
    pub on_missing_epoch: OnMissingEpoch,
    /// What becomes of undelivered input of components that are no longer in the config, by their names.
    #[serde(default)]
    pub remove: BTreeMap<String, Removal>,
}

fn data_dir() -> PathBuf {
    PathBuf::from("/var/lib/sawlog")
}
