//! Messages of one partition between the consumer and the core: those that were not read yet, and as many of the others as
//! there is room for. Knows nothing of Kafka.

use sawlog_core::ports::ReadLimits;
use sawlog_record::batch::{ARENA_BYTES_MAX, Input, InputRecord, Span, flag};
use sawlog_record::id::Generation;
use std::collections::VecDeque;

/// Bytes that a message takes beside its record.
const FRAME_BYTES: usize = 64;

/// Messages of one partition, ascending.
#[derive(Debug)]
pub struct Buffer {
    messages: VecDeque<(u64, Vec<u8>)>,
    /// Offset from which on nothing is missing here.
    low: u64,
    /// Offset after the last message.
    end: u64,
    /// Offset up to which somebody has read.
    read_to: u64,
    bytes: usize,
    unread_bytes: usize,
    bytes_max: usize,
}

/// What a buffer has for a reader.
#[derive(Debug)]
pub enum Found {
    /// At least one record.
    Records(Input),
    /// The messages have not come yet.
    NotYet,
    /// The messages were here and were dropped: they are to be fetched again.
    Dropped,
}

impl Buffer {
    /// A buffer of the messages from `start` on, of about `bytes_max`.
    pub fn new(start: u64, bytes_max: usize) -> Self {
        let messages = VecDeque::new();
        Self { messages, low: start, end: start, read_to: start, bytes: 0, unread_bytes: 0, bytes_max }
    }

    /// Adds the next message. Offsets may leave gaps. False for one that is here already.
    pub fn push(&mut self, offset: u64, value: Vec<u8>) -> bool {
        if offset < self.end {
            return false;
        }
        self.bytes += value.len() + FRAME_BYTES;
        self.unread_bytes += value.len() + FRAME_BYTES;
        self.messages.push_back((offset, value));
        self.end = offset + 1;
        self.make_room();
        true
    }

    /// Drops messages that were read, oldest first, while there are too many.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max && self.messages.front().is_some_and(|(offset, _)| *offset < self.read_to) {
            if let Some((offset, value)) = self.messages.pop_front() {
                self.bytes -= value.len() + FRAME_BYTES;
                self.low = offset + 1;
            }
        }
    }

    /// Offset after the last message.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Nothing more is to be fetched until somebody reads.
    pub fn is_full(&self) -> bool {
        self.unread_bytes >= self.bytes_max
    }

    /// There is room again.
    pub fn has_room(&self) -> bool {
        self.unread_bytes < self.bytes_max / 2
    }

    /// Everything below `end` was read, or is not wanted.
    fn seen_below(&mut self, end: u64) {
        let first = self.messages.partition_point(|(offset, _)| *offset < self.read_to);
        let newly = self.messages.range(first..).take_while(|(offset, _)| *offset < end);
        self.unread_bytes -= newly.map(|(_, value)| value.len() + FRAME_BYTES).sum::<usize>();
        self.read_to = self.read_to.max(end);
    }

    /// Messages that nobody will ask for again may go.
    pub fn forget_below(&mut self, floor: u64) {
        self.seen_below(floor);
        while self.messages.front().is_some_and(|(offset, _)| *offset < floor) {
            if let Some((offset, value)) = self.messages.pop_front() {
                self.bytes -= value.len() + FRAME_BYTES;
                self.low = offset + 1;
            }
        }
    }

    /// Records from `from` on, none ending above `to`.
    pub fn read(&mut self, generation: Generation, from: u64, to: u64, limits: ReadLimits) -> Found {
        if from < self.low {
            return Found::Dropped;
        }
        let first = self.messages.partition_point(|(offset, _)| *offset < from);
        let wanted = self.messages.range(first..).take_while(|(offset, _)| *offset < to);
        let input = gather(generation, wanted.map(|(offset, value)| (*offset, value.as_slice())), limits);
        let Some(end) = input.records.last().map(|record| record.end) else { return Found::NotYet };
        self.seen_below(end);
        self.make_room();
        Found::Records(input)
    }
}

/// Messages as an input within `limits`; at least the first comes.
pub fn gather<'a>(
    generation: Generation,
    messages: impl Iterator<Item = (u64, &'a [u8])>,
    limits: ReadLimits,
) -> Input {
    let mut input = Input { generation, arena: Vec::new(), records: Vec::new(), open: Vec::new() };
    for (offset, value) in messages {
        let full = input.arena.len() + value.len() > limits.bytes_max.min(ARENA_BYTES_MAX)
            || input.records.len() >= limits.records_max;
        if full && !input.records.is_empty() {
            break;
        }
        let text = Span { start: input.arena.len() as u32, len: value.len() as u32 };
        input.arena.extend_from_slice(value);
        input.records.push(InputRecord { pos: offset, end: offset + 1, text, received: 0, flags: flag::ATTACHED });
    }
    input
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const G: Generation = Generation([1; 16]);
    const ALL: ReadLimits = ReadLimits { bytes_max: 1 << 20, records_max: 1000 };

    fn offsets(found: Found) -> Vec<u64> {
        match found {
            Found::Records(input) => input.records.iter().map(|r| r.pos).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn gaps_are_stepped_over_and_reads_end_where_they_are_told() {
        let mut buffer = Buffer::new(3, 1 << 20);
        for offset in [4, 5, 9, 10] {
            assert!(buffer.push(offset, offset.to_string().into_bytes()));
        }
        assert!(!buffer.push(9, vec![]), "a message that came twice counts once");
        assert_eq!(buffer.end(), 11);
        assert_eq!(offsets(buffer.read(G, 3, 10, ALL)), [4, 5, 9]);
        assert_eq!(offsets(buffer.read(G, 6, 11, ALL)), [9, 10]);
        assert_eq!(offsets(buffer.read(G, 3, 11, ReadLimits { records_max: 1, ..ALL })), [4]);
        assert_eq!(offsets(buffer.read(G, 3, 11, ReadLimits { bytes_max: 0, ..ALL })), [4]);
        assert!(matches!(buffer.read(G, 11, 20, ALL), Found::NotYet));
        assert!(matches!(buffer.read(G, 2, 20, ALL), Found::Dropped));
    }

    #[test]
    fn only_messages_that_were_read_make_room() {
        let mut buffer = Buffer::new(0, 1000);
        for offset in 0..10 {
            buffer.push(offset, vec![b'x'; 100]);
        }
        assert!(buffer.is_full());
        assert_eq!(offsets(buffer.read(G, 0, 10, ALL)).len(), 10, "unread messages stay, over the limit or not");
        assert!(buffer.has_room());
        assert!(matches!(buffer.read(G, 0, 10, ALL), Found::Dropped));
        assert_eq!(offsets(buffer.read(G, 6, 10, ALL)), [6, 7, 8, 9]);
        buffer.forget_below(8);
        assert_eq!(offsets(buffer.read(G, 8, 10, ALL)), [8, 9]);
        assert!(matches!(buffer.read(G, 7, 10, ALL), Found::Dropped));
    }
}
