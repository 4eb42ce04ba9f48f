//! Requests to one repository: who asks, over what, and what becomes of refusals. It knows no manifest and no component.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret as _;

use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials};
use super::{Reference, RegistryError, addresses};

/// How long a connection may take to come about, and how long an answer may be silent.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often what was asked for may lie elsewhere.
const REDIRECTS_MAX: usize = 4;
/// Largest answer of the server that gives tokens, and longest refusal that is repeated, bytes.
const TOKEN_BYTES_MAX: usize = 1 << 20;
const SAID_BYTES_MAX: usize = 300;

/// How a registry is reached.
#[derive(Debug, Clone, Default, Args)]
pub struct Access {
    /// PEM file of the authorities to trust, in place of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate to show, where the registry asks for one.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "insecure")]
    pub cert: Option<PathBuf>,
    /// PEM file of the key that belongs to it.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Speak plain HTTP with a registry on another machine: whoever is on the way reads passwords and components. One on this
    /// machine is spoken to so unless `--ca` or `--cert` is given.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
}

/// A request.
pub struct Ask<'a> {
    /// What for, in messages.
    pub what: &'static str,
    /// How.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// A header besides.
    pub header: Option<(HeaderName, &'a str)>,
    /// What is sent.
    pub body: Option<Bytes>,
}

impl<'a> Ask<'a> {
    /// A request without header and body.
    pub fn new(what: &'static str, method: Method, url: Url) -> Self {
        Self { what, method, url, header: None, body: None }
    }

    /// With a body of a media type.
    pub fn sending(self, media_type: &'a str, body: Bytes) -> Self {
        Self { header: Some((CONTENT_TYPE, media_type)), body: Some(body), ..self }
    }
}

/// A registry, as the one repository of it that is asked.
pub struct Registry {
    /// What is asked for.
    pub reference: Reference,
    http: reqwest::Client,
    base: Url,
    credentials: Option<Credentials>,
    authorization: Option<HeaderValue>,
}

impl Registry {
    /// Nothing is asked yet.
    pub fn new(reference: Reference, access: &Access) -> Result<Self, RegistryError> {
        let credentials = credentials::find(&reference.host)?;
        Self::entered_as(credentials, reference, access)
    }

    /// As `credentials` says.
    pub fn entered_as(
        credentials: Option<Credentials>,
        reference: Reference,
        access: &Access,
    ) -> Result<Self, RegistryError> {
        let is_plain = access.insecure || (reference.is_local() && access.ca.is_none() && access.cert.is_none());
        let scheme = if is_plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/", reference.host, reference.name);
        let base: Url = text.parse().map_err(|_| RegistryError::Nothing(reference.clone()))?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(addresses::Guard)
            .user_agent(concat!("sawlog/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &access.ca {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        if let (Some(cert), Some(key)) = (&access.cert, &access.key) {
            builder = builder.identity(identity(cert, key)?);
        }
        let http = builder.build().map_err(RegistryError::Client)?;
        Ok(Self { reference, http, base, credentials, authorization: None })
    }

    /// An address within the repository.
    pub fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|_| RegistryError::Nothing(self.reference.clone()))
    }

    /// An address that an answer named; `near` is where it was asked.
    pub fn follow(&self, what: &'static str, near: &Url, answer: &Response) -> Result<Url, RegistryError> {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let found = location.and_then(|location| near.join(location).ok());
        found.ok_or_else(|| self.odd(what, near, "it names no address to go on at".to_owned()))
    }

    /// An answer that can't be followed.
    pub fn odd(&self, what: &'static str, url: &Url, why: String) -> RegistryError {
        RegistryError::Protocol { what, url: shown(url), why }
    }

    /// Asks, and once more with what the registry demands where it demands something. Statuses of success and of `also` are answers.
    pub async fn ask(&mut self, ask: &Ask<'_>, also: &[StatusCode]) -> Result<Response, RegistryError> {
        let mut answer = self.once(ask).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.is_own(&ask.url) {
            self.authorize(ask, &answer).await?;
            answer = self.once(ask).await?;
        }
        let status = answer.status();
        if status.is_success() || also.contains(&status) {
            return Ok(answer);
        }
        let (what, url) = (ask.what, shown(&ask.url));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Refused { what, url, who: self.who() },
            StatusCode::NOT_FOUND => RegistryError::Absent { what, url },
            _ => RegistryError::Status { what, url, status, said: said(answer).await },
        })
    }

    /// What lies at an address or where that leads, at most `bytes_max` of it. Nobody is told elsewhere who asks.
    pub async fn get(&mut self, mut ask: Ask<'_>, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
        for _ in 0..=REDIRECTS_MAX {
            let moved = [301, 302, 303, 307, 308].map(|code| StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND));
            let answer = self.ask(&ask, &moved).await?;
            if !moved.contains(&answer.status()) {
                return self.body(&ask, answer, bytes_max).await;
            }
            ask.url = self.follow(ask.what, &ask.url, &answer)?;
        }
        Err(self.odd(ask.what, &ask.url, format!("it leads elsewhere more than {REDIRECTS_MAX} times")))
    }

    async fn body(&self, ask: &Ask<'_>, answer: Response, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
        let whole = read(answer, bytes_max).await.map_err(|error| self.silent(ask, &error))?;
        whole.ok_or_else(|| self.odd(ask.what, &ask.url, format!("it sends more than {bytes_max} bytes")))
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        self.allow(&ask.url)?;
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        if let Some((name, value)) = &ask.header {
            request = request.header(name, *value);
        }
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        if let Some(value) = self.authorization.as_ref().filter(|_| self.is_own(&ask.url)) {
            request = request.header(AUTHORIZATION, value.clone());
        }
        request.send().await.map_err(|error| self.silent(ask, &error))
    }

    /// Only what the registry was asked over is spoken, and no address of the link is asked.
    fn allow(&self, url: &Url) -> Result<(), RegistryError> {
        let refuse = |why| Err(RegistryError::Unsafe { url: shown(url), why });
        if addresses::names_refused(url) {
            return refuse("it is an address of the link, where no registry is; name the registry by another address");
        }
        match (url.scheme(), self.base.scheme()) {
            ("https", _) | ("http", "http") => Ok(()),
            ("http", _) => refuse("it is not encrypted; have the registry lead to https, or give --insecure"),
            _ => refuse("it is neither http nor https; use another registry"),
        }
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn who(&self) -> String {
        self.credentials.as_ref().map_or_else(|| "whoever gives no name".to_owned(), |c| format!("`{}`", c.user))
    }

    /// Gets what the registry demands.
    async fn authorize(&mut self, ask: &Ask<'_>, answer: &Response) -> Result<(), RegistryError> {
        let refused = || RegistryError::Refused { what: ask.what, url: shown(&ask.url), who: self.who() };
        let mut value = match challenge::of(answer.headers()).ok_or_else(refused)? {
            Challenge::Basic => {
                let credentials = self.credentials.as_ref().ok_or_else(refused)?;
                let request = entered(self.http.get(ask.url.clone()), credentials);
                let built = request.build().map_err(RegistryError::Client)?;
                built.headers().get(AUTHORIZATION).cloned().ok_or_else(refused)?
            }
            Challenge::Bearer { realm, service, scope } => {
                let token = self.token(&realm, service.as_deref(), scope.as_deref()).await?;
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                value.map_err(|_| self.odd(ask.what, &ask.url, "the token that it wants is no text".to_owned()))?
            }
        };
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    /// A token from the server that gives them.
    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, RegistryError> {
        const WHAT: &str = "the token";
        let wrong = |why: String| self.odd(WHAT, &self.base, why);
        let mut url: Url = realm.parse().map_err(|_| wrong("the address that gives tokens is none".to_owned()))?;
        for (name, value) in [("service", service), ("scope", scope)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.allow(&url)?;
        let ask = Ask::new(WHAT, Method::GET, url.clone());
        let mut request = self.http.get(url.clone());
        if let Some(credentials) = &self.credentials {
            request = entered(request, credentials);
        }
        let answer = request.send().await.map_err(|error| self.silent(&ask, &error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(RegistryError::Refused { what: WHAT, url: shown(&url), who: self.who() });
            }
            status => {
                return Err(RegistryError::Status { what: WHAT, url: shown(&url), status, said: said(answer).await });
            }
        }
        let body = self.body(&ask, answer, TOKEN_BYTES_MAX as u64).await?;
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = ["token", "access_token"].iter().find_map(|name| read[*name].as_str());
        token.map(str::to_owned).ok_or_else(|| self.odd(WHAT, &url, "the answer holds no token".to_owned()))
    }

    fn silent(&self, ask: &Ask<'_>, error: &reqwest::Error) -> RegistryError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let is_tls = error.is_connect() && self.base.scheme() == "https";
        let hint = if is_tls { "; --ca names the authority where its certificate is not a public one" } else { "" };
        RegistryError::Silent { what: ask.what, url: shown(&ask.url), cause: cause.to_string(), hint }
    }
}

fn entered(request: RequestBuilder, credentials: &Credentials) -> RequestBuilder {
    request.basic_auth(&credentials.user, Some(credentials.password.expose_secret()))
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, RegistryError> {
    let wrong = |why: String| RegistryError::Authorities { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(found) }
}

fn identity(cert: &Path, key: &Path) -> Result<reqwest::Identity, RegistryError> {
    let wrong = |path: &Path, why: String| RegistryError::Certificate { path: path.to_owned(), why };
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
    let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
    reqwest::Identity::from_pem(&pem).map_err(|error| wrong(cert, error.to_string()))
}

/// The whole body; `None` where it is longer.
async fn read(mut answer: Response, bytes_max: u64) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut whole = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if (whole.len() + chunk.len()) as u64 > bytes_max {
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole))
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// The beginning of what a refusal says, on one line.
async fn said(answer: Response) -> String {
    let Ok(Some(body)) = read(answer, TOKEN_BYTES_MAX as u64).await else { return String::new() };
    let text = String::from_utf8_lossy(&body[..body.len().min(SAID_BYTES_MAX)]).into_owned();
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}
