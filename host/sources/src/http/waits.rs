//! Requests that are stored and wait until every sink has them, where `ack: after_sinks` asks for that. It knows addresses of the
//! queue, no requests.

use super::reply::Refusal;
use hyper::StatusCode;
use sawlog_settings::Period;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How far each shard was delivered.
#[derive(Debug, Default)]
pub struct Waits {
    inner: Mutex<Inner>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    floors: BTreeMap<u32, u64>,
    is_closed: bool,
}

impl Waits {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every sink has what lies below `floor` of a shard, and a start does not go back behind it.
    pub fn delivered(&self, shard: u32, floor: u64) {
        self.lock().floors.insert(shard, floor);
        self.moved.notify_waiters();
    }

    /// Nobody is waited for any more: the agent ends.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.moved.notify_waiters();
    }

    /// Waits until what lies below `end` of a shard is delivered, for `time_max`.
    pub async fn until(&self, time_max: Period, shard: u32, end: u64) -> Result<(), Refusal> {
        let waiting = async {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                // What moves from here on is heard.
                moved.as_mut().enable();
                {
                    let inner = self.lock();
                    if inner.floors.get(&shard).is_some_and(|floor| *floor >= end) {
                        return Ok(());
                    }
                    if inner.is_closed {
                        return Err(stored("the agent ends"));
                    }
                }
                moved.await;
            }
        };
        let late = || stored(&format!("not every sink has it after {time_max}"));
        timeout(time_max.as_duration(), waiting).await.unwrap_or_else(|_| Err(late()))
    }
}

/// It is in the queue, and more can't be said.
fn stored(why: &str) -> Refusal {
    let error = format!(
        "the request is stored on this node and will be delivered, but {why}; to wait for more, send it again with the same Idempotency-Key"
    );
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_request_waits_for_its_shard_and_no_longer_than_it_may() {
        let waits = Waits::default();
        let patient = Period::from_secs(60);
        let mut waiting = Box::pin(waits.until(patient, 1, 100));
        assert!(waiting.as_mut().now_or_never().is_none());
        waits.delivered(0, 1_000);
        waits.delivered(1, 99);
        assert!(waiting.as_mut().now_or_never().is_none(), "a part of it is not delivered");
        waits.delivered(1, 100);
        assert_eq!(waiting.await, Ok(()));
        let late = waits.until(Period::from_millis(10), 1, 101).await.unwrap_err();
        assert!(late.status == StatusCode::GATEWAY_TIMEOUT && late.error.contains("after 10ms"), "{late:?}");
        waits.close();
        assert!(waits.until(patient, 1, 101).await.unwrap_err().error.contains("the agent ends"));
    }
}
