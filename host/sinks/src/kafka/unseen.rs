//! Whether readers see what was committed. A transaction that stays open in a partition, whoever's it is, hides all that lies behind
//! it from readers of committed messages: also rows whose own transaction has ended, and which the ledger calls delivered. Nothing
//! here changes what is sent; a thread beside the sink's own looks, and others tell.

use super::{Activity, SinkSettings};
use sawlog_core::ports::Hidden;
use sawlog_kafka::{Cluster, PartitionRef, Trouble};
use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Time for an answer; nobody waits for it.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often brokers look for transactions that outlived their time, by default.
const EXPIRED_WITHIN: Duration = Duration::from_secs(10);
/// Bounds of the time between two looks.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(10);

/// An offset, and when the transaction of the message there was about to end.
type Written = (u64, Instant);

/// One partition with rows that were not seen yet.
#[derive(Clone, Copy, Debug)]
struct Partition {
    /// What is waited for.
    awaited: Written,
    /// What came last; it is waited for next.
    newest: Written,
    /// How far readers saw by the newest look, and when that was.
    seen: Option<(u64, Instant)>,
}

/// Where rows were written that readers were not found to see. Of each partition two transactions are known at a time, so that it
/// is small however much is sent.
#[derive(Default, Debug)]
pub(super) struct Unseen(BTreeMap<PartitionRef, Partition>);

impl Unseen {
    /// A transaction has written up to `offset`, and is about to end.
    pub(super) fn note(&mut self, place: PartitionRef, offset: u64, now: Instant) {
        let newest = (offset, now);
        let fresh = Partition { awaited: newest, newest, seen: None };
        let known = self.0.entry(place).or_insert(fresh);
        // Offsets never fall: the topic is another one of the same name, or has lost its end.
        *known = if offset < known.newest.0 { fresh } else { Partition { newest, ..*known } };
    }

    /// Readers see what lies below `end`.
    fn see(&mut self, place: &PartitionRef, end: u64, now: Instant) {
        let Some(known) = self.0.get_mut(place) else { return };
        known.seen = Some((end, now));
        if end > known.newest.0 {
            self.0.remove(place);
        } else if end > known.awaited.0 {
            known.awaited = known.newest;
        }
    }

    /// What was written longer than `patience` before the newest look, which did not find it. Where nobody answers, nothing new is said.
    fn hidden(&self, patience: Duration, now: Instant) -> Option<Hidden> {
        let overdue = |partition: &&Partition| {
            let (offset, since) = partition.awaited;
            partition.seen.is_some_and(|(end, at)| end <= offset && at.saturating_duration_since(since) >= patience)
        };
        let hidden = self.0.iter().filter(|(_, partition)| overdue(partition));
        let ((place, oldest), others) =
            (hidden.clone().min_by_key(|(_, partition)| partition.awaited.1)?, hidden.count() - 1);
        let (offset, since) = oldest.awaited;
        let (age, end) = (now.saturating_duration_since(since), oldest.seen.map_or(0, |(end, _)| end));
        let more = if others == 0 { String::new() } else { format!(", and {others} more partitions stand still") };
        let detail = format!(
            "topic {}, partition {}: readers of committed messages see nothing from offset {end} on, and this sink wrote offset {offset}, \
             {} s ago{more}; a transaction, this sink's or anybody's, is open there: see \"Kafka shows no more of what was delivered\" in \
             the runbook",
            place.topic,
            place.partition,
            age.as_secs()
        );
        Some(Hidden { age, detail })
    }

    /// What is to be looked at, topic by topic.
    fn places(&self) -> BTreeMap<String, Vec<i32>> {
        let mut places: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for place in self.0.keys() {
            places.entry(place.topic.clone()).or_default().push(place.partition);
        }
        places
    }

    fn forget(&mut self, topic: &str) {
        self.0.retain(|place, _| place.topic != topic);
    }
}

/// When rows that are not seen are told of: a transaction of another producer like this one may lawfully be open until its own
/// timeout, and until a broker notices.
pub(super) fn patience(settings: &SinkSettings) -> Duration {
    2 * settings.transaction_timeout + EXPIRED_WITHIN
}

/// Looks again and again, on a thread that ends when what this gives is dropped.
pub(super) fn watch(
    cluster: Arc<dyn Cluster>,
    settings: &SinkSettings,
    activity: Arc<Activity>,
) -> std::io::Result<mpsc::Sender<()>> {
    let pause = settings.third().clamp(LOOK_MIN, LOOK_MAX);
    let (end, ended) = mpsc::channel();
    thread::Builder::new().name(format!("kafka-seen-{}", settings.owner.sink)).spawn(move || {
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            look(cluster.as_ref(), &activity.unseen);
        }
    })?;
    Ok(end)
}

/// One look at all partitions in which something may be unseen.
fn look(cluster: &dyn Cluster, unseen: &Mutex<Unseen>) {
    // Taken out first: nobody who commits or asks waits for an answer of the cluster.
    let places = lock(unseen).places();
    for (topic, partitions) in places {
        match cluster.visible_ends(&topic, &partitions, ASK_TIMEOUT) {
            Ok(ends) => {
                let (mut unseen, now) = (lock(unseen), Instant::now());
                for (partition, end) in ends {
                    unseen.see(&PartitionRef { topic: topic.clone(), partition }, end, now);
                }
            }
            // The topic was deleted, or nobody may look: that does not change until more is sent.
            Err(error) if error.trouble == Trouble::Refused => {
                tracing::debug!(%error, "cannot see how far a topic can be read");
                lock(unseen).forget(&topic);
            }
            Err(error) => tracing::debug!(%error, "cannot see how far a topic can be read; asked again"),
        }
    }
}

fn lock(unseen: &Mutex<Unseen>) -> MutexGuard<'_, Unseen> {
    unseen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Activity {
    /// Notes how far the messages of a transaction lie that is about to end.
    pub(super) fn note_written(&self, reached: Vec<(PartitionRef, u64)>) {
        let (mut unseen, now) = (lock(&self.unseen), Instant::now());
        reached.into_iter().for_each(|(place, offset)| unseen.note(place, offset, now));
    }

    /// Rows that were committed longer ago than `patience` and that readers don't see.
    pub(super) fn hidden(&self, patience: Duration) -> Option<Hidden> {
        lock(&self.unseen).hidden(patience, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(70);

    fn place(partition: i32) -> PartitionRef {
        PartitionRef { topic: "logs".to_owned(), partition }
    }

    /// A beginning, and moments after it in seconds.
    fn clock() -> impl Fn(u64) -> Instant {
        let begin = Instant::now();
        move |seconds| begin + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_seen_in_time_is_forgotten_and_never_told_of() {
        let (mut unseen, at) = (Unseen::default(), clock());
        unseen.note(place(0), 7, at(0));
        unseen.see(&place(0), 7, at(10));
        assert_eq!(unseen.hidden(PATIENCE, at(500)), None, "it was not looked at again since");
        unseen.note(place(0), 9, at(12));
        unseen.see(&place(0), 8, at(20));
        assert_eq!(unseen.hidden(PATIENCE, at(20)), None);
        assert_eq!(unseen.places().len(), 1, "the newer one is waited for now");
        unseen.see(&place(0), 9, at(81));
        assert_eq!(unseen.hidden(PATIENCE, at(81)), None, "since it was written, not since the older one was");
        unseen.see(&place(0), 10, at(90));
        assert_eq!((unseen.hidden(PATIENCE, at(90)), unseen.places().len()), (None, 0));
    }

    #[test]
    fn what_stays_unseen_is_told_of_until_it_is_seen_however_much_comes_behind_it() {
        let (mut unseen, at) = (Unseen::default(), clock());
        for second in 0..100 {
            unseen.note(place(3), 40 + second, at(second));
            unseen.note(place(4), second, at(second));
            unseen.see(&place(3), 30, at(second));
            unseen.see(&place(4), second, at(second));
            let hidden = unseen.hidden(PATIENCE, at(second));
            assert_eq!(hidden.is_some(), second >= 70, "at {second} s: {hidden:?}");
        }
        let hidden = unseen.hidden(PATIENCE, at(100)).unwrap();
        assert_eq!(hidden.age, Duration::from_secs(100));
        for words in ["topic logs, partition 3", "from offset 30 on", "wrote offset 40", "100 s ago; a transaction"] {
            assert!(hidden.detail.contains(words), "{words}: {}", hidden.detail);
        }
        unseen.see(&place(3), 200, at(101));
        assert_eq!(unseen.hidden(PATIENCE, at(101)), None);
    }

    #[test]
    fn the_oldest_of_several_partitions_is_named_and_the_others_are_counted() {
        let (mut unseen, at) = (Unseen::default(), clock());
        for partition in [2, 0, 1] {
            unseen.note(place(partition), 5, at(10 - u64::from(partition.unsigned_abs())));
            unseen.see(&place(partition), 5, at(200));
        }
        let hidden = unseen.hidden(PATIENCE, at(200)).unwrap();
        assert!(hidden.detail.contains("partition 2: ") && hidden.detail.contains("and 2 more"), "{}", hidden.detail);
    }

    #[test]
    fn a_topic_that_is_gone_or_made_anew_hides_nothing() {
        let (mut unseen, at) = (Unseen::default(), clock());
        unseen.note(place(0), 900, at(0));
        unseen.see(&place(0), 0, at(80));
        assert!(unseen.hidden(PATIENCE, at(80)).is_some());
        unseen.note(place(0), 2, at(81));
        assert_eq!(unseen.hidden(PATIENCE, at(81)), None, "its offsets begin again");
        unseen.see(&place(0), 0, at(200));
        assert!(unseen.hidden(PATIENCE, at(200)).is_some());
        unseen.forget("logs");
        assert_eq!(unseen.hidden(PATIENCE, at(200)), None);
    }
}
