//! Cursors as messages of the cursor topic: keys, values, the barrier, and what a partition full of them says. Knows nothing
//! of producers and consumers.

use super::Owner;
use sawlog_core::journal::Mark;
use sawlog_record::id::{Generation, hash};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions over which owners are spread. Never changed: a cursor is found again by this number. A topic may have more.
pub const PARTITIONS: i32 = 16;

/// First byte of every value.
const FORMAT: u8 = 1;

/// Random bits of one life of a sink: who wrote a cursor.
pub type LifeId = [u8; 16];

#[derive(Serialize, Deserialize)]
struct Written {
    life: LifeId,
    mark: Mark,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Barrier {
    life: LifeId,
    recovery: u64,
}

/// Keys of one owner's cursors.
#[derive(Clone, Debug)]
pub struct Keys {
    cursor_prefix: String,
    barrier: String,
    looked: String,
    retired: String,
}

impl Keys {
    /// Keys of `owner`.
    pub fn of(owner: &Owner) -> Self {
        let owner = format!("{}/{}", escaped(&owner.agent), escaped(owner.sink.as_str()));
        Self {
            cursor_prefix: format!("cursor/{owner}/"),
            barrier: format!("barrier/{owner}"),
            looked: format!("looked/{owner}"),
            retired: format!("retired/{owner}"),
        }
    }

    /// Key of a generation's cursor.
    pub fn cursor(&self, generation: Generation) -> String {
        format!("{}{generation}", self.cursor_prefix)
    }

    /// Key of the barrier.
    pub fn barrier(&self) -> &str {
        &self.barrier
    }

    /// Key of the message that says that the owner's agent was retired.
    pub fn retired(&self) -> &str {
        &self.retired
    }

    /// Whether only the owner writes under this key.
    pub fn is_of_owner(&self, key: &[u8]) -> bool {
        key == self.barrier.as_bytes() || key.starts_with(self.cursor_prefix.as_bytes())
    }

    /// The same keys for somebody who looks and is not the owner: with a barrier that the owner takes no notice of.
    pub fn of_a_stranger(&self) -> Self {
        Self { barrier: self.looked.clone(), ..self.clone() }
    }
}

/// The partition that holds an owner's cursors.
pub fn partition(owner: &Owner) -> i32 {
    let digest = hash("sawlog.kafka.cursors", &[owner.agent.as_bytes(), owner.sink.as_str().as_bytes()]);
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (number % PARTITIONS.unsigned_abs()).cast_signed()
}

/// A name without the character that parts a key.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// Value of a cursor.
pub fn cursor_value(life: LifeId, mark: &Mark) -> Result<Vec<u8>, String> {
    encoded(&Written { life, mark: mark.clone() })
}

/// Value of the message that says that the owner's agent was retired, at `time`, unix nanoseconds.
pub fn retired_value(time: i64) -> Result<Vec<u8>, String> {
    encoded(&time)
}

/// Value of the barrier of a life's `recovery`th recovery.
pub fn barrier_value(life: LifeId, recovery: u64) -> Result<Vec<u8>, String> {
    encoded(&Barrier { life, recovery })
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    postcard::to_extend(value, vec![FORMAT]).map_err(|error| format!("cannot write a cursor: {error}"))
}

fn decoded<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, String> {
    let wrong = |what: String| {
        format!(
            "the cursor topic's message `{key}` {what}; use the version that wrote it, or give the sink up with `remove: {{ NAME: forget }}`"
        )
    };
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| wrong(format!("is damaged: {error}"))),
        Some((format, _)) => Err(wrong(format!("is of format {format}, and this version reads {FORMAT}"))),
        None => Err(wrong("is empty".to_owned())),
    }
}

/// What the messages of a cursor partition say about one owner, up to a barrier.
pub struct Replay<'a> {
    keys: &'a Keys,
    barrier: Vec<u8>,
    marks: BTreeMap<Generation, Mark>,
    /// Who wrote the newest message of each key.
    writers: BTreeMap<String, LifeId>,
    retired: Option<i64>,
}

impl<'a> Replay<'a> {
    /// Reads up to `barrier`.
    pub fn until(keys: &'a Keys, barrier: Vec<u8>) -> Self {
        Self { keys, barrier, marks: BTreeMap::new(), writers: BTreeMap::new(), retired: None }
    }

    /// Takes the next message; true where it was the barrier.
    pub fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, String> {
        let Ok(key) = std::str::from_utf8(key) else { return Ok(false) };
        if key == self.keys.barrier {
            if value == Some(&self.barrier) {
                return Ok(true);
            }
            if let Some(value) = value {
                self.writers.insert(key.to_owned(), decoded::<Barrier>(key, value)?.life);
            }
            return Ok(false);
        }
        if key == self.keys.retired {
            self.retired = value.map(|value| decoded::<i64>(key, value)).transpose()?;
            return Ok(false);
        }
        let Some(generation) = key.strip_prefix(&self.keys.cursor_prefix).and_then(Generation::parse) else {
            return Ok(false);
        };
        match value {
            Some(value) => {
                let written: Written = decoded(key, value)?;
                self.writers.insert(key.to_owned(), written.life);
                self.marks.insert(generation, written.mark);
            }
            None => {
                self.writers.remove(key);
                self.marks.remove(&generation);
            }
        }
        Ok(false)
    }

    /// When the owner's agent was retired, unix nanoseconds; `None` where it was not.
    pub fn retired(&self) -> Option<i64> {
        self.retired
    }

    /// Lives that wrote the newest message of some key.
    pub fn lives(&self) -> BTreeSet<LifeId> {
        self.writers.values().copied().collect()
    }

    /// Cursors whose newest message `life` wrote.
    pub fn written_by(&self, life: &LifeId) -> impl Iterator<Item = (Generation, &Mark)> {
        let mine = move |generation: &Generation| self.writers.get(&self.keys.cursor(*generation)) == Some(life);
        self.marks.iter().filter(move |(generation, _)| mine(generation)).map(|(generation, mark)| (*generation, mark))
    }

    /// The committed cursors.
    pub fn into_marks(self) -> BTreeMap<Generation, Mark> {
        self.marks
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sawlog_core::SinkId;
    use sawlog_core::journal::Standing;
    use sawlog_record::id::Cursor;

    fn owner(agent: &str, sink: &str) -> Owner {
        Owner { cluster: "c".into(), agent: agent.into(), sink: SinkId::new(sink) }
    }

    fn mark(pos: u64) -> Mark {
        Mark::from(Standing { cursor: Cursor::at(pos), anchor: [1, 2].into(), ..Standing::default() })
    }

    #[test]
    fn replay_keeps_the_newest_cursor_of_each_generation_up_to_the_barrier() {
        let (mine, other) = (Keys::of(&owner("a", "k")), Keys::of(&owner("a", "k2")));
        let (g, h) = (Generation([1; 16]), Generation([2; 16]));
        let (life, barrier) = ([7; 16], barrier_value([8; 16], 3).unwrap());
        let mut replay = Replay::until(&mine, barrier.clone());
        let mut take = |key: &str, value: Option<Vec<u8>>| replay.take(key.as_bytes(), value.as_deref()).unwrap();
        assert!(!take(&mine.cursor(g), Some(cursor_value(life, &mark(5)).unwrap())));
        assert!(!take(&mine.cursor(h), Some(cursor_value(life, &mark(6)).unwrap())));
        assert!(!take(&other.cursor(g), Some(cursor_value(life, &mark(99)).unwrap())));
        assert!(!take(mine.barrier(), Some(barrier_value([8; 16], 2).unwrap())));
        assert!(!take(&mine.cursor(g), Some(cursor_value(life, &mark(9)).unwrap())));
        assert!(!take(&mine.cursor(h), None));
        assert!(take(mine.barrier(), Some(barrier)));
        assert_eq!(replay.into_marks(), BTreeMap::from([(g, mark(9))]));
    }

    #[test]
    fn a_stranger_finds_what_the_owner_holds_by_a_barrier_of_its_own() {
        let mine = Keys::of(&owner("a", "k"));
        let (theirs, g, life) = (mine.of_a_stranger(), Generation([1; 16]), [7; 16]);
        let barrier = barrier_value([8; 16], 0).unwrap();
        let mut replay = Replay::until(&theirs, barrier.clone());
        let mut take = |key: &str, value: Option<Vec<u8>>| replay.take(key.as_bytes(), value.as_deref()).unwrap();
        assert!(!take(&mine.cursor(g), Some(cursor_value(life, &mark(5)).unwrap())));
        assert!(!take(mine.barrier(), Some(barrier.clone())), "the owner's barrier is not its own");
        assert!(!take(mine.retired(), Some(retired_value(77).unwrap())));
        assert!(take(theirs.barrier(), Some(barrier.clone())));
        assert_eq!(replay.retired(), Some(77));
        assert_eq!(replay.into_marks(), BTreeMap::from([(g, mark(5))]));
        let is_of_owner = |key: &str| mine.is_of_owner(key.as_bytes());
        assert!(is_of_owner(mine.barrier()) && is_of_owner(&mine.cursor(g)));
        assert!(!is_of_owner(theirs.barrier()) && !is_of_owner(mine.retired()));
        let mut owner = Replay::until(&mine, vec![]);
        assert!(!owner.take(theirs.barrier().as_bytes(), Some(&barrier)).unwrap());
        assert_eq!(owner.lives(), BTreeSet::new(), "who looks is no twin");
    }

    #[test]
    fn owners_never_share_a_key() {
        let g = Generation([1; 16]);
        assert_ne!(Keys::of(&owner("a/b", "c")).cursor(g), Keys::of(&owner("a", "b/c")).cursor(g));
        assert_ne!(Keys::of(&owner("a%2Fb", "c")).cursor(g), Keys::of(&owner("a/b", "c")).cursor(g));
    }

    #[test]
    fn a_value_of_another_format_is_refused_with_a_remedy() {
        let keys = Keys::of(&owner("a", "k"));
        let mut replay = Replay::until(&keys, vec![]);
        let error = replay.take(keys.cursor(Generation([1; 16])).as_bytes(), Some(&[2, 0])).unwrap_err();
        assert!(error.contains("format 2") && error.contains("forget }"), "{error}");
    }
}
