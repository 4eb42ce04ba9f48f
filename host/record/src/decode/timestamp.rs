//! Event times out of text. Calendar arithmetic and patterns are jiff's; the usual shapes are read directly, because a general
//! parser costs more than the rest of a record.

use crate::time::days_of;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// How a timestamp is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeFormat {
    /// `2026-11-24T13:55:36.123456789Z`, also with an offset or a space in place of the T.
    Rfc3339,
    /// A number of this many nanoseconds since 1970, perhaps with a fraction.
    Unix(i64),
    /// `24/Nov/2026:13:55:36 +0100`.
    CommonLog,
    /// A pattern of `strptime`; UTC where it has no offset.
    Pattern(String),
}

/// A name or pattern that is no timestamp format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "invalid timestamp format `{format}`: {reason}; write rfc3339, unix, unix_ms, unix_us, unix_ns, common_log or a pattern such as %Y-%m-%d %H:%M:%S"
)]
pub struct TimeFormatError {
    /// What was written.
    pub format: String,
    /// What is wrong with it.
    pub reason: String,
}

impl TimeFormat {
    /// Reads the name of a format, or a pattern.
    pub fn parse(text: &str) -> Result<Self, TimeFormatError> {
        Ok(match text {
            "rfc3339" => Self::Rfc3339,
            "unix" => Self::Unix(1_000_000_000),
            "unix_ms" => Self::Unix(1_000_000),
            "unix_us" => Self::Unix(1_000),
            "unix_ns" => Self::Unix(1),
            "common_log" => Self::CommonLog,
            pattern => return Self::pattern(pattern),
        })
    }

    fn pattern(pattern: &str) -> Result<Self, TimeFormatError> {
        let fail = |reason: String| TimeFormatError { format: pattern.to_owned(), reason };
        if !pattern.contains('%') {
            return Err(fail("neither a known name nor a pattern".into()));
        }
        // What a pattern prints it must read back as a time; else it can never give one.
        let sample = DateTime::constant(2026, 11, 24, 13, 55, 36, 0).to_zoned(TimeZone::UTC);
        let printed = sample.and_then(|zoned| strtime::format(pattern, &zoned)).map_err(|e| fail(e.to_string()))?;
        let format = Self::Pattern(pattern.to_owned());
        match format.read(printed.as_bytes()) {
            Some(_) => Ok(format),
            None => Err(fail("it does not give a date and a time".into())),
        }
    }

    /// The time that `text` tells, unix nanoseconds; `None` if it is not of this format or outside 1677–2262.
    pub fn read(&self, text: &[u8]) -> Option<i64> {
        match self {
            Self::Rfc3339 => rfc3339(text),
            Self::Unix(unit) => unix(text, *unit),
            Self::CommonLog => common_log(text),
            Self::Pattern(pattern) => by_pattern(pattern, std::str::from_utf8(text).ok()?),
        }
    }
}

fn by_pattern(pattern: &str, text: &str) -> Option<i64> {
    let broken_down = strtime::parse(pattern, text).ok()?;
    let timestamp = match broken_down.to_timestamp() {
        Ok(timestamp) => timestamp,
        Err(_) => broken_down.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// `seconds[.fraction]` of a unit.
fn unix(text: &[u8], unit: i64) -> Option<i64> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    if whole.is_empty() || whole.len() > 19 || fraction.len() > 30 {
        return None;
    }
    let mut nanos = i64::try_from(digits(whole)?).ok()?.checked_mul(unit)?;
    let mut step = unit;
    for digit in fraction {
        step /= 10;
        nanos = nanos.checked_add(i64::try_from(digits(&[*digit])?).ok()? * step)?;
    }
    Some(if negative { -nanos } else { nanos })
}

/// The number that these digits, at most 19, write.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

/// RFC 3339 with up to nine digits of a second.
pub(super) fn rfc3339(text: &[u8]) -> Option<i64> {
    let fixed = text.first_chunk::<19>()?;
    let separators = fixed[4] == b'-' && fixed[7] == b'-' && fixed[13] == b':' && fixed[16] == b':';
    if !separators || !matches!(fixed[10], b'T' | b't' | b' ') {
        return None;
    }
    let date = (digits(&fixed[..4])?, digits(&fixed[5..7])?, digits(&fixed[8..10])?);
    let time = (digits(&fixed[11..13])?, digits(&fixed[14..16])?, digits(&fixed[17..19])?);
    let (nanos, zone) = fraction(&text[19..])?;
    instant(date, time, nanos, offset(zone)?)
}

/// `.123` as nanoseconds, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 || count > 9 {
        return None;
    }
    let value = digits(&rest[..count])? * 10u64.pow(9 - count as u32);
    Some((value as i64, &rest[count..]))
}

/// `Z`, `+hh:mm` or `+hhmm` as seconds.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [b'Z' | b'z'] => return Some(0),
        [sign, h @ .., b':', m1, m2] if h.len() == 2 => (sign, h, [*m1, *m2]),
        [sign, h @ .., m1, m2] if h.len() == 2 => (sign, h, [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(&minutes)?);
    let seconds = (hours * 3600 + minutes * 60) as i64;
    match sign {
        b'+' if hours < 24 && minutes < 60 => Some(seconds),
        b'-' if hours < 24 && minutes < 60 => Some(-seconds),
        _ => None,
    }
}

fn instant(date: (u64, u64, u64), time: (u64, u64, u64), nanos: i64, offset_seconds: i64) -> Option<i64> {
    let date = Date::new(i16::try_from(date.0).ok()?, date.1 as i8, date.2 as i8).ok()?;
    // A leap second counts as the first instant of the next minute.
    if time.0 > 23 || time.1 > 59 || time.2 > 60 {
        return None;
    }
    let seconds = days_of(date.year().into(), date.month().into(), date.day().into()) * 86_400
        + (time.0 * 3600 + time.1 * 60 + time.2) as i64
        - offset_seconds;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// `24/Nov/2026:13:55:36 +0100`.
pub(super) fn common_log(text: &[u8]) -> Option<i64> {
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let t: &[u8; 26] = text.try_into().ok()?;
    if t[2] != b'/' || t[6] != b'/' || t[11] != b':' || t[14] != b':' || t[17] != b':' || t[20] != b' ' {
        return None;
    }
    let month = MONTHS.iter().position(|m| m[..] == t[3..6])? as u64 + 1;
    let date = (digits(&t[7..11])?, month, digits(&t[..2])?);
    let time = (digits(&t[12..14])?, digits(&t[15..17])?, digits(&t[18..20])?);
    instant(date, time, 0, offset(&t[21..])?)
}
