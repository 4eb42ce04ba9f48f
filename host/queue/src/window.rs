//! Which idempotency keys were seen lately, and with which body. A pure structure: it has no clock (time is that of the
//! requests) and no disk.

use sawlog_log::Lsn;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// A key in the scope of its principal: H(principal, key), 128 bits.
pub(crate) type KeyId = [u8; 16];

pub(crate) fn key_id(principal: &str, key: &str) -> KeyId {
    let mut id = [0; 16];
    let hash = sawlog_record::id::hash("sawlog.idempotency", &[principal.as_bytes(), key.as_bytes()]);
    id.copy_from_slice(&hash[..16]);
    id
}

/// A request whose key is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub key: KeyId,
    pub body_hash: [u8; 32],
    /// Address of its frame.
    pub lsn: Lsn,
    /// When it was accepted, unix nanoseconds.
    pub accepted: i64,
}

/// What became of a request that others wait for as well: its address, or why it was not stored.
pub(crate) type Outcome<E> = watch::Receiver<Option<Result<Lsn, Arc<E>>>>;

/// What the window says about a key.
pub(crate) enum Verdict<E> {
    /// Never seen, or forgotten.
    New,
    /// Stored at this address, with this very body.
    Done(Lsn),
    /// Being stored, with this very body.
    InFlight(Outcome<E>),
    /// Seen with another body.
    OtherBody,
}

enum Entry<E> {
    InFlight { body_hash: [u8; 32], outcome: Outcome<E> },
    Done { body_hash: [u8; 32], lsn: Lsn },
}

struct Kept {
    seen: Seen,
    /// Written to a sidecar, so that it outlives its frame.
    beside: bool,
}

/// The keys of one shard. Bounded in time and in number; the oldest go first.
pub(crate) struct Window<E> {
    time_nanos: i64,
    keys_max: usize,
    entries: HashMap<KeyId, Entry<E>>,
    /// What is done, in order of acceptance.
    order: VecDeque<Kept>,
}

impl<E> Window<E> {
    pub fn new(time_nanos: i64, keys_max: usize) -> Self {
        Self { time_nanos, keys_max, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// What is known of `key` for a request with this body.
    pub fn look(&self, key: &KeyId, hash: &[u8; 32]) -> Verdict<E> {
        match self.entries.get(key) {
            None => Verdict::New,
            Some(Entry::Done { body_hash, .. } | Entry::InFlight { body_hash, .. }) if body_hash != hash => {
                Verdict::OtherBody
            }
            Some(Entry::Done { lsn, .. }) => Verdict::Done(*lsn),
            Some(Entry::InFlight { outcome, .. }) => Verdict::InFlight(outcome.clone()),
        }
    }

    /// The request with `key` is about to be stored.
    pub fn begin(&mut self, key: KeyId, body_hash: [u8; 32], outcome: Outcome<E>) {
        self.entries.insert(key, Entry::InFlight { body_hash, outcome });
    }

    /// The request with `key` was not stored.
    pub fn abandon(&mut self, key: &KeyId) {
        if matches!(self.entries.get(key), Some(Entry::InFlight { .. })) {
            self.entries.remove(key);
        }
    }

    /// A request is stored. `beside`: its key already is in a sidecar.
    pub fn done(&mut self, seen: Seen, beside: bool) {
        if matches!(self.entries.get(&seen.key), Some(Entry::Done { .. })) {
            return;
        }
        self.entries.insert(seen.key, Entry::Done { body_hash: seen.body_hash, lsn: seen.lsn });
        self.order.push_back(Kept { seen, beside });
        self.expire(seen.accepted);
    }

    /// Forgets what is older than the window at `now`, and the oldest of too many.
    pub fn expire(&mut self, now: i64) {
        let too_old = now.saturating_sub(self.time_nanos);
        while let Some(oldest) = self.order.front() {
            if oldest.seen.accepted >= too_old && self.order.len() <= self.keys_max {
                return;
            }
            self.entries.remove(&oldest.seen.key);
            self.order.pop_front();
        }
    }

    /// Keys whose frames lie below `floor` and that are in no sidecar yet.
    pub fn only_below(&self, floor: Lsn) -> Vec<Seen> {
        self.order.iter().filter(|kept| !kept.beside && kept.seen.lsn < floor).map(|kept| kept.seen).collect()
    }

    /// Everything that is in sidecars.
    pub fn beside(&self) -> Vec<Seen> {
        self.order.iter().filter(|kept| kept.beside).map(|kept| kept.seen).collect()
    }

    /// The keys of frames below `floor` are in a sidecar now.
    pub fn mark_beside(&mut self, floor: Lsn) {
        self.order.iter_mut().filter(|kept| kept.seen.lsn < floor).for_each(|kept| kept.beside = true);
    }

    /// When the oldest key that is remembered was accepted.
    pub fn oldest(&self) -> Option<i64> {
        self.order.front().map(|kept| kept.seen.accepted)
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: u8, lsn: Lsn, accepted: i64) -> Seen {
        Seen { key: [n; 16], body_hash: [n; 32], lsn, accepted }
    }

    fn window() -> Window<()> {
        Window::new(100, 3)
    }

    #[test]
    fn a_key_is_done_with_its_body_only() {
        let mut window = window();
        window.done(seen(1, 10, 5), false);
        assert!(matches!(window.look(&[1; 16], &[1; 32]), Verdict::Done(10)));
        assert!(matches!(window.look(&[1; 16], &[2; 32]), Verdict::OtherBody));
        assert!(matches!(window.look(&[2; 16], &[2; 32]), Verdict::New));
    }

    #[test]
    fn an_abandoned_key_is_new_again_and_a_done_one_is_not() {
        let (_sender, outcome) = watch::channel(None);
        let mut window = window();
        window.begin([1; 16], [1; 32], outcome);
        assert!(matches!(window.look(&[1; 16], &[1; 32]), Verdict::InFlight(_)));
        assert!(matches!(window.look(&[1; 16], &[2; 32]), Verdict::OtherBody));
        window.abandon(&[1; 16]);
        assert!(matches!(window.look(&[1; 16], &[1; 32]), Verdict::New));
        window.done(seen(1, 10, 5), false);
        window.abandon(&[1; 16]);
        assert!(matches!(window.look(&[1; 16], &[1; 32]), Verdict::Done(10)));
    }

    #[test]
    fn the_window_is_bounded_in_time_and_number() {
        let mut window = window();
        for n in 1..=4 {
            window.done(seen(n, u64::from(n), 0), false);
        }
        assert_eq!(window.len(), 3);
        assert!(matches!(window.look(&[1; 16], &[1; 32]), Verdict::New));
        window.done(seen(9, 9, 101), false);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn keys_go_beside_once() {
        let mut window = window();
        window.done(seen(1, 10, 0), true);
        window.done(seen(2, 20, 0), false);
        window.done(seen(3, 30, 0), false);
        assert_eq!(window.only_below(30), [seen(2, 20, 0)]);
        window.mark_beside(30);
        assert_eq!(window.only_below(30), []);
        assert_eq!(window.beside(), [seen(1, 10, 0), seen(2, 20, 0)]);
    }
}
