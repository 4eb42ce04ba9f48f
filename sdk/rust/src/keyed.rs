//! Something remembered per key, bounded in number and forgotten with event time. Knows no rows.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Values by key. Beyond the limit the key that was touched longest ago (in event time, then by its text) is forgotten, so the
/// same rows leave the same keys wherever batches are cut.
#[derive(Debug)]
pub struct Keyed<V> {
    keys_max: usize,
    values: BTreeMap<String, (i64, V)>,
    by_time: BTreeSet<(i64, String)>,
}

impl<V> Keyed<V> {
    /// No keys yet, and never more than `keys_max`.
    pub fn new(keys_max: usize) -> Self {
        Self { keys_max: keys_max.max(1), values: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    /// The value of `key`, to change. It keeps its time.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.values.get_mut(key).map(|(_, value)| value)
    }

    /// Sets the value of `key`, touched at `time` (unix nanoseconds) or later if it already was. Gives what had to be forgotten
    /// for it.
    pub fn set(&mut self, key: &str, time: i64, value: V) -> Option<(String, V)> {
        let before = self.remove(key).map(|(touched, _)| touched);
        let time = before.map_or(time, |touched| touched.max(time));
        let forgotten = if self.values.len() >= self.keys_max { self.pop_oldest() } else { None };
        self.by_time.insert((time, key.to_owned()));
        self.values.insert(key.to_owned(), (time, value));
        forgotten
    }

    fn pop_oldest(&mut self) -> Option<(String, V)> {
        let (_, key) = self.by_time.pop_first()?;
        let (_, value) = self.values.remove(&key)?;
        Some((key, value))
    }

    /// Takes out `key`: when it was touched, and its value.
    pub fn remove(&mut self, key: &str) -> Option<(i64, V)> {
        let (time, value) = self.values.remove(key)?;
        self.by_time.remove(&(time, key.to_owned()));
        Some((time, value))
    }

    /// Takes out the oldest key if it was touched before `time` (unix nanoseconds).
    pub fn pop_before(&mut self, time: i64) -> Option<(String, V)> {
        (self.by_time.first()?.0 < time).then(|| self.pop_oldest()).flatten()
    }

    /// When the oldest key was touched, unix nanoseconds.
    pub fn oldest(&self) -> Option<i64> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<V: Serialize + DeserializeOwned> Keyed<V> {
    /// The state as JSON; the same keys give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.values).expect("the values have texts as keys, if they have maps")
    }

    /// Takes over what [`Keyed::to_bytes`] gave.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.values = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        self.by_time = self.values.iter().map(|(key, (time, _))| (*time, key.clone())).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_touched_longest_ago_goes_first() {
        let mut keyed = Keyed::new(2);
        assert_eq!(keyed.set("a", 5, 1), None);
        assert_eq!(keyed.set("b", 3, 2), None);
        assert_eq!(keyed.set("b", 1, 3), None); // an out-of-order row makes nothing older
        assert_eq!(keyed.set("c", 4, 4), Some(("b".into(), 3)));
        assert_eq!((keyed.oldest(), keyed.pop_before(4)), (Some(4), None));
        assert_eq!(keyed.pop_before(5), Some(("c".into(), 4)));
        let mut again = Keyed::<i32>::new(2);
        again.read(&keyed.to_bytes()).expect("reads");
        assert_eq!((again.get("a"), again.len(), again.oldest()), (Some(&1), 1, Some(5)));
    }
}
