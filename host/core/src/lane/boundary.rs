//! Where another configuration begins: what becomes of the state of its plugins is decided once, at the frontier, and journalled.

use super::{Lane, Step};
use crate::journal::{Components, Heir};
use crate::plan::{ComponentId, Entry, Planned, UpgradeOutcome};
use crate::shared::{PartitionStop, Shared};
use crate::{EpochId, mutation};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::BTreeMap;

/// State by component.
type States = BTreeMap<ComponentId, Vec<u8>>;

/// State of one configuration as it comes to another, by the numbers that components have there.
#[derive(Default)]
pub(super) struct Handed {
    /// Of components that are the same.
    pub(super) same: States,
    /// Of those that are there in another version.
    pub(super) changed: States,
}

/// Hands `states` of the components `before` to those of another configuration. What is not there any more has none.
pub(super) fn hand_over(states: States, before: &Components, after: &Components) -> Handed {
    let mut handed = Handed::default();
    for (component, state) in states {
        match before.heir(component, after) {
            Heir::Same(number) => _ = handed.same.insert(number, state),
            Heir::Changed(number) => _ = handed.changed.insert(number, state),
            Heir::Gone => {}
        }
    }
    handed
}

/// A change of stateful components that lies ahead of the frontier.
struct Boundary {
    old: EpochId,
    new: EpochId,
    /// Where the next entry stands.
    at: (Generation, Cursor),
    /// What the components of the old configuration are in the new one.
    heirs: Vec<(ComponentId, Heir)>,
    /// Those of the new one whose UPGRADE is journalled.
    upgraded: Vec<ComponentId>,
}

/// The change between the last planned input and the configuration `new`; `None` where all that it takes is journalled.
fn boundary(shared: &Shared, partition: PartitionId, new: EpochId) -> Option<Boundary> {
    let state = shared.journal.state();
    let known = state.partitions.get(&partition)?;
    let (mut upgraded, mut before) = (Vec::new(), None);
    for (_, planned) in known.stream.iter().rev() {
        match planned.entry {
            Entry::Upgrade { component, .. } if planned.epoch == new => upgraded.push(component),
            _ => {
                before = Some(planned.epoch);
                break;
            }
        }
    }
    // Where nothing is kept before them, the state is that they begin with.
    let saved = || known.snaps.range(..=known.stream.base()).next_back().map(|(_, snap)| snap.epoch);
    let before = before
        .or_else(|| saved().filter(|_| !mutation::on("change_half_begun")))
        .and_then(|epoch| state.epoch_of(epoch));
    let old = before.map(|epoch| epoch.id).filter(|old| *old != new)?;
    let (before, after) = (state.components(old, &shared.inputs.id), state.components(new, &shared.inputs.id));
    let heirs = before.digests.keys().map(|component| (*component, before.heir(*component, &after)));
    let is_open = |(_, heir): &(ComponentId, Heir)| match heir {
        Heir::Same(_) => false,
        Heir::Changed(number) => !upgraded.contains(number),
        Heir::Gone => true,
    };
    let heirs: Vec<_> = heirs.filter(is_open).collect();
    if heirs.is_empty() {
        return None;
    }
    Some(Boundary { old, new, at: state.next_slot(partition)?, heirs, upgraded })
}

/// The configuration whose UPGRADEs are the last that was planned: there may be more of them to come, whatever is present by now.
fn begun(shared: &Shared, partition: PartitionId) -> Option<EpochId> {
    let is_upgrade = |planned: &&Planned| matches!(planned.entry, Entry::Upgrade { .. });
    shared.stream(partition, |stream| stream.last().filter(is_upgrade).map(|planned| planned.epoch))
}

impl Lane {
    /// A configuration with other stateful components begins. What is to be lost gives out first what it holds back, all under the old
    /// one; then each that goes on in another version has its UPGRADE.
    pub(super) async fn plan_boundary(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        present: EpochId,
    ) -> Result<Option<Step>, PartitionStop> {
        match self.finish_boundary(shared, partition, present).await? {
            None => self.plan_change(shared, partition, (present, present)).await,
            step => Ok(step),
        }
    }

    /// What is left of a change that was begun.
    pub(super) async fn finish_boundary(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        present: EpochId,
    ) -> Result<Option<Step>, PartitionStop> {
        let Some(begun) = begun(shared, partition) else { return Ok(None) };
        self.plan_change(shared, partition, (begun, present)).await
    }

    async fn plan_change(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        (new, present): (EpochId, EpochId),
    ) -> Result<Option<Step>, PartitionStop> {
        let Some(boundary) = boundary(shared, partition, new) else { return Ok(None) };
        if !self.ensure_instance(shared, partition, boundary.old).await? {
            return Ok(Some(Step::Spent));
        }
        let (epoch, entry) = match self.next_at(shared, partition, &boundary).await? {
            None => return Ok(None),
            Some(next) => next,
        };
        Ok(Some(self.append(shared, partition, entry, epoch, present).await?))
    }

    /// The next entry that a change takes, and the configuration that it runs under.
    async fn next_at(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        boundary: &Boundary,
    ) -> Result<Option<(EpochId, Entry)>, PartitionStop> {
        let Some((_, instance)) = &mut self.instance else { return Ok(None) };
        let (generation, at) = boundary.at;
        let is_begun = !boundary.upgraded.is_empty();
        let states = if is_begun { States::new() } else { instance.snapshot().await.map_err(PartitionStop::from)? };
        let held: Vec<ComponentId> = instance.wake_at().into_iter().map(|(component, _)| component).collect();
        let flushed = shared.journal.state().flushed_for_good(partition);
        let chain = shared.chain(partition, boundary.new)?;
        let mut upgrade = None;
        for (component, heir) in &boundary.heirs {
            let mut is_lost = true;
            if let Heir::Changed(number) = heir {
                let state = if is_begun { self.pending.get(number) } else { states.get(component) };
                let outcome = match state.cloned() {
                    Some(state) => {
                        chain.instance(partition).upgrade(*number, state).await.map_err(PartitionStop::from)?
                    }
                    None => UpgradeOutcome::Fresh,
                };
                is_lost = outcome == UpgradeOutcome::Fresh;
                upgrade = upgrade.or(Some(Entry::Upgrade { generation, at, component: *number, outcome }));
            }
            let gives_out = is_lost && !is_begun && held.contains(component) && !flushed.contains(component);
            if gives_out && !mutation::on("lost_state_holds_back") {
                let entry = Entry::Flush { generation, at, component: *component, now: i64::MAX };
                return Ok(Some((boundary.old, entry)));
            }
        }
        Ok(upgrade.map(|entry| (boundary.new, entry)))
    }

    /// Makes the instance that runs `planned`, or carries the one at hand over to its epoch. `false` where the state that this
    /// lane was to begin with is no longer kept.
    pub(super) async fn enter_epoch(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        planned: &Planned,
    ) -> Result<bool, PartitionStop> {
        if let Entry::Reset { .. } = planned.entry {
            self.fresh(shared, partition, planned.epoch)?;
            return Ok(true);
        }
        if !self.ensure_instance(shared, partition, planned.epoch).await? {
            return Ok(false);
        }
        let Some((epoch, instance)) = &mut self.instance else { return Ok(false) };
        let old = *epoch;
        if old != planned.epoch {
            let (before, after) = (shared.components(partition, old)?, shared.components(partition, planned.epoch)?);
            let handed = hand_over(instance.snapshot().await?, &before, &after);
            self.pending = handed.changed;
            self.fresh(shared, partition, planned.epoch)?;
            let Some((_, instance)) = &mut self.instance else { return Ok(false) };
            instance.restore(handed.same).await?;
        }
        let Entry::Upgrade { component, outcome, .. } = &planned.entry else { return Ok(true) };
        let state = self.pending.remove(component);
        if let (Some((_, instance)), Some(state), UpgradeOutcome::Carried) = (&mut self.instance, state, outcome) {
            instance.upgrade(*component, state).await?;
        }
        Ok(true)
    }
}
