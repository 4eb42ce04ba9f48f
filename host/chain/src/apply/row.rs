//! One row while it is edited: its fields beside the batch, until they are stored.

use super::nested;
use super::program::Target;
use crate::records::write_value;
use crate::wit::sawlog::plugin::types::{LogRecord, Value};
use sawlog_record::batch::{Batch, Field, Row, Span, Spill, ValueKind};
use sawlog_record::json::Reader;
use sawlog_record::path::Path;

/// A row and its fields. Bytes of new values go to the batch's arena at once; the fields only when the row is stored, so
/// that the row as it came in stays whole.
#[derive(Clone, Debug)]
pub struct Draft {
    row: Row,
    fields: Vec<Field>,
    /// The fields differ from those that the row names.
    changed: bool,
}

impl Draft {
    /// Becomes `row` as it stands.
    pub fn begin(&mut self, row: Row, batch: &Batch) {
        self.fields.clear();
        self.fields.extend_from_slice(batch.fields_of(&row));
        (self.row, self.changed) = (row, false);
    }

    /// `row` without fields.
    pub fn empty(row: Row) -> Self {
        Self { row, fields: Vec::new(), changed: true }
    }

    pub fn set_time(&mut self, time: i64) {
        self.row.time = time;
    }

    /// The row's own text no longer says what `field` is.
    fn touch(&mut self, key: Span) {
        self.changed = true;
        if self.row.text.is_some_and(|text| text.holds(key)) {
            self.row.text = None;
        }
    }

    /// Sets the field that `target` names, in the deepest object that has part of its path, else at the top level.
    pub fn set(&mut self, batch: &mut Batch, target: &Target, (value, kind): (Span, ValueKind)) {
        if let Some(i) = target.path.top_level_index(&batch.arena, &self.fields) {
            self.touch(self.fields[i].key);
            self.fields[i].value = value;
            self.fields[i].kind = kind;
            return;
        }
        if let Some((i, rest)) = nested::holder(&batch.arena, &self.fields, &target.path) {
            let token = nested::with(&batch.arena, self.fields[i].value, rest, Some((value, kind)));
            return self.set_token(batch, i, &token);
        }
        self.changed = true;
        self.fields.push(Field { key: target.key, value, kind });
    }

    pub fn remove(&mut self, batch: &mut Batch, path: &Path) {
        if let Some(i) = path.top_level_index(&batch.arena, &self.fields) {
            self.touch(self.fields[i].key);
            self.fields.remove(i);
            return;
        }
        if path.locate(&batch.arena, &self.fields).is_none() {
            return;
        }
        if let Some((i, rest)) = nested::holder(&batch.arena, &self.fields, path) {
            let token = nested::with(&batch.arena, self.fields[i].value, rest, None);
            self.set_token(batch, i, &token);
        }
    }

    fn set_token(&mut self, batch: &mut Batch, i: usize, token: &[u8]) {
        self.touch(self.fields[i].key);
        self.fields[i].value = batch.push_bytes(token);
        self.fields[i].kind = ValueKind::Json;
    }

    /// Moves the value at `from` to `to`, over what is there. A member of the top level keeps its place.
    pub fn rename(&mut self, batch: &mut Batch, from: &Path, to: &Target) {
        let Some(value) = from.locate(&batch.arena, &self.fields) else { return };
        if from == &to.path {
            return;
        }
        let from_top = from.top_level_index(&batch.arena, &self.fields);
        let to_nested = nested::holder(&batch.arena, &self.fields, &to.path).is_some();
        match (from_top, to.path.top_level_index(&batch.arena, &self.fields)) {
            (Some(i), None) if !to_nested => {
                self.touch(self.fields[i].key);
                self.fields[i].key = to.key;
            }
            _ => {
                self.remove(batch, from);
                self.set(batch, to, value);
            }
        }
    }

    /// Replaces every field by the members of the JSON object at `record`.
    pub fn replace(&mut self, batch: &mut Batch, record: Span) {
        let mut spill = Spill::behind(batch.arena.len());
        let mut fields = Vec::new();
        // Checked before: it is an object.
        let parsed = Reader::new(&batch.arena, record).object(&mut fields, &mut spill).unwrap_or_default();
        let text = Span { start: record.start + parsed.start, len: parsed.end - parsed.start };
        self.row.text = parsed.literal.then_some(text);
        batch.arena.extend_from_slice(spill.as_bytes());
        self.fields = fields;
        self.changed = true;
    }

    /// Sets event time and fields as a plugin's record has them; a name twice counts as its last value.
    pub fn overwrite(&mut self, batch: &mut Batch, record: &LogRecord) {
        self.row.time = record.timestamp;
        for (name, value) in &record.fields {
            let (value, kind) = push_value(batch, value);
            match self.fields.iter().position(|f| f.key.of(&batch.arena) == name.as_bytes()) {
                Some(i) => {
                    self.touch(self.fields[i].key);
                    self.fields[i].value = value;
                    self.fields[i].kind = kind;
                }
                None => {
                    let key = batch.push_bytes(name.as_bytes());
                    self.changed = true;
                    self.fields.push(Field { key, value, kind });
                }
            }
        }
    }

    /// Stores the fields and gives the row that names them.
    pub fn store(&self, batch: &mut Batch) -> Row {
        if !self.changed {
            return self.row;
        }
        let fields_start = batch.fields.len() as u32;
        let fields_len = self.fields.len() as u32;
        batch.fields.extend_from_slice(&self.fields);
        Row { fields_start, fields_len, ..self.row }
    }
}

fn push_value(batch: &mut Batch, value: &Value) -> (Span, ValueKind) {
    match value {
        Value::Text(text) => (batch.push_bytes(text.as_bytes()), ValueKind::Text),
        Value::Bytes(bytes) => (batch.push_bytes(bytes), ValueKind::Text),
        other => {
            let mut token = Vec::new();
            write_value(other, &mut token);
            (batch.push_bytes(&token), ValueKind::Json)
        }
    }
}
