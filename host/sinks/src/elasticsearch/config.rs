//! Options of the `elasticsearch` sink and what they promise. It opens no connection.

use std::collections::BTreeMap;

use sawlog_settings::checked::NameTemplate;
use sawlog_settings::component::{Delivery, DescribeSink, Finding, Promise, RouteFacts, SinkCommon};
use sawlog_settings::connection::{TlsClient, check_url};
use sawlog_settings::{ByteSize, Period, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the name in `index` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndexTarget {
    /// A concrete index. Document ids are unique in it, so a repeat does nothing.
    #[default]
    Index,
    /// An alias, perhaps rolled over.
    Alias,
    /// A data stream.
    DataStream,
}

/// Where a document's id comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentId {
    /// From the record's position and input bytes: a repeat has the same id.
    #[default]
    Position,
    /// From the server: cheaper, and a repeat is another document.
    Auto,
}

/// How far a record's own event time may move it from the present when an index is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventTimeBounds {
    /// Into the past.
    pub past: Period,
    /// Into the future.
    pub future: Period,
}

impl Default for EventTimeBounds {
    fn default() -> Self {
        Self { past: Period::from_secs(7 * 86_400), future: Period::from_secs(86_400) }
    }
}

/// Credentials: an API key, or a user name and password.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ElasticsearchAuth {
    /// API key, by reference.
    pub api_key: Option<Secret>,
    /// User name.
    pub username: Option<String>,
    /// Password, by reference.
    pub password: Option<Secret>,
}

/// Writes each row as one document of a concrete index, under an id that makes a repeat harmless. OpenSearch too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchSink {
    /// Nodes, each `http(s)://HOST:PORT`; a request that fails goes to the next.
    pub endpoints: Vec<String>,
    /// Index, may be a template: `logs-{k8s.namespace.name}-{event_time:%Y.%m.%d}`.
    pub index: NameTemplate,
    /// What the name in `index` stands for.
    #[serde(default)]
    pub target: IndexTarget,
    /// Where a document's id comes from.
    #[serde(default)]
    pub id: DocumentId,
    /// This sink takes whole streams on purpose: silences the warning about an input that no route or filter thins out.
    #[serde(default)]
    pub all: bool,
    /// How far a record's own event time may move it from the present when an index is chosen.
    #[serde(default)]
    pub event_time_bounds: EventTimeBounds,
    /// Most indexes that a template may make, an index a day counting once; further ones go to the index in which every value is
    /// `other`. The journal keeps which there are, until `index` or this changes.
    #[serde(default = "indexes_max")]
    pub indexes_max: u32,
    /// Credentials.
    #[serde(default)]
    pub auth: Option<ElasticsearchAuth>,
    /// TLS to the nodes.
    #[serde(default)]
    pub tls: Option<TlsClient>,
    /// Proxy, `http://HOST:PORT`.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Further headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Requests are gzipped.
    #[serde(default = "yes")]
    pub gzip: bool,
    /// Time after which a request without an answer counts as ambiguous and is repeated.
    #[serde(default = "request_timeout")]
    pub request_timeout: Period,
}

fn indexes_max() -> u32 {
    256
}
fn yes() -> bool {
    true
}
fn request_timeout() -> Period {
    Period::from_secs(30)
}

impl ElasticsearchSink {
    /// The indexes that it writes to, and how documents get there.
    pub(super) fn indexes(&self) -> String {
        let rest = (self.target, self.id, &self.event_time_bounds, self.indexes_max);
        format!("index {} ({})", self.index.as_str(), crate::place::digest(&rest))
    }

    /// Why a repeat would be seen, and how to mend it; `None` where ids are deterministic and indexes concrete.
    fn repeats_show(&self) -> Option<&'static str> {
        match (self.target, self.id) {
            (IndexTarget::Alias, _) => Some(
                "an id is unique per index, and an alias may be rolled over; name a concrete index, or write `delivery: at_least_once`",
            ),
            (IndexTarget::DataStream, _) => Some(
                "an id is unique per backing index, and a data stream rolls over; name a concrete index, or write `delivery: at_least_once`",
            ),
            (_, DocumentId::Auto) => {
                Some("with `id: auto` a repeat is another document; write `id: position`, or `delivery: at_least_once`")
            }
            _ => None,
        }
    }
}

impl DescribeSink for ElasticsearchSink {
    fn check(&self, _: &SinkCommon) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        if self.endpoints.is_empty() {
            findings.push(Finding::error("endpoints", "`endpoints` is empty; list at least one http://HOST:PORT"));
        }
        findings
            .extend(self.endpoints.iter().enumerate().filter_map(|(i, url)| check_url(&format!("endpoints.{i}"), url)));
        findings.extend(self.proxy.iter().filter_map(|url| check_url("proxy", url)));
        findings.extend(self.tls.iter().flat_map(|tls| tls.check("tls")));
        if let Some(auth) = &self.auth {
            findings.extend(check_auth(auth));
        }
        let index = self.index.as_pattern();
        if index.starts_with(['-', '_', '+']) || index.bytes().any(|byte| byte.is_ascii_uppercase()) {
            findings
                .push(Finding::error("index", "an index name is lower case and begins with none of - _ +; rename it"));
        }
        findings
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        match self.repeats_show() {
            Some(because) => {
                Promise::at_most(route, Delivery::AtLeastOnce, "es bulk, repeated until answered", because)
            }
            None => Promise::kept(route, "es deterministic _id")
                .provided("index.translog.durability is `request` and there is at least one replica")
                .provided(if route.plugins {
                    "the plugins on the way are deterministic"
                } else {
                    "no ingest pipeline reroutes documents"
                }),
        }
    }

    fn rights(&self) -> Vec<String> {
        let pattern = self.index.as_pattern();
        vec![
            format!("index privileges create_doc, create_index, read, view_index_metadata on {pattern}"),
            "cluster privilege monitor".to_owned(),
        ]
    }

    fn readers(&self) -> Vec<String> {
        Vec::new()
    }

    fn place(&self) -> String {
        format!("{} at {}", self.indexes(), self.endpoints.join(", "))
    }

    fn ordering(&self) -> &'static str {
        "none; sort by _id within a source partition"
    }

    fn memory_bytes_max(&self, common: &SinkCommon) -> u64 {
        common.batch.bytes.unwrap_or(ByteSize::mib(8)).as_bytes() * 2
    }
}

fn check_auth(auth: &ElasticsearchAuth) -> Option<Finding> {
    let words = auth.api_key.iter().chain(&auth.password).map(|secret| secret.expose()).chain(auth.username.as_deref());
    if words.flat_map(str::chars).any(char::is_control) {
        let reason =
            "a key, a name or a password of printable characters is needed; take out what is none, such as a line end";
        return Some(Finding::error("auth", reason));
    }
    match (&auth.api_key, &auth.username, &auth.password) {
        (Some(_), None, None) | (None, Some(_), Some(_)) => None,
        (Some(_), ..) => Some(Finding::error("auth", "`api_key` and `username` exclude each other; keep one of them")),
        (None, Some(_), None) => {
            Some(Finding::error("auth", "`username` needs a password; add `password: \"${secret:NAME}\"`"))
        }
        (None, None, Some(_)) => Some(Finding::error("auth", "`password` needs a user name; add `username: NAME`")),
        (None, None, None) => {
            Some(Finding::error("auth", "`auth` is empty; give `api_key`, or `username` and `password`, or remove it"))
        }
    }
}
