//! The reader: one pass over the text of one object, members of its top level into fields, everything below checked and
//! kept as a token. It knows nothing of what the members mean.

use super::members::Member;
use super::names::{Names, name_hash};
use super::scan::{plain_end, same};
use super::text::unescape;
use super::{DEPTH_MAX, JsonError, JsonReason};
use crate::batch::{Field, Span, Spill, ValueKind};
use std::cell::Cell;

/// Objects with more members than this are searched for repeated names once, by sorting, not member by member.
const DIRECT_SEARCH_MAX: usize = 64;

/// What the reader noticed on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parsed {
    /// Every name that was read.
    pub names: Names,
    /// Every field's name is a span of the text, no name came twice and there is no line break, so that a writer of lines
    /// may copy the text.
    pub literal: bool,
    /// Bytes before the opening brace.
    pub start: u32,
    /// Bytes up to and with the closing brace.
    pub end: u32,
}

/// The names of the object that was read before, in its order: records of one stream tend to look alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Where its fields begin in the table.
    first: usize,
    /// How many they are; 0 where nothing is known.
    len: usize,
    names: Names,
}

/// Reader of one object inside an arena.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    arena: &'a [u8],
    /// The arena from the first byte of the text on, also behind its end.
    bytes: &'a [u8],
    /// The text.
    text: &'a [u8],
    /// Where the text starts in the arena.
    base: u32,
    /// A line break was skipped as white space.
    line_break: Cell<bool>,
}

type Step<T> = Result<T, (usize, JsonReason)>;

impl<'a> Reader<'a> {
    /// A reader of the text `span` of `arena`. Bytes behind the text are looked at, never used.
    pub fn new(arena: &'a [u8], span: Span) -> Self {
        Self {
            arena,
            bytes: &arena[span.start as usize..],
            text: span.of(arena),
            base: span.start,
            line_break: Cell::new(false),
        }
    }

    fn whole(text: &'a [u8]) -> Self {
        Self { arena: text, bytes: text, text, base: 0, line_break: Cell::new(false) }
    }

    /// Appends the members of the object to `fields`, in their order; of a name that comes twice the last value, at the
    /// first place. `spill` takes names that had to be unescaped. On an error `fields` is as it was.
    pub fn object(&self, fields: &mut Vec<Field>, spill: &mut Spill) -> Result<Parsed, JsonError> {
        self.object_like(&mut Shape::default(), fields, spill)
    }

    /// The same. `shape` tells what an object before looked like, whose fields are still in `fields` and whose text lies in
    /// the same arena; one of the same names in the same order is cheaper to read. It is set for the next.
    pub fn object_like(
        &self,
        shape: &mut Shape,
        fields: &mut Vec<Field>,
        spill: &mut Spill,
    ) -> Result<Parsed, JsonError> {
        let first = fields.len();
        let result = self.check_utf8().and_then(|()| self.members(shape, fields, spill));
        result.map_err(|(offset, reason)| {
            fields.truncate(first);
            JsonError { offset, reason }
        })
    }

    fn check_utf8(&self) -> Step<()> {
        if self.text.is_ascii() || simdutf8::basic::from_utf8(self.text).is_ok() {
            return Ok(());
        }
        let at = std::str::from_utf8(self.text).map_or_else(|error| error.valid_up_to(), str::len);
        Err((at, JsonReason::Utf8))
    }

    fn members(&self, shape: &mut Shape, fields: &mut Vec<Field>, spill: &mut Spill) -> Step<Parsed> {
        let first = fields.len();
        let mut parsed = Parsed { literal: true, ..Parsed::default() };
        let mut at = self.space(0);
        if self.byte(at) != b'{' {
            return Err((at, if at < self.text.len() { JsonReason::NotAnObject } else { JsonReason::Ends }));
        }
        parsed.start = at as u32;
        at = self.space(at + 1);
        let mut more = self.byte(at) != b'}';
        let mut expected = shape.len;
        while more {
            let position = fields.len() - first;
            let seen =
                if position < expected { self.expected_key(at, fields[shape.first + position].key) } else { None };
            let next = match seen {
                Some((key, value_start)) => {
                    let (value, kind, next) = self.value(value_start)?;
                    fields.push(Field { key, value, kind });
                    next
                }
                None => {
                    if expected > 0 {
                        expected = 0;
                        parsed.names = self.names_of(&fields[first..], spill);
                    }
                    self.new_member(at, first, fields, spill, &mut parsed)?
                }
            };
            at = self.space(next);
            more = match self.byte(at) {
                b',' => {
                    at = self.space(at + 1);
                    true
                }
                b'}' => false,
                _ => return Err((at, self.or_ends(at, JsonReason::Comma))),
            };
        }
        parsed.end = at as u32 + 1;
        parsed.literal &= !self.line_break.get();
        self.end(at + 1)?;
        let len = fields.len() - first;
        if len > DIRECT_SEARCH_MAX && expected == 0 {
            parsed.literal &= !self.drop_repeated(first, fields, spill);
        }
        if expected > 0 {
            // Every name was among those of the shape: none came twice.
            parsed.names = shape.names;
        }
        *shape = Shape { first, len: if parsed.literal { len } else { 0 }, names: parsed.names };
        Ok(parsed)
    }

    /// The name and the start of the value, if the member at `at` has the name `like`, written in the same way.
    #[inline(always)]
    fn expected_key(&self, at: usize, like: Span) -> Option<(Span, usize)> {
        let len = like.len as usize;
        // With both quotes and the colon. The text ends behind the value's first byte at the earliest.
        let fits = at + len + 3 < self.text.len();
        if !fits || !same(self.arena, self.base as usize + at, like.start as usize - 1, len + 3) {
            return None;
        }
        let colon = at + len + 2;
        (self.text[colon] == b':').then(|| (self.span(at + 1, at + 1 + len), self.space(colon + 1)))
    }

    /// A member of a name that nobody expected; returns where its value ends.
    #[inline(always)]
    fn new_member(
        &self,
        at: usize,
        first: usize,
        fields: &mut Vec<Field>,
        spill: &mut Spill,
        parsed: &mut Parsed,
    ) -> Step<usize> {
        let (key_start, key_end, key_escaped, value_start) = self.key(at)?;
        let (value, kind, next) = self.value(value_start)?;
        let key = self.name(key_start, key_end, key_escaped, spill);
        parsed.literal &= !key_escaped;
        let repeated = parsed.names.insert(name_hash(self.text_of(key, spill)))
            && fields.len() - first <= DIRECT_SEARCH_MAX
            && self.replace(&mut fields[first..], key, value, kind, spill);
        if repeated {
            parsed.literal = false;
        } else {
            fields.push(Field { key, value, kind });
        }
        Ok(next)
    }

    #[cold]
    fn names_of(&self, fields: &[Field], spill: &Spill) -> Names {
        let mut names = Names::default();
        fields.iter().for_each(|f| {
            names.insert(name_hash(self.text_of(f.key, spill)));
        });
        names
    }

    /// Where the first member of the object begins, if there is one.
    pub(super) fn open_object(&self) -> Option<usize> {
        let at = self.space(0);
        let first = self.space(at + 1);
        (self.byte(at) == b'{' && self.byte(first) == b'"').then_some(first)
    }

    /// The member at `at` and where the next one begins.
    pub(super) fn member(&self, at: usize) -> Option<(Member, Option<usize>)> {
        let (start, end, key_escaped, value_start) = self.key(at).ok()?;
        let (value, kind, end_of_value) = self.value(value_start).ok()?;
        let comma = self.space(end_of_value);
        let next = (self.byte(comma) == b',').then(|| self.space(comma + 1));
        Some((Member { key: self.span(start, end), key_escaped, value, kind }, next))
    }

    /// A name as it stood, or unescaped into `spill`.
    #[inline(always)]
    fn name(&self, start: usize, end: usize, escaped: bool, spill: &mut Spill) -> Span {
        if escaped { spill.push_with(|out| unescape(&self.text[start..end], out)) } else { self.span(start, end) }
    }

    /// The bytes of a span that lies in the arena; nothing for one in the spill.
    #[inline(always)]
    fn arena_text(&self, span: Span) -> &'a [u8] {
        let start = span.start.wrapping_sub(self.base) as usize;
        self.text.get(start..start + span.len as usize).unwrap_or_default()
    }

    fn text_of<'s>(&self, span: Span, spill: &'s Spill) -> &'s [u8]
    where
        'a: 's,
    {
        spill.text(self.arena_text(span), span)
    }

    /// Gives an earlier member of the same name the new value; false where there is none.
    #[cold]
    fn replace(&self, fields: &mut [Field], key: Span, value: Span, kind: ValueKind, spill: &Spill) -> bool {
        let name = self.text_of(key, spill);
        match fields.iter_mut().find(|f| self.text_of(f.key, spill) == name) {
            Some(field) => {
                (field.value, field.kind) = (value, kind);
                true
            }
            None => false,
        }
    }

    /// The same for wide objects, all at once: n log n.
    #[cold]
    fn drop_repeated(&self, first: usize, fields: &mut Vec<Field>, spill: &Spill) -> bool {
        let mut order: Vec<usize> = (first..fields.len()).collect();
        order.sort_by_key(|i| self.text_of(fields[*i].key, spill));
        let mut doomed = vec![false; fields.len() - first];
        let same = |a: &usize, b: &usize| self.text_of(fields[*a].key, spill) == self.text_of(fields[*b].key, spill);
        let runs: Vec<&[usize]> = order.chunk_by(same).filter(|run| run.len() > 1).collect();
        for run in &runs {
            let last = fields[run[run.len() - 1]];
            fields[run[0]] = Field { key: fields[run[0]].key, ..last };
            run[1..].iter().for_each(|i| doomed[i - first] = true);
        }
        let before = fields.len();
        let mut index = 0;
        fields.retain(|_| {
            index += 1;
            index <= first || !doomed[index - 1 - first]
        });
        fields.len() != before
    }

    /// A value at `at`: its span, how to read it, and where it ends.
    #[inline(always)]
    fn value(&self, at: usize) -> Step<(Span, ValueKind, usize)> {
        if self.byte(at) == b'"' {
            let (end, escaped) = self.string(at + 1)?;
            let kind = if escaped { ValueKind::Escaped } else { ValueKind::Text };
            return Ok((self.span(at + 1, end), kind, end + 1));
        }
        let end = match self.byte(at) {
            b'{' | b'[' => self.nested(at)?,
            _ => self.scalar(at)?,
        };
        Ok((self.span(at, end), ValueKind::Json, end))
    }

    /// A member name and the colon behind it: start and end of the name, whether it holds escapes, start of the value.
    #[inline(always)]
    fn key(&self, at: usize) -> Step<(usize, usize, bool, usize)> {
        if self.byte(at) != b'"' {
            return Err((at, self.or_ends(at, JsonReason::Key)));
        }
        let (end, escaped) = self.string(at + 1)?;
        let colon = self.space(end + 1);
        if self.byte(colon) != b':' {
            return Err((colon, self.or_ends(colon, JsonReason::Colon)));
        }
        Ok((at + 1, end, escaped, self.space(colon + 1)))
    }

    /// The closing quote of a string whose inside begins at `at`, and whether it holds escapes.
    #[inline(always)]
    fn string(&self, at: usize) -> Step<(usize, bool)> {
        let end = plain_end(self.bytes, at);
        if self.byte(end) == b'"' { Ok((end, false)) } else { self.string_with_escapes(end) }
    }

    #[inline(never)]
    fn string_with_escapes(&self, from: usize) -> Step<(usize, bool)> {
        let mut at = from;
        loop {
            match self.byte(at) {
                b'"' => return Ok((at, true)),
                b'\\' => at = plain_end(self.bytes, self.escape(at)?),
                _ => return Err((at.min(self.text.len()), self.or_ends(at, JsonReason::Control))),
            }
        }
    }

    /// Checks the escape at `at`, returns where it ends.
    fn escape(&self, at: usize) -> Step<usize> {
        let wrong = Err((at, self.or_ends(at + 1, JsonReason::Escape)));
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => match self.code_unit(at) {
                Some(0xd800..=0xdbff) => match self.code_unit(at + 6) {
                    Some(0xdc00..=0xdfff) => Ok(at + 12),
                    _ => wrong,
                },
                None | Some(0xdc00..=0xdfff) => wrong,
                Some(_) => Ok(at + 6),
            },
            _ => wrong,
        }
    }

    /// The number of `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Option<u16> {
        super::text::code_unit(self.text.get(at..)?)
    }

    /// Checks a number, `true`, `false` or `null` at `at`, returns where it ends.
    #[inline(always)]
    fn scalar(&self, at: usize) -> Step<usize> {
        match self.byte(at) {
            b'-' | b'0'..=b'9' => self.number(at),
            b't' => self.word(at, b"true"),
            b'f' => self.word(at, b"false"),
            b'n' => self.word(at, b"null"),
            _ => Err((at, self.or_ends(at, JsonReason::Value))),
        }
    }

    #[inline(always)]
    fn word(&self, at: usize, word: &[u8]) -> Step<usize> {
        let rest = self.text.get(at..).unwrap_or_default();
        if rest.starts_with(word) { Ok(at + word.len()) } else { Err((at, JsonReason::Value)) }
    }

    #[inline(always)]
    fn number(&self, from: usize) -> Step<usize> {
        let mut at = from + usize::from(self.byte(from) == b'-');
        at = if self.byte(at) == b'0' { at + 1 } else { self.digits(from, at)? };
        if self.byte(at) == b'.' {
            at = self.digits(from, at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
            at = self.digits(from, at + 1 + sign)?;
        }
        Ok(at)
    }

    /// At least one digit at `at`; `number` is where the number starts, for the error.
    #[inline(always)]
    fn digits(&self, number: usize, at: usize) -> Step<usize> {
        let rest = self.text.get(at..).unwrap_or_default();
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 { Err((number, JsonReason::Number)) } else { Ok(at + count) }
    }

    /// Checks the array or object at `at`, returns where it ends. The stack of open brackets is a word of bits.
    fn nested(&self, from: usize) -> Step<usize> {
        let (mut at, mut depth, mut objects) = (from, 1u32, 0u128);
        loop {
            let open = self.byte(at);
            if open == b'{' || open == b'[' {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err((at, JsonReason::Depth));
                }
                objects = (objects << 1) | u128::from(open == b'{');
                at = self.space(at + 1);
                if self.byte(at) != if open == b'{' { b'}' } else { b']' } {
                    at = if open == b'{' { self.key(at)?.3 } else { at };
                    continue;
                }
            } else if open == b'"' {
                at = self.string(at + 1)?.0 + 1;
            } else {
                at = self.scalar(at)?;
            }
            loop {
                if depth == 1 {
                    return Ok(at);
                }
                at = self.space(at);
                match (self.byte(at), objects & 1 == 1) {
                    (b',', true) => at = self.key(self.space(at + 1))?.3,
                    (b',', false) => at = self.space(at + 1),
                    (b'}', true) | (b']', false) => {
                        (at, depth, objects) = (at + 1, depth - 1, objects >> 1);
                        continue;
                    }
                    _ => return Err((at, self.or_ends(at, JsonReason::Comma))),
                }
                break;
            }
        }
    }

    fn end(&self, at: usize) -> Step<()> {
        let at = self.space(at);
        if at < self.text.len() { Err((at, JsonReason::Trailing)) } else { Ok(()) }
    }

    /// Skips white space, of which there is seldom any.
    #[inline(always)]
    fn space(&self, at: usize) -> usize {
        if self.byte(at) > b' ' { at } else { self.skip_space(at) }
    }

    #[inline(never)]
    fn skip_space(&self, from: usize) -> usize {
        let mut at = from;
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            if matches!(self.byte(at), b'\n' | b'\r') {
                self.line_break.set(true);
            }
            at += 1;
        }
        at
    }

    /// The byte at `at`; 0, which is valid nowhere, behind the end.
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn span(&self, start: usize, end: usize) -> Span {
        Span { start: self.base + start as u32, len: (end - start) as u32 }
    }

    #[cold]
    fn or_ends(&self, at: usize, reason: JsonReason) -> JsonReason {
        if at < self.text.len() { reason } else { JsonReason::Ends }
    }
}

/// Checks that `text` is one JSON object, with nothing but white space around it.
pub fn check_object(text: &[u8]) -> Result<(), JsonError> {
    match text.iter().position(|b| !b.is_ascii_whitespace()) {
        Some(offset) if text[offset] != b'{' => Err(JsonError { offset, reason: JsonReason::NotAnObject }),
        _ => check_value(text),
    }
}

/// Checks that `text` is the inside of one JSON string.
pub fn check_string(text: &[u8]) -> Result<(), JsonError> {
    let reader = Reader::whole(text);
    let mut at = 0;
    let checked = reader.check_utf8().and_then(|()| {
        loop {
            at = plain_end(text, at);
            match reader.byte(at) {
                _ if at == text.len() => break Ok(()),
                b'\\' => at = reader.escape(at)?,
                b'"' => break Err((at, JsonReason::Trailing)),
                _ => break Err((at, JsonReason::Control)),
            }
        }
    });
    checked.map_err(|(offset, reason)| JsonError { offset, reason })
}

/// Checks that `text` is one JSON value of any kind, with nothing but white space around it.
pub fn check_value(text: &[u8]) -> Result<(), JsonError> {
    let reader = Reader::whole(text);
    let checked = reader.check_utf8().and_then(|()| reader.nested(reader.space(0))).and_then(|end| reader.end(end));
    checked.map_err(|(offset, reason)| JsonError { offset, reason })
}
