//! Options of the `http` source. It opens no socket.

use sawlog_settings::component::{DescribeSource, Finding, SourceKind};
use sawlog_settings::connection::TlsServer;
use sawlog_settings::{ByteSize, Count, Period, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a body is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpDecode {
    /// By the request's content type: `application/x-ndjson`, `application/json` (an array or one object), `text/plain`.
    #[default]
    Auto,
    /// One JSON object a line.
    Ndjson,
    /// A JSON array of objects, or one object.
    Json,
    /// Plain lines.
    Lines,
}

/// Who may send: everybody, unless tokens are listed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpAuth {
    /// Bearer tokens that are let in, by reference; several while one is exchanged for another.
    pub tokens: Vec<Secret>,
}

/// What a client may ask of the source. Past a limit it gets 408, 413, 429, 431 or 503, never a cut record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Size of a body as sent.
    pub body: ByteSize,
    /// Size of a body after decompression.
    pub decompressed: ByteSize,
    /// Size after decompression by size as sent.
    pub ratio: u32,
    /// Size of all headers.
    pub header_bytes: ByteSize,
    /// Number of headers.
    pub headers: u32,
    /// Time until the headers are there.
    pub header_time: Period,
    /// Time until the body is there.
    pub body_time: Period,
    /// Time that a request waits for sinks, with `ack: after_sinks`; then the client gets 504: it is stored and will be delivered, but
    /// when is not known.
    pub ack_time: Period,
    /// Time that a connection may be quiet.
    pub idle_time: Period,
    /// Connections at once.
    pub connections: u32,
    /// Connections at once from one address.
    pub connections_per_address: u32,
    /// HTTP/2 streams at once in a connection.
    pub streams: u32,
    /// Bytes of records in the queue that were sent with one token, or by one certificate: who has more there that is not delivered
    /// yet gets 429, while others are let in. Counted from the agent's start on. Where none is given, one may fill the queue for all.
    pub queue_per_client: Option<ByteSize>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(10),
            decompressed: ByteSize::mib(64),
            ratio: 100,
            header_bytes: ByteSize::kib(32),
            headers: 100,
            header_time: Period::from_secs(10),
            body_time: Period::from_secs(30),
            ack_time: Period::from_secs(60),
            idle_time: Period::from_secs(60),
            connections: 1_024,
            connections_per_address: 256,
            streams: 100,
            queue_per_client: None,
        }
    }
}

/// How long a request with an `Idempotency-Key` is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// Age after which a key may be forgotten.
    pub window: Period,
    /// Number of keys above which the oldest may be forgotten.
    pub keys_max: Count,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self { window: Period::from_secs(86_400), keys_max: Count(1_000_000) }
    }
}

/// When a request is answered 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// When it is on this node's disk.
    #[default]
    Stored,
    /// When every sink has it, so that not even the loss of the node loses it. Told with the checkpoint that follows, see
    /// `checkpoint.interval`.
    AfterSinks,
}

/// Takes records that clients push, and answers 2xx when they are in the write-ahead queue on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    /// Address to listen on, `IP:PORT`.
    pub listen: std::net::SocketAddr,
    /// Path of the requests.
    #[serde(default = "path")]
    pub path: String,
    /// How a body is cut into records.
    #[serde(default)]
    pub decode: HttpDecode,
    /// Who may send.
    #[serde(default)]
    pub auth: HttpAuth,
    /// When a request is answered 2xx.
    #[serde(default)]
    pub ack: Ack,
    /// TLS, and mTLS by `client_ca`.
    #[serde(default)]
    pub tls: Option<TlsServer>,
    /// What a client may ask of the source.
    #[serde(default)]
    pub limits: HttpLimits,
    /// How long a request with an `Idempotency-Key` is known.
    #[serde(default)]
    pub idempotency: Idempotency,
    /// Queue shards, each a partition of its own; as many as workers where none is given. Fixed while the queue lives.
    #[serde(default)]
    pub shards: Option<u16>,
    /// How long a shard without input waits before a plugin's windows are flushed.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Period,
}

fn path() -> String {
    "/".to_owned()
}
fn idle_timeout() -> Period {
    Period::from_secs(5)
}

impl HttpSource {
    /// A source at `listen` with all options at their defaults.
    pub fn at(listen: std::net::SocketAddr) -> Self {
        Self {
            listen,
            path: path(),
            decode: HttpDecode::default(),
            auth: HttpAuth::default(),
            ack: Ack::default(),
            tls: None,
            limits: HttpLimits::default(),
            idempotency: Idempotency::default(),
            shards: None,
            idle_timeout: idle_timeout(),
        }
    }
}

impl DescribeSource for HttpSource {
    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let limits = &self.limits;
        let zero = [
            ("limits.ratio", limits.ratio),
            ("limits.headers", limits.headers),
            ("limits.connections", limits.connections),
            ("limits.connections_per_address", limits.connections_per_address),
            ("limits.streams", limits.streams),
            ("shards", self.shards.map_or(1, u32::from)),
        ];
        findings.extend(
            zero.iter()
                .filter(|(_, n)| *n == 0)
                .map(|(path, _)| Finding::error(*path, "0 lets nothing in; write at least 1")),
        );
        if limits.decompressed < limits.body {
            findings.push(Finding::error(
                "limits.decompressed",
                "a body may not grow by decompression; write at least `limits.body`",
            ));
        }
        if limits.queue_per_client.is_some_and(|part| part < limits.body) {
            findings.push(Finding::error(
                "limits.queue_per_client",
                "a body that `limits.body` lets in would never be taken; write at least `limits.body`",
            ));
        }
        if !self.path.starts_with('/') {
            findings
                .push(Finding::error("path", format!("`{}` is no path of a request; begin it with `/`", self.path)));
        }
        if self.tls.is_none() && self.auth.tokens.is_empty() && !self.listen.ip().is_loopback() {
            findings.push(Finding::warning(
                "listen",
                format!("anybody who reaches {} may send; list `auth.tokens`, add `tls` with `client_ca`, or listen on 127.0.0.1", self.listen),
            ));
        } else if self.tls.is_none() && !self.auth.tokens.is_empty() && !self.listen.ip().is_loopback() {
            findings.push(Finding::warning("listen", "tokens cross the network in the clear; add `tls`"));
        }
        findings
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Pushed
    }

    fn rights(&self) -> Vec<String> {
        vec![format!("listen on {}", self.listen)]
    }

    fn provided(&self) -> Vec<String> {
        vec!["clients send an Idempotency-Key and repeat a request at the same node".to_owned()]
    }
}
