//! What a lane at the frontier plans where nothing is left to read.

use super::{Lane, Step};
use crate::plan::Entry;
use crate::shared::{PartitionStop, Shared};
use crate::{EpochId, mutation};
use sawlog_record::id::PartitionId;

impl Lane {
    /// Nothing is left to read.
    pub(super) async fn plan_idle(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        present: EpochId,
        last: bool,
    ) -> Result<Step, PartitionStop> {
        let flushed = shared.journal.state().history(partition).map(|history| history.flushed);
        match flushed {
            Some(flushed) => self.plan_end_of_history(shared, partition, present, flushed).await,
            None => self.plan_flush(shared, partition, present, last).await,
        }
    }

    /// What an added sink gets of what was read before ends. Plugins give out what they had given out by then where everybody has it
    /// from; what they held back there comes from there.
    async fn plan_end_of_history(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        present: EpochId,
        flushed: Option<i64>,
    ) -> Result<Step, PartitionStop> {
        let (next, epoch) = {
            let state = shared.journal.state();
            if !state.is_history_read(partition) && !mutation::on("history_ends_early") {
                // Lanes hear of its parts one after the other: the next one goes on with the state of this one.
                return Ok(Step::Later);
            }
            let epoch = state.partitions.get(&partition).and_then(|known| Some(known.stream.last()?.epoch));
            (state.next_slot(partition), epoch)
        };
        let (Some((generation, at)), Some(epoch)) = (next, epoch) else { return Ok(Step::Idle) };
        if !self.ensure_instance(shared, partition, epoch).await? {
            return Ok(Step::Spent);
        }
        let held = self.instance.as_ref().map(|(_, instance)| instance.wake_at()).unwrap_or_default();
        let done = shared.journal.state().flushed_at_end(partition);
        let now = flushed.filter(|_| !mutation::on("history_holds_back"));
        let due =
            held.iter().find(|(component, wake)| now.is_some_and(|now| *wake <= now) && !done.contains(component));
        let entry = match (due, now) {
            (Some((component, _)), Some(now)) => Entry::Flush { generation, at, component: *component, now },
            _ => Entry::Reset { generation, at },
        };
        self.append(shared, partition, entry, epoch, present).await
    }

    /// A partition that is idle, or has ended (`last`: for good, its source is removed), gives out what its plugins hold back.
    async fn plan_flush(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        present: EpochId,
        last: bool,
    ) -> Result<Step, PartitionStop> {
        let Some((_, instance)) = &self.instance else { return Ok(Step::Idle) };
        let held = instance.wake_at();
        let ended = last || shared.inputs.has_ended(partition);
        let idle = shared.clock.elapsed().saturating_sub(self.planned_at) >= shared.idle_timeout;
        let now = shared.clock.now();
        let due = held.iter().find(|(_, wake)| ended || (idle && now >= *wake));
        let Some((component, _)) = due.copied() else { return Ok(Step::Idle) };
        let Some((generation, at)) = shared.journal.state().flush_slot(partition) else { return Ok(Step::Idle) };
        let now = if ended { i64::MAX } else { now.max(shared.journal.state().time) };
        let Some(epoch) = shared.stream(partition, |s| s.last().map(|p| p.epoch)) else { return Ok(Step::Idle) };
        self.append(shared, partition, Entry::Flush { generation, at, component, now }, epoch, present).await
    }
}
