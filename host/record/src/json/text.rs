//! Strings: escapes out and in. Knows nothing of documents.

use super::scan::plain_end;

/// Appends `text`, the inside of a JSON string, without its escapes. Written for text that the reader has accepted;
/// anything else comes out with U+FFFD in place of the escapes that are none.
pub fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (character, used) = escape_at(rest);
        let mut buffer = [0; 4];
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        rest = &rest[used.min(rest.len())..];
    }
    out.extend_from_slice(rest);
}

/// The character that the escape at the start of `rest` stands for, and the length of the escape.
fn escape_at(rest: &[u8]) -> (char, usize) {
    match rest.get(1) {
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'u') => unicode_at(rest),
        Some(plain @ (b'"' | b'\\' | b'/')) => (char::from(*plain), 2),
        _ => (char::REPLACEMENT_CHARACTER, 1),
    }
}

fn unicode_at(rest: &[u8]) -> (char, usize) {
    let Some(first) = code_unit(rest) else { return (char::REPLACEMENT_CHARACTER, 2) };
    let second = rest.get(6..).and_then(code_unit);
    match char::decode_utf16([first].into_iter().chain(second)).next() {
        Some(Ok(character)) => (character, if character > '\u{ffff}' { 12 } else { 6 }),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// The number of a `\uXXXX` at the start of `rest`.
pub(super) fn code_unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0u16, |sum, b| Some(sum << 4 | char::from(*b).to_digit(16)? as u16))
}

/// Appends valid UTF-8 `text` as the inside of a JSON string.
pub fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    loop {
        let stop = plain_end(text, from);
        out.extend_from_slice(&text[from..stop]);
        let Some(byte) = text.get(stop) else { return };
        write_escape(*byte, out);
        from = stop + 1;
    }
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short: &[u8] = match byte {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(short);
}

/// Appends valid UTF-8 `text` as a JSON string with its quotes.
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Appends any bytes as a JSON string, each invalid sequence as U+FFFD; false where that changed the text, so that the
/// caller can keep the exact bytes elsewhere.
pub fn quote_lossy(text: &[u8], out: &mut Vec<u8>) -> bool {
    if text.is_ascii() || simdutf8::basic::from_utf8(text).is_ok() {
        quote(text, out);
        return true;
    }
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        write_escaped(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
    false
}
