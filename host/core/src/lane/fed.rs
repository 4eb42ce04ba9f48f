//! The sinks that a lane feeds.

use crate::SinkId;
use std::ops::Deref;

/// Sinks in order, each once, in as little memory as they need: there may be ten thousand lanes, and few feed many.
#[derive(Clone, Default, Debug)]
pub(crate) struct Fed(Vec<SinkId>);

impl Fed {
    /// Adds one.
    pub fn insert(&mut self, sink: SinkId) {
        if let Err(at) = self.0.binary_search(&sink) {
            self.0.reserve_exact(1);
            self.0.insert(at, sink);
        }
    }

    /// Takes one away.
    pub fn remove(&mut self, sink: &SinkId) {
        self.0.retain(|known| known != sink);
    }
}

impl Deref for Fed {
    type Target = [SinkId];

    fn deref(&self) -> &[SinkId] {
        &self.0
    }
}

impl IntoIterator for Fed {
    type Item = SinkId;
    type IntoIter = std::vec::IntoIter<SinkId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<SinkId> for Fed {
    fn extend<I: IntoIterator<Item = SinkId>>(&mut self, sinks: I) {
        sinks.into_iter().for_each(|sink| self.insert(sink));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_stand_in_order_and_once() {
        let mut fed = Fed::default();
        fed.extend(["lake", "es", "lake", "kafka"].map(SinkId::new));
        assert_eq!(*fed, ["es", "kafka", "lake"].map(SinkId::new));
        fed.remove(&SinkId::new("kafka"));
        assert!(!fed.contains(&SinkId::new("kafka")) && fed.contains(&SinkId::new("es")));
    }
}
