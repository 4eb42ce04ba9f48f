//! A component into a registry and back. What comes back is held against the digest that names it, the manifest first, then what
//! the manifest names.

use bytes::Bytes;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode, Url};

use super::artifact::{self, MANIFEST_TYPE};
use super::client::{Ask, Registry};
use super::{RegistryError, reference::Reference};
use crate::digest::ContentDigest;

/// Largest manifest and largest component that are read, bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
const COMPONENT_BYTES_MAX: u64 = 512 << 20;
/// The header in which registries say a manifest's digest.
const DIGEST_HEADER: &str = "docker-content-digest";

/// What was pulled.
#[derive(Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The digest that pins it.
    pub pin: ContentDigest,
    /// The component.
    pub component: Vec<u8>,
}

/// Puts a component there; the digest that pins it. What is there already is not sent.
pub async fn push(
    registry: &mut Registry,
    component: Vec<u8>,
    interface: &sawlog_componentize::Interface,
) -> Result<ContentDigest, RegistryError> {
    let Reference { name, tag, digest, .. } = registry.reference.clone();
    let title = name.rsplit('/').next().unwrap_or(&name);
    let texts = artifact::texts(&component, interface, title)?;
    let pin = ContentDigest::of(&texts.manifest);
    if let Some(expected) = digest.filter(|digest| *digest != pin) {
        let (url, what) = (registry.reference.to_string(), "what would be pushed");
        return Err(RegistryError::OtherDigest { what, url, expected: expected.to_string(), found: pin.to_string() });
    }
    upload(registry, "the component", component.into()).await?;
    upload(registry, "the configuration", texts.config.into()).await?;
    let url = registry.url(&format!("manifests/{}", tag.as_deref().unwrap_or(pin.as_str())))?;
    let ask = Ask::new("the manifest", Method::PUT, url).sending(MANIFEST_TYPE, texts.manifest.into());
    let answer = registry.ask(&ask, &[]).await?;
    let named = answer.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok());
    match named.filter(|named| *named != pin.as_str()) {
        Some(other) => Err(other_digest(&ask, &pin, other)),
        None => Ok(pin),
    }
}

async fn upload(registry: &mut Registry, what: &'static str, blob: Bytes) -> Result<(), RegistryError> {
    let digest = ContentDigest::of(&blob);
    let there = Ask::new(what, Method::HEAD, registry.url(&format!("blobs/{digest}"))?);
    // Who sends on to a store of blobs has it, too.
    let sent_on =
        [StatusCode::FOUND, StatusCode::SEE_OTHER, StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT];
    let known = [[StatusCode::NOT_FOUND].as_slice(), &sent_on].concat();
    if registry.ask(&there, &known).await?.status() != StatusCode::NOT_FOUND {
        return Ok(());
    }
    let start = Ask { body: Some(Bytes::new()), ..Ask::new(what, Method::POST, registry.url("blobs/uploads/")?) };
    let answer = registry.ask(&start, &[]).await?;
    let mut url = registry.follow(what, &start.url, &answer)?;
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    let put = Ask::new(what, Method::PUT, url).sending("application/octet-stream", blob);
    registry.ask(&put, &[]).await.map(drop)
}

/// Gets the component that the reference names.
pub async fn pull(registry: &mut Registry) -> Result<Pulled, RegistryError> {
    let reference = registry.reference.clone();
    let within = reference.within().ok_or_else(|| RegistryError::Nothing(reference.clone()))?;
    let mut ask = Ask::new("the manifest", Method::GET, registry.url(&format!("manifests/{within}"))?);
    ask.header = Some((ACCEPT, MANIFEST_TYPE));
    let url = ask.url.clone();
    let manifest = registry.get(ask, MANIFEST_BYTES_MAX).await?;
    let pin = held(&url, "the manifest", &manifest, reference.digest.as_ref())?;
    let component = artifact::component_of(&manifest);
    let (digest, size) = component.map_err(|why| RegistryError::NoComponent { reference: reference.clone(), why })?;
    if size > COMPONENT_BYTES_MAX {
        let why = format!("it has {size} bytes, more than the {COMPONENT_BYTES_MAX} that are taken");
        return Err(RegistryError::NoComponent { reference, why });
    }
    let ask = Ask::new("the component", Method::GET, registry.url(&format!("blobs/{digest}"))?);
    let url = ask.url.clone();
    let component = registry.get(ask, size).await?;
    held(&url, "the component", &component, Some(&digest))?;
    Ok(Pulled { pin, component })
}

/// The digest of `bytes`, which is the expected one where one is expected.
fn held(
    url: &Url,
    what: &'static str,
    bytes: &[u8],
    expected: Option<&ContentDigest>,
) -> Result<ContentDigest, RegistryError> {
    let found = ContentDigest::of(bytes);
    match expected.filter(|expected| **expected != found) {
        Some(expected) => Err(other_digest(&Ask::new(what, Method::GET, url.clone()), expected, found.as_str())),
        None => Ok(found),
    }
}

fn other_digest(ask: &Ask<'_>, expected: &ContentDigest, found: &str) -> RegistryError {
    let url = ask.url.origin().ascii_serialization() + ask.url.path();
    RegistryError::OtherDigest { what: ask.what, url, expected: expected.to_string(), found: found.to_owned() }
}
