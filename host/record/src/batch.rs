//! Batches: one arena of bytes and tables of offsets into it. Nothing here is allocated per record.
//!
//! A source fills an [`Input`]; the chain decodes it into a [`Batch`] that takes over the arena and appends new values to
//! its end; sinks get an [`Output`]: a shared batch and the numbers of the rows that are theirs.

use crate::id::{Generation, RowId};
use std::sync::Arc;

/// A range of bytes of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
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
    /// The whole record as JSON text where that text is still true; writers copy it. `None` after an edit or for text decoders.
    pub text: Option<Span>,
    /// First field in `Batch::fields`.
    pub fields_start: u32,
    /// Number of fields.
    pub fields_len: u32,
    /// A set of `flag` bits.
    pub flags: u8,
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

    /// Fields of `row`.
    pub fn fields_of(&self, row: &Row) -> &[Field] {
        &self.fields[row.fields_start as usize..(row.fields_start + row.fields_len) as usize]
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
    /// The rows of this sink.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|i| &self.batch.rows[*i as usize])
    }
}
