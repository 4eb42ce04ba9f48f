//! From bytes to records: line ends, fragments that a container runtime split, records that span lines, encodings. A pure
//! function of the bytes, of where they lie and of journalled splits; it knows no file, no time and no partition.
//!
//! A joined record lies where its last fragment begins. Fragments of stdout and stderr interleave; whatever is still open
//! after the last record is told by its start, and a later read begins there.

use encoding_rs::Encoding;
use sawlog_record::batch::{InputRecord, Span, flag};
use std::collections::BTreeSet;

/// How many bytes of a file one joined container record may span; what goes on for longer is cut.
pub const CHAIN_SPAN_BYTES_MAX: u64 = 4 << 20;

/// How lines form records that span lines.
#[derive(Clone, Debug)]
pub struct Multiline {
    /// Matches a record's first line, or its further lines.
    pub pattern: regex::bytes::Regex,
    /// Whether `pattern` tells first lines.
    pub starts: bool,
    /// Lines of a record at most.
    pub lines_max: u32,
}

/// How bytes become records.
#[derive(Clone, Debug)]
pub struct Framing {
    /// Whether lines carry the envelope of a container runtime.
    pub cri: bool,
    /// What the bytes are encoded in; `None` leaves them as they are, valid or not.
    pub encoding: Option<&'static Encoding>,
    /// Longest line, bytes; a longer one is cut and marked.
    pub line_bytes_max: usize,
    /// Records that span lines.
    pub multiline: Option<Multiline>,
}

/// The bytes to frame: `arena` holds those from `at` on.
#[derive(Debug)]
pub struct Block<'a> {
    /// How.
    pub framing: &'a Framing,
    /// Ends of lines and of open records that were decided, not written.
    pub splits: &'a BTreeSet<u64>,
    /// Where the arena's first byte lies.
    pub at: u64,
    /// Where the file's first byte lies. Lines before it are an older file's: no record ends in them, and the first whole line
    /// behind them goes on with what they begin.
    pub first: u64,
    /// Records that end at or before it were taken already.
    pub from: u64,
    /// No record ends above it; where one could end at it, it does.
    pub to: u64,
    /// Records wanted at most.
    pub records_max: usize,
    /// Where the line ends of which the arena holds only the beginning, though more than is kept of any line.
    pub long: Option<u64>,
}

/// What a block holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Framed {
    /// Complete records.
    pub records: Vec<InputRecord>,
    /// Starts before the last record's end of what is open after it.
    pub open: Vec<u64>,
    /// Fragments that wait for their last at the end of what was looked at.
    pub chains: Vec<OpenChain>,
    /// Where the line begins that has no end in the block; the block's end if there is none.
    pub rest: u64,
    /// Whether the first whole line, asked by the pattern, goes on with the record that lines of an older file begin; `None`
    /// where they begin none, or no line is whole.
    pub goes_on: Option<bool>,
}

/// Lines that no record has yet, as they were written.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Waiting {
    /// Those of a record that waits for its next line, and fragments that wait for their last.
    pub all: Vec<u8>,
    /// The fragments alone.
    pub fragments: Vec<u8>,
    /// Where the record that waits for its next line ends so far; `None` where none does.
    pub end: Option<u64>,
}

/// A line as it was written, with its stream where it has one.
#[derive(Debug)]
struct Written {
    start: u64,
    end: u64,
    stderr: Option<bool>,
}

/// A whole line: one that was written whole, or the joined fragments of one.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u64,
    pos: u64,
    end: u64,
    text: Span,
    message: Span,
    flags: u8,
}

/// Where the fragments of one stream lie that wait for their last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenChain {
    /// Where the first begins.
    pub start: u64,
    /// Where the last one so far ends.
    pub end: u64,
}

/// Fragments of one stream that wait for their last.
#[derive(Debug)]
struct Chain {
    at: OpenChain,
    head: Span,
    messages: Vec<Span>,
}

/// Lines of a record that waits for its next line.
#[derive(Debug, Default)]
struct Pending {
    lines: Vec<Line>,
    bytes: usize,
}

impl Pending {
    fn add(&mut self, line: Line) {
        self.bytes += line.message.len as usize;
        self.lines.push(line);
    }
}

/// Frames `arena`; text that has to be joined or converted is appended to it.
pub fn frame(block: &Block<'_>, arena: &mut Vec<u8>) -> Framed {
    let plain = !block.framing.cri && block.framing.multiline.is_none() && block.framing.encoding.is_none();
    if plain && block.splits.is_empty() && block.first == 0 && block.long.is_none() {
        return plain_lines(block, arena);
    }
    let mut framer = Framer::new(block, arena);
    framer.run();
    framer.framed
}

/// The lines behind the last record of `arena`; `None` where there are records, or bytes of no whole line.
pub fn waiting(block: &Block<'_>, arena: &mut Vec<u8>) -> Option<Waiting> {
    let end = block.at + arena.len() as u64;
    let mut framer = Framer::new(block, arena);
    framer.written = Some(Vec::new());
    framer.run();
    let Framer { chains, pending, framed, written, arena, .. } = framer;
    if !framed.records.is_empty() || framed.rest != end {
        return None;
    }
    let mut waiting = Waiting { end: pending.lines.last().map(|line| line.end), ..Waiting::default() };
    for line in written.unwrap_or_default() {
        let (start, end) = ((line.start - block.at) as usize, (line.end - block.at) as usize);
        let bytes = &arena[start + byte_order_mark(block, arena, start, end)..end];
        waiting.all.extend_from_slice(bytes);
        let chain = line.stderr.and_then(|stderr| chains[usize::from(stderr)].as_ref());
        if chain.is_some_and(|chain| chain.at.start <= line.start) {
            waiting.fragments.extend_from_slice(bytes);
        }
    }
    Some(waiting)
}

fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, len: (end - start) as u32 }
}

/// Lines as they are: the common case, and nothing is copied.
fn plain_lines(block: &Block<'_>, arena: &[u8]) -> Framed {
    let mut framed = Framed { rest: block.at, ..Framed::default() };
    let mut start = (block.from - block.at) as usize;
    let len = arena.len().min((block.to - block.at) as usize);
    for newline in memchr::memchr_iter(b'\n', &arena[start..len]).map(|i| i + (block.from - block.at) as usize) {
        if framed.records.len() == block.records_max {
            break;
        }
        let begin = start + byte_order_mark(block, arena, start, newline);
        let (text, flags) = trimmed(arena, begin, newline, block.framing.line_bytes_max);
        let (pos, end) = (block.at + start as u64, block.at + newline as u64 + 1);
        framed.records.push(InputRecord { pos, end, text, received: 0, flags });
        start = newline + 1;
    }
    framed.rest = block.at + start as u64;
    framed
}

/// A line without its `\r`, cut to the limit.
fn trimmed(arena: &[u8], start: usize, end: usize, max: usize) -> (Span, u8) {
    let end = if end > start && arena[end - 1] == b'\r' { end - 1 } else { end };
    match end - start > max {
        true => (span(start, start + whole_characters(&arena[start..end], max)), flag::TRUNCATED),
        false => (span(start, end), 0),
    }
}

/// How many of the first `max` bytes of longer UTF-8 `text` are whole characters; all of them where it is none.
fn whole_characters(text: &[u8], max: usize) -> usize {
    let begins = |at: &usize| text[*at] & 0xC0 != 0x80;
    (max.saturating_sub(3)..=max).rev().find(begins).unwrap_or(max)
}

/// Bytes of the mark at the beginning of a file that says how it is encoded: they are no text.
fn byte_order_mark(block: &Block<'_>, arena: &[u8], start: usize, end: usize) -> usize {
    let is_first = block.at + start as u64 == block.first;
    let mark = if is_first { Encoding::for_bom(&arena[start..end]) } else { None };
    let is_decoded = block.framing.encoding.is_some();
    mark.filter(|(encoding, _)| is_decoded || *encoding == encoding_rs::UTF_8).map_or(0, |(_, len)| len)
}

/// The text of the line in `start..end` of the arena, cut to the limit; what is encoded is appended to the arena as UTF-8.
pub fn text_of(block: &Block<'_>, arena: &mut Vec<u8>, start: usize, end: usize) -> (Span, u8) {
    let max = block.framing.line_bytes_max;
    let start = start + byte_order_mark(block, arena, start, end);
    let Some(encoding) = block.framing.encoding else { return trimmed(arena, start, end, max) };
    let cut = end.min(start + max);
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let bytes = &arena[start..cut];
    let room = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len().saturating_mul(3));
    let mut text = String::with_capacity(room);
    // A character that the limit cuts in two is left out.
    let (_, read, _) = decoder.decode_to_string(bytes, &mut text, cut == end);
    debug_assert_eq!(read, bytes.len());
    let from = arena.len();
    arena.extend_from_slice(text.strip_suffix('\r').unwrap_or(&text).as_bytes());
    (span(from, arena.len()), if cut < end { flag::TRUNCATED } else { 0 })
}

/// How many bytes a line end has in `encoding`, and how it looks.
pub fn line_end(encoding: Option<&'static Encoding>) -> &'static [u8] {
    match encoding {
        Some(e) if e == encoding_rs::UTF_16LE => b"\n\0",
        Some(e) if e == encoding_rs::UTF_16BE => b"\0\n",
        _ => b"\n",
    }
}

/// Where the first line end in `bytes` ends; `bytes` begin at a whole character.
pub fn find_line_end(bytes: &[u8], encoding: Option<&'static Encoding>) -> Option<usize> {
    match line_end(encoding) {
        [one] => memchr::memchr(*one, bytes).map(|i| i + 1),
        pair => bytes.chunks_exact(2).position(|c| c == pair).map(|i| 2 * i + 2),
    }
}

struct Framer<'a, 'b> {
    block: &'a Block<'b>,
    arena: &'a mut Vec<u8>,
    chains: [Option<Chain>; 2],
    pending: Pending,
    framed: Framed,
    /// Lines of no record, where they are asked for.
    written: Option<Vec<Written>>,
}

impl<'a, 'b> Framer<'a, 'b> {
    fn new(block: &'a Block<'b>, arena: &'a mut Vec<u8>) -> Self {
        let (pending, framed) = Default::default();
        Framer { block, arena, chains: [None, None], pending, framed, written: None }
    }

    fn run(&mut self) {
        let (block, raw) = (self.block, self.arena.len() as u64);
        let limit = raw.min(block.to - block.at) as usize;
        let mut start = 0;
        while start < limit && self.framed.records.len() < block.records_max {
            let Some(end) = self.line_end(start, limit) else { break };
            self.line(start, end, block.at + end as u64);
            start = end;
        }
        self.framed.rest = block.at + start as u64;
        if let Some(end) = block.long.filter(|_| start < limit && self.framed.records.len() < block.records_max) {
            self.line(start, limit, end);
            self.framed.rest = end;
        }
        self.framed.open = self.open();
        self.framed.chains = self.chains.iter().flatten().map(|chain| chain.at).collect();
    }

    /// Where the line that begins at `start` ends: at a line end, or at a split.
    fn line_end(&self, start: usize, limit: usize) -> Option<usize> {
        let at = self.block.at;
        let split = self.block.splits.range(at + start as u64 + 1..=at + limit as u64).next();
        let split = split.map(|s| (s - at) as usize);
        let written = find_line_end(&self.arena[start..split.unwrap_or(limit)], self.block.framing.encoding);
        written.map(|end| start + end).or(split)
    }

    /// One line as it was written; the arena holds it from `start` to `there`.
    fn line(&mut self, start: usize, there: usize, end: u64) {
        let framing = self.block.framing;
        let newline = line_end(framing.encoding);
        let text_end = if self.arena[start..there].ends_with(newline) { there - newline.len() } else { there };
        let pos = self.block.at + start as u64;
        if pos == self.block.first && pos > 0 && self.block.splits.contains(&pos) {
            self.end_what_was_carried();
        }
        let (text, flags) = text_of(self.block, self.arena, start, text_end);
        let line = Line { start: pos, pos, end, text, message: text, flags };
        let envelope = framing.cri.then(|| envelope(text.of(self.arena))).flatten();
        if let Some(written) = &mut self.written {
            written.push(Written { start: pos, end, stderr: envelope.map(|envelope| envelope.stderr) });
        }
        match envelope {
            Some(envelope) => self.fragment(line, envelope),
            None => self.whole(line),
        }
    }

    fn fragment(&mut self, line: Line, envelope: Envelope) {
        let stream = usize::from(envelope.stderr);
        let message =
            Span { start: line.text.start + envelope.message as u32, len: line.text.len - envelope.message as u32 };
        let flags = line.flags | if envelope.stderr { flag::STDERR } else { 0 };
        let chain = self.chains[stream].take();
        let start = chain.as_ref().map_or(line.start, |c| c.at.start);
        let too_long = line.end - start > CHAIN_SPAN_BYTES_MAX;
        let closes =
            !envelope.partial || too_long || self.is_decided_end(line.end) || self.block.long == Some(line.end);
        if closes && chain.is_none() {
            return self.whole(Line { message, flags, ..line });
        }
        let head = Span { start: line.text.start, len: envelope.flag as u32 };
        let at = OpenChain { start, end: line.end };
        let mut chain = chain.unwrap_or(Chain { at, head, messages: Vec::new() });
        chain.at = at;
        chain.messages.push(message);
        if !closes {
            self.chains[stream] = Some(chain);
            return;
        }
        let (text, message, cut) = self.joined(&chain);
        let flags = flags | if cut || (too_long && envelope.partial) { flag::TRUNCATED } else { 0 };
        self.whole(Line { start, text, message, flags, ..line });
    }

    /// It was decided that fragments of an older file wait for no more: they belong to the first record of this one.
    fn end_what_was_carried(&mut self) {
        let mut chains: Vec<(usize, Chain)> =
            self.chains.iter_mut().enumerate().filter_map(|(stream, chain)| Some((stream, chain.take()?))).collect();
        chains.sort_by_key(|(_, chain)| chain.at.start);
        for (stream, chain) in chains {
            let (text, message, cut) = self.joined(&chain);
            let flags = if stream == 1 { flag::STDERR } else { 0 } | if cut { flag::TRUNCATED } else { 0 };
            let OpenChain { start, end } = chain.at;
            self.whole(Line { start, pos: start, end, text, message, flags });
        }
    }

    /// The fragments' messages behind the first one's time and stream.
    fn joined(&mut self, chain: &Chain) -> (Span, Span, bool) {
        let from = self.arena.len();
        self.arena.extend_from_within(chain.head.start as usize..(chain.head.start + chain.head.len) as usize);
        self.arena.extend_from_slice(b"F ");
        let message = self.arena.len();
        let mut cut = false;
        for part in &chain.messages {
            let room = self.block.framing.line_bytes_max.saturating_sub(self.arena.len() - from);
            let is_cut = room < part.len as usize;
            let len = if is_cut { whole_characters(part.of(self.arena), room) } else { part.len as usize };
            cut |= is_cut;
            self.arena.extend_from_within(part.start as usize..part.start as usize + len);
            // A cut before half a character leaves room that nothing behind it may fill.
            if is_cut {
                break;
            }
        }
        (span(from, self.arena.len()), span(message, self.arena.len()), cut)
    }

    /// Whether a record that could end at `end` was decided to.
    fn is_decided_end(&self, end: u64) -> bool {
        end == self.block.to || (!self.block.splits.is_empty() && self.block.splits.contains(&end))
    }

    fn whole(&mut self, line: Line) {
        let block = self.block;
        if line.end <= block.from {
            return self.forget(&line);
        }
        if line.end <= block.first {
            return self.pending.add(line);
        }
        let is_led = self.pending.lines.last().is_some_and(|last| last.end <= block.first);
        if block.framing.multiline.is_none() && !is_led {
            return self.push(&[line]);
        }
        let begins = self.begins(&line);
        if is_led {
            self.framed.goes_on = Some(!begins);
        } else if begins {
            self.close();
            if self.framed.records.len() == block.records_max {
                // The record that was asked for last is complete; this line is the next one's.
                return self.pending.add(line);
            }
        }
        self.pending.add(line);
        if self.is_full() || block.long == Some(line.end) || self.is_decided_end(line.end) {
            self.close();
        }
    }

    /// Whether a line begins a record, as its text says.
    fn begins(&self, line: &Line) -> bool {
        let Some(multiline) = &self.block.framing.multiline else { return true };
        let other_stream = |last: &Line| (last.flags ^ line.flags) & flag::STDERR != 0;
        let matched = multiline.pattern.is_match(line.message.of(self.arena));
        matched == multiline.starts || self.pending.lines.last().is_some_and(other_stream)
    }

    /// Whether no line more fits into the record that waits.
    fn is_full(&self) -> bool {
        let Some(multiline) = &self.block.framing.multiline else { return true };
        let Pending { lines, bytes } = &self.pending;
        lines.len() as u32 >= multiline.lines_max || *bytes >= self.block.framing.line_bytes_max
    }

    /// A line was taken by a record before.
    fn forget(&mut self, line: &Line) {
        let Some(written) = &mut self.written else { return };
        let Some(stream) = written.last().map(|last| last.stderr) else { return };
        written.retain(|one| one.start < line.start || one.stderr != stream);
    }

    fn close(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.lines.is_empty() {
            self.push(&pending.lines);
        }
    }

    fn push(&mut self, lines: &[Line]) {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
        // Lines that lie behind each other with one byte between them are one text as they stand.
        let follows = |two: &[Line]| two[0].text.start + two[0].text.len + 1 == two[1].text.start;
        let plain = !self.block.framing.cri && self.block.framing.encoding.is_none();
        let in_place = plain && lines.windows(2).all(follows);
        let text = match lines {
            [one] => one.text,
            _ if in_place => span(first.text.start as usize, (last.text.start + last.text.len) as usize),
            _ => {
                let from = self.arena.len();
                for (i, line) in lines.iter().enumerate() {
                    let part = if i == 0 { line.text } else { line.message };
                    if i > 0 {
                        self.arena.push(b'\n');
                    }
                    self.arena.extend_from_within(part.start as usize..(part.start + part.len) as usize);
                }
                span(from, self.arena.len())
            }
        };
        let flags = lines.iter().fold(0, |flags, line| flags | line.flags);
        self.framed.records.push(InputRecord { pos: last.pos, end: last.end, text, received: 0, flags });
    }

    /// Starts of open fragments and lines before the end of the last record.
    fn open(&self) -> Vec<u64> {
        let end = self.framed.records.last().map_or(self.block.from, |r| r.end);
        let lines = self.pending.lines.first().map(|l| l.start);
        let chains = self.chains.iter().flatten().map(|c| c.at.start);
        let mut open: Vec<u64> = lines.into_iter().chain(chains).filter(|start| *start < end).collect();
        open.sort_unstable();
        open
    }
}

/// What a container runtime wrote around a line: `TIME STREAM FLAG MESSAGE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Envelope {
    stderr: bool,
    partial: bool,
    /// Where the flag begins.
    flag: usize,
    /// Where the message begins.
    message: usize,
}

fn envelope(line: &[u8]) -> Option<Envelope> {
    let stream = memchr::memchr(b' ', line)? + 1;
    let stderr = match line.get(stream..stream + 7)? {
        b"stdout " => false,
        b"stderr " => true,
        _ => return None,
    };
    let flag = stream + 7;
    let partial = match line.get(flag)? {
        b'P' => true,
        b'F' => false,
        _ => return None,
    };
    match line.get(flag + 1) {
        Some(b' ' | b':') | None => {}
        Some(_) => return None,
    }
    let message = memchr::memchr(b' ', &line[flag..]).map_or(line.len(), |i| flag + i + 1);
    Some(Envelope { stderr, partial, flag, message })
}

/// The fragments that are open at the end of `bytes`, which lie at `at` (a line start). `first` and `splits` as in [`Block`].
pub fn open_chains(bytes: &[u8], at: u64, first: u64, splits: &BTreeSet<u64>) -> Vec<OpenChain> {
    let mut chains: [Option<OpenChain>; 2] = [None, None];
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', bytes).map(|i| i + 1) {
        if first > 0 && at + from as u64 == first && splits.contains(&first) {
            chains = [None, None];
        }
        if let Some(envelope) = envelope(&bytes[from..end - 1]) {
            let slot = &mut chains[usize::from(envelope.stderr)];
            let start = slot.take().map_or(at + from as u64, |chain| chain.start);
            let end = at + end as u64;
            let closes = !envelope.partial || end - start > CHAIN_SPAN_BYTES_MAX || splits.contains(&end);
            *slot = (!closes).then_some(OpenChain { start, end });
        }
        from = end;
    }
    if first > 0 && at + from as u64 == first && splits.contains(&first) {
        chains = [None, None];
    }
    let mut open: Vec<OpenChain> = chains.into_iter().flatten().collect();
    open.sort_unstable_by_key(|chain| chain.start);
    open
}
