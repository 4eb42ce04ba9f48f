//! Event-time windows: tumbling, sliding, sessions, and windows of so many records. Knows keys, times and watermarks; what is
//! gathered is the plugin's matter. Everything happens row by row, so the cut of batches never shows.
//!
//! ```
//! use sawlog_plugin::windows::{Gather, Kind, Windows};
//!
//! #[derive(Default, serde::Serialize, serde::Deserialize)]
//! struct Count(u64);
//! impl Gather for Count {
//!     fn merge(&mut self, later: Self) {
//!         self.0 += later.0;
//!     }
//! }
//!
//! let mut windows = Windows::new(Kind::Tumbling { length: 10 }, 100);
//! for time in [1, 9, 3] {
//!     windows.add("a", time, i64::MIN, |count: &mut Count| count.0 += 1);
//! }
//! let closed = windows.close(10, usize::MAX);
//! assert_eq!((closed[0].start, closed[0].end, closed[0].gathered.0), (0, 10, 3));
//! ```

mod session;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use session::Sessions;
use std::collections::{BTreeMap, VecDeque};

/// What is kept of a key, bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Where keys beyond the limit are gathered.
pub const OTHER_KEY: &str = "(other)";

/// What a window gathers from its rows.
pub trait Gather: Default + Serialize + DeserializeOwned {
    /// Takes in what another part of the same window has gathered: two sessions that a row between them joined.
    fn merge(&mut self, later: Self);
}

/// How time is cut. Nanoseconds, all above 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Windows of `length`, one after the other.
    Tumbling {
        /// Of a window.
        length: i64,
    },
    /// Windows of `length` that begin every `step`; a row is in all that cover it.
    Sliding {
        /// Of a window.
        length: i64,
        /// From one window's start to the next one's, at most `length`.
        step: i64,
    },
    /// Rows of a key that are less than `gap` apart. The window ends `gap` behind its last row.
    Session {
        /// The silence that ends it.
        gap: i64,
    },
    /// So many rows of a key, whatever their time.
    Count {
        /// How many.
        rows: u64,
    },
}

/// A window that is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closed<G> {
    /// Of its rows.
    pub key: String,
    /// Its first moment, unix nanoseconds: of sessions and counts the time of the earliest row.
    pub start: i64,
    /// The moment behind its last, unix nanoseconds; of counts the time of the latest row.
    pub end: i64,
    /// What its rows gave.
    pub gathered: G,
}

/// Open windows. State that a [`Stateful`](crate::Stateful) plugin keeps; [`Windows::to_bytes`] goes into its snapshot.
#[derive(Debug)]
pub struct Windows<G> {
    kind: Kind,
    open_max: usize,
    open: BTreeMap<Place, G>,
    sessions: Sessions,
    /// Windows of counts, by key, with the rows so far.
    counting: BTreeMap<String, (u64, Closed<G>)>,
    full: VecDeque<Closed<G>>,
}

/// Windows in the order in which they close.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub end: i64,
    pub key: String,
    pub start: i64,
}

impl<G: Gather> Windows<G> {
    /// No windows yet. At most `open_max` are open at a time; rows of further keys are gathered under [`OTHER_KEY`].
    pub fn new(kind: Kind, open_max: usize) -> Self {
        let lengths = match kind {
            Kind::Tumbling { length } => [length, 1],
            Kind::Sliding { length, step } => [step, 1 + length - step],
            Kind::Session { gap } => [gap, 1],
            Kind::Count { rows } => [i64::try_from(rows).unwrap_or(i64::MAX), 1],
        };
        assert!(lengths.iter().all(|n| *n > 0), "lengths of windows are above 0, a step is no longer than its window");
        Self {
            kind,
            open_max,
            open: BTreeMap::new(),
            sessions: Sessions::default(),
            counting: BTreeMap::new(),
            full: VecDeque::new(),
        }
    }

    /// Gathers a row of `key` at `time` in every window that it belongs to and that has not closed by `watermark`, the
    /// watermark before the row. False if there is none: the row is late.
    pub fn add(&mut self, key: &str, time: i64, watermark: i64, put: impl Fn(&mut G)) -> bool {
        let key = &key[..key.floor_char_boundary(KEY_BYTES_MAX)];
        match self.kind {
            Kind::Tumbling { length } => self.add_at(key, floor(time, length), length, watermark, put),
            Kind::Sliding { length, step } => {
                let last = floor(time, step);
                // Until the window before it would begin before time does.
                let starts = (0..).map_while(|back: i64| last.checked_sub(step.checked_mul(back)?));
                let covering = starts.take_while(|start| time.saturating_sub(*start) < length);
                // The earliest window first; no short circuit: every window takes the row.
                let starts: Vec<i64> = covering.collect();
                starts
                    .into_iter()
                    .rev()
                    .fold(false, |any, start| self.add_at(key, start, length, watermark, &put) | any)
            }
            Kind::Session { gap } => self.add_session(key, time, gap, watermark, put),
            Kind::Count { rows } => {
                self.add_counted(key, time, rows, put);
                true
            }
        }
    }

    fn add_at(&mut self, key: &str, start: i64, length: i64, watermark: i64, put: impl Fn(&mut G)) -> bool {
        let end = start.saturating_add(length);
        if end <= watermark {
            return false;
        }
        let mut place = Place { end, key: key.to_owned(), start };
        if self.open.len() >= self.open_max && !self.open.contains_key(&place) {
            place.key = OTHER_KEY.to_owned();
        }
        put(self.open.entry(place).or_default());
        true
    }

    fn add_session(&mut self, key: &str, time: i64, gap: i64, watermark: i64, put: impl Fn(&mut G)) -> bool {
        let is_new = !self.sessions.has(key, time, gap);
        if is_new && time.saturating_add(gap) <= watermark {
            return false;
        }
        let key = if is_new && self.open.len() >= self.open_max { OTHER_KEY } else { key };
        let joined = self.sessions.take(key, time, gap);
        let mut place = Place { end: time.saturating_add(gap), key: key.to_owned(), start: time };
        let mut gathered = G::default();
        for part in joined {
            if let Some(earlier) = self.open.remove(&part) {
                gathered.merge(earlier);
            }
            place = Place { end: place.end.max(part.end), start: place.start.min(part.start), key: part.key };
        }
        put(&mut gathered);
        self.sessions.insert(&place);
        self.open.insert(place, gathered);
        true
    }

    fn add_counted(&mut self, key: &str, time: i64, rows: u64, put: impl Fn(&mut G)) {
        let is_full = self.counting.len() >= self.open_max && !self.counting.contains_key(key);
        let key = if is_full { OTHER_KEY } else { key };
        let first = || (0, Closed { key: key.to_owned(), start: time, end: time, gathered: G::default() });
        let (count, window) = self.counting.entry(key.to_owned()).or_insert_with(first);
        put(&mut window.gathered);
        (window.start, window.end) = (window.start.min(time), window.end.max(time));
        *count += 1;
        if *count >= rows {
            self.full.extend(self.counting.remove(key).map(|(_, window)| window));
        }
    }

    /// Takes out windows that are over at `watermark`, at most `max`, in the order of their ends and keys. What one row gives
    /// rise to is bounded by the host: call it with a bound after every row, the rest follows at the next ones. The largest
    /// watermark, the end of the partition, closes every window.
    pub fn close(&mut self, watermark: i64, max: usize) -> Vec<Closed<G>> {
        let mut closed: Vec<Closed<G>> = Vec::new();
        while closed.len() < max {
            closed.push(match self.next(watermark) {
                Some(window) => window,
                None => break,
            });
        }
        closed
    }

    fn next(&mut self, watermark: i64) -> Option<Closed<G>> {
        if let Some(window) = self.full.pop_front() {
            return Some(window);
        }
        if watermark == i64::MAX
            && let Some((_, (_, window))) = self.counting.pop_first()
        {
            return Some(window);
        }
        let entry = self.open.first_entry().filter(|entry| entry.key().end <= watermark)?;
        let (place, gathered) = entry.remove_entry();
        self.sessions.remove(&place);
        Some(Closed { key: place.key, start: place.start, end: place.end, gathered })
    }

    /// When the first open window ends, for [`Edits::wake_at`](crate::Edits::wake_at); `None` if time closes none.
    pub fn first_end(&self) -> Option<i64> {
        self.open.keys().next().map(|place| place.end)
    }

    /// What the open windows have gathered so far, in the order in which they close.
    pub fn gathered(&self) -> impl Iterator<Item = &G> {
        self.open.values().chain(self.counting.values().map(|(_, window)| &window.gathered))
    }

    /// Number of open windows.
    pub fn len(&self) -> usize {
        self.open.len() + self.counting.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state as JSON; the same windows give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let open: Vec<(&Place, &G)> = self.open.iter().collect();
        let counting: Vec<&(u64, Closed<G>)> = self.counting.values().collect();
        serde_json::to_vec(&(open, counting, &self.full)).expect("what is gathered has texts as keys, if it has maps")
    }

    /// Takes over what [`Windows::to_bytes`] gave.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        type State<G> = (Vec<(Place, G)>, Vec<(u64, Closed<G>)>, VecDeque<Closed<G>>);
        let (open, counting, full): State<G> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        self.sessions = Sessions::default();
        if matches!(self.kind, Kind::Session { .. }) {
            open.iter().for_each(|(place, _)| self.sessions.insert(place));
        }
        self.open = open.into_iter().collect();
        self.counting = counting.into_iter().map(|one| (one.1.key.clone(), one)).collect();
        self.full = full;
        Ok(())
    }
}

/// The largest multiple of `step` that is not above `time`.
fn floor(time: i64, step: i64) -> i64 {
    time.div_euclid(step).saturating_mul(step)
}
