//! How large may what one input row gives rise to be? Counted row by row from the edits alone.

use super::{BadOutput, bad};
use crate::view::RowFacts;
use crate::wit::sawlog::plugin::types::{Edit, Edits, LogRecord, Update, Value};
use sawlog_record::json;

/// What an input row gives rise to may be this many times its bytes …
pub const KEPT_FACTOR: u64 = 4;
/// … and this many bytes more.
pub const KEPT_SLACK_BYTES: u64 = 64 << 10;
/// A record may be at least this large, bytes, whatever its input was.
pub const RECORD_BYTES_MIN_MAX: u64 = 1 << 20;
/// Added rows of one input row, so that their ordinals can be counted.
const ADDED_MAX: u32 = 16_384;
/// Quotes, colon and comma of a member.
const MEMBER_BYTES: u64 = 6;

/// Sizes and contents of kept and added rows.
pub fn check_sizes(edits: &Edits, rows: &[RowFacts]) -> Result<(), BadOutput> {
    if edits.edits.is_empty() && edits.added.is_empty() {
        return Ok(()); // the common filter: nothing can have grown
    }
    let mut kept: Vec<u64> = rows.iter().map(|r| u64::from(r.bytes)).collect();
    for edit in &edits.edits {
        grow(edit, &mut kept);
    }
    for (row, (kept, facts)) in kept.iter().zip(rows).enumerate() {
        check_record_size(row, *kept, *facts)?;
    }
    let mut total = kept.clone();
    let mut count = vec![0u32; if edits.added.is_empty() { 0 } else { rows.len() }];
    for added in &edits.added {
        let row = added.parent as usize;
        let own = check_record(&added.row).map_err(|e| BadOutput(format!("a row added to row {row}: {e}")))?;
        let size = own + if added.inherit { kept[row] } else { 0 };
        check_record_size(row, size, rows[row])?;
        total[row] += size;
        count[row] += 1;
    }
    if let Some(row) = count.iter().position(|n| *n > ADDED_MAX) {
        return bad(format!("row {row} has {} added rows, at most {ADDED_MAX} are taken", count[row]));
    }
    let over = |(total, facts): (&u64, &RowFacts)| *total > KEPT_FACTOR * u64::from(facts.bytes) + KEPT_SLACK_BYTES;
    match total.iter().zip(rows).position(over) {
        Some(row) => bad(format!(
            "row {row} of {} bytes gives rise to {} bytes, at most {KEPT_FACTOR} times as many and {KEPT_SLACK_BYTES} are taken",
            rows[row].bytes, total[row]
        )),
        None => Ok(()),
    }
}

fn check_record_size(row: usize, size: u64, facts: RowFacts) -> Result<(), BadOutput> {
    if size > RECORD_BYTES_MIN_MAX.max(u64::from(facts.bytes)) {
        return bad(format!(
            "row {row} gives rise to a record of {size} bytes, at most {RECORD_BYTES_MIN_MAX} are taken"
        ));
    }
    Ok(())
}

/// Adds what `edit` may add to each row. Removing gives nothing back, so that the order of edits does not matter.
fn grow(edit: &Edit, kept: &mut [u64]) {
    match edit {
        Edit::SetAll((field, text)) => add_to_all(kept, field.len() + text.len()),
        Edit::Rename((_, to)) => add_to_all(kept, to.len()),
        Edit::Update(update) => grow_by_update(update, kept),
        Edit::Remove(_) | Edit::Timestamps(_) => {}
    }
}

fn add_to_all(kept: &mut [u64], bytes: usize) {
    for size in kept {
        *size += bytes as u64 + MEMBER_BYTES;
    }
}

fn grow_by_update(update: &Update, kept: &mut [u64]) {
    let field = update.field.len() as u64 + MEMBER_BYTES;
    for (i, offsets) in update.values.offsets.windows(2).enumerate() {
        let row = update.rows.get(i).map_or(i, |row| *row as usize);
        kept[row] += u64::from(offsets[1] - offsets[0]) + field;
    }
}

/// Checks the values of a record made by a plugin; its size in bytes.
pub fn check_record(record: &LogRecord) -> Result<u64, BadOutput> {
    let mut bytes = 2;
    for (name, value) in &record.fields {
        bytes += name.len() as u64 + MEMBER_BYTES + check_value(name, value)?;
    }
    Ok(bytes)
}

fn check_value(name: &str, value: &Value) -> Result<u64, BadOutput> {
    Ok(match value {
        Value::Null | Value::Boolean(_) => 5,
        Value::Integer(_) => 20,
        Value::Number(number) if !number.is_finite() => {
            return bad(format!("field {name:?} is {number}, which JSON has no word for"));
        }
        Value::Number(_) => 24,
        Value::Text(text) => text.len() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::Json(text) => {
            json::check_value(text.as_bytes()).map_err(|e| BadOutput(format!("field {name:?}: {e}")))?;
            if text.contains(['\n', '\r']) {
                return bad(format!("field {name:?} holds a raw line break between its tokens"));
            }
            text.len() as u64
        }
    })
}
