//! How a request lies in a frame's payload. Version 1, little endian:
//!
//! ```text
//! ┌────────┬─────────┬─────────┬────────────────┬──────────────┬─────────────┬───────────┬─────────┬─────┬──────┐
//! │ 1 u8   │ form u8 │ key? u8 │ accepted i64   │ body hash 32 │ length u8   │ principal │ len u8  │ key │ body │
//! └────────┴─────────┴─────────┴────────────────┴──────────────┴─────────────┴───────────┴─────────┴─────┴──────┘
//! ```
//!
//! `form` is the source's own note of how the body splits into records. Nothing here knows it. The hash is BLAKE3 of the body where
//! there is a key, and zeroes where there is none; earlier builds always wrote the hash.

use bytes::Bytes;

/// Longest principal and longest idempotency key, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
const VERSION: u8 = 1;
const NAMES_AT: usize = 43;
/// Most bytes that an envelope puts in front of a body.
pub(crate) const HEAD_BYTES_MAX: usize = NAMES_AT + 2 * (1 + NAME_BYTES_MAX);

/// One accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it was accepted, unix nanoseconds; never falls along a shard.
    pub accepted: i64,
    /// Who sent it, as the source authenticated them; empty for nobody in particular.
    pub principal: String,
    /// The idempotency key, if it had one.
    pub key: Option<String>,
    /// BLAKE3 of `body`; zeroes where there is no key.
    pub body_hash: [u8; 32],
    /// How the body splits into records; the source's own note.
    pub form: u8,
    /// The decompressed body.
    pub body: Bytes,
}

/// The envelope of a request, its body last.
pub(crate) fn encode(request: &Request) -> Vec<u8> {
    let key = request.key.as_deref();
    let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX + request.body.len());
    bytes.extend_from_slice(&[VERSION, request.form, u8::from(key.is_some())]);
    bytes.extend_from_slice(&request.accepted.to_le_bytes());
    bytes.extend_from_slice(&request.body_hash);
    for name in [request.principal.as_str(), key.unwrap_or_default()] {
        bytes.push(u8::try_from(name.len()).expect("`Queue::accept` refuses longer names"));
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(&request.body);
    bytes
}

/// Reads an envelope; also says how many bytes stand in front of the body. The error says what is wrong.
pub(crate) fn decode(payload: &Bytes) -> Result<(Request, usize), &'static str> {
    if payload.first() != Some(&VERSION) {
        return Err("unknown version of the envelope");
    }
    let head = payload.get(..NAMES_AT).ok_or("the envelope is cut short")?;
    let mut accepted = [0; 8];
    accepted.copy_from_slice(&head[3..11]);
    let mut body_hash = [0; 32];
    body_hash.copy_from_slice(&head[11..43]);
    let (principal, at) = name(payload, NAMES_AT)?;
    let (key, at) = name(payload, at)?;
    let key = (head[2] == 1).then_some(key);
    let accepted = i64::from_le_bytes(accepted);
    Ok((Request { accepted, principal, key, body_hash, form: head[1], body: payload.slice(at..) }, at))
}

fn name(payload: &Bytes, at: usize) -> Result<(String, usize), &'static str> {
    let len = *payload.get(at).ok_or("the envelope is cut short")? as usize;
    let bytes = payload.get(at + 1..at + 1 + len).ok_or("the envelope is cut short")?;
    let text = std::str::from_utf8(bytes).map_err(|_| "a name is not UTF-8")?;
    Ok((text.to_owned(), at + 1 + len))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample(key: Option<&str>) -> Request {
        let body = Bytes::from_static(b"{\"a\":1}\n{\"a\":2}\n");
        let body_hash = *blake3::hash(&body).as_bytes();
        Request { accepted: -5, principal: "team-a".into(), key: key.map(str::to_owned), body_hash, form: 3, body }
    }

    #[test]
    fn requests_read_back_and_the_body_lies_where_it_is_said_to() {
        for request in [sample(None), sample(Some("")), sample(Some("k-1"))] {
            let bytes = Bytes::from(encode(&request));
            let (read, at) = decode(&bytes).unwrap();
            assert_eq!(read, request);
            assert_eq!(&bytes[at..], &request.body[..]);
            assert!(at <= HEAD_BYTES_MAX);
        }
    }

    #[test]
    fn a_cut_envelope_is_told_and_never_panics() {
        let bytes = Bytes::from(encode(&sample(Some("k"))));
        let body = sample(None).body.len();
        for len in 0..bytes.len() - body {
            assert!(decode(&bytes.slice(..len)).is_err(), "length {len}");
        }
        assert!(decode(&Bytes::from_static(b"\x02")).is_err());
    }
}
