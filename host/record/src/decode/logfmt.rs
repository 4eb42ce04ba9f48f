//! `key=value key2="two words"`. Every word must be a pair: prose with a stray `=` in it is not logfmt.

use super::Decode;
use super::draft::{Draft, Outcome, Refusal};
use crate::batch::{Span, ValueKind};
use crate::json::check_string;

/// The decoder `logfmt`.
#[derive(Debug)]
pub(super) struct Logfmt;

fn shape(offset: usize, expected: &'static str) -> Refusal {
    Refusal::Shape { format: "logfmt", offset, expected }
}

impl Decode for Logfmt {
    fn decode(&self, draft: &mut Draft<'_>) -> Result<Outcome, Refusal> {
        let text = draft.text();
        let mut at = skip_spaces(text, 0);
        if at == text.len() {
            return Err(shape(at, "key=value"));
        }
        while at < text.len() {
            let key_len = key_len(&text[at..]).ok_or(shape(at, "key="))?;
            let value_at = at + key_len + 1;
            let (value, kind, next) = value(draft, text, value_at)?;
            draft.put_named(draft.place(at, at + key_len), value, kind);
            if !matches!(text.get(next), None | Some(b' ' | b'\t')) {
                return Err(shape(next, "a space"));
            }
            at = skip_spaces(text, next);
        }
        Ok(Outcome::Complete)
    }
}

fn skip_spaces(text: &[u8], from: usize) -> usize {
    from + text[from..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// Length of the key that is followed by `=` at the start of `text`.
fn key_len(text: &[u8]) -> Option<usize> {
    let len = text.iter().position(|b| *b <= b' ' || *b == b'=' || *b == b'"')?;
    let valid = len > 0 && text[len] == b'=' && std::str::from_utf8(&text[..len]).is_ok();
    valid.then_some(len)
}

/// The value at `at`: its place, how to read it, where it ends.
fn value(draft: &Draft<'_>, text: &[u8], at: usize) -> Result<(Span, ValueKind, usize), Refusal> {
    if text.get(at) != Some(&b'"') {
        let len = text[at..].iter().position(|b| *b <= b' ' || *b == b'"').unwrap_or(text.len() - at);
        return Ok((draft.place(at, at + len), ValueKind::Text, at + len));
    }
    let start = at + 1;
    let mut end = start;
    loop {
        let found = memchr::memchr2(b'"', b'\\', text.get(end..).unwrap_or_default());
        end += found.ok_or(shape(at, "a closing quote"))?;
        if text[end] == b'"' {
            break;
        }
        end += 2;
    }
    let inside = &text[start..end];
    let kind = match memchr::memchr(b'\\', inside) {
        None => ValueKind::Text,
        Some(_) if check_string(inside).is_ok() => ValueKind::Escaped,
        Some(escape) => return Err(shape(start + escape, "escapes as in json")),
    };
    Ok((draft.place(start, end), kind, end + 1))
}
