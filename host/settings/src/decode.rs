//! From a written node to an options struct, with every mistake in one pass: serde stops at the first mistake, so the
//! offending part is noted, taken out of a copy, and the copy is read again until nothing is left to complain about.
//! It knows nothing of what the options mean.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, DeserializeOwned};

use crate::component::Severity;
use crate::deserializer::{DecodeError, Kind, NodeDeserializer};
use crate::node::{Node, Place, Step};

/// One mistake in a config, ready to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Complaint {
    /// An error refuses the config, a warning doesn't.
    pub severity: Severity,
    /// Where the caret goes.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
    /// How to mend it.
    pub mend: Option<String>,
    /// A second place that belongs to the mistake, and what it is.
    pub also: Option<(Place, String)>,
}

impl Complaint {
    /// An error at `place`. A reason of the form "what is wrong; how to mend it" is split at the semicolon.
    pub fn error(place: Place, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let (reason, mend) = match reason.split_once("; ") {
            Some((reason, mend)) => (reason.to_owned(), Some(mend.to_owned())),
            None => (reason, None),
        };
        Self { severity: Severity::Error, place, reason, mend, also: None }
    }

    /// A warning at `place`; its reason is split like an error's.
    pub fn warning(place: Place, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, reason) }
    }

    /// The same, with its remedy.
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// The same, with a second place.
    pub fn also(mut self, place: Place, what: impl Into<String>) -> Self {
        self.also = Some((place, what.into()));
        self
    }
}

/// What came of a node.
#[derive(Debug)]
pub struct Decoded<T> {
    /// The value, with the parts that were complained about left out; `None` where it cannot do without them.
    pub value: Option<T>,
    /// Nothing was complained about.
    pub clean: bool,
}

impl<T> Decoded<T> {
    /// The value, if it is exactly what was written.
    pub fn clean(self) -> Option<T> {
        self.value.filter(|_| self.clean)
    }
}

/// Reads `node` as a `T`. Mistakes go to `complaints`; `title` is the place of what the node is called, shown where
/// something is missing; `also_known` are keys that the reader of the config may mean although `T` has none such.
pub fn decode<T: DeserializeOwned + JsonSchema>(
    node: &Node,
    title: Place,
    also_known: &[&str],
    complaints: &mut Vec<Complaint>,
) -> Decoded<T> {
    let mut tree = node.clone();
    let mut taken_out: Vec<Vec<Step>> = Vec::new();
    loop {
        let error = match T::deserialize(NodeDeserializer(&tree)) {
            Ok(value) => return Decoded { value: Some(value), clean: taken_out.is_empty() },
            Err(error) => error,
        };
        let path: Vec<Step> = error.way_back.iter().rev().cloned().collect();
        if let Kind::MissingKey(key) = error.kind {
            complain_of_missing::<T>(key, &path, &error, node, title, &taken_out, complaints);
        } else {
            complaints.extend(describe(&error, title, also_known));
        }
        if !tree.remove(&path) {
            return Decoded { value: None, clean: false };
        }
        taken_out.push(path);
    }
}

/// A key is missing below `path`. At the root all of the required keys are looked at, because serde names only one; a key
/// that was taken out before has had its complaint.
fn complain_of_missing<T: JsonSchema>(
    key: &'static str,
    path: &[Step],
    error: &DecodeError,
    node: &Node,
    title: Place,
    taken_out: &[Vec<Step>],
    complaints: &mut Vec<Complaint>,
) {
    let mut missing = vec![key.to_owned()];
    if path.is_empty() {
        missing = crate::schema::required_keys::<T>();
        missing.retain(|key| node.entry(key).is_none());
    } else if taken_out.iter().any(|out| out.split_last() == Some((&Step::Key(key.to_owned()), path))) {
        return;
    }
    let place = error.place.unwrap_or(title);
    complaints.extend(
        missing
            .into_iter()
            .map(|key| Complaint::error(place, format!("the key `{key}` is missing")).mend(format!("add `{key}: …`"))),
    );
}

fn describe(error: &DecodeError, title: Place, also_known: &[&str]) -> Option<Complaint> {
    let place = error.place.unwrap_or(title);
    Some(match &error.kind {
        Kind::AlreadySaid => return None,
        Kind::UnknownKey { key, expected } => {
            let known: Vec<&str> = expected.iter().chain(also_known).copied().collect();
            Complaint::error(place, format!("unknown key `{key}`")).mend(suggestion(key, &known, "key"))
        }
        Kind::UnknownWord { word, expected } => {
            Complaint::error(place, format!("unknown value `{word}`")).mend(suggestion(word, expected, "value"))
        }
        Kind::Mismatch { found, expected } => mismatch(place, found, expected),
        // The standard library's own words say what is wrong, not how to mend it.
        Kind::Rejected(reason) if reason == "invalid socket address syntax" => {
            Complaint::error(place, "this is not an address").mend("write IP:PORT, such as 127.0.0.1:8080")
        }
        Kind::Rejected(reason) => Complaint::error(place, reason.clone()),
        Kind::MissingKey(key) => Complaint::error(place, format!("the key `{key}` is missing")),
    })
}

/// serde's words for what it found, in an operator's.
fn mismatch(place: Place, found: &str, expected: &str) -> Complaint {
    let found = match found.split_once(' ') {
        _ if found == "map" => "a mapping".to_owned(),
        _ if found == "sequence" => "a list".to_owned(),
        _ if found == "unit value" => "nothing".to_owned(),
        Some(("string", quoted)) => format!("the text `{}`", quoted.trim_matches('"')),
        Some(("integer" | "floating", number)) => {
            format!("the number {}", number.trim_start_matches("point ").trim_matches('`'))
        }
        Some(("boolean", value)) => value.to_owned(),
        _ => found.to_owned(),
    };
    let (expected, mend) = match expected {
        "a string" | "string" => ("a text", Some("put the value in quotes")),
        "a sequence" => ("a list", Some("write it as a list: [first, second]")),
        "a boolean" => ("`true` or `false`", None),
        "a map" => ("a mapping", None),
        "u8" | "u16" | "u32" | "u64" | "usize" => ("a whole number from 0 up", None),
        "f32" | "f64" => ("a number", None),
        // serde's word for what the standard library reads an address from.
        "socket address" => ("an address such as 127.0.0.1:8080", None),
        other => (other.strip_prefix("struct ").map_or(other, |_| "a mapping"), None),
    };
    let complaint = Complaint::error(place, format!("expected {expected}, found {found}"));
    match mend {
        Some(mend) if !(mend.contains("quotes") && (found.starts_with("a ") || found == "nothing")) => {
            complaint.mend(mend)
        }
        _ => complaint,
    }
}

/// "did you mean" for the nearest of `known`, or the list of all of them.
pub fn suggestion(written: &str, known: &[&str], what: &str) -> String {
    match nearest(written, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("no {what} is known here"),
        None => format!("known {what}s: {}", known.join(", ")),
    }
}

/// The one of `known` that `written` most probably means.
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = written.to_ascii_lowercase().replace('-', "_");
    let scored = known.iter().map(|name| (strsim::damerau_levenshtein(&folded, &name.to_ascii_lowercase()), *name));
    scored.min().filter(|(distance, name)| *distance <= (name.len().min(folded.len()) / 3).max(1)).map(|(_, name)| name)
}

/// The text of a scalar; a bare number comes as its digits, so that a value type can say which unit it lacks.
pub(crate) fn parse_scalar<'de, D: de::Deserializer<'de>>(
    deserializer: D,
    expecting: &'static str,
) -> Result<String, D::Error> {
    struct Visitor(&'static str);
    impl de::Visitor<'_> for Visitor {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
            Ok(value.to_owned())
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
            Ok(value.to_string())
        }
    }
    deserializer.deserialize_any(Visitor(expecting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Entry, Text, Value};
    use crate::{ByteSize, Period, Secret};
    use serde::Deserialize;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "what matters is whether it can be read")]
    struct Options {
        name: String,
        size: ByteSize,
        #[serde(default)]
        roll: Option<Roll>,
        #[serde(default)]
        list: Vec<Word>,
        #[serde(default)]
        token: Option<Secret>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "what matters is whether it can be read")]
    struct Roll {
        age: Period,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Plain,
        Sized(ByteSize),
    }

    /// Places count up, so that each complaint can be told by its own.
    fn tree(value: serde_json::Value, next: &mut u32) -> Node {
        *next += 1;
        let place = Place { file: 0, start: *next, len: 1 };
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => number.as_u64().map_or(Value::Float(0.5), Value::Whole),
            serde_json::Value::String(text) => Value::Text(Text::plain(text)),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(|item| tree(item, next)).collect()),
            serde_json::Value::Object(members) => Value::Map(
                members
                    .into_iter()
                    .map(|(key, value)| {
                        *next += 1;
                        let key_place = Place { file: 0, start: *next, len: 1 };
                        Entry { key, key_place, value: tree(value, next) }
                    })
                    .collect(),
            ),
        };
        Node { place, value }
    }

    fn read(value: serde_json::Value) -> (Decoded<Options>, Vec<String>) {
        let mut complaints = Vec::new();
        let decoded = decode::<Options>(&tree(value, &mut 0), Place::default(), &["inputs"], &mut complaints);
        (decoded, complaints.into_iter().map(|c| format!("{}; {}", c.reason, c.mend.unwrap_or_default())).collect())
    }

    #[test]
    fn every_mistake_is_found_in_one_pass() {
        let (decoded, complaints) = read(serde_json::json!({
            "size": "big", "naem": "x", "input": [],
            "roll": { "age": 5, "aeg": "5s" },
            "list": ["plain", "palin", { "sized": "1" }, { "sized": "1MiB" }, 7],
        }));
        let found = |what: &str| complaints.iter().filter(|complaint| complaint.contains(what)).count();
        for what in [
            "`big` is not a size",
            "unknown key `naem`; did you mean `name`?",
            "unknown key `input`; did you mean `inputs`?",
            "the duration `5` has no unit",
            "unknown key `aeg`; did you mean `age`?",
            "unknown value `palin`; did you mean `plain`?",
            "the size `1` has no unit",
            "expected one of plain, sized, found a number",
            "the key `name` is missing",
        ] {
            assert_eq!(found(what), 1, "{what} in {complaints:#?}");
        }
        assert_eq!(complaints.len(), 9, "{complaints:#?}");
        assert!(decoded.value.is_none() && !decoded.clean);
    }

    #[test]
    fn what_can_be_kept_is_kept() {
        let (decoded, complaints) =
            read(serde_json::json!({ "name": "x", "size": "1MiB", "list": ["plain", 7, { "sized": "2B" }] }));
        assert_eq!(complaints.len(), 1);
        let clean = decoded.clean;
        let options = decoded.value.expect("the rest is whole");
        assert!(!clean);
        assert_eq!(options.list, [Word::Plain, Word::Sized(ByteSize::bytes(2))]);
    }

    #[test]
    fn a_text_that_was_complained_about_before_is_left_out_in_silence() {
        let mut node = tree(serde_json::json!({ "name": "x", "size": "1MiB", "token": "${secret:gone}" }), &mut 0);
        let Value::Map(entries) = &mut node.value else { unreachable!("it was written as a map") };
        let token = entries.iter_mut().find(|entry| entry.key == "token").expect("it was written");
        let mut text = Text::plain("${secret:gone}");
        text.unresolved = true;
        token.value.value = Value::Text(text);
        let mut complaints = Vec::new();
        let decoded = decode::<Options>(&node, Place::default(), &[], &mut complaints);
        assert!(complaints.is_empty() && !decoded.clean, "{complaints:?}");
        assert!(decoded.value.is_some_and(|options| options.token.is_none()));
    }

    #[test]
    fn a_word_is_matched_as_a_person_would() {
        assert_eq!(nearest("Read-From", &["read_from", "roots"]), Some("read_from"));
        assert_eq!(nearest("elasticserach", &["kafka", "elasticsearch"]), Some("elasticsearch"));
        assert_eq!(nearest("xyz", &["kafka", "s3"]), None);
        assert_eq!(suggestion("xyz", &[], "key"), "no key is known here");
    }
}
