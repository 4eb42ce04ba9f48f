//! The session over a cursor topic in memory: whose cursors are a twin's, after an answer that was lost too.
#![allow(clippy::unwrap_used)]

use super::*;
use sawlog_core::SinkId;
use sawlog_kafka::{Consumer, ConsumerOptions, Entry, NewTopic, Positions};
use sawlog_record::id::Cursor;

const G: Generation = Generation([1; 16]);

/// What a commit does.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Commit {
    #[default]
    Takes,
    /// It takes, and nobody hears of it.
    LosesAnswer,
}

type Messages = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Default)]
struct Log {
    committed: Messages,
    commit: Commit,
}

/// One partition in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Log>>);

struct Producer {
    memory: Memory,
    open: Messages,
}

impl TransactionalProducer for Producer {
    fn init(&mut self, _: Duration) -> Result<(), ClientError> {
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
        log.committed.append(&mut self.open);
        match log.commit {
            Commit::Takes => Ok(Committed::Fit),
            Commit::LosesAnswer => Err(ClientError::new("commit", Trouble::Unknown, "no answer")),
        }
    }
}

impl Cluster for Memory {
    fn producer(&self, _: &ProducerOptions) -> Result<Box<dyn TransactionalProducer>, ClientError> {
        Ok(Box::new(Producer { memory: self.clone(), open: Vec::new() }))
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
        Ok(Some(TopicFacts { partitions: cursors::PARTITIONS as usize, replicas: 1 }))
    }

    fn topic_setting(&self, _: &str, _: &str, _: Duration) -> Result<Option<String>, ClientError> {
        Ok(Some("compact".into()))
    }

    fn create_topics(&self, _: &[NewTopic], _: Duration) -> Result<Vec<String>, ClientError> {
        unreachable!("the topics are there")
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
        unreachable!("a sink reads through `read_until`")
    }

    fn id(&self, _: Duration) -> Result<String, ClientError> {
        Ok("memory".into())
    }
}

impl Memory {
    /// One life of the sink.
    fn life(&self) -> Session {
        let options = "{ brokers: ['h:1'], topic: logs }";
        let options: KafkaSink = serde_saphyr::from_str(options).unwrap();
        let owner = Owner { cluster: "c".into(), agent: "a".into(), sink: SinkId::new("out") };
        let settings = SinkSettings::of(&options, &owner, component::Provenance::None);
        Session::new(Arc::new(self.clone()), settings, Arc::default()).unwrap()
    }

    fn set_commit(&self, commit: Commit) {
        self.0.lock().unwrap().commit = commit;
    }
}

fn marks(pos: u64) -> BTreeMap<Generation, Mark> {
    BTreeMap::from([(G, Mark::at(Cursor::at(pos)))])
}

fn commit(session: &mut Session, pos: u64) {
    let marks: Vec<_> = marks(pos).into_iter().collect();
    assert!(session.commit(&[], &marks, &[]).unwrap().is_empty());
}

fn twins(session: &Session) -> (u64, bool) {
    let told = session.activity.twin.lock().unwrap().is_some();
    (session.activity.twins.load(Ordering::Relaxed), told)
}

#[test]
fn what_an_earlier_life_left_is_no_twin_though_the_answer_to_the_first_barrier_was_lost() {
    let memory = Memory::default();
    let mut earlier = memory.life();
    earlier.recover().unwrap();
    commit(&mut earlier, 5);
    drop(earlier);

    let mut session = memory.life();
    memory.set_commit(Commit::LosesAnswer);
    assert!(matches!(session.recover(), Err(SinkError::Unknown(_))));
    assert!(matches!(session.recover(), Err(SinkError::Unknown(_))));
    memory.set_commit(Commit::Takes);
    assert_eq!(session.recover().unwrap(), marks(5));
    assert_eq!(twins(&session), (0, false), "it had learnt nothing before that could have changed");

    // After an answer that was lost later on too.
    commit(&mut session, 6);
    memory.set_commit(Commit::LosesAnswer);
    assert!(matches!(session.recover(), Err(SinkError::Unknown(_))));
    memory.set_commit(Commit::Takes);
    assert_eq!(session.recover().unwrap(), marks(6));
    assert_eq!(twins(&session), (0, false));
}

#[test]
fn whoever_moves_cursors_that_this_life_has_learnt_is_a_twin() {
    let memory = Memory::default();
    let mut session = memory.life();
    session.recover().unwrap();
    commit(&mut session, 5);
    let mut other = memory.life();
    assert_eq!(other.recover().unwrap(), marks(5));
    commit(&mut other, 7);
    assert_eq!(twins(&other), (0, false), "it has only just come");
    assert_eq!(session.recover().unwrap(), marks(7));
    assert_eq!(twins(&session), (1, true));
    let names = session.activity.twin.lock().unwrap().take().unwrap();
    let name = |life: LifeId| format!("the producer's life {:032x}", u128::from_be_bytes(life));
    assert_eq!(names, (name(other.life), name(session.life)));
}

#[test]
fn a_topic_that_may_lose_what_it_acknowledged_is_told_of() {
    assert!(fragile(1, Some("false")).unwrap().contains("one copy"));
    assert!(fragile(3, Some("true")).unwrap().contains("unclean"));
    assert_eq!(fragile(3, Some("false")), None);
    assert_eq!(fragile(3, None), None, "a user that may not look");
}
