//! Batches: one arena of bytes and tables of offsets into it. Nothing here is allocated per record.
//!
//! A source fills an [`Input`]; the chain decodes it into a [`Batch`] that takes over the arena and appends new values to
//! its end; sinks get an [`Output`]: a shared batch and the numbers of the rows that are theirs.

use crate::id::{Generation, RECORD_ID_CHARS, RecordIdText, RecordIds, RowId};
use std::sync::Arc;

/// Largest arena that a source may fill. What decoding and plugins append keeps below the 4 GiB that spans can name.
pub const ARENA_BYTES_MAX: usize = 1 << 30;

/// A range of bytes of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// Whether `other` lies inside this span.
    #[inline(always)]
    pub fn holds(self, other: Span) -> bool {
        other.start >= self.start && other.start + other.len <= self.start + self.len
    }

    /// The bytes of this span in `arena`.
    pub fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..(self.start + self.len) as usize]
    }
}

/// What a source read: consecutive records of one generation.
#[derive(Clone, Debug)]
pub struct Input {
    /// The history that the records belong to.
    pub generation: Generation,
    /// Holds every byte that the records name.
    pub arena: Vec<u8>,
    /// In the order of the generation.
    pub records: Vec<InputRecord>,
    /// Starts of the joined records (CRI fragments, multiline) still open after the last record; at most two.
    pub open: Vec<u64>,
}

impl Input {
    /// Memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.arena.capacity() + self.records.capacity() * size_of::<InputRecord>()
    }
}

/// One input record: a line, several joined lines, a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InputRecord {
    /// Its position: where its last fragment starts.
    pub pos: u64,
    /// The position of the next record.
    pub end: u64,
    /// Its bytes, without the line end.
    pub text: Span,
    /// When the collector took it, unix nanoseconds; 0 where the PLAN's time says it.
    pub received: i64,
    /// What happened to it on the way in, a set of `flag` bits.
    pub flags: u8,
}

/// Bits of `InputRecord::flags` and `Row::flags`.
pub mod flag {
    /// The line was longer than the limit and is cut.
    pub const TRUNCATED: u8 = 1;
    /// No decoder took it; `body` holds the original.
    pub const UNDECODED: u8 = 2;
    /// The stream of a CRI line was stderr.
    pub const STDERR: u8 = 4;
    /// The text begins with fields of this record alone (`attached`).
    pub const ATTACHED: u8 = 8;
    /// The row comes back from the dead letters: its `input` begins with the record id that it keeps.
    pub const REPLAYED: u8 = 16;
}

/// How the bytes of a field's value are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueKind {
    /// Unescaped text; may hold invalid UTF-8.
    Text,
    /// The inside of a JSON string that holds escapes.
    Escaped,
    /// A JSON token as it stood: number, boolean, null, object, array.
    Json,
}

/// One member of a record's top level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Unescaped name.
    pub key: Span,
    /// The value; strings without their quotes.
    pub value: Span,
    /// How to read `value`.
    pub kind: ValueKind,
}

/// One row: an event time and an object of fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which row of which input this is.
    pub id: RowId,
    /// Index into the `Input::records` (or FLUSH) that gave rise to it; the ledger counts by it.
    pub parent: u32,
    /// Event time, unix nanoseconds; the received time until something sets it.
    pub time: i64,
    /// Received time, unix nanoseconds.
    pub received: i64,
    /// The raw input, for the content hash of the record id.
    pub input: Span,
    /// One JSON object without line breaks whose members are exactly those fields whose names lie inside it; writers copy
    /// it and append the other fields. `None` for text decoders, and after an edit that changes or removes such a field.
    pub text: Option<Span>,
    /// First field in `Batch::fields`.
    pub fields_start: u32,
    /// Number of fields.
    pub fields_len: u32,
    /// A set of `flag` bits.
    pub flags: u8,
}

/// Bytes to be appended to an arena that is being read. Spans are those that they will have in the arena.
#[derive(Clone, Debug)]
pub struct Spill {
    base: u32,
    bytes: Vec<u8>,
}

impl Spill {
    /// A spill behind an arena of `arena_len` bytes.
    pub fn behind(arena_len: usize) -> Self {
        assert!(arena_len <= ARENA_BYTES_MAX, "an arena of {arena_len} bytes, the limit is {ARENA_BYTES_MAX}");
        Self { base: arena_len as u32, bytes: Vec::new() }
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> Span {
        self.push_with(|out| out.extend_from_slice(bytes))
    }

    /// Appends what `write` writes.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.bytes.len();
        write(&mut self.bytes);
        Span { start: self.base + start as u32, len: (self.bytes.len() - start) as u32 }
    }

    /// The bytes of `span` if it lies in the spill, else `in_arena`.
    #[inline(always)]
    pub fn text<'a>(&'a self, in_arena: &'a [u8], span: Span) -> &'a [u8] {
        match span.start.checked_sub(self.base) {
            Some(start) => &self.bytes[start as usize..(start + span.len) as usize],
            None => in_arena,
        }
    }

    /// Everything that was appended.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Decoded rows of one generation, in order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The history that the rows come from.
    pub generation: Generation,
    /// Holds every byte that rows and fields name.
    pub arena: Vec<u8>,
    /// In the order of their ids.
    pub rows: Vec<Row>,
    /// Fields of all rows; a row names its own.
    pub fields: Vec<Field>,
}

impl Batch {
    /// An empty batch of `generation`.
    pub fn new(generation: Generation) -> Self {
        Self { generation, arena: Vec::new(), rows: Vec::new(), fields: Vec::new() }
    }

    /// Memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.rows.capacity() * size_of::<Row>() + self.fields.capacity() * size_of::<Field>();
        self.arena.capacity() + tables
    }

    /// Fields of `row`.
    pub fn fields_of(&self, row: &Row) -> &[Field] {
        &self.fields[row.fields_start as usize..(row.fields_start + row.fields_len) as usize]
    }

    /// The raw input of `row`.
    pub fn input_of(&self, row: &Row) -> &[u8] {
        let input = row.input.of(&self.arena);
        let kept = if row.flags & flag::REPLAYED == 0 { 0 } else { RECORD_ID_CHARS };
        input.get(kept..).unwrap_or(input)
    }

    /// The record id of `row`; `ids` are those of the batch's source and generation. What comes back from the dead letters
    /// keeps its id; rows that a plugin makes of it get ids of their own.
    #[inline]
    pub fn record_id(&self, ids: &RecordIds, row: &Row) -> RecordIdText {
        let input = row.input.of(&self.arena);
        if row.flags & flag::REPLAYED != 0
            && row.id.k == 0
            && let Some(kept) = input.get(..RECORD_ID_CHARS).and_then(RecordIdText::parse)
        {
            return kept;
        }
        ids.text(row.id, input)
    }

    /// Appends `bytes` to the arena. The arena stays below 4 GiB: batches are bounded in bytes long before.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }
}

/// What one sink gets of a batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// Shared by all sinks of the lane.
    pub batch: Arc<Batch>,
    /// Rows that are this sink's, ascending.
    pub rows: Vec<u32>,
}

impl Output {
    /// Memory that it takes, in bytes: all of the batch, which whoever holds it keeps from going.
    pub fn memory_bytes(&self) -> usize {
        self.batch.memory_bytes() + self.rows.capacity() * size_of::<u32>()
    }

    /// The rows of this sink.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|i| &self.batch.rows[*i as usize])
    }
}
