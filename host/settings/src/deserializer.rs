//! serde over a [`Node`], with errors that know where they belong. It decides nothing: `decode` turns its errors into
//! complaints.

use std::fmt;

use serde::de::{self, DeserializeSeed, Unexpected, Visitor, value::StrDeserializer};
use serde::forward_to_deserialize_any;

use crate::node::{Entry, Node, Place, Step, Text, Value};

/// Why a node did not become a value, where, and on which way from the root (deepest step first).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecodeError {
    pub(crate) kind: Kind,
    pub(crate) place: Option<Place>,
    pub(crate) way_back: Vec<Step>,
}

/// The kinds of mistake that serde can tell apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    UnknownKey {
        key: String,
        expected: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        expected: &'static [&'static str],
    },
    MissingKey(&'static str),
    Mismatch {
        found: String,
        expected: String,
    },
    Rejected(String),
    /// A reference that could not be resolved, and was complained about where that was tried.
    AlreadySaid,
}

impl DecodeError {
    fn new(kind: Kind) -> Self {
        Self { kind, place: None, way_back: Vec::new() }
    }

    /// The error seen from one level up: `step` leads down to it, and it stands at `place` unless a deeper one is known.
    fn below(mut self, step: Step, place: Place) -> Self {
        self.place.get_or_insert(place);
        self.way_back.push(step);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Rejected(message.to_string()))
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Kind::Mismatch { found: found.to_string(), expected: expected.to_string() })
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn unknown_variant(word: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownWord { word: word.to_owned(), expected })
    }
    fn unknown_field(key: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { key: key.to_owned(), expected })
    }
    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::MissingKey(key))
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(crate) struct NodeDeserializer<'de>(pub(crate) &'de Node);

fn open_text(text: &Text) -> Result<&str, DecodeError> {
    if text.unresolved {
        return Err(DecodeError::new(Kind::AlreadySaid));
    }
    match text.secret {
        true => Err(DecodeError::new(Kind::Rejected(format!(
            "`{}` is a secret, and this value is not kept secret; use ${{env:NAME}} or ${{file:/path}}, or write the value",
            text.written
        )))),
        false => Ok(&text.resolved),
    }
}

impl<'de> de::Deserializer<'de> for NodeDeserializer<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Negative(value) => visitor.visit_i64(*value),
            Value::Whole(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(open_text(text)?),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Text(text) if name == crate::secret::MARKER && text.written != text.resolved && !text.unresolved => {
                let pair = [text.written.as_str(), text.resolved.as_str()].into_iter();
                visitor.visit_newtype_struct(de::value::SeqDeserializer::new(pair))
            }
            _ if name == crate::secret::MARKER => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    /// A word is a variant without content; a mapping of one key is a variant with content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Text(text) => visitor.visit_enum(StrDeserializer::new(open_text(text)?)),
            Value::Map(entries) if entries.len() == 1 => visitor.visit_enum(Variant(&entries[0])),
            _ => Err(DecodeError::new(Kind::Mismatch {
                found: self.0.kind().to_owned(),
                expected: format!("one of {}", variants.join(", ")),
            })),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de> {
    items: &'de [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(NodeDeserializer(item)).map(Some).map_err(|error| error.below(Step::Index(index), item.place))
    }
}

struct Entries<'de> {
    entries: &'de [Entry],
    next: usize,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let key = StrDeserializer::<DecodeError>::new(&entry.key);
        seed.deserialize(key).map(Some).map_err(|error| error.below(Step::Key(entry.key.clone()), entry.key_place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let entry = &self.entries[self.next];
        self.next += 1;
        seed.deserialize(NodeDeserializer(&entry.value)).map_err(|error| {
            // A missing key is shown at the key of the mapping that lacks it: the mapping itself has no one place.
            let place = if matches!(error.kind, Kind::MissingKey(_)) { entry.key_place } else { entry.value.place };
            error.below(Step::Key(entry.key.clone()), place)
        })
    }
}

struct Variant<'de>(&'de Entry);

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Content<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'de>), DecodeError> {
        let name = StrDeserializer::<DecodeError>::new(&self.0.key);
        let variant = seed.deserialize(name).map_err(|mut error| {
            error.place.get_or_insert(self.0.key_place);
            error
        })?;
        Ok((variant, Content(self.0)))
    }
}

/// What belongs to a variant that was written as a mapping of one key.
struct Content<'de>(&'de Entry);

impl<'de> Content<'de> {
    fn node(&self) -> NodeDeserializer<'de> {
        NodeDeserializer(&self.0.value)
    }
    /// A mistake below the content is reached through the key; content that is itself wrong makes the variant wrong.
    fn locate(&self, mut error: DecodeError) -> DecodeError {
        if !error.way_back.is_empty() {
            return error.below(Step::Key(self.0.key.clone()), self.0.value.place);
        }
        error.place.get_or_insert(self.0.value.place);
        error
    }
}

impl<'de> de::VariantAccess<'de> for Content<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.0.value.value {
            Value::Null => Ok(()),
            _ => Err(self.locate(DecodeError::new(Kind::Rejected(format!(
                "`{0}` takes no options; write it as a word: {0}",
                self.0.key
            ))))),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.node()).map_err(|error| self.locate(error))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self.node(), visitor).map_err(|error| self.locate(error))
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self.node(), visitor).map_err(|error| self.locate(error))
    }
}
