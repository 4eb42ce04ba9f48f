//! One JSON object, by RFC 8259 and nothing more. Its members keep their spelling; what is below them is checked, without
//! recursion, and not taken apart.
//!
//! It is as strict as the host, which takes no other JSON from a plugin: half a surrogate pair and deep nesting are refused here,
//! where `on_failure` decides what becomes of the record.

use plugin_members::Members;
use std::borrow::Cow;

/// Deepest nesting that is read; the object itself is level 1.
pub const DEPTH_MAX: u32 = 100;

/// Where and why a text is no JSON object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonError {
    /// Bytes before the mistake.
    offset: usize,
    reason: &'static str,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid json at byte {}: {}", self.offset, self.reason)
    }
}

type Step<T> = Result<T, JsonError>;

/// Puts the members of the object `text` into `members`.
pub fn read<'a>(text: &'a str, members: &mut Members<'a>) -> Step<()> {
    let reader = Reader { text };
    let mut at = reader.space(0);
    if reader.byte(at) != b'{' {
        return reader.refuse(at, "expected `{`");
    }
    at = reader.space(at + 1);
    let mut more = reader.byte(at) != b'}';
    while more {
        let (name_end, value_start) = reader.key(at)?;
        let end = reader.value(value_start)?;
        members.put(name(&text[at..name_end]), one_line(&text[value_start..end]));
        if members.are_too_many() {
            return Ok(());
        }
        at = reader.space(end);
        more = match reader.byte(at) {
            b',' => true,
            b'}' => false,
            _ => return reader.refuse(at, "expected `,` or `}`"),
        };
        at = if more { reader.space(at + 1) } else { at };
    }
    at = reader.space(at + 1);
    if at < text.len() { reader.refuse(at, "unexpected text after the object") } else { Ok(()) }
}

/// The name that `token`, a checked string with its quotes, says.
fn name(token: &str) -> Cow<'_, str> {
    if !token.contains('\\') {
        return Cow::Borrowed(&token[1..token.len() - 1]);
    }
    Cow::Owned(serde_json::from_str(token).unwrap_or_else(|_| token.to_owned()))
}

/// `token` without line breaks, which valid JSON has between its tokens only.
fn one_line(token: &str) -> Cow<'_, str> {
    if token.contains(['\n', '\r']) { Cow::Owned(token.replace(['\n', '\r'], " ")) } else { Cow::Borrowed(token) }
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    /// The byte at `at`; 0, which begins nothing, behind the end.
    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn refuse<T>(&self, at: usize, reason: &'static str) -> Step<T> {
        let reason = if at < self.text.len() { reason } else { "the text ends too early" };
        Err(JsonError { offset: at.min(self.text.len()), reason })
    }

    fn space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
        }
        at
    }

    /// The name at `at`: where it ends and where its value begins.
    fn key(&self, at: usize) -> Step<(usize, usize)> {
        if self.byte(at) != b'"' {
            return self.refuse(at, "expected a name in double quotes");
        }
        let end = self.string(at)?;
        let colon = self.space(end);
        if self.byte(colon) != b':' {
            return self.refuse(colon, "expected `:`");
        }
        Ok((end, self.space(colon + 1)))
    }

    /// Where the value at `at` ends. The stack of open brackets is a word of bits, 1 for an object.
    fn value(&self, mut at: usize) -> Step<usize> {
        let (mut depth, mut objects) = (1, 0u128);
        loop {
            let open = self.byte(at);
            if open == b'{' || open == b'[' {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(JsonError { offset: at, reason: "nested deeper than 100 levels" });
                }
                objects = objects << 1 | u128::from(open == b'{');
                at = self.space(at + 1);
                if self.byte(at) != if open == b'{' { b'}' } else { b']' } {
                    at = if open == b'{' { self.key(at)?.1 } else { at };
                    continue;
                }
            } else {
                at = self.scalar(at)?;
            }
            loop {
                if depth == 1 {
                    return Ok(at);
                }
                at = self.space(at);
                match (self.byte(at), objects & 1 == 1) {
                    (b'}', true) | (b']', false) => (at, depth, objects) = (at + 1, depth - 1, objects >> 1),
                    (b',', is_object) => {
                        at = self.space(at + 1);
                        at = if is_object { self.key(at)?.1 } else { at };
                        break;
                    }
                    _ => return self.refuse(at, "expected `,` or the closing bracket"),
                }
            }
        }
    }

    /// Where the string, number or word at `at` ends.
    fn scalar(&self, at: usize) -> Step<usize> {
        let word = match self.byte(at) {
            b'"' => return self.string(at),
            b'-' | b'0'..=b'9' => return self.number(at),
            b't' => "true",
            b'f' => "false",
            b'n' => "null",
            _ => return self.refuse(at, "expected a value"),
        };
        if self.text[at..].starts_with(word) {
            return Ok(at + word.len());
        }
        Err(JsonError { offset: at, reason: "expected a value" })
    }

    /// Where the string that opens at `open` ends, behind its closing quote.
    fn string(&self, open: usize) -> Step<usize> {
        let bytes = self.text.as_bytes();
        let mut at = open + 1;
        loop {
            let plain = bytes.get(at..).unwrap_or_default().iter();
            at += plain.take_while(|b| **b >= b' ' && **b != b'"' && **b != b'\\').count();
            match self.byte(at) {
                b'"' => return Ok(at + 1),
                b'\\' => at = self.escape(at)?,
                _ => return self.refuse(at, "control character in a string"),
            }
        }
    }

    /// Where the escape at `at` ends.
    fn escape(&self, at: usize) -> Step<usize> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => match self.code_unit(at) {
                Some(0xd800..=0xdbff) if matches!(self.code_unit(at + 6), Some(0xdc00..=0xdfff)) => Ok(at + 12),
                None | Some(0xd800..=0xdfff) => self.refuse(at, "not a valid escape"),
                Some(_) => Ok(at + 6),
            },
            _ => self.refuse(at, "not a valid escape"),
        }
    }

    /// The number of `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        let value = |b: &u8| char::from(*b).to_digit(16);
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | value(digit)? as u16))
    }

    fn number(&self, from: usize) -> Step<usize> {
        let mut at = from + usize::from(self.byte(from) == b'-');
        at = if self.byte(at) == b'0' { at + 1 } else { self.digits(from, at)? };
        if self.byte(at) == b'.' {
            at = self.digits(from, at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            at = self.digits(from, at + 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-')))?;
        }
        Ok(at)
    }

    /// Where the digits at `at` end, of which there must be some; the number starts at `number`.
    fn digits(&self, number: usize, at: usize) -> Step<usize> {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        match rest.iter().take_while(|b| b.is_ascii_digit()).count() {
            0 => Err(JsonError { offset: number, reason: "not a valid number" }),
            count => Ok(at + count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut members = Members::default();
        match read(text, &mut members) {
            Ok(()) => members.object(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn members_keep_their_spelling() {
        let cases = [
            ("{}", "{}"),
            (" {\"a\" : 1.50 , \"b\":[ 1,{\"c\":null}] }\r\n", r#"{"a":1.50,"b":[ 1,{"c":null}]}"#),
            (r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"n":-0.0e+999999999,"s":"\ud83d\ude00\u0000"}"#, r#"{"n":-0.0e+999999999,"s":"\ud83d\ude00\u0000"}"#),
            ("{\"a\":[1,\n2]}", r#"{"a":[1, 2]}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn whatever_is_no_object_is_refused_at_its_place() {
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(shown(&deep(99)), deep(99));
        assert_eq!(shown(&deep(100)), "invalid json at byte 104: nested deeper than 100 levels");
        assert_eq!(shown(&"{\"a\":".repeat(20_000)), "invalid json at byte 500: nested deeper than 100 levels");
        let cases = [
            ("", "0: the text ends too early"),
            ("[1]", "0: expected `{`"),
            ("{\"a\":1}x", "7: unexpected text after the object"),
            ("{\"a\":1,}", "7: expected a name in double quotes"),
            ("{\"a\" 1}", "5: expected `:`"),
            ("{\"a\":tru}", "5: expected a value"),
            ("{\"a\":01}", "6: expected `,` or `}`"),
            ("{\"a\":1.}", "5: not a valid number"),
            ("{\"a\":[1}", "7: expected `,` or the closing bracket"),
            ("{\"a\":\"\0\"}", "6: control character in a string"),
            ("{\"a\":\"\\ud800\"}", "6: not a valid escape"),
            ("{\"a\":\"\\udc00\\ud800\"}", "6: not a valid escape"),
            ("{\"a\":\"\\u00é\"}", "6: not a valid escape"),
            ("{\"a\":\"x", "7: the text ends too early"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), format!("invalid json at byte {expected}"), "{text}");
        }
    }

    #[test]
    fn no_cut_of_a_text_is_taken_and_none_panics() {
        let text = r#"{"é":[1.5e-3,{"k":"\ud83d\ude00\n"}],"t":true,"n":null}"#;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert!(shown(&text[..end]).starts_with("invalid json"), "{end}");
        }
    }
}
