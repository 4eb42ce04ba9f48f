//! One segment: its name, its header, and what readers need to know of it while the log goes on writing.
//! It knows frames only by their addresses.

use crate::disk::{DiskFile, SECTOR_BYTES};
use crate::frame::{Lsn, u32_at, u64_at};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Version of the format that this build writes. Every version up to this one can be read.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a header: one sector, so that no write of a frame can tear it.
pub const SEGMENT_HEADER_BYTES: u64 = SECTOR_BYTES;

const MAGIC: [u8; 8] = *b"sawl-log";
const CRC_AT: usize = SEGMENT_HEADER_BYTES as usize - 4;
/// A frame start is remembered about every so many bytes, to find a frame from an address inside it.
const INDEX_STRIDE_BYTES: u64 = 64 << 10;

/// What stands in the first sector of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub incarnation: [u8; 16],
    pub number: u64,
    pub first: Lsn,
}

/// Why a first sector is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Damaged,
    /// Sound, but written by a later build.
    Newer(u32),
}

impl Header {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.incarnation);
        bytes[28..36].copy_from_slice(&self.number.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES as usize).ok_or(BadHeader::Damaged)?;
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(BadHeader::Damaged);
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            newer => return Err(BadHeader::Newer(newer)),
        }
        let mut incarnation = [0; 16];
        incarnation.copy_from_slice(&bytes[12..28]);
        Ok(Self { incarnation, number: u64_at(bytes, 28), first: u64_at(bytes, 36) })
    }
}

/// `<number>-<first address, hexadecimal>.seg`: sorted by name is sorted by number.
pub(crate) fn segment_name(number: u64, first: Lsn) -> String {
    format!("{number:010}-{first:016x}.seg")
}

/// The number and first address that a name tells.
pub(crate) fn parse_segment_name(name: &str) -> Option<(u64, Lsn)> {
    let (number, first) = name.strip_suffix(".seg")?.split_once('-')?;
    let parsed = (number.parse().ok()?, Lsn::from_str_radix(first, 16).ok()?);
    (segment_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// A segment as readers see it. Only the log moves `end`; a segment that was recycled is recognised by its frames, which
/// then carry other addresses.
pub(crate) struct Segment {
    pub number: u64,
    pub first: Lsn,
    pub name: String,
    pub file: Arc<dyn DiskFile>,
    /// Bytes that the file takes on the disk.
    pub file_bytes: u64,
    /// Address ranges that could not be read back when the log was opened, in order.
    pub damaged: Vec<(Lsn, Lsn)>,
    end: AtomicU64,
    index: Mutex<Vec<Lsn>>,
}

impl Segment {
    pub fn new(header: Header, name: String, file: Arc<dyn DiskFile>, file_bytes: u64) -> Self {
        let Header { number, first, .. } = header;
        Self {
            number,
            first,
            name,
            file,
            file_bytes,
            damaged: Vec::new(),
            end: AtomicU64::new(first),
            index: Mutex::default(),
        }
    }

    /// The address behind the last frame that counts.
    pub fn end(&self) -> Lsn {
        self.end.load(Ordering::Acquire)
    }

    pub fn set_end(&self, end: Lsn) {
        self.end.store(end, Ordering::Release);
    }

    /// Where the frame with address `lsn` lies in the file.
    pub fn offset(&self, lsn: Lsn) -> u64 {
        SEGMENT_HEADER_BYTES + (lsn - self.first)
    }

    /// Remembers a frame start, if the last one remembered is far enough back.
    pub fn note_frame(&self, lsn: Lsn) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.last().is_none_or(|&last| lsn >= last + INDEX_STRIDE_BYTES) {
            index.push(lsn);
        }
    }

    /// A frame start at or before `lsn`, at most about a stride back (more where one frame is longer).
    pub fn frame_start_before(&self, lsn: Lsn) -> Option<Lsn> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.partition_point(|&start| start <= lsn).checked_sub(1).map(|i| index[i])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_read_back_and_every_flipped_bit_shows() {
        let header = Header { incarnation: [3; 16], number: 9, first: 1 << 40 };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Err(BadHeader::Damaged), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Header::decode(&bytes[..100]), Err(BadHeader::Damaged));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = Header { incarnation: [3; 16], number: 1, first: 0 }.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Newer(2)));
    }

    #[test]
    fn names_read_back_and_strangers_do_not() {
        assert_eq!(parse_segment_name(&segment_name(12, 0xabc)), Some((12, 0xabc)));
        for stranger in ["x.seg", "1-2.seg", "0000000001-0000000000000000.seg.tmp", "0000000001-00000000000000zz.seg"] {
            assert_eq!(parse_segment_name(stranger), None, "{stranger}");
        }
    }
}
