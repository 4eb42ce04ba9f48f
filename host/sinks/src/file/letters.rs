//! Letters as rows: what a dead-letter file says of a row that a sink refused. One row a letter, with the same record id.

use crate::format::RowWriter;
use crate::format::{Provenance, Shared};
use sawlog_core::sink::Letter;
use sawlog_record::batch::{Batch, Field, Output, Row, ValueKind};
use sawlog_record::id::RecordIds;
use sawlog_record::time;
use std::sync::Arc;

/// Whether two letters can stand in one batch.
pub(super) fn alike(one: &Letter, other: &Letter) -> bool {
    one.offer.generation == other.offer.generation && one.offer.source == other.offer.source
}

/// One row per letter: `time` (of the plan), `sink`, `reason`, `record_id`, `source`, `generation`, `position`, `event_time` and
/// `received` (of the row), `record` (the input as it was read) and `row` (what was refused, as JSON).
pub(super) fn rows(letters: &[Letter]) -> Output {
    let mut batch = Batch::new(letters[0].offer.generation);
    for letter in letters {
        push(&mut batch, letter);
    }
    let rows = (0..batch.rows.len() as u32).collect();
    Output { batch: Arc::new(batch), rows }
}

fn push(batch: &mut Batch, letter: &Letter) {
    let (from, source) = (&letter.offer.output.batch, letter.offer.source.as_str());
    let refused = &from.rows[letter.row as usize];
    let input = from.input_of(refused);
    let [time, event_time, received] = [letter.offer.time, refused.time, refused.received].map(|at| {
        let mut text = Vec::new();
        time::write_rfc3339(at, &mut text);
        text
    });
    let id = from.record_id(&RecordIds::of(source, letter.offer.generation), refused);
    let generation = letter.offer.generation.to_string();
    let position = refused.id.pos.to_string();
    let row = as_json(from, refused, source);
    let members: [(&str, &[u8], ValueKind); 11] = [
        ("time", &time, ValueKind::Text),
        ("sink", letter.feeder.as_str().as_bytes(), ValueKind::Text),
        ("reason", letter.reason.as_bytes(), ValueKind::Text),
        ("record_id", id.as_bytes(), ValueKind::Text),
        ("source", source.as_bytes(), ValueKind::Text),
        ("generation", generation.as_bytes(), ValueKind::Text),
        ("position", position.as_bytes(), ValueKind::Json),
        ("event_time", &event_time, ValueKind::Text),
        ("received", &received, ValueKind::Text),
        ("record", input, ValueKind::Text),
        ("row", &row, ValueKind::Json),
    ];
    let fields_start = batch.fields.len() as u32;
    for (key, value, kind) in members {
        let (key, value) = (batch.push_bytes(key.as_bytes()), batch.push_bytes(value));
        batch.fields.push(Field { key, value, kind });
    }
    let input = batch.push_bytes(refused.input.of(&from.arena));
    batch.rows.push(Row { input, text: None, fields_start, fields_len: members.len() as u32, ..*refused });
}

fn as_json(batch: &Batch, row: &Row, source: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let shared = Shared::of(batch, &Provenance { agent: "", source });
    RowWriter::default().write(batch, row, &shared, &mut out);
    out
}
