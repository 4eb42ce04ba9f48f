//! Sizes in bytes as an operator writes them: `128MiB`. It knows nothing of where they are used.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Units from the largest down, with their size in bytes.
const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes, written as a whole number and a binary unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is no size. The part after the semicolon says how to mend it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ByteSizeError {
    /// No leading digits.
    #[error("`{0}` is not a size; write a whole number and one of B, KiB, MiB, GiB, TiB, such as 128MiB")]
    NoNumber(String),
    /// Digits alone: bytes, kilobytes and mebibytes are too easily confused.
    #[error("the size `{0}` has no unit; write {0}B, {0}KiB or {0}MiB")]
    NoUnit(String),
    /// A unit that is not ours.
    #[error("the size `{text}` has an unknown unit `{unit}`; write one of B, KiB, MiB, GiB, TiB{}", decimal_hint(.unit))]
    UnknownUnit {
        /// What was written.
        text: String,
        /// The unit in it.
        unit: String,
    },
    /// More than 2^64 - 1 bytes.
    #[error("the size `{0}` does not fit into 64 bits; write a smaller one")]
    TooLarge(String),
}

fn decimal_hint(unit: &str) -> &'static str {
    match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "m" | "mb" | "g" | "gb" | "t" | "tb" => " (units are binary: 1KiB = 1024B)",
        _ => "",
    }
}

impl ByteSize {
    /// A size of so many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }
    /// A size of so many KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }
    /// A size of so many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }
    /// A size of so many GiB.
    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }
    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
    /// The number of bytes as a length in memory; saturates on machines with short pointers.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(ByteSizeError::NoNumber(text.to_owned()));
        }
        let too_large = || ByteSizeError::TooLarge(text.to_owned());
        let number: u64 = text[..digits].parse().map_err(|_| too_large())?;
        let unit = text[digits..].trim_start();
        if unit.is_empty() {
            return Err(ByteSizeError::NoUnit(text.to_owned()));
        }
        match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => number.checked_mul(*factor).map(Self).ok_or_else(too_large),
            None => Err(ByteSizeError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() }),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)).unwrap_or(&UNITS[4]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::decode::parse_scalar(deserializer, "a size such as 128MiB")
            .and_then(|text| text.parse().map_err(de::Error::custom))
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$",
            "description": "A size: a whole number and one of B, KiB, MiB, GiB, TiB.", "examples": ["128MiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["0B", "1B", "1023B", "1KiB", "128MiB", "8GiB", "3TiB", "1025KiB"] {
            assert_eq!(text.parse::<ByteSize>().map(|s| s.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("2 MiB".parse(), Ok(ByteSize::mib(2)));
    }

    #[test]
    fn a_wrong_size_says_how_to_mend_it() {
        let error = |text: &str| text.parse::<ByteSize>().map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(error("128"), Err("the size `128` has no unit; write 128B, 128KiB or 128MiB".into()));
        assert!(error("128MB").is_err_and(|e| e.contains("unknown unit `MB`") && e.contains("1KiB = 1024B")));
        assert!(error("-1MiB").is_err_and(|e| e.contains("not a size")));
        assert!(error("99999999999999999999MiB").is_err_and(|e| e.contains("64 bits")));
        assert!(error("18446744073709551615KiB").is_err_and(|e| e.contains("64 bits")));
    }
}
