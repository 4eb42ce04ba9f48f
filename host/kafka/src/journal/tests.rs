//! The journal over a topic in memory: what a process that dies between any two steps leaves behind, and who is fenced.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    ClientError, Committed, Consumer, ConsumerOptions, Entry, Failure, Message, PartitionRef, Positions,
    ProducerOptions, TopicFacts, TransactionalProducer, Trouble,
};
use std::time::Instant;

/// What a commit does: a process may die before it, or after it without having heard so.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Commit {
    #[default]
    Takes,
    DiesBefore,
    DiesAfter,
    /// The client has asked twice.
    TakesTwice,
}

#[derive(Default)]
struct Log {
    committed: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Who opened a producer last: everybody before is fenced.
    owner: u64,
    commit: Commit,
}

/// One partition in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Log>>);

struct Producer {
    memory: Memory,
    me: u64,
    open: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl TransactionalProducer for Producer {
    fn init(&mut self, _: Duration) -> Result<(), ClientError> {
        let mut log = self.memory.0.lock().unwrap();
        log.owner += 1;
        self.me = log.owner;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), ClientError> {
        self.open.clear();
        Ok(())
    }

    fn send(&mut self, message: &Message<'_>, _: Instant) -> Result<(), ClientError> {
        self.open.push((message.key.unwrap().to_vec(), message.value.map(<[u8]>::to_vec)));
        Ok(())
    }

    fn settle(&mut self, _: Instant) -> Result<Vec<Failure>, ClientError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: Duration) -> Result<Committed, ClientError> {
        let mut log = self.memory.0.lock().unwrap();
        if log.owner != self.me {
            return Err(ClientError::new("commit", Trouble::Fenced, "a newer producer"));
        }
        if log.commit != Commit::DiesBefore {
            log.committed.append(&mut self.open);
        }
        match log.commit {
            Commit::Takes => Ok(Committed::Fit),
            Commit::TakesTwice => Ok(Committed::Spent),
            _ => Err(ClientError::new("commit", Trouble::Unknown, "no answer")),
        }
    }
}

impl Cluster for Memory {
    fn producer(&self, _: &ProducerOptions) -> Result<Box<dyn TransactionalProducer>, ClientError> {
        Ok(Box::new(Producer { memory: self.clone(), me: 0, open: Vec::new() }))
    }

    fn read_until(
        &self,
        _: &PartitionRef,
        _: Instant,
        each: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<(), ClientError> {
        let log = self.0.lock().unwrap();
        for (offset, (key, value)) in log.committed.iter().enumerate() {
            if each(Entry { offset: offset as i64, key: Some(key), value: value.as_deref(), time: None }) {
                return Ok(());
            }
        }
        Err(ClientError::new("read", Trouble::Unavailable, "no barrier"))
    }

    fn topic(&self, _: &str, _: Duration) -> Result<Option<TopicFacts>, ClientError> {
        Ok(Some(TopicFacts { partitions: PARTITIONS as usize, replicas: 1 }))
    }

    fn topic_setting(&self, _: &str, _: &str, _: Duration) -> Result<Option<String>, ClientError> {
        Ok(Some("compact".into()))
    }

    fn create_topics(&self, _: &[NewTopic], _: Duration) -> Result<Vec<String>, ClientError> {
        unreachable!("the topic is there")
    }

    fn topic_id(&self, _: &str, _: Duration) -> Result<[u8; 16], ClientError> {
        Ok([0; 16])
    }

    fn visible_ends(&self, _: &str, _: &[i32], _: Duration) -> Result<BTreeMap<i32, u64>, ClientError> {
        unreachable!("nobody looks")
    }

    fn topic_names(&self, _: Duration) -> Result<Vec<String>, ClientError> {
        Ok(Vec::new())
    }

    fn consumer(&self, _: &ConsumerOptions, _: Box<dyn Positions>) -> Result<Box<dyn Consumer>, ClientError> {
        unreachable!("a journal reads through `read_until`")
    }

    fn id(&self, _: Duration) -> Result<String, ClientError> {
        Ok("memory".into())
    }
}

impl Memory {
    async fn open(&self) -> (TopicJournal, Journalled) {
        let options = TopicJournalOptions {
            topic: "journals".into(),
            name: "group/source/topic-0".into(),
            transaction_timeout: Duration::from_secs(3),
        };
        let journal = TopicJournal::new(Arc::new(self.clone()), options).unwrap();
        let loaded = journal.load().await.unwrap();
        (journal, loaded)
    }

    /// What the next owner finds.
    async fn found(&self) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
        let (_, loaded) = self.open().await;
        (loaded.snapshot, loaded.records)
    }
}

fn record(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

#[tokio::test]
async fn what_is_appended_after_a_snapshot_began_outlives_it() {
    let memory = Memory::default();
    let (journal, _) = memory.open().await;
    // The thread is busy: everything below waits and goes out in as few transactions as it can.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    journal.worker.post(move |_| gate.recv().unwrap()).unwrap();
    let before = journal.append(record("before"), true);
    let snapshot = journal.snapshot(b"state with before".to_vec());
    let after = journal.append(record("after"), true);
    go.send(()).unwrap();
    before.await.unwrap();
    snapshot.await.unwrap();
    after.await.unwrap();
    assert_eq!(memory.found().await, (Some(b"state with before".to_vec()), record("after")));
}

#[tokio::test]
async fn a_snapshot_replaces_what_earlier_lives_left_too() {
    let memory = Memory::default();
    let (journal, _) = memory.open().await;
    journal.append(record("one"), true).await.unwrap();
    let (journal, loaded) = memory.open().await;
    assert_eq!(loaded.records, record("one"));
    journal.append(record("two"), true).await.unwrap();
    journal.snapshot(b"both".to_vec()).await.unwrap();
    journal.append(record("three"), true).await.unwrap();
    assert_eq!(memory.found().await, (Some(b"both".to_vec()), record("three")));
}

#[tokio::test]
async fn the_former_owner_is_fenced_by_opening() {
    let memory = Memory::default();
    let (former, _) = memory.open().await;
    former.append(record("mine"), true).await.unwrap();
    let (present, loaded) = memory.open().await;
    assert_eq!(loaded.records, record("mine"));
    assert!(former.confirm().await.unwrap_err().to_string().contains("another agent has the partition"));
    assert!(former.append(record("late"), true).await.is_err());
    assert!(former.failure().await.to_string().contains("another agent"));
    present.append(record("next"), true).await.unwrap();
    assert_eq!(memory.found().await.1, [record("mine"), record("next")].concat());
}

#[tokio::test]
async fn a_death_before_or_after_any_commit_leaves_all_of_it_or_nothing() {
    for commit in [Commit::DiesBefore, Commit::DiesAfter] {
        let memory = Memory::default();
        let (journal, _) = memory.open().await;
        journal.append(record("kept"), true).await.unwrap();
        memory.0.lock().unwrap().commit = commit;
        let snapshot = journal.snapshot(b"state with kept".to_vec()).await;
        assert!(snapshot.is_err());
        // After an error nothing is told to be durable any more, whatever the broker would say.
        memory.0.lock().unwrap().commit = Commit::Takes;
        assert!(journal.append(record("never"), true).await.is_err());
        let expected = match commit {
            Commit::DiesBefore => (None, record("kept")),
            _ => (Some(b"state with kept".to_vec()), Vec::new()),
        };
        assert_eq!(memory.found().await, expected);
    }
}

#[tokio::test]
async fn nothing_follows_a_commit_that_was_asked_for_twice() {
    let memory = Memory::default();
    let (journal, _) = memory.open().await;
    memory.0.lock().unwrap().commit = Commit::TakesTwice;
    journal.append(record("kept"), true).await.unwrap();
    memory.0.lock().unwrap().commit = Commit::Takes;
    assert!(journal.append(record("never"), true).await.unwrap_err().to_string().contains("asked for twice"));
    assert_eq!(memory.found().await, (None, record("kept")));
}

#[tokio::test]
async fn blobs_outlive_their_owner_until_they_are_let_go() {
    let memory = Memory::default();
    let (journal, _) = memory.open().await;
    let digest = journal.put_blob(vec![7; 1 << 20]).await.unwrap();
    let gone = journal.put_blob(b"gone".to_vec()).await.unwrap();
    journal.retain_blobs(vec![digest]).await.unwrap();
    assert_eq!(journal.get_blob(digest).await.unwrap(), Some(vec![7; 1 << 20]));
    let (next, _) = memory.open().await;
    assert_eq!(next.get_blob(digest).await.unwrap(), Some(vec![7; 1 << 20]));
    assert_eq!(next.get_blob(gone).await.unwrap(), None);
}
