//! The digest by which registries and configurations name bytes: SHA-256. It knows no file and no network.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a digest begins with.
const PREFIX: &str = "sha256:";
/// Hexadecimal digits of one.
const HEX_DIGITS: usize = 64;

/// `sha256:` and 64 small hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentDigest(String);

impl ContentDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}{hex}"))
    }

    /// Reads `sha256:` and 64 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let is_digest = hex.len() == HEX_DIGITS && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| Self(text.to_ascii_lowercase()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written_and_nothing_else_is() {
        let digest = ContentDigest::of(b"abc");
        assert_eq!(digest.as_str(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(ContentDigest::parse(digest.as_str()), Some(digest.clone()));
        assert_eq!(ContentDigest::parse(&format!("sha256:{}", digest.as_str()[7..].to_uppercase())), Some(digest));
        for text in ["", "sha256:", "sha256:abc", "sha512:abc", &"0".repeat(64), &format!("sha256:{}", "g".repeat(64))]
        {
            assert_eq!(ContentDigest::parse(text), None, "{text}");
        }
    }
}
