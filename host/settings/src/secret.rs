//! Secrets by reference: a password, a token or a key, kept out of every print. It knows how a secret was written and
//! what it resolved to, never where secrets are stored.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is shown in place of a secret that stands in the config itself.
pub const HIDDEN: &str = "[hidden]";

/// Name of the newtype by which the deserializer of this room knows a secret.
pub(crate) const MARKER: &str = "$sawlog::Secret";

/// A secret value and how it was written. `Debug`, `Serialize` and errors show the reference only.
#[derive(Clone)]
pub struct Secret {
    reference: Option<String>,
    value: SecretString,
}

impl Secret {
    /// A secret that was written as `reference` (`${secret:es}`) and resolved to `value`.
    pub fn referenced(reference: impl Into<String>, value: impl Into<String>) -> Self {
        Self { reference: Some(reference.into()), value: SecretString::from(value.into()) }
    }
    /// A secret that stands in the config itself.
    pub fn clear(value: impl Into<String>) -> Self {
        Self { reference: None, value: SecretString::from(value.into()) }
    }
    /// The value, for the one call that needs it. Never print, log or store what this returns.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
    /// How it was written, e.g. `${secret:es}`; `None` when it stands in the config in the clear.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reference.as_deref().unwrap_or(HIDDEN))
    }
}

/// Equal when written alike and resolved alike: a rotated secret makes its component restart at reload.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.reference == other.reference && self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text such as \"${secret:NAME}\"")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Secret, E> {
                Ok(Secret::clear(value))
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Secret, D::Error> {
                let (reference, value) = <(String, String)>::deserialize(inner)?;
                Ok(Secret::referenced(reference, value))
            }
        }
        deserializer.deserialize_newtype_struct(MARKER, Visitor)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A secret, by reference: \"${secret:NAME}\", \"${file:/path}\" or \"${env:NAME}\".",
            "examples": ["${secret:es}"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let referenced = Secret::referenced("${secret:es}", "hunter2");
        let clear = Secret::clear("hunter2");
        assert_eq!(format!("{referenced:?} {clear:?}"), "${secret:es} [hidden]");
        assert_eq!(
            serde_json::to_string(&(&referenced, &clear)).ok().as_deref(),
            Some(r#"["${secret:es}","[hidden]"]"#)
        );
        assert_eq!(referenced.expose(), "hunter2");
    }

    #[test]
    fn a_rotated_secret_is_another() {
        assert_ne!(Secret::referenced("${secret:es}", "old"), Secret::referenced("${secret:es}", "new"));
    }
}
