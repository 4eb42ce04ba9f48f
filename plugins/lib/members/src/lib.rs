//! What plugins share that read one text into named members: their options, where the members go, and what becomes of a text
//! that can't be read. Knows records; knows no format.

mod members;
mod place;

pub use members::{Members, quoted};

use place::Place;
use sawlog_plugin::{Batch, Edits, OnFailure, Registration, Row, UpdateBuilder, Value};
use serde::Deserialize;

/// Longest text that is read unless the configuration says otherwise, bytes. Reading a longer one may cost more than the usual
/// `limits.fuel` of a record.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Options of every such plugin.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Field that holds the text.
    pub field: String,
    /// Field that gets the members as one object; without it they become fields of the record.
    pub into: Option<String>,
    /// Longest text that is read, bytes.
    pub max_bytes: usize,
    /// Whether the text stays.
    pub keep_original: bool,
    /// What becomes of a record that can't be read.
    pub on_failure: OnFailure,
    /// Field that gets the reason where such a record is kept.
    pub error_field: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            field: "body".into(),
            into: None,
            max_bytes: TEXT_BYTES_MAX,
            keep_original: false,
            on_failure: OnFailure::default(),
            error_field: None,
        }
    }
}

impl Settings {
    /// What a plugin of these options registers. `drop_reason` is that of a record that can't be read.
    pub fn registration(&self, name: &str, version: &str, drop_reason: &str) -> Registration {
        let mut columns = vec![self.field.clone()];
        columns.extend(self.into.is_none().then(|| "$record".to_owned()));
        Registration { drop_reasons: vec![drop_reason.into()], ..Registration::new(name, version, columns) }
    }

    /// Reads the text of every row with `read`, which gives the members and the event time if the text has one.
    pub fn process<'a>(
        &self,
        batch: Batch<'a>,
        edits: &mut Edits,
        read: impl Fn(&'a str, &mut Members<'a>) -> Result<Option<i64>, String>,
    ) {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        let mut place = Place::new(&self.field, self.into.as_deref(), self.keep_original);
        let mut errors = UpdateBuilder::new(self.error_field.as_deref().unwrap_or_default());
        for row in batch.rows() {
            let mut members = Members::default();
            let found = self.text(row).and_then(|text| read(text, &mut members));
            match found.and_then(|time| place.put(row, &members).map(|()| time)) {
                Ok(None) => {}
                Ok(Some(time)) => {
                    rows.push(row.index() as u32);
                    times.push(time);
                }
                Err(reason) => {
                    edits.decide(row.index(), self.on_failure.fate(&reason));
                    if self.on_failure == OnFailure::Keep && self.error_field.is_some() {
                        errors.text(row.index(), &reason);
                    }
                }
            }
        }
        place.finish(edits);
        edits.update(errors);
        edits.set_times(rows, times);
    }

    /// The text of `row`, or why there is none to read.
    fn text<'a>(&self, row: Row<'a>) -> Result<&'a str, String> {
        let (field, max) = (&self.field, self.max_bytes);
        let bytes = match row.get(0) {
            None => return Err(format!("there is no field {field}")),
            Some(Value::Json(_)) => return Err(format!("field {field} holds no text")),
            Some(Value::Text(bytes)) => bytes,
        };
        if bytes.len() > max {
            return Err(format!("the text has {} bytes, at most {max} are read", bytes.len()));
        }
        std::str::from_utf8(bytes).map_err(|e| format!("invalid utf-8 at byte {}", e.valid_up_to()))
    }
}
