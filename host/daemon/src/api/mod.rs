//! The agent's own HTTP interface: probes, metrics and read-only views on `api.listen`, probes and metrics on
//! `telemetry.metrics`, and everything, with the calls that change something, on the socket in the data directory. It shows what
//! others know; what a call means is in [`crate::control`].

mod access;
mod certificate;
mod listen;
mod openapi;
pub mod probes;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use thiserror::Error;

use crate::config::sections::Api as Options;
use crate::control;
use crate::run::Handle;
use crate::telemetry::Telemetry;

pub use certificate::Certificate;
pub use listen::{SOCKET_FILE, short};
pub use views::source_views;

/// Why there is no interface.
#[derive(Debug, Error)]
pub enum ApiError {
    /// An address can't be listened on.
    #[error("`{option}`: {address} can't be listened on: {reason}; free it, or name another")]
    Listen {
        /// The option of the config that names it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The socket can't be made.
    #[error("the socket {path} can't be made: {reason}; `data_dir` must lie on a file system with sockets")]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Certificate and key.
    #[error("`api`: {0}")]
    Tls(#[from] sawlog_sources::http::TlsError),
}

/// A refusal as every path answers it: `{"error": "…"}`, with what mends it.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<crate::run::handle::Ending> for Refusal {
    fn from(ending: crate::run::handle::Ending) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, ending.to_string())
    }
}

impl Refusal {
    /// Something of ours or of the disk failed.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// Everything that listens.
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// Removes the socket's name, so that nobody takes it for a running agent.
    pub fn close(&self) {
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the socket had gone");
        }
    }
}

/// Starts listening.
pub async fn start(handle: Arc<Handle>, telemetry: Arc<Telemetry>) -> Result<Api, ApiError> {
    let config = handle.config();
    let options = &config.sections.api;
    let everything = views::routes()
        .merge(openapi::routes())
        .merge(metrics(telemetry.clone()))
        .merge(control::routes())
        .fallback(unknown);
    let local = everything.clone().merge(control::local_routes()).merge(probes::routes()).with_state(handle.clone());
    let socket = listen::socket(&config.sections.data_dir, local)?;
    let guard = (handle.clone(), access::is_certified(options));
    let guarded = everything.layer(axum::middleware::from_fn_with_state(guard, access::check));
    let certificate = handle.outward.certificate.clone();
    listen_on(options, certificate, guarded.merge(probes::routes()).with_state(handle.clone())).await?;
    if let Some(address) = config.sections.telemetry.metrics {
        let router = probes::routes().merge(metrics(telemetry)).fallback(unknown).with_state(handle);
        listen::tcp("telemetry.metrics", address, Arc::default(), router).await?;
    }
    Ok(Api { socket })
}

/// The API's own address. The default one may be taken by another agent of this machine, whose operator asked for none.
async fn listen_on(options: &Options, certificate: Arc<Certificate>, router: Router) -> Result<(), ApiError> {
    match listen::tcp("api.listen", options.listen, certificate, router).await {
        Err(error @ ApiError::Listen { .. }) if options.listen == Options::default().listen => {
            tracing::warn!(%error, "the interface is on the socket in `data_dir` only");
            Ok(())
        }
        outcome => outcome,
    }
}

fn metrics(telemetry: Arc<Telemetry>) -> Router<Arc<Handle>> {
    let scrape = move || {
        let telemetry = telemetry.clone();
        async move {
            let text = telemetry.scrape().map_err(Refusal::internal)?;
            Ok::<_, Refusal>(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text))
        }
    };
    Router::new().route("/metrics", get(scrape))
}

async fn unknown() -> Refusal {
    let mut known: Vec<&str> = openapi::CALLS.iter().map(|call| call.path).collect();
    known.dedup();
    Refusal(StatusCode::NOT_FOUND, format!("there is nothing here; there are {}", known.join(", ")))
}
