//! The row that a decoder is filling, and the words that decoders give as names. Knows nothing of any format.

use crate::attached;
use crate::batch::{Field, Span, Spill, ValueKind};
use crate::json::{JsonError, Names, Shape, name_hash};

/// Words that rows use as names or values. They are written once per batch, in front of its spill, so that a row only copies
/// spans.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary {
    bytes: Vec<u8>,
}

/// A word of a [`Dictionary`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    place: Span,
    hash: u8,
}

impl Word {
    pub(super) fn hash(self) -> u8 {
        self.hash
    }
}

impl Dictionary {
    /// Adds a word.
    pub(super) fn add(&mut self, word: &str) -> Word {
        let place = Span { start: self.bytes.len() as u32, len: word.len() as u32 };
        self.bytes.extend_from_slice(word.as_bytes());
        Word { place, hash: name_hash(word.as_bytes()) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a decoder made of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The row is complete.
    Complete,
    /// An envelope was taken off; the decoders behind this one read what it held.
    Inner(Span),
    /// The text itself is what the record says.
    Body,
}

/// Why a decoder does not take a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not one JSON object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not of the decoder's shape from this byte on.
    #[error("not {format} at byte {offset}: expected {expected}")]
    Shape {
        /// The decoder's name.
        format: &'static str,
        /// Bytes before the mistake, from the start of the text that this decoder was given.
        offset: usize,
        /// What should stand there.
        expected: &'static str,
    },
}

/// A row in the making.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The arena that the text lies in.
    pub(super) arena: &'a [u8],
    /// What the decoder shall read.
    pub(super) span: Span,
    /// Fields of all rows so far.
    pub(super) fields: &'a mut Vec<Field>,
    /// Where the fields of the present decoder begin; those of an envelope lie before.
    pub(super) first: usize,
    /// New bytes of the batch.
    pub(super) spill: &'a mut Spill,
    /// Where the dictionary begins in the arena to come.
    pub(super) dictionary: u32,
    /// Names that the present decoder has given.
    pub(super) names: Names,
    /// Names that an envelope has given.
    pub(super) trusted: Names,
    /// The record as JSON text.
    pub(super) object: Option<Span>,
    /// Event time, unix nanoseconds.
    pub(super) time: Option<i64>,
    /// What the JSON object of the row before looked like.
    pub(super) shape: &'a mut Shape,
    /// Room for one decoder's own use, kept from row to row.
    pub(super) slots: &'a mut Option<regex::bytes::CaptureLocations>,
}

impl<'a> Draft<'a> {
    /// The text to be read.
    #[inline(always)]
    pub fn text(&self) -> &'a [u8] {
        self.span.of(self.arena)
    }

    /// The place of `text()[start..end]` in the arena.
    #[inline(always)]
    pub fn place(&self, start: usize, end: usize) -> Span {
        Span { start: self.span.start + start as u32, len: (end - start) as u32 }
    }

    /// Adds a field whose name is a word of the dictionary.
    #[inline(always)]
    pub fn put(&mut self, word: Word, value: Span, kind: ValueKind) {
        self.names.insert(word.hash);
        self.fields.push(Field { key: self.word(word), value, kind });
    }

    /// Adds a field with a name that lies in the text; of a repeated name the last value stays.
    pub fn put_named(&mut self, key: Span, value: Span, kind: ValueKind) {
        let name = key.of(self.arena);
        match self.find(name) {
            Some(at) => (self.fields[at].value, self.fields[at].kind) = (value, kind),
            None => {
                self.names.insert(name_hash(name));
                self.fields.push(Field { key, value, kind });
            }
        }
    }

    /// The place of a word of the dictionary.
    #[inline(always)]
    pub fn word(&self, word: Word) -> Span {
        Span { start: self.dictionary + word.place.start, len: word.place.len }
    }

    /// Takes the fields that the source attached off the text; the record can't forge them.
    pub(super) fn open_attached(&mut self) {
        let arena = self.arena;
        let text = attached::split(arena, self.span, |name, value, kind| {
            self.names.insert(name_hash(name.of(arena)));
            self.fields.push(Field { key: name, value, kind });
        });
        if text == self.span {
            self.take_back();
        }
        self.enter(text);
    }

    /// Goes on inside an envelope: what is in the row stays, whatever the decoders behind say.
    pub(super) fn enter(&mut self, inner: Span) {
        (self.span, self.first) = (inner, self.fields.len());
        self.trusted.join(&self.names);
        self.names = Names::default();
    }

    /// Takes back what the present decoder has added.
    pub(super) fn take_back(&mut self) {
        self.fields.truncate(self.first);
        self.names = Names::default();
    }

    /// Index of the present decoder's field called `name`.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        if !self.names.may_hold(name_hash(name)) {
            return None;
        }
        let own = &self.fields[self.first..];
        own.iter().position(|f| self.spill.text(arena_text(self.arena, f.key), f.key) == name).map(|at| self.first + at)
    }

    /// Sets the event time, unix nanoseconds.
    pub fn set_time(&mut self, time: i64) {
        self.time = Some(time);
    }
}

/// The bytes of a span that lies in the arena, nothing for one behind it.
pub(super) fn arena_text(arena: &[u8], span: Span) -> &[u8] {
    arena.get(span.start as usize..(span.start + span.len) as usize).unwrap_or_default()
}
