//! Counts as an operator writes them: `10M` of fuel, `1000` records. It knows nothing of what is counted.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Decimal suffixes from the largest down.
const SUFFIXES: [(&str, u64); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

/// A whole number of things, written plainly or with a decimal suffix (`k`, `M`, `G`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

/// Why a text is no count. The part after the semicolon says how to mend it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CountError {
    /// Neither digits alone nor digits and one of the suffixes.
    #[error("`{0}` is not a count; write a whole number, or one with k, M or G, such as 10M")]
    Malformed(String),
    /// More than 2^64 - 1.
    #[error("the count `{0}` does not fit into 64 bits; write a smaller one")]
    TooLarge(String),
}

impl std::str::FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let factor = match SUFFIXES.iter().find(|(name, _)| *name == suffix) {
            Some((_, factor)) => *factor,
            None if suffix.is_empty() => 1,
            None => return Err(CountError::Malformed(text.to_owned())),
        };
        if number.is_empty() {
            return Err(CountError::Malformed(text.to_owned()));
        }
        let number: u64 = number.parse().map_err(|_| CountError::TooLarge(text.to_owned()))?;
        number.checked_mul(factor).map(Self).ok_or_else(|| CountError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (suffix, factor) =
            SUFFIXES.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)).unwrap_or(&("", 1));
        write!(f, "{}{suffix}", self.0 / factor)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count such as 1000 or 10M")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Count, E> {
                Ok(Count(value))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Count, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+[kMG]?$",
            "description": "A count: a whole number, or one with k, M or G.", "examples": ["10M"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_decimal_suffixes() {
        assert_eq!("10M".parse(), Ok(Count(10_000_000)));
        assert_eq!(Count(10_000_000).to_string(), "10M");
        assert_eq!(Count(1_001).to_string(), "1001");
        assert_eq!("10m".parse::<Count>(), Err(CountError::Malformed("10m".into())));
        assert_eq!("M".parse::<Count>(), Err(CountError::Malformed("M".into())));
        assert!("99999999999G".parse::<Count>().is_err());
    }
}
