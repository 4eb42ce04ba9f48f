//! A walk over the members of an object that the reader has accepted before, for lookups below the top level.

use super::Reader;
use crate::batch::{Span, ValueKind};

/// One member of a nested object. The name may hold escapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Name as it stood, between its quotes.
    pub key: Span,
    /// Whether the name holds escapes.
    pub key_escaped: bool,
    /// The value; strings without their quotes.
    pub value: Span,
    /// How to read the value.
    pub kind: ValueKind,
}

/// Iterator over the members of one object; ends where the text is no object.
pub struct Members<'a> {
    reader: Reader<'a>,
    at: Option<usize>,
}

impl<'a> Members<'a> {
    /// The members of the JSON token `token` of `arena`; none if it is not an object.
    pub fn of(arena: &'a [u8], token: Span) -> Self {
        let reader = Reader::new(arena, token);
        let at = reader.open_object();
        Self { reader, at }
    }
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let (member, next) = self.reader.member(self.at?)?;
        self.at = next;
        Some(member)
    }
}
