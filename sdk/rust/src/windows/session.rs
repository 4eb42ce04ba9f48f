//! Which open sessions a key has, by time. Knows their places only; what they gather is kept where all windows are.

use super::Place;
use std::collections::BTreeMap;

/// (start, end) of the open sessions of each key, ascending.
#[derive(Debug, Default)]
pub struct Sessions {
    by_key: BTreeMap<String, Vec<(i64, i64)>>,
}

/// Whether a row at `time` belongs to the session: it is less than `gap` from one of its rows.
fn joins((start, end): (i64, i64), time: i64, gap: i64) -> bool {
    time < end && start.saturating_sub(gap) < time
}

impl Sessions {
    /// Whether a row of `key` at `time` belongs to an open session.
    pub fn has(&self, key: &str, time: i64, gap: i64) -> bool {
        self.by_key.get(key).is_some_and(|sessions| sessions.iter().any(|one| joins(*one, time, gap)))
    }

    /// Takes out the sessions that a row of `key` at `time` belongs to, in their order: two if it joins them.
    pub fn take(&mut self, key: &str, time: i64, gap: i64) -> Vec<Place> {
        let Some(sessions) = self.by_key.get_mut(key) else { return Vec::new() };
        let taken: Vec<(i64, i64)> = sessions.extract_if(.., |one| joins(*one, time, gap)).collect();
        taken.into_iter().map(|(start, end)| Place { end, key: key.to_owned(), start }).collect()
    }

    /// Adds a session.
    pub fn insert(&mut self, place: &Place) {
        let sessions = self.by_key.entry(place.key.clone()).or_default();
        let at = sessions.partition_point(|one| *one < (place.start, place.end));
        sessions.insert(at, (place.start, place.end));
    }

    /// Forgets a session, if it is one.
    pub fn remove(&mut self, place: &Place) {
        let Some(sessions) = self.by_key.get_mut(&place.key) else { return };
        sessions.retain(|one| *one != (place.start, place.end));
        if sessions.is_empty() {
            self.by_key.remove(&place.key);
        }
    }
}
