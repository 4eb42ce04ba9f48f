//! Events on their way to the core, in order. It holds one announcement a generation at most; it knows no file.

use event_listener::Event;
use sawlog_core::ports::SourceEvent;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Events for which there is always room: a start finds many files at once, later there are few.
const EVENTS_USUAL: usize = 64;

/// A queue between the thread that looks and the core that follows.
#[derive(Debug, Default)]
pub struct Outbox {
    events: Mutex<VecDeque<SourceEvent>>,
    filled: Event,
}

impl Outbox {
    /// Adds an event; an announcement replaces the last event if that announces the same generation.
    pub fn send(&self, event: SourceEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (events.back(), &event) {
            (Some(SourceEvent::Available { generation: a, .. }), SourceEvent::Available { generation: b, .. }) => {
                a == b
            }
            _ => false,
        };
        if same {
            events.pop_back();
        }
        events.push_back(event);
        drop(events);
        self.filled.notify(1);
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Option<SourceEvent> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let event = events.pop_front();
        if events.is_empty() {
            events.shrink_to(EVENTS_USUAL);
        }
        event
    }

    /// The next event.
    pub async fn next(&self) -> SourceEvent {
        loop {
            let filled = self.filled.listen();
            if let Some(event) = self.take() {
                return event;
            }
            filled.await;
        }
    }
}
