//! The columns of a file: which there are, and what of a row goes into which. Knows nothing of pages and files.

use super::super::row::{Provenance, Shared};
use super::super::{FormatError, row};
use super::buffer::{Buffer, Values};
use super::fit;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::{Type, TypePtr};
use sawlog_record::batch::{Batch, Row};
use sawlog_record::path::Path;
use sawlog_record::value::Value;
use sawlog_settings::component;
use sawlog_settings::format::{Column, ColumnType};
use std::sync::Arc;

/// The columns of a file and their values in the row group in the making.
pub(super) struct Columns {
    schema: TypePtr,
    columns: Vec<(Content, Buffer)>,
    rows: usize,
    bytes: usize,
    /// Which fields of the present row a column has taken whole.
    taken: Vec<bool>,
}

/// What a column holds.
enum Content {
    RecordId,
    Agent,
    Source,
    Position,
    ReceivedTime,
    EventTime,
    Declared(Path, ColumnType),
    Rest,
}

/// All that a row's columns are made of.
pub(super) struct RowParts<'a> {
    pub(super) batch: &'a Batch,
    pub(super) row: &'a Row,
    pub(super) provenance: &'a Provenance<'a>,
    pub(super) shared: &'a Shared,
}

impl Columns {
    /// The fixed columns, with those of provenance or not, and the declared ones.
    pub(super) fn new(provenance: component::Provenance, declared: &[Column]) -> Result<Self, FormatError> {
        let text = ColumnType::Text;
        let mut plan = Vec::new();
        if provenance == component::Provenance::Full {
            plan.push(("record_id", text, true, Content::RecordId));
            plan.push(("agent", text, true, Content::Agent));
            plan.push(("source", text, true, Content::Source));
            plan.push(("position", ColumnType::Int64, true, Content::Position));
        }
        if provenance != component::Provenance::None {
            plan.push(("received_time", ColumnType::Timestamp, true, Content::ReceivedTime));
        }
        plan.push(("event_time", ColumnType::Timestamp, true, Content::EventTime));
        plan.push(("body", text, false, Content::Declared(Path::of(vec!["body".into()]), text)));
        for column in declared {
            let path = Path::parse(column.path.as_ref().unwrap_or(&column.name)).map_err(FormatError::parquet)?;
            plan.push((column.name.as_str(), column.column_type, false, Content::Declared(path, column.column_type)));
        }
        plan.push(("rest", ColumnType::Json, false, Content::Rest));
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (name, column_type, required, content) in plan {
            fields.push(Arc::new(column(name, column_type, required)?));
            columns.push((content, Buffer::new(values_of(column_type), required)));
        }
        let schema = Type::group_type_builder("record").with_fields(fields).build().map_err(FormatError::parquet)?;
        Ok(Self { schema: Arc::new(schema), columns, rows: 0, bytes: 0, taken: Vec::new() })
    }

    pub(super) fn schema(&self) -> TypePtr {
        self.schema.clone()
    }

    /// Rows of the row group in the making.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Their bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row.
    pub(super) fn push(&mut self, parts: &RowParts<'_>) {
        self.taken.clear();
        self.taken.resize(parts.row.fields_len as usize, false);
        for (content, buffer) in &mut self.columns {
            let before = buffer.bytes();
            push_value(content, buffer, parts, &mut self.taken);
            self.bytes += buffer.bytes() - before;
        }
        self.rows += 1;
    }

    /// Writes all rows as one row group and begins the next.
    pub(super) fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<(), FormatError> {
        for (_, buffer) in &mut self.columns {
            let column = group.next_column().map_err(FormatError::parquet)?;
            buffer.write(column.expect("the file has as many columns as its schema"))?;
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

fn column(name: &str, column_type: ColumnType, required: bool) -> Result<Type, FormatError> {
    let (physical, logical) = match column_type {
        ColumnType::Text | ColumnType::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Int64 => (Physical::INT64, None),
        ColumnType::Float64 => (Physical::DOUBLE, None),
        ColumnType::Bool => (Physical::BOOLEAN, None),
        ColumnType::Timestamp => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    let repetition = if required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let column = Type::primitive_type_builder(name, physical).with_repetition(repetition).with_logical_type(logical);
    column.build().map_err(FormatError::parquet)
}

fn values_of(column_type: ColumnType) -> Values {
    match column_type {
        ColumnType::Text | ColumnType::Json => Values::text(),
        ColumnType::Int64 | ColumnType::Timestamp => Values::Int(Vec::new()),
        ColumnType::Float64 => Values::Float(Vec::new()),
        ColumnType::Bool => Values::Bool(Vec::new()),
    }
}

fn push_value(content: &Content, buffer: &mut Buffer, parts: &RowParts<'_>, taken: &mut [bool]) {
    let (batch, row) = (parts.batch, parts.row);
    match content {
        Content::RecordId => buffer.push_text(|out| out.extend_from_slice(parts.shared.id(batch, row).as_bytes())),
        Content::Agent => buffer.push_text(|out| out.extend_from_slice(parts.provenance.agent.as_bytes())),
        Content::Source => buffer.push_text(|out| out.extend_from_slice(parts.provenance.source.as_bytes())),
        Content::Position => buffer.push_int(i64::try_from(row.id.pos).unwrap_or(i64::MAX)),
        Content::ReceivedTime => buffer.push_int(row.received.div_euclid(1_000)),
        Content::EventTime => buffer.push_int(row.time.div_euclid(1_000)),
        Content::Rest => push_rest(buffer, parts, taken),
        Content::Declared(path, column_type) => {
            let fields = batch.fields_of(row);
            let whole = path.top_level_index(&batch.arena, fields);
            let value = match whole {
                Some(index) => Some(Value::of(&batch.arena, &fields[index])),
                None => path.find(batch, row),
            };
            let fits = value.is_some_and(|value| push_fitting(&value, *column_type, buffer));
            match whole {
                _ if !fits => buffer.push_null(),
                Some(index) => taken[index] = true,
                None => {}
            }
        }
    }
}

/// Pushes a value that fits; false where it doesn't.
fn push_fitting(value: &Value<'_>, column_type: ColumnType, buffer: &mut Buffer) -> bool {
    let pushed = match column_type {
        ColumnType::Text => value.text().filter(|text| std::str::from_utf8(text).is_ok()).map(|text| {
            buffer.push_text(|out| out.extend_from_slice(&text));
        }),
        ColumnType::Int64 => fit::int64(value).map(|number| buffer.push_int(number)),
        ColumnType::Float64 => fit::float64(value).map(|number| buffer.push_float(number)),
        ColumnType::Bool => fit::boolean(value).map(|truth| buffer.push_bool(truth)),
        ColumnType::Timestamp => fit::timestamp(value).map(|micros| buffer.push_int(micros)),
        ColumnType::Json => fit::json(value).map(|value| {
            buffer.push_text(|out| {
                value.write_json(out);
            });
        }),
    };
    pushed.is_some()
}

/// What no column took, as one JSON object, with the exact event time where microseconds do not tell it.
fn push_rest(buffer: &mut Buffer, parts: &RowParts<'_>, taken: &[bool]) {
    let inexact = fit::micros(parts.row.time).is_none();
    if !inexact && taken.iter().all(|taken| *taken) {
        return buffer.push_null();
    }
    buffer.push_text(|out| row::write_untaken(parts.batch, parts.row, taken, inexact, out));
}
