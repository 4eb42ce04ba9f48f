//! Reading records of one content: how much to read so that at least one is whole, long lines without holding them, open
//! fragments from where they began. It knows no generation; positions are offsets in the file.

use super::content::Content;
use super::frame::{Block, CHAIN_SPAN_BYTES_MAX, Framed, Framing, frame, line_end, open_chains, text_of};
use sawlog_record::batch::{InputRecord, flag};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

/// The least that is read at once, bytes.
const READ_BYTES_MIN: usize = 64 << 10;

/// Room behind what is read, bytes: decoders append a few words to each arena, and one that must grow for them is copied.
const ROOM_BYTES: usize = 4 << 10;

/// What is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// How bytes become records.
    pub framing: &'a Framing,
    /// Decided ends.
    pub splits: &'a BTreeSet<u64>,
    /// From where, a record's end or the beginning.
    pub from: u64,
    /// No record ends above it.
    pub to: u64,
    /// Bytes to read at most, but for one record.
    pub bytes_max: usize,
    /// Records at most.
    pub records_max: usize,
    /// What is known to be open at `from`.
    pub open: Option<Vec<u64>>,
    /// Whole lines of an older file that stand before the first byte.
    pub lead: &'a [u8],
    /// Nothing before it is looked at.
    pub low: u64,
}

/// Records and the bytes they name.
#[derive(Debug, Default)]
pub struct Records {
    /// Bytes as read, then texts that were joined or converted.
    pub arena: Vec<u8>,
    /// Which bytes of the file lie in the arena, behind `lead` others.
    pub raw: Range<u64>,
    /// Bytes of an older file that the arena begins with.
    pub lead: usize,
    /// Records, at least one.
    pub framed: Framed,
}

/// Reads records; `None` where there is no whole one.
pub fn read(content: &Content, wanted: &Wanted<'_>) -> io::Result<Option<Records>> {
    let at = match &wanted.open {
        _ if !wanted.framing.cri => wanted.from,
        Some(open) => open.first().copied().unwrap_or(wanted.from),
        None => open_before(content, wanted)?.first().copied().unwrap_or(wanted.from),
    };
    if at == 0 && !wanted.lead.is_empty() {
        return read_behind_lead(content, wanted);
    }
    let mut want = wanted.bytes_max.clamp(READ_BYTES_MIN, 1 << 30);
    loop {
        let end = wanted.to.min(wanted.from.saturating_add(want as u64));
        let mut arena = Vec::with_capacity((end - at) as usize + ROOM_BYTES);
        let len = content.read_at(at, (end - at) as usize, &mut arena)? as u64;
        let raw = at..at + len;
        let (framing, splits, to) = (wanted.framing, wanted.splits, wanted.to);
        let block = Block { framing, splits, at, first: 0, from: wanted.from, to, records_max: wanted.records_max };
        let mut framed = frame(&block, &mut arena);
        if !framed.records.is_empty() {
            return Ok(Some(Records { arena, raw, lead: 0, framed }));
        }
        let stuck = raw.end - framed.rest.min(raw.end) > framing.line_bytes_max as u64 + 2;
        if stuck && let Some(end) = long_line_end(content, wanted, framed.rest)? {
            let (pos, raw_len) = (framed.rest, arena.len());
            let (text, _) = text_of(&block, &mut arena, (pos - at) as usize, raw_len);
            framed.records.push(InputRecord { pos, end, text, received: 0, flags: flag::TRUNCATED });
            framed.rest = end;
            return Ok(Some(Records { arena, raw, lead: 0, framed }));
        }
        if stuck || raw.end < end || end == wanted.to {
            return Ok(None);
        }
        want *= 2;
    }
}

/// The same from the file's beginning, behind lines of an older file. Positions are counted from the lead's first byte while
/// records are framed.
fn read_behind_lead(content: &Content, wanted: &Wanted<'_>) -> io::Result<Option<Records>> {
    let lead = wanted.lead.len() as u64;
    let splits: BTreeSet<u64> = wanted.splits.iter().map(|split| split + lead).collect();
    let framing = wanted.framing;
    // Of records that span lines the lead's lines are part; a chain of fragments is closed by its last line alone.
    let from = if wanted.from == 0 && !framing.cri { 0 } else { wanted.from + lead };
    let to = wanted.to.saturating_add(lead);
    let mut want = wanted.bytes_max.clamp(READ_BYTES_MIN, 1 << 30) as u64;
    loop {
        let end = wanted.to.min(wanted.from.saturating_add(want));
        let mut arena = wanted.lead.to_vec();
        let len = content.read_at(0, end as usize, &mut arena)? as u64;
        let records_max = wanted.records_max;
        let block = Block { framing, splits: &splits, at: 0, first: lead, from, to, records_max };
        let mut framed = frame(&block, &mut arena);
        if !framed.records.is_empty() {
            let file = |at: u64| at.saturating_sub(lead);
            framed.records.iter_mut().for_each(|r| (r.pos, r.end) = (file(r.pos), file(r.end)));
            framed.open.iter_mut().for_each(|start| *start = file(*start));
            framed.rest = file(framed.rest);
            return Ok(Some(Records { arena, raw: 0..len, lead: lead as usize, framed }));
        }
        // A line above every limit stands alone, as it does without a lead.
        if len < end || end == wanted.to || want > CHAIN_SPAN_BYTES_MAX + framing.line_bytes_max as u64 {
            return match want > CHAIN_SPAN_BYTES_MAX + framing.line_bytes_max as u64 {
                true => read(content, &Wanted { lead: &[], open: Some(Vec::new()), ..*wanted }),
                false => Ok(None),
            };
        }
        want *= 2;
    }
}

fn long_line_end(content: &Content, wanted: &Wanted<'_>, start: u64) -> io::Result<Option<u64>> {
    let split = wanted.splits.range(start + 1..).next().copied();
    let to = wanted.to.min(split.unwrap_or(u64::MAX));
    let written = content.next_line_end(start, to.min(content.size()?), line_end(wanted.framing.encoding))?;
    Ok(written.or(split.filter(|split| *split <= wanted.to)))
}

/// Starts of fragments that are open at the place that is wanted; 0 also for what an older file began. A chain that began
/// further back than the limit is not looked for.
fn open_before(content: &Content, wanted: &Wanted<'_>) -> io::Result<Vec<u64>> {
    let pos = wanted.from;
    let from = pos.saturating_sub(CHAIN_SPAN_BYTES_MAX).max(wanted.low);
    let Some(bytes) = content.exactly(from..pos)? else { return Ok(Vec::new()) };
    if from == 0 && !wanted.lead.is_empty() {
        let lead = wanted.lead.len() as u64;
        let splits: BTreeSet<u64> = wanted.splits.iter().map(|split| split + lead).collect();
        let open = open_chains(&[wanted.lead, &bytes].concat(), 0, &splits);
        return Ok(open.into_iter().map(|start| start.saturating_sub(lead)).collect());
    }
    let is_start = from == 0 || from == wanted.low;
    let first = if is_start { 0 } else { memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |i| i + 1) };
    Ok(open_chains(&bytes[first..], from + first as u64, wanted.splits))
}
