//! From YAML text to a tree in which every value and key knows its place. It knows nothing of what the keys mean, and
//! resolves no reference.

use sawlog_settings::decode::Complaint;
use sawlog_settings::node::{Entry, Node, Place, Text, Value};
use serde::de::{self, Deserialize, Deserializer};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};
use std::fmt;

/// Reads one YAML document. `file` is the number of the file in this load.
pub fn read(file: u32, text: &str) -> Result<Node, Complaint> {
    // Repeated keys come through, because a complaint about them names both places.
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => Ok(raw.place(&Places { file, text })),
        Err(error) => {
            let place = error.location().map_or(Place { file, start: 0, len: 0 }, |at| Places { file, text }.place(at));
            let reason = error.without_snippet().to_string();
            let reason = reason.split(" at line ").next().unwrap_or(&reason).trim_end_matches([',', ':']).to_owned();
            let mut complaint =
                Complaint::error(place, format!("this is not YAML: {}", reason.lines().next().unwrap_or_default()));
            complaint
                .mend
                .get_or_insert_with(|| "look at the indentation, quotes and brackets before this place".to_owned());
            Err(complaint)
        }
    }
}

/// From the parser's locations to bytes of the file.
struct Places<'a> {
    file: u32,
    text: &'a str,
}

impl Places<'_> {
    fn place(&self, at: Location) -> Place {
        let start = at.span().byte_offset().map_or_else(|| self.offset(at.line(), at.column()), clip);
        let len = at.span().byte_len().map_or(0, clip);
        // A span may reach over the end of its line (block scalars, mappings); a caret belongs on one line.
        let rest = self.text.get(start as usize..).unwrap_or_default();
        let line = rest.find(['\n', '\r']).map_or(rest.len(), |end| end);
        Place { file: self.file, start, len: len.min(clip(line as u64)) }
    }

    fn offset(&self, line: u64, column: u64) -> u32 {
        let before: usize = self.text.split_inclusive('\n').take((line.max(1) - 1) as usize).map(str::len).sum();
        let rest = self.text.get(before..).unwrap_or_default();
        let within: usize = rest.chars().take((column.max(1) - 1) as usize).map(char::len_utf8).sum();
        clip((before + within) as u64)
    }
}

/// Files are limited to far less than 4 GiB before they come here, so nothing is ever clipped.
fn clip(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What the parser hands over.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Null,
    Bool(bool),
    Negative(i64),
    Whole(u64),
    Float(f64),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn place(self, places: &Places<'_>) -> Node {
        let place = places.place(self.0.referenced);
        let value = match self.0.value {
            RawValue::Null => Value::Null,
            RawValue::Bool(value) => Value::Bool(value),
            RawValue::Negative(value) => Value::Negative(value),
            RawValue::Whole(value) => Value::Whole(value),
            RawValue::Float(value) => Value::Float(value),
            RawValue::Text(text) => Value::Text(Text::plain(text)),
            RawValue::List(items) => Value::List(items.into_iter().map(|item| item.place(places)).collect()),
            RawValue::Map(entries) => {
                Value::Map(entries.into_iter().map(|(key, value)| entry(key, value, places)).collect())
            }
        };
        Node { place, value }
    }
}

fn entry(key: Spanned<String>, value: Raw, places: &Places<'_>) -> Entry {
    Entry { key_place: places.place(key.referenced), key: key.value, value: value.place(places) }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }
    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(u64::try_from(value).map_or(RawValue::Negative(value), RawValue::Whole))
    }
    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Whole(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str, place: Place) -> &str {
        &text[place.start as usize..(place.start + place.len) as usize]
    }

    #[test]
    fn every_value_and_key_knows_its_place() {
        let text = "# é\nsinks:\n  lake: { type: s3, roll: { size: 128MiB }, list: [one, \"two\"] }\n  n: 5\n  n: -6\n  t: |\n    block\n    text\n  e:\n";
        let node = read(0, text).unwrap();
        let sinks = node.entry("sinks").unwrap();
        assert_eq!(at(text, sinks.key_place), "sinks");
        let lake = sinks.value.entry("lake").unwrap();
        assert_eq!(at(text, lake.value.entry("type").unwrap().value.place), "s3");
        let size = lake.value.entry("roll").unwrap().value.entry("size").unwrap();
        assert_eq!((at(text, size.key_place), at(text, size.value.place)), ("size", "128MiB"));
        let Value::List(items) = &lake.value.entry("list").unwrap().value.value else { panic!("a list") };
        assert_eq!(at(text, items[1].place), "\"two\"");
        let numbers: Vec<_> =
            sinks.value.entries().iter().filter(|entry| entry.key == "n").map(|n| n.value.value.clone()).collect();
        assert_eq!(numbers, [Value::Whole(5), Value::Negative(-6)]);
        assert_eq!(sinks.value.entry("e").unwrap().value.value, Value::Null);
        assert_eq!(sinks.value.entry("t").unwrap().value.text(), Some("block\ntext\n"));
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        let complaint = read(3, "a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert_eq!(complaint.place.file, 3);
        assert!(complaint.place.start > 5, "{complaint:?}");
        assert!(complaint.reason.starts_with("this is not YAML: "), "{complaint:?}");
    }

    #[test]
    fn bombs_are_refused_before_they_grow() {
        let laughs = (1..=9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let alias = format!("*a{}, ", n - 1).repeat(10);
            format!("{text}a{n}: &a{n} [{alias}]\n")
        });
        let begun = std::time::Instant::now();
        for (what, text) in [
            ("aliases of aliases", laughs),
            ("an alias of what holds it", "a: &a [*a]\n".to_owned()),
            ("brackets", "[".repeat(200_000)),
            ("closed brackets", "[".repeat(200_000) + &"]".repeat(200_000)),
            ("braces", "{a: ".repeat(200_000)),
            ("dashes", "- ".repeat(200_000)),
        ] {
            assert!(read(0, &text).is_err(), "{what}");
        }
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    }
}
