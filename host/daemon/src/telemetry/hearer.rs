//! Sinks deliver before anybody can count it: while the agent starts, what they say is kept for whoever hears it then.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sawlog_core::SinkId;
use sawlog_core::sink::{Delivered, Observer};

use super::stages::Stages;

/// Batches that are kept at most.
const EARLY_MAX: usize = 10_000;

/// A batch that was delivered before anybody heard.
#[derive(Debug)]
struct Early {
    sink: SinkId,
    batch: Delivered,
    now: i64,
}

/// Passes on what it hears, from the first batch on.
#[derive(Debug, Default)]
pub struct Hearer {
    /// What each stage takes; from the moment on when that is told.
    pub stages: Arc<Stages>,
    to: OnceLock<Arc<dyn Observer>>,
    early: Mutex<Vec<Early>>,
}

impl Hearer {
    /// From now on `to` hears of every batch, of those before at once. The first one stays.
    pub fn tell(&self, to: Arc<dyn Observer>) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let to = self.to.get_or_init(|| to);
        std::mem::take(&mut *early).iter().for_each(|one| to.delivered(&one.sink, &one.batch, one.now));
    }
}

impl Observer for Hearer {
    fn delivered(&self, sink: &SinkId, batch: &Delivered, now: i64) {
        self.stages.delivered(sink, batch, now);
        if let Some(to) = self.to.get() {
            return to.delivered(sink, batch, now);
        }
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        match self.to.get() {
            Some(to) => to.delivered(sink, batch, now),
            None if early.len() < EARLY_MAX => early.push(Early { sink: sink.clone(), batch: batch.clone(), now }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_core::SourceId;

    #[derive(Debug, Default)]
    struct Counts(Mutex<Vec<u64>>);

    impl Observer for Counts {
        fn delivered(&self, _: &SinkId, batch: &Delivered, _: i64) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch.records);
        }
    }

    #[test]
    fn what_is_delivered_before_anybody_hears_is_heard_once() {
        let (hearer, counts) = (Hearer::default(), Arc::new(Counts::default()));
        let deliver = |records| {
            let batch = Delivered { source: SourceId::new("app"), records, received: 1, planned: 2 };
            hearer.delivered(&SinkId::new("out"), &batch, 3);
        };
        deliver(1);
        deliver(2);
        hearer.tell(counts.clone());
        deliver(3);
        hearer.tell(Arc::new(Counts::default()));
        deliver(4);
        assert_eq!(*counts.0.lock().unwrap_or_else(PoisonError::into_inner), [1, 2, 3, 4]);
    }
}
