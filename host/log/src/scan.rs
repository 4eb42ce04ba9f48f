//! Reading one segment back, frame by frame: what counts, what is a torn tail, what is damage.
//! A pure function of the bytes; it opens, cuts and repairs nothing.

use crate::frame::{self, Lsn};
use crate::segment::SEGMENT_HEADER_BYTES;

/// How a segment's frames end when another segment follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Nothing follows: the frames end where they end.
    Open,
    /// Frames must fill the addresses up to here exactly.
    Exact(Lsn),
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Address behind the last frame that counts.
    pub end: Lsn,
    /// Durable stretches that cannot be read, each with what was found.
    pub damaged: Vec<(Lsn, Lsn, &'static str)>,
    /// Bytes behind `end` that are not all zero: a torn tail, or leftovers of a recycled segment.
    pub leftover: bool,
    /// The highest durable address that any frame of this segment knew.
    pub durable: Lsn,
    /// Frames that count, the log's own not included.
    pub frames: u64,
}

/// A frame that counts: its address and payload.
pub(crate) type OnFrame<'f> = dyn FnMut(Lsn, &[u8]) + 'f;

/// Walks the frames of a segment whose first frame has the address `first`.
///
/// At a bad frame with address `x` (`Limit::Open`): if any frame of the log, also one behind `x`, was written when `x` was
/// already durable, this is damage. Else nothing at or behind `x` was ever acknowledged: a torn tail. (Frames behind `x`
/// that are sound but knew only of a durable address up to `x` were written in the same group and reached the disk out of
/// order; they don't count.) `durable` is what the frames of earlier segments knew.
pub(crate) fn scan(
    bytes: &[u8],
    incarnation: &[u8; 16],
    first: Lsn,
    limit: Limit,
    durable: Lsn,
    on_frame: &mut OnFrame<'_>,
) -> Scanned {
    let body = bytes.get(SEGMENT_HEADER_BYTES as usize..).unwrap_or_default();
    let mut scanned = Scanned { end: first, durable, ..Scanned::default() };
    let mut at = 0usize;
    loop {
        let lsn = first + at as u64;
        if matches!(limit, Limit::Exact(end) if lsn >= end) {
            break;
        }
        if let Some(found) = frame::decode(&body[at..], incarnation, lsn) {
            scanned.durable = scanned.durable.max(found.durable);
            if found.control.is_none() {
                on_frame(lsn, found.payload);
                scanned.frames += 1;
            }
            at += found.bytes;
            scanned.end = first + at as u64;
            continue;
        }
        match after_bad_frame(body, incarnation, first, at, limit, scanned.durable) {
            After::Torn => break,
            After::Resume { at: next, what } => {
                scanned.damaged.push((lsn, first + next as u64, what));
                at = next;
                scanned.end = first + at as u64;
            }
            After::Gone { hi, what } => {
                scanned.damaged.push((lsn, hi, what));
                scanned.end = hi;
                break;
            }
        }
    }
    let rest = body.get(at..).unwrap_or_default();
    scanned.leftover = zeroes(rest) < rest.len();
    scanned
}

enum After {
    /// Nothing at or behind the bad frame was acknowledged.
    Torn,
    /// Damage; frames can be read again from this offset.
    Resume { at: usize, what: &'static str },
    /// Damage up to an address behind everything readable.
    Gone { hi: Lsn, what: &'static str },
}

fn after_bad_frame(body: &[u8], incarnation: &[u8; 16], first: Lsn, at: usize, limit: Limit, durable: Lsn) -> After {
    let bad = first + at as u64;
    let (next, durable) = search(body, incarnation, first, at + 1, durable);
    let what = if body.len() <= at { "the file ends before it" } else { "checksum, length or address is wrong" };
    match (limit, next) {
        (Limit::Open, _) if durable <= bad => After::Torn,
        (Limit::Exact(end), Some(next)) if first + next as u64 >= end => After::Gone { hi: end, what },
        (_, Some(next)) => After::Resume { at: next, what },
        (Limit::Exact(end), None) => After::Gone { hi: end, what },
        // A frame knows only of addresses below its own, so what vouches for `bad` lies behind it and was found.
        (Limit::Open, None) => After::Torn,
    }
}

/// The offset of the first sound frame at or behind `from`, and the highest durable address that any frame there knew.
fn search(body: &[u8], incarnation: &[u8; 16], first: Lsn, from: usize, mut durable: Lsn) -> (Option<usize>, Lsn) {
    let (mut next, mut at) = (None, from);
    while at + frame::FRAME_HEADER_BYTES <= body.len() {
        match frame::decode(&body[at..], incarnation, first + at as u64) {
            Some(found) => {
                next = next.or(Some(at));
                durable = durable.max(found.durable);
                at += found.bytes;
            }
            None => {
                at += 1;
                if matches!(body.get(at..at + 16), Some([0, .., 0])) {
                    at = past_zeroes(body, at);
                }
            }
        }
    }
    (next, durable)
}

/// The first place at or behind `at`, which is not 0, where a frame may begin: its address, 8 to 15 bytes behind its first, is no
/// zero. A segment that was just begun is zeroes nearly all, and a start waits for this search.
fn past_zeroes(body: &[u8], at: usize) -> usize {
    let run = zeroes(body.get(at..).unwrap_or_default());
    at + run.saturating_sub(15)
}

/// How many zeroes `bytes` begin with.
fn zeroes(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(64).take_while(|block| block.iter().fold(0, |sum, byte| sum | byte) == 0);
    let whole = blocks.count() * 64;
    whole + bytes[whole..].iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    const ID: [u8; 16] = [7; 16];
    const SEGMENT_BYTES: usize = 64 << 10;
    const FIRST: Lsn = 1000;

    /// A full segment of 64 KiB, three frames to a commit, and where each frame lies in the log.
    fn segment() -> (Vec<u8>, Vec<Range<Lsn>>) {
        let (mut bytes, mut frames) = (vec![0; SEGMENT_HEADER_BYTES as usize], Vec::new());
        let mut durable = FIRST;
        while bytes.len() < SEGMENT_BYTES {
            let lsn = FIRST + bytes.len() as u64 - SEGMENT_HEADER_BYTES;
            if frames.len() % 3 == 0 {
                durable = lsn;
            }
            let left = SEGMENT_BYTES - bytes.len() - frame::FRAME_HEADER_BYTES;
            let wanted = 8 + frames.len() * 37 % 900;
            let payload = vec![frames.len() as u8; if left < wanted + 100 { left } else { wanted }];
            frame::encode(&mut bytes, &ID, lsn, durable, &payload);
            frames.push(lsn..FIRST + bytes.len() as u64 - SEGMENT_HEADER_BYTES);
        }
        (bytes, frames)
    }

    fn read(bytes: &[u8], limit: Limit, original: &[u8]) -> (Vec<Range<Lsn>>, Scanned) {
        let mut seen = Vec::new();
        let scanned = scan(bytes, &ID, FIRST, limit, 0, &mut |lsn, payload| {
            let end = lsn + (frame::FRAME_HEADER_BYTES + payload.len()) as u64;
            let at = (lsn - FIRST + SEGMENT_HEADER_BYTES) as usize + frame::FRAME_HEADER_BYTES;
            assert_eq!(payload, &original[at..at + payload.len()], "a wrong frame was accepted");
            seen.push(lsn..end);
        });
        (seen, scanned)
    }

    fn check_flip(bytes: &mut [u8], original: &[u8], frames: &[Range<Lsn>], bit: usize) {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let lsn = FIRST + (bit / 8) as u64 - SEGMENT_HEADER_BYTES;
        let hit = frames.iter().position(|frame| frame.contains(&lsn)).unwrap_or(frames.len());
        let expected =
            |kept: usize| frames[..kept].iter().enumerate().filter(|(i, _)| *i != hit).map(|(_, f)| f.clone());
        let (seen, scanned) = read(bytes, Limit::Exact(frames[frames.len() - 1].end), original);
        assert!(seen.iter().cloned().eq(expected(frames.len())), "bit {bit}: not every other frame was served");
        assert_eq!(scanned.damaged.len(), 1, "bit {bit}: damage went unnoticed");
        // As the last segment: the last commit has nobody to vouch for it and looks torn, everything before shows as damage.
        let last_commit = (frames.len() - 1) / 3 * 3;
        let (seen, scanned) = read(bytes, Limit::Open, original);
        let kept = if hit < last_commit { frames.len() } else { hit };
        assert!(seen.iter().cloned().eq(expected(kept)), "bit {bit}: wrong frames are left");
        assert_eq!(scanned.damaged.len(), usize::from(hit < last_commit), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }

    /// Every 23rd of the 520,192 bits behind the header (header bits: `segment.rs`), so that each bit of a byte comes up;
    /// every single one with `SAWLOG_EXHAUSTIVE=1`.
    #[test]
    fn no_flipped_bit_of_a_segment_passes() {
        let step = if std::env::var_os("SAWLOG_EXHAUSTIVE").is_some() { 1 } else { 23 };
        let (original, frames) = segment();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (original, frames) = (&original, &frames);
                scope.spawn(move || {
                    let mut bytes = original.clone();
                    let bits = SEGMENT_HEADER_BYTES as usize * 8 + worker * step..bytes.len() * 8;
                    bits.step_by(4 * step).for_each(|bit| check_flip(&mut bytes, original, frames, bit));
                });
            }
        });
    }

    #[test]
    fn every_truncation_leaves_whole_frames_and_is_noticed_where_a_segment_follows() {
        let (bytes, frames) = segment();
        let end = frames[frames.len() - 1].end;
        for len in 0..bytes.len() {
            let kept = frames.iter().filter(|f| f.end + SEGMENT_HEADER_BYTES <= FIRST + len as u64).count();
            let (seen, scanned) = read(&bytes[..len], Limit::Open, &bytes);
            assert!(seen == frames[..kept] && scanned.damaged.is_empty(), "length {len}");
            let (seen, scanned) = read(&bytes[..len], Limit::Exact(end), &bytes);
            assert!(seen == frames[..kept] && scanned.damaged.len() == 1 && scanned.end == end, "length {len}");
        }
    }

    #[test]
    fn frames_behind_any_run_of_zeroes_are_found() {
        for gap in (1..200).chain([4_095, 4_096, 5_000]) {
            for address in [FIRST, 1 << 40, 255 << 56] {
                let mut body = vec![0; gap];
                frame::encode(&mut body, &ID, address + gap as u64, 7, &[0; 40]);
                body.extend([0; 100]);
                assert_eq!(search(&body, &ID, address, 1, 0), (Some(gap), 7), "{gap} zeroes, address {address}");
            }
            assert_eq!(search(&vec![0; gap], &ID, FIRST, 1, 0), (None, 0));
        }
    }

    #[test]
    fn frames_of_one_commit_that_reached_the_disk_out_of_order_are_a_torn_tail() {
        let (mut bytes, frames) = segment();
        let last_commit = (frames.len() - 1) / 3 * 3;
        let at = (frames[last_commit].start - FIRST + SEGMENT_HEADER_BYTES) as usize;
        bytes[at..at + 40].fill(0);
        let (seen, scanned) = read(&bytes, Limit::Open, &bytes);
        assert_eq!(
            (seen.len(), scanned.damaged.len(), scanned.leftover),
            (last_commit, 0, frames.len() > last_commit + 1)
        );
    }
}
