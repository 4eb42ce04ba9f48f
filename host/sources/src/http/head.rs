//! What the head of a request says: whether it is for us, how its body is coded and cut, which key it has. Nothing of the body
//! is read here.

use super::body::Form;
use super::config::{HttpDecode, HttpLimits, HttpSource as HttpOptions};
use super::reply::Refusal;
use super::unpack::Coding;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

/// Header of a key under which a request may be sent again.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest key, in bytes; what the queue takes.
pub const KEY_BYTES_MAX: usize = 255;

/// What is known before the body is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// How the body is cut into records.
    pub form: Form,
    /// How it is compressed.
    pub coding: Coding,
    /// The idempotency key.
    pub key: Option<String>,
    /// Most bytes that the body may have as sent.
    pub sent_bytes_max: usize,
}

impl Head {
    /// Judges method, path and sizes; whom it comes from is judged before.
    pub fn read(parts: &Parts, options: &HttpOptions) -> Result<Self, Refusal> {
        let form = form(&parts.headers, options.decode)?;
        let coding = coding(&parts.headers)?;
        let key = key(&parts.headers)?;
        Ok(Self { form, coding, key, sent_bytes_max: sent_bytes_max(&parts.headers, &options.limits)? })
    }

    /// Most bytes that a body of `sent` bytes may have when it is decompressed.
    pub fn text_bytes_max(&self, sent: usize, limits: &HttpLimits) -> usize {
        match self.coding {
            Coding::Identity => sent,
            Coding::Gzip | Coding::Zstd => {
                sent.saturating_mul(limits.ratio as usize).min(limits.decompressed.as_usize())
            }
        }
    }
}

/// Whether a request of this method for this path, with headers of this size, is for us at all.
pub fn is_ours(parts: &Parts, options: &HttpOptions) -> Result<(), Refusal> {
    let header_bytes = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let bytes = header_bytes + parts.uri.path().len();
    if bytes > options.limits.header_bytes.as_usize() || parts.headers.len() > options.limits.headers as usize {
        let limits = format!("{} and {} headers", options.limits.header_bytes, options.limits.headers);
        return Err(Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("at most {limits} are taken; send fewer"),
        ));
    }
    if parts.uri.path() != options.path {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("records are taken at {}", options.path)));
    }
    if parts.method != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "records are sent by POST"));
    }
    Ok(())
}

fn form(headers: &HeaderMap, decode: HttpDecode) -> Result<Form, Refusal> {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match (decode, &kind[..]) {
        (HttpDecode::Ndjson, _) => Ok(Form::Ndjson),
        (HttpDecode::Json, _) => Ok(Form::Json),
        (HttpDecode::Lines, _) => Ok(Form::Lines),
        (HttpDecode::Auto, b"application/x-ndjson" | b"application/ndjson" | b"application/jsonl") => Ok(Form::Ndjson),
        (HttpDecode::Auto, b"application/json") => Ok(Form::Json),
        (HttpDecode::Auto, b"text/plain") => Ok(Form::Lines),
        (HttpDecode::Auto, _) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type says nothing; send application/x-ndjson, application/json or text/plain, or set `decode`",
        )),
    }
}

fn coding(headers: &HeaderMap) -> Result<Coding, Refusal> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let name = codings.next().map_or(&b"identity"[..], HeaderValue::as_bytes).trim_ascii().to_ascii_lowercase();
    match (&name[..], codings.next()) {
        (b"identity" | b"", None) => Ok(Coding::Identity),
        (b"gzip" | b"x-gzip", None) => Ok(Coding::Gzip),
        (b"zstd", None) => Ok(Coding::Zstd),
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content encoding is not known; send gzip, zstd or none",
        )),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = keys.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|text| (1..=KEY_BYTES_MAX).contains(&text.len()));
    match (text, keys.next()) {
        (Some(text), None) => Ok(Some(text.to_owned())),
        _ => {
            let expected = format!("send one Idempotency-Key of 1 to {KEY_BYTES_MAX} visible ASCII characters");
            Err(Refusal::new(StatusCode::BAD_REQUEST, expected))
        }
    }
}

fn sent_bytes_max(headers: &HeaderMap, limits: &HttpLimits) -> Result<usize, Refusal> {
    let limit = limits.body.as_usize();
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    match announced {
        Some(announced) if announced > limit => Err(too_large(limits)),
        Some(announced) => Ok(announced),
        None => Ok(limit),
    }
}

/// The body is longer than it may be.
pub fn too_large(limits: &HttpLimits) -> Refusal {
    let error = format!("a body may have {} as sent; send smaller requests", limits.body);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
}
