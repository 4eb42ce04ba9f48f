//! A stage's plugin and its calls: which runner a batch goes through, poison that comes of it, and rows by outputs out of what the plugin
//! answers. What must be journalled it leaves with the run.

use super::turns::{risen, settled};
use super::{PipelineInstance, Run};
use crate::apply::{Applied, BatchOrigin, Columns, Death, apply};
use crate::canary::Seat;
use crate::pipeline::flow::{Flow, append, merge};
use crate::pipeline::online::compare;
use crate::pipeline::stages::{Node, Stage};
use crate::shadow::Origin;
use crate::view::BATCH_ROWS_MAX;
use crate::{CallFailure, Hunt, Leniency, Outcome, Plugin, RunError, Runner};
use sawlog_core::ports::{ChainFailure, Context};
use sawlog_record::batch::{Batch, Field, Row, ValueKind};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tokio::task::yield_now;

/// What a verdict of an earlier life says in the dead letter: the journal keeps the decision, not how the plugin failed.
const JUDGED_BEFORE: &str = "the plugin failed on this record when it was run before";

/// The reason of records that a plugin can't take, where they are dropped.
const REJECTED: &str = "rejected";

impl PipelineInstance {
    pub(super) async fn plugin(
        &mut self,
        run: &mut Run<'_>,
        at: usize,
        node: &Node,
        flow: Flow,
    ) -> Result<(), ChainFailure> {
        let Stage::Plugin { plugin, columns, .. } = &node.stage else {
            return Err(ChainFailure::Stopped("a stage without a plugin was to run one".into()));
        };
        let mut parts: BTreeMap<u8, Vec<Flow>> = BTreeMap::new();
        for (seat, flow) in self.seats(run, at, plugin, flow) {
            let columns =
                plugin.canary().filter(|_| seat == Seat::Candidate).map_or(&**columns, |canary| &canary.columns);
            self.component(run, (at, seat), columns, flow, &mut parts).await?;
        }
        for (output, flows) in parts {
            if let Some(flow) = merge(flows) {
                run.put(Some(at), output, flow);
            }
        }
        Ok(())
    }

    /// Which component of the plugin gets which rows. What the candidate has a verdict on, the plugin's own component gets.
    fn seats(&self, run: &Run<'_>, at: usize, plugin: &Plugin, flow: Flow) -> Vec<(Seat, Flow)> {
        let all = |seat, flow: Flow| if flow.rows.is_empty() { Vec::new() } else { vec![(seat, flow)] };
        let Some(canary) = plugin.canary().filter(|_| !plugin.stateful()) else {
            return all(self.seat(plugin), flow);
        };
        let number = self.pipeline.number(at, Seat::Candidate);
        let is_its = |row: &u32| {
            let id = flow.batch.rows[*row as usize].id;
            canary.takes_record(run.generation, (id.pos, id.slot)) && !run.judged.contains(&(id.pos, id.slot, number))
        };
        let (its, rest): (Vec<u32>, Vec<u32>) = flow.rows.iter().partition(|row| is_its(row));
        let batch = flow.batch;
        // The rest goes last: what is made of it is what the rest of all rows are appended to, and it is more as a rule.
        let its = all(Seat::Candidate, Flow { batch: batch.clone(), rows: its });
        its.into_iter().chain(all(Seat::Own, Flow { batch, rows: rest })).collect()
    }

    /// Who has the state of a plugin that keeps some, in this partition; a plugin without state has its own component there.
    pub(super) fn seat(&self, plugin: &Plugin) -> Seat {
        let is_taken =
            plugin.stateful() && plugin.canary().is_some_and(|canary| canary.takes_partition(self.partition));
        if is_taken { Seat::Candidate } else { Seat::Own }
    }

    /// Runs rows through one component.
    async fn component(
        &mut self,
        run: &mut Run<'_>,
        (at, seat): (usize, Seat),
        columns: &Columns,
        flow: Flow,
        parts: &mut BTreeMap<u8, Vec<Flow>>,
    ) -> Result<(), ChainFailure> {
        let pipeline = self.pipeline.clone();
        let mut runner = self.runner((at, seat), run.context)?;
        let mut done = Ok(());
        for rows in flow.rows.chunks(BATCH_ROWS_MAX) {
            let part = match rows.len() == flow.rows.len() {
                true => None,
                false => Some(Flow { batch: flow.batch.clone(), rows: rows.to_vec() }),
            };
            let batch = part.unwrap_or_else(|| flow.clone()).into_batch();
            match self.call(run, (at, seat), columns, &mut runner, batch).await {
                Ok(applied) => collect(run, (&pipeline.parts.nodes[at], seat), applied, parts),
                Err(failure) => {
                    done = Err(failure);
                    break;
                }
            }
        }
        self.give_back(run, (at, seat), runner);
        done
    }

    async fn call(
        &self,
        run: &mut Run<'_>,
        (at, seat): (usize, Seat),
        columns: &Columns,
        runner: &mut Runner,
        batch: Batch,
    ) -> Result<Applied, ChainFailure> {
        let node = &self.pipeline.parts.nodes[at];
        let number = self.pipeline.number(at, seat);
        let source = self.pipeline.parts.source.as_str();
        let origin = BatchOrigin { input: &node.name, source, time: run.context.time, watermark: runner.watermark() };
        let Some(view) = columns.view(&batch, origin) else {
            return Err(ChainFailure::Stopped(format!("{}: a batch has more than {BATCH_ROWS_MAX} rows", node.name)));
        };
        let known = |row: &Row| run.judged.contains(&(row.id.pos, row.id.slot, number));
        let judged: Vec<u32> = (0..batch.rows.len() as u32).filter(|i| known(&batch.rows[*i as usize])).collect();
        let (view, twin) = (Arc::new(view), self.pipeline.online.twin(at, runner, run.context));
        let is_new = run.context.first_run && !run.context.generous;
        let shadow = is_new.then(|| runner.plugin().shadow()?.place(runner)).flatten();
        let mut outcome = self.hunt(run.context, (at, seat), runner, Hunt::new(view.clone(), &judged)).await?;
        if let Some(twin) = twin {
            compare(runner, twin, &view, &outcome);
        }
        // A batch with poison comes again, with a verdict on it.
        if let Some(place) = shadow.filter(|_| outcome.poison.is_empty()) {
            place.take(&batch, &judged, &outcome, &Origin { input: &node.name, source, time: run.context.time });
        }
        if let Stage::Plugin { plugin, .. } = &node.stage {
            run.tally(plugin, seat, &batch, &judged, &outcome);
        }
        for (row, failure) in &outcome.poison {
            let id = batch.rows[*row as usize].id;
            let place = (id.pos, id.slot, number);
            self.pipeline.remember((run.generation, place), failure.clone());
            run.poison.push((id.pos, id.slot, number, failure.to_string()));
        }
        outcome.poison.extend(judged.iter().map(|row| {
            let id = batch.rows[*row as usize].id;
            let seen = self.pipeline.remembered((run.generation, (id.pos, id.slot, number)));
            (*row, seen.unwrap_or_else(|| CallFailure::Rejected(JUDGED_BEFORE.to_owned())))
        }));
        outcome.poison.sort_by_key(|(row, _)| *row);
        Ok(apply(batch, &outcome, node.component))
    }

    /// Runs a batch, with a turn for all others between any two calls. Most batches are one.
    async fn hunt(
        &self,
        context: &Context,
        seated: (usize, Seat),
        runner: &mut Runner,
        mut hunt: Hunt,
    ) -> Result<Outcome, ChainFailure> {
        let mut place = None;
        loop {
            if runner.is_behind() && runner.is_heavy() {
                risen(runner).await?;
            }
            runner.step(&mut hunt).map_err(stopped)?;
            if hunt.is_done() {
                settled(runner).await;
                return Ok(runner.finish(hunt));
            }
            if place.is_none() && !runner.plugin().stateful() {
                place = self.pipeline.hunts.try_acquire().ok();
                if place.is_none() {
                    runner.discard();
                    place = self.pipeline.hunts.acquire().await.ok();
                    if let Some(idle) = self.idle(seated, context) {
                        runner.take_over(idle);
                    }
                }
            }
            yield_now().await;
        }
    }

    /// An idle runner of a stateless plugin, if there is one: a first run must not find budgets that are meant for what another
    /// build planned, nor the other way round.
    fn idle(&self, seated: (usize, Seat), context: &Context) -> Option<Runner> {
        if context.generous {
            return None;
        }
        self.pipeline.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&seated)?.pop()
    }

    /// The partition's own runner, or an idle one of a stateless plugin.
    pub(super) fn runner(&mut self, (at, seat): (usize, Seat), context: &Context) -> Result<Runner, ChainFailure> {
        let leniency = if context.generous { Leniency::OtherBuild } else { Leniency::Usual };
        if let Some(mut runner) = self.stateful.remove(&at) {
            runner.set_leniency(leniency);
            return Ok(runner);
        }
        if let Some(runner) = self.idle((at, seat), context) {
            return Ok(runner);
        }
        let Stage::Plugin { plugin, .. } = &self.pipeline.parts.nodes[at].stage else {
            return Err(ChainFailure::Stopped("a stage without a plugin was to run one".into()));
        };
        Ok(Runner::new(plugin.seated(seat).clone(), leniency))
    }

    /// What the plugin said counts where this lane speaks for the partition: others repeat what was said.
    pub(super) fn give_back(&mut self, run: &mut Run<'_>, (at, seat): (usize, Seat), mut runner: Runner) {
        let said = runner.take_telemetry();
        if run.context.first_run && !said.is_empty() {
            run.said.push((runner.plugin().clone(), said));
        }
        if runner.plugin().stateful() {
            self.stateful.insert(at, runner);
            return;
        }
        if run.context.generous {
            return;
        }
        self.pipeline.idle.lock().unwrap_or_else(PoisonError::into_inner).entry((at, seat)).or_default().push(runner);
    }
}

pub(super) fn stopped(error: RunError) -> ChainFailure {
    ChainFailure::Stopped(error.to_string())
}

/// Takes the result of a plugin's component apart: rows by output, fates of the rest, letters of the dead.
pub(super) fn collect(
    run: &mut Run<'_>,
    (node, seat): (&Node, Seat),
    applied: Applied,
    parts: &mut BTreeMap<u8, Vec<Flow>>,
) {
    let Applied { batch, routes, dropped, absorbed, dead } = applied;
    let (plugin, drops_rejected) = match &node.stage {
        Stage::Plugin { plugin, drops_rejected, .. } => (Some(plugin), *drops_rejected),
        _ => (None, false),
    };
    let reasons = plugin.map(|plugin| plugin.seated(seat).registration());
    let canary = plugin.and_then(Plugin::canary).filter(|_| seat == Seat::Candidate);
    for (parent, reason) in dropped {
        run.fates.dropped(parent, reasons.map_or("filtered", |r| r.drop_reason(reason)));
    }
    absorbed.into_iter().for_each(|parent| run.fates.absorbed(parent));
    // Rows of a flush came of no input record that the ledger could count as dropped: they are kept as letters all the same.
    let is_dropped = |(row, _): &(Row, Death)| drops_rejected && run.fates.is_of_input(row.parent);
    let (rejected, dead): (Vec<_>, Vec<_>) = dead.into_iter().partition(is_dropped);
    rejected.iter().for_each(|(row, _)| run.fates.dropped(row.parent, REJECTED));
    if !dead.is_empty() {
        dead.iter().for_each(|(row, _)| run.fates.dead(row.parent));
        run.letters.push(letters(&batch, &dead, node));
    }
    let mut by_output: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    let mut row = 0;
    for alike in routes.chunk_by(|a, b| a == b) {
        let rows = row..row + alike.len() as u32;
        row = rows.end;
        // What goes out by a way that only the candidate knows reaches nobody, and is counted as that.
        let Some(output) = canary.map_or(Some(alike[0]), |canary| canary.output(alike[0])) else { continue };
        by_output.entry(output).or_default().extend(rows);
    }
    let batch = Arc::new(batch);
    for (output, rows) in by_output {
        parts.entry(output).or_default().push(Flow { batch: batch.clone(), rows });
    }
}

/// Dead rows with the component, its place and the reason as fields of their own.
fn letters(batch: &Batch, dead: &[(Row, Death)], node: &Node) -> Flow {
    let rows = Batch { rows: dead.iter().map(|(row, _)| *row).collect(), ..batch.clone() };
    let mut letters = Batch::new(batch.generation);
    append(&mut letters, &Flow::whole(rows));
    for (index, (_, death)) in dead.iter().enumerate() {
        let added = [
            ("dead_letter.component", node.name.clone()),
            ("dead_letter.stage", node.place.clone()),
            ("dead_letter.reason", death.text()),
        ];
        let fields_start = letters.fields.len() as u32;
        let row = letters.rows[index];
        let own: Vec<Field> = letters.fields_of(&row).to_vec();
        letters.fields.extend(own);
        for (key, value) in added {
            let (key, value) = (letters.push_bytes(key.as_bytes()), letters.push_bytes(value.as_bytes()));
            letters.fields.push(Field { key, value, kind: ValueKind::Text });
        }
        let fields_len = letters.fields.len() as u32 - fields_start;
        letters.rows[index] = Row { text: None, fields_start, fields_len, ..row };
    }
    Flow::whole(letters)
}
