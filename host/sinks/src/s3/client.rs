//! The connection to a bucket: endpoint, credentials, TLS, proxy, time limits. Sends nothing by itself.

use opendal::services::S3;
use opendal::{HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::{Certificate, Identity, Proxy};
use sawlog_settings::Secret;
use sawlog_settings::connection::TlsClient;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection may take to come up.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer may be silent, counted from the start of the request: a part of 8 MiB must get through. A store that hangs
/// must fail, so that the sink says so.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Credentials that are given in the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct StaticCredentials {
    /// Access key id.
    pub access_key_id: Secret,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Session token.
    pub session_token: Option<Secret>,
}

/// Where a bucket is and how to get there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct S3Options {
    /// Bucket.
    pub bucket: String,
    /// Prefix below which everything lies, without `/` at its ends.
    pub root: String,
    /// Address of a clone; AWS where none is given.
    pub endpoint: Option<String>,
    /// Region.
    pub region: String,
    /// The bucket stands in the path of a request.
    pub path_style: bool,
    /// Without them the usual chain is asked: environment, profile, web identity, instance role.
    pub credentials: Option<StaticCredentials>,
    /// TLS.
    pub tls: Option<TlsClient>,
    /// Proxy of every request.
    pub proxy: Option<String>,
    /// Whether the store refuses a second put to one key; where not, HEAD comes before PUT and nothing fences a twin.
    pub conditional_put: bool,
}

/// Why no client can be made of the options.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A PEM file can't be read.
    #[error("can't read {path}: {error}; it is named in `tls`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A PEM file or a proxy address is wrong.
    #[error("can't use {what}: {error}")]
    Http {
        /// Which option.
        what: String,
        /// Why.
        error: reqwest::Error,
    },
    /// The bucket options are wrong.
    #[error("can't address the bucket: {0}")]
    Bucket(#[from] opendal::Error),
}

/// A client for the bucket. Reads the PEM files; opens no connection.
pub(super) fn operator(options: &S3Options) -> Result<Operator, ClientError> {
    let mut service = S3::default().bucket(&options.bucket).root(&options.root).region(&options.region);
    if let Some(endpoint) = &options.endpoint {
        service = service.endpoint(endpoint);
    }
    if !options.path_style {
        service = service.enable_virtual_host_style();
    }
    match &options.credentials {
        Some(given) => {
            service = service
                .access_key_id(given.access_key_id.expose())
                .secret_access_key(given.secret_access_key.expose())
                .disable_config_load()
                .disable_ec2_metadata();
            if let Some(token) = &given.session_token {
                service = service.session_token(token.expose());
            }
        }
        None => {
            let chain = super::credentials::usual(authorities(options)?, proxy(options)?);
            service = service.credential_provider_chain(chain.map_err(wrong_tls)?);
        }
    }
    let transport = HttpTransporter::new(ReqwestTransport::new(http_client(options)?));
    Ok(Operator::new(service)?.with_context(OperationContext::new().with_http_transport(transport)))
}

fn http_client(options: &S3Options) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIME_MAX).read_timeout(SILENCE_MAX);
    let tls = options.tls.clone().unwrap_or_default();
    if tls.ca.is_some() {
        builder = builder.tls_certs_only(authorities(options)?);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
        builder = builder.identity(Identity::from_pem(&pem).map_err(|e| wrong(cert, e))?);
    }
    if let Some(proxy) = proxy(options)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(wrong_tls)
}

/// Those that `tls.ca` names.
fn authorities(options: &S3Options) -> Result<Vec<Certificate>, ClientError> {
    let Some(path) = options.tls.as_ref().and_then(|tls| tls.ca.as_ref()) else { return Ok(Vec::new()) };
    Certificate::from_pem_bundle(&read(path)?).map_err(|e| wrong(path, e))
}

fn proxy(options: &S3Options) -> Result<Option<Proxy>, ClientError> {
    let Some(url) = &options.proxy else { return Ok(None) };
    Proxy::all(url).map(Some).map_err(|error| ClientError::Http { what: format!("proxy {url}"), error })
}

fn wrong_tls(error: reqwest::Error) -> ClientError {
    ClientError::Http { what: "the TLS options".into(), error }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::File { path: path.to_owned(), error })
}

fn wrong(path: &Path, error: reqwest::Error) -> ClientError {
    ClientError::Http { what: path.display().to_string(), error }
}
