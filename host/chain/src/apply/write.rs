//! A row as JSON text, for `$record`.

use sawlog_record::batch::{Batch, Row};
use sawlog_record::json::quote_lossy;
use sawlog_record::value::Value;

/// Appends `row` as one JSON object: its own text where that still says everything, else its fields.
pub fn write_record(batch: &Batch, row: &Row, out: &mut Vec<u8>) {
    let fields = batch.fields_of(row);
    if let Some(text) = row.text
        && fields.iter().all(|f| text.holds(f.key))
    {
        return out.extend_from_slice(text.of(&batch.arena));
    }
    out.push(b'{');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        quote_lossy(field.key.of(&batch.arena), out);
        out.push(b':');
        Value::of(&batch.arena, field).write_json(out);
    }
    out.push(b'}');
}
