//! Times as text: RFC 3339 in UTC, written without a general formatter, because every row may carry one. Knows no clock.

/// Nanoseconds of a day.
const DAY: i64 = 86_400_000_000_000;

/// Appends `time` (unix nanoseconds) as `2026-11-24T13:55:36.123456789Z`, always with nine digits of the second, so that
/// texts sort as times do.
pub fn write_rfc3339(time: i64, out: &mut Vec<u8>) {
    let (days, nanos) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, day) = civil_of(days);
    let seconds = nanos / 1_000_000_000;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    put(&mut text[0..4], year as u64);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], (seconds / 3600) as u64);
    put(&mut text[14..16], (seconds / 60 % 60) as u64);
    put(&mut text[17..19], (seconds % 60) as u64);
    put(&mut text[20..29], (nanos % 1_000_000_000) as u64);
    out.extend_from_slice(&text);
}

/// Writes `value` right-aligned into `digits`.
fn put(digits: &mut [u8], value: u64) {
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01; the calendar's year begins in March, so that the leap day is last.
fn civil_of(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// Nanoseconds of an hour.
pub const HOUR: i64 = 3_600_000_000_000;

/// The begin, unix nanoseconds, of an hour of UTC that is written `2026-01-31T05`; `None` where it is no such hour.
pub fn parse_hour(text: &str) -> Option<i64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u16>().ok().map(i64::from);
    let (year, month, day, hour) = (number(0..4)?, number(5..7)?, number(8..10)?, number(11..13)?);
    if !(1..=12).contains(&month) || day < 1 || hour > 23 {
        return None;
    }
    let time = days_of(year, month, day).checked_mul(DAY)?.checked_add(hour * HOUR)?;
    // A date that does not exist, or signs and other separators, are written differently.
    let mut written = Vec::new();
    write_rfc3339(time, &mut written);
    (text.as_bytes() == &written[..13]).then_some(time)
}

/// Days from 1970-01-01 to a date that exists.
pub(crate) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_jiff_writes() {
        for time in
            [0, 1, -1, 1_795_528_536_123_456_789, i64::MAX, i64::MIN, 951_782_400_000_000_000, 951_868_799_999_999_999]
        {
            let mut out = Vec::new();
            write_rfc3339(time, &mut out);
            let expected = jiff::Timestamp::from_nanosecond(i128::from(time)).expect("within jiff's range");
            assert_eq!(String::from_utf8_lossy(&out), format!("{expected:.9}"));
        }
    }

    #[test]
    fn an_hour_is_read_as_it_is_written() {
        assert_eq!(parse_hour("1970-01-02T03"), Some(27 * HOUR));
        for wrong in
            ["", "2026-02-29T00", "2026-13-01T00", "2026-01-01T24", "2026-01-01 05", "2026-01-01T05:00", "2026-1-01T5"]
        {
            assert_eq!(parse_hour(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_and_dates_are_inverse() {
        for days in (-120_000..120_000).step_by(17) {
            let (year, month, day) = civil_of(days);
            assert_eq!(days_of(year, month as i64, day as i64), days);
        }
    }
}
