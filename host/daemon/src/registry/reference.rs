//! Names in a registry: `HOST/NAME:TAG` and `HOST/NAME@sha256:…`. Nobody is asked here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::digest::ContentDigest;

/// The longest name and the longest tag that registries take, bytes.
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// What is named: a repository of a registry, and perhaps what in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry: a host, perhaps with a port.
    pub host: String,
    /// The repository.
    pub name: String,
    /// A name that may be moved at any time.
    pub tag: Option<String>,
    /// What never changes.
    pub digest: Option<ContentDigest>,
}

/// A text that names nothing in a registry.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}; write HOST/NAME:TAG or HOST/NAME@sha256:…, such as registry.example.com/plugins/redact:1.0")]
pub struct ReferenceError(String);

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why: String| Err(ReferenceError(why));
        let rest = text.strip_prefix("oci://").unwrap_or(text);
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, text)) => match ContentDigest::parse(text) {
                Some(digest) => (rest, Some(digest)),
                None => return wrong(format!("`{text}` is no digest, which is `sha256:` and 64 hexadecimal digits")),
            },
        };
        let Some((host, path)) = rest.split_once('/') else { return wrong("it names no registry".to_owned()) };
        let (name, tag) = path.rsplit_once(':').map_or((path, None), |(name, tag)| (name, Some(tag)));
        if !is_host(host) {
            return wrong(format!("`{host}` is no host of a registry, which has a dot or a port or is `localhost`"));
        }
        if !is_name(name) {
            return wrong(format!(
                "`{name}` is no name of a repository, which is small letters, digits, `.`, `_`, `-` and `/`"
            ));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return wrong(format!(
                "`{tag}` is no tag, which is up to {TAG_BYTES_MAX} letters, digits, `.`, `_` and `-`"
            ));
        }
        Ok(Self { host: host.to_owned(), name: name.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl Reference {
    /// The part of it that a request names: what never changes, where that is given.
    pub fn within(&self) -> Option<&str> {
        self.digest.as_ref().map(ContentDigest::as_str).or(self.tag.as_deref())
    }

    /// What never changes under this name.
    pub fn pinned(&self, digest: &ContentDigest) -> String {
        format!("{}/{}@{digest}", self.host, self.name)
    }

    /// Whether the registry is on this machine.
    pub fn is_local(&self) -> bool {
        let host = self.host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(&*self.host, |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, Some(port)),
        _ => (text, None),
    };
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && (host.contains('.') || port.is_some() || host == "localhost")
}

fn is_name(text: &str) -> bool {
    let is_small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|byte| is_small(*byte))
            && bytes.last().is_some_and(|byte| is_small(*byte))
            && bytes.iter().all(|byte| is_small(*byte) || matches!(byte, b'.' | b'_' | b'-'))
            && !part.contains("..")
    };
    text.len() <= NAME_BYTES_MAX && text.split('/').all(is_part)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_BYTES_MAX
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        let digest = ContentDigest::of(b"");
        for text in [
            "registry.example.com/plugins/redact:1.0",
            "localhost/redact",
            "127.0.0.1:5000/a/b/c:latest",
            "[::1]:5000/a",
            &format!("registry.example.com:8443/redact@{digest}"),
            &format!("registry.example.com/redact:1@{digest}"),
        ] {
            let read: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read.to_string(), text);
            assert_eq!(format!("oci://{text}").parse(), Ok(read));
        }
        let both: Reference = format!("localhost/redact:1@{digest}").parse().expect("a name");
        assert_eq!(both.within(), Some(digest.as_str()));
    }

    #[test]
    fn what_names_nothing_is_told_with_how_names_are_written() {
        for (text, why) in [
            ("", "names no registry"),
            ("redact:1.0", "names no registry"),
            ("plugins/redact:1.0", "`plugins` is no host"),
            ("/redact", "`` is no host"),
            ("-x.example.com/redact", "is no host"),
            ("registry.example.com:0/redact", "is no host"),
            ("user@registry.example.com/redact", "is no digest"),
            ("registry.example.com/", "`` is no name"),
            ("registry.example.com/Redact", "`Redact` is no name"),
            ("registry.example.com/../x", "`../x` is no name"),
            ("registry.example.com/a//b", "is no name"),
            ("registry.example.com/redact:", "`` is no tag"),
            ("registry.example.com/redact:a b", "`a b` is no tag"),
            ("registry.example.com/redact@sha256:12", "`sha256:12` is no digest"),
            ("registry.example.com/redact?x=1", "is no name"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("write HOST/NAME:TAG"), "{text}: {error}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        let local = |text: &str| text.parse::<Reference>().expect(text).is_local();
        assert!(
            ["localhost/a", "localhost:5000/a", "127.0.0.1:5000/a", "127.9.9.9/a", "[::1]:5000/a"]
                .map(local)
                .iter()
                .all(|is| *is)
        );
        assert!(!["localhost.example.com/a", "10.0.0.1:5000/a", "[fe80::1]:5000/a"].map(local).iter().any(|is| *is));
    }
}
