//! Options of connections, shared by every component that opens or accepts one: TLS, proxies, credentials of Kafka.
//! It opens nothing.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Finding, Secret};

/// TLS of an outgoing connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsClient {
    /// PEM file of the authorities to trust, in place of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of the client certificate.
    pub cert: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    pub key: Option<PathBuf>,
}

impl TlsClient {
    /// A certificate and its key go together.
    pub fn check(&self, path: &str) -> Vec<Finding> {
        match (&self.cert, &self.key) {
            (Some(_), None) => vec![Finding::error(
                format!("{path}.cert"),
                "a client certificate needs its key; add `key: /path/to/key.pem`",
            )],
            (None, Some(_)) => vec![Finding::error(
                format!("{path}.key"),
                "a key needs its certificate; add `cert: /path/to/cert.pem`",
            )],
            _ => Vec::new(),
        }
    }
}

/// TLS of a listening socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsServer {
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
    /// PEM file of the certificate's key.
    pub key: PathBuf,
    /// PEM file of the authorities whose client certificates are let in; clients need none where this is not given.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// How a Kafka client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// User name and password as they are; only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge, SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge, SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The mechanism's registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Credentials of a Kafka client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Password, by reference.
    pub password: Secret,
}

/// What is wrong with a list of `host:port` addresses.
pub fn check_addresses(path: &str, addresses: &[String]) -> Vec<Finding> {
    if addresses.is_empty() {
        return vec![Finding::error(path, format!("`{path}` is empty; list at least one HOST:PORT"))];
    }
    let wrong = addresses.iter().enumerate().filter(|(_, address)| !is_host_and_port(address));
    wrong
        .map(|(i, address)| {
            Finding::error(format!("{path}.{i}"), format!("`{address}` is not an address; write HOST:PORT"))
        })
        .collect()
}

fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// `HOST` or `HOST:PORT`; an address of IPv6 stands in brackets.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
        Some(_) => return false,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    // What ends in a number is an address of IPv4.
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    let is_host = match is_number {
        true => host.parse::<std::net::Ipv4Addr>().is_ok(),
        false => host.split('.').all(|part| !part.is_empty() && part.chars().all(is_host_letter)),
    };
    is_host && is_port
}

fn is_host_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')
}

/// What is wrong with an `http` or `https` address.
pub fn check_url(path: &str, url: &str) -> Option<Finding> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match rest {
        Some(rest) if is_authority(rest.split('/').next().unwrap_or_default()) => None,
        Some(rest) if rest.contains('@') => {
            Some(Finding::error(path, "an address must not hold credentials; move them to `auth`"))
        }
        _ => Some(Finding::error(
            path,
            format!("`{url}` is not an address; write http://HOST:PORT or https://HOST:PORT"),
        )),
    }
}
