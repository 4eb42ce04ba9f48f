//! A pipeline at work for one partition and lane: runs batches and flushes through the stages, keeps the state of stateful
//! plugins, and hands poison back for a verdict before anything of the batch is used.

mod calls;
mod turns;

use super::flow::{Flow, From, merge};
use super::stages::{Node, Stage, filter, route};
use super::{Fates, Pipeline};
use crate::apply::{FlushPlace, apply_flush};
use crate::canary::Seat;
use crate::{ComponentState, Leniency, Outcome, Plugin, Runner, Telemetry};
use async_trait::async_trait;
use calls::{collect, stopped};
use sawlog_core::SinkId;
use sawlog_core::plan::{ComponentId, UpgradeOutcome};
use sawlog_core::ports::{self, ChainFailure, ChainInstance, Context, SinkOutput};
use sawlog_record::batch::{Batch, Input, Output};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use turns::{aside, risen, settled, turn};

/// The reason of records that were to enter at a component which has gone from the configuration.
const ENTRANCE_GONE: &str = "entrance_gone";

/// The instance of one partition and lane.
pub struct PipelineInstance {
    pipeline: Arc<Pipeline>,
    partition: PartitionId,
    /// Runners of stateful plugins, by node.
    stateful: BTreeMap<usize, Runner>,
}

/// One batch on its way.
struct Run<'a> {
    context: &'a Context,
    generation: Generation,
    fates: Fates,
    /// Results by node and output.
    flows: BTreeMap<From, Flow>,
    /// How many inputs will still ask for an output.
    asked: BTreeMap<From, usize>,
    letters: Vec<Flow>,
    poison: Vec<(u64, u16, ComponentId, String)>,
    /// What has a verdict.
    judged: BTreeSet<(u64, u16, ComponentId)>,
    /// Records that components of plugins with a candidate ran, to be counted once the batch has come to its end.
    passed: Vec<(Plugin, Seat, u64)>,
    /// What plugins said of themselves where this lane speaks for the partition.
    said: Vec<(Plugin, Telemetry)>,
}

impl Run<'_> {
    /// Has what plugins said be heard. A batch with poison is run again, and counted then; its lines may say why.
    fn hear(&mut self) {
        for (plugin, said) in self.said.drain(..) {
            plugin.heard(if self.poison.is_empty() { said } else { said.lines_alone() });
        }
        let counted = self.passed.drain(..).filter(|_| self.poison.is_empty());
        counted.for_each(|(plugin, seat, records)| {
            plugin.canary().into_iter().for_each(|canary| canary.passed(seat, records));
        });
    }

    /// Counts what a component made of a batch, where another has a share of the records and this lane speaks for the partition. What
    /// failed comes no second time; what passed does where the batch has poison.
    fn tally(&mut self, plugin: &Plugin, seat: Seat, batch: &Batch, judged: &[u32], outcome: &Outcome) {
        let Some(canary) = plugin.canary().filter(|_| self.context.first_run) else { return };
        let record = |row: u32| (batch.rows[row as usize].id.pos, batch.rows[row as usize].id.slot);
        let failed: BTreeSet<_> = outcome.poison.iter().map(|(row, _)| record(*row)).collect();
        if let Some((_, newest)) = outcome.poison.last().filter(|_| seat == Seat::Candidate) {
            canary.failed(failed.len() as u64, newest.to_string());
        }
        let unjudged = (0..batch.rows.len() as u32).filter(|row| judged.binary_search(row).is_err());
        let passed: BTreeSet<_> = unjudged.map(record).filter(|record| !failed.contains(record)).collect();
        self.passed.push((plugin.clone(), seat, passed.len() as u64));
    }

    fn put(&mut self, node: Option<usize>, output: u8, flow: Flow) {
        self.flows.insert(From { node, output }, flow);
    }

    /// Rows of these inputs. The last who asks gets the batch itself.
    fn take(&mut self, inputs: &[From]) -> Option<Flow> {
        let mut flows = Vec::new();
        for from in inputs {
            let left = self.asked.entry(*from).or_insert(1);
            *left = left.saturating_sub(1);
            let flow = if *left == 0 { self.flows.remove(from) } else { self.flows.get(from).cloned() };
            flows.extend(flow);
        }
        merge(flows)
    }
}

impl PipelineInstance {
    pub(super) fn new(pipeline: Arc<Pipeline>, partition: PartitionId) -> Self {
        let mut new = Self { pipeline: pipeline.clone(), partition, stateful: BTreeMap::new() };
        for (at, _, plugin) in pipeline.plugins().filter(|(_, _, p)| p.stateful()) {
            let seated = plugin.seated(new.seat(plugin)).clone();
            new.stateful.insert(at, Runner::new(seated, Leniency::Usual));
        }
        new
    }

    fn run<'a>(&self, context: &'a Context, generation: Generation, records: usize) -> Run<'a> {
        let mut asked = BTreeMap::new();
        self.inputs_of_rows().for_each(|from| *asked.entry(*from).or_default() += 1);
        Run {
            context,
            generation,
            fates: Fates::of(records),
            flows: BTreeMap::new(),
            asked,
            letters: Vec::new(),
            poison: Vec::new(),
            judged: context.poison.iter().copied().collect(),
            passed: Vec::new(),
            said: Vec::new(),
        }
    }

    /// What stages and taps take rows from; decoders read the input itself.
    fn inputs_of_rows(&self) -> impl Iterator<Item = &From> {
        let parts = &self.pipeline.parts;
        let nodes = parts.nodes.iter().filter(|n| !matches!(n.stage, Stage::Decode(_))).map(|n| &n.inputs);
        nodes.chain(parts.taps.iter().map(|t| &t.inputs)).flatten()
    }

    /// The stages from `first` on.
    async fn stages(&mut self, run: &mut Run<'_>, input: Option<Input>, first: usize) -> Result<(), ChainFailure> {
        let pipeline = self.pipeline.clone();
        let mut input = input;
        let mut readers = pipeline.parts.nodes.iter().filter(|n| matches!(n.stage, Stage::Decode(_))).count();
        for (at, node) in pipeline.parts.nodes.iter().enumerate().skip(first) {
            if let Stage::Decode(decoder) = &node.stage {
                readers -= 1;
                let Some(input) = (if readers > 0 { input.clone() } else { input.take() }) else { continue };
                let fields = (pipeline.parts.fields)(self.partition);
                let decoded = decoder.decode(input, &fields, run.context.time, node.component);
                run.put(Some(at), 0, Flow::whole(decoded.batch));
                continue;
            }
            let Some(flow) = run.take(&node.inputs) else { continue };
            self.stage(run, at, node, flow).await?;
        }
        run.hear();
        if run.poison.is_empty() { Ok(()) } else { Err(ChainFailure::Poison(std::mem::take(&mut run.poison))) }
    }

    async fn stage(&mut self, run: &mut Run<'_>, at: usize, node: &Node, flow: Flow) -> Result<(), ChainFailure> {
        match &node.stage {
            Stage::Decode(_) => {}
            Stage::Filter(condition) => {
                let (kept, dropped) = filter(flow, condition);
                dropped.into_iter().for_each(|parent| run.fates.dropped(parent, "filtered"));
                run.put(Some(at), 0, kept);
            }
            Stage::Route { conditions, unmatched } => {
                for (output, flow) in route(&flow, conditions, *unmatched) {
                    run.put(Some(at), output, flow);
                }
            }
            Stage::Plugin { .. } => self.plugin(run, at, node, flow).await?,
        }
        Ok(())
    }

    // ------------------------------------------------------------ ends

    fn finish(&self, mut run: Run<'_>) -> ports::Applied {
        let parts = &self.pipeline.parts;
        let mut applied = ports::Applied::default();
        let letters = merge(std::mem::take(&mut run.letters));
        for tap in &parts.taps {
            let flow = run.take(&tap.inputs).unwrap_or_else(|| Flow::whole(Batch::new(run.generation)));
            let counts = run.fates.counts(&flow.batch, &flow.rows);
            let output = Output { batch: flow.batch, rows: flow.rows };
            applied.outputs.insert(tap.sink.clone(), SinkOutput { output, counts });
        }
        let flow = letters.unwrap_or_else(|| Flow::whole(Batch::new(run.generation)));
        let counts = run.fates.letters(flow.rows.len());
        let output = Output { batch: flow.batch, rows: flow.rows };
        let sink: SinkId = parts.dead_letter.clone();
        applied.outputs.entry(sink).or_insert(SinkOutput { output, counts });
        applied
    }
}

/// Saved state as the checkpoint keeps it: the version of the plugin's own state, then the state.
fn blob_of(plugin: &Plugin, state: &ComponentState) -> Vec<u8> {
    let mut blob = plugin.registration().state_version.to_le_bytes().to_vec();
    blob.extend(state.to_bytes());
    blob
}

/// Puts rows where they say that they enter.
fn enter(run: &mut Run<'_>, (batch, outputs): (Batch, Vec<Option<u8>>)) {
    let mut by_output: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for (row, output) in outputs.into_iter().enumerate() {
        match output {
            Some(output) => by_output.entry(output).or_default().push(row as u32),
            None => run.fates.dropped(batch.rows[row].parent, ENTRANCE_GONE),
        }
    }
    let batch = Arc::new(batch);
    for (output, rows) in by_output {
        run.put(None, output, Flow { batch: batch.clone(), rows });
    }
}

#[async_trait]
impl ChainInstance for PipelineInstance {
    async fn apply(&mut self, input: Input, context: &Context) -> Result<ports::Applied, ChainFailure> {
        let mut run = self.run(context, input.generation, input.records.len());
        if let Some(entrances) = &self.pipeline.parts.entrances {
            enter(&mut run, entrances.enter(input, context));
            self.stages(&mut run, None, 0).await?;
            return Ok(self.finish(run));
        }
        let decodes = self.pipeline.parts.nodes.iter().any(|n| matches!(n.stage, Stage::Decode(_)));
        let as_it_is = self.inputs_of_rows().any(|from| *from == From { node: None, output: 0 });
        let further = (as_it_is && decodes).then(|| input.clone());
        if as_it_is {
            let fields = (self.pipeline.parts.fields)(self.partition);
            let decoded = self.pipeline.parts.decoder.decode(input, &fields, context.time, 0);
            run.put(None, 0, Flow::whole(decoded.batch));
            self.stages(&mut run, further, 0).await?;
        } else {
            self.stages(&mut run, Some(input), 0).await?;
        }
        Ok(self.finish(run))
    }

    async fn flush(
        &mut self,
        component: ComponentId,
        generation: Generation,
        at: Cursor,
        now: i64,
        context: &Context,
    ) -> Result<ports::Applied, ChainFailure> {
        let mut run = self.run(context, generation, 0);
        let pipeline = self.pipeline.clone();
        let node = pipeline.parts.nodes.iter().position(|n| n.component == component);
        let slot = at.slot + 1;
        let judged = context.poison.iter().any(|(pos, s, c)| (*pos, *s, *c) == (at.pos, slot, component));
        if judged {
            // It is not flushed again and again: what it holds back it holds until rows come to it.
            node.and_then(|index| self.stateful.get_mut(&index)).into_iter().for_each(Runner::give_up_flush);
        }
        let (Some(index), false) = (node, judged) else { return Ok(self.finish(run)) };
        let Stage::Plugin { plugin, .. } = &pipeline.parts.nodes[index].stage else {
            return Err(ChainFailure::Stopped("a stage without a plugin was to be flushed".into()));
        };
        let seat = self.seat(plugin);
        let mut runner = self.runner((index, seat), context)?;
        let emitted = match risen(&mut runner).await {
            Ok(()) => turn(&mut runner, move |runner| runner.flush(now)).await.map_err(stopped),
            Err(failure) => Err(failure),
        };
        settled(&mut runner).await;
        self.give_back(&mut run, (index, seat), runner);
        let emitted = match emitted? {
            Ok(emitted) => emitted,
            Err(failure) => {
                let its = plugin.canary().filter(|_| seat == Seat::Candidate && context.first_run);
                its.into_iter().for_each(|canary| canary.failed(1, failure.to_string()));
                return Err(ChainFailure::Poison(vec![(at.pos, slot, component, failure.to_string())]));
            }
        };
        let place = FlushPlace { pos: at.pos, slot, parent: 0, received: context.time };
        let applied = apply_flush(Batch::new(generation), emitted, component, place);
        let mut parts = BTreeMap::new();
        collect(&mut run, (&pipeline.parts.nodes[index], seat), applied, &mut parts);
        for (output, flows) in parts {
            if let Some(flow) = merge(flows) {
                run.put(Some(index), output, flow);
            }
        }
        self.stages(&mut run, None, index + 1).await?;
        let mut applied = self.finish(run);
        // A FLUSH is no input record: it moves no count but that of rows.
        applied.outputs.values_mut().for_each(|out| {
            out.counts = sawlog_core::ledger::Counts { rows: out.output.rows.len() as u64, ..Default::default() };
        });
        Ok(applied)
    }

    async fn snapshot(&mut self) -> Result<BTreeMap<ComponentId, Vec<u8>>, ChainFailure> {
        let mut states = BTreeMap::new();
        for (at, runner) in &mut self.stateful {
            let node = &self.pipeline.parts.nodes[*at];
            risen(runner).await?;
            let saved = turn(runner, |runner| Ok(runner.snapshot()?.map(|state| blob_of(runner.plugin(), &state))));
            let blob = saved.await.map_err(stopped)?;
            let blob = blob.map_err(|failure| ChainFailure::Stopped(format!("{}: snapshot: {failure}", node.name)))?;
            states.insert(node.component, blob);
        }
        Ok(states)
    }

    async fn restore(&mut self, mut states: BTreeMap<ComponentId, Vec<u8>>) -> Result<(), ChainFailure> {
        for (at, runner) in &mut self.stateful {
            let Some(blob) = states.remove(&self.pipeline.parts.nodes[*at].component) else { continue };
            let plugin = runner.plugin().clone();
            let is_long = Runner::is_heavy_state(blob.len());
            let restored = aside(runner.plugin(), is_long, move || {
                let (_, state) = parse(&blob)?;
                Runner::restored(plugin, Leniency::Usual, state).map_err(stopped)
            });
            let restored = restored.await?;
            *runner = restored;
        }
        Ok(())
    }

    async fn upgrade(&mut self, component: ComponentId, old: Vec<u8>) -> Result<UpgradeOutcome, ChainFailure> {
        let at = self.pipeline.parts.nodes.iter().position(|n| n.component == component);
        let Some(runner) = at.and_then(|at| self.stateful.get_mut(&at)) else { return Ok(UpgradeOutcome::Fresh) };
        let (plugin, is_long) = (runner.plugin().clone(), Runner::is_heavy_state(old.len()));
        let upgraded = aside(runner.plugin(), is_long, move || {
            let (version, state) = parse(&old)?;
            // State of this very form needs no way from an older one.
            Ok::<_, ChainFailure>(match version == plugin.registration().state_version {
                true => Runner::restored(plugin, Leniency::Usual, state),
                false => Runner::upgraded(plugin, Leniency::Usual, version, state),
            })
        });
        match upgraded.await? {
            Ok(upgraded) => {
                *runner = upgraded;
                Ok(UpgradeOutcome::Carried)
            }
            Err(_) => Ok(UpgradeOutcome::Fresh),
        }
    }

    fn wake_at(&self) -> Vec<(ComponentId, i64)> {
        let nodes = &self.pipeline.parts.nodes;
        self.stateful.iter().filter_map(|(at, runner)| Some((nodes[*at].component, runner.wake_at()?))).collect()
    }
}

/// The version of the plugin's own state, and the state.
fn parse(blob: &[u8]) -> Result<(u32, ComponentState), ChainFailure> {
    let Some((version, rest)) = blob.split_first_chunk::<4>() else {
        return Err(ChainFailure::Stopped("saved plugin state is cut short".into()));
    };
    let state = ComponentState::from_bytes(rest).map_err(|error| ChainFailure::Stopped(error.to_string()))?;
    Ok((u32::from_le_bytes(*version), state))
}
