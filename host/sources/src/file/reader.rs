//! Reading records of one content: how much to read so that at least one is whole, long lines without holding them, open
//! fragments from where they began. It knows no generation; positions are offsets in the file.

use super::content::Content;
use super::frame::{
    self, Block, CHAIN_SPAN_BYTES_MAX, Framed, Framing, OpenChain, Waiting, frame, line_end, open_chains,
};
use std::borrow::Cow;
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

/// Where framing begins so that every record behind the place that is wanted is whole: where what is open there began, behind
/// the lines of an older file if it began in these. In a block, positions are counted from their first byte.
struct Start<'a> {
    at: u64,
    lead: &'a [u8],
    splits: Cow<'a, BTreeSet<u64>>,
}

impl<'a> Start<'a> {
    fn of(content: &Content, wanted: &Wanted<'a>) -> io::Result<Self> {
        let at = match &wanted.open {
            _ if !wanted.framing.cri => wanted.from,
            Some(open) => open.first().copied().unwrap_or(wanted.from),
            None => open_before(content, wanted)?.first().map_or(wanted.from, |chain| chain.start),
        };
        let lead = if at == 0 { wanted.lead } else { &[] };
        Ok(Self { at, lead, splits: behind(lead, wanted.splits) })
    }

    fn lead(&self) -> u64 {
        self.lead.len() as u64
    }

    /// The bytes up to `end`, or to where the file ends.
    fn bytes(&self, content: &Content, end: u64) -> io::Result<Vec<u8>> {
        let len = (end - self.at) as usize;
        let mut arena = Vec::with_capacity(self.lead.len() + len + ROOM_BYTES);
        arena.extend_from_slice(self.lead);
        content.read_at(self.at, len, &mut arena)?;
        Ok(arena)
    }

    fn block<'b>(&'b self, wanted: &Wanted<'b>) -> Block<'b> {
        // Lines of an older file were taken by no record as long as none of this one was.
        let from = if wanted.from == 0 { 0 } else { wanted.from + self.lead() };
        Block {
            framing: wanted.framing,
            splits: &self.splits,
            at: self.at,
            first: self.lead(),
            from,
            to: wanted.to.saturating_add(self.lead()),
            records_max: wanted.records_max,
            long: None,
        }
    }

    fn records(&self, arena: Vec<u8>, whole: usize, mut framed: Framed) -> Records {
        let file = |at: u64| at.saturating_sub(self.lead());
        framed.records.iter_mut().for_each(|r| (r.pos, r.end) = (file(r.pos), file(r.end)));
        framed.open.iter_mut().for_each(|start| *start = file(*start));
        framed.chains.iter_mut().for_each(|chain| *chain = within(*chain, self.lead()));
        framed.rest = file(framed.rest);
        let raw = self.at..self.at + whole as u64 - self.lead();
        Records { arena, raw, lead: self.lead.len(), framed }
    }
}

/// Splits counted from the first byte of the lines that stand before the file's own.
fn behind<'a>(lead: &[u8], splits: &'a BTreeSet<u64>) -> Cow<'a, BTreeSet<u64>> {
    match lead.len() as u64 {
        0 => Cow::Borrowed(splits),
        lead => Cow::Owned(splits.iter().map(|split| split + lead).collect()),
    }
}

/// Reads records; `None` where there is no whole one.
pub fn read(content: &Content, wanted: &Wanted<'_>) -> io::Result<Option<Records>> {
    let start = Start::of(content, wanted)?;
    let mut want = wanted.bytes_max.clamp(READ_BYTES_MIN, 1 << 30);
    loop {
        let end = wanted.to.min(wanted.from.saturating_add(want as u64));
        let mut arena = start.bytes(content, end)?;
        let whole = arena.len();
        let mut block = start.block(wanted);
        let mut framed = frame(&block, &mut arena);
        let is_end = start.at + (whole as u64 - start.lead()) < end || end == wanted.to;
        let rest = framed.rest.saturating_sub(block.at);
        let is_stuck = whole as u64 - rest.min(whole as u64) > wanted.framing.line_bytes_max as u64 + 2;
        if framed.records.is_empty()
            && is_stuck
            && let Some(end) = long_line_end(content, wanted, framed.rest.saturating_sub(start.lead()))?
        {
            arena.truncate(whole);
            block.long = Some(end + start.lead());
            framed = frame(&block, &mut arena);
        }
        if !framed.records.is_empty() {
            return Ok(Some(start.records(arena, whole, framed)));
        }
        if is_stuck || is_end {
            return Ok(None);
        }
        want *= 2;
    }
}

/// What waits behind the record that ends at `wanted.from`, the last one before `wanted.to`, for lines of a younger file. `None`
/// where that is too much, or the file has changed meanwhile.
pub fn waiting(content: &Content, wanted: &Wanted<'_>) -> io::Result<Option<Waiting>> {
    let start = Start::of(content, wanted)?;
    if wanted.to - start.at > 2 * CHAIN_SPAN_BYTES_MAX {
        return Ok(None);
    }
    let mut arena = start.bytes(content, wanted.to)?;
    if arena.len() as u64 - start.lead() != wanted.to - start.at {
        return Ok(None);
    }
    // Nothing ends here yet.
    let block = Block { to: u64::MAX, ..start.block(wanted) };
    let waiting = frame::waiting(&block, &mut arena);
    Ok(waiting.map(|waiting| Waiting { end: waiting.end.map(|end| end.saturating_sub(start.lead())), ..waiting }))
}

fn long_line_end(content: &Content, wanted: &Wanted<'_>, start: u64) -> io::Result<Option<u64>> {
    let split = wanted.splits.range(start + 1..).next().copied();
    let to = wanted.to.min(split.unwrap_or(u64::MAX));
    let written = content.next_line_end(start, to.min(content.size()?), line_end(wanted.framing.encoding))?;
    Ok(written.or(split.filter(|split| *split <= wanted.to)))
}

/// Fragments that are open at the place that is wanted; those of an older file lie at 0. A chain that began further back than
/// the limit is not looked for.
pub fn open_before(content: &Content, wanted: &Wanted<'_>) -> io::Result<Vec<OpenChain>> {
    let pos = wanted.from;
    let from = pos.saturating_sub(CHAIN_SPAN_BYTES_MAX).max(wanted.low);
    let Some(bytes) = content.exactly(from..pos)? else { return Ok(Vec::new()) };
    if from == 0 && !wanted.lead.is_empty() {
        let open = open_chains(
            &[wanted.lead, &bytes].concat(),
            0,
            wanted.lead.len() as u64,
            &behind(wanted.lead, wanted.splits),
        );
        return Ok(open.into_iter().map(|chain| within(chain, wanted.lead.len() as u64)).collect());
    }
    let is_start = from == 0 || from == wanted.low;
    let first = if is_start { 0 } else { memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |i| i + 1) };
    Ok(open_chains(&bytes[first..], from + first as u64, 0, wanted.splits))
}

/// Where a chain lies in its file, of one that is counted from `lead` bytes before it.
fn within(chain: OpenChain, lead: u64) -> OpenChain {
    OpenChain { start: chain.start.saturating_sub(lead), end: chain.end.saturating_sub(lead) }
}
