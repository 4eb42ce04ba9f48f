//! A record that begins in one file of a partition and goes on in the next: its lines so far are carried into the younger one,
//! whose first records are framed behind them. A function of bytes; it knows no file and no time.

use super::frame::{CHAIN_SPAN_BYTES_MAX, Framing, lines_of_open_chains};
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

/// The whole lines at the end of a file whose record the next file may go on with. `bytes` are those from offset `at` to the
/// file's end, which is a line end, behind `lead`; records end at `end` and before. Nothing where no record is open.
pub fn open_lines(
    framing: &Framing,
    (lead, at, bytes): (&[u8], u64, &[u8]),
    end: u64,
    splits: &BTreeSet<u64>,
) -> Option<Vec<u8>> {
    let lines = match framing.cri {
        true => lines_of_open_chains(lead, bytes, at, splits),
        false => [if end == 0 { lead } else { &[] }, bytes.get((end - at) as usize..)?].concat(),
    };
    (!lines.is_empty() && lines.len() as u64 <= CHAIN_SPAN_BYTES_MAX).then_some(lines)
}

/// Whether records of this framing can be carried: fragments of containers, or lines that a pattern joins; not both at once.
pub fn applies(framing: &Framing) -> bool {
    framing.encoding.is_none() && framing.cri != framing.multiline.is_some()
}

/// Whether the first line of the next file goes on with what is open. Fragments of a container always do.
pub fn goes_on(framing: &Framing, first_line: &[u8]) -> bool {
    framing.multiline.as_ref().is_none_or(|multiline| multiline.pattern.is_match(first_line) != multiline.starts)
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
