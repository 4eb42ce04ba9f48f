//! A config as it was written: a tree of values in which every value and every key knows its place. It knows nothing of
//! YAML; duplicate keys are kept, so that whoever loads the file can name both places.

use std::fmt;

/// Where something stands: a file of this load, by number, and the bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Number of the file, in the order of the load.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// Length in bytes; 0 points between two bytes.
    pub len: u32,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A key with its value in a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number below zero.
    Negative(i64),
    /// A whole number from zero up.
    Whole(u64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(Text),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written, with duplicate keys.
    Map(Vec<Entry>),
}

/// A text as written and as its references resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// As written: `${secret:es}`.
    pub written: String,
    /// With its references replaced; equal to `written` where there are none.
    pub resolved: String,
    /// The text holds a `${secret:…}`, so it may only become a [`crate::Secret`].
    pub secret: bool,
    /// A reference in it could not be resolved, which has been complained about.
    pub unresolved: bool,
}

impl Text {
    /// A text without references.
    pub fn plain(text: impl Into<String>) -> Self {
        let written = text.into();
        Self { resolved: written.clone(), written, secret: false, unresolved: false }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.written)
    }
}

/// One step of the way from a node to one below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into the value of this key.
    Key(String),
    /// Into this element.
    Index(usize),
}

impl Node {
    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The resolved text of a text node.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.resolved),
            _ => None,
        }
    }

    /// What it is, in an operator's words.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Negative(_) | Value::Whole(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The place of the value that a dotted path names (`roll.size`, `topics.1`), or of the deepest ancestor that is
    /// written; where the value is a mapping or list, the place of its key, which is what a reader looks for.
    pub fn place_of(&self, path: &str) -> Option<Place> {
        let mut node = self;
        let mut place = None;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            if let Some(entry) = node.entry(name) {
                node = &entry.value;
                place = Some(if node.is_scalar() { node.place } else { entry.key_place });
            } else if let (Value::List(items), Ok(index)) = (&node.value, name.parse::<usize>()) {
                let Some(item) = items.get(index) else { break };
                node = item;
                place = Some(item.place);
            } else {
                break;
            }
        }
        place
    }

    fn is_scalar(&self) -> bool {
        !matches!(self.value, Value::Map(_) | Value::List(_))
    }

    /// Takes out the value at `path`. Returns whether something was there.
    pub fn remove(&mut self, path: &[Step]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        match (&mut self.value, first) {
            (Value::Map(entries), Step::Key(key)) => {
                let Some(at) = entries.iter().position(|entry| entry.key == *key) else { return false };
                if rest.is_empty() {
                    entries.remove(at);
                    return true;
                }
                entries[at].value.remove(rest)
            }
            (Value::List(items), Step::Index(at)) if *at < items.len() => {
                if rest.is_empty() {
                    items.remove(*at);
                    return true;
                }
                items[*at].remove(rest)
            }
            _ => false,
        }
    }
}
