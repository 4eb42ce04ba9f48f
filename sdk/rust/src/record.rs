//! Whole records as the pseudo-column `$record` gives them, for plugins that hold rows back and give them out again.

use crate::{FieldValue, LogRecord};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The record of the JSON text `record` (a value of `$record`) with event time `timestamp`. Texts become text, everything else
/// keeps its spelling.
pub fn parse(record: &[u8], timestamp: i64) -> Result<LogRecord, String> {
    let text = String::from_utf8_lossy(record);
    let fields = serde_json::Deserializer::from_str(&text).deserialize_map(Fields).map_err(|e| e.to_string())?;
    Ok(LogRecord { timestamp, fields })
}

/// Quotes `text` as JSON behind `out`.
pub fn quote(text: &str, out: &mut String) {
    if text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("every text can be quoted"));
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, FieldValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a record, a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            fields.push((name, field(value.get())));
        }
        Ok(fields)
    }
}

fn field(token: &str) -> FieldValue {
    match serde_json::from_str::<String>(token) {
        Ok(text) => FieldValue::Text(text),
        Err(_) => FieldValue::Json(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_spelling_and_texts_are_unescaped() {
        let record = parse(br#"{"n":1.50,"s":"a\n\u00e9","o":{"a": [1]},"z":null}"#, 7).expect("a record");
        let expected = [
            ("n", FieldValue::Json("1.50".into())),
            ("s", FieldValue::Text("a\né".into())),
            ("o", FieldValue::Json(r#"{"a": [1]}"#.into())),
            ("z", FieldValue::Json("null".into())),
        ];
        assert_eq!(record.fields, expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(parse(b"[1]", 0).is_err());
    }

    #[test]
    fn quoted_texts_say_what_they_said() {
        for text in ["", "plain é", "q\"", "\\", "\0\u{1f}\n", "\u{7f}"] {
            let mut out = String::new();
            quote(text, &mut out);
            assert_eq!(serde_json::from_str::<String>(&out).as_deref().ok(), Some(text));
        }
    }
}
