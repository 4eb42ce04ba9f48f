//! Options of the `s3` sink (S3 and its clones) and what they promise. It opens no connection.

use sawlog_settings::checked::NameTemplate;
use sawlog_settings::component::{Delivery, DescribeSink, Finding, Promise, RouteFacts, SinkCommon, SourceKind};
use sawlog_settings::connection::{TlsClient, check_url};
use sawlog_settings::format::{Column, ObjectFormat, PATHS_MAX, Roll, check_objects};
use sawlog_settings::{ByteSize, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Static credentials. Without them the usual chain is asked: environment, profile, web identity, instance role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Credentials {
    /// Access key id, by reference.
    pub access_key_id: Secret,
    /// Secret access key, by reference.
    pub secret_access_key: Secret,
    /// Session token, by reference.
    #[serde(default)]
    pub session_token: Option<Secret>,
}

/// Whether the store refuses a second put to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConditionalPut {
    /// It must: probed at start, and the sink does not run without.
    #[default]
    Required,
    /// It is known not to. Claims stay in the bucket, with HEAD before each PUT, and a second agent with this agent's id is not
    /// fenced.
    Unsupported,
}

/// Writes rows as objects below a partitioned prefix, each named by a numbered claim before it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Sink {
    /// Bucket.
    pub bucket: String,
    /// Prefix of the data objects, may be a template: `raw/dt={received_time:%Y-%m-%d}/hour={received_time:%H}`.
    pub prefix: NameTemplate,
    /// Address of a clone, `http(s)://HOST:PORT`; AWS where none is given.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default = "region")]
    pub region: String,
    /// The bucket stands in the path of a request, not in its host name; most clones need it.
    #[serde(default)]
    pub path_style: bool,
    /// Static credentials.
    #[serde(default)]
    pub credentials: Option<S3Credentials>,
    /// What an object holds.
    #[serde(default)]
    pub format: ObjectFormat,
    /// Declared columns of Parquet: a list, or the path of a YAML file with the list.
    #[serde(default)]
    #[schemars(schema_with = "sawlog_settings::format::columns_schema")]
    pub columns: Vec<Column>,
    /// When an open object is closed and becomes visible.
    #[serde(default)]
    pub roll: Roll,
    /// Most memory for all open objects of this sink; the rest is staged on disk.
    #[serde(default = "stage_memory")]
    pub stage_memory: ByteSize,
    /// Most paths that are open at once.
    #[serde(default = "paths_max")]
    pub paths_max: u32,
    /// Whether the store refuses a second put to one key.
    #[serde(default)]
    pub conditional_put: ConditionalPut,
    /// TLS to the store.
    #[serde(default)]
    pub tls: Option<TlsClient>,
    /// Proxy, `http://HOST:PORT`.
    #[serde(default)]
    pub proxy: Option<String>,
}

fn region() -> String {
    "us-east-1".to_owned()
}
fn stage_memory() -> ByteSize {
    ByteSize::mib(64)
}
fn paths_max() -> u32 {
    PATHS_MAX
}

impl S3Sink {
    /// The prefix below which everything is written: the literal part of `prefix`, without a slash at its end.
    pub fn root(&self) -> &str {
        self.prefix.root().trim_end_matches('/')
    }
}

impl DescribeSink for S3Sink {
    fn check(&self, _: &SinkCommon) -> Vec<Finding> {
        let mut findings = check_objects(self.format, &self.columns, &self.roll, self.stage_memory, self.paths_max);
        findings.extend(self.endpoint.iter().filter_map(|url| check_url("endpoint", url)));
        findings.extend(self.proxy.iter().filter_map(|url| check_url("proxy", url)));
        findings.extend(self.tls.iter().flat_map(|tls| tls.check("tls")));
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if self.bucket.len() < 3 || self.bucket.len() > 63 || !self.bucket.bytes().all(letters) {
            findings.push(Finding::error(
                "bucket",
                format!("`{}` is no bucket name; write 3 to 63 of a-z 0-9 - .", self.bucket),
            ));
        }
        if self.prefix.starts_with('/') || self.prefix.split('/').any(|part| part == "..") {
            findings.push(Finding::error(
                "prefix",
                "a prefix begins without `/` and holds no `..`; write it from the bucket down",
            ));
        }
        if self.prefix.split('/').any(|part| part.starts_with('_')) {
            findings.push(Finding::error("prefix", "readers skip names that begin with `_`; rename that part"));
        }
        findings
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        match (self.conditional_put, route.source) {
            (ConditionalPut::Required, _) => Promise::kept(route, "numbered claim, If-None-Match"),
            (ConditionalPut::Unsupported, SourceKind::Moving) => Promise::at_most(
                route,
                Delivery::AtLeastOnce,
                "numbered claim, HEAD before PUT; not fenced",
                "partitions move between agents, and this store fences none of them; use a store with conditional puts, or write `delivery: at_least_once`",
            ),
            (ConditionalPut::Unsupported, _) => Promise::kept(route, "numbered claim, HEAD before PUT; not fenced")
                .provided("no second agent runs with this agent's id"),
        }
    }

    fn rights(&self) -> Vec<String> {
        let root = self.root();
        let below = if root.is_empty() { self.bucket.clone() } else { format!("{}/{root}", self.bucket) };
        vec![
            format!("s3:PutObject, s3:GetObject, s3:AbortMultipartUpload on arn:aws:s3:::{below}/*"),
            format!("s3:DeleteObject on arn:aws:s3:::{below}/_sawlog/*"),
            format!("s3:ListBucket on arn:aws:s3:::{}", self.bucket),
        ]
    }

    fn readers(&self) -> Vec<String> {
        vec!["skip names that begin with `_` (Hive, Spark and Trino do)".to_owned()]
    }

    fn place(&self) -> String {
        crate::place::objects(&format!("s3://{}/{}", self.bucket, self.prefix.as_str()), self.format, &self.columns)
    }

    fn ordering(&self) -> &'static str {
        "per source partition within an object"
    }

    fn memory_bytes_max(&self, _: &SinkCommon) -> u64 {
        self.stage_memory.as_bytes()
    }
}
