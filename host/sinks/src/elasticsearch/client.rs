//! The HTTP side: endpoints with failover, credentials, TLS, compression. It hands back status and bytes and judges nothing but
//! whether an answer came.

use super::Activity;
use super::OpenError;
use crate::elasticsearch::config::{ElasticsearchAuth, ElasticsearchSink};
use base64::Engine as _;
use bytes::Bytes;
use elasticsearch::auth::{ClientCertificate, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use sawlog_core::ports::SinkError;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Fields of a bulk answer that say what became of a document.
const BULK_QUERY: [(&str, &str); 1] = [("filter_path", "items.*._index,items.*._id,items.*.status,items.*.error")];

/// Status and body of an answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Everything after the headers.
    pub body: Bytes,
}

struct Endpoint {
    address: String,
    transport: Transport,
}

/// Endpoints of one cluster.
pub struct Client {
    endpoints: Vec<Endpoint>,
    /// The endpoint that answered last.
    current: AtomicUsize,
    json: HeaderMap,
    lines: HeaderMap,
    activity: Arc<Activity>,
}

impl Client {
    pub fn open(options: &ElasticsearchSink, activity: Arc<Activity>) -> Result<Self, OpenError> {
        let endpoints = options.endpoints.iter().map(|address| {
            let transport = transport(options, address)?;
            Ok(Endpoint { address: address.clone(), transport })
        });
        let mut json = HeaderMap::new();
        for (name, value) in &options.headers {
            let option = format!("headers.{name}");
            let name = HeaderName::try_from(name).map_err(|error| wrong(&option, error))?;
            json.insert(name, HeaderValue::try_from(value).map_err(|error| wrong(&option, error))?);
        }
        if let Some(auth) = &options.auth {
            json.insert(AUTHORIZATION, authorization(auth)?);
        }
        // Without a version in the media type Elasticsearch 8 and 9 and OpenSearch all take it.
        json.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut lines = json.clone();
        json.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        lines.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        let endpoints = endpoints.collect::<Result<_, OpenError>>()?;
        Ok(Self { endpoints, current: AtomicUsize::new(0), json, lines, activity })
    }

    /// Sends documents.
    pub async fn bulk(&self, body: Bytes) -> Result<Answer, SinkError> {
        self.send(Method::Post, "_bulk", &self.lines, &BULK_QUERY, Some(body)).await
    }

    /// Asks for something.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, SinkError> {
        self.send(Method::Get, path, &self.json, query, None).await
    }

    /// Puts something.
    pub async fn put(&self, path: &str, query: &[(&str, &str)], body: Bytes) -> Result<Answer, SinkError> {
        self.send(Method::Put, path, &self.json, query, Some(body)).await
    }

    /// Tries each endpoint once, beginning with the one that answered last. A repeat is harmless: ids are deterministic, and where
    /// they are not a repeat was agreed to.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        query: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<Answer, SinkError> {
        let first = self.current.load(Ordering::Relaxed);
        let (mut unsent, mut trouble) = (true, Vec::new());
        let mut unwell = None;
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            if turn > 0 {
                self.activity.failovers.fetch_add(1, Ordering::Relaxed);
            }
            let sent = endpoint.transport.send(method, path, headers.clone(), Some(query), body.clone(), None).await;
            let answer = match sent {
                Ok(response) => {
                    let status = response.status_code().as_u16();
                    response.bytes().await.map(|body| Answer { status, body })
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) if !matches!(answer.status, 502..=504) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(answer) => unwell = Some(answer),
                Err(error) => {
                    unsent &= never_connected(&error);
                    trouble.push(format!("{}: {}", endpoint.address, words(&error)));
                }
            }
        }
        match unwell {
            Some(answer) => Ok(answer),
            None if unsent => Err(SinkError::Unavailable(trouble.join("; "))),
            None => Err(SinkError::Unknown(trouble.join("; "))),
        }
    }
}

/// No byte of the request was sent. I/O errors are wrapped in one another, also where their `source` does not say so.
fn never_connected(error: &elasticsearch::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, InvalidData, NetworkUnreachable};
    let mut cause = error.source();
    while let Some(error) = cause {
        cause = error.source();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | InvalidData) {
                return true;
            }
            cause = error.get_ref().map(|inner| inner as &dyn std::error::Error).or(cause);
        }
    }
    false
}

/// The innermost causes say what happened; the outer ones only repeat the address.
fn words(error: &elasticsearch::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

fn wrong(option: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Option { option: option.to_owned(), reason: error.to_string() }
}

fn authorization(auth: &ElasticsearchAuth) -> Result<HeaderValue, OpenError> {
    let written = match (&auth.api_key, &auth.username, &auth.password) {
        (Some(key), ..) => format!("ApiKey {}", key.expose()),
        (None, Some(user), Some(password)) => {
            let pair = format!("{user}:{}", password.expose());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        _ => return Err(wrong("auth", "give `api_key`, or `username` and `password`")),
    };
    let mut value =
        HeaderValue::try_from(written).map_err(|_| wrong("auth", "a key of printable characters is needed"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn transport(options: &ElasticsearchSink, address: &str) -> Result<Transport, OpenError> {
    // A path without its last slash would lose its last part when paths are joined.
    let url = Url::parse(&format!("{}/", address.trim_end_matches('/'))).map_err(|error| wrong(address, error))?;
    let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
        .enable_meta_header(false)
        .request_body_compression(options.gzip)
        .timeout(Duration::from_millis(options.request_timeout.as_millis()));
    if let Some(proxy) = &options.proxy {
        let url = Url::parse(proxy).map_err(|error| wrong("proxy", error))?;
        builder = builder.proxy(url, None, None);
    }
    let tls = options.tls.clone().unwrap_or_default();
    let read = |option: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| wrong(option, format!("cannot read {}: {error}", path.display())))
    };
    if let Some(path) = &tls.ca {
        let authorities = Certificate::from_pem(&read("tls.ca", path)?).map_err(|error| wrong("tls.ca", error))?;
        builder = builder.cert_validation(CertificateValidation::Full(authorities));
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let mut both = read("tls.key", key)?;
        both.push(b'\n');
        both.extend(read("tls.cert", cert)?);
        builder = builder.auth(Credentials::Certificate(ClientCertificate::Pem(both)));
    }
    builder.build().map_err(|error| wrong(address, error))
}
