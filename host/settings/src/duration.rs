//! Durations as an operator writes them: `5s`. It knows nothing of clocks.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Units from the largest down, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A length of time in whole milliseconds, written as a whole number and a unit (`ms`, `s`, `m`, `h`, `d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    milliseconds: u64,
}

/// Why a text is no duration. The part after the semicolon says how to mend it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PeriodError {
    /// No leading digits.
    #[error("`{0}` is not a duration; write a whole number and one of ms, s, m, h, d, such as 5s")]
    NoNumber(String),
    /// Digits alone.
    #[error("the duration `{0}` has no unit; write {0}ms, {0}s or {0}m")]
    NoUnit(String),
    /// A unit that is not ours.
    #[error("the duration `{text}` has an unknown unit `{unit}`; write one of ms, s, m, h, d")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// The unit in it.
        unit: String,
    },
    /// More than 2^64 - 1 milliseconds.
    #[error("the duration `{0}` does not fit into 64 bits of milliseconds; write a shorter one")]
    TooLong(String),
}

impl Period {
    /// So many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }
    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self { milliseconds: seconds * 1_000 }
    }
    /// The length in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.milliseconds
    }
    /// The length as the standard library has it.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

impl std::str::FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(PeriodError::NoNumber(text.to_owned()));
        }
        let too_long = || PeriodError::TooLong(text.to_owned());
        let number: u64 = text[..digits].parse().map_err(|_| too_long())?;
        let unit = text[digits..].trim_start();
        if unit.is_empty() {
            return Err(PeriodError::NoUnit(text.to_owned()));
        }
        match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => number.checked_mul(*factor).map(Self::from_millis).ok_or_else(too_long),
            None => Err(PeriodError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() }),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.milliseconds;
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor)).unwrap_or(&UNITS[3]);
        write!(f, "{}{unit}", ms / factor)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::decode::parse_scalar(deserializer, "a duration such as 5s")
            .and_then(|text| text.parse().map_err(de::Error::custom))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$",
            "description": "A duration: a whole number and one of ms, s, m, h, d.", "examples": ["5s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["0s", "1ms", "200ms", "5s", "90s", "2m", "36h", "7d"] {
            assert_eq!(text.parse::<Period>().map(|s| s.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("60s".parse::<Period>().map(|p| p.to_string()).as_deref(), Ok("1m"));
    }

    #[test]
    fn a_wrong_duration_says_how_to_mend_it() {
        let error = |text: &str| text.parse::<Period>().map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(error("5"), Err("the duration `5` has no unit; write 5ms, 5s or 5m".into()));
        assert!(error("5 sec").is_err_and(|e| e.contains("unknown unit `sec`")));
        assert!(error("soon").is_err_and(|e| e.contains("not a duration")));
        assert!(error("99999999999999999999s").is_err_and(|e| e.contains("64 bits")));
    }
}
