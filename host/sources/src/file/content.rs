//! The content of a file, as stored or unpacked: bytes at positions, line ends, and hashes for the judgement. It knows
//! neither names nor generations.

use super::open::file_id;
use flate2::read::MultiGzDecoder;
use sawlog_core::identity::{Contents, FileId, FirstLine, hash_of};
use sawlog_core::memory::{Hold, Pool};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How large a piece is read when line ends are looked for, bytes.
const STEP_BYTES: u64 = 256 << 10;

/// An open file.
#[derive(Debug)]
pub struct Content {
    file: File,
    unpacked: Option<Unpacked>,
}

/// What a packed file was unpacked into.
#[derive(Debug)]
struct Unpacked {
    file: File,
    /// How large the packed file was then.
    packed_bytes: u64,
    /// The room that it takes.
    _room: Hold,
}

/// Why a packed file could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// More than all the room that there is for unpacked files.
    #[error("it unpacks to more than the limit")]
    TooMuch,
    /// More than the room that other unpacked files leave.
    #[error("unpacked files take the room that it needs")]
    NoRoom,
    /// The scratch file could not be written.
    #[error(transparent)]
    Scratch(io::Error),
    /// Reading it failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Content {
    /// A file whose bytes are its content.
    pub fn plain(file: File) -> Self {
        Self { file, unpacked: None }
    }

    /// When the file was written last, unix nanoseconds. Who packs a file leaves that as it was.
    pub fn written(&self) -> io::Result<i64> {
        let metadata = self.file.metadata()?;
        Ok(metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()))
    }

    /// A file packed by gzip, unpacked into a nameless file in `scratch`, within `room`. One that is still being written, or is
    /// cut or corrupt, has the content up to there.
    pub fn packed(file: File, scratch: &Path, room: &Arc<Pool>) -> Result<Self, UnpackError> {
        let packed_bytes = file.metadata()?.len();
        let mut unpacked = tempfile::tempfile_in(scratch).map_err(UnpackError::Scratch)?;
        let mut held = room.take(0).ok_or(UnpackError::NoRoom)?;
        let mut decoder = MultiGzDecoder::new(io::BufReader::with_capacity(64 << 10, &file));
        let mut block = vec![0; 64 << 10];
        loop {
            let read = match decoder.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if is_end(&e) => break,
                Err(e) => return Err(e.into()),
            };
            if held.bytes() + read as u64 > room.bytes_max() {
                return Err(UnpackError::TooMuch);
            }
            if !held.grow(read as u64) {
                return Err(UnpackError::NoRoom);
            }
            unpacked.write_all(&block[..read]).map_err(UnpackError::Scratch)?;
        }
        drop(decoder);
        Ok(Self { file, unpacked: Some(Unpacked { file: unpacked, packed_bytes, _room: held }) })
    }

    fn bytes(&self) -> &File {
        self.unpacked.as_ref().map_or(&self.file, |unpacked| &unpacked.file)
    }

    /// Size of the content, bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.bytes().metadata()?.len())
    }

    /// Which file it is, and how many names it has.
    pub fn identity(&self) -> io::Result<(FileId, u64)> {
        let metadata = self.file.metadata()?;
        Ok((file_id(&metadata), metadata.nlink()))
    }

    /// Whether the packed file has changed since it was unpacked.
    pub fn is_stale(&self) -> bool {
        let len = self.file.metadata().map(|m| m.len());
        self.unpacked.as_ref().is_some_and(|unpacked| len.is_ok_and(|len| len != unpacked.packed_bytes))
    }

    /// Appends up to `len` bytes from `at` on to `into`; how many there were.
    pub fn read_at(&self, at: u64, len: usize, into: &mut Vec<u8>) -> io::Result<usize> {
        let start = into.len();
        into.reserve(len);
        // Into room that nobody has to fill with zeroes first; where there is more of it than is wanted, the rest goes again.
        while into.len() - start < len {
            let from = at + (into.len() - start) as u64;
            match rustix::io::pread(self.bytes(), rustix::buffer::spare_capacity(into), from) {
                Ok(0) => break,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    into.truncate(start);
                    return Err(e.into());
                }
            }
        }
        into.truncate(start + len);
        Ok(into.len() - start)
    }

    /// Exactly the bytes of `range`; `None` where the file ends before.
    pub fn exactly(&self, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        let len = (range.end - range.start) as usize;
        let mut bytes = Vec::with_capacity(len);
        Ok((self.read_at(range.start, len, &mut bytes)? == len).then_some(bytes))
    }

    /// Its first line, once complete.
    pub fn first_line(&self) -> io::Result<Option<FirstLine>> {
        let mut start = Vec::new();
        self.read_at(0, 4096, &mut start)?;
        if !start.contains(&b'\n') && start.len() == 4096 {
            self.read_at(4096, FirstLine::BYTES_MAX - 4096, &mut start)?;
        }
        Ok(FirstLine::find(&start))
    }

    /// Where the last line end of `range` ends; the range's start if there is none. `line_end` lies at multiples of its
    /// own length.
    pub fn last_line_end(&self, range: Range<u64>, line_end: &[u8]) -> io::Result<u64> {
        // A range may begin or end inside a unit: that one is looked at as a whole, once all of it is there.
        let whole = |at: u64| at - at % line_end.len() as u64;
        let mut end = whole(range.end);
        while end > range.start {
            let start = whole(end.saturating_sub(STEP_BYTES).max(range.start));
            let Some(bytes) = self.exactly(start..end)? else { return Ok(range.start) };
            let found = match line_end {
                [one] => memchr::memrchr(*one, &bytes).map(|i| i + 1),
                unit => bytes.chunks_exact(unit.len()).rposition(|c| c == unit).map(|i| (i + 1) * unit.len()),
            };
            if let Some(found) = found {
                return Ok(start + found as u64);
            }
            end = start;
        }
        Ok(range.start)
    }

    /// Where the first line end at or after `from` ends; `None` where there is none before `to`.
    pub fn next_line_end(&self, from: u64, to: u64, line_end: &[u8]) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < to {
            let mut bytes = Vec::new();
            let len = (to - at).min(STEP_BYTES) as usize;
            if self.read_at(at, len, &mut bytes)? == 0 {
                return Ok(None);
            }
            let found = match line_end {
                [one] => memchr::memchr(*one, &bytes).map(|i| i + 1),
                unit => bytes.chunks_exact(unit.len()).position(|c| c == unit).map(|i| (i + 1) * unit.len()),
            };
            if let Some(found) = found {
                return Ok(Some(at + found as u64));
            }
            at += bytes.len() as u64;
        }
        Ok(None)
    }
}

/// Whether a packed file ends here, as it was written so far.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}

/// A file of a judgement.
#[derive(Debug, Default)]
pub enum Slot {
    /// It could not be opened.
    #[default]
    Failed,
    /// Opened where it is asked for.
    Lazy(PathBuf),
    /// Open.
    Open(Arc<Content>),
}

/// Opens the file of a name, if it can be opened.
pub type Open = dyn Fn(&Path) -> Option<Arc<Content>>;

/// The contents of the files of one judgement.
pub struct Opened {
    /// By index.
    pub files: Vec<Slot>,
    /// Block size of the evidence in use, bytes.
    pub block_bytes: u64,
    /// Opens what was not open.
    pub open: Box<Open>,
}

impl Contents for Opened {
    fn hash(&mut self, file: usize, range: Range<u64>) -> Option<u64> {
        let slot = self.files.get_mut(file)?;
        if let Slot::Lazy(path) = slot {
            *slot = (self.open)(path).map_or(Slot::Failed, Slot::Open);
        }
        let Slot::Open(content) = slot else { return None };
        content.exactly(range).ok().flatten().map(|bytes| hash_of(&bytes))
    }

    fn block_bytes(&self) -> u64 {
        self.block_bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_end_that_was_written_in_two_pieces_is_found() {
        let mut file = tempfile::tempfile().unwrap();
        let text: Vec<u8> = "ab\ncd".encode_utf16().flat_map(u16::to_le_bytes).collect();
        file.write_all(&text).unwrap();
        let content = Content::plain(file);
        let last = |range| content.last_line_end(range, b"\n\0").unwrap();
        assert_eq!((last(0..5), last(5..6), last(3..10), last(6..10), last(7..9)), (0, 6, 6, 6, 7));
    }
}
