//! A body becomes a payload: one record a line, each line ended by `\n`, every record checked before any is stored. Pure; it
//! knows neither headers nor the queue.

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr2};
use sawlog_record::json::{JsonError, check_object};

/// How the text of a body is cut into records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// One JSON object a line; blank lines are passed over.
    Ndjson,
    /// An array of JSON objects, or one object.
    Json,
    /// Lines as they are.
    Lines,
}

/// The records of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// One record a line. At most one byte longer than the body.
    pub lines: Bytes,
    /// How many there are.
    pub records: usize,
}

/// Why a body is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// One record is no JSON object.
    #[error("record {index} (counted from 0): {error}; nothing of the request was taken")]
    Record {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: JsonError,
    },
    /// The array around the records is broken.
    #[error(
        "the array breaks off behind record {before} at byte {offset}: {expected}; nothing of the request was taken"
    )]
    Array {
        /// How many records stand before.
        before: usize,
        /// Bytes of the body before the place.
        offset: usize,
        /// What should stand there.
        expected: &'static str,
    },
}

impl Malformed {
    /// The record that is malformed, or behind which the body breaks off.
    pub fn index(&self) -> usize {
        match self {
            Self::Record { index, .. } => *index,
            Self::Array { before, .. } => *before,
        }
    }
}

/// Checks all records of `text` and puts them one on a line.
pub fn payload(form: Form, text: Vec<u8>) -> Result<Payload, Malformed> {
    match form {
        Form::Lines => Ok(lines(text)),
        Form::Ndjson => ndjson(text),
        Form::Json => json(&text),
    }
}

fn lines(mut text: Vec<u8>) -> Payload {
    end_line(&mut text);
    let records = memchr_iter(b'\n', &text).count();
    Payload { lines: text.into(), records }
}

/// Most bodies come as they are to be stored: those are checked where they lie.
fn ndjson(mut text: Vec<u8>) -> Result<Payload, Malformed> {
    end_line(&mut text);
    let (mut records, mut is_bare) = (0, true);
    for line in lines_of(&text) {
        let record = line.trim_ascii();
        is_bare &= !record.is_empty() && record.len() == line.len();
        if !record.is_empty() {
            check_object(line).map_err(|error| Malformed::Record { index: records, error })?;
            records += 1;
        }
    }
    if is_bare {
        return Ok(Payload { lines: text.into(), records });
    }
    let mut lines = Vec::with_capacity(text.len());
    for record in lines_of(&text).map(<[u8]>::trim_ascii).filter(|record| !record.is_empty()) {
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
    Ok(Payload { lines: lines.into(), records })
}

/// Lines of a text whose last one is ended, without their ends.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', text).map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
}

fn end_line(text: &mut Vec<u8>) {
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
}

fn json(text: &[u8]) -> Result<Payload, Malformed> {
    let mut out = Writer::with_capacity(text.len() + 1);
    let mut at = space(text, 0);
    if text.get(at) != Some(&b'[') {
        out.record(text)?;
        return Ok(out.finish());
    }
    at = space(text, at + 1);
    let mut more = text.get(at) != Some(&b']');
    while more {
        let end = element_end(text, at);
        out.record(&text[at..end])?;
        more = match text.get(end) {
            Some(b',') => true,
            Some(b']') => false,
            _ => return Err(out.broken(end, "expected `,` or `]`")),
        };
        at = if more { end + 1 } else { end };
    }
    match space(text, at + 1) {
        end if end >= text.len() => Ok(out.finish()),
        end => Err(out.broken(end, "expected nothing behind `]`")),
    }
}

fn space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len())
}

/// The comma or bracket behind the element that begins at `from`, or the end of the text. The element itself is not judged.
fn element_end(text: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at + 1);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => return at,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Behind the closing quote of the string whose inside begins at `from`.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

struct Writer {
    lines: Vec<u8>,
    records: usize,
}

impl Writer {
    fn with_capacity(bytes: usize) -> Self {
        Self { lines: Vec::with_capacity(bytes), records: 0 }
    }

    fn record(&mut self, text: &[u8]) -> Result<(), Malformed> {
        check_object(text).map_err(|error| Malformed::Record { index: self.records, error })?;
        let start = self.lines.len();
        self.lines.extend_from_slice(text.trim_ascii());
        // Strings of a checked object hold no raw line break: what is found stands between tokens.
        if memchr(b'\n', text).is_some() {
            self.lines[start..].iter_mut().filter(|b| **b == b'\n').for_each(|b| *b = b' ');
        }
        self.lines.push(b'\n');
        self.records += 1;
        Ok(())
    }

    fn broken(&self, offset: usize, expected: &'static str) -> Malformed {
        Malformed::Array { before: self.records, offset, expected }
    }

    fn finish(self) -> Payload {
        Payload { lines: self.lines.into(), records: self.records }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn taken(form: Form, text: &str) -> Vec<String> {
        let payload = payload(form, text.as_bytes().to_vec()).unwrap();
        assert!(payload.lines.len() <= text.len() + 1, "room was promised for one byte more only");
        let text = String::from_utf8(payload.lines.to_vec()).unwrap();
        let lines: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
        assert_eq!(lines.len(), payload.records);
        lines
    }

    fn index_of(form: Form, text: &str) -> usize {
        payload(form, text.as_bytes().to_vec()).unwrap_err().index()
    }

    #[test]
    fn all_forms_become_one_record_a_line() {
        assert_eq!(taken(Form::Ndjson, "{\"a\":1}\r\n\n  \n{\"b\":2}"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(
            taken(Form::Json, " [ {\"a\":\"],}\\\"\"} ,{\"b\":[{},1]}\n]\n"),
            ["{\"a\":\"],}\\\"\"}", "{\"b\":[{},1]}"]
        );
        assert_eq!(taken(Form::Json, "{\n \"a\": 1\n}"), ["{  \"a\": 1 }"]);
        assert_eq!(taken(Form::Json, "[]"), Vec::<String>::new());
        assert_eq!(taken(Form::Json, "[{}]"), ["{}"]);
        assert_eq!(taken(Form::Lines, "a\n\nb"), ["a", "", "b"]);
        assert_eq!(taken(Form::Lines, ""), Vec::<String>::new());
        assert_eq!(taken(Form::Ndjson, "\n"), Vec::<String>::new());
    }

    #[test]
    fn the_malformed_record_is_named() {
        assert_eq!(index_of(Form::Ndjson, "{}\n{}\n{\"a\":}\n{}"), 2);
        assert_eq!(index_of(Form::Ndjson, "{}\n[1]\n"), 1);
        assert_eq!(index_of(Form::Json, "[{},{\"a\":tru},{}]"), 1);
        assert_eq!(index_of(Form::Json, "[{},2]"), 1);
        assert_eq!(index_of(Form::Json, "[{},]"), 1);
        assert_eq!(index_of(Form::Json, "[{}"), 1);
        assert_eq!(index_of(Form::Json, "[{\"a\":\"x"), 0);
        assert_eq!(index_of(Form::Json, "[{}] x"), 1);
        assert_eq!(index_of(Form::Json, "[{}}]"), 0);
        assert_eq!(index_of(Form::Json, "["), 0);
        assert_eq!(index_of(Form::Json, ""), 0);
        assert_eq!(index_of(Form::Json, "[{\"a\":\"\\"), 0);
    }

    #[test]
    fn fuzz_http_bodies() {
        let examples: [&[u8]; 4] = [
            b"{\"a\":1}\n\n {\"b\":[{}]} \r\n",
            b" [ {\"a\":\"]\"} , {\"b\":{\"c\":\"\\\"\"}} ] ",
            b"{\"a\":\n1}",
            b"plain\n\xff\n",
        ];
        sawlog_fuzz::hammer("http_bodies", &examples, |text| {
            for form in [Form::Ndjson, Form::Json, Form::Lines] {
                let Ok(payload) = payload(form, text.to_vec()) else { continue };
                // A record a line, each ended, none longer than it came.
                assert!(payload.lines.is_empty() || payload.lines.ends_with(b"\n"));
                assert!(payload.lines.len() <= text.len() + 1);
                let lines: Vec<&[u8]> = payload.lines.split_inclusive(|byte| *byte == b'\n').collect();
                assert_eq!(lines.len(), payload.records);
                if form != Form::Lines {
                    assert!(lines.iter().all(|line| check_object(line).is_ok()));
                }
            }
            // A whole array is what serde calls one, of objects.
            let theirs = serde_json::from_slice::<Vec<serde_json::Map<String, serde_json::Value>>>(text);
            let ours = payload(Form::Json, text.to_vec());
            if theirs.as_ref().err().is_none_or(|error| !error.to_string().contains("out of range")) {
                let array = text.trim_ascii_start().starts_with(b"[");
                assert!(
                    !array || ours.as_ref().map(|o| o.records).ok() == theirs.as_ref().map(Vec::len).ok(),
                    "{ours:?}, {theirs:?}"
                );
            }
        });
    }
}
