//! Fragments hold back what lies behind them until their rest has come, or has been waited for long enough: once anything behind
//! them is planned, no place is left for them. It decides for how long; it reads nothing.

use super::frame::{CHAIN_SPAN_BYTES_MAX, Framed, OpenChain};
use super::reader::Records;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Fragments whose rest is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    chain: OpenChain,
    since: Instant,
}

/// How far records may be told.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// To there.
    Upto(u64),
    /// Fragments have waited for long enough: they end here first.
    Ended(Vec<u64>),
}

/// How far the `records` of a file in `seen` may be told; `holds` are the fragments that were waited for so far. A file goes on behind
/// what was read of it where `seen` says so.
pub(super) fn reach(holds: &mut Vec<Hold>, records: &Records, seen: Range<u64>, patience: Duration) -> Reach {
    let Framed { records: whole, chains, .. } = &records.framed;
    let last = whole.last().map_or(seen.start, |record| record.end);
    let now = Instant::now();
    let since = |chain| holds.iter().find(|hold| hold.chain == chain).map_or(now, |hold| hold.since);
    let waiting = chains.iter().filter(|chain| chain.start < last);
    *holds = waiting.map(|chain| Hold { chain: *chain, since: since(*chain) }).collect();
    let Some(limit) = holds.iter().map(|hold| hold.chain.start).min() else { return Reach::Upto(last) };
    let end = whole.iter().rev().map(|record| record.end).find(|end| *end <= limit).unwrap_or(seen.start);
    let is_stuck = end == seen.start && records.raw.end < seen.end;
    let is_over = |hold: &&Hold| {
        let span = records.raw.end - hold.chain.start;
        is_stuck || span > CHAIN_SPAN_BYTES_MAX || now.duration_since(hold.since) >= patience
    };
    let over: Vec<u64> = holds.iter().filter(is_over).map(|hold| hold.chain.end).collect();
    if over.is_empty() { Reach::Upto(end) } else { Reach::Ended(over) }
}
