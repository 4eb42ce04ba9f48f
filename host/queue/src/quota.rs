//! Room in the queue, taken before a body is read and given back when its bytes count as kept or were refused.
//! It knows numbers only.

use crate::error::Full;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes the queue may hold. Clones share it.
#[derive(Debug, Clone)]
pub struct Quota {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit_bytes: u64,
    reserved_bytes: AtomicU64,
}

/// Room that was promised to one request. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Quota {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { shared: Arc::new(Shared { limit_bytes, reserved_bytes: AtomicU64::new(0) }) }
    }

    /// Bytes of frames that may be kept.
    pub fn limit_bytes(&self) -> u64 {
        self.shared.limit_bytes
    }

    /// Bytes promised to requests that are under way.
    pub fn reserved_bytes(&self) -> u64 {
        self.shared.reserved_bytes.load(Ordering::Acquire)
    }

    /// Promises `bytes` if they fit beside `kept_bytes` and what is promised already.
    pub(crate) fn reserve(&self, kept_bytes: u64, bytes: u64) -> Result<Reservation, Full> {
        let limit = self.shared.limit_bytes;
        let fits = |reserved: u64| {
            let after = kept_bytes.saturating_add(reserved).saturating_add(bytes);
            (after <= limit).then_some(reserved + bytes)
        };
        match self.shared.reserved_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(Reservation { shared: self.shared.clone(), bytes }),
            Err(reserved) => {
                Err(Full { used_bytes: kept_bytes.saturating_add(reserved), limit_bytes: limit, asked_bytes: bytes })
            }
        }
    }
}

impl Reservation {
    /// Bytes promised.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.reserved_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn promises_never_exceed_the_limit_and_come_back() {
        let quota = Quota::new(100);
        let first = quota.reserve(50, 30).unwrap();
        let full = quota.reserve(50, 21).unwrap_err();
        assert_eq!(full, Full { used_bytes: 80, limit_bytes: 100, asked_bytes: 21 });
        let second = quota.reserve(50, 20).unwrap();
        assert_eq!(quota.reserved_bytes(), 50);
        drop(first);
        drop(second);
        assert_eq!(quota.reserved_bytes(), 0);
        assert!(quota.reserve(u64::MAX, 1).is_err());
    }
}
