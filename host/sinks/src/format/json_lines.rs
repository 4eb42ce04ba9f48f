//! JSON lines: one object a line, each line ended by `\n`, plain.

use super::row::{RowWriter, Shared};
use super::{Encoder, FormatError, Provenance};
use sawlog_record::batch::Output;

/// Encoder of JSON lines.
#[derive(Clone, Debug, Default)]
pub struct JsonLines {
    writer: RowWriter,
    bytes: Vec<u8>,
}

impl JsonLines {
    /// An encoder that writes rows as `writer` does.
    pub fn new(writer: RowWriter) -> Self {
        Self { writer, bytes: Vec::new() }
    }
}

impl Encoder for JsonLines {
    fn append(&mut self, output: &Output, provenance: &Provenance<'_>) -> Result<(), FormatError> {
        let shared = Shared::of(&output.batch, provenance);
        for row in output.iter() {
            self.writer.write(&output.batch, row, &shared, &mut self.bytes);
            self.bytes.push(b'\n');
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn finish(&mut self) -> Result<Vec<u8>, FormatError> {
        Ok(std::mem::take(&mut self.bytes))
    }
}
