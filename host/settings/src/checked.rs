//! Texts in options that must compile: regular expressions, conditions, templates. Each is compiled once when the config is
//! read, so that a mistake is shown at its place, and kept as written. What they mean is the record room's business.

use std::borrow::Cow;
use std::fmt;

use sawlog_record::expr::Expr;
use sawlog_record::template::{Template, Values};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A text that compiles to something, by a function that says why it doesn't.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident -> $compiled:ty, $description:literal, $expecting:literal, $compile:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks `text`. The part of an error after the semicolon says how to mend it.
            pub fn parse(text: &str) -> Result<Self, String> {
                let compile: fn(&str) -> Result<$compiled, String> = $compile;
                compile(text).map(|_| Self(text.to_owned()))
            }
            /// What it compiles to.
            pub fn compiled(&self) -> $compiled {
                let compile: fn(&str) -> Result<$compiled, String> = $compile;
                compile(&self.0).expect("it compiled when it was made, and compiling depends on nothing else")
            }
            /// As written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = crate::decode::parse_scalar(deserializer, $expecting)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description })
            }
        }
    };
}

checked!(
    /// A regular expression over bytes.
    Pattern -> regex::bytes::Regex,
    "A regular expression (RE2 syntax, linear time).",
    "a regular expression in quotes",
    |text| regex::bytes::Regex::new(text).map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("not a regular expression: {last}; mend it, or put a backslash before a character that stands for itself")
    })
);

checked!(
    /// A condition on a row, in the part of CEL that the record room takes.
    Condition -> Expr,
    "A condition on a row: a subset of CEL over paths.",
    "a condition in quotes",
    |text| Expr::parse(text).map_err(|error| error.to_string())
);

checked!(
    /// A template whose values become parts of names: topics, indexes, paths.
    NameTemplate -> Template,
    "Text with fields and times in braces: logs.{k8s.namespace.name}, dt={received_time:%Y-%m-%d}. Values are folded to a-z, 0-9, `_` and `-`; others become `other`.",
    "a text in quotes",
    |text| Template::parse(text, Values::Names).map_err(mendable)
);

checked!(
    /// A template whose values stay as they are.
    ValueTemplate -> Template,
    "Text with fields and times in braces: {k8s.pod.uid}.",
    "a text in quotes",
    |text| Template::parse(text, Values::Raw).map_err(mendable)
);

/// The record room joins reason and remedy by a comma.
fn mendable(error: sawlog_record::template::TemplateError) -> String {
    error.to_string().replacen(", write ", "; write ", 1)
}

impl NameTemplate {
    /// The text up to its first template.
    pub fn literal(&self) -> &str {
        self.0.split('{').next().unwrap_or_default()
    }
    /// The text is the same for every row.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('{')
    }
    /// The folder below which every name lies: the literal part up to its last `/` where more follows, else all of it.
    pub fn root(&self) -> &str {
        if self.is_literal() { &self.0 } else { self.literal().rsplit_once('/').map_or("", |(root, _)| root) }
    }
    /// The text with a star for each template.
    pub fn as_pattern(&self) -> String {
        let mut pattern = String::new();
        let mut rest = self.0.as_str();
        while let Some((literal, after)) = rest.split_once('{') {
            pattern.push_str(literal);
            pattern.push('*');
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
        }
        pattern + rest
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_text_says_how_to_mend_it() {
        assert!(NameTemplate::parse("dt={time}").unwrap_err().contains("; write {event_time:%Y-%m-%d}"));
        assert!(NameTemplate::parse("dt={event_time:%Y").unwrap_err().contains("no partner"));
        assert!(Pattern::parse("(").unwrap_err().contains("unclosed group"));
        assert!(Condition::parse("severity >").unwrap_err().starts_with("invalid expression at byte"));
    }

    #[test]
    fn a_template_knows_its_literal_parts() {
        let template = NameTemplate::parse("/lake/raw/dt={received_time:%F}/h").unwrap();
        assert_eq!((template.root(), template.as_pattern().as_str()), ("/lake/raw", "/lake/raw/dt=*/h"));
        let literal = NameTemplate::parse("/var/log/out").unwrap();
        assert_eq!((literal.root(), literal.is_literal()), ("/var/log/out", true));
    }
}
