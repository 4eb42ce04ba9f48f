//! Values between their JSON form in a record and their typed form in the contract, both ways without loss.

use crate::wit::sawlog::plugin::types::Value;
use sawlog_record::batch::{Span, Spill, ValueKind};
use sawlog_record::json::{Reader, quote_lossy, unescape};
use std::io::Write;

/// The members of the JSON object `record`, in their order. The host wrote it, so it parses.
pub fn fields(record: &[u8]) -> Vec<(String, Value)> {
    let (mut fields, mut spill) = (Vec::new(), Spill::behind(record.len()));
    let whole = Span { start: 0, len: record.len() as u32 };
    if Reader::new(record, whole).object(&mut fields, &mut spill).is_err() {
        return Vec::new();
    }
    let text = |span: Span| match span.start as usize >= record.len() {
        true => spill.text(&[], span),
        false => span.of(record),
    };
    fields.iter().map(|f| (lossy(text(f.key)), typed(text(f.value), f.kind))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn typed(bytes: &[u8], kind: ValueKind) -> Value {
    match kind {
        ValueKind::Text => text(bytes.to_vec()),
        ValueKind::Escaped => {
            let mut plain = Vec::with_capacity(bytes.len());
            unescape(bytes, &mut plain);
            text(plain)
        }
        ValueKind::Json => token(&lossy(bytes)),
    }
}

fn text(bytes: Vec<u8>) -> Value {
    String::from_utf8(bytes).map_or_else(|e| Value::Bytes(e.into_bytes()), Value::Text)
}

/// A number becomes typed only if its spelling follows from its value.
fn token(token: &str) -> Value {
    match token {
        "null" => return Value::Null,
        "true" => return Value::Boolean(true),
        "false" => return Value::Boolean(false),
        _ => {}
    }
    if let Some(integer) = token.parse::<i64>().ok().filter(|n| n.to_string() == token) {
        return Value::Integer(integer);
    }
    match token.parse::<f64>().ok().filter(|n| n.is_finite() && number(*n) == token) {
        Some(n) => Value::Number(n),
        None => Value::Json(token.to_owned()),
    }
}

/// The shortest spelling that reads back as `number`, with a point or an exponent.
fn number(number: f64) -> String {
    format!("{number:?}")
}

/// Appends `value` as a JSON token. Invalid UTF-8 becomes U+FFFD.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Integer(value) => write!(out, "{value}").expect("writing to memory does not fail"),
        Value::Number(value) => out.extend_from_slice(number(*value).as_bytes()),
        Value::Text(text) => drop(quote_lossy(text.as_bytes(), out)),
        Value::Bytes(bytes) => drop(quote_lossy(bytes, out)),
        Value::Json(text) => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_back_as_it_stood() {
        let record =
            br#"{"a":1.50,"b":-0,"c":12345678901234567890,"d":"x\ty","e":[1, 2],"f":2.5,"g":7,"h":1e5,"i":null}"#;
        let expected = ["1.50", "-0", "12345678901234567890", r#""x\ty""#, "[1, 2]", "2.5", "7", "1e5", "null"];
        let fields = fields(record);
        assert_eq!(fields.len(), expected.len());
        for ((name, value), expected) in fields.iter().zip(expected) {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(out, expected.as_bytes(), "{name}");
        }
        assert_eq!(fields[5].1, Value::Number(2.5));
        assert_eq!(fields[6].1, Value::Integer(7));
    }
}
