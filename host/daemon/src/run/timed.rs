//! Chains and sinks that take down how long a call took. They pass everything on, and decide nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry::KeyValue;
use sawlog_core::journal::Mark;
use sawlog_core::plan::{ComponentId, UpgradeOutcome};
use sawlog_core::ports::{
    AppendFile, Applied, Chain, ChainFailure, ChainInstance, Chains, Context, DocumentOutcome, DocumentStore, Hidden,
    Offer, RefusedRow, SinkError, SinkPort, TransactionLog,
};
use sawlog_core::sink::Letter;
use sawlog_core::{EpochId, SinkId, SourceId};
use sawlog_record::batch::Input;
use sawlog_record::id::{Cursor, Generation, PartitionId};

use crate::telemetry::stages::{self, Stage, Stages};

/// The port of a sink, with its calls taken down. Objects are not: what they take is the age at which they are rolled.
pub fn sink(port: SinkPort, sink: &SinkId, stages: &Arc<Stages>) -> SinkPort {
    let labels = |stage: Stage| stage.labels(sink.as_str());
    let (wait, request) = (labels(Stage::Wait), labels(Stage::Request));
    let clock = Clock { sink: sink.clone(), stages: stages.clone(), wait, request };
    match port {
        SinkPort::Transaction(port) => SinkPort::Transaction(Arc::new(Timed { port, clock })),
        SinkPort::Documents(port) => SinkPort::Documents(Arc::new(Timed { port, clock })),
        SinkPort::Append(port) => SinkPort::Append(Arc::new(Timed { port, clock })),
        port @ SinkPort::Objects(_) => port,
    }
}

struct Timed<P: ?Sized> {
    port: Arc<P>,
    clock: Clock,
}

struct Clock {
    sink: SinkId,
    stages: Arc<Stages>,
    wait: [KeyValue; 2],
    request: [KeyValue; 2],
}

impl Clock {
    /// Takes down a call that delivers rows, the oldest of which was planned at `planned` (unix nanoseconds). One that fails comes
    /// again: its time is then a part of the wait.
    async fn around<T>(
        &self,
        planned: Option<i64>,
        call: impl Future<Output = Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        let Some(planned) = planned else { return call.await };
        let (sent, begun) = (stages::now(), Instant::now());
        let answer = call.await?;
        self.stages.note(stages::between(planned, sent), &self.wait);
        self.stages.note(begun.elapsed(), &self.request);
        self.stages.answered(&self.sink, stages::now());
        Ok(answer)
    }
}

/// When the oldest batch with input was planned.
fn planned<'a>(offers: impl Iterator<Item = &'a Offer>) -> Option<i64> {
    offers.filter(|offer| offer.records > 0).map(|offer| offer.time).min()
}

#[async_trait]
impl TransactionLog for Timed<dyn TransactionLog> {
    async fn place(&self) -> Result<String, SinkError> {
        self.port.place().await
    }

    async fn recover(&self) -> Result<BTreeMap<Generation, Mark>, SinkError> {
        self.port.recover().await
    }

    fn twin(&self) -> Option<(String, String)> {
        self.port.twin()
    }

    fn hidden(&self) -> Option<Hidden> {
        self.port.hidden()
    }

    async fn commit(
        &self,
        offers: &[Offer],
        marks: &[(Generation, Mark)],
        forget: &[Generation],
    ) -> Result<Vec<RefusedRow>, SinkError> {
        self.clock.around(planned(offers.iter()), self.port.commit(offers, marks, forget)).await
    }
}

#[async_trait]
impl DocumentStore for Timed<dyn DocumentStore> {
    async fn place(&self) -> Result<String, SinkError> {
        self.port.place().await
    }

    fn admit(&self, names: &BTreeSet<u64>) {
        self.port.admit(names);
    }

    async fn create(&self, items: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError> {
        self.clock.around(planned(items.iter().map(|(offer, _)| *offer)), self.port.create(items)).await
    }

    async fn exists(&self, offer: &Offer, row: u32) -> Result<bool, SinkError> {
        self.port.exists(offer, row).await
    }
}

#[async_trait]
impl AppendFile for Timed<dyn AppendFile> {
    async fn place(&self) -> Result<String, SinkError> {
        self.port.place().await
    }

    async fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
        self.port.recover(state).await
    }

    async fn append(&self, offers: &[Offer], letters: &[Letter]) -> Result<(u64, u64), SinkError> {
        self.clock.around(planned(offers.iter()), self.port.append(offers, letters)).await
    }

    fn due(&self) -> bool {
        self.port.due()
    }

    fn due_in(&self) -> Option<Duration> {
        self.port.due_in()
    }

    async fn roll(&self) -> Result<(u64, u64), SinkError> {
        self.port.roll().await
    }

    async fn close(&self) {
        self.port.close().await;
    }
}

/// Chains, with what batches take in them.
pub struct TimedChains {
    /// The chains.
    pub chains: Arc<dyn Chains>,
    /// Where it is taken down.
    pub stages: Arc<Stages>,
}

impl Chains for TimedChains {
    fn chain(&self, epoch: EpochId, source: &SourceId) -> Option<Arc<dyn Chain>> {
        let chain = self.chains.chain(epoch, source)?;
        let labels = Stage::Chain.labels(source.as_str());
        Some(Arc::new(TimedChain { chain, labels, stages: self.stages.clone() }))
    }
}

struct TimedChain {
    chain: Arc<dyn Chain>,
    labels: [KeyValue; 2],
    stages: Arc<Stages>,
}

impl Chain for TimedChain {
    fn instance(&self, partition: PartitionId) -> Box<dyn ChainInstance> {
        let instance = self.chain.instance(partition);
        Box::new(TimedInstance { instance, labels: self.labels.clone(), stages: self.stages.clone() })
    }

    fn stateful(&self) -> BTreeMap<ComponentId, [u8; 32]> {
        self.chain.stateful()
    }
}

struct TimedInstance {
    instance: Box<dyn ChainInstance>,
    labels: [KeyValue; 2],
    stages: Arc<Stages>,
}

#[async_trait]
impl ChainInstance for TimedInstance {
    async fn apply(&mut self, input: Input, context: &Context) -> Result<Applied, ChainFailure> {
        let begun = Instant::now();
        let applied = self.instance.apply(input, context).await?;
        self.stages.note(begun.elapsed(), &self.labels);
        Ok(applied)
    }

    async fn flush(
        &mut self,
        component: ComponentId,
        generation: Generation,
        at: Cursor,
        now: i64,
        context: &Context,
    ) -> Result<Applied, ChainFailure> {
        self.instance.flush(component, generation, at, now, context).await
    }

    async fn snapshot(&mut self) -> Result<BTreeMap<ComponentId, Vec<u8>>, ChainFailure> {
        self.instance.snapshot().await
    }

    async fn restore(&mut self, states: BTreeMap<ComponentId, Vec<u8>>) -> Result<(), ChainFailure> {
        self.instance.restore(states).await
    }

    async fn upgrade(&mut self, component: ComponentId, old: Vec<u8>) -> Result<UpgradeOutcome, ChainFailure> {
        self.instance.upgrade(component, old).await
    }

    fn wake_at(&self) -> Vec<(ComponentId, i64)> {
        self.instance.wake_at()
    }
}
