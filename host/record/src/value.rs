//! One field's value as bytes and how to read them. Knows nothing of names and rows.

use crate::batch::{Batch, Field, Span, ValueKind};
use crate::json;
use std::borrow::Cow;

/// A value that lies in an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value<'a> {
    /// The bytes; strings without their quotes.
    pub bytes: &'a [u8],
    /// How to read them.
    pub kind: ValueKind,
}

impl<'a> Value<'a> {
    /// The value of `field` in `arena`.
    pub fn of(arena: &'a [u8], field: &Field) -> Self {
        Self { bytes: field.value.of(arena), kind: field.kind }
    }

    /// The unescaped text, for strings only; may hold invalid UTF-8.
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        match self.kind {
            ValueKind::Text => Some(Cow::Borrowed(self.bytes)),
            ValueKind::Escaped => {
                let mut out = Vec::with_capacity(self.bytes.len());
                json::unescape(self.bytes, &mut out);
                Some(Cow::Owned(out))
            }
            ValueKind::Json => None,
        }
    }

    /// The unescaped text of a string, the token of anything else: what templates and text outputs show.
    pub fn shown(&self) -> Cow<'a, [u8]> {
        self.text().unwrap_or(Cow::Borrowed(self.bytes))
    }

    /// Appends the value as a JSON token; false where it was text with invalid UTF-8, written as U+FFFD, so that the exact
    /// bytes must be kept elsewhere.
    pub fn write_json(&self, out: &mut Vec<u8>) -> bool {
        match self.kind {
            ValueKind::Text => return json::quote_lossy(self.bytes, out),
            ValueKind::Escaped => {
                out.push(b'"');
                out.extend_from_slice(self.bytes);
                out.push(b'"');
            }
            ValueKind::Json => out.extend_from_slice(self.bytes),
        }
        true
    }
}

impl Batch {
    /// The value at `span`, to be read as `kind`.
    pub fn value(&self, span: Span, kind: ValueKind) -> Value<'_> {
        Value { bytes: span.of(&self.arena), kind }
    }
}
