//! Formats: rows into the bytes that sinks write. `docs/output-format.md` states them for readers. Knows nothing of where
//! the bytes go.

mod frame;
mod json_lines;
mod parquet;
mod row;

pub use self::parquet::Parquet;
pub use frame::Compression;
pub use json_lines::JsonLines;
pub use row::{Provenance, RowWriter, Shared};

use sawlog_record::batch::Output;
use sawlog_settings::format::{Column, ObjectFormat};

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
    /// Parquet refuses a schema or a value.
    #[error("cannot write parquet: {0}; check the declared columns")]
    Parquet(String),
}

impl FormatError {
    fn parquet(error: impl std::fmt::Display) -> Self {
        Self::Parquet(error.to_string())
    }
}

/// An encoder of objects of `format`. `columns` are those of Parquet.
pub fn encoder(format: ObjectFormat, columns: &[Column], writer: RowWriter) -> Result<Box<dyn Encoder>, FormatError> {
    Ok(match format {
        ObjectFormat::JsonLines => Box::new(JsonLines::new(writer)),
        ObjectFormat::JsonLinesGzip => Box::new(JsonLines::compressed(writer, Compression::Gzip)),
        ObjectFormat::JsonLinesZstd => Box::new(JsonLines::compressed(writer, Compression::Zstd)),
        ObjectFormat::Parquet => Box::new(Parquet::new(&writer, columns)?),
    })
}

/// An encoder of one object or of one appended frame.
pub trait Encoder: Send {
    /// Gives a buffer of an earlier object to write into, so that a large one need not grow again.
    fn reuse(&mut self, _buffer: Vec<u8>) {}

    /// Adds the rows of `output`.
    fn append(&mut self, output: &Output, provenance: &Provenance<'_>) -> Result<(), FormatError>;

    /// Bytes in memory: what a drain would return now, and values that are not encoded yet. Compressors hold back up to
    /// 256 KiB more.
    fn len(&self) -> usize;

    /// No row was added since the object began and nothing is held.
    fn is_empty(&self) -> bool;

    /// Takes out what is encoded so far; the object goes on. All drains and the last `finish`, one after the other, are the
    /// object. Compressed formats end their frame; Parquet ends its row group, so drains should be rare there.
    fn drain(&mut self) -> Result<Vec<u8>, FormatError>;

    /// Ends the object and returns the rest of its bytes; the encoder then begins a new one.
    fn finish(&mut self) -> Result<Vec<u8>, FormatError>;
}

#[cfg(test)]
mod tests;
