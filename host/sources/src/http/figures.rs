//! Counts of what was taken and refused, for metrics. It judges nothing.

use hyper::StatusCode;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What became of requests since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests that are durable and were answered 2xx, repeated ones not counted.
    pub requests: u64,
    /// Their records.
    pub records: u64,
    /// Requests that were stored before under the same key.
    pub repeated: u64,
    /// Refused requests and connections, by status.
    pub refused: BTreeMap<u16, u64>,
}

/// Counts that connections share.
#[derive(Debug, Default)]
pub struct Figures(Mutex<Counts>);

impl Figures {
    /// A request was answered 2xx.
    pub fn taken(&self, records: usize, repeated: bool) {
        self.change(|counts| match repeated {
            true => counts.repeated += 1,
            false => {
                counts.requests += 1;
                counts.records += records as u64;
            }
        });
    }

    /// A request or a connection was refused.
    pub fn refused(&self, status: StatusCode) {
        self.change(|counts| *counts.refused.entry(status.as_u16()).or_default() += 1);
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
