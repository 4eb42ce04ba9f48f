//! Columns out of a batch: field paths and pseudo-columns, compiled once per plugin.

use super::write::write_record;
use crate::plugin::Plugin;
use crate::view::{BatchFacts, BatchView, Column, RowFacts, set_bit};
use sawlog_record::batch::{Batch, Row, ValueKind};
use sawlog_record::id::{RECORD_ID_CHARS, RecordIds};
use sawlog_record::json::unescape;
use sawlog_record::path::Path;

/// What a column is made of.
#[derive(Clone, Debug)]
enum Source {
    Record,
    RecordId,
    Received,
    Component,
    Field(Path),
}

/// The columns that one plugin reads.
#[derive(Clone, Debug)]
pub struct Columns {
    sources: Vec<Source>,
    timestamps: bool,
    lateness: i64,
}

/// Where a batch comes from and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOrigin<'a> {
    /// Id of the component whose output this is.
    pub input: &'a str,
    /// Id of the source, as record ids and `$source` have it.
    pub source: &'a str,
    /// The PLAN's time, unix nanoseconds.
    pub time: i64,
    /// Event-time watermark before the first row (of the runner); `None` for stateless plugins.
    pub watermark: Option<i64>,
}

impl Columns {
    /// The columns of `plugin`'s registration, whose paths were checked when it was loaded.
    pub fn of(plugin: &Plugin) -> Self {
        let registration = plugin.registration();
        let source = |column: &String| match column.as_str() {
            "$record" => Source::Record,
            "$rid" => Source::RecordId,
            "$received" => Source::Received,
            "$source" => Source::Component,
            path => Source::Field(Path::parse(path).unwrap_or_else(|_| Path::of(vec![path.to_owned()]))),
        };
        Self {
            sources: registration.columns.iter().map(source).collect(),
            timestamps: registration.timestamps,
            lateness: registration.lateness,
        }
    }

    /// The view of `batch`; `None` if it has more rows than one view may have (see [`BatchView::new`]).
    pub fn view(&self, batch: &Batch, origin: BatchOrigin<'_>) -> Option<BatchView> {
        let columns = self.sources.iter().map(|source| column(source, batch, origin)).collect();
        let facts = BatchFacts {
            input: origin.input.to_owned(),
            time: origin.time,
            watermark: origin.watermark,
            lateness: self.lateness,
            timestamps: self.timestamps,
        };
        let rows = batch.rows.iter().map(|row| RowFacts { time: row.time, bytes: bytes_of(batch, row) }).collect();
        BatchView::new(facts, rows, columns)
    }
}

/// Size of a row: that of its input, or of its fields where it has none.
fn bytes_of(batch: &Batch, row: &Row) -> u32 {
    let known = row.input.len.max(row.text.map_or(0, |text| text.len));
    if known > 0 {
        return known;
    }
    batch.fields_of(row).iter().map(|f| f.key.len + f.value.len).sum()
}

fn column(source: &Source, batch: &Batch, origin: BatchOrigin<'_>) -> Column {
    match source {
        Source::Field(path) => field(path, batch),
        Source::Record => filled(batch, 256, |row, out| write_record(batch, row, out)),
        Source::RecordId => {
            let ids = RecordIds::of(origin.source, batch.generation);
            filled(batch, RECORD_ID_CHARS, |row, out| out.extend_from_slice(batch.record_id(&ids, row).as_bytes()))
        }
        Source::Received => filled(batch, 20, |row, out| out.extend_from_slice(row.received.to_string().as_bytes())),
        Source::Component => {
            filled(batch, origin.source.len(), |_, out| out.extend_from_slice(origin.source.as_bytes()))
        }
    }
}

/// A column of text that no row misses.
fn filled(batch: &Batch, bytes_per_row: usize, write: impl Fn(&Row, &mut Vec<u8>)) -> Column {
    let mut data = Vec::with_capacity(bytes_per_row * batch.rows.len());
    let mut offsets = Vec::with_capacity(batch.rows.len() + 1);
    offsets.push(0);
    for row in &batch.rows {
        write(row, &mut data);
        offsets.push(data.len() as u32);
    }
    Column { offsets, data, present: Vec::new(), json: Vec::new() }
}

fn field(path: &Path, batch: &Batch) -> Column {
    let n = batch.rows.len();
    let mut column = Column {
        offsets: Vec::with_capacity(n + 1),
        data: Vec::with_capacity(8 * n),
        present: vec![0; n.div_ceil(64)],
        json: vec![0; n.div_ceil(64)],
    };
    column.offsets.push(0);
    let (mut missing, mut tokens) = (false, false);
    for (i, row) in batch.rows.iter().enumerate() {
        match path.locate(&batch.arena, batch.fields_of(row)) {
            Some((span, kind)) => {
                let bytes = span.of(&batch.arena);
                set_bit(&mut column.present, i, true);
                match kind {
                    ValueKind::Text => column.data.extend_from_slice(bytes),
                    ValueKind::Escaped => unescape(bytes, &mut column.data),
                    ValueKind::Json => {
                        column.data.extend_from_slice(bytes);
                        set_bit(&mut column.json, i, true);
                        tokens = true;
                    }
                }
            }
            None => missing = true,
        }
        column.offsets.push(column.data.len() as u32);
    }
    // Empty masks say the same for nothing.
    if !missing {
        column.present.clear();
    }
    if !tokens {
        column.json.clear();
    }
    column
}
