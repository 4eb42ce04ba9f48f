//! What the consumer's thread and the core's calls share: partitions with their buffers, and events on their way. Decides
//! nothing about when to fetch.

use super::ailing::Ailing;
use super::buffer::{Buffer, Found};
use super::identity::Identity;
use sawlog_core::ports::{ReadLimits, SourceEvent};
use sawlog_kafka::PartitionRef;
use sawlog_record::id::Generation;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A partition that this agent reads, or has read.
#[derive(Debug)]
pub struct Tracked {
    /// What it is.
    pub identity: Identity,
    /// Its messages; `None` while another member of the group has it.
    pub buffer: Option<Buffer>,
    /// Where its reading began, and what no sink will read again.
    pub floor: u64,
    /// The floor that was committed for the group.
    pub committed: u64,
    /// It can't be read any more.
    pub gone: bool,
    /// Fetching is paused.
    pub paused: bool,
    /// With `--until-eof`: the end of the partition when it was first assigned; nothing from there on is taken.
    pub stop: Option<u64>,
    /// Everything below `stop` was fetched.
    pub done: bool,
    /// Messages between what was fetched and the end of the partition, when it was last looked at.
    pub lag: u64,
}

impl Tracked {
    /// A partition of which everything below `floor` is done.
    pub fn new(identity: Identity, floor: u64) -> Self {
        Self {
            identity,
            buffer: None,
            floor,
            committed: 0,
            gone: false,
            paused: false,
            stop: None,
            done: false,
            lag: 0,
        }
    }
}

/// The state.
#[derive(Debug, Default)]
pub struct State {
    /// Partitions by generation.
    pub partitions: BTreeMap<Generation, Tracked>,
    events: VecDeque<SourceEvent>,
    finished: bool,
    /// How long the brokers took to answer lately.
    pub round_trip: Option<Duration>,
    /// The newest trouble of the consumer, in words.
    pub trouble: Ailing,
}

impl State {
    /// Queues an event. Ends of the same generation that nobody has seen yet are joined.
    pub fn tell(&mut self, event: SourceEvent) {
        if let (
            SourceEvent::Available { generation, end },
            Some(SourceEvent::Available { generation: last, end: known }),
        ) = (&event, self.events.back_mut())
            && generation == last
        {
            *known = (*known).max(*end);
            return;
        }
        self.events.push_back(event);
    }

    /// Says, once, that nothing will come any more, where every partition that is read here came to its `stop`.
    pub fn finish(&mut self) {
        let mut read = self.partitions.values().filter(|tracked| tracked.buffer.is_some() || tracked.gone).peekable();
        let done = read.peek().is_some() && read.all(|tracked| tracked.done || tracked.gone);
        if done && !self.finished {
            self.finished = true;
            self.tell(SourceEvent::Finished);
        }
    }

    /// The generation that is read at `place` now.
    pub fn current(&self, place: &PartitionRef) -> Option<Generation> {
        let here = |t: &Tracked| !t.gone && t.identity.partition == place.partition && t.identity.topic == place.topic;
        self.partitions.iter().find(|(_, t)| here(t)).map(|(generation, _)| *generation)
    }

    /// Marks a generation as gone, once.
    pub fn lose(&mut self, generation: Generation) {
        if let Some(tracked) = self.partitions.get_mut(&generation)
            && !tracked.gone
        {
            tracked.gone = true;
            tracked.buffer = None;
            self.tell(SourceEvent::Gone { generation });
        }
    }

    /// Records of a generation, if they are here.
    pub fn read(&mut self, generation: Generation, from: u64, to: u64, limits: ReadLimits) -> Availability {
        match self.partitions.get_mut(&generation) {
            None => Availability::Elsewhere,
            Some(tracked) if tracked.gone => Availability::Gone,
            Some(tracked) => match &mut tracked.buffer {
                None => Availability::Elsewhere,
                Some(buffer) => match buffer.read(generation, from, to, limits) {
                    Found::Dropped => Availability::Replay(tracked.identity.place()),
                    found => Availability::Here(found),
                },
            },
        }
    }
}

/// Where records are.
#[derive(Debug)]
pub enum Availability {
    /// In the buffer, or on their way into it.
    Here(Found),
    /// They were read before and must be fetched again.
    Replay(PartitionRef),
    /// Another agent has the partition.
    Elsewhere,
    /// Nowhere.
    Gone,
}

/// State with a way to wait for changes.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<State>,
    /// Something changed that the core waits for.
    pub changed: Notify,
}

impl Shared {
    /// The state.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event; pending while there is none.
    pub async fn event(&self) -> SourceEvent {
        loop {
            let changed = self.changed.notified();
            if let Some(event) = self.lock().events.pop_front() {
                return event;
            }
            changed.await;
        }
    }
}
