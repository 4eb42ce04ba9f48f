//! Open windows and their counters. Knows no batches: times, keys and watermarks come in, closed counters go out.

use sawlog_plugin::{FieldValue, LogRecord};
use std::collections::BTreeMap;

/// What is kept of a key, bytes.
const KEY_BYTES_MAX: usize = 256;
/// Where keys beyond the limit are counted.
const OTHER: &str = "(other)";

/// Counters by (window start, key), in the order in which they close.
#[derive(Debug, PartialEq, Eq)]
pub struct Windows {
    length: i64,
    keys_max: usize,
    open: BTreeMap<(i64, String), u64>,
}

/// One counter of a closed window.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    start: i64,
    end: i64,
    key: String,
    count: u64,
}

impl Windows {
    /// No windows of `length` nanoseconds yet.
    pub fn new(length: i64, keys_max: usize) -> Self {
        Self { length, keys_max, open: BTreeMap::new() }
    }

    fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.length)
    }

    /// Counts a record at `time` unless its window has closed by `watermark`; whether it was counted.
    pub fn count(&mut self, time: i64, key: &[u8], watermark: i64) -> bool {
        let start = time.div_euclid(self.length).saturating_mul(self.length);
        if self.end(start) <= watermark {
            return false;
        }
        let mut key = String::from_utf8_lossy(key).into_owned();
        key.truncate(key.floor_char_boundary(KEY_BYTES_MAX));
        let full = self.open.len() >= self.keys_max;
        let key = if full && !self.open.contains_key(&(start, key.clone())) { OTHER.to_owned() } else { key };
        *self.open.entry((start, key)).or_default() += 1;
        true
    }

    /// Takes out counters of windows that end at or before `watermark`, at most `max`.
    pub fn close(&mut self, watermark: i64, max: usize) -> Vec<Closed> {
        let mut closed = Vec::new();
        while closed.len() < max
            && let Some(entry) = self.open.first_entry()
            && entry.key().0.saturating_add(self.length) <= watermark
        {
            let ((start, key), count) = entry.remove_entry();
            closed.push(Closed { start, end: self.end(start), key, count });
        }
        closed
    }

    /// When the first open window ends.
    pub fn first_end(&self) -> Option<i64> {
        self.open.keys().next().map(|(start, _)| self.end(*start))
    }

    /// The state; the same counters give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let open: Vec<(i64, &str, u64)> = self.open.iter().map(|((s, k), n)| (*s, k.as_str(), *n)).collect();
        serde_json::to_vec(&open).expect("numbers and texts are always JSON")
    }

    /// Takes over what `to_bytes` gave.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        let open: Vec<(i64, String, u64)> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        self.open = open.into_iter().map(|(start, key, count)| ((start, key), count)).collect();
        Ok(())
    }
}

impl From<Closed> for LogRecord {
    fn from(closed: Closed) -> Self {
        LogRecord {
            timestamp: closed.end,
            fields: vec![
                ("window_start".into(), FieldValue::Integer(closed.start)),
                ("window_end".into(), FieldValue::Integer(closed.end)),
                ("key".into(), FieldValue::Text(closed.key)),
                ("count".into(), FieldValue::Integer(i64::try_from(closed.count).unwrap_or(i64::MAX))),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_once_and_late_records_are_not_counted() {
        let mut windows = Windows::new(10, 3);
        assert!(windows.count(3, b"a", i64::MIN) && windows.count(9, b"a", -5) && windows.count(-1, b"b", -5));
        assert_eq!(windows.first_end(), Some(0));
        let closed = windows.close(10, 1);
        assert_eq!((closed.len(), closed[0].key.as_str(), closed[0].end), (1, "b", 0));
        let closed = windows.close(10, 9);
        assert_eq!((closed.len(), closed[0].count), (1, 2));
        assert!(!windows.count(9, b"a", 10));
        assert_eq!(windows.first_end(), None);
    }

    #[test]
    fn too_many_keys_share_one_counter() {
        let mut windows = Windows::new(10, 2);
        for key in ["a", "b", "c", "d", "a"] {
            windows.count(1, key.as_bytes(), 0);
        }
        let closed = windows.close(10, 9);
        let counts: Vec<_> = closed.iter().map(|c| (c.key.as_str(), c.count)).collect();
        assert_eq!(counts, [(OTHER, 2), ("a", 2), ("b", 1)]);
    }

    #[test]
    fn state_reads_back() {
        let mut windows = Windows::new(10, 9);
        windows.count(1, b"a", 0);
        let mut again = Windows::new(10, 9);
        again.read(&windows.to_bytes()).expect("reads");
        assert_eq!(windows, again);
    }
}
