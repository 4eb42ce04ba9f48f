//! The three steps over one batch: in one pass over its rows, without memory for each. A record's text is copied only where an
//! address in it goes, and then to where a dropped record was: nobody reads that any more, while the input of a kept one stays as it
//! came in, for its id.

use crate::address;
use sawlog_record::batch::{Batch, Field, Output, Row, Span, ValueKind};
use sawlog_record::json::unescape;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

const LEVEL: &[u8] = b"level";
/// Levels below `info`.
const LOW: [&[u8]; 2] = [b"debug", b"trace"];
const MESSAGE: &[u8] = b"message";
const REDACTED: &[u8] = b"[email]";
const ADDED: (&[u8], &[u8]) = (b"cluster", b"eu-1");

/// The steps, and what is kept from row to row.
#[derive(Debug, Default)]
pub struct Steps {
    /// Where the members were in the row before.
    level: usize,
    message: usize,
    /// Addresses of a text.
    found: Vec<Range<usize>>,
    /// A text without its escapes.
    plain: Vec<u8>,
    /// Bytes that nobody reads any more.
    free: Span,
}

/// Where the member is; `before` says where it was in another row.
fn member(arena: &[u8], fields: &[Field], name: &[u8], before: usize) -> Option<usize> {
    let is_it = |field: &Field| field.key.len as usize == name.len() && field.key.of(arena) == name;
    if fields.get(before).is_some_and(is_it) { Some(before) } else { fields.iter().position(is_it) }
}

fn range(span: Span) -> Range<usize> {
    span.start as usize..(span.start + span.len) as usize
}

impl Steps {
    /// Does the steps to the rows of `output`; how many are dropped.
    pub fn take(&mut self, output: &mut Output) -> u64 {
        let none = Arc::new(Batch::new(output.batch.generation));
        let shared = mem::replace(&mut output.batch, none);
        let mut batch = Arc::try_unwrap(shared).unwrap_or_else(|shared| (*shared).clone());
        let (before, own) = (output.rows.len(), mem::take(&mut batch.fields));
        let added = Field { key: batch.push_bytes(ADDED.0), value: batch.push_bytes(ADDED.1), kind: ValueKind::Text };
        batch.fields.reserve(own.len() + before);
        self.free = Span::default();
        let mut kept = 0;
        for index in &output.rows {
            let mut row = batch.rows[*index as usize];
            let own = &own[row.fields_start as usize..][..row.fields_len as usize];
            if self.is_low(&batch.arena, own) {
                self.free = row.input;
                continue;
            }
            let first = batch.fields.len();
            batch.fields.extend_from_slice(own);
            self.redact(&mut batch.arena, &mut row, &mut batch.fields[first..]);
            add(&mut batch, &mut row, (first, added));
            row.fields_start = first as u32;
            row.fields_len = (batch.fields.len() - first) as u32;
            batch.rows[kept] = row;
            kept += 1;
        }
        batch.rows.truncate(kept);
        output.rows.clear();
        output.rows.extend(0..kept as u32);
        output.batch = Arc::new(batch);
        (before - kept) as u64
    }

    fn is_low(&mut self, arena: &[u8], fields: &[Field]) -> bool {
        let Some(at) = member(arena, fields, LEVEL, self.level) else { return false };
        self.level = at;
        let value = fields[at].value.of(arena);
        let is_low = |word: &[u8]| LOW.iter().any(|low| word.eq_ignore_ascii_case(low));
        match fields[at].kind {
            ValueKind::Escaped => {
                self.plain.clear();
                unescape(value, &mut self.plain);
                is_low(&self.plain)
            }
            _ => is_low(value),
        }
    }

    fn redact(&mut self, arena: &mut Vec<u8>, row: &mut Row, fields: &mut [Field]) {
        let Some(at) = member(arena, fields, MESSAGE, self.message) else { return };
        self.message = at;
        let Field { key, value, kind } = fields[at];
        match kind {
            ValueKind::Json => {}
            ValueKind::Text => {
                self.find(value.of(arena));
                match row.text.filter(|text| text.holds(key)) {
                    _ if self.found.is_empty() => {}
                    Some(text) => row.text = Some(self.rewrite(arena, text, fields, at)),
                    None => fields[at].value = self.push(arena, range(value)),
                }
            }
            ValueKind::Escaped => {
                let mut plain = mem::take(&mut self.plain);
                plain.clear();
                unescape(value.of(arena), &mut plain);
                self.find(&plain);
                if !self.found.is_empty() {
                    let start = arena.len();
                    arena.extend_from_slice(&plain);
                    fields[at].value = self.push(arena, start..start + plain.len());
                    fields[at].kind = ValueKind::Text;
                    row.text = row.text.filter(|text| !text.holds(key));
                }
                self.plain = plain;
            }
        }
    }

    fn find(&mut self, text: &[u8]) {
        self.found.clear();
        let mut from = 0;
        while let Some(found) = address::next(text, from) {
            from = found.end;
            self.found.push(found);
        }
    }

    /// By how much a text changes its length without its addresses.
    fn growth(&self) -> isize {
        self.found.iter().map(|found| REDACTED.len() as isize - found.len() as isize).sum()
    }

    /// Appends the text at `place` without its addresses.
    fn push(&self, arena: &mut Vec<u8>, place: Range<usize>) -> Span {
        let (start, len) = (arena.len(), place.len().wrapping_add_signed(self.growth()));
        arena.resize(start + len, 0);
        self.copy(arena, place.clone(), place.start, start);
        Span { start: start as u32, len: len as u32 }
    }

    /// Writes the record's own text anew without the addresses of the member `at`, and moves all members there.
    fn rewrite(&mut self, arena: &mut Vec<u8>, text: Span, fields: &mut [Field], at: usize) -> Span {
        let (growth, value) = (self.growth() as i32, fields[at].value);
        let len = text.len.wrapping_add_signed(growth);
        let start = if self.free.len >= len {
            mem::take(&mut self.free).start
        } else {
            let start = arena.len();
            arena.resize(start + len as usize, 0);
            start as u32
        };
        self.copy(arena, range(text), value.start as usize, start as usize);
        let moved = |span: Span| {
            let grown = if span.start > value.start { growth } else { 0 };
            let to = (span.start - text.start + start).wrapping_add_signed(grown);
            Span { start: to, ..span }
        };
        for field in fields.iter_mut().filter(|field| text.holds(field.key)) {
            (field.key, field.value) = (moved(field.key), moved(field.value));
        }
        fields[at].value.len = value.len.wrapping_add_signed(growth);
        Span { start, len }
    }

    /// Copies `text` to `to`, without the addresses of the value that begins at `value`.
    fn copy(&self, arena: &mut [u8], text: Range<usize>, value: usize, to: usize) {
        let (mut from, mut to) = (text.start, to);
        for found in &self.found {
            let end = value + found.start;
            arena.copy_within(from..end, to);
            to += end - from;
            arena[to..to + REDACTED.len()].copy_from_slice(REDACTED);
            to += REDACTED.len();
            from = value + found.end;
        }
        arena.copy_within(from..text.end, to);
    }
}

/// Adds the field to the row whose fields begin at `first`, the last of all.
fn add(batch: &mut Batch, row: &mut Row, (first, added): (usize, Field)) {
    match member(&batch.arena, &batch.fields[first..], ADDED.0, 0) {
        None => batch.fields.push(added),
        Some(at) => {
            let there = &mut batch.fields[first + at];
            row.text = row.text.filter(|text| !text.holds(there.key));
            *there = Field { key: there.key, ..added };
        }
    }
}
