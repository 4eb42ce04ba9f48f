//! The newest trouble of a consumer, as an operator sees it: it passes when brokers answer again, for nobody tells that they do.

use std::time::{Duration, Instant};

/// How long brokers must have answered since a trouble: answers are counted every few seconds.
const PASSED_AFTER: Duration = Duration::from_secs(12);

/// A trouble, and when it was told last.
#[derive(Debug, Default)]
pub struct Ailing(Option<(String, Instant)>);

impl Ailing {
    /// Something went wrong.
    pub fn note(&mut self, trouble: String) {
        self.0 = Some((trouble, Instant::now()));
    }

    /// Nothing is wrong any more.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Brokers have answered in the last seconds: what went wrong longer ago has passed.
    pub fn answered(&mut self) {
        self.0.take_if(|(_, at)| at.elapsed() >= PASSED_AFTER);
    }

    /// What is wrong; `None` while nothing is.
    pub fn newest(&self) -> Option<String> {
        self.0.as_ref().map(|(trouble, _)| trouble.clone())
    }
}
