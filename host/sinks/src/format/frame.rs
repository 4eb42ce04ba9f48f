//! Compressed frames: what is written between two drains is one gzip member or one zstd frame, so that a file of frames reads
//! as one stream and can be cut behind any of them. Knows nothing of what is compressed.

use super::FormatError;
use flate2::write::GzEncoder;
use std::io::Write as _;
use zstd::stream::write::Encoder as ZstdEncoder;

/// Level of gzip: about 100 MB/s of one core.
const GZIP_LEVEL: u32 = 4;
/// Level of zstd: about 400 MB/s of one core.
const ZSTD_LEVEL: i32 = 3;

/// How bytes are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// One gzip member a frame.
    Gzip,
    /// One zstd frame, with a checksum.
    Zstd,
}

/// A frame that is being written.
pub(super) enum Frame {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Frame {
    pub(super) fn new(compression: Compression) -> Result<Self, FormatError> {
        Ok(match compression {
            Compression::None => Self::Plain(Vec::new()),
            Compression::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            Compression::Zstd => {
                let checksummed = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    Ok(encoder)
                });
                Self::Zstd(checksummed.map_err(|error| FormatError::Compression { format: "zstd", error })?)
            }
        })
    }

    /// Adds `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let (format, written) = match self {
            Self::Plain(out) => {
                out.extend_from_slice(bytes);
                return Ok(());
            }
            Self::Gzip(encoder) => ("gzip", encoder.write_all(bytes)),
            Self::Zstd(encoder) => ("zstd", encoder.write_all(bytes)),
        };
        written.map_err(|error| FormatError::Compression { format, error })
    }

    /// Bytes that have left the compressor.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(out) => out.len(),
            Self::Gzip(encoder) => encoder.get_ref().len(),
            Self::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// Ends the frame.
    pub(super) fn finish(self) -> Result<Vec<u8>, FormatError> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish().map_err(|error| FormatError::Compression { format: "gzip", error }),
            Self::Zstd(encoder) => encoder.finish().map_err(|error| FormatError::Compression { format: "zstd", error }),
        }
    }
}
