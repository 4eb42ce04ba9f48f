//! How much of the queue one client may hold: what it sent and what is not delivered yet. Who has used up its own part is told so,
//! while all others are let in. It is counted in memory, from the process's start on: what was stored before belongs to nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The parts of all clients.
#[derive(Debug)]
pub struct Quotas {
    /// What each may hold, in bytes of records; `None`: all that there is.
    bytes_max: Option<u64>,
    inner: Mutex<Inner>,
}

/// Requests by the address behind them, and a number that tells apart those that share one: whose they are, and their bytes.
type Stored = BTreeMap<(u64, u64), (Arc<str>, u64)>;

#[derive(Debug, Default)]
struct Inner {
    held: BTreeMap<Arc<str>, u64>,
    /// By shard.
    stored: BTreeMap<u32, Stored>,
    /// Where each shard begins by now.
    floors: BTreeMap<u32, u64>,
    next: u64,
}

impl Inner {
    fn give_back(&mut self, client: &Arc<str>, bytes: u64) {
        let Some(held) = self.held.get_mut(client) else { return };
        *held = held.saturating_sub(bytes);
        if *held == 0 {
            self.held.remove(client);
        }
    }
}

/// What a request takes of its client's part until it is stored. Dropping it gives that back.
#[derive(Debug)]
pub struct Part {
    quotas: Arc<Quotas>,
    client: Arc<str>,
    bytes: u64,
}

impl Quotas {
    /// Parts of `bytes_max` bytes.
    pub fn new(bytes_max: Option<u64>) -> Arc<Self> {
        Arc::new(Self { bytes_max, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` of the part of `client`; `None` where it has less than that left.
    pub fn take(self: &Arc<Self>, client: &str, bytes: u64) -> Option<Part> {
        let client: Arc<str> = client.into();
        if let Some(bytes_max) = self.bytes_max {
            let mut inner = self.lock();
            let held = inner.held.get(&client).copied().unwrap_or(0);
            if held >= bytes_max || held + bytes > bytes_max {
                return None;
            }
            if bytes > 0 {
                inner.held.insert(client.clone(), held + bytes);
            }
        }
        Some(Part { quotas: self.clone(), client, bytes })
    }

    /// Nothing of a shard below `floor` is in the queue any more.
    pub fn freed(&self, shard: u32, floor: u64) {
        if self.bytes_max.is_none() {
            return;
        }
        let mut inner = self.lock();
        // The highest stands for a shard that nobody needs just now, whatever comes into it.
        if floor < u64::MAX {
            inner.floors.insert(shard, floor);
        }
        let Some(stored) = inner.stored.get_mut(&shard) else { return };
        let kept = stored.split_off(&(floor.saturating_add(1), 0));
        for (client, bytes) in std::mem::replace(stored, kept).into_values() {
            inner.give_back(&client, bytes);
        }
    }
}

impl Part {
    /// The request is stored in `shard`, and ends at `end` or before: its client holds this until the queue lets go of it.
    pub fn keep(mut self, shard: u32, end: u64) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 || self.quotas.bytes_max.is_none() {
            return;
        }
        let mut inner = self.quotas.lock();
        // It may have been delivered, and let go of, since it was stored.
        if inner.floors.get(&shard).is_some_and(|floor| end <= *floor) {
            return inner.give_back(&self.client, bytes);
        }
        inner.next += 1;
        let place = (end, inner.next);
        inner.stored.entry(shard).or_default().insert(place, (self.client.clone(), bytes));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.bytes > 0 && self.quotas.bytes_max.is_some() {
            self.quotas.lock().give_back(&self.client, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_client_stores_is_its_own_until_the_queue_lets_go_of_it() {
        let quotas = Quotas::new(Some(100));
        quotas.take("one", 60).unwrap().keep(0, 1_000);
        quotas.take("one", 30).unwrap().keep(1, 500);
        assert!(quotas.take("one", 20).is_none());
        assert!(quotas.take("two", 100).is_some(), "another has a part of its own");
        quotas.freed(0, 999);
        assert!(quotas.take("one", 20).is_none(), "a part of the request may still be read");
        quotas.freed(0, 1_000);
        assert!(quotas.take("one", 70).is_some());
        quotas.freed(1, 500);
        assert!(quotas.lock().held.is_empty());
        let late = quotas.take("one", 100).unwrap();
        quotas.freed(1, 900);
        late.keep(1, 900);
        assert!(quotas.lock().held.is_empty(), "it was let go of before it was noted as stored");
    }

    #[test]
    fn a_request_that_comes_to_nothing_gives_back_what_it_took() {
        let quotas = Quotas::new(Some(100));
        let part = quotas.take("one", 100).unwrap();
        assert!(quotas.take("one", 0).is_none(), "it has used up its part");
        drop(part);
        assert!(quotas.take("one", 100).is_some());
        assert!(quotas.take("one", 101).is_none());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let quotas = Quotas::new(None);
        quotas.take("one", u64::MAX).unwrap().keep(0, 10);
        assert!(quotas.take("one", u64::MAX).is_some());
        assert!(quotas.lock().held.is_empty() && quotas.lock().stored.is_empty());
    }
}
