//! Claims of a life whose decisions this journal does not hold: a lost directory, a restored backup, a twin. Their missing keys are
//! made under the claim's own decisions, beside the lanes, whatever this journal has planned for the same input.
//!
//! Exact where the chain has no state. What plugins had held back before the claim's ranges is lost with the directory.

use super::{ClaimLog, Open};
use crate::claims::{Claim, Moved};
use crate::journal::{Judge, Mark, Record};
use crate::lane::READ;
use crate::plan::{Entry, Planned};
use crate::ports::{Applied, ChainFailure, ChainInstance, Context, Offer, ReadError};
use crate::sink::{Feeder, Stop};
use crate::stream::Place;
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long sources may take to find the histories again that a claim names, before those that are missing count as lost.
const FIND_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const FIND_PAUSE: Duration = Duration::from_millis(100);

/// The part of a claim in one partition, as it runs.
struct Run<'a> {
    feeder: Feeder,
    partition: PartitionId,
    instances: BTreeMap<crate::EpochId, Box<dyn ChainInstance>>,
    claim: &'a Claim,
}

impl ClaimLog<'_> {
    /// Whether this journal holds every decision of the claim, but for entries that it has let go because nobody needs them.
    pub(super) fn is_own(&self, claim: &Claim) -> bool {
        let state = self.sink.journal.state();
        claim.directory == self.sink.facts.directory
            && claim.plans.iter().all(|(partition, planned)| state.holds_or_held(*partition, planned))
    }

    /// Writes the missing keys of a claim under its own decisions.
    pub(super) async fn make_foreign(&self, claim: &Claim, missing: &[(String, String)]) -> Result<(), Stop> {
        let mut open = Open::new(self.port);
        let paths: Vec<String> = claim.keys.iter().map(|(path, _)| path.clone()).collect();
        open.staging.restrict(&paths);
        let mut runs: BTreeMap<PartitionId, Run<'_>> = BTreeMap::new();
        let (until, mut gone) = (self.sink.clock.elapsed() + FIND_TIME_MAX, BTreeSet::new());
        for (partition, planned) in &claim.plans {
            let generation = planned.entry.generation();
            let Some(moved) = claim.moved.iter().find(|m| m.generation == generation) else { continue };
            if gone.contains(&generation) {
                continue;
            }
            let Some(feeder) = self.find(generation, until).await else {
                self.lose(moved).await?;
                gone.insert(generation);
                continue;
            };
            let instances = BTreeMap::new();
            let run = runs.entry(*partition).or_insert(Run { feeder, partition: *partition, instances, claim });
            self.run_entry(run, planned, moved, &mut open).await?;
        }
        self.put_made(&mut open, claim, missing).await
    }

    /// The source that reads `generation`, once it has found it; `None` where `until`, of the clock's elapsed time, passes before.
    async fn find(&self, generation: Generation, until: Duration) -> Option<Feeder> {
        loop {
            let found = self.sink.feeders().into_values().find(|feeder| feeder.inputs.knows(generation));
            if found.is_some() || self.sink.clock.elapsed() >= until {
                return found;
            }
            self.sink.clock.sleep(FIND_PAUSE).await;
        }
    }

    async fn lose(&self, moved: &Moved) -> Result<(), Stop> {
        let (from, to) = (moved.from, moved.to.cursor);
        let reason = "input_gone".to_owned();
        let lost = Record::Lost { sink: self.sink.id.clone(), generation: moved.generation, from, to, reason };
        Ok(self.sink.journal.commit(vec![lost]).await?)
    }

    /// The part of one entry that the claim moves.
    async fn run_entry(
        &self,
        run: &mut Run<'_>,
        planned: &Planned,
        moved: &Moved,
        open: &mut Open,
    ) -> Result<(), Stop> {
        let Some(part) = planned.clone().cut_to(Some(moved.from), Some(moved.to.cursor)) else { return Ok(()) };
        let (start, end) = (part.entry.start(), part.entry.end());
        if part.entry.is_empty() && lost_end(&run.claim.lost, moved.generation, start).is_some() {
            return Ok(());
        }
        if let Entry::Flush { generation, at, component, now } = part.entry {
            let context = run.context(&part, at.pos, at.pos);
            let applied = run.instance(part.epoch)?.flush(component, generation, at, now, &context).await;
            let applied = applied.map_err(|failure| self.failed(&failure))?;
            self.stage_foreign(run, &part, (at, end), applied, open).await;
            return Ok(());
        }
        let mut at = start.pos;
        while at < end.pos {
            if let Some(end) = lost_record_end(&run.claim.lost, moved.generation, at) {
                at = end;
                continue;
            }
            let to = next_loss(&run.claim.lost, moved.generation, at).map_or(end.pos, |lost| lost.min(end.pos));
            let input = match run.feeder.inputs.read(moved.generation, at, to, READ).await {
                Ok(input) => input,
                Err(ReadError::Gone) => return self.lose(&Moved { from: Cursor::at(at), ..moved.clone() }).await,
                Err(ReadError::Unavailable(_)) => {
                    self.sink.clock.sleep(FIND_PAUSE).await;
                    continue;
                }
            };
            // Whoever gives nothing will give something later: what is claimed is never passed over.
            let Some(next) = input.records.last().map(|record| record.end) else {
                self.sink.clock.sleep(FIND_PAUSE).await;
                continue;
            };
            let context = run.context(&part, at, next);
            let applied = run.instance(part.epoch)?.apply(input, &context).await;
            let applied = applied.map_err(|failure| self.failed(&failure))?;
            self.stage_foreign(run, &part, (Cursor::at(at), Cursor::at(next)), applied, open).await;
            at = next;
        }
        Ok(())
    }

    async fn stage_foreign(
        &self,
        run: &mut Run<'_>,
        part: &Planned,
        (cursor_from, to): (Cursor, Cursor),
        mut applied: Applied,
        open: &mut Open,
    ) {
        let Some(made) = applied.outputs.remove(&self.sink.id) else { return };
        let offer = Offer {
            partition: run.partition,
            source: run.feeder.inputs.id.clone(),
            generation: part.entry.generation(),
            from: Place::default(),
            to: Place::default(),
            cursor_from,
            mark: Mark::at(to),
            records: 0,
            received: part.time,
            time: part.time,
            epoch: part.epoch,
            output: made.output,
        };
        self.stage(open, offer, run.claim.floor).await;
    }

    fn failed(&self, failure: &ChainFailure) -> Stop {
        Stop(format!(
            "claim {} of sink {} was begun by another life and can't be finished under its decisions: {failure}; \
             restore the configuration of that life, or give the sink up with `remove: {{ {}: forget }}`",
            self.next, self.sink.id, self.sink.id
        ))
    }
}

/// What a claim says is lost: from one place of a generation to another.
type Loss = (Generation, Cursor, Cursor);

/// Where the loss ends that the claim says `cursor` lies in.
fn lost_end(lost: &[Loss], generation: Generation, cursor: Cursor) -> Option<Cursor> {
    let holds = |(g, from, to): &&Loss| *g == generation && *from <= cursor && cursor < *to;
    lost.iter().find(holds).map(|(.., to)| *to)
}

/// Where the loss ends in which the claim says the record at `pos` is. It stands behind every FLUSH of its place: a loss that ends
/// among those is not its.
fn lost_record_end(lost: &[Loss], generation: Generation, pos: u64) -> Option<u64> {
    let holds = |(g, from, to): &&Loss| *g == generation && from.pos <= pos && pos < to.pos;
    lost.iter().find(holds).map(|(.., to)| to.pos)
}

/// The first position behind `at` that the claim says is lost.
fn next_loss(lost: &[Loss], generation: Generation, at: u64) -> Option<u64> {
    lost.iter().filter(|(g, from, _)| *g == generation && from.pos > at).map(|(_, from, _)| from.pos).min()
}

impl Run<'_> {
    fn instance(&mut self, epoch: crate::EpochId) -> Result<&mut Box<dyn ChainInstance>, Stop> {
        if !self.instances.contains_key(&epoch) {
            let chain = self.feeder.chains.chain(epoch, &self.feeder.inputs.id).ok_or_else(|| {
                Stop(format!(
                    "a claim of another life was made under {epoch:?}, which is not at hand: restore that configuration"
                ))
            })?;
            self.instances.insert(epoch, chain.instance(self.partition));
        }
        Ok(self.instances.get_mut(&epoch).expect("it was put there above"))
    }

    /// The claim's verdicts, and no others, are obeyed; what passed once passes again.
    fn context(&self, part: &Planned, from: u64, to: u64) -> Context {
        let generation = part.entry.generation();
        let inside = self.claim.verdicts.iter().filter(|v| v.generation == generation && (from..=to).contains(&v.pos));
        let poison = inside.filter_map(|v| match v.judge {
            Judge::Component(component) => Some((v.pos, v.slot, component)),
            Judge::Sink(..) => None,
        });
        let poison = poison.collect();
        Context { partition: self.partition, time: part.time, poison, first_run: false, generous: true }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::SourceId;
    use crate::fakes::{self, Nothing, Shelf, Waiting};
    use crate::identity::Held;
    use crate::ports::{Clock as _, SinkPort};
    use crate::tasks::Tasks;
    use futures_util::FutureExt as _;
    use std::sync::Arc;

    #[test]
    fn a_history_that_a_claim_names_is_waited_for_until_its_source_has_found_it() {
        let (clock, shelf, source) = (Arc::new(Waiting::default()), Arc::new(Shelf::default()), SourceId::new("app"));
        let journal = fakes::journal(clock.clone());
        let sink = fakes::sink("lake", SinkPort::Objects(shelf.clone()), &journal, &clock);
        let inputs = fakes::inputs(&source, &journal, &clock);
        sink.set_fed(Feeder { inputs: inputs.clone(), chains: Arc::new(Nothing) }, true);
        let (partition, generation) = (PartitionId([1; 16]), Generation([2; 16]));
        let known = Record::Generation { generation, partition, source, identity: [].into(), start: 0 };
        journal.commit(vec![known]).now_or_never().unwrap().unwrap();
        let log = ClaimLog::new(&sink, shelf.as_ref());
        let mut finding = Box::pin(log.find(generation, FIND_TIME_MAX));
        for _ in 0..10 {
            assert!(finding.as_mut().now_or_never().is_none(), "the source has not begun");
        }
        let tasks = Tasks::default();
        assert!(Box::pin(inputs.run(false, Held::default(), &tasks)).now_or_never().is_none());
        let found = std::iter::repeat_with(|| finding.as_mut().now_or_never()).take(3).flatten().next();
        assert!(found.unwrap().is_some());
        // What nobody finds is not waited for longer.
        let mut finding = Box::pin(log.find(Generation([3; 16]), FIND_TIME_MAX));
        let found = std::iter::repeat_with(|| finding.as_mut().now_or_never()).take(700).flatten().next();
        assert!(found.unwrap().is_none() && clock.elapsed() >= FIND_TIME_MAX);
    }

    #[test]
    fn a_loss_that_ends_among_the_flushes_of_a_place_takes_not_the_record_behind_them() {
        let g = Generation([1; 16]);
        let at = |pos, slot| Cursor { pos, slot };
        let lost = vec![(g, at(10, 0), at(30, 2)), (g, at(30, 2), at(30, 3)), (g, at(50, 1), at(60, 0))];
        assert_eq!(lost_record_end(&lost, g, 20), Some(30));
        assert_eq!(lost_record_end(&lost, g, 30), None);
        assert_eq!(lost_end(&lost, g, at(30, 1)), Some(at(30, 2)));
        assert_eq!(lost_record_end(&lost, g, 50), Some(60), "the record behind a FLUSH that was delivered");
        assert_eq!((lost_record_end(&lost, g, 60), next_loss(&lost, g, 30)), (None, Some(50)));
    }
}
