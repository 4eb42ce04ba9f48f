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
    /// The durable end itself is unreadable: `end` is only where it must have been, nothing may be appended there.
    pub tail_gone: bool,
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
                scanned.tail_gone = limit == Limit::Open;
                break;
            }
        }
    }
    scanned.leftover = body.get(at..).unwrap_or_default().iter().any(|&byte| byte != 0);
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
        // What lies behind the durable end was never acknowledged; behind a hole it is not trusted either.
        (Limit::Open, Some(next)) if first + next as u64 <= durable => After::Resume { at: next, what },
        (Limit::Open, _) => After::Gone { hi: durable, what },
        (Limit::Exact(end), Some(next)) if first + (next as u64) < end => After::Resume { at: next, what },
        (Limit::Exact(end), _) => After::Gone { hi: end, what },
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
            None => at += 1,
        }
    }
    (next, durable)
}
