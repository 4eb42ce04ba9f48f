//! Which accept times may still come out of the shards: stamps of requests that are being stored, and of stored ones above the
//! floors. Bounds are lower bounds: they may be earlier than the truth, never later. It knows no requests and no clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stretches of one shard above which neighbours are joined.
const STRETCHES_MAX: usize = 1_024;

/// Accept times of one source, unix nanoseconds.
#[derive(Debug)]
pub struct Arrivals {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    newest: i64,
    /// How many requests that are being stored have this stamp.
    under_way: BTreeMap<i64, usize>,
    shards: Vec<VecDeque<Stretch>>,
}

/// Requests that lie below `end`, accepted at `oldest` or later.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    end: u64,
    oldest: i64,
}

impl Arrivals {
    /// Of so many shards.
    pub fn new(shards: u32) -> Self {
        let shards = (0..shards).map(|_| VecDeque::new()).collect();
        Self { state: Mutex::new(State { newest: i64::MIN, under_way: BTreeMap::new(), shards }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stamp of a request that is about to be stored; never falls. [`Self::settle`] must follow.
    pub fn begin(&self, now: i64) -> i64 {
        let mut state = self.lock();
        state.newest = state.newest.max(now);
        let stamp = state.newest;
        *state.under_way.entry(stamp).or_default() += 1;
        stamp
    }

    /// The request with `stamp` is stored somewhere below `end` of a shard, or was not stored.
    pub fn settle(&self, stamp: i64, stored: Option<(u32, u64)>) {
        let mut state = self.lock();
        if let Some((shard, end)) = stored {
            state.add(shard, Stretch { end, oldest: stamp });
        }
        if let Some(count) = state.under_way.get_mut(&stamp) {
            *count -= 1;
            if *count == 0 {
                state.under_way.remove(&stamp);
            }
        }
    }

    /// Requests of a former run lie below `end`, accepted at `oldest` or later.
    pub fn found(&self, shard: u32, end: u64, oldest: i64) {
        self.lock().add(shard, Stretch { end, oldest });
    }

    /// Nothing of a shard below `floor` will come out again.
    pub fn trim(&self, shard: u32, floor: u64) {
        if let Some(stretches) = self.lock().shards.get_mut(shard as usize) {
            stretches.retain(|stretch| stretch.end > floor);
        }
    }

    /// The lowest accept time that may still come out, also of requests that have not come in.
    pub fn oldest(&self, now: i64) -> i64 {
        let state = self.lock();
        let stored = state.shards.iter().flatten().map(|stretch| stretch.oldest);
        let under_way = state.under_way.keys().next().copied();
        stored.chain(under_way).min().unwrap_or(now.max(state.newest))
    }
}

impl State {
    fn add(&mut self, shard: u32, stretch: Stretch) {
        let Some(stretches) = self.shards.get_mut(shard as usize) else { return };
        stretches.push_back(stretch);
        if stretches.len() > STRETCHES_MAX {
            let join = |pair: &[Stretch]| Stretch {
                end: pair.iter().map(|s| s.end).max().unwrap_or(0),
                oldest: pair.iter().map(|s| s.oldest).min().unwrap_or(i64::MIN),
            };
            *stretches = stretches.make_contiguous().chunks(2).map(join).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_what_is_under_way_and_what_is_stored_above_the_floor() {
        let arrivals = Arrivals::new(2);
        assert_eq!(arrivals.oldest(5), 5);
        let (first, second) = (arrivals.begin(10), arrivals.begin(7));
        assert_eq!((first, second), (10, 10));
        assert_eq!(arrivals.oldest(50), 10);
        arrivals.settle(first, Some((0, 100)));
        arrivals.settle(second, None);
        assert_eq!(arrivals.oldest(50), 10);
        arrivals.trim(0, 99);
        arrivals.trim(1, 1_000);
        assert_eq!(arrivals.oldest(50), 10);
        arrivals.trim(0, 100);
        assert_eq!(arrivals.oldest(50), 50);
        assert_eq!(arrivals.oldest(3), 10, "a clock that went back stamps no earlier either");
    }

    #[test]
    fn joined_stretches_never_promise_too_much() {
        let arrivals = Arrivals::new(1);
        for n in 0..5_000 {
            let stamp = arrivals.begin(n);
            arrivals.settle(stamp, Some((0, n as u64 + 1)));
        }
        assert!(arrivals.lock().shards[0].len() <= STRETCHES_MAX);
        for floor in [0, 1, 17, 4_000, 4_999] {
            arrivals.trim(0, floor);
            assert!(arrivals.oldest(9_999) <= floor as i64, "floor {floor}");
        }
        arrivals.trim(0, 5_000);
        assert_eq!(arrivals.oldest(9_999), 9_999);
    }
}
