//! Changes that need the record as a whole: which members there are is not known beforehand.

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What becomes of the members of a record.
pub struct Reshape {
    flatten: Vec<String>,
    separator: String,
    keep_only: Option<Vec<String>>,
}

/// Objects within objects that are opened; deeper ones stay as they are.
const DEPTH_MAX: usize = 16;

impl Reshape {
    /// `None` if nothing is asked for. Members that a later rename takes from or to the names of `keep_only` are kept too.
    pub fn of(flatten: &[String], separator: &str, keep_only: &[String], renames: &[(String, String)]) -> Option<Self> {
        let mut kept = keep_only.to_vec();
        kept.extend(renames.iter().filter(|(_, to)| keep_only.contains(to)).map(|(from, _)| from.clone()));
        let keep_only = (!keep_only.is_empty()).then_some(kept);
        let is_needed = !flatten.is_empty() || keep_only.is_some();
        is_needed.then(|| Self { flatten: flatten.to_vec(), separator: separator.to_owned(), keep_only })
    }

    /// The record anew; `None` if nothing changes or it is no object.
    pub fn apply(&self, record: &str) -> Option<String> {
        let members = members(record)?;
        let mut out: Vec<(String, String)> = Vec::with_capacity(members.len());
        let mut changed = false;
        for (name, token) in members {
            let opened = self.flatten.contains(&name).then(|| self.open(&name, &token, DEPTH_MAX, &mut out));
            match opened {
                Some(true) => changed = true,
                _ => out.push((name, token)),
            }
        }
        if let Some(kept) = &self.keep_only {
            let before = out.len();
            out.retain(|(name, _)| kept.contains(name));
            changed |= out.len() < before;
        }
        changed.then(|| write(&out))
    }

    /// Puts the members of the object `token` behind `out` under joined names; false if it is none.
    fn open(&self, prefix: &str, token: &str, depth: usize, out: &mut Vec<(String, String)>) -> bool {
        if depth == 0 || !token.starts_with('{') {
            return false;
        }
        let Some(members) = members(token) else { return false };
        for (name, value) in members {
            let joined = format!("{prefix}{}{name}", self.separator);
            if !self.open(&joined, &value, depth - 1, out) {
                out.push((joined, value));
            }
        }
        true
    }
}

/// The record of `members`; of members with one name the last counts, in the place of the first.
fn write(members: &[(String, String)]) -> String {
    let mut out = String::from("{");
    for (i, (name, _)) in members.iter().enumerate() {
        if members[..i].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        let token = members.iter().rev().find(|(other, _)| other == name).map_or("null", |(_, token)| token);
        if out.len() > 1 {
            out.push(',');
        }
        sawlog_plugin::record::quote(name, &mut out);
        out.push(':');
        out.push_str(token);
    }
    out.push('}');
    out
}

fn members(object: &str) -> Option<Vec<(String, String)>> {
    serde_json::Deserializer::from_str(object).deserialize_map(Pairs).ok()
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            pairs.push((name, value.get().to_owned()));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_open_in_their_place_and_other_values_stay() {
        let flatten = ["a".to_owned(), "n".to_owned()];
        let reshape = Reshape::of(&flatten, ".", &[], &[]).expect("asked for");
        let changed = reshape.apply(r#"{"x":1.0,"a":{"b":{"c":[1, 2]},"d":"e"},"n":null}"#);
        assert_eq!(changed.as_deref(), Some(r#"{"x":1.0,"a.b.c":[1, 2],"a.d":"e","n":null}"#));
        assert_eq!(reshape.apply(r#"{"x":{}}"#), None);
        assert_eq!(reshape.apply("[1]"), None);
        assert!(Reshape::of(&[], ".", &[], &[]).is_none());
    }
}
