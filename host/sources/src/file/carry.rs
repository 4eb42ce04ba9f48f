//! A record that begins in one file of a partition and goes on in the next: its lines so far are carried into the younger one,
//! whose first records are framed behind them. A function of bytes; it knows no file and no time.

use super::frame::{Block, CHAIN_SPAN_BYTES_MAX, Framing, Waiting, frame};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// What was carried into a generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Carried {
    /// The older generation.
    pub from: [u8; 16],
    /// Behind its last record, to its end: nothing in it is a record of its own.
    pub rest: (u64, u64),
    /// Whole lines, as they were written. Dropped once the first record is delivered.
    pub lines: Vec<u8>,
}

/// What becomes of the end of a file when the next one of its partition appears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Passing {
    /// Nothing is open there, or what is goes on nowhere: it is a record of its own.
    Stays,
    /// The younger file does not show yet whether it goes on.
    Unknown,
    /// These lines are carried into the younger file, and the last record of the older one ends at `end`.
    Carried {
        /// Offset in the older file.
        end: u64,
        /// Whole lines.
        lines: Vec<u8>,
    },
}

/// Whether a record of this framing can begin in one file and go on in the next.
pub fn applies(framing: &Framing) -> bool {
    framing.cri || framing.multiline.is_some()
}

/// What becomes of what waits at the end of a file, behind its last record, which ends at `end`; `younger` are the first bytes of
/// the next file. Fragments always go on there; a record that spans lines does where its next whole line says so.
pub fn pass(framing: &Framing, waiting: &Waiting, end: u64, younger: &[u8]) -> Passing {
    let carried = |end, lines: &[u8]| match lines.is_empty() || lines.len() as u64 > CHAIN_SPAN_BYTES_MAX {
        true => Passing::Stays,
        false => Passing::Carried { end, lines: lines.to_vec() },
    };
    let Some(ends_at) = waiting.end else { return carried(end, &waiting.fragments) };
    let mut arena = [waiting.all.as_slice(), younger].concat();
    let (first, splits) = (waiting.all.len() as u64, BTreeSet::new());
    let block = Block { framing, splits: &splits, at: 0, first, from: 0, to: u64::MAX, records_max: 1, long: None };
    match frame(&block, &mut arena).goes_on {
        None => Passing::Unknown,
        Some(true) => carried(end, &waiting.all),
        // Nothing of it is a line of the older file itself: there it can't end.
        Some(false) if ends_at == 0 => Passing::Stays,
        Some(false) => carried(ends_at, &waiting.fragments),
    }
}

/// What is to be read of a generation whose end was carried away: nothing of that end is read again. `None` where there is
/// nothing to read.
pub fn around(rest: Option<(u64, u64)>, wanted: Range<u64>) -> Option<Range<u64>> {
    let Some((begin, end)) = rest else { return Some(wanted) };
    match wanted.start {
        from if from < begin => Some(from..wanted.end.min(begin)),
        from if from < end => (wanted.end > end).then_some(end..wanted.end),
        _ => Some(wanted),
    }
}
