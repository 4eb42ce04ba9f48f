//! Claims as bytes: JSON with a version, compressed by zstd where it is large. Old versions stay readable.

use sawlog_core::claims::Claim;
use serde::{Deserialize, Serialize};
use std::io::Read as _;

/// The version that is written.
const VERSION: u32 = 1;
/// Claims above this are compressed.
const PLAIN_BYTES_MAX: usize = 16 << 10;
/// Largest claim that is written or read, uncompressed. Sinks seal long before.
const CLAIM_BYTES_MAX: u64 = 256 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why bytes are no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The compression is broken.
    #[error("its compression is broken: {0}")]
    Compression(#[from] std::io::Error),
    /// The JSON is no claim.
    #[error("it holds no claim: {0}")]
    Json(#[from] serde_json::Error),
    /// Nobody would read it again.
    #[error("it would have {0} bytes, and none above {CLAIM_BYTES_MAX} are read")]
    TooLarge(u64),
    /// A newer Sawlog wrote it.
    #[error("it has version {0}, and this build reads versions up to {VERSION}; run a newer sawlog")]
    Version(u32),
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    claim: &'a Claim,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The bytes of `claim`.
pub fn encode_claim(claim: &Claim) -> Result<Vec<u8>, ClaimError> {
    let json = serde_json::to_vec(&Written { version: VERSION, claim })?;
    if json.len() as u64 > CLAIM_BYTES_MAX {
        return Err(ClaimError::TooLarge(json.len() as u64));
    }
    if json.len() <= PLAIN_BYTES_MAX {
        return Ok(json);
    }
    Ok(zstd::encode_all(json.as_slice(), 3)?)
}

/// The claim that `bytes` hold.
pub fn decode_claim(bytes: &[u8]) -> Result<Claim, ClaimError> {
    let mut json = Vec::new();
    if bytes.starts_with(&ZSTD_MAGIC) {
        zstd::Decoder::new(bytes)?.take(CLAIM_BYTES_MAX).read_to_end(&mut json)?;
    } else {
        json.extend_from_slice(bytes);
    }
    let Version { version } = serde_json::from_slice(&json)?;
    if version != VERSION {
        return Err(ClaimError::Version(version));
    }
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn fuzz_claims() {
        let claim = Claim {
            directory: "d".to_owned(),
            attempt: "0123456789abcdef".to_owned(),
            sink_epoch: "e".to_owned(),
            moved: Vec::new(),
            lost: Vec::new(),
            plans: Vec::new(),
            verdicts: Vec::new(),
            keys: vec![("dt=2026-01-01".to_owned(), "lake/dt=2026-01-01/1-2-0.jsonl".to_owned())],
            passed: 7,
            vector: Default::default(),
            closed: i64::MIN,
            floor: 0,
            written: 1,
            switch: Some("s".to_owned()),
        };
        let plain = encode_claim(&claim).unwrap();
        let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
        sawlog_fuzz::hammer("claims", &[&plain, &packed], |bytes| {
            let Ok(read) = decode_claim(bytes) else { return };
            let again = decode_claim(&encode_claim(&read).unwrap()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{read:?}"));
        });
    }
}
