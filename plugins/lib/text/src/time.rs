//! Points in time as logs write them. Unix nanoseconds come out; the clock and the zones of this machine are not asked.

const SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// How a time is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// `2026-01-31T05:06:07.123+09:00`, also with a space or a comma; without a zone the default one is meant.
    Iso,
    /// `31/Jan/2026:05:06:07 +0900`.
    Clf,
    /// `Jan 31 05:06:07`; the year is the one that brings it closest to the time it came in.
    Syslog,
    /// A number of units since 1970, each of so many nanoseconds; a fraction is allowed.
    Unix(i64),
    /// Literal text with `%Y %m %d %H %M %S %f %z %b %y %e %j %%`.
    Pattern(String),
}

impl Format {
    /// The format named `name`, or a pattern if there is a `%` in it.
    pub fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "iso" => Self::Iso,
            "clf" => Self::Clf,
            "syslog" => Self::Syslog,
            "unix" => Self::Unix(SECOND),
            "unix_ms" => Self::Unix(1_000_000),
            "unix_us" => Self::Unix(1_000),
            "unix_ns" => Self::Unix(1),
            _ if name.contains('%') => Self::pattern(name)?,
            _ => {
                return Err(format!(
                    "unknown time format {name:?}; expected iso, clf, syslog, unix, unix_ms, unix_us, unix_ns or a pattern such as %Y-%m-%d %H:%M:%S"
                ));
            }
        })
    }

    fn pattern(text: &str) -> Result<Self, String> {
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' {
                match letters.next() {
                    Some('Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'f' | 'z' | 'b' | 'y' | 'e' | 'j' | '%') => {}
                    other => {
                        return Err(format!(
                            "time pattern {text:?}: %{} is not known; expected one of %Y %m %d %H %M %S %f %z %b %y %e %j %%",
                            other.map(String::from).unwrap_or_default()
                        ));
                    }
                }
            }
        }
        Ok(Self::Pattern(text.to_owned()))
    }

    /// The time that `text` means, unix nanoseconds. `zone_seconds` is east of Greenwich and holds where the text names no
    /// zone; `near` (unix nanoseconds) decides the year where it names none.
    pub fn parse(&self, text: &str, zone_seconds: i64, near: i64) -> Option<i64> {
        let text = text.trim();
        match self {
            Self::Iso => iso(text, zone_seconds),
            Self::Clf => pattern("%d/%b/%Y:%H:%M:%S %z", text, zone_seconds, near),
            Self::Syslog => pattern("%b %e %H:%M:%S", text, zone_seconds, near),
            Self::Unix(unit) => unix(text, *unit),
            Self::Pattern(letters) => pattern(letters, text, zone_seconds, near),
        }
    }
}

/// Seconds east of Greenwich that `Z`, `+09:00`, `+0900` or `+09` say.
pub fn zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z" | "UTC" | "GMT") {
        return Some(0);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i64 = digits[..2].parse().ok()?;
    let minutes: i64 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn unix(text: &str, unit: i64) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut nanoseconds = whole.parse::<i64>().ok()?.checked_mul(unit)?;
    let mut worth = unit;
    for digit in fraction.bytes() {
        worth /= 10;
        nanoseconds = nanoseconds.checked_add(i64::from(digit - b'0') * worth)?;
    }
    Some(if negative { -nanoseconds } else { nanoseconds })
}

/// Reads from the front of a text.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, letter: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(letter)?;
        Some(())
    }

    /// A number of `digits` digits, given as (fewest, most).
    fn number(&mut self, (least, most): (usize, usize)) -> Option<i64> {
        let found = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(found);
        self.rest = rest;
        if found < least { None } else { number.parse().ok() }
    }

    /// Digits behind a point, as nanoseconds; more than nine are cut.
    fn fraction(&mut self) -> Option<i64> {
        let found = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(found);
        self.rest = rest;
        let first = &digits[..digits.len().min(9)];
        Some(first.parse::<i64>().ok()? * 10_i64.pow(9 - first.len() as u32))
    }

    /// A zone at the front.
    fn zone(&mut self) -> Option<i64> {
        let sign = self.rest.starts_with(['+', '-']);
        let of_zone =
            |b: &u8| if sign { b.is_ascii_digit() || matches!(b, b'+' | b'-' | b':') } else { b.is_ascii_alphabetic() };
        let found = self.rest.bytes().take_while(of_zone).count();
        let (name, rest) = self.rest.split_at(found);
        self.rest = rest;
        zone(name)
    }
}

/// What a text says of a time.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: i64,
    day: i64,
    seconds: i64,
    nanoseconds: i64,
    zone: Option<i64>,
}

impl Parts {
    fn at(&self, year: i64, zone_seconds: i64) -> Option<i64> {
        let days = days_from_civil(year, self.month, self.day)?;
        let seconds = days * DAY_SECONDS + self.seconds - self.zone.unwrap_or(zone_seconds);
        seconds.checked_mul(SECOND)?.checked_add(self.nanoseconds)
    }

    fn time(&self, zone_seconds: i64, near: i64) -> Option<i64> {
        if let Some(year) = self.year {
            return self.at(year, zone_seconds);
        }
        let this = year_of(near);
        let candidates = [this, this - 1, this + 1].into_iter().filter_map(|year| self.at(year, zone_seconds));
        candidates.min_by_key(|time| near.abs_diff(*time))
    }
}

fn iso(text: &str, zone_seconds: i64) -> Option<i64> {
    let mut reader = Reader { rest: text };
    let mut parts = Parts { year: Some(reader.number((4, 4))?), ..Parts::default() };
    reader.eat('-')?;
    parts.month = reader.number((2, 2))?;
    reader.eat('-')?;
    parts.day = reader.number((2, 2))?;
    if reader.eat('T').or_else(|| reader.eat('t')).or_else(|| reader.eat(' ')).is_none() {
        return if reader.rest.is_empty() { parts.time(zone_seconds, 0) } else { None };
    }
    parts.seconds = clock(&mut reader)?;
    if reader.eat('.').or_else(|| reader.eat(',')).is_some() {
        parts.nanoseconds = reader.fraction()?;
    }
    reader.rest = reader.rest.trim_start();
    if !reader.rest.is_empty() {
        parts.zone = Some(reader.zone()?);
    }
    if reader.rest.is_empty() { parts.time(zone_seconds, 0) } else { None }
}

/// `05:06:07`, seconds of the day; a leap second is the one before it.
fn clock(reader: &mut Reader<'_>) -> Option<i64> {
    let hours = reader.number((2, 2))?;
    reader.eat(':')?;
    let minutes = reader.number((2, 2))?;
    let seconds = if reader.eat(':').is_some() { reader.number((2, 2))?.min(59 + i64::from(minutes > 59)) } else { 0 };
    (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60 + seconds)
}

fn pattern(letters: &str, text: &str, zone_seconds: i64, near: i64) -> Option<i64> {
    let mut reader = Reader { rest: text };
    let mut parts = Parts { month: 1, day: 1, ..Parts::default() };
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            reader.eat(letter)?;
            continue;
        }
        read_part(letters.next()?, &mut reader, &mut parts)?;
    }
    if reader.rest.is_empty() { parts.time(zone_seconds, near) } else { None }
}

fn read_part(letter: char, reader: &mut Reader<'_>, parts: &mut Parts) -> Option<()> {
    let within = |number: i64, most: i64| (number <= most).then_some(number);
    match letter {
        'Y' => parts.year = Some(reader.number((4, 4))?),
        'y' => parts.year = reader.number((2, 2)).map(|year| year + if year < 70 { 2_000 } else { 1_900 }),
        'm' => parts.month = reader.number((1, 2))?,
        'b' => {
            let name = reader.rest.get(..3)?.to_ascii_lowercase();
            parts.month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
            reader.rest = &reader.rest[3..];
        }
        'd' => parts.day = reader.number((1, 2))?,
        'e' => {
            reader.rest = reader.rest.trim_start_matches(' ');
            parts.day = reader.number((1, 2))?;
        }
        'j' => (parts.month, parts.day) = (1, reader.number((1, 3))?),
        'H' => parts.seconds += within(reader.number((1, 2))?, 23)? * 3_600,
        'M' => parts.seconds += within(reader.number((1, 2))?, 59)? * 60,
        'S' => parts.seconds += within(reader.number((1, 2))?, 60)?.min(59),
        'f' => parts.nanoseconds = reader.fraction()?,
        'z' => parts.zone = Some(reader.zone()?),
        _ => reader.eat(letter)?,
    }
    Some(())
}

/// Days since 1970-01-01 of a day of the Gregorian calendar; a day of the year (month 1) may go up to 366.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let of_month = *lengths.get(usize::try_from(month - 1).ok()?)?;
    let most = if month == 1 && day > 31 { 365 + i64::from(leap) } else { of_month };
    if !(1..=most).contains(&day) || !(1..=9_999).contains(&year) {
        return None;
    }
    let before: i64 = lengths[..month as usize - 1].iter().sum();
    let past = year - 1;
    Some(past * 365 + past / 4 - past / 100 + past / 400 - 719_162 + before + day - 1)
}

/// The year in which `time` (unix nanoseconds) falls in Greenwich.
fn year_of(time: i64) -> i64 {
    let days = time.div_euclid(SECOND * DAY_SECONDS);
    let guess = 1970 + days.div_euclid(365);
    (guess - 150..=guess + 1)
        .rev()
        .find(|year| days_from_civil(*year, 1, 1).is_some_and(|first| first <= days))
        .unwrap_or(1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(format: &str, text: &str) -> Option<i64> {
        // 2026-01-01T00:00:00Z
        Format::named(format).expect("a format").parse(text, 0, 1_767_225_600 * SECOND)
    }

    #[test]
    fn known_moments_in_every_format() {
        let moment = 1_769_835_967;
        let cases = [
            ("iso", "2026-01-31T05:06:07Z", moment * SECOND),
            ("iso", "2026-01-31 14:06:07,5 +09:00", moment * SECOND + 500_000_000),
            ("iso", "2026-01-31T05:06:07.1234567899", moment * SECOND + 123_456_789),
            ("iso", "1969-12-31", -86_400 * SECOND),
            ("clf", "31/Jan/2026:05:06:07 +0000", moment * SECOND),
            ("syslog", "Jan 31 05:06:07", moment * SECOND),
            ("syslog", "Dec  2 00:00:00", 1_764_633_600 * SECOND), // the year before is closer
            ("unix", "1769835967.25", moment * SECOND + 250_000_000),
            ("unix_ms", "-1", -1_000_000),
            ("%d.%m.%Y %H:%M:%S.%f", "31.1.2026 5:06:07.5", moment * SECOND + 500_000_000),
            ("%Y%j", "2024366", 1_735_603_200 * SECOND),
        ];
        for (format, text, expected) in cases {
            assert_eq!(parsed(format, text), Some(expected), "{format}: {text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (format, text) in [
            ("iso", "2026-02-30T00:00:00Z"),
            ("iso", "2026-01-31T25:00:00Z"),
            ("iso", "2026-01-31T05:06:07 somewhere"),
            ("clf", "31/Foo/2026:05:06:07 +0000"),
            ("unix", "1e9"),
            ("unix", "99999999999999999999"),
            ("syslog", ""),
            ("%Y", "2026 "),
            ("%b", "é"),
        ] {
            assert_eq!(parsed(format, text.trim_start()).filter(|_| text != "2026 "), None, "{format}: {text}");
        }
        assert!(Format::named("%Q").is_err() && Format::named("rfc").is_err());
    }
}
