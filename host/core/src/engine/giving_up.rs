//! What sinks give up while the engine runs: what is beyond their budgets, and what a person says. Decided on the journal's state
//! and journalled in one step; no sink passes over a loss before it is durable.

use super::Engine;
use crate::budget::{self, Budget, Stand};
use crate::journal::{JournalState, Record};
use crate::mutation;
use crate::pace::Pressure;
use crate::ports::JournalError;
use crate::sink::Sink;
use crate::{SinkId, SourceId};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// Looks at the sinks' budgets again and again.
    pub(super) async fn keep_budgets(&self) {
        loop {
            self.ground.clock.sleep(self.ground.tuning.budget_look).await;
            let mut looked = self.enforce_budgets().await;
            // A checkpoint takes the place of all that lies in the journal: one that is short of room gets it at once.
            if looked.is_ok() && self.ground.journal.pressure() != Pressure::Low {
                looked = self.keep_checkpoint().await;
            }
            if looked.is_err() && self.ground.journal.failed().is_some() {
                return;
            }
        }
    }

    /// Has sinks give up what is beyond their budgets, and what keeps inputs from having room.
    async fn enforce_budgets(&self) -> Result<(), JournalError> {
        let sinks = self.sinks();
        let yielding: Vec<(&Arc<Sink>, Budget)> =
            sinks.values().filter_map(|sink| Some((sink, sink.tuning.drop_oldest?))).collect();
        if yielding.is_empty() {
            return Ok(());
        }
        let crowded: BTreeMap<SourceId, u64> = self
            .shared()
            .into_iter()
            .map(|(id, shared)| (id, shared.inputs.surplus_bytes()))
            .filter(|(_, n)| *n > 0)
            .collect();
        let losers: Vec<Arc<Sink>> = yielding.iter().map(|(sink, _)| (*sink).clone()).collect();
        let gave_up = self.give_up(&losers, |state, now| {
            let stands: Vec<Stand> = yielding.iter().map(|(sink, budget)| stand(sink, *budget)).collect();
            let overdue = stands.iter().flat_map(|stand| budget::overdue(state, stand, now));
            let room = crowded.iter().flat_map(|(source, bytes)| budget::make_room(state, &stands, source, *bytes));
            overdue.chain(room).collect()
        });
        if gave_up.await? && !crowded.is_empty() {
            // Whoever waits for room does not wait for the next checkpoint.
            self.keep_checkpoint().await?;
        }
        Ok(())
    }

    /// Journals what `decide` has `sinks` give up; they pass over it when it is durable. Tells whether there was anything.
    pub(super) async fn give_up(
        &self,
        sinks: &[Arc<Sink>],
        decide: impl FnOnce(&JournalState, i64) -> Vec<Record>,
    ) -> Result<bool, JournalError> {
        let journal = &self.ground.journal;
        if mutation::on("loss_not_durable") {
            let (some, durable) = journal.append_with(false, |state, now| with_count(decide(state, now)));
            drop(durable);
            self.ground.reseated.notify(usize::MAX);
            return Ok(some);
        }
        sinks.iter().for_each(|sink| sink.set_giving_up(true));
        let (some, durable) = journal.append_with(true, |state, now| with_count(decide(state, now)));
        journal.checked(durable.await)?;
        sinks.iter().for_each(|sink| sink.set_giving_up(false));
        if some {
            self.ground.reseated.notify(usize::MAX);
        }
        Ok(some)
    }

    /// Has `sink` give up everything that is planned and that it has not delivered, for a person who says so. What it holds may
    /// still arrive: whoever asks begins the sink anew after this. Gives back how many positions that are; `None` where there is
    /// no such sink.
    pub async fn forget(&self, sink: &SinkId) -> Result<Option<u64>, JournalError> {
        let Some(running) = self.sinks().get(sink).cloned() else { return Ok(None) };
        self.begin_histories().await?;
        let mut positions = 0;
        let running = [running];
        let told = self.give_up(&running, |state, now| {
            let lost = budget::undelivered(state, sink, crate::operator::FORGOTTEN);
            positions = crate::operator::positions(&lost);
            crate::operator::forget(sink, lost, now)
        });
        told.await?;
        self.begin_histories().await?;
        Ok(Some(positions))
    }

    /// Begins what waits to be read again for added sinks, as far as the sources can tell; what has begun is read.
    pub(super) async fn begin_histories(&self) -> Result<(), JournalError> {
        for inputs in self.inputs() {
            inputs.begin_histories().await?;
        }
        Ok(())
    }

    /// Puts a sink that has not begun in the place of the one with its name.
    pub async fn replace_sink(&self, sink: Arc<Sink>) {
        let former = self.sinks().get(&sink.id).cloned();
        if let Some(former) = former {
            former.retire().await;
        }
        self.sinks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(sink.id.clone(), sink.clone());
        for (id, shared) in self.shared() {
            shared.set_sinks(self.fed_by(&id));
        }
        self.spawn_sink(sink);
    }
}

fn with_count(records: Vec<Record>) -> (Vec<Record>, bool) {
    let some = !records.is_empty();
    (records, some)
}

/// Where a sink stands. One that does not get on may have what is in its hands taken for lost too.
fn stand(sink: &Sink, budget: Budget) -> Stand {
    let gets_on = sink.status().failures_in_a_row == 0 && !sink.intake.is_closed() && sink.intake.stopped().is_none();
    let seats = if gets_on { sink.intake.seats() } else { BTreeMap::new() };
    let fed = seats.into_iter().map(|(partition, seat)| (partition, seat.next)).collect();
    Stand { sink: sink.id.clone(), budget, fed }
}
