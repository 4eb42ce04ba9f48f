//! Components in an OCI registry: pushed and pulled by the few requests of its protocol that this needs. What never changes is named
//! by a digest, and nothing is believed that has another. It knows no configuration and no running agent.

mod addresses;
mod artifact;
mod challenge;
mod client;
mod credentials;
mod reference;
#[cfg(test)]
mod tests;
mod transfer;

use std::path::PathBuf;

use thiserror::Error;

pub use client::{Access, Registry};
pub use reference::Reference;
pub use transfer::{pull, push};

/// Why a registry did not take or give something. What follows the semicolon says how to mend it.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Nobody answers, or not to the end.
    #[error(
        "{what} at {url}: the registry does not answer: {cause}; see that it runs and can be reached from here{hint}"
    )]
    Silent {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
        /// Why, in the system's words.
        cause: String,
        /// What else may help.
        hint: &'static str,
    },
    /// It answers something else than it should.
    #[error("{what} at {url}: the registry answers {status}{said}; see its log")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
        /// The status.
        status: reqwest::StatusCode,
        /// What it says besides.
        said: String,
    },
    /// It has no such thing.
    #[error("{what} at {url}: the registry has none; see that the name is right, and that it was pushed there")]
    Absent {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
    },
    /// It does not let this user in, or nobody.
    #[error("{what} at {url}: the registry lets {who} not in; give {USER} and {PASSWORD}, or `docker login` there", USER = credentials::USER, PASSWORD = credentials::PASSWORD)]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
        /// Who asked.
        who: String,
    },
    /// Its answer can't be followed.
    #[error("{what} at {url}: {why}; this registry can't be used as it is")]
    Protocol {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// Other bytes than those that were asked for.
    #[error(
        "{what} at {url} is not what was asked for: expected {expected}, got {found}; do not use it, and find out who changed it"
    )]
    OtherDigest {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
        /// The digest that it must have.
        expected: String,
        /// The digest that it has.
        found: String,
    },
    /// A tag, where a digest is needed.
    #[error(
        "`{0}` names no digest, and what a tag names may change; write HOST/NAME@sha256:…, which `push` prints, or give --allow-tag"
    )]
    Tag(Reference),
    /// Neither tag nor digest.
    #[error("`{0}` names neither a digest nor a tag; write HOST/NAME@sha256:…, which `push` prints")]
    Nothing(Reference),
    /// Not a component.
    #[error("`{reference}` is no component: {why}; name one that `sawlog plugin push` or another tool for WASM pushed")]
    NoComponent {
        /// What was asked for.
        reference: Reference,
        /// What it is instead.
        why: String,
    },
    /// Plain HTTP to another machine, or to an address of the link.
    #[error("{url} is not asked: {why}")]
    Unsafe {
        /// The address.
        url: String,
        /// Why, and how to mend it.
        why: &'static str,
    },
    /// A user without a password, or the other way round.
    #[error("{is} is set and {lacks} is not; set both, or none")]
    HalfCredentials {
        /// The variable that is there.
        is: &'static str,
        /// The other one.
        lacks: &'static str,
    },
    /// Stored credentials that can't be read.
    #[error("the credentials in {}: {why}; mend that, or give {USER} and {PASSWORD}", path.display(), USER = credentials::USER, PASSWORD = credentials::PASSWORD)]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The certificate to show, or its key.
    #[error("the certificate to show, {}: {why}; give PEM files of a certificate and its key", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file of authorities.
    #[error("the authorities in {}: {why}; give a PEM file of certificates", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No HTTP client.
    #[error("there is no HTTP client: {0}")]
    Client(reqwest::Error),
    /// A text that can't be written.
    #[error("the manifest can't be written: {0}")]
    Json(#[from] serde_json::Error),
}
