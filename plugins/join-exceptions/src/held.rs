//! An exception whose end has not come yet.

use crate::lines::{Begins, Reads};
use sawlog_plugin::{FieldValue, LogRecord, record};
use serde::{Deserialize, Serialize};

/// The first record of an exception and the text that was joined so far.
#[derive(Serialize, Deserialize)]
pub struct Held {
    reads: Reads,
    /// The first record, JSON text.
    first: String,
    /// Its event time, unix nanoseconds.
    time: i64,
    text: String,
    lines: usize,
}

impl Held {
    /// Begins with `text`, the text of `record` (JSON text).
    pub fn new(begins: Begins, text: &str, record: &[u8], time: i64) -> Self {
        let first = String::from_utf8_lossy(record).into_owned();
        Self { reads: begins.reads(), first, time, text: text.trim_end().to_owned(), lines: 1 }
    }

    /// Takes `text` if it goes on with the exception and there is room; false if the exception has ended.
    pub fn takes(&mut self, text: &str, lines_max: usize, bytes_max: usize) -> bool {
        if self.lines >= lines_max || self.text.len() + text.len() + 1 > bytes_max || !self.reads.takes(text) {
            return false;
        }
        self.text.push('\n');
        self.text.push_str(text.trim_end());
        self.lines += 1;
        true
    }

    /// The joined record: the first one, with the joined text in `field`.
    pub fn record(mut self, field: &str) -> Result<LogRecord, String> {
        // Blank lines that nothing followed belong to nobody.
        self.text.truncate(self.text.trim_end().len());
        let mut joined = record::parse(self.first.as_bytes(), self.time)?;
        match joined.fields.iter_mut().find(|(name, _)| name == field) {
            Some((_, value)) => *value = FieldValue::Text(self.text),
            None => joined.fields.push((field.to_owned(), FieldValue::Text(self.text))),
        }
        Ok(joined)
    }
}
