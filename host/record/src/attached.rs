//! Fields that a source attaches to one record: the key and headers of a message. They lie in front of the record's text, in
//! the same bytes, so that whoever copies a record, or hashes it for its id, takes them along. `flag::ATTACHED` says that they
//! are there. Knows nothing of what the fields mean.

use crate::batch::{Span, ValueKind};

/// Bytes of a length.
const LEN_BYTES: usize = 4;
/// Kinds as they are written.
const TEXT: u8 = 0;
const JSON: u8 = 1;

/// One field: its name, its value, and how the value is to be read.
pub type Attached<'a> = (&'a [u8], &'a [u8], ValueKind);

/// Writes `fields` in front of the text that the caller appends next. Values are text or JSON tokens, below 4 GiB.
pub fn write<'a>(fields: impl IntoIterator<Item = Attached<'a>>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; LEN_BYTES]);
    for (name, value, kind) in fields {
        out.push(if kind == ValueKind::Json { JSON } else { TEXT });
        for bytes in [name, value] {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
    let len = (out.len() - start - LEN_BYTES) as u32;
    out[start..start + LEN_BYTES].copy_from_slice(&len.to_le_bytes());
}

/// Takes `record` apart: `each` gets the places of name and value of every field; the text behind them is given back. Bytes
/// that [`write`] did not write are all text.
pub fn split(arena: &[u8], record: Span, mut each: impl FnMut(Span, Span, ValueKind)) -> Span {
    let Some(len) = len_at(arena, record, 0) else { return record };
    let end = LEN_BYTES + len as usize;
    if end > record.len as usize {
        return record;
    }
    let mut at = LEN_BYTES;
    while at < end {
        let kind = if record.of(arena)[at] == JSON { ValueKind::Json } else { ValueKind::Text };
        let Some((name, behind)) = part(arena, record, at + 1, end) else { return record };
        let Some((value, behind)) = part(arena, record, behind, end) else { return record };
        each(name, value, kind);
        at = behind;
    }
    Span { start: record.start + end as u32, len: record.len - end as u32 }
}

fn len_at(arena: &[u8], record: Span, at: usize) -> Option<u32> {
    let bytes = record.of(arena).get(at..at + LEN_BYTES)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The part whose length lies at `at`, and where the next one begins.
fn part(arena: &[u8], record: Span, at: usize, end: usize) -> Option<(Span, usize)> {
    let len = len_at(arena, record, at)?;
    let start = at + LEN_BYTES;
    let behind = start.checked_add(len as usize).filter(|behind| *behind <= end)?;
    Some((Span { start: record.start + start as u32, len }, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_text_come_apart_as_they_were_put_together() {
        let mut arena = b"before".to_vec();
        let start = arena.len();
        write([(&b"key"[..], &b"k\xff"[..], ValueKind::Text), (b"dead", b"true", ValueKind::Json)], &mut arena);
        arena.extend_from_slice(b"{\"a\":1}");
        let record = Span { start: start as u32, len: (arena.len() - start) as u32 };
        let mut found = Vec::new();
        let text = split(&arena, record, |name, value, kind| {
            found.push((name.of(&arena).to_vec(), value.of(&arena).to_vec(), kind));
        });
        assert_eq!(text.of(&arena), b"{\"a\":1}");
        assert_eq!(found[0], (b"key".to_vec(), b"k\xff".to_vec(), ValueKind::Text));
        assert_eq!(found[1], (b"dead".to_vec(), b"true".to_vec(), ValueKind::Json));
    }

    #[test]
    fn bytes_of_any_kind_are_text_and_never_a_panic() {
        let mut arena = Vec::new();
        write([(&b"name"[..], &b"value"[..], ValueKind::Text)], &mut arena);
        arena.extend_from_slice(b"text");
        for len in 0..arena.len() {
            let cut = Span { start: 0, len: len as u32 };
            assert!(split(&arena, cut, |_, _, _| {}).len <= cut.len);
        }
        for at in 0..arena.len() {
            let mut spoiled = arena.clone();
            spoiled[at] ^= 0x55;
            let whole = Span { start: 0, len: spoiled.len() as u32 };
            assert!(split(&spoiled, whole, |_, _, _| {}).len <= whole.len);
        }
    }
}
