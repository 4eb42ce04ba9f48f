//! Whether a value fits a column without loss. What does not fit stays JSON. Knows nothing of Parquet.

use sawlog_record::batch::ValueKind;
use sawlog_record::decode::TimeFormat;
use sawlog_record::value::Value;

/// The number, if `value` is a JSON number written as a whole number of 64 bits.
pub(super) fn int64(value: &Value<'_>) -> Option<i64> {
    json_text(value)?.parse().ok()
}

/// The number, if it comes back from a double as it is written: 15 significant digits always do.
pub(super) fn float64(value: &Value<'_>) -> Option<f64> {
    let text = json_text(value)?;
    let number: f64 = text.parse().ok().filter(|n: &f64| n.is_finite())?;
    let digits = text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).filter(u8::is_ascii_digit).count();
    // Below the smallest normal number doubles have fewer digits.
    let precise = digits <= 15 && (number == 0.0 || number.is_normal());
    let underflow =
        number == 0.0 && text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| (b'1'..=b'9').contains(&b));
    ((precise && !underflow) || number.to_string() == text).then_some(number)
}

/// The truth, if `value` is one.
pub(super) fn boolean(value: &Value<'_>) -> Option<bool> {
    match (value.kind, value.bytes) {
        (ValueKind::Json, b"true") => Some(true),
        (ValueKind::Json, b"false") => Some(false),
        _ => None,
    }
}

/// Microseconds since 1970, if `value` is a text of RFC 3339 with no more digits than that, in UTC.
pub(super) fn timestamp(value: &Value<'_>) -> Option<i64> {
    let text = value.text()?;
    let nanos = TimeFormat::Rfc3339.read(&text).filter(|_| matches!(text.last(), Some(b'Z' | b'z')))?;
    micros(nanos)
}

/// The value, if its JSON text says all of it: everything but text that is not UTF-8.
pub(super) fn json<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Value<'a>> {
    (value.kind != ValueKind::Text || std::str::from_utf8(value.bytes).is_ok()).then_some(value)
}

/// Whole microseconds of a time in nanoseconds.
pub(super) fn micros(nanos: i64) -> Option<i64> {
    (nanos.rem_euclid(1_000) == 0).then(|| nanos.div_euclid(1_000))
}

fn json_text<'a>(value: &Value<'a>) -> Option<&'a str> {
    let first = value.bytes.first().filter(|_| value.kind == ValueKind::Json)?;
    if *first == b'-' || first.is_ascii_digit() { std::str::from_utf8(value.bytes).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8]) -> Value<'_> {
        Value { bytes, kind: ValueKind::Json }
    }

    #[test]
    fn only_what_comes_back_as_it_was_fits() {
        assert_eq!(int64(&token(b"-7")), Some(-7));
        for no in [&b"7.0"[..], b"1e3", b"9223372036854775808", b"null", b"true"] {
            assert_eq!(int64(&token(no)), None);
        }
        assert_eq!(int64(&Value { bytes: b"7", kind: ValueKind::Text }), None);
        for yes in [&b"0.1"[..], b"-2.50", b"1e300", b"123456789012345", b"9007199254740992", b"0", b"0.0", b"-1e-300"]
        {
            assert!(float64(&token(yes)).is_some(), "{}", String::from_utf8_lossy(yes));
        }
        for no in [&b"0.1000000000000000055511"[..], b"9007199254740993", b"1e999", b"1e-400", b"4.94065645841246e-324"]
        {
            assert!(float64(&token(no)).is_none(), "{}", String::from_utf8_lossy(no));
        }
        assert_eq!(boolean(&token(b"true")), Some(true));
        assert_eq!(boolean(&token(b"1")), None);
        let text = |bytes| Value { bytes, kind: ValueKind::Text };
        assert_eq!(timestamp(&text(b"1970-01-01T00:00:01.000002Z")), Some(1_000_002));
        assert_eq!(timestamp(&text(b"1970-01-01T00:00:01.000000002Z")), None);
        assert_eq!(timestamp(&text(b"1970-01-01T01:00:01+01:00")), None);
    }
}
