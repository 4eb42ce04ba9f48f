//! What clients of TLS are shown. A reload puts another in its place: connections that come from then on see it.

use std::sync::{PoisonError, RwLock};

use sawlog_sources::http::TlsError;
use tokio_rustls::TlsAcceptor;

use crate::config::sections::Api as Options;

/// The present certificate with its key and the authorities of clients; nothing where the address speaks without TLS.
#[derive(Default)]
pub struct Certificate(RwLock<Option<TlsAcceptor>>);

impl Certificate {
    /// Reads the files that `options` name.
    pub fn read(options: &Options) -> Result<Option<TlsAcceptor>, TlsError> {
        options.tls.as_ref().map(sawlog_sources::http::acceptor).transpose()
    }

    /// That of an agent that starts.
    pub fn new(acceptor: Option<TlsAcceptor>) -> Self {
        Self(RwLock::new(acceptor))
    }

    /// What connections that come now are accepted with.
    pub fn present(&self) -> Option<TlsAcceptor> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows this one from now on.
    pub fn renew(&self, acceptor: TlsAcceptor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
    }
}
