//! The consumer's thread: fetches each partition forward from where it stands, commits what no sink will read again for the
//! usual lag tools, and looks for topics that are new, gone or made again. It never goes back; that is the replay's work.

use super::buffer::Buffer;
use super::config::{KafkaSource, Start};
use super::identity::Identity;
use super::message;
use super::replay::NoGroup;
use super::shared::{Shared, Tracked};
use sawlog_core::ports::SourceEvent;
use sawlog_kafka::{
    ClientError, Cluster, Consumer, ConsumerOptions, Fetched, Offsets, PartitionRef, Polled, Positions, Trouble,
};
use sawlog_record::id::Generation;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the cluster may take to answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// How often offsets are committed, lag is measured, and topic ids are looked at.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after an error of the consumer.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Least room for the messages of one partition.
const PARTITION_BYTES_MIN: usize = 1 << 20;

/// What the thread works with.
pub struct Frontier {
    /// The cluster.
    pub cluster: Arc<dyn Cluster>,
    /// The source's options.
    pub options: KafkaSource,
    /// What it shares with the core's calls.
    pub shared: Arc<Shared>,
    /// Reading ends where the partitions end when they are first assigned.
    pub until_eof: bool,
    /// What no sink will read again is committed for the group; not where another member of it does so.
    pub commits: bool,
    /// Set when the source is dropped.
    pub stopped: Arc<AtomicBool>,
}

/// How this source's consumers are opened.
pub fn consumer_options(options: &KafkaSource) -> ConsumerOptions {
    ConsumerOptions {
        group: options.group_id.clone(),
        instance: options.instance_id.clone(),
        session_timeout: Duration::from_millis(options.session_timeout.as_millis()),
        fetch_bytes_max: usize::try_from(options.fetch_bytes_max.as_bytes()).unwrap_or(usize::MAX),
    }
}

/// Topics by name, or those that match the pattern now.
pub fn topic_names(cluster: &dyn Cluster, options: &KafkaSource) -> Result<Vec<String>, ClientError> {
    let Some(pattern) = &options.topics_pattern else { return Ok(options.topics.clone()) };
    let pattern = pattern.compiled();
    let mut names = cluster.topic_names(ASK_TIMEOUT)?;
    names.retain(|name| pattern.is_match(name.as_bytes()) && !name.starts_with("__") && *name != options.journal_topic);
    names.sort();
    match names.is_empty() {
        true => Err(ClientError::new(
            "list of topics",
            Trouble::Refused,
            "no topic matches `topics_pattern`; mend it or create one",
        )),
        false => Ok(names),
    }
}

impl Frontier {
    /// Runs until the source is dropped. Trouble is told and tried again.
    pub fn run(self) {
        let topics = Arc::new(Topics { cluster: self.cluster.clone(), known: Mutex::default() });
        while !self.stopped.load(Ordering::Relaxed) {
            if let Err(error) = self.consume(&topics) {
                tracing::warn!(%error, "kafka source");
                self.shared.lock().trouble.note(error.to_string());
                thread::sleep(BACK_OFF);
            }
        }
    }

    fn consume(&self, topics: &Arc<Topics>) -> Result<(), ClientError> {
        let begin = Begin { topics: topics.clone(), shared: self.shared.clone(), start: self.options.start };
        let mut consumer = self.cluster.consumer(&consumer_options(&self.options), Box::new(begin))?;
        let mut names = topic_names(self.cluster.as_ref(), &self.options)?;
        if self.options.partitions.is_empty() {
            consumer.subscribe(&names)?;
        } else {
            self.assign_pinned(consumer.as_mut(), topics)?;
        }
        self.shared.lock().trouble.clear();
        let (mut committed, mut looked) = (Instant::now(), Instant::now());
        while !self.stopped.load(Ordering::Relaxed) {
            match consumer.poll(POLL) {
                Some(Ok(polled)) => self.take(consumer.as_mut(), topics, polled)?,
                Some(Err(error)) if error.trouble == Trouble::Refused => return Err(error),
                Some(Err(error)) => self.shared.lock().trouble.note(error.to_string()),
                None => {}
            }
            self.balance(consumer.as_mut())?;
            if committed.elapsed() >= COMMIT_EVERY {
                self.commit(consumer.as_mut())?;
                let mut state = self.shared.lock();
                state.round_trip = consumer.round_trip();
                if state.round_trip.is_some() {
                    state.trouble.answered();
                }
                drop(state);
                committed = Instant::now();
            }
            if looked.elapsed() >= LOOK_EVERY {
                self.look(consumer.as_ref(), topics)?;
                let now = topic_names(self.cluster.as_ref(), &self.options)?;
                if now != names && self.options.partitions.is_empty() {
                    consumer.subscribe(&now)?;
                    names = now;
                }
                looked = Instant::now();
            }
        }
        self.commit(consumer.as_mut())
    }

    fn assign_pinned(&self, consumer: &mut dyn Consumer, topics: &Arc<Topics>) -> Result<(), ClientError> {
        let begin = Begin { topics: topics.clone(), shared: self.shared.clone(), start: self.options.start };
        let mut from = Vec::new();
        for (topic, partition) in
            self.options.topics.iter().flat_map(|t| self.options.partitions.iter().map(move |p| (t, p)))
        {
            let place = PartitionRef { topic: topic.clone(), partition: *partition };
            let position = begin.position(&place, consumer.offsets())?;
            from.push((place, position));
        }
        consumer.assign(&from)?;
        self.assigned(consumer, topics, from)
    }

    fn take(&self, consumer: &mut dyn Consumer, topics: &Topics, polled: Polled) -> Result<(), ClientError> {
        match polled {
            Polled::Message { partition, offset, message } => self.fetched(consumer, &partition, offset, &message)?,
            Polled::Assigned(from) => self.assigned(consumer, topics, from)?,
            Polled::End(number) if self.until_eof => self.ended(number)?,
            Polled::End(_) => {}
            Polled::Revoked(places) => self.revoked(&places),
            Polled::Unreadable(error) => {
                tracing::warn!(%error, "kafka source: one topic can't be read");
                self.shared.lock().trouble.note(error.to_string());
            }
            Polled::OutOfRange(place) => {
                tracing::error!(partition = %place, "messages that were not delivered are gone from the topic; the partition stops");
                let mut state = self.shared.lock();
                if let Some(generation) = state.current(&place) {
                    state.lose(generation);
                }
            }
        }
        self.shared.changed.notify_waiters();
        Ok(())
    }

    fn fetched(
        &self,
        consumer: &mut dyn Consumer,
        place: &PartitionRef,
        offset: u64,
        message: &Fetched,
    ) -> Result<(), ClientError> {
        let record = message::record(message);
        let mut state = self.shared.lock();
        let Some(generation) = state.current(place) else { return Ok(()) };
        let Some(tracked) = state.partitions.get_mut(&generation) else { return Ok(()) };
        let Some(buffer) = &mut tracked.buffer else { return Ok(()) };
        if tracked.stop.is_some_and(|stop| offset >= stop) {
            tracked.done = true;
            state.finish();
            return Ok(());
        }
        if !buffer.push(offset, record) {
            return Ok(());
        }
        let end = buffer.end();
        tracked.done |= tracked.stop.is_some_and(|stop| end >= stop);
        tracked.lag = tracked.lag.saturating_sub(1);
        let full = buffer.is_full() && !tracked.paused;
        tracked.paused |= full;
        state.tell(SourceEvent::Available { generation, end });
        if self.until_eof {
            state.finish();
        }
        drop(state);
        if full { consumer.pause(place, true) } else { Ok(()) }
    }

    /// Some partition of this number has nothing more. Where several topics have one that is not done, each is asked.
    fn ended(&self, number: i32) -> Result<(), ClientError> {
        let waiting: Vec<(Generation, PartitionRef, u64, u64)> = {
            let state = self.shared.lock();
            let open = |(g, t): (&Generation, &Tracked)| {
                let end = t.buffer.as_ref()?.end();
                let is_open = !t.done && t.identity.partition == number;
                t.stop.filter(|_| is_open).map(|stop| (*g, t.identity.place(), end, stop))
            };
            state.partitions.iter().filter_map(open).collect()
        };
        let only = waiting.len() == 1;
        for (generation, place, from, stop) in waiting {
            let done = only || self.is_empty(&place, from, stop)?;
            if let Some(tracked) = self.shared.lock().partitions.get_mut(&generation) {
                tracked.done |= done;
            }
        }
        self.shared.lock().finish();
        Ok(())
    }

    /// Whether no committed message of the partition lies in `[from, stop)`.
    fn is_empty(&self, place: &PartitionRef, from: u64, stop: u64) -> Result<bool, ClientError> {
        let mut consumer = self.cluster.consumer(&consumer_options(&self.options), Box::new(NoGroup))?;
        consumer.assign(&[(place.clone(), from)])?;
        let deadline = Instant::now() + ASK_TIMEOUT;
        while Instant::now() < deadline {
            match consumer.poll(POLL) {
                Some(Ok(Polled::Message { offset, .. })) => return Ok(offset >= stop),
                Some(Ok(Polled::End(_))) => return Ok(true),
                Some(Ok(Polled::Unreadable(error))) => return Err(error),
                Some(Err(error)) if error.trouble == Trouble::Refused => return Err(error),
                _ => {}
            }
        }
        Err(ClientError::new(format!("end of {place}"), Trouble::Unavailable, "no broker answered in time"))
    }

    /// Resumes partitions that were read meanwhile.
    fn balance(&self, consumer: &mut dyn Consumer) -> Result<(), ClientError> {
        let mut resumed = Vec::new();
        for tracked in self.shared.lock().partitions.values_mut() {
            if tracked.paused && tracked.buffer.as_ref().is_some_and(Buffer::has_room) {
                tracked.paused = false;
                resumed.push(tracked.identity.place());
            }
        }
        resumed.iter().try_for_each(|place| consumer.pause(place, false))
    }

    fn assigned(
        &self,
        consumer: &dyn Consumer,
        topics: &Topics,
        from: Vec<(PartitionRef, u64)>,
    ) -> Result<(), ClientError> {
        for (place, start) in from {
            let identity = topics.identity(&place)?;
            let end = if self.until_eof { Some(consumer.offsets().bounds(&place)?.1) } else { None };
            let mut state = self.shared.lock();
            let generation = identity.generation();
            if let Some(older) = state.current(&place).filter(|older| *older != generation) {
                tracing::error!(partition = %place, "the topic was deleted and made again; what was not delivered of the old one is gone");
                state.lose(older);
            }
            let share = self.buffer_bytes(state.partitions.len() + 1);
            if !state.partitions.contains_key(&generation) {
                let partition = identity.partition_id();
                state.tell(SourceEvent::Opened { generation, partition, identity: identity.write().into(), start });
                state.partitions.insert(generation, Tracked::new(identity, start));
            }
            if let Some(tracked) = state.partitions.get_mut(&generation).filter(|tracked| !tracked.gone) {
                tracked.buffer = Some(Buffer::new(start, share));
                tracked.paused = false;
                tracked.stop = tracked.stop.or(end);
                tracked.done |= tracked.stop.is_some_and(|stop| start >= stop);
            }
        }
        if self.until_eof {
            self.shared.lock().finish();
        }
        Ok(())
    }

    fn buffer_bytes(&self, partitions: usize) -> usize {
        let all = usize::try_from(self.options.fetch_bytes_max.as_bytes()).unwrap_or(usize::MAX);
        (all / partitions.max(1)).max(PARTITION_BYTES_MIN)
    }

    fn revoked(&self, places: &[PartitionRef]) {
        let mut state = self.shared.lock();
        for place in places {
            let generation = state.current(place);
            if let Some(tracked) = generation.and_then(|generation| state.partitions.get_mut(&generation)) {
                tracked.buffer = None;
            }
        }
    }

    fn commit(&self, consumer: &mut dyn Consumer) -> Result<(), ClientError> {
        let mut offsets = Vec::new();
        for tracked in self.shared.lock().partitions.values_mut() {
            if tracked.buffer.is_some() && tracked.floor > tracked.committed {
                tracked.committed = tracked.floor;
                offsets.push((tracked.identity.place(), tracked.floor));
            }
        }
        if offsets.is_empty() || !self.commits { Ok(()) } else { consumer.commit(&offsets) }
    }

    /// Measures lag and looks whether topics are still there and the same.
    fn look(&self, consumer: &dyn Consumer, topics: &Topics) -> Result<(), ClientError> {
        let read: Vec<(Generation, Identity, u64)> = {
            let state = self.shared.lock();
            let reading = |(g, t): (&Generation, &Tracked)| Some((*g, t.identity.clone(), t.buffer.as_ref()?.end()));
            state.partitions.iter().filter_map(reading).collect()
        };
        topics.forget();
        for topic in &self.options.topics {
            self.pass_over(topics.id(topic).map(drop))?;
        }
        for (generation, identity, end) in read {
            self.pass_over(self.look_at(consumer, topics, generation, &identity, end))?;
        }
        Ok(())
    }

    fn look_at(
        &self,
        consumer: &dyn Consumer,
        topics: &Topics,
        generation: Generation,
        identity: &Identity,
        end: u64,
    ) -> Result<(), ClientError> {
        let place = identity.place();
        if topics.identity(&place)? != *identity {
            tracing::error!(partition = %place, "the topic was deleted and made again; what was not delivered of the old one is gone, restart the agent to read the new one");
            self.shared.lock().lose(generation);
            self.shared.changed.notify_waiters();
            return Ok(());
        }
        let (_, high) = consumer.offsets().bounds(&place)?;
        let high = if consumer.was_at_end(&place) { end } else { high };
        if let Some(tracked) = self.shared.lock().partitions.get_mut(&generation) {
            tracked.lag = high.saturating_sub(end);
        }
        Ok(())
    }

    /// One topic that was deleted, or that this user may not read any more, is told, and no reason to leave the others.
    fn pass_over(&self, looked: Result<(), ClientError>) -> Result<(), ClientError> {
        match looked {
            Err(error) if error.trouble == Trouble::Refused => {
                self.shared.lock().trouble.note(error.to_string());
                Ok(())
            }
            looked => looked,
        }
    }
}

/// Ids of the cluster and its topics, asked for once and again when told to.
struct Topics {
    cluster: Arc<dyn Cluster>,
    known: Mutex<Ids>,
}

#[derive(Default)]
struct Ids {
    cluster: Option<String>,
    topics: BTreeMap<String, [u8; 16]>,
}

impl Topics {
    fn identity(&self, place: &PartitionRef) -> Result<Identity, ClientError> {
        let cluster = match &mut self.lock().cluster {
            Some(cluster) => cluster.clone(),
            none => none.insert(self.cluster.id(ASK_TIMEOUT)?).clone(),
        };
        let topic_id = self.id(&place.topic)?;
        Ok(Identity { cluster, topic: place.topic.clone(), topic_id, partition: place.partition })
    }

    fn id(&self, topic: &str) -> Result<[u8; 16], ClientError> {
        let mut known = self.lock();
        if let Some(id) = known.topics.get(topic) {
            return Ok(*id);
        }
        let id = self.cluster.topic_id(topic, ASK_TIMEOUT)?;
        known.topics.insert(topic.to_owned(), id);
        Ok(id)
    }

    fn forget(&self) {
        self.lock().topics.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where partitions begin: where the journal says, else where the options say.
struct Begin {
    topics: Arc<Topics>,
    shared: Arc<Shared>,
    start: Start,
}

/// Whether the group has finished something in a partition of the topic that was there before this one.
fn has_elder(partition: &PartitionRef, offsets: &dyn Offsets) -> Result<bool, ClientError> {
    for number in 0..partition.partition {
        if offsets.committed(&PartitionRef { topic: partition.topic.clone(), partition: number })?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Positions for Begin {
    fn position(&self, partition: &PartitionRef, offsets: &dyn Offsets) -> Result<u64, ClientError> {
        let identity = self.topics.identity(partition)?;
        let topic_is_known = {
            let state = self.shared.lock();
            if let Some(tracked) = state.partitions.get(&identity.generation()) {
                return Ok(tracked.floor);
            }
            state.partitions.values().any(|tracked| tracked.identity.topic == partition.topic)
        };
        let (earliest, end) = offsets.bounds(partition)?;
        match self.start {
            // A partition that was added to a topic begins at its first message: it has no history to leave out.
            Start::Latest if !topic_is_known && !has_elder(partition, offsets)? => Ok(end),
            Start::Committed => Ok(offsets.committed(partition)?.unwrap_or(earliest)),
            Start::Latest | Start::Earliest => Ok(earliest),
        }
    }
}
