//! Offers of a few rows, for tests.

use sawlog_core::journal::Mark;
use sawlog_core::ports::Offer;
use sawlog_core::{EpochId, SourceId};
use sawlog_record::batch::{Batch, Field, Output, Row, ValueKind};
use sawlog_record::id::{Cursor, Generation, PartitionId, RowId};
use sawlog_settings::format::ObjectFormat;
use sawlog_sinks::format::{RowWriter, encoder};
use sawlog_sinks::object::NewEncoder;
use std::sync::Arc;

/// 2026-01-01T00:00:00Z, unix nanoseconds.
pub const NEW_YEAR: i64 = 1_767_225_600_000_000_000;
/// An hour, nanoseconds.
pub const HOUR: i64 = 3_600_000_000_000;

/// One row: a field `body` and when it was received, unix nanoseconds.
pub type Line<'a> = (&'a str, i64);

/// An offer of these rows, whose positions begin at `pos`.
pub fn offer(pos: u64, lines: &[Line<'_>]) -> Offer {
    let generation = Generation([7; 16]);
    let mut batch = Batch::new(generation);
    for (i, (body, received)) in lines.iter().enumerate() {
        let (key, value) = (batch.push_bytes(b"body"), batch.push_bytes(body.as_bytes()));
        let fields_start = batch.fields.len() as u32;
        batch.fields.push(Field { key, value, kind: ValueKind::Text });
        batch.rows.push(Row {
            id: RowId { pos: pos + i as u64, slot: 0, k: 0 },
            parent: i as u32,
            time: *received,
            received: *received,
            input: value,
            text: None,
            fields_start,
            fields_len: 1,
            flags: 0,
        });
    }
    let rows = (0..lines.len() as u32).collect();
    let end = Cursor::at(pos + lines.len() as u64);
    Offer {
        partition: PartitionId([3; 16]),
        source: SourceId::new("app"),
        generation,
        from: Default::default(),
        to: Default::default(),
        cursor_from: Cursor::at(pos),
        mark: Mark::at(end),
        records: lines.len() as u64,
        received: NEW_YEAR,
        time: NEW_YEAR,
        epoch: EpochId([1; 16]),
        output: Output { batch: Arc::new(batch), rows },
    }
}

/// Encoders of `format` without provenance.
pub fn encoders(format: ObjectFormat) -> NewEncoder {
    Arc::new(move || encoder(format, &[], RowWriter::default()))
}

/// The JSON lines of these bodies.
pub fn json_lines(bodies: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    bodies.into_iter().map(|body| format!("{{\"body\":\"{}\"}}\n", body.as_ref())).collect()
}
