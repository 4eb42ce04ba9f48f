//! A state that is brought back from elsewhere: the beginning of a new life, behind which nothing of the old streams is known.

use super::state::JournalState;
use crate::SinkId;

impl JournalState {
    /// Whether no journal was ever here.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Makes an older state the beginning of a new life: of the cursors that sinks hold themselves, any may have been made along
    /// streams that are lost. Appended files are not cut back to where they were: what they hold may not be there to be read again.
    pub fn restore(&mut self) {
        let sinks: Vec<SinkId> = self.sinks().chain(self.cursors.keys()).cloned().collect();
        for sink in sinks {
            let facts = self.facts.entry(sink).or_default();
            (facts.adopted, facts.file) = (true, None);
        }
    }
}
