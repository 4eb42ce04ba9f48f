//! TLS and mTLS of the listening socket, by rustls with aws-lc-rs. It knows no HTTP but the two names of its versions.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sawlog_settings::connection::TlsServer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why TLS can't be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file can't be used.
    #[error("`tls.{option}`: {path} can't be used: {reason}; it must be a readable PEM file")]
    File {
        /// Which option names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key don't go together, or no authority is listed.
    #[error("`tls`: {0}; check that `cert`, `key` and `client_ca` belong together")]
    Config(String),
}

/// What accepts TLS connections as `options` say.
pub fn acceptor(options: &TlsServer) -> Result<TlsAcceptor, TlsError> {
    let config_error = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| config_error(&e))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", path)? {
                roots.add(certificate).map_err(|e| config_error(&e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|e| config_error(&e))?)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&options.key).map_err(|e| file_error("key", &options.key, &e))?;
    let mut config =
        builder.with_single_cert(certificates("cert", &options.cert)?, key).map_err(|e| config_error(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(found) if found.is_empty() => Err(file_error(option, path, &"it holds no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(file_error(option, path, &error)),
    }
}

fn file_error(option: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { option, path: path.to_owned(), reason: reason.to_string() }
}
