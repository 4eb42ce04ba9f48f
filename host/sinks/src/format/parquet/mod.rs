//! Parquet: fixed columns, the declared columns, and `rest` with everything that no column took, as JSON text, so that nothing is
//! lost. Rows are gathered into row groups of bounded size; a drain hands out the row groups that are complete. The crate
//! `parquet` writes pages and metadata; this module decides what stands in which column.

mod buffer;
mod columns;
mod fit;

use super::row::{RowWriter, Shared};
use super::{Encoder, FormatError, Provenance};
use columns::{Columns, RowParts};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use sawlog_record::batch::Output;
use sawlog_settings::format::Column;
use std::sync::Arc;

/// Bytes of values that a row group gathers in memory before it is written.
pub const ROW_GROUP_BYTES_MAX: usize = 32 << 20;
/// Rows of a row group.
pub const ROW_GROUP_ROWS_MAX: usize = 1 << 20;

/// Encoder of Parquet.
pub struct Parquet {
    columns: Columns,
    properties: WriterPropertiesPtr,
    /// Opened by the first row group.
    file: Option<SerializedFileWriter<Vec<u8>>>,
    row_group_bytes_max: usize,
}

impl Parquet {
    /// An encoder with the declared columns `declared`; with provenance columns if `writer` has them.
    pub fn new(writer: &RowWriter, declared: &[Column]) -> Result<Self, FormatError> {
        let level = ZstdLevel::try_new(3).map_err(FormatError::parquet)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by("sawlog".to_owned())
            .build();
        Ok(Self {
            columns: Columns::new(writer.provenance, declared)?,
            properties: Arc::new(properties),
            file: None,
            row_group_bytes_max: ROW_GROUP_BYTES_MAX,
        })
    }

    /// The same with smaller row groups.
    pub fn row_group_bytes_max(mut self, bytes: usize) -> Self {
        self.row_group_bytes_max = bytes;
        self
    }

    #[cfg(test)]
    pub(super) fn columns_bytes(&self) -> usize {
        self.columns.bytes()
    }

    fn write_row_group(&mut self) -> Result<(), FormatError> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        if self.file.is_none() {
            let file = SerializedFileWriter::new(Vec::new(), self.columns.schema(), self.properties.clone());
            self.file = Some(file.map_err(FormatError::parquet)?);
        }
        let file = self.file.as_mut().expect("opened above");
        let mut group = file.next_row_group().map_err(FormatError::parquet)?;
        self.columns.write(&mut group)?;
        group.close().map_err(FormatError::parquet)?;
        Ok(())
    }
}

impl Encoder for Parquet {
    fn append(&mut self, output: &Output, provenance: &Provenance<'_>) -> Result<(), FormatError> {
        let shared = Shared::of(&output.batch, provenance);
        for row in output.iter() {
            self.columns.push(&RowParts { batch: &output.batch, row, provenance, shared: &shared });
            if self.columns.bytes() >= self.row_group_bytes_max || self.columns.rows() >= ROW_GROUP_ROWS_MAX {
                self.write_row_group()?;
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.columns.bytes() + self.file.as_ref().map_or(0, |file| file.inner().len())
    }

    fn is_empty(&self) -> bool {
        self.columns.rows() == 0 && self.file.is_none()
    }

    fn drain(&mut self) -> Result<Vec<u8>, FormatError> {
        self.write_row_group()?;
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.flush().map_err(|error| FormatError::Compression { format: "parquet", error })?;
        Ok(std::mem::take(file.inner_mut()))
    }

    fn finish(&mut self) -> Result<Vec<u8>, FormatError> {
        self.write_row_group()?;
        let file = match self.file.take() {
            Some(file) => file,
            // No rows at all: readers of Parquet still want a head and a foot.
            None => SerializedFileWriter::new(Vec::new(), self.columns.schema(), self.properties.clone())
                .map_err(FormatError::parquet)?,
        };
        file.into_inner().map_err(FormatError::parquet)
    }
}
