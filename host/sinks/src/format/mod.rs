//! Formats: rows into the bytes that sinks write. `docs/output-format.md` states them for readers. Knows nothing of where
//! the bytes go.

mod json_lines;
mod row;

pub use json_lines::JsonLines;
pub use row::{Provenance, RowWriter};

use sawlog_record::batch::Output;

/// Why rows could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The compressor failed.
    #[error("cannot compress {format}: {error}")]
    Compression {
        /// What was being written.
        format: &'static str,
        /// What the compressor says.
        error: std::io::Error,
    },
}

/// An encoder of one object or of one appended frame.
pub trait Encoder: Send {
    /// Adds the rows of `output`.
    fn append(&mut self, output: &Output, provenance: &Provenance<'_>) -> Result<(), FormatError>;

    /// Bytes that `finish` would return now, or a little more.
    fn len(&self) -> usize;

    /// No row was added since the last `finish`.
    fn is_empty(&self) -> bool;

    /// Ends the object or frame and returns its bytes; the encoder then begins a new one.
    fn finish(&mut self) -> Result<Vec<u8>, FormatError>;
}
