//! What every source and every sink has in common for an operator: shared options, findings about them, and the promise
//! that a route from a source to a sink can keep. It knows no single source or sink.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Count, Period};

/// What a sink promises for the records that reach it, from strongest to weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Each accepted record becomes visible exactly once, or lies in the dead letters exactly once.
    ExactlyOnce,
    /// Each accepted record becomes visible, after a fault perhaps more than once.
    AtLeastOnce,
    /// Records may be lost or repeated.
    BestEffort,
}

impl Delivery {
    /// The word as it is written in a config.
    pub fn word(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly_once",
            Self::AtLeastOnce => "at_least_once",
            Self::BestEffort => "best_effort",
        }
    }
}

/// Which layer of a lambda architecture a sink feeds: said by `validate`, `graph`, `status` and the metric `sawlog_sink_info`, so that
/// alarms can tell them apart. It changes nothing of what the sink does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Seen within seconds.
    Speed,
    /// Complete, in large objects.
    Batch,
}

impl Layer {
    /// The word in a config.
    pub fn word(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Batch => "batch",
        }
    }
}

/// What happens when a sink has fallen behind as far as its budget goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBudget {
    /// The sink's own lane stops; only the queue's quota stops shared input.
    #[default]
    Block,
    /// What is beyond `budget` is given up, the oldest first, and so is what keeps a source's queue full: counted in the ledger as
    /// `lost`, reason `budget`. What a blocking sink holds back all the same is not given up.
    DropOldest,
}

/// How far a sink with `on_budget: drop_oldest` may fall behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// What may be planned and not yet given to the sink, of all its sources: bytes of files and queues, offsets of topics.
    pub bytes: ByteSize,
    /// How long ago the oldest of it may have been planned; any time where none is given.
    pub age: Option<Period>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: ByteSize::gib(1), age: None }
    }
}

/// What happens to a record that a component can't take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It goes to the dead letters with the reason and its origin.
    #[default]
    DeadLetter,
    /// It is dropped and counted under the reason `rejected`.
    Drop,
}

/// Which of record id, agent, source, position and received time a sink writes into every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// All of them, so that a reader can audit and find a repeat by itself.
    Full,
    /// The received time alone.
    Received,
    /// None of them.
    #[default]
    None,
}

/// Where a sink that is added to a running agent begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartFrom {
    /// At the frontier of each partition: what was planned before is not sent.
    #[default]
    Frontier,
    /// At the oldest record that can still be read: what was read before comes to this sink alone, and before what comes then, under
    /// the configuration that adds it. Files as far as they are there, pushed requests as far as the queue keeps them. Refused for a
    /// `kafka` source that has planned input already.
    Oldest,
}

/// When a batch is sent: at the first limit that is met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Encoded size of a batch. The sink's own default where none is given.
    pub bytes: Option<ByteSize>,
    /// Input records of a batch; no limit where none is given. What a source read at once is not divided, so a batch may have more.
    pub records: Option<Count>,
    /// Time between two batches, so that no record waits longer; what comes after a quiet while goes at once.
    pub age: Period,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: None, records: None, age: Period::from_secs(1) }
    }
}

/// How a failed request is repeated: forever, with jittered exponential backoff between these bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Wait before the first repeat.
    pub initial: Period,
    /// Longest wait between two repeats.
    pub max: Period,
    /// Failures in a row after which the circuit opens and only one probe goes out per wait.
    pub open_circuit_after: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial: Period::from_millis(200), max: Period::from_secs(30), open_circuit_after: 5 }
    }
}

/// Options of every source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceCommon {
    /// The name that this source had before; without it a renamed source is a new one and its input is read again.
    pub formerly: Option<String>,
}

/// Options of every sink.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkCommon {
    /// Names of sources, transforms and outputs (`NAME.OUTPUT`) whose rows this sink takes. A row that arrives through
    /// several of them counts once.
    pub inputs: Vec<String>,
    /// The promise asked for. `defaults.delivery` where none is given; `console` and `blackhole` are `best_effort`.
    pub delivery: Option<Delivery>,
    /// The layer of a lambda architecture that this sink feeds.
    pub layer: Option<Layer>,
    /// What happens when the sink has fallen behind as far as its budget goes.
    pub on_budget: OnBudget,
    /// How far it may fall behind; of use with `on_budget: drop_oldest`.
    pub budget: Budget,
    /// What happens to a record that the sink refuses. `defaults.on_error` where none is given.
    pub on_error: Option<OnError>,
    /// The sink that takes this sink's dead letters. The config's `dead_letter` where none is given.
    pub dead_letter: Option<String>,
    /// Dead letters that this sink hands over in a second, in the long run; a second's worth may go at once. Where it refuses more
    /// than that it waits, and says so: a mapping gone wrong then shows as lag, and not as a second stream of everything. 1000 where
    /// none is given.
    pub dead_letters_per_second: Option<NonZeroU32>,
    /// When a batch is sent.
    pub batch: Batch,
    /// How a failed request is repeated.
    pub retry: Retry,
    /// Whether every row carries its record id, agent, source, position and received time. `full` where none is given,
    /// `none` for `file` and `console`.
    pub provenance: Option<Provenance>,
    /// Where this sink begins when it is added to a running agent.
    pub from: StartFrom,
    /// The name that this sink had before; without it a renamed sink is a new one and its input is sent again.
    pub formerly: Option<String>,
}

/// Whether a finding refuses the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config is taken, and this is said.
    Warning,
}

/// What a component finds wrong with its own options, beyond their types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The dotted path of the option, from the component (`roll.size`).
    pub path: String,
    /// Whether it refuses the config.
    pub severity: Severity,
    /// What is wrong, and after a semicolon how to mend it.
    pub reason: String,
}

impl Finding {
    /// A finding that refuses the config.
    pub fn error(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), severity: Severity::Error, reason: reason.into() }
    }
    /// A finding that is only said.
    pub fn warning(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), severity: Severity::Warning, reason: reason.into() }
    }
}

/// What a sink must know of a source to say what it can promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Files of this node: read again after a crash.
    Files,
    /// Pushed input behind the write-ahead queue.
    Pushed,
    /// Partitions of a consumer group, which move between agents.
    Moving,
    /// Kafka partitions that are assigned to this agent by hand.
    Pinned,
}

/// What a sink must know of one route to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteFacts {
    /// What kind of source feeds the route.
    pub source: SourceKind,
    /// The promise asked for.
    pub asked: Delivery,
    /// The route passes through a WASM plugin.
    pub plugins: bool,
}

/// What a route can promise, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// The strongest promise that holds, never stronger than asked for.
    pub delivery: Delivery,
    /// What makes it hold (`kafka transaction`).
    pub mechanism: String,
    /// Why the promise is weaker than the one asked for, and after a semicolon how to get it.
    pub weaker_because: Option<String>,
    /// What must be true outside of Sawlog for it to hold.
    pub provided: Vec<String>,
}

impl Promise {
    /// The promise asked for, kept by `mechanism`.
    pub fn kept(facts: &RouteFacts, mechanism: impl Into<String>) -> Self {
        let provided = match facts.source {
            // Whoever opens a partition's journal fences whoever had it before.
            SourceKind::Moving => vec![
                "the source's journal topic keeps 3 replicas with 2 in sync, and every agent of the group has this source, these sinks and plugins under the same names".to_owned(),
            ],
            _ => Vec::new(),
        };
        Self { delivery: facts.asked, mechanism: mechanism.into(), weaker_because: None, provided }
    }

    /// At most `delivery`, because of something. What was asked for stands where it is no stronger.
    pub fn at_most(
        facts: &RouteFacts,
        delivery: Delivery,
        mechanism: impl Into<String>,
        because: impl Into<String>,
    ) -> Self {
        let weaker_because = (facts.asked < delivery).then(|| because.into());
        Self { delivery: facts.asked.max(delivery), mechanism: mechanism.into(), weaker_because, provided: Vec::new() }
    }

    /// The same, provided that something outside of Sawlog is true.
    pub fn provided(mut self, condition: impl Into<String>) -> Self {
        self.provided.push(condition.into());
        self
    }
}

/// What the options of a sink say about it.
pub trait DescribeSink {
    /// What is wrong with the options, beyond their types.
    fn check(&self, common: &SinkCommon) -> Vec<Finding>;
    /// What a route to this sink can promise.
    fn promise(&self, route: &RouteFacts) -> Promise;
    /// The rights that the sink needs at its destination: ACLs, IAM actions, HDFS rights.
    fn rights(&self) -> Vec<String>;
    /// What readers of the destination must do.
    fn readers(&self) -> Vec<String>;
    /// Where rows lie and what they look like there, as far as the options say: where that changes, the sink switches.
    fn place(&self) -> String;
    /// The order that readers can count on.
    fn ordering(&self) -> &'static str;
    /// Memory that open objects and batches may take, in bytes.
    fn memory_bytes_max(&self, common: &SinkCommon) -> u64;
}

/// What the options of a source say about it.
pub trait DescribeSource {
    /// What is wrong with the options, beyond their types.
    fn check(&self) -> Vec<Finding>;
    /// What kind of source it is for a sink.
    fn kind(&self) -> SourceKind;
    /// The rights that the source needs: file access, ACLs, ports.
    fn rights(&self) -> Vec<String>;
    /// What must be true outside of Sawlog for records to be accepted exactly once.
    fn provided(&self) -> Vec<String>;
}
