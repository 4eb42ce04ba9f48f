//! One shard of the queue as a generation: what it is called, and its requests read back as records. A record's position is
//! the address of its first byte in the queue; the last record of a request ends where the request does.

use super::queue::{RequestQueue, Stored, Trouble};
use sawlog_core::ports::{ReadError, ReadLimits};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::{Generation, PartitionId};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// [`Submission::form`](super::queue::Submission::form) of all requests: one record a line, each line ended by `\n`.
pub const FORM_LINES: u8 = 1;
const IDENTITY_FORMAT: u8 = 1;
/// Room behind the records, bytes: decoders append a few words to each arena, and one that must grow for them is copied.
const ROOM_BYTES: usize = 4 << 10;

/// What is kept in the journal to find a shard again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub shard: u32,
    /// The random name of its life.
    pub incarnation: [u8; 16],
}

impl Identity {
    /// The history of requests.
    pub fn generation(&self, agent: &str, source: &str) -> Generation {
        let shard = self.shard.to_be_bytes();
        Generation::derive("sawlog.queue", &[agent.as_bytes(), source.as_bytes(), &shard, &self.incarnation])
    }

    /// What order and state belong to; outlives the folder of the queue.
    pub fn partition(&self, agent: &str, source: &str) -> PartitionId {
        let shard = self.shard.to_be_bytes();
        PartitionId::derive("sawlog.queue.partition", &[agent.as_bytes(), source.as_bytes(), &shard])
    }

    /// The record for the journal.
    pub fn write(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![IDENTITY_FORMAT]).expect("numbers always serialise")
    }
}

/// A shard that is read.
#[derive(Debug)]
pub struct Shard {
    /// Which one.
    pub identity: Identity,
    /// Its history.
    pub generation: Generation,
    /// Its partition.
    pub partition: PartitionId,
    /// A request of which only a part was read: it would be fetched anew for each part.
    begun: Mutex<Option<Stored>>,
}

impl Shard {
    /// A shard of `source` of `agent`.
    pub fn new(identity: Identity, agent: &str, source: &str) -> Self {
        let (generation, partition) = (identity.generation(agent, source), identity.partition(agent, source));
        Self { identity, generation, partition, begun: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stored>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records from `from` on, none ending above `to`. Blocks for the disk.
    pub fn read(&self, queue: &dyn RequestQueue, from: u64, to: u64, limits: ReadLimits) -> Result<Input, ReadError> {
        let begun = self.lock().take();
        let requests = match begun {
            Some(request) if (request.body_at..request.end).contains(&from) => vec![request],
            _ => queue.read(self.identity.shard, from, limits.bytes_max).map_err(|trouble| match trouble {
                Trouble::Gone(_) => ReadError::Gone,
                other => ReadError::Unavailable(other.to_string()),
            })?,
        };
        let bytes = requests.iter().map(|request| request.body.len()).sum();
        let mut reading = Reading::new(self.generation, from..to, limits, bytes);
        let is_empty = requests.is_empty();
        for request in requests {
            if request.form != FORM_LINES {
                let form = request.form;
                return Err(ReadError::Unavailable(format!(
                    "a request is stored in form {form} of another version; run that version until the queue is empty"
                )));
            }
            if !reading.add(&request) {
                *self.lock() = Some(request);
                break;
            }
        }
        match reading.input {
            input if !input.records.is_empty() => Ok(input),
            _ if is_empty => Err(ReadError::Unavailable("nothing is stored there yet".to_owned())),
            // What lay in `[from, to)` was damaged: the next that can be read lies behind it.
            _ => Err(ReadError::Gone),
        }
    }
}

struct Reading {
    input: Input,
    range: Range<u64>,
    limits: ReadLimits,
}

impl Reading {
    /// Of requests that have `bytes` together.
    fn new(generation: Generation, range: Range<u64>, limits: ReadLimits, bytes: usize) -> Self {
        let arena = Vec::with_capacity(bytes.min(limits.bytes_max) + ROOM_BYTES);
        let input = Input { generation, arena, records: Vec::new(), open: Vec::new() };
        Self { input, range, limits }
    }

    /// Adds records of a request; false where a limit or the end of the range came first.
    fn add(&mut self, request: &Stored) -> bool {
        let body = &request.body[..];
        let mut start = usize::try_from(self.range.start.saturating_sub(request.body_at)).unwrap_or(usize::MAX);
        while start < body.len() {
            let line_end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
            let next = line_end + 1;
            let end = if next < body.len() { request.body_at + next as u64 } else { request.end };
            if end > self.range.end || !self.has_room(line_end - start) {
                return false;
            }
            let line = body[start..line_end].strip_suffix(b"\r").unwrap_or(&body[start..line_end]);
            let text = Span { start: self.input.arena.len() as u32, len: line.len() as u32 };
            self.input.arena.extend_from_slice(line);
            let pos = request.body_at + start as u64;
            self.input.records.push(InputRecord { pos, end, text, received: request.accepted, flags: 0 });
            start = next;
        }
        true
    }

    fn has_room(&self, bytes: usize) -> bool {
        let (records, arena) = (self.input.records.len(), self.input.arena.len());
        records == 0 || (records < self.limits.records_max && arena + bytes <= self.limits.bytes_max)
    }
}

/// Stored requests from some address on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Address behind the last one.
    pub end: u64,
    /// When the first one was accepted, unix nanoseconds.
    pub oldest: i64,
}

/// What is stored between `from` and `durable`. Blocks for the disk.
pub fn look(queue: &dyn RequestQueue, shard: u32, from: u64, durable: u64) -> Result<Option<Found>, Trouble> {
    if from >= durable {
        return Ok(None);
    }
    let Some(first) = queue.read(shard, from, 1)?.into_iter().next() else { return Ok(None) };
    let (mut end, oldest) = (first.end, first.accepted);
    // The last byte of a shard belongs to a request, unless appending failed last or the disk is damaged there.
    match queue.read(shard, durable - 1, 1) {
        Ok(last) if !last.is_empty() => end = last.iter().fold(end, |end, request| end.max(request.end)),
        _ => {
            while let Some(last) = queue.read(shard, end, 1 << 20)?.last() {
                end = end.max(last.end);
            }
        }
    }
    Ok(Some(Found { end, oldest }))
}
