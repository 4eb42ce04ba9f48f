//! Columns, masks and row lists: shape, order, bounds, UTF-8, JSON.

use super::{BadOutput, bad};
use crate::view::{bit, bit_or_all, value};
use crate::wit::sawlog::plugin::types::Column;
use sawlog_record::json;

/// A mask is empty or has one bit a row.
pub fn check_mask(name: &str, mask: &[u64], n: usize) -> Result<(), BadOutput> {
    if mask.is_empty() || mask.len() == n.div_ceil(64) {
        return Ok(());
    }
    bad(format!("mask {name} has {} words, {n} rows have {}", mask.len(), n.div_ceil(64)))
}

/// Row numbers ascend strictly and lie in the batch.
pub fn ascending(name: &str, rows: impl Iterator<Item = u32>, n: usize) -> Result<(), BadOutput> {
    let mut next = 0;
    for row in rows {
        if row < next {
            return bad(format!("rows of {name} must ascend strictly, {row} follows {}", next - 1));
        }
        if row as usize >= n {
            return bad(format!("{name} names row {row}, but the batch has {n} rows"));
        }
        next = row + 1;
    }
    Ok(())
}

/// A column of `n` values of a field.
pub fn check_column(field: &str, column: &Column, n: usize) -> Result<(), BadOutput> {
    check_shape(field, column, n)?;
    if column.json.is_empty() {
        return Ok(());
    }
    for row in (0..n).filter(|row| bit(&column.json, *row) && bit_or_all(&column.present, *row)) {
        let text = value(column, row);
        json::check_value(text).map_err(|e| BadOutput(format!("value {row} of {field}: {e}")))?;
        no_line_break(field, row, text)?;
    }
    Ok(())
}

/// A column of `n` whole records: JSON objects, none missing.
pub fn check_records(column: &Column, n: usize) -> Result<(), BadOutput> {
    check_shape(super::RECORD, column, n)?;
    for row in 0..n {
        if !bit_or_all(&column.present, row) {
            return bad(format!(
                "value {row} of $record is missing, but a record can only be replaced; drop the row instead"
            ));
        }
        let text = value(column, row);
        json::check_object(text).map_err(|e| BadOutput(format!("value {row} of $record: {e}")))?;
        no_line_break(super::RECORD, row, text)?;
    }
    Ok(())
}

fn no_line_break(field: &str, row: usize, text: &[u8]) -> Result<(), BadOutput> {
    if text.iter().any(|b| matches!(b, b'\n' | b'\r')) {
        return bad(format!("value {row} of {field} holds a raw line break between its tokens"));
    }
    Ok(())
}

fn check_shape(field: &str, column: &Column, n: usize) -> Result<(), BadOutput> {
    check_mask(field, &column.present, n)?;
    check_mask(field, &column.json, n)?;
    if column.offsets.len() != n + 1 {
        return bad(format!("{field} has {} offsets, {n} values have {}", column.offsets.len(), n + 1));
    }
    if column.offsets[0] != 0 || column.offsets[n] as usize != column.data.len() {
        return bad(format!("the offsets of {field} must run from 0 to the length of its data"));
    }
    if column.offsets.windows(2).any(|w| w[0] > w[1]) {
        return bad(format!("the offsets of {field} fall"));
    }
    // All values are valid exactly if the whole is and none starts inside a character.
    let Ok(text) = simdutf8::basic::from_utf8(&column.data) else {
        return bad(format!("{field} holds invalid utf-8"));
    };
    match column.offsets.iter().position(|offset| !text.is_char_boundary(*offset as usize)) {
        Some(i) => bad(format!("offset {i} of {field} cuts a character")),
        None => Ok(()),
    }
}
