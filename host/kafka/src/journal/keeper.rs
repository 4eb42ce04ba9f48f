//! The journal's thread: one producer for its whole life, every change one transaction. After any error it is spent: whoever
//! runs over it drops it and opens another, which reads what really was committed.

use super::stored::{Item, Keys, Piece, Reading};
use super::{PARTITIONS, TopicJournalOptions, journal_topic};
use crate::{
    ClientError, Cluster, Committed, Compression, Message, PartitionRef, ProducerOptions, TransactionalProducer,
    Trouble,
};
use sawlog_core::ports::{JournalError, Journalled};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for fencing and ending a predecessor's transaction, and for a question about a topic.
const INIT_TIMEOUT: Duration = Duration::from_secs(20);
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// Copies of the topic where it is made here: as many as the cluster's own default says.
const REPLICAS_OF_THE_CLUSTER: i32 = -1;

/// The thread's state.
pub(super) struct Keeper {
    cluster: Arc<dyn Cluster>,
    options: TopicJournalOptions,
    keys: Keys,
    place: PartitionRef,
    /// Random bits of this life, which make its barriers its own.
    life: [u8; 16],
    barriers: u64,
    producer: Option<Box<dyn TransactionalProducer>>,
    failed: Option<JournalError>,
    /// Number of the first record of this life.
    opened: u64,
    /// Number of the next record.
    next: u64,
    /// Records that no snapshot replaces, with their pieces.
    records: Vec<(u64, usize)>,
    snapshot: Option<(u64, usize)>,
    blobs: BTreeMap<[u8; 32], usize>,
    /// Bytes of the blobs that were there at the opening, until the first checkpoint: they are asked for before that.
    opened_blobs: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Keeper {
    pub(super) fn new(cluster: Arc<dyn Cluster>, options: TopicJournalOptions) -> std::io::Result<Self> {
        let mut life = [0; 16];
        getrandom::fill(&mut life).map_err(|error| std::io::Error::other(error.to_string()))?;
        let digest = blake3::hash(options.name.as_bytes());
        let number = u32::from_be_bytes([0, 1, 2, 3].map(|i| digest.as_bytes()[i])) % PARTITIONS.unsigned_abs();
        let place = PartitionRef { topic: options.topic.clone(), partition: number.cast_signed() };
        Ok(Self {
            keys: Keys::of(&options.name),
            cluster,
            options,
            place,
            life,
            barriers: 0,
            producer: None,
            failed: None,
            opened: 0,
            next: 0,
            records: Vec::new(),
            snapshot: None,
            blobs: BTreeMap::new(),
            opened_blobs: BTreeMap::new(),
        })
    }

    fn third(&self) -> Duration {
        self.options.transaction_timeout / 3
    }

    // ------------------------------------------------------------ opening

    /// Fences whoever had the journal, and reads it behind a barrier.
    pub(super) fn open(&mut self) -> Result<Journalled, JournalError> {
        let opened = self.fence().and_then(|()| self.read_all());
        opened.map_err(|error| self.spent(error))
    }

    fn fence(&mut self) -> Result<(), ClientError> {
        self.check_topic()?;
        let mut producer = self.cluster.producer(&ProducerOptions {
            transactional_id: format!("sawlog/{}/journal", self.options.name),
            transaction_timeout: self.options.transaction_timeout,
            compression: Compression::Zstd,
            message_bytes_max: MESSAGE_BYTES_MAX,
            batch_bytes_max: MESSAGE_BYTES_MAX,
            one_by_one: false,
        })?;
        producer.init(INIT_TIMEOUT)?;
        self.producer = Some(producer);
        Ok(())
    }

    /// The topic is there, is compacted, and has partitions enough; where it is missing it is made.
    fn check_topic(&self) -> Result<(), ClientError> {
        let name = &self.options.topic;
        if self.cluster.topic(name, INIT_TIMEOUT)?.is_none() {
            self.cluster.create_topics(&[journal_topic(name, REPLICAS_OF_THE_CLUSTER)], INIT_TIMEOUT)?;
        }
        let refuse = |reason: String| Err(ClientError::new(format!("journal topic {name}"), Trouble::Refused, reason));
        match self.cluster.topic(name, INIT_TIMEOUT)? {
            Some(facts) if facts.partitions < PARTITIONS.unsigned_abs() as usize => {
                return refuse(format!("it has {} partitions; add some up to {PARTITIONS}", facts.partitions));
            }
            Some(_) => {}
            None => return refuse(format!("it is not there; create it compacted, with {PARTITIONS} partitions")),
        }
        match self.cluster.topic_setting(name, "cleanup.policy", INIT_TIMEOUT)?.as_deref() {
            Some("compact") => Ok(()),
            other => refuse(format!(
                "its cleanup.policy is {}, and what is deleted by age is lost; set it to compact",
                other.unwrap_or("unknown")
            )),
        }
    }

    fn read_all(&mut self) -> Result<Journalled, ClientError> {
        let items = self.read()?;
        let damaged = |what: String| ClientError::new("journal", Trouble::Refused, what);
        let mut loaded = Journalled::default();
        let newest = items.keys().filter_map(|item| if let Item::Snapshot(n) = item { Some(*n) } else { None }).max();
        let mut from = 0;
        for (item, (pieces, bytes)) in items {
            match item {
                Item::Snapshot(number) if Some(number) == newest => {
                    let (upto, state) = bytes
                        .split_first_chunk::<8>()
                        .ok_or_else(|| damaged(format!("snapshot {number} is cut short; report this as a bug")))?;
                    from = u64::from_le_bytes(*upto);
                    loaded.snapshot = Some(state.to_vec());
                    self.snapshot = Some((number, pieces));
                }
                Item::Snapshot(_) => {}
                Item::Record(number) => {
                    self.next = self.next.max(number + 1);
                    self.records.push((number, pieces));
                    loaded.records.push(bytes);
                }
                Item::Blob(digest) => {
                    self.blobs.insert(digest, pieces);
                    self.opened_blobs.insert(digest, bytes);
                }
            }
        }
        self.next = self.next.max(from);
        self.opened = self.next;
        let replaced = self.records.iter().take_while(|(number, _)| *number < from).count();
        loaded.records.drain(..replaced);
        Ok(loaded)
    }

    /// Everything committed up to a barrier that is put now.
    fn read(&mut self) -> Result<BTreeMap<Item, (usize, Vec<u8>)>, ClientError> {
        let (key, barrier) = self.next_barrier();
        self.send(vec![(key, Some(barrier.clone()))])?;
        // Another agent's open transaction may hold the barrier back for as long as the broker lets it live.
        let deadline = Instant::now() + 2 * self.options.transaction_timeout + INIT_TIMEOUT;
        let mut reading = Reading::until(&self.keys, barrier);
        self.cluster
            .read_until(&self.place, deadline, &mut |entry| reading.take(entry.key.unwrap_or_default(), entry.value))?;
        reading.into_items().map_err(|what| ClientError::new("journal", Trouble::Refused, what))
    }

    fn next_barrier(&mut self) -> (String, Vec<u8>) {
        self.barriers += 1;
        (self.keys.barrier(), [&self.life[..], &self.barriers.to_be_bytes()].concat())
    }

    // ------------------------------------------------------------ transactions

    /// One transaction. The producer is gone unless it committed.
    fn send(&mut self, pieces: Vec<Piece>) -> Result<(), ClientError> {
        let spent = || ClientError::new("journal", Trouble::Fenced, "it is not open");
        let mut producer = self.producer.take().ok_or_else(spent)?;
        producer.begin()?;
        let deadline = Instant::now() + self.third();
        for (number, (key, value)) in pieces.iter().enumerate() {
            let message = Message {
                topic: &self.place.topic,
                partition: Some(self.place.partition),
                key: Some(key.as_bytes()),
                value: value.as_deref(),
                headers: &[],
                number,
            };
            producer.send(&message, deadline)?;
        }
        if let Some(failure) = producer.settle(deadline)?.into_iter().next() {
            return Err(failure.error);
        }
        match producer.commit(self.third())? {
            Committed::Fit => self.producer = Some(producer),
            // This much is committed; what comes next might be cut in two.
            Committed::Spent => {
                let words = format!(
                    "{}: a commit was asked for twice, so its partition is opened anew; nothing need be done",
                    self.options.name
                );
                self.failed.get_or_insert(JournalError(words));
            }
        }
        Ok(())
    }

    fn spent(&mut self, error: ClientError) -> JournalError {
        let words = match error.trouble {
            Trouble::Fenced => format!("{}: another agent has the partition now ({error})", self.options.name),
            _ => format!("{}: {error}", self.options.name),
        };
        self.producer = None;
        self.failed.get_or_insert(JournalError(words)).clone()
    }

    fn commit(&mut self, pieces: Vec<Piece>) -> Result<(), JournalError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.send(pieces).map_err(|error| self.spent(error))
    }

    /// Makes certain that nobody else has the journal.
    pub(super) fn confirm(&mut self) -> Result<(), JournalError> {
        let (key, barrier) = self.next_barrier();
        self.commit(vec![(key, Some(barrier))])
    }

    pub(super) fn append(&mut self, records: Vec<Vec<u8>>) -> Result<(), JournalError> {
        if records.is_empty() {
            return self.failed.clone().map_or(Ok(()), Err);
        }
        let mut pieces = Vec::new();
        for bytes in records {
            let made = self.keys.pieces(&Item::Record(self.next), &bytes);
            self.records.push((self.next, made.len()));
            pieces.extend(made);
            self.next += 1;
        }
        self.commit(pieces)
    }

    /// The snapshot, and the end of all that it replaces: the first `appended` records of this life, and all of earlier ones.
    pub(super) fn snapshot(&mut self, state: Vec<u8>, appended: u64) -> Result<(), JournalError> {
        let number = self.snapshot.map_or(1, |(number, _)| number + 1);
        let from = self.opened + appended;
        let bytes = [&from.to_le_bytes()[..], &state].concat();
        let mut pieces = self.keys.pieces(&Item::Snapshot(number), &bytes);
        let new = (number, pieces.len());
        if let Some((old, count)) = self.snapshot {
            pieces.extend(self.keys.tombstones(&Item::Snapshot(old), count));
        }
        let replaced = self.records.iter().take_while(|(number, _)| *number < from).count();
        for (record, count) in self.records.drain(..replaced) {
            pieces.extend(self.keys.tombstones(&Item::Record(record), count));
        }
        self.commit(pieces)?;
        self.snapshot = Some(new);
        Ok(())
    }

    // ------------------------------------------------------------ blobs

    pub(super) fn put_blob(&mut self, bytes: &[u8]) -> Result<[u8; 32], JournalError> {
        let digest = *blake3::hash(bytes).as_bytes();
        if !self.blobs.contains_key(&digest) {
            let pieces = self.keys.pieces(&Item::Blob(digest), bytes);
            let count = pieces.len();
            self.commit(pieces)?;
            self.blobs.insert(digest, count);
        }
        Ok(digest)
    }

    pub(super) fn get_blob(&mut self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        if let Some(bytes) = self.opened_blobs.get(digest) {
            return Ok(Some(bytes.clone()));
        }
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if !self.blobs.contains_key(digest) {
            return Ok(None);
        }
        let mut items = self.read().map_err(|error| self.spent(error))?;
        Ok(items.remove(&Item::Blob(*digest)).map(|(_, bytes)| bytes))
    }

    pub(super) fn retain_blobs(&mut self, keep: &[[u8; 32]]) -> Result<(), JournalError> {
        self.opened_blobs.clear();
        let gone: Vec<([u8; 32], usize)> =
            self.blobs.iter().filter(|(digest, _)| !keep.contains(*digest)).map(|(d, n)| (*d, *n)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let pieces = gone.iter().flat_map(|(digest, count)| self.keys.tombstones(&Item::Blob(*digest), *count));
        self.commit(pieces.collect())?;
        gone.iter().for_each(|(digest, _)| _ = self.blobs.remove(digest));
        Ok(())
    }
}
