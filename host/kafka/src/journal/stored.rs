//! Records, snapshots and blobs as messages: keys, pieces that fit into a message, and what a partition full of them says.
//! Knows nothing of producers and consumers.

use std::collections::BTreeMap;

/// Most bytes of one message's value, so that any topic takes it.
pub(super) const PIECE_BYTES_MAX: usize = 512 << 10;
/// First byte of every value.
const FORMAT: u8 = 1;
/// Bytes in front of a piece: the format and the number of pieces.
const HEAD_BYTES: usize = 5;

/// Key and value of one message; no value is a tombstone.
pub(super) type Piece = (String, Option<Vec<u8>>);

/// What a journal keeps under one name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Item {
    /// The record of this number.
    Record(u64),
    /// The snapshot of this number: where the records begin that it does not replace (8 bytes), then the state.
    Snapshot(u64),
    /// A blob by its digest.
    Blob([u8; 32]),
}

/// Keys of one journal.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn of(name: &str) -> Self {
        Self { prefix: format!("{}|", name.replace('%', "%25").replace('|', "%7C")) }
    }

    pub(super) fn barrier(&self) -> String {
        format!("{}barrier", self.prefix)
    }

    fn key(&self, item: &Item, piece: usize) -> String {
        let prefix = &self.prefix;
        match item {
            Item::Record(number) => format!("{prefix}record|{number:020}|{piece}"),
            Item::Snapshot(number) => format!("{prefix}snapshot|{number:020}|{piece}"),
            Item::Blob(digest) => format!("{prefix}blob|{}|{piece}", hex(digest)),
        }
    }

    /// The messages that `bytes` become.
    pub(super) fn pieces(&self, item: &Item, bytes: &[u8]) -> Vec<Piece> {
        let count = bytes.len().div_ceil(PIECE_BYTES_MAX).max(1);
        let piece = |i: usize| {
            let part = &bytes[i * PIECE_BYTES_MAX..((i + 1) * PIECE_BYTES_MAX).min(bytes.len())];
            let mut value = Vec::with_capacity(part.len() + HEAD_BYTES);
            value.push(FORMAT);
            value.extend_from_slice(&(count as u32).to_le_bytes());
            value.extend_from_slice(part);
            (self.key(item, i), Some(value))
        };
        (0..count).map(piece).collect()
    }

    /// The tombstones of an item that has so many pieces.
    pub(super) fn tombstones(&self, item: &Item, pieces: usize) -> Vec<Piece> {
        (0..pieces).map(|i| (self.key(item, i), None)).collect()
    }

    /// Item and number of the piece that a key means; `None` where it is no key of this journal.
    fn parse(&self, key: &str) -> Option<(Item, usize)> {
        let mut parts = key.strip_prefix(&self.prefix)?.split('|');
        let (kind, id, piece) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        let item = match kind {
            "record" => Item::Record(id.parse().ok()?),
            "snapshot" => Item::Snapshot(id.parse().ok()?),
            "blob" => Item::Blob(unhex(id)?),
            _ => return None,
        };
        Some((item, piece))
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    (text.len() == 64).then_some(digest)
}

/// What the messages of a partition say about one journal, up to a barrier.
pub(super) struct Reading<'a> {
    keys: &'a Keys,
    barrier: Vec<u8>,
    items: BTreeMap<Item, BTreeMap<usize, Vec<u8>>>,
}

impl<'a> Reading<'a> {
    /// Reads up to `barrier`.
    pub(super) fn until(keys: &'a Keys, barrier: Vec<u8>) -> Self {
        Self { keys, barrier, items: BTreeMap::new() }
    }

    /// Takes the next message; true where it was the barrier.
    pub(super) fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        let Ok(key) = std::str::from_utf8(key) else { return false };
        if key == self.keys.barrier() {
            return value == Some(&self.barrier);
        }
        let Some((item, piece)) = self.keys.parse(key) else { return false };
        match value {
            Some(value) => _ = self.items.entry(item).or_default().insert(piece, value.to_vec()),
            None => {
                if let Some(pieces) = self.items.get_mut(&item) {
                    pieces.remove(&piece);
                    if pieces.is_empty() {
                        self.items.remove(&item);
                    }
                }
            }
        }
        false
    }

    /// Every item with the number of its pieces and its bytes; the error says which one is not whole.
    pub(super) fn into_items(self) -> Result<BTreeMap<Item, (usize, Vec<u8>)>, String> {
        let mut whole = BTreeMap::new();
        for (item, pieces) in self.items {
            let damaged = |what: &str| {
                format!("{item:?} of the journal {} {what}; use the version that wrote it", self.keys.prefix)
            };
            let mut bytes = Vec::new();
            for (expected, (number, value)) in pieces.iter().enumerate() {
                let (head, part) = value.split_at_checked(HEAD_BYTES).ok_or_else(|| damaged("is cut short"))?;
                if head[0] != FORMAT {
                    return Err(damaged(&format!("is of format {}, and this version reads {FORMAT}", head[0])));
                }
                let count = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if count != pieces.len() || *number != expected {
                    return Err(damaged("lacks a piece"));
                }
                bytes.extend_from_slice(part);
            }
            whole.insert(item, (pieces.len(), bytes));
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn items_come_back_whole_and_journals_of_a_topic_do_not_meet() {
        let (mine, other) = (Keys::of("g/in/t-1"), Keys::of("g/in/t-11"));
        let large = vec![7; PIECE_BYTES_MAX * 2 + 3];
        let mut reading = Reading::until(&mine, b"here".to_vec());
        let blob = Item::Blob([0xab; 32]);
        let mut messages = mine.pieces(&Item::Record(1), b"one");
        messages.extend(mine.pieces(&blob, &large));
        messages.extend(mine.pieces(&Item::Record(2), b""));
        messages.extend(other.pieces(&Item::Record(3), b"not mine"));
        messages.extend(mine.tombstones(&Item::Record(1), 1));
        messages.push((mine.barrier(), Some(b"older".to_vec())));
        for (key, value) in &messages {
            assert!(!reading.take(key.as_bytes(), value.as_deref()), "{key}");
        }
        assert!(reading.take(mine.barrier().as_bytes(), Some(b"here")));
        let items = reading.into_items().unwrap();
        assert_eq!(items.keys().collect::<Vec<_>>(), [&Item::Record(2), &blob]);
        assert_eq!(items[&blob], (3, large));
    }

    #[test]
    fn a_missing_piece_is_told() {
        let keys = Keys::of("g");
        let mut reading = Reading::until(&keys, vec![]);
        let pieces = keys.pieces(&Item::Snapshot(4), &vec![1; PIECE_BYTES_MAX + 1]);
        reading.take(pieces[1].0.as_bytes(), pieces[1].1.as_deref());
        assert!(reading.into_items().unwrap_err().contains("lacks a piece"));
    }
}
