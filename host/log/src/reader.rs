//! Reading a log while it goes on: only what is durable, and never a frame of a segment that was recycled meanwhile.
//! It writes nothing and knows nothing of what payloads mean.

use crate::disk::DiskError;
use crate::error::{Damage, LogError};
use crate::frame::{self, FRAME_HEADER_BYTES, Lsn};
use crate::segment::Segment;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What the log and its readers share.
pub(crate) struct View {
    dir: String,
    incarnation: [u8; 16],
    segments: RwLock<Vec<Arc<Segment>>>,
    durable: AtomicU64,
    spare_bytes: AtomicU64,
}

impl View {
    pub fn new(dir: &str, incarnation: [u8; 16], segments: Vec<Arc<Segment>>, durable: Lsn) -> Self {
        let (segments, durable) = (RwLock::new(segments), AtomicU64::new(durable));
        Self { dir: dir.to_owned(), incarnation, segments, durable, spare_bytes: AtomicU64::new(0) }
    }

    fn list(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_durable(&self, durable: Lsn) {
        self.durable.store(durable, Ordering::Release);
    }

    pub fn push(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    pub fn set_spare_bytes(&self, bytes: u64) {
        self.spare_bytes.store(bytes, Ordering::Release);
    }

    pub fn first(&self) -> Lsn {
        self.list().first().map_or(0, |segment| segment.first)
    }

    /// The oldest segment, if all of it lies below `floor` and it is not the last one.
    pub fn oldest_below(&self, floor: Lsn) -> Option<Arc<Segment>> {
        let list = self.list();
        let below = list.len() > 1 && list[1].first <= floor;
        below.then(|| list[0].clone())
    }

    pub fn drop_oldest(&self) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(0);
    }

    /// The segment that `lsn` belongs to, and where the next one begins.
    fn segment_at(&self, lsn: Lsn) -> Option<(Arc<Segment>, Option<Lsn>)> {
        let list = self.list();
        let i = list.partition_point(|segment| segment.first <= lsn).checked_sub(1)?;
        Some((list[i].clone(), list.get(i + 1).map(|next| next.first)))
    }
}

/// One payload and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Address of the frame; its payload's first byte has the address `lsn + FRAME_HEADER_BYTES`.
    pub lsn: Lsn,
    /// What was appended.
    pub payload: Bytes,
}

impl Frame {
    /// Address behind the frame.
    pub fn end(&self) -> Lsn {
        self.lsn + (FRAME_HEADER_BYTES + self.payload.len()) as u64
    }
}

/// Some frames in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// In order of their addresses.
    pub frames: Vec<Frame>,
    /// Where to read on. Equal to the address asked for: everything durable has been read.
    pub next: Lsn,
}

/// Reads one log; cheap to clone, and free to use from any thread while the log is written, trimmed and recycled.
#[derive(Clone)]
pub struct Reader {
    view: Arc<View>,
}

impl Reader {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self { view }
    }

    /// Oldest address kept.
    pub fn first(&self) -> Lsn {
        self.view.first()
    }

    /// Address behind the last durable frame.
    pub fn durable(&self) -> Lsn {
        self.view.durable.load(Ordering::Acquire)
    }

    /// Bytes of frames that are kept and durable.
    pub fn kept_bytes(&self) -> u64 {
        self.durable() - self.first()
    }

    /// Bytes of files that wait to become segments.
    pub fn spare_bytes(&self) -> u64 {
        self.view.spare_bytes.load(Ordering::Acquire)
    }

    /// Bytes that the log takes on the disk, spare files included.
    pub fn disk_bytes(&self) -> u64 {
        let segments = self.view.list().iter().map(|segment| segment.file_bytes).sum::<u64>();
        segments + self.view.spare_bytes.load(Ordering::Acquire)
    }

    /// Where the segment that holds `lsn` begins: the lowest floor that would still keep it.
    pub fn segment_start(&self, lsn: Lsn) -> Lsn {
        self.view.segment_at(lsn).map_or(0, |(segment, _)| segment.first)
    }

    /// Reads frames from `from`, which is the start of a frame, about `bytes_max` bytes of one segment, and at least one frame
    /// where there is one. Void and damaged stretches are passed over.
    pub fn read(&self, from: Lsn, bytes_max: usize) -> Result<Chunk, LogError> {
        let mut at = from;
        loop {
            let durable = self.durable();
            if at == durable {
                return Ok(Chunk { frames: Vec::new(), next: at });
            }
            let Some((segment, next)) = self.view.segment_at(at) else { return Err(self.trimmed(at)) };
            let stretch = segment.damaged.iter().find(|(lo, hi)| (*lo..*hi).contains(&at));
            if let Some(&(_, hi)) = stretch {
                at = hi;
                continue;
            }
            if at >= segment.end() {
                match next {
                    Some(next) => at = next,
                    None => return Err(self.no_frame(at)),
                }
                continue;
            }
            let chunk = self.read_segment(&segment, at, bytes_max, durable)?;
            if !chunk.frames.is_empty() {
                return Ok(chunk);
            }
            at = chunk.next;
        }
    }

    fn read_segment(&self, segment: &Segment, from: Lsn, bytes_max: usize, durable: Lsn) -> Result<Chunk, LogError> {
        let hole = segment.damaged.iter().map(|stretch| stretch.0).find(|&lo| lo >= from);
        let end = segment.end().min(durable).min(hole.unwrap_or(Lsn::MAX));
        let mut block = self.block(segment, from, end, bytes_max.max(FRAME_HEADER_BYTES))?;
        let announced = if block.len() < FRAME_HEADER_BYTES { 0 } else { frame::announced_bytes(&block) };
        if announced > block.len() {
            block = self.block(segment, from, end, announced)?;
        }
        let (mut frames, mut at) = (Vec::new(), 0usize);
        while let Some(found) = frame::decode(&block[at..], &self.view.incarnation, from + at as u64) {
            if found.control.is_none() {
                let start = at + FRAME_HEADER_BYTES;
                frames.push(Frame { lsn: from + at as u64, payload: block.slice(start..start + found.payload.len()) });
            }
            at += found.bytes;
        }
        if at == 0 {
            return Err(self.unreadable(segment, from));
        }
        Ok(Chunk { frames, next: from + at as u64 })
    }

    fn block(&self, segment: &Segment, from: Lsn, end: Lsn, bytes: usize) -> Result<Bytes, LogError> {
        let bytes = usize::try_from(end - from).unwrap_or(usize::MAX).min(bytes);
        let mut block = vec![0; bytes];
        let read = segment.file.read_at(segment.offset(from), &mut block).map_err(|e| self.disk(e))?;
        block.truncate(read);
        Ok(block.into())
    }

    /// Why no frame could be read: the segment was trimmed while we looked, the address is wrong, or the disk is.
    fn unreadable(&self, segment: &Segment, at: Lsn) -> LogError {
        if at < self.first() {
            return self.trimmed(at);
        }
        let starts_here = self.starts_in(segment, at).is_ok_and(|start| start == at);
        if !starts_here {
            return self.no_frame(at);
        }
        let what = "it was sound when the log was opened or written".to_owned();
        LogError::Corrupt(Damage { file: segment.name.clone(), lo: at, hi: segment.end(), what })
    }

    /// Start of the frame that the address `lsn` lies in, its header included.
    pub fn frame_start(&self, lsn: Lsn) -> Result<Lsn, LogError> {
        match self.view.segment_at(lsn) {
            None => Err(self.trimmed(lsn)),
            Some((segment, _)) if lsn < segment.end() => self.starts_in(&segment, lsn),
            Some(_) => Err(self.no_frame(lsn)),
        }
    }

    fn starts_in(&self, segment: &Segment, lsn: Lsn) -> Result<Lsn, LogError> {
        let mut at = segment.frame_start_before(lsn).unwrap_or(segment.first);
        loop {
            if let Some(&(_, hi)) = segment.damaged.iter().find(|(lo, hi)| (*lo..*hi).contains(&at)) {
                if lsn < hi {
                    return Err(self.no_frame(lsn));
                }
                at = hi;
            }
            let header = self.block(segment, at, segment.end(), FRAME_HEADER_BYTES)?;
            if header.len() < FRAME_HEADER_BYTES || frame::u64_at(&header, 8) != at {
                return Err(if lsn < self.first() { self.trimmed(lsn) } else { self.no_frame(lsn) });
            }
            let next = at + frame::announced_bytes(&header) as u64;
            if next > lsn {
                return Ok(at);
            }
            at = next;
        }
    }

    fn disk(&self, source: DiskError) -> LogError {
        LogError::Disk { dir: self.view.dir.clone(), source }
    }

    fn trimmed(&self, lsn: Lsn) -> LogError {
        LogError::Trimmed { dir: self.view.dir.clone(), lsn, first: self.first() }
    }

    fn no_frame(&self, lsn: Lsn) -> LogError {
        LogError::NoFrame { dir: self.view.dir.clone(), lsn, end: self.durable() }
    }
}
