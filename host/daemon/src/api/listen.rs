//! Connections of the agent's own interface: TCP with or without TLS, and the socket in the data directory. Few, short-lived and
//! bounded in time. What is asked is the router's.

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::{ApiError, Certificate};

/// Name of the socket in the data directory.
pub const SOCKET_FILE: &str = "sawlog.sock";

/// Connections that one address serves at once; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a client has for TLS and for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long to wait when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest path that a socket's address holds, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Listens on `address`; `option` is what names it in the config.
pub async fn tcp(
    option: &'static str,
    address: SocketAddr,
    certificate: Arc<Certificate>,
    router: Router,
) -> Result<(), ApiError> {
    let failed = |reason| ApiError::Listen { option, address, reason };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, option, "listening");
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    drop(tokio::spawn(async move {
        loop {
            let Ok(seat) = seats.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            let (router, tls) = (router.clone(), certificate.present());
            drop(tokio::spawn(async move {
                match tls {
                    None => speak(stream, router).await,
                    Some(tls) => match tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await {
                        Ok(Ok(stream)) => speak(stream, router).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a client did not get through TLS"),
                        Err(_) => tracing::debug!("a client was too slow for TLS"),
                    },
                }
                drop(seat);
            }));
        }
    }));
    Ok(())
}

/// Listens on the socket in `data_dir`, which this process holds the lock of: a socket that is there already is left over from
/// an earlier life.
pub fn socket(data_dir: &Path, router: Router) -> Result<PathBuf, ApiError> {
    let path = data_dir.join(SOCKET_FILE);
    let failed = |reason| ApiError::Socket { path: path.clone(), reason };
    let listener = bind(data_dir, &path).map_err(failed)?;
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    drop(tokio::spawn(async move {
        loop {
            let Ok(seat) = seats.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let router = router.clone();
                    drop(tokio::spawn(async move {
                        speak(stream, router).await;
                        drop(seat);
                    }));
                }
                Err(error) => pause(&error).await,
            }
        }
    }));
    Ok(path)
}

fn bind(data_dir: &Path, path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folder = std::fs::File::open(data_dir)?;
    let listener = UnixListener::bind(short(path, &folder))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The path, or, where it is longer than an address holds, the same by way of its open folder.
pub fn short(path: &Path, folder: &std::fs::File) -> PathBuf {
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return path.to_owned();
    }
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_raw_fd()))
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "no connection could be accepted; check the limit on open files");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection broke off");
    }
}
