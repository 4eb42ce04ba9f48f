//! How rescued records lie in a frame's payload. Version 1, little endian:
//!
//! ```text
//! records   ┌──────┬──────┬───────────────┬────────┬────────┬───────────┬──────────────┬───────────────┬─────────────────┐
//!           │ 1 u8 │ 1 u8 │ generation 16 │ lo u64 │ hi u64 │ count u32 │ opens u32 ≤2 │ opens × u64   │ count × record  │
//!           └──────┴──────┴───────────────┴────────┴────────┴───────────┴──────────────┴───────────────┴─────────────────┘
//! record    ┌─────────┬─────────┬──────────────┬──────────┬─────────┐
//!           │ pos u64 │ end u64 │ received i64 │ flags u8 │ len u32 │   then the texts of all records, back to back
//!           └─────────┴─────────┴──────────────┴──────────┴─────────┘
//! released  ┌──────┬──────┬───────────────┐
//!           │ 1 u8 │ 2 u8 │ generation 16 │   nothing of this generation is needed any more
//!           └──────┴──────┴───────────────┘
//! ```

use bytes::{Buf, Bytes};
use sawlog_core::ports::ReadLimits;
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::Generation;

const VERSION: u8 = 1;
const RECORDS: u8 = 1;
const RELEASED: u8 = 2;
const RECORD_BYTES: usize = 29;

/// What one frame says.
#[derive(Debug)]
pub(crate) enum Stored {
    Records(StoredRecords),
    Released(Generation),
}

/// Records that answer for the positions `[lo, hi)`.
#[derive(Debug)]
pub(crate) struct StoredRecords {
    pub lo: u64,
    pub hi: u64,
    /// The texts lie back to back in the arena.
    pub input: Input,
}

impl StoredRecords {
    /// Cuts `[lo, hi)` into frames of about `text_bytes_max`, each with at least one record, if there is any.
    pub fn split(input: &Input, lo: u64, hi: u64, text_bytes_max: usize) -> Vec<Self> {
        let mut frames: Vec<Self> = Vec::new();
        let empty = |lo| Self {
            lo,
            hi,
            input: Input { generation: input.generation, arena: Vec::new(), records: Vec::new(), open: Vec::new() },
        };
        let mut frame = empty(lo);
        for record in &input.records {
            let text = record.text.of(&input.arena);
            if !frame.input.records.is_empty() && frame.input.arena.len() + text.len() > text_bytes_max {
                frame.hi = frame.input.records.last().map_or(hi, |last| last.end);
                let next = empty(frame.hi);
                frames.push(std::mem::replace(&mut frame, next));
            }
            let start = frame.input.arena.len() as u32;
            frame.input.arena.extend_from_slice(text);
            frame.input.records.push(InputRecord { text: Span { start, len: record.text.len }, ..*record });
        }
        frame.input.open.clone_from(&input.open);
        frames.push(frame);
        frames
    }

    pub fn encode(&self) -> Vec<u8> {
        let Input { generation, arena, records, open } = &self.input;
        let mut bytes = vec![VERSION, RECORDS];
        bytes.extend_from_slice(&generation.0);
        bytes.extend_from_slice(&self.lo.to_le_bytes());
        bytes.extend_from_slice(&self.hi.to_le_bytes());
        bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(open.len() as u32).to_le_bytes());
        open.iter().for_each(|start| bytes.extend_from_slice(&start.to_le_bytes()));
        for record in records {
            bytes.extend_from_slice(&record.pos.to_le_bytes());
            bytes.extend_from_slice(&record.end.to_le_bytes());
            bytes.extend_from_slice(&record.received.to_le_bytes());
            bytes.push(record.flags);
            bytes.extend_from_slice(&record.text.len.to_le_bytes());
        }
        bytes.extend_from_slice(arena);
        bytes
    }

    fn decode(generation: Generation, mut bytes: Bytes) -> Option<Self> {
        let (lo, hi) = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
        let (count, opens) = (bytes.try_get_u32_le().ok()? as usize, bytes.try_get_u32_le().ok()?);
        let open = (0..opens).map(|_| bytes.try_get_u64_le().ok()).collect::<Option<_>>()?;
        if bytes.len() < count.checked_mul(RECORD_BYTES)? {
            return None;
        }
        let (mut records, mut start) = (Vec::with_capacity(count), 0u32);
        for _ in 0..count {
            let (pos, end, received) = (bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_i64_le());
            let (flags, len) = (bytes.get_u8(), bytes.get_u32_le());
            records.push(InputRecord { pos, end, text: Span { start, len }, received, flags });
            start = start.checked_add(len)?;
        }
        let arena = Vec::from(bytes);
        (arena.len() == start as usize).then_some(Self { lo, hi, input: Input { generation, arena, records, open } })
    }

    /// The records from `from` on that end at or below `to`, within the limits but at least one where there is any.
    pub fn cut(self, from: u64, to: u64, limits: ReadLimits) -> Input {
        let mut input = self.input;
        let all = input.records.len();
        let before = input.records.partition_point(|record| record.pos < from);
        let (mut bytes, mut taken) = (0, 0);
        for record in &input.records[before..] {
            bytes += record.text.len as usize;
            if record.end > to || (taken > 0 && (bytes > limits.bytes_max || taken >= limits.records_max)) {
                break;
            }
            taken += 1;
        }
        if before + taken < all {
            // Open joins are known after the last record only; rescued records are whole, so none is needed before.
            input.open.clear();
        }
        input.records = input.records[before..before + taken].to_vec();
        input
    }
}

impl Stored {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Records(records) => records.encode(),
            Self::Released(generation) => [&[VERSION, RELEASED][..], &generation.0].concat(),
        }
    }

    /// Reads a payload; the error says what is wrong.
    pub fn decode(payload: &Bytes) -> Result<Self, &'static str> {
        let mut bytes = payload.clone();
        if bytes.try_get_u8() != Ok(VERSION) {
            return Err("unknown version of a rescued frame");
        }
        let kind = bytes.try_get_u8().map_err(|_| "a rescued frame is cut short")?;
        let mut generation = [0; 16];
        bytes.try_copy_to_slice(&mut generation).map_err(|_| "a rescued frame is cut short")?;
        match kind {
            RECORDS => StoredRecords::decode(Generation(generation), bytes)
                .map(Self::Records)
                .ok_or("a rescued frame does not hold what it says"),
            RELEASED => Ok(Self::Released(Generation(generation))),
            _ => Err("unknown kind of a rescued frame"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: ReadLimits = ReadLimits { bytes_max: 1 << 20, records_max: 1000 };

    /// Ten lines of ten bytes from position 100 on, with line ends between them in the arena.
    fn input() -> Input {
        let arena = (0..10).flat_map(|i| format!("line {i}   \n").into_bytes()).collect();
        let record = |i: u32| InputRecord {
            pos: 100 + u64::from(i) * 10,
            end: 110 + u64::from(i) * 10,
            text: Span { start: i * 10, len: 9 },
            received: i64::from(i) - 5,
            flags: i as u8 & 1,
        };
        Input { generation: Generation([9; 16]), arena, records: (0..10).map(record).collect(), open: vec![195, 198] }
    }

    fn text(input: &Input) -> Vec<String> {
        input.records.iter().map(|r| String::from_utf8(r.text.of(&input.arena).to_vec()).unwrap()).collect()
    }

    #[test]
    fn records_read_back_however_they_are_split() {
        for text_bytes_max in [1, 20, 27, 1000] {
            let frames = StoredRecords::split(&input(), 100, 205, text_bytes_max);
            assert_eq!((frames[0].lo, frames.last().unwrap().hi), (100, 205));
            assert!(frames.windows(2).all(|pair| pair[0].hi == pair[1].lo));
            let mut all = Vec::new();
            for frame in &frames {
                let Stored::Records(read) = Stored::decode(&Bytes::from(frame.encode())).unwrap() else { panic!() };
                assert_eq!((read.lo, read.hi), (frame.lo, frame.hi));
                all.extend(text(&read.cut(0, u64::MAX, LIMITS)));
            }
            assert_eq!(all, text(&input()));
        }
    }

    #[test]
    fn a_cut_keeps_to_positions_and_limits() {
        let frame = || StoredRecords::split(&input(), 100, 205, 1000).remove(0);
        let few = ReadLimits { bytes_max: 25, records_max: 1000 };
        let cut = frame().cut(120, 205, few);
        assert_eq!(text(&cut), ["line 2   ", "line 3   "]);
        assert_eq!(cut.records[0].pos, 120);
        assert!(cut.open.is_empty());
        assert_eq!(frame().cut(120, 149, LIMITS).records.len(), 2);
        assert_eq!(frame().cut(0, 300, ReadLimits { bytes_max: 0, records_max: 0 }).records.len(), 1);
        assert_eq!(frame().cut(120, 205, LIMITS).open, [195, 198]);
        assert!(frame().cut(200, 300, LIMITS).records.is_empty());
    }

    #[test]
    fn a_cut_payload_is_told_and_never_panics() {
        let bytes = Bytes::from(StoredRecords::split(&input(), 100, 205, 1000).remove(0).encode());
        for len in 0..bytes.len() {
            assert!(Stored::decode(&bytes.slice(..len)).is_err(), "length {len}");
        }
    }

    #[test]
    fn fuzz_rescued_frames() {
        let records = StoredRecords { lo: 100, hi: 200, input: input() };
        let examples = [Stored::Records(records).encode(), Stored::Released(Generation([9; 16])).encode()];
        let examples: Vec<&[u8]> = examples.iter().map(Vec::as_slice).collect();
        sawlog_fuzz::hammer("rescued_frames", &examples, |bytes| {
            let Ok(stored) = Stored::decode(&Bytes::copy_from_slice(bytes)) else { return };
            if let Stored::Records(records) = &stored {
                // Every record's text lies in the arena.
                text(&Input { arena: records.input.arena.iter().map(|b| b & 0x7f).collect(), ..records.input.clone() });
            }
            let written = Bytes::from(stored.encode());
            assert_eq!(Stored::decode(&written).unwrap().encode(), written);
        });
    }
}
