//! What clients are answered: how many records were taken, or why none were, as JSON. It decides nothing.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::json;

/// Clients that are told to come back do so after 1 to this many seconds, each at a time of its own.
const RETRY_AFTER_MAX_S: u32 = 10;

/// An answer.
pub type Reply = Response<Full<Bytes>>;

/// Why a request is refused. Nothing of it was taken, but where a 503 says that this is not known, or a 504 that it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// What was expected and how to mend it.
    pub error: String,
    /// The record that is malformed, counted from 0.
    pub index: Option<usize>,
}

impl Refusal {
    /// A refusal of the whole request.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), index: None }
    }

    /// The answer, with which the connection ends if `close` is set: what is left of the body can't be told from a next request.
    pub fn reply(self, close: bool) -> Reply {
        let mut body = json!({ "error": self.error });
        if let Some(index) = self.index {
            body["index"] = json!(index);
        }
        let mut reply = reply(self.status, &body);
        let mut header = |name: HeaderName, value: HeaderValue| _ = reply.headers_mut().insert(name, value);
        match self.status {
            StatusCode::UNAUTHORIZED => header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            StatusCode::METHOD_NOT_ALLOWED => header(ALLOW, HeaderValue::from_static("POST")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => header(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd")),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::GATEWAY_TIMEOUT => {
                header(RETRY_AFTER, HeaderValue::from(retry_after_s()));
            }
            _ => {}
        }
        if close {
            header(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// All records of a request are durable.
pub fn taken(records: usize) -> Reply {
    reply(StatusCode::OK, &json!({ "accepted": records }))
}

/// The bytes of an answer to a connection that is closed before it is served.
pub fn turned_away(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = json!({ "error": "too many connections; come back later, or raise `limits.connections`" }).to_string();
    format!(
        "HTTP/1.1 {} {reason}\r\nretry-after: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        retry_after_s(),
        body.len()
    )
}

fn retry_after_s() -> u32 {
    fastrand::u32(1..=RETRY_AFTER_MAX_S)
}

fn reply(status: StatusCode, body: &serde_json::Value) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
