//! How a cluster is reached, as librdkafka settings. It opens nothing.

use crate::ClientError;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use sawlog_settings::connection::{Sasl, TlsClient};

/// How a cluster is reached.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Connection {
    /// Brokers to begin with, each `HOST:PORT`.
    pub brokers: Vec<String>,
    /// Name under which the brokers see this client in their logs and quotas.
    pub client_id: String,
    /// Credentials.
    pub sasl: Option<Sasl>,
    /// TLS to the brokers.
    pub tls: Option<TlsClient>,
}

/// Compression of a producer's batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// LZ4.
    Lz4,
    /// Zstandard.
    #[default]
    Zstd,
}

impl Compression {
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl Connection {
    /// Settings that every client of this cluster has.
    pub(crate) fn settings(&self) -> Result<ClientConfig, ClientError> {
        let mut settings = ClientConfig::new();
        settings.set_log_level(RDKafkaLogLevel::Warning);
        settings
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", &self.client_id)
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "5000");
        let security = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        settings.set("security.protocol", security);
        if let Some(sasl) = &self.sasl {
            settings.set("sasl.mechanism", sasl.mechanism.name());
            settings.set("sasl.username", &sasl.username).set("sasl.password", sasl.password.expose());
        }
        let tls = self.tls.clone().unwrap_or_default();
        let files =
            [("ssl.ca.location", tls.ca), ("ssl.certificate.location", tls.cert), ("ssl.key.location", tls.key)];
        for (name, path) in files {
            if let Some(path) = path {
                settings.set(name, path.to_string_lossy());
            }
        }
        Ok(settings)
    }
}
