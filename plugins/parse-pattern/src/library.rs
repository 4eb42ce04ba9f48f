//! Patterns: names for regular expressions that logs are made of, and how a text of them is compiled.

use regex_lite::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// Names that need no definition. Linear-time expressions only: no look-around, no back references.
const KNOWN: [(&str, &str); 35] = [
    ("ANY", r".*"),
    ("BASE10NUM", r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"),
    ("BASE16NUM", r"(?:0[xX])?[0-9A-Fa-f]+"),
    ("BOOLEAN", r"(?i:true|false)"),
    ("CLASS", r"(?:[a-zA-Z$_][a-zA-Z$_0-9]*\.)*[a-zA-Z$_][a-zA-Z$_0-9]*"),
    ("DATA", r".*?"),
    ("DURATION", r"[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h)"),
    ("EMAIL", r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}"),
    ("GREEDYDATA", r".*"),
    ("HOSTNAME", r"[0-9A-Za-z][0-9A-Za-z-]{0,62}(?:\.[0-9A-Za-z][0-9A-Za-z-]{0,62})*\.?"),
    ("HOSTPORT", r"%{IPORHOST}:%{POSINT}"),
    ("HTTPDATE", r"[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"),
    ("INT", r"[+-]?[0-9]+"),
    ("IP", r"(?:%{IPV4}|%{IPV6})"),
    ("IPORHOST", r"(?:%{IP}|%{HOSTNAME})"),
    ("IPV4", r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"),
    ("IPV6", r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}"),
    ("JSON", r"\{.*\}"),
    (
        "LOGLEVEL",
        r"(?i:trace|debug|info(?:rmation)?|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|severe|alert|emerg(?:ency)?|panic)",
    ),
    ("MAC", r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"),
    ("MONTH", r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"),
    ("NONNEGINT", r"[0-9]+"),
    ("NOTSPACE", r"\S+"),
    ("NUMBER", r"%{BASE10NUM}"),
    ("PATH", r"(?:/[^\s/]*)+"),
    ("POSINT", r"[1-9][0-9]*"),
    ("QUOTEDSTRING", r#""(?:[^"\\]|\\.)*""#),
    ("SPACE", r"\s*"),
    ("SYSLOGTIMESTAMP", r"%{MONTH} +[0-9]{1,2} %{TIME}"),
    ("TIME", r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?"),
    ("TIMESTAMP_ISO8601", r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]%{TIME}(?: ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))?"),
    ("URI", r"[A-Za-z][A-Za-z0-9+.-]*://\S+"),
    ("USER", r"[a-zA-Z0-9._-]+"),
    ("UUID", r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"),
    ("WORD", r"\b\w+\b"),
];
/// Names within names.
const DEPTH_MAX: usize = 16;
/// Bytes of a compiled pattern.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// What a matched part becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

/// A named part of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub field: String,
    kind: Kind,
}

impl Part {
    /// The JSON token of `value`; `None` if it is text, or does not read as what it was said to be.
    pub fn token(&self, value: &str) -> Option<String> {
        match self.kind {
            Kind::Text => None,
            Kind::Integer => value.parse::<i64>().ok().map(|number| number.to_string()),
            Kind::Number => value.parse::<f64>().ok().filter(|n| n.is_finite()).map(|number| number.to_string()),
            Kind::Boolean => value.to_ascii_lowercase().parse::<bool>().ok().map(|yes| yes.to_string()),
        }
    }
}

/// A compiled pattern.
pub struct Pattern {
    regex: Regex,
    /// By group, from 1.
    parts: Vec<Part>,
}

impl Pattern {
    /// Compiles `text`, whose names are those of `definitions` and the known ones.
    pub fn compile(text: &str, definitions: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let expanded = expand(text, definitions, DEPTH_MAX, &mut parts)?;
        let regex = RegexBuilder::new(&expanded).size_limit(COMPILED_BYTES_MAX).build().map_err(|e| e.to_string())?;
        // Groups that the author wrote by hand stand between those of names: go by name.
        let parts = regex.capture_names().skip(1).map(|name| part(name, &parts)).collect();
        Ok(Self { regex, parts })
    }

    /// The parts that have a name.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !part.field.is_empty())
    }

    /// The parts that matched, each field once.
    pub fn read<'t>(&self, text: &'t str) -> Option<Vec<(&Part, &'t str)>> {
        let found = self.regex.captures(text)?;
        let mut values: Vec<(&Part, &str)> = Vec::new();
        for (i, part) in self.parts.iter().enumerate().filter(|(_, part)| !part.field.is_empty()) {
            let Some(value) = found.get(i + 1) else { continue };
            values.retain(|(other, _)| other.field != part.field);
            values.push((part, value.as_str()));
        }
        Some(values)
    }
}

/// The part of a group by its name: `part7` is of the names in `named`, another one is the author's own.
fn part(name: Option<&str>, named: &[Part]) -> Part {
    let own = |name: &str| Part { field: name.to_owned(), kind: Kind::Text };
    match name {
        Some(name) => {
            let number = name.strip_prefix("sawlogpart").and_then(|number| number.parse::<usize>().ok());
            number.and_then(|number| named.get(number)).cloned().unwrap_or_else(|| own(name))
        }
        None => own(""),
    }
}

/// The regular expression of `text`, with a group for every part that names a field.
fn expand(
    text: &str,
    definitions: &BTreeMap<String, String>,
    depth: usize,
    parts: &mut Vec<Part>,
) -> Result<String, String> {
    if depth == 0 {
        return Err("names refer to names more than 16 deep; does one refer to itself?".into());
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("%{") {
        let (inside, after) = behind.split_once('}').ok_or_else(|| format!("%{{{behind} has no closing brace"))?;
        out.push_str(before);
        let mut words = inside.split(':');
        let name = words.next().unwrap_or_default();
        let definition = definitions.get(name).map(String::as_str).or_else(|| known(name));
        let definition = definition.ok_or_else(|| format!("%{{{name}}} is not known; define it in `definitions`"))?;
        let inner = expand(definition, definitions, depth - 1, parts)?;
        match words.next().filter(|field| !field.is_empty()) {
            Some(field) => {
                let kind = kind(words.next())?;
                out.push_str(&format!("(?P<sawlogpart{}>{inner})", parts.len()));
                parts.push(Part { field: field.to_owned(), kind });
            }
            None => out.push_str(&format!("(?:{inner})")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn kind(word: Option<&str>) -> Result<Kind, String> {
    match word {
        None | Some("string") => Ok(Kind::Text),
        Some("int") => Ok(Kind::Integer),
        Some("float" | "number") => Ok(Kind::Number),
        Some("bool") => Ok(Kind::Boolean),
        Some(other) => Err(format!("{other:?} is no kind of value; expected string, int, float or bool")),
    }
}

fn known(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, pattern)| *pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_compiles() {
        for (name, _) in KNOWN {
            Pattern::compile(&format!("%{{{name}:x}}"), &BTreeMap::new()).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let told = |text: &str, name: &str, definition: &str| {
            let definitions = [(name.to_owned(), definition.to_owned())].into();
            Pattern::compile(text, &definitions).err().expect("refused")
        };
        assert!(told("%{NOPE:x}", "A", "a").contains("%{NOPE} is not known"));
        assert!(told("%{A:x", "A", "a").contains("closing brace"));
        assert!(told("%{A:x}", "A", "%{A}").contains("itself"));
        assert!(told("%{A:x:date}", "A", "a").contains("no kind of value"));
        assert!(told("(%{A:x}", "A", "a").contains("group"));
    }

    #[test]
    fn parts_and_own_groups_are_read() {
        let text = r"^(\d+) (?P<own>\w+) %{IP:client} (?:%{NUMBER:n:float}|%{WORD:n})$";
        let pattern = Pattern::compile(text, &BTreeMap::new()).expect("compiles");
        let read = |text: &str| {
            let values = pattern.read(text)?;
            Some(
                values
                    .iter()
                    .map(|(part, value)| {
                        format!("{}={}", part.field, part.token(value).unwrap_or_else(|| (*value).to_owned()))
                    })
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(read("1 a 10.0.0.1 2.50"), Some(vec!["own=a".into(), "client=10.0.0.1".into(), "n=2.5".into()]));
        assert_eq!(read("1 a ::1 x"), Some(vec!["own=a".into(), "client=::1".into(), "n=x".into()]));
        assert_eq!(read("nothing"), None);
    }
}
