//! The core's chain port: the part of a configuration that lies between one source and its sinks, as a graph of stages that a
//! batch passes in one go, unless a plugin needs several calls for it: others have their turn between them. It knows what rows
//! become, and nothing of configuration files, sinks or journals.
//!
//! ```text
//!   input ─► decode ─► plugin ─► route ─┬─► rows of sink a
//!                        │              └─► rows of sink b
//!                        └─► dead letters
//! ```

mod fates;
mod flow;
mod instance;
mod online;
mod stages;

pub use flow::From;
pub use stages::{Node, Stage};

use crate::canary::Seat;
use crate::{CallFailure, Plugin};
use fates::Fates;
use instance::PipelineInstance;
use online::Online;
use sawlog_core::plan::ComponentId;
use sawlog_core::ports::{Chain, ChainInstance, Context};
use sawlog_core::{SinkId, SourceId};
use sawlog_record::batch::{Batch, Input};
use sawlog_record::decode::{Decoder, Source};
use sawlog_record::id::{Generation, PartitionId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Rows of one sink: from which outputs they come.
#[derive(Clone, Debug)]
pub struct Tap {
    /// The sink.
    pub sink: SinkId,
    /// Its inputs; a row that comes through several counts once.
    pub inputs: Vec<From>,
}

/// Fields that every row of a partition gets.
pub type FieldsOf = Arc<dyn Fn(PartitionId) -> Source + Send + Sync>;

/// Input whose records themselves say where they enter the graph: what comes back from the dead letters.
pub trait Entrances: Send + Sync {
    /// Reads records into rows. Each has the output of the source by which it enters; `None` where that way has gone.
    fn enter(&self, input: Input, context: &Context) -> (Batch, Vec<Option<u8>>);
}

/// Everything that a pipeline is made of.
pub struct Parts {
    /// The source's key.
    pub source: SourceId,
    /// Reads input for whoever takes the source's records as they are.
    pub decoder: Arc<Decoder>,
    /// Fields from the source.
    pub fields: FieldsOf,
    /// Reads input instead of `decoder` and the parsers among the stages.
    pub entrances: Option<Arc<dyn Entrances>>,
    /// Stages, each behind those that feed it.
    pub nodes: Vec<Node>,
    /// Sinks.
    pub taps: Vec<Tap>,
    /// The sink that takes dead letters of stages.
    pub dead_letter: SinkId,
}

/// The chain of one source under one configuration.
pub struct Pipeline {
    parts: Parts,
    /// By node: under which number what its candidate fails on is journalled.
    candidates: BTreeMap<usize, ComponentId>,
    /// Idle runners of stateless plugins, by node and component: as many as ever ran at once.
    idle: Mutex<BTreeMap<(usize, Seat), Vec<crate::Runner>>>,
    /// How plugins failed on records that this life has judged, for their letters.
    failures: Mutex<BTreeMap<Judged, CallFailure>>,
    /// Batches that may take several calls of a stateless plugin at once: whoever waits between two holds an instance.
    hunts: Semaphore,
    /// Which batches are run twice.
    online: Online,
}

/// Hunts of one pipeline that go on at once; the others wait for their turn with no instance in hand.
const HUNTS_MAX: usize = 4;

/// A record that a component failed on: position, slot, component.
type Judged = (Generation, (u64, u16, ComponentId));

/// Failures that are remembered; a letter whose failure was forgotten says that there was one.
const FAILURES_MAX: usize = 4_096;

impl Pipeline {
    /// A chain that is ready to run.
    pub fn chain(parts: Parts) -> Arc<PipelineChain> {
        let (idle, failures, hunts) = (Mutex::default(), Mutex::default(), Semaphore::new(HUNTS_MAX));
        let (online, candidates) = (Online::of(parts.nodes.len()), candidates(&parts.nodes));
        Arc::new(PipelineChain(Arc::new(Self { parts, candidates, idle, failures, hunts, online })))
    }

    /// Under which number failures of this component are journalled.
    fn number(&self, at: usize, seat: Seat) -> ComponentId {
        let own = self.parts.nodes[at].component;
        if seat == Seat::Own { own } else { self.candidates.get(&at).copied().unwrap_or(own) }
    }

    fn remember(&self, judged: Judged, failure: CallFailure) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.insert(judged, failure);
        if failures.len() > FAILURES_MAX {
            failures.pop_first();
        }
    }

    fn remembered(&self, judged: Judged) -> Option<CallFailure> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(&judged).cloned()
    }

    fn plugins(&self) -> impl Iterator<Item = (usize, &Node, &Plugin)> {
        self.parts.nodes.iter().enumerate().filter_map(|(at, node)| match &node.stage {
            Stage::Plugin { plugin, .. } => Some((at, node, plugin)),
            _ => None,
        })
    }
}

/// Numbers for what candidates fail on: such as no stage has, from the highest down. One with state has none, because nobody else could
/// take the record: that is a dead letter, as a failure of the plugin's own component is. So it is in the last resort, where stages use
/// all numbers up.
fn candidates(nodes: &[Node]) -> BTreeMap<usize, ComponentId> {
    let has_one = |node: &Node| matches!(&node.stage, Stage::Plugin { plugin, .. } if plugin.canary().is_some() && !plugin.stateful());
    let is_free = |number: &ComponentId| nodes.iter().all(|node| node.component != *number);
    let with = nodes.iter().enumerate().filter(|(_, node)| has_one(node)).map(|(at, _)| at);
    with.zip((1..=ComponentId::MAX).rev().filter(is_free)).collect()
}

/// The port's side of a pipeline.
pub struct PipelineChain(Arc<Pipeline>);

impl PipelineChain {
    /// What the stateful components are called, by number: their transform, their plugin, and which of several of that plugin there. What
    /// stands in front of one changes its number, and not its name.
    pub fn names(&self) -> BTreeMap<ComponentId, String> {
        let mut names: BTreeMap<ComponentId, String> = BTreeMap::new();
        for (_, node, plugin) in self.0.plugins().filter(|(_, _, p)| p.stateful()) {
            let transform = node.place.rsplit_once('.').map_or(&*node.place, |(transform, _)| transform);
            let same = |which: u32| format!("{transform} {} {which}", plugin.name());
            let name = (1..).map(same).find(|name| !names.values().any(|other| other == name));
            names.extend(name.map(|name| (node.component, name)));
        }
        names
    }
}

impl Chain for PipelineChain {
    fn instance(&self, partition: PartitionId) -> Box<dyn ChainInstance> {
        Box::new(PipelineInstance::new(self.0.clone(), partition))
    }

    fn stateful(&self) -> BTreeMap<u8, [u8; 32]> {
        self.0
            .plugins()
            .filter(|(_, _, p)| p.stateful())
            .map(|(_, node, p)| (node.component, p.digest_of_state()))
            .collect()
    }
}
