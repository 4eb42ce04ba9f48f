//! Identity and position: which history a record comes from (`Generation`), where in it (`Cursor`), and what it is called
//! (`RecordId`). Formats are those of the delivery specification, sections 2 and 4.2.

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Domain-separated, length-prefixed BLAKE3 over `parts`; the hash `H` of the delivery specification.
pub fn hash(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn truncated<const N: usize>(full: [u8; 32]) -> [u8; N] {
    let mut short = [0; N];
    short.copy_from_slice(&full[..N]);
    short
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Derives the id from `parts`, each of which is hashed with its length.
            pub fn derive(domain: &str, parts: &[&[u8]]) -> Self {
                Self(truncated(hash(domain, parts)))
            }

            /// Reads what `Display` writes: 32 hexadecimal digits.
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; 16];
                if text.len() != 32 || !text.is_ascii() {
                    return None;
                }
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
                }
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:02x}{:02x}{:02x}{:02x})", stringify!($name), self.0[0], self.0[1], self.0[2], self.0[3])
            }
        }
    };
}

id128! {
    /// What order and state belong to: the files of one primary path, a queue shard, a Kafka partition.
    PartitionId
}
id128! {
    /// One history of bytes inside a partition: one file's content, one incarnation of a queue shard, one Kafka partition.
    Generation
}

/// A place between two inputs of one generation: every input before `pos`, and every FLUSH at `pos` below `slot`, is finished.
/// `pos` is a byte offset (files, queue) or the next offset (Kafka).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Position in the generation.
    pub pos: u64,
    /// FLUSHes at `pos` that are finished.
    pub slot: u16,
}

impl Cursor {
    /// The cursor before any FLUSH at `pos`.
    pub const fn at(pos: u64) -> Self {
        Self { pos, slot: 0 }
    }
}

impl Cursor {
    /// Whether the input that a row belongs to is finished: the record at `pos` comes after every FLUSH there.
    pub fn covers(self, row: RowId) -> bool {
        match row.slot {
            0 => self.pos > row.pos,
            slot => self >= Self { pos: row.pos, slot },
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pos, self.slot)
    }
}

/// Which row of which input a row is: `slot` 0 is the record at `pos`, `1 + s` is FLUSH `s` at `pos`; `k` names the
/// component that made the row (8 bits) and its ordinal there (16 bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RowId {
    /// Position of the input record (its last fragment where several lines were joined).
    pub pos: u64,
    /// 0 for the record, 1 + s for FLUSH s at this position.
    pub slot: u16,
    /// Component (8 bits) ‖ ordinal (16 bits); never above 2^24 − 1.
    pub k: u32,
}

/// The text of a record's id: 36 characters of base64url, ordered per generation.
/// Layout: H64(source, generation) ‖ u64 pos ‖ u16 slot ‖ u24 k ‖ H48(input), big endian.
pub fn record_id(source: &str, generation: Generation, row: RowId, input: &[u8]) -> String {
    RecordIds::of(source, generation).text(row, input).as_str().to_owned()
}

/// Writer of the ids of one source's generation; what its records share is hashed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordIds([u8; 8]);

/// Characters of a record id.
pub const RECORD_ID_CHARS: usize = 36;

/// The 36 characters of a record id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordIdText([u8; RECORD_ID_CHARS]);

impl RecordIds {
    /// Ids of the records of `generation`, which `source` reads.
    pub fn of(source: &str, generation: Generation) -> Self {
        Self(truncated(hash("sawlog.rid", &[source.as_bytes(), &generation.0])))
    }

    /// The id of `row`, made from the raw bytes `input`.
    pub fn text(&self, row: RowId, input: &[u8]) -> RecordIdText {
        let mut bytes = [0u8; 27];
        bytes[..8].copy_from_slice(&self.0);
        bytes[8..16].copy_from_slice(&row.pos.to_be_bytes());
        bytes[16..18].copy_from_slice(&row.slot.to_be_bytes());
        bytes[18..21].copy_from_slice(&row.k.to_be_bytes()[1..]);
        // 48 bits are no proof against somebody who looks for a collision, whatever makes them: they tell other bytes at the
        // same place from the same bytes. So the fastest good hash does; BLAKE3 cost a fifth of the whole path (bench, row A).
        bytes[21..].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(input).to_be_bytes()[..6]);
        let mut text = [0u8; 36];
        let written = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        assert_eq!(written, Ok(36), "27 bytes are 36 characters of base64");
        RecordIdText(text)
    }
}

impl RecordIdText {
    /// Reads what [`Self::as_str`] shows; `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: [u8; RECORD_ID_CHARS] = text.try_into().ok()?;
        let is_one = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.iter().all(is_one).then_some(Self(text))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ascii")
    }

    /// The characters as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_ids_have_36_characters_and_depend_on_every_part() {
        let (g, row) = (Generation([7; 16]), RowId { pos: 1, slot: 0, k: 0 });
        let id = record_id("app", g, row, b"x");
        assert_eq!(id.len(), 36);
        for other in [
            record_id("web", g, row, b"x"),
            record_id("app", Generation([8; 16]), row, b"x"),
            record_id("app", g, RowId { pos: 2, ..row }, b"x"),
            record_id("app", g, RowId { slot: 1, ..row }, b"x"),
            record_id("app", g, RowId { k: 1 << 16, ..row }, b"x"),
            record_id("app", g, row, b"y"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn ids_read_back_what_they_show() {
        let g = Generation::derive("test", &[b"a"]);
        assert_eq!(Generation::parse(&g.to_string()), Some(g));
        assert_eq!(Generation::parse("zz"), None);
        let id = RecordIds::of("app", g).text(RowId::default(), b"x");
        assert_eq!(RecordIdText::parse(id.as_bytes()), Some(id));
        assert_eq!(RecordIdText::parse(&id.as_bytes()[1..]), None);
        assert_eq!(RecordIdText::parse(&[b'"'; RECORD_ID_CHARS]), None);
    }
}
