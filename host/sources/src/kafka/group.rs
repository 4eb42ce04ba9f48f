//! A member of a consumer group: which partitions this agent has just now. It reads nothing; each partition is read by a source
//! of its own, whose journal moves with it. What the group says is a hint for whoever runs them: that nobody writes for a
//! partition that is another's is the journal's fence, not the group's.

use super::ailing::Ailing;
use super::config::KafkaSource;
use super::frontier::{ASK_TIMEOUT, consumer_options, topic_names};
use sawlog_kafka::{
    ClientError, Cluster, Connection, Consumer, LibrdkafkaCluster, Offsets, PartitionRef, Polled, Positions, Trouble,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const POLL: Duration = Duration::from_millis(100);
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after an error of the consumer.
const BACK_OFF: Duration = Duration::from_secs(1);

/// What the group says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ownership {
    /// These partitions are this agent's from now on; none, where there are more agents than partitions.
    Given(Vec<PartitionRef>),
    /// These are another's.
    Taken(Vec<PartitionRef>),
}

/// A member; it leaves the group when it is dropped, some time later. [`GroupMember::leave`] waits for that.
pub struct GroupMember {
    changes: UnboundedReceiver<Ownership>,
    floors: Floors,
    troubles: Troubles,
    stopped: Arc<AtomicBool>,
}

/// What keeps the member from its group.
#[derive(Clone, Default)]
pub struct Troubles(Arc<Mutex<Ailing>>);

impl Troubles {
    /// The newest; `None` while it is a member without trouble.
    pub fn newest(&self) -> Option<String> {
        self.lock().newest()
    }

    fn lock(&self) -> MutexGuard<'_, Ailing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offsets below which every sink has finished, by partition: what the usual lag tools see as the group's.
#[derive(Clone, Default)]
pub struct Floors(Arc<Mutex<BTreeMap<PartitionRef, u64>>>);

impl Floors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionRef, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the floor of a partition.
    pub fn raise(&self, place: &PartitionRef, floor: u64) {
        let mut floors = self.lock();
        let known = floors.entry(place.clone()).or_default();
        *known = floor.max(*known);
    }
}

impl GroupMember {
    /// Joins the group that `options` name; `agent` and `source` name it in the brokers' logs.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn join(options: &KafkaSource, agent: &str, source: &str) -> std::io::Result<Self> {
        let (changed, changes) = unbounded_channel();
        let (floors, troubles) = (Floors::default(), Troubles::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let member = Member {
            cluster: cluster(options, agent, source),
            options: options.clone(),
            changed,
            floors: floors.clone(),
            troubles: troubles.clone(),
            stopped: stopped.clone(),
            owned: BTreeSet::new(),
            committed: BTreeMap::new(),
        };
        thread::Builder::new().name("kafka-group".into()).spawn(move || member.run())?;
        Ok(Self { changes, floors, troubles, stopped })
    }

    /// The next change; `None` when the member has ended.
    pub async fn change(&mut self) -> Option<Ownership> {
        self.changes.recv().await
    }

    /// Where floors are told.
    pub fn floors(&self) -> Floors {
        self.floors.clone()
    }

    /// Where its troubles are told.
    pub fn troubles(&self) -> Troubles {
        self.troubles.clone()
    }

    /// Leaves the group; when this returns, the brokers know.
    pub async fn leave(mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The member's thread holds the other end until its consumer is closed.
        while self.changes.recv().await.is_some() {}
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// The cluster that a source's options name.
pub fn cluster(options: &KafkaSource, agent: &str, source: &str) -> Arc<dyn Cluster> {
    Arc::new(LibrdkafkaCluster::new(Connection {
        brokers: options.brokers.clone(),
        client_id: format!("sawlog-{agent}-{source}"),
        sasl: options.sasl.clone(),
        tls: options.tls.clone(),
    }))
}

/// The thread's state.
struct Member {
    cluster: Arc<dyn Cluster>,
    options: KafkaSource,
    changed: UnboundedSender<Ownership>,
    floors: Floors,
    troubles: Troubles,
    stopped: Arc<AtomicBool>,
    owned: BTreeSet<PartitionRef>,
    committed: BTreeMap<PartitionRef, u64>,
}

impl Member {
    fn run(mut self) {
        while !self.stopped.load(Ordering::Relaxed) {
            if let Err(error) = self.belong() {
                tracing::warn!(%error, group = self.options.group_id, "consumer group");
                self.troubles.lock().note(error.to_string());
                // Whatever was ours may be another's before we are back.
                let owned = std::mem::take(&mut self.owned);
                self.tell(Ownership::Taken(owned.into_iter().collect()));
                thread::sleep(BACK_OFF);
            }
        }
    }

    fn tell(&self, change: Ownership) {
        // Nobody listens any more: the process ends.
        drop(self.changed.send(change));
    }

    fn belong(&mut self) -> Result<(), ClientError> {
        let mut consumer = self.cluster.consumer(&consumer_options(&self.options), Box::new(AtTheEnd))?;
        let mut names = topic_names(self.cluster.as_ref(), &self.options)?;
        consumer.subscribe(&names)?;
        let (mut committed, mut looked) = (Instant::now(), Instant::now());
        while !self.stopped.load(Ordering::Relaxed) {
            match consumer.poll(POLL) {
                // The other topics have members none the less.
                Some(Ok(Polled::Unreadable(error))) => self.ail(&error),
                Some(Ok(polled)) => self.take(consumer.as_mut(), polled),
                Some(Err(error)) if error.trouble == Trouble::Refused => return Err(error),
                Some(Err(error)) => self.ail(&error),
                None => {}
            }
            if committed.elapsed() >= COMMIT_EVERY {
                self.commit(consumer.as_mut());
                if consumer.round_trip().is_some() {
                    self.troubles.lock().answered();
                }
                committed = Instant::now();
            }
            if looked.elapsed() >= LOOK_EVERY {
                self.look();
                let now = topic_names(self.cluster.as_ref(), &self.options)?;
                if now != names {
                    consumer.subscribe(&now)?;
                    names = now;
                }
                looked = Instant::now();
            }
        }
        self.commit(consumer.as_mut());
        Ok(())
    }

    fn ail(&self, error: &ClientError) {
        tracing::debug!(%error, "consumer group");
        self.troubles.lock().note(error.to_string());
    }

    /// The client says only once that a topic is not there.
    fn look(&self) {
        for topic in &self.options.topics {
            let Err(error) = self.cluster.topic_id(topic, ASK_TIMEOUT) else { continue };
            self.ail(&error);
            if error.trouble != Trouble::Refused {
                return;
            }
        }
    }

    fn take(&mut self, consumer: &mut dyn Consumer, polled: Polled) {
        self.troubles.lock().clear();
        match polled {
            Polled::Assigned(given) => {
                let places: Vec<PartitionRef> = given.into_iter().map(|(place, _)| place).collect();
                for place in &places {
                    if let Err(error) = consumer.pause(place, true) {
                        // It was taken back meanwhile; what was fetched is not looked at.
                        tracing::debug!(%error, "consumer group");
                    }
                }
                self.owned.extend(places.iter().cloned());
                tracing::info!(group = self.options.group_id, partitions = ?shown(&places), "partitions came");
                self.tell(Ownership::Given(places));
            }
            Polled::Revoked(places) => {
                places.iter().for_each(|place| _ = self.owned.remove(place));
                tracing::info!(group = self.options.group_id, partitions = ?shown(&places), "partitions went");
                self.tell(Ownership::Taken(places));
            }
            Polled::Message { .. } | Polled::End(_) | Polled::OutOfRange(_) | Polled::Unreadable(_) => {}
        }
    }

    /// Tells lag tools how far every sink is. The broker refuses it from whoever is no member any more.
    fn commit(&mut self, consumer: &mut dyn Consumer) {
        let floors = self.floors.lock().clone();
        let moved = |(place, floor): &(PartitionRef, u64)| self.committed.get(place).is_none_or(|known| known < floor);
        let offsets: Vec<(PartitionRef, u64)> =
            floors.into_iter().filter(|(place, _)| self.owned.contains(place)).filter(moved).collect();
        if offsets.is_empty() {
            return;
        }
        match consumer.commit(&offsets) {
            Ok(()) => self.committed.extend(offsets),
            Err(error) => {
                tracing::debug!(%error, "offsets of the group are not committed; delivery does not need them")
            }
        }
    }
}

fn shown(places: &[PartitionRef]) -> Vec<String> {
    places.iter().map(ToString::to_string).collect()
}

/// A member fetches nothing: it begins at the end, and is paused there.
struct AtTheEnd;

impl Positions for AtTheEnd {
    fn position(&self, partition: &PartitionRef, offsets: &dyn Offsets) -> Result<u64, ClientError> {
        Ok(offsets.bounds(partition)?.1)
    }
}
