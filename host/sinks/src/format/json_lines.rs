//! JSON lines: one object a line, each line ended by `\n`, plain or in compressed frames.

use super::frame::{Compression, Frame};
use super::row::{RowWriter, Shared};
use super::{Encoder, FormatError, Provenance};
use sawlog_record::batch::Output;

/// Rows are handed to a compressor in blocks of about this many bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// Encoder of JSON lines.
pub struct JsonLines {
    writer: RowWriter,
    compression: Compression,
    /// Opened by the first row.
    frame: Option<Frame>,
    /// Rows that the compressor does not have yet.
    block: Vec<u8>,
}

impl JsonLines {
    /// An encoder of plain lines that writes rows as `writer` does.
    pub fn new(writer: RowWriter) -> Self {
        Self::compressed(writer, Compression::None)
    }

    /// The same in compressed frames.
    pub fn compressed(writer: RowWriter, compression: Compression) -> Self {
        Self { writer, compression, frame: None, block: Vec::new() }
    }

    fn compress_block(&mut self) -> Result<(), FormatError> {
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => Frame::new(self.compression)?,
        };
        let frame = self.frame.insert(frame);
        frame.write(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

impl Encoder for JsonLines {
    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.block.is_empty() && self.block.capacity() < buffer.capacity() {
            buffer.clear();
            self.block = buffer;
        }
    }

    fn append(&mut self, output: &Output, provenance: &Provenance<'_>) -> Result<(), FormatError> {
        let shared = Shared::of(&output.batch, provenance);
        for row in output.iter() {
            self.writer.write(&output.batch, row, &shared, &mut self.block);
            self.block.push(b'\n');
            if self.compression != Compression::None && self.block.len() >= BLOCK_BYTES {
                self.compress_block()?;
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.block.len() + self.frame.as_ref().map_or(0, Frame::len)
    }

    fn is_empty(&self) -> bool {
        self.block.is_empty() && self.frame.is_none()
    }

    fn drain(&mut self) -> Result<Vec<u8>, FormatError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        if self.compression == Compression::None {
            return Ok(std::mem::take(&mut self.block));
        }
        self.compress_block()?;
        self.frame.take().map_or(Ok(Vec::new()), Frame::finish)
    }

    fn finish(&mut self) -> Result<Vec<u8>, FormatError> {
        self.drain()
    }
}
