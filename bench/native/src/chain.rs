//! The core's chain port around another one, with the steps behind it.

use crate::Steps;
use async_trait::async_trait;
use sawlog_core::plan::{ComponentId, UpgradeOutcome};
use sawlog_core::ports::{Applied, Chain, ChainFailure, ChainInstance, Chains, Context};
use sawlog_core::{EpochId, SourceId};
use sawlog_record::batch::Input;
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why records are dropped: the reason of the plugin `level-filter`.
const DROPPED: &str = "filtered";

/// Chains that end with the steps.
pub fn between(chains: Arc<dyn Chains>) -> Arc<dyn Chains> {
    Arc::new(Behind(chains))
}

/// A port with the steps behind it.
struct Behind<P>(P);

impl Chains for Behind<Arc<dyn Chains>> {
    fn chain(&self, epoch: EpochId, source: &SourceId) -> Option<Arc<dyn Chain>> {
        Some(Arc::new(Behind(self.0.chain(epoch, source)?)))
    }
}

impl Chain for Behind<Arc<dyn Chain>> {
    fn instance(&self, partition: PartitionId) -> Box<dyn ChainInstance> {
        Box::new(Behind(self.0.instance(partition)))
    }

    fn stateful(&self) -> BTreeMap<ComponentId, [u8; 32]> {
        self.0.stateful()
    }
}

#[async_trait]
impl ChainInstance for Behind<Box<dyn ChainInstance>> {
    async fn apply(&mut self, input: Input, context: &Context) -> Result<Applied, ChainFailure> {
        let mut applied = self.0.apply(input, context).await?;
        for sink in applied.outputs.values_mut().filter(|sink| !sink.output.rows.is_empty()) {
            let dropped = Steps::default().take(&mut sink.output);
            if dropped > 0 {
                sink.counts.delivered -= dropped;
                sink.counts.rows -= dropped;
                sink.counts.dropped.add(DROPPED, dropped);
            }
        }
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
        self.0.flush(component, generation, at, now, context).await
    }

    async fn snapshot(&mut self) -> Result<BTreeMap<ComponentId, Vec<u8>>, ChainFailure> {
        self.0.snapshot().await
    }

    async fn restore(&mut self, states: BTreeMap<ComponentId, Vec<u8>>) -> Result<(), ChainFailure> {
        self.0.restore(states).await
    }

    async fn upgrade(&mut self, component: ComponentId, old: Vec<u8>) -> Result<UpgradeOutcome, ChainFailure> {
        self.0.upgrade(component, old).await
    }

    fn wake_at(&self) -> Vec<(ComponentId, i64)> {
        self.0.wake_at()
    }
}
