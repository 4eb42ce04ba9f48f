//! Decompression within limits: a small body that would become a huge one is refused while it grows. Pure.

use std::io::Read;

const STEP_BYTES: usize = 64 << 10;
/// Largest window of a zstd frame: what RFC 8878 asks every decoder to take, 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// gzip, one member or several.
    Gzip,
    /// Zstandard, one frame or several.
    Zstd,
}

/// Why a body was not decompressed.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It grows past a limit.
    #[error("the body grows past {bytes_max} bytes when it is decompressed; send it in smaller requests")]
    TooLarge {
        /// The limit in bytes: the lower one of the size's and the ratio's.
        bytes_max: usize,
    },
    /// There is no room in memory for what it becomes.
    #[error("the memory for requests is used up")]
    Crowded,
    /// It is no such stream, or cut short.
    #[error("the body is no whole {coding} stream: {error}; compress it again")]
    Damaged {
        /// What it was said to be.
        coding: &'static str,
        /// What the decoder met.
        error: std::io::Error,
    },
}

/// `packed` without its coding, if that has at most `bytes_max` bytes. `has_room` is asked for each piece that it grows by.
pub fn unpack(
    coding: Coding,
    packed: Vec<u8>,
    bytes_max: usize,
    has_room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, UnpackError> {
    match coding {
        Coding::Identity => Ok(packed),
        Coding::Gzip => drain(flate2::read::MultiGzDecoder::new(&packed[..]), "gzip", bytes_max, has_room),
        Coding::Zstd => {
            let damaged = |error| UnpackError::Damaged { coding: "zstd", error };
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&packed[..]).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
            drain(decoder, "zstd", bytes_max, has_room)
        }
    }
}

fn drain(
    mut from: impl Read,
    coding: &'static str,
    bytes_max: usize,
    mut has_room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, UnpackError> {
    let (mut out, mut step) = (Vec::new(), vec![0; STEP_BYTES]);
    loop {
        let read = from.read(&mut step).map_err(|error| UnpackError::Damaged { coding, error })?;
        if read == 0 {
            return Ok(out);
        }
        if out.len() + read > bytes_max {
            return Err(UnpackError::TooLarge { bytes_max });
        }
        if !has_room(read) {
            return Err(UnpackError::Crowded);
        }
        out.extend_from_slice(&step[..read]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::io::Write as _;

    #[test]
    fn fuzz_compressed_bodies() {
        let text = "{\"a\":1}\n".repeat(200);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        sawlog_fuzz::hammer("compressed_bodies", &[&gzip, &zstd], |packed| {
            for coding in [Coding::Gzip, Coding::Zstd] {
                let mut asked = 0;
                let unpacked = unpack(coding, packed.to_vec(), 4_096, |more| {
                    asked += more;
                    true
                });
                // What is given out was asked for, and never more than may be.
                assert!(asked <= 4_096);
                assert!(unpacked.is_err() || unpacked.is_ok_and(|text| text.len() == asked));
            }
        });
    }
}
