//! What is remembered of consumed bytes so that they can be known again, and how contents are held against it.
//! It sees bytes only as they are consumed, later only hashes of blocks; it knows nothing of files or names.
//!
//! Blocks lie at multiples of their size, so every prefix of a file has the same blocks. Line ends in the first and the
//! last blocks are marked, so that a copy that stops at any line in them is compared to its last byte.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Sizes of the evidence; one set for all of a data directory, smaller ones in models.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grain {
    /// Size of a block, bytes.
    pub block_bytes: u32,
    /// Blocks remembered one by one at either end of what was consumed.
    pub edge_blocks: u32,
    /// Blocks in one hash of the middle.
    pub middle_blocks: u32,
    /// Hashes of the middle at most; beyond them only the ends speak.
    pub middle_max: u32,
    /// Length of the tail anchor, bytes.
    pub anchor_bytes: u32,
    /// Line ends marked at most in either end.
    pub marks_max: u32,
}

impl Grain {
    /// 4 KiB blocks, 256 KiB at either end, 1 MiB between (of the first 4 GiB), an anchor of 256 bytes.
    pub const DEFAULT: Self = Self {
        block_bytes: 4096,
        edge_blocks: 64,
        middle_blocks: 256,
        middle_max: 4096,
        anchor_bytes: 256,
        marks_max: 128,
    };

    fn block(self) -> u64 {
        u64::from(self.block_bytes)
    }

    fn floor(self, pos: u64) -> u64 {
        pos - pos % self.block()
    }
}

/// The first complete line of a file, or its first 64 KiB where the line is longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FirstLine {
    /// Its hash.
    pub hash: [u8; 16],
    /// Bytes hashed.
    pub bytes: u32,
}

impl FirstLine {
    /// Bytes of a first line that count at most.
    pub const BYTES_MAX: usize = 64 << 10;

    /// Of a file's first bytes; `None` while the line is incomplete (and shorter than the limit).
    pub fn find(start: &[u8]) -> Option<Self> {
        let window = &start[..start.len().min(Self::BYTES_MAX)];
        let line = match window.iter().position(|b| *b == b'\n') {
            Some(end) => &window[..=end],
            None if window.len() == Self::BYTES_MAX => window,
            None => return None,
        };
        let mut hash = [0; 16];
        hash.copy_from_slice(&sawlog_record::id::hash("sawlog.first_line", &[line])[..16]);
        Some(Self { hash, bytes: line.len() as u32 })
    }
}

/// Answers about the bytes of seen files, the same ones as long as one judgement lasts.
pub trait Contents {
    /// The hash ([`hash_of`]) of a range of at most one block of file `file`; `None` where it can't be read in full now.
    fn hash(&mut self, file: usize, range: Range<u64>) -> Option<u64>;
    /// The block size of the evidence in use.
    fn block_bytes(&self) -> u64 {
        Grain::DEFAULT.block()
    }
}

/// The hash that evidence is made of.
pub fn hash_of(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

fn hash_of_hashes(hashes: &[u64]) -> u64 {
    let bytes: Vec<u8> = hashes.iter().flat_map(|h| h.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// Whether what a file holds was consumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cover {
    /// No, or nothing could be compared.
    No,
    /// All whole blocks; the last partial one could not be compared.
    Blocks,
    /// Yes, to the last complete line.
    Exact,
}

/// A line end in a block: the hash of the block's bytes up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Mark {
    end: u64,
    hash: u64,
}

/// What is known of the bytes `[0, pos)` of a generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    grain: Grain,
    pos: u64,
    first_line: FirstLine,
    head: Vec<u64>,
    middle: Vec<u64>,
    tail_first: u64,
    tail: Vec<u64>,
    rest: u64,
    anchor: u64,
    marks: Vec<Mark>,
}

impl Evidence {
    /// Where the evidence ends: bytes before it were consumed.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// The generation's first line.
    pub fn first_line(&self) -> FirstLine {
        self.first_line
    }

    /// Where the anchor begins; it ends at `pos`.
    pub fn anchor_range(&self) -> Range<u64> {
        self.pos.saturating_sub(u64::from(self.grain.anchor_bytes))..self.pos
    }

    /// Whether the bytes just before `pos` (those of [`Self::anchor_range`]) are those that were consumed.
    pub fn anchored(&self, bytes: &[u8]) -> bool {
        self.anchor == hash_of(bytes)
    }

    /// The cheap test of a file that should be the same: first line and anchor. `None` where the file can't be read.
    pub fn stands(&self, contents: &mut dyn Contents, file: usize, first_line: Option<FirstLine>) -> Option<bool> {
        if first_line != Some(self.first_line) {
            return Some(false);
        }
        Some(contents.hash(file, self.anchor_range())? == self.anchor)
    }

    /// Whether a file of `size` bytes begins with everything consumed. `None` where it can't be read.
    pub fn covered_by(&self, contents: &mut dyn Contents, file: usize, size: u64) -> Option<bool> {
        if size < self.pos {
            return Some(false);
        }
        let whole = self.grain.floor(self.pos);
        let same = contents.hash(file, self.anchor_range())? == self.anchor
            && contents.hash(file, whole..self.pos)? == self.rest
            && self.blocks_equal(contents, file, whole)?.is_some();
        Some(same)
    }

    /// How far the complete lines of a file, which end at `complete`, are a beginning of what was consumed. `None` where
    /// it can't be read.
    pub fn covers(&self, contents: &mut dyn Contents, file: usize, complete: u64) -> Option<Cover> {
        if complete > self.pos {
            return Some(Cover::No);
        }
        let whole = self.grain.floor(complete);
        let last = self.known_rest(complete);
        if let Some(known) = last
            && contents.hash(file, whole..complete)? != known
        {
            return Some(Cover::No);
        }
        if last.is_none() && self.marked(whole) {
            return Some(Cover::No); // every line end of this block is known and this is none of them
        }
        Some(match (self.blocks_equal(contents, file, whole)?, last) {
            (None, _) | (Some(0), None) => Cover::No,
            (Some(_), Some(_)) => Cover::Exact,
            (Some(_), None) => Cover::Blocks,
        })
    }

    /// Whether everything consumed here is also the beginning of what `other` consumed: then neither can prove that a
    /// file is its own. What can't be compared counts as equal.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        let whole = self.grain.floor(self.pos);
        let known = |blocks: &Self, at: u64| blocks.block_hash(at / self.grain.block());
        let starts = (0..whole).step_by(self.grain.block_bytes as usize);
        self.pos <= other.pos
            && self.first_line == other.first_line
            && self.grain == other.grain
            && starts.into_iter().all(|at| known(self, at).zip(known(other, at)).is_none_or(|(a, b)| a == b))
            && self.middle.iter().zip(&other.middle).all(|(a, b)| a == b)
            && match other.known_rest(self.pos) {
                Some(rest) => rest == self.rest,
                None => !other.marked(whole),
            }
    }

    /// The end of the longest consumed beginning that a file of `size` bytes still has, at least the first line: a
    /// remembered line end, else the end of a block (which may lie inside a line); 0 where there is none. `None` where it
    /// can't be read.
    pub fn common(&self, contents: &mut dyn Contents, file: usize, size: u64) -> Option<u64> {
        let block = self.grain.block();
        let edges = (0..self.head.len() as u64).chain(self.tail_first..self.tail_first + self.tail.len() as u64);
        let mut ends: Vec<(u64, u64, u64)> = edges
            .filter_map(|i| Some((i * block, (i + 1) * block, self.block_hash(i)?)))
            .chain(self.marks.iter().map(|m| (self.grain.floor(m.end - 1), m.end, m.hash)))
            .filter(|(_, end, _)| *end <= size && *end >= u64::from(self.first_line.bytes))
            .collect();
        ends.sort_by_key(|(_, end, _)| std::cmp::Reverse(*end));
        for (start, end, known) in ends {
            if contents.hash(file, start..end)? == known && self.blocks_equal(contents, file, start)?.is_some() {
                return Some(end);
            }
        }
        Some(0)
    }

    /// Compares all remembered blocks before `whole`; the number of blocks compared, `None` inside where one differs.
    fn blocks_equal(&self, contents: &mut dyn Contents, file: usize, whole: u64) -> Option<Option<u64>> {
        let block = self.grain.block();
        let mut compared = 0;
        let edges = (0..self.head.len() as u64).chain(self.tail_first..self.tail_first + self.tail.len() as u64);
        for index in edges.filter(|index| (index + 1) * block <= whole) {
            if contents.hash(file, index * block..(index + 1) * block)? != self.block_hash(index)? {
                return Some(None);
            }
            compared += 1;
        }
        let per_chunk = u64::from(self.grain.middle_blocks);
        for (chunk, known) in self.middle.iter().enumerate() {
            let first = chunk as u64 * per_chunk;
            if (first + per_chunk) * block > whole {
                break;
            }
            let hashes: Option<Vec<u64>> =
                (first..first + per_chunk).map(|i| contents.hash(file, i * block..(i + 1) * block)).collect();
            if hash_of_hashes(&hashes?) != *known {
                return Some(None);
            }
            compared += per_chunk;
        }
        Some(Some(compared))
    }

    fn block_hash(&self, index: u64) -> Option<u64> {
        let in_tail = index.checked_sub(self.tail_first).and_then(|i| self.tail.get(i as usize));
        self.head.get(index as usize).or(in_tail).copied()
    }

    /// The hash from the last block start before `at` up to `at`, if it is remembered.
    fn known_rest(&self, at: u64) -> Option<u64> {
        if at == self.grain.floor(at) {
            return Some(hash_of(&[]));
        }
        if at == self.pos {
            return Some(self.rest);
        }
        self.marks.iter().find(|m| m.end == at).map(|m| m.hash)
    }

    /// Whether all line ends of the block that starts at `block_start` are marked.
    fn marked(&self, block_start: u64) -> bool {
        let inside = |m: &&Mark| m.end > block_start && m.end <= block_start + self.grain.block();
        (self.marks.iter().filter(inside).count() as u32) < self.grain.marks_max
            && (block_start == 0 || block_start + self.grain.block() >= self.grain.floor(self.pos))
    }
}

/// Collects evidence while bytes are consumed in order.
#[derive(Clone, Debug)]
pub struct Tracker {
    evidence: Evidence,
    /// Hashes of the blocks of the middle chunk that is being filled.
    chunk: Vec<u64>,
    /// Bytes from the block before the last whole one up to `pos`.
    raw: Vec<u8>,
}

impl Tracker {
    /// Before the first byte of a generation.
    pub fn new(grain: Grain, first_line: FirstLine) -> Self {
        let empty = hash_of(&[]);
        let (head, middle, tail, marks) = Default::default();
        let evidence = Evidence {
            grain,
            pos: 0,
            first_line,
            head,
            middle,
            tail_first: 0,
            tail,
            rest: empty,
            anchor: empty,
            marks,
        };
        Self { evidence, chunk: Vec::new(), raw: Vec::new() }
    }

    /// Which bytes of the file [`Tracker::resume`] needs to go on from `evidence`.
    pub fn needs(evidence: &Evidence) -> Range<u64> {
        let grain = evidence.grain;
        let blocks = grain.floor(evidence.pos);
        let chunk_bytes = grain.block() * u64::from(grain.middle_blocks);
        let chunks = evidence.middle.len() as u64 * chunk_bytes;
        let open_chunk = if (evidence.middle.len() as u32) < grain.middle_max { chunks } else { blocks };
        open_chunk.min(blocks.saturating_sub(grain.block()))..evidence.pos
    }

    /// Goes on from `evidence`, given the bytes that it [`needs`](Tracker::needs); `None` where they are others.
    pub fn resume(evidence: Evidence, bytes: &[u8]) -> Option<Self> {
        let (grain, needs) = (evidence.grain, Self::needs(&evidence));
        let anchor = (bytes.len() as u64).checked_sub(evidence.anchor_range().end - evidence.anchor_range().start);
        let whole = (grain.floor(evidence.pos) - needs.start) as usize;
        if bytes.len() as u64 != needs.end - needs.start || hash_of(bytes.get(whole..)?) != evidence.rest {
            return None;
        }
        if anchor.is_some_and(|from| !evidence.anchored(&bytes[from as usize..])) {
            return None;
        }
        let chunks = evidence.middle.len() as u64 * grain.block() * u64::from(grain.middle_blocks);
        let open_from = chunks.saturating_sub(needs.start).min(whole as u64) as usize;
        let open = if (evidence.middle.len() as u32) < grain.middle_max { &bytes[open_from..whole] } else { &[][..] };
        let chunk = open.chunks_exact(grain.block_bytes as usize).map(hash_of).collect();
        let raw = bytes[whole.saturating_sub(grain.block_bytes as usize)..].to_vec();
        Some(Self { evidence, chunk, raw })
    }

    /// Where the next byte to consume lies.
    pub fn pos(&self) -> u64 {
        self.evidence.pos
    }

    /// Which bytes, just before [`Tracker::pos`], tell the file.
    pub fn anchor_range(&self) -> Range<u64> {
        self.evidence.anchor_range()
    }

    /// Whether `bytes` are those of [`Tracker::anchor_range`].
    pub fn anchored(&self, bytes: &[u8]) -> bool {
        hash_of(bytes) == self.anchor()
    }

    /// The generation's first line.
    pub fn first_line(&self) -> FirstLine {
        self.evidence.first_line
    }

    /// Takes the bytes that lie at [`Tracker::pos`].
    pub fn consume(&mut self, mut bytes: &[u8]) {
        let block = self.evidence.grain.block_bytes as usize;
        while !bytes.is_empty() {
            let filled = (self.evidence.pos % block as u64) as usize;
            // Of a long run of whole blocks only the last are looked at again.
            if filled == 0 && bytes.len() >= 3 * block && self.evidence.pos > 0 {
                let (now, later) = bytes.split_at(block);
                self.evidence.pos += block as u64;
                self.push_block(hash_of(now));
                self.raw.clear();
                bytes = later;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(block - filled));
            if filled == 0 && self.raw.len() > block {
                self.raw.drain(..self.raw.len() - block);
            }
            self.raw.extend_from_slice(now);
            self.evidence.pos += now.len() as u64;
            if filled + now.len() == block {
                let hash = hash_of(&self.raw[self.raw.len() - block..]);
                self.mark_head();
                self.push_block(hash);
            }
            bytes = later;
        }
    }

    fn push_block(&mut self, hash: u64) {
        let (grain, index) = (self.evidence.grain, self.evidence.pos / self.evidence.grain.block() - 1);
        if index < u64::from(grain.edge_blocks) {
            self.evidence.head.push(hash);
        }
        if self.evidence.tail.is_empty() {
            self.evidence.tail_first = index;
        }
        self.evidence.tail.push(hash);
        if self.evidence.tail.len() as u32 > 2 * grain.edge_blocks {
            self.evidence.tail.drain(..grain.edge_blocks as usize);
            self.evidence.tail_first += u64::from(grain.edge_blocks);
        }
        if (self.evidence.middle.len() as u32) < grain.middle_max {
            self.chunk.push(hash);
        }
        if self.chunk.len() as u32 == grain.middle_blocks {
            self.evidence.middle.push(hash_of_hashes(&self.chunk));
            self.chunk.clear();
        }
    }

    /// The first block's line ends are marked once, when it is full.
    fn mark_head(&mut self) {
        if self.evidence.pos == self.evidence.grain.block() {
            self.evidence.marks = marks(&self.raw, 0, self.evidence.grain.marks_max);
        }
    }

    /// The evidence for everything consumed so far.
    pub fn evidence(&self) -> Evidence {
        let mut evidence = self.evidence.clone();
        let (grain, block) = (evidence.grain, evidence.grain.block_bytes as usize);
        let rest = (evidence.pos % grain.block()) as usize;
        evidence.rest = hash_of(&self.raw[self.raw.len() - rest..]);
        evidence.anchor = self.anchor();
        let surplus = evidence.tail.len().saturating_sub(grain.edge_blocks as usize);
        evidence.tail.drain(..surplus);
        evidence.tail_first += surplus as u64;
        evidence.marks.retain(|m| m.end <= grain.block());
        let from = evidence.pos - self.raw.len() as u64;
        for (i, bytes) in self.raw.chunks(block).enumerate() {
            let start = from + (i * block) as u64;
            if start > 0 || evidence.pos < grain.block() {
                evidence.marks.extend(marks(bytes, start, grain.marks_max));
            }
        }
        evidence
    }

    fn anchor(&self) -> u64 {
        let range = self.evidence.anchor_range();
        hash_of(&self.raw[self.raw.len() - (range.end - range.start) as usize..])
    }
}

/// Marks of the last line ends of a block, at most `max`.
fn marks(block: &[u8], start: u64, max: u32) -> Vec<Mark> {
    let ends = memchr::memchr_iter(b'\n', block).map(|i| i + 1);
    let mut marks: Vec<Mark> = ends.map(|end| Mark { end: start + end as u64, hash: hash_of(&block[..end]) }).collect();
    marks.drain(..marks.len().saturating_sub(max as usize));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_the_same_however_bytes_were_consumed() {
        let bytes: Vec<u8> = (0..80_000_u32).map(|i| if i % 97 == 0 { b'\n' } else { (i % 251) as u8 | 32 }).collect();
        let first = FirstLine { hash: [1; 16], bytes: 1 };
        for len in [0, 1, 4_095, 4_096, 4_097, 12_288, 12_289, 16_384, 20_000, 80_000] {
            let evidence = |piece: usize| {
                let mut tracker = Tracker::new(Grain::DEFAULT, first);
                bytes[..len].chunks(piece).for_each(|bytes| tracker.consume(bytes));
                tracker.evidence()
            };
            let whole = evidence(bytes.len());
            for piece in [1_000, 4_096, 9_000, 30_001] {
                assert_eq!(evidence(piece), whole, "{len} bytes in pieces of {piece}");
            }
        }
    }
}
