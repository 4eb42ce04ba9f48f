//! Where members go: into one field, or among the fields of their record. There a field that the record has already keeps its
//! value, so that a text can't overwrite what its source says of it; the member of that name gets another.

use crate::Members;
use sawlog_plugin::{Edits, Row, UpdateBuilder};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Largest record whose fields members join. A larger one would cost more than the usual `limits.fuel` of a record allows.
const RECORD_BYTES_MAX: usize = 128 << 10;
/// Behind the name of a member whose own name is taken.
const TAKEN_SUFFIX: &str = "_original";

/// The updates of one batch.
pub struct Place<'s> {
    field: &'s str,
    into: Option<&'s str>,
    keep_original: bool,
    update: UpdateBuilder,
    original: UpdateBuilder,
}

impl<'s> Place<'s> {
    /// Of members that were read from `field`.
    pub fn new(field: &'s str, into: Option<&'s str>, keep_original: bool) -> Self {
        let update = UpdateBuilder::new(into.unwrap_or("$record"));
        Self { field, into, keep_original, update, original: UpdateBuilder::new(field) }
    }

    /// Puts `members` into `row`, or says why they can't be there.
    pub fn put(&mut self, row: Row<'_>, members: &Members<'_>) -> Result<(), String> {
        members.check()?;
        let Some(into) = self.into else {
            let record = row.words(1).unwrap_or_default();
            if record.len() > RECORD_BYTES_MAX {
                return Err(format!(
                    "the record has {} bytes, members join one of at most {RECORD_BYTES_MAX}; put them into a field",
                    record.len()
                ));
            }
            let (merged, is_removed) = self.merged(&record, members)?;
            self.update.json(row.index(), &merged);
            if !self.keep_original && !is_removed {
                self.original.remove(row.index());
            }
            return Ok(());
        };
        self.update.json(row.index(), &members.object());
        if !self.keep_original && into != self.field {
            self.original.remove(row.index());
        }
        Ok(())
    }

    /// Adds the updates to `edits`.
    pub fn finish(self, edits: &mut Edits) {
        if self.into.is_some() {
            // The text goes first: the object may take its place.
            edits.update(self.original);
            edits.update(self.update);
        } else {
            edits.update(self.update);
            edits.update(self.original);
        }
    }

    /// `record`, JSON text, with `members` behind its own; and whether the text went with that.
    fn merged(&self, record: &str, members: &Members<'_>) -> Result<(String, bool), String> {
        let record: Fields<'_> = serde_json::from_str(record).map_err(|e| format!("the record can't be read: {e}"))?;
        let field = self.field.replace('"', ""); // the name of a top-level field with dots stands in quotes in a path
        let mut out = Members::default();
        let mut is_removed = false;
        for (name, token) in record.0 {
            if name == field && !self.keep_original {
                is_removed = true;
            } else {
                out.put(name, token.get());
            }
        }
        for (name, token) in members.iter() {
            let mut name = name.to_owned();
            // A field further down is removed after this, by its path, which must not find a member.
            while out.contains(&name) || (name == field && !is_removed) {
                name.push_str(TAKEN_SUFFIX);
            }
            out.put(name, token.to_owned());
        }
        out.check()?;
        Ok((out.object(), is_removed))
    }
}

/// The fields of a record, each token as it stood.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a record, a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}
