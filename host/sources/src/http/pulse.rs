//! How long a connection has been quiet: no request under way on it. It knows neither sockets nor HTTP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The requests of one connection.
#[derive(Debug)]
pub struct Pulse(Mutex<State>);

#[derive(Debug)]
struct State {
    under_way: usize,
    any: bool,
    quiet_since: Instant,
}

/// A request under way; dropping it ends it.
#[derive(Debug)]
pub struct Beat(Arc<Pulse>);

impl Pulse {
    /// Of a connection that begins now.
    pub fn start() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { under_way: 0, any: false, quiet_since: Instant::now() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins: its headers are there.
    pub fn beat(self: &Arc<Self>) -> Beat {
        let mut state = self.lock();
        state.under_way += 1;
        state.any = true;
        Beat(self.clone())
    }

    /// Resolves when no request came for `first` from the start, or for `further` after the last one.
    pub async fn quiet(&self, first: Duration, further: Duration) {
        loop {
            let deadline = {
                let state = self.lock();
                let since = if state.under_way > 0 { Instant::now() } else { state.quiet_since };
                since + if state.any { further } else { first }
            };
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.quiet_since = Instant::now();
    }
}
