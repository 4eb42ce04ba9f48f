//! Room in memory for what waits on somebody else: bytes that lanes have read and not handed over, requests that are being taken,
//! batches that sinks hold. Who finds no room waits; nothing is ever dropped for it. It counts what it is told and allocates
//! nothing.
//!
//! A [`Pool`] is for work that is always finished soon: whoever holds some of it never waits for more of it, so it comes back. A
//! [`Share`] is for what may be held for as long as a sink is down: each sink has one of its own, so a dead one takes nothing
//! from the others.

use event_listener::{Event, EventListener};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Bytes that many may hold for a short while.
#[derive(Debug)]
pub struct Pool {
    bytes_max: AtomicU64,
    held_bytes: AtomicU64,
    /// Somebody was refused since the last time that all were told of room.
    wanted: AtomicBool,
    freed: Event,
}

/// Whether `asked` bytes may be held beside `held` ones. One that is larger than all there is gets in alone: it would never fit.
pub fn fits(held: u64, asked: u64, bytes_max: u64) -> bool {
    held == 0 || held.saturating_add(asked) <= bytes_max
}

impl Pool {
    /// A pool of `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: AtomicU64::new(bytes_max),
            held_bytes: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            freed: Event::new(),
        })
    }

    /// A pool that never refuses.
    pub fn unbounded() -> Arc<Self> {
        Self::new(u64::MAX)
    }

    /// Holds `bytes`, if there is room; else [`Pool::freed`] tells when to ask again.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Hold> {
        let mut hold = Hold { pool: self.clone(), bytes: 0 };
        hold.grow(bytes).then_some(hold)
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Acquire)
    }

    /// Bytes that may be held.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Changes how much may be held; what is held above it comes back in its own time.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.tell();
    }

    /// Whether half of it is taken: who holds what can be had again gives it back.
    pub fn is_crowded(&self) -> bool {
        self.held_bytes() > self.bytes_max() / 2
    }

    /// Resolves when there may be room for somebody who was refused; listen first, ask then.
    pub fn freed(&self) -> EventListener {
        self.freed.listen()
    }

    fn tell(&self) {
        if self.wanted.swap(false, Ordering::AcqRel) {
            self.freed.notify(usize::MAX);
        }
    }
}

/// Bytes that are held of a [`Pool`] until this is dropped.
#[derive(Debug)]
pub struct Hold {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Hold {
    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds `more` bytes, if there is room; whoever holds some already and is refused gives all of it back.
    pub fn grow(&mut self, more: u64) -> bool {
        let (mine, bytes_max) = (self.bytes, self.pool.bytes_max());
        let grown = |held: u64| fits(held.saturating_sub(mine), mine + more, bytes_max).then_some(held + more);
        let take = || self.pool.held_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).is_ok();
        let took = take() || {
            self.pool.wanted.store(true, Ordering::Release);
            // What came back before anybody knew that it is wanted is told to nobody.
            take()
        };
        self.bytes += if took { more } else { 0 };
        took
    }

    /// Holds `bytes` instead of what was asked for before it was known.
    pub fn settle(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => _ = self.pool.held_bytes.fetch_add(more, Ordering::AcqRel),
            None => self.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.pool.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.pool.tell();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// Bytes that all that goes by one name may hold together, for as long as it must: every member gets the same part.
#[derive(Debug)]
pub struct Share {
    bytes_max: AtomicUsize,
    members: AtomicUsize,
}

impl Share {
    /// A share of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max: AtomicUsize::new(bytes_max), members: AtomicUsize::new(0) })
    }

    /// Changes how much there is for all members.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// One more member.
    pub fn join(self: &Arc<Self>) -> Member {
        self.members.fetch_add(1, Ordering::AcqRel);
        Member(self.clone())
    }
}

/// One of those among whom a [`Share`] is divided, until it is dropped.
#[derive(Debug)]
pub struct Member(Arc<Share>);

impl Member {
    /// What this member may hold now, bytes.
    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max.load(Ordering::Relaxed) / self.0.members.load(Ordering::Acquire).max(1)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Lays a map that has grown entry by entry out anew: its nodes, of which a third was empty, are full then. Takes as long as to read
/// all of it once.
pub fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_pool_is_never_passed_but_by_one_alone_and_all_of_it_comes_back() {
        let pool = Pool::new(100);
        let mut first = pool.take(60).unwrap();
        assert!(pool.take(41).is_none() && pool.is_crowded());
        let second = pool.take(40).unwrap();
        assert!(!first.grow(1));
        drop(second);
        let other = pool.take(5);
        assert!(first.grow(35) && !first.grow(1), "room that came back is there for whoever holds some");
        drop(other);
        first.settle(10);
        assert_eq!((pool.held_bytes(), pool.is_crowded()), (10, false));
        assert!(pool.take(200).is_none(), "what is too large waits until it is alone");
        drop(first);
        let alone = pool.take(200).unwrap();
        assert!(pool.take(1).is_none());
        drop(alone);
        assert_eq!(pool.held_bytes(), 0);
    }

    #[test]
    fn whoever_was_refused_is_told_of_room() {
        let pool = Pool::new(10);
        let first = pool.take(10).unwrap();
        let told = pool.freed();
        assert!(pool.take(1).is_none());
        drop(first);
        assert!(told.now_or_never().is_some());
        let told = pool.freed();
        assert!(pool.take(11).is_some(), "and nobody is woken who was not refused");
        assert!(told.now_or_never().is_none());
        let _held = pool.take(10).unwrap();
        let told = pool.freed();
        assert!(pool.take(5).is_none());
        pool.set_bytes_max(20);
        assert!(told.now_or_never().is_some() && pool.take(5).is_some());
    }

    #[test]
    fn members_divide_a_share_evenly() {
        let share = Share::new(90);
        let first = share.join();
        assert_eq!(first.bytes_max(), 90);
        let others = (share.join(), share.join());
        assert_eq!(first.bytes_max(), 30);
        share.set_bytes_max(60);
        assert_eq!(others.1.bytes_max(), 20);
        drop(others);
        assert_eq!(first.bytes_max(), 60);
    }
}
