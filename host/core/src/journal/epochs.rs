//! Which configurations the journal keeps: those that something kept was planned under, or may yet be.

use super::state::JournalState;
use crate::{EpochId, SourceId};
use std::collections::BTreeSet;

impl JournalState {
    /// Forgets configurations that nothing names any more, but for the present one.
    pub(super) fn trim_epochs(&mut self) {
        let mut named: BTreeSet<EpochId> = BTreeSet::new();
        for state in self.partitions.values() {
            named.extend(state.stream.iter().map(|(_, p)| p.epoch));
            named.extend(state.snaps.values().map(|s| s.epoch));
        }
        named.extend(self.later.skews.values().copied());
        named.extend(self.epochs_to_plan_under());
        let last = self.epochs.len().saturating_sub(1);
        let mut index = 0;
        self.epochs.retain(|e| {
            index += 1;
            index - 1 == last || named.contains(&e.id)
        });
        let kept: BTreeSet<EpochId> = self.epochs.iter().map(|e| e.id).collect();
        self.third.stateful.retain(|epoch, _| kept.contains(epoch));
        self.names.retain(|epoch, _| kept.contains(epoch));
    }

    /// Whether anything is known of a source.
    pub(crate) fn knows_source(&self, source: &SourceId) -> bool {
        self.generations.values().any(|known| known.source == *source)
    }

    /// What is still to be planned names no epoch yet. That of a removed source is planned under the newest one that has the source, also
    /// where it was planned under older ones so far, and what is read of it for an added sink; that of any other under the present one.
    fn epochs_to_plan_under(&self) -> BTreeSet<EpochId> {
        let sources: BTreeSet<&SourceId> = self.generations.values().map(|known| &known.source).collect();
        sources.into_iter().flat_map(|source| self.newest_with(source)).collect()
    }

    /// The newest configuration that has `source`, and all behind it of which that can't be told: earlier builds noted the sources
    /// only where plugins keep state.
    fn newest_with(&self, source: &SourceId) -> Vec<EpochId> {
        let mut found = Vec::new();
        for epoch in self.epochs.iter().rev() {
            let is_known = self.third.stateful.get(&epoch.id).map(|digests| digests.contains_key(source));
            if is_known != Some(false) {
                found.push(epoch.id);
            }
            if is_known == Some(true) {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Epoch, Record, Stateful};
    use crate::plan::{Entry, Planned};
    use sawlog_record::id::{Generation, PartitionId};
    use std::collections::BTreeMap;

    /// Of a partition of source `web` that was opened, and never planned: which of these configurations are kept, each with its
    /// sources where the journal has them.
    fn kept(epochs: &[Option<&[&str]>]) -> Vec<u8> {
        let mut state = JournalState::default();
        let opened = |generation: u8, source: &str| Record::Generation {
            generation: Generation([generation; 16]),
            partition: PartitionId([generation; 16]),
            source: SourceId::new(source),
            identity: [].into(),
            start: 0,
        };
        state.apply(&opened(1, "web"));
        for (number, sources) in epochs.iter().enumerate() {
            let id = EpochId([number as u8; 16]);
            if let Some(sources) = sources {
                let digests: Stateful = sources.iter().map(|name| (SourceId::new(name), BTreeMap::new())).collect();
                state.apply(&Record::Stateful { epoch: id, digests });
            }
            let (stateful, blobs, sinks) = Default::default();
            state.apply(&Record::Epoch(Epoch { id, stateful, blobs, sinks }));
        }
        // One that is planned needs the one that it was planned under.
        state.apply(&opened(2, "app"));
        let entry = Entry::Range { generation: Generation([2; 16]), lo: 0, hi: 9 };
        let planned = Planned { time: 0, epoch: EpochId([1; 16]), entry };
        state.apply(&Record::Plan { entries: vec![(PartitionId([2; 16]), planned)] });
        state.trim();
        let stateful = state.third.stateful.len();
        assert_eq!(stateful, state.epochs.iter().filter(|e| state.third.stateful.contains_key(&e.id)).count());
        state.epochs.iter().map(|epoch| epoch.id.0[0]).collect()
    }

    #[test]
    fn an_empty_partition_keeps_the_newest_configuration_that_has_its_source() {
        let (both, app): (Option<&[&str]>, Option<&[&str]>) = (Some(&["app", "web"]), Some(&["app"]));
        assert_eq!(kept(&[both; 6]), [1, 5], "it is planned under the present one");
        assert_eq!(kept(&[both, both, both, app, app, app]), [1, 2, 5], "it was removed");
        assert_eq!(kept(&[both, both, both, app, both, app]), [1, 4, 5], "it came back, and was removed again");
        assert_eq!(kept(&[both, both, both, None, app, None]), [1, 2, 3, 4, 5], "nobody can say what two of them had");
    }

    #[test]
    fn what_is_left_of_a_removed_source_keeps_the_configuration_that_it_is_planned_under() {
        let mut state = JournalState::default();
        let (generation, partition, source) = (Generation([1; 16]), PartitionId([1; 16]), SourceId::new("web"));
        state.apply(&Record::Generation { generation, partition, source, identity: [].into(), start: 0 });
        for (number, sources) in [vec!["app", "web"], vec!["app", "web"], vec!["app"]].into_iter().enumerate() {
            let (stateful, blobs, sinks) = Default::default();
            let id = EpochId([number as u8; 16]);
            let digests: Stateful = sources.into_iter().map(|name| (SourceId::new(name), BTreeMap::new())).collect();
            state.apply(&Record::Stateful { epoch: id, digests });
            state.apply(&Record::Epoch(Epoch { id, stateful, blobs, sinks }));
            if number == 0 {
                let planned = Planned { time: 0, epoch: id, entry: Entry::Range { generation, lo: 0, hi: 9 } };
                state.apply(&Record::Plan { entries: vec![(partition, planned)] });
            }
        }
        state.trim();
        assert_eq!(state.epochs.iter().map(|epoch| epoch.id.0[0]).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
