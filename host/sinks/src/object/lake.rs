//! The protocol's port over any [`Blobs`]: names, claims as bytes, staged objects as bodies. Decides nothing about delivery.

use super::keys::claim_number;
use super::stage::Stage;
use super::{Blobs, Body, Keys, StageOptions, decode_claim, encode_claim};
use async_trait::async_trait;
use sawlog_core::claims::Claim;
use sawlog_core::ports::{ObjectStore, PutOutcome, SinkError, Staging};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// A hive-partitioned lake in one store.
pub struct Lake<B> {
    blobs: B,
    keys: Keys,
    options: Arc<StageOptions>,
    place: String,
    prepared: OnceCell<()>,
}

impl<B: Blobs> Lake<B> {
    /// A lake at `place`, as people name it, that has not looked at its store yet; it does so when recovery first lists the claims.
    pub fn new(blobs: B, keys: Keys, options: StageOptions, place: String) -> Self {
        Self { blobs, keys, options: Arc::new(options), place, prepared: OnceCell::new() }
    }

    /// The store below.
    pub fn blobs(&self) -> &B {
        &self.blobs
    }

    async fn prepared(&self) -> Result<(), SinkError> {
        self.prepared.get_or_try_init(|| self.blobs.prepare()).await.copied()
    }
}

#[async_trait]
impl<B: Blobs> ObjectStore for Lake<B> {
    async fn place(&self) -> Result<String, SinkError> {
        Ok(self.place.clone())
    }

    fn stage(&self) -> Box<dyn Staging> {
        Box::new(Stage::new(self.options.clone()))
    }

    fn data_key(&self, path: &str, number: u64, attempt: &str, index: usize) -> String {
        self.keys.data(path, number, attempt, index)
    }

    async fn put_claim(&self, number: u64, claim: &Claim) -> Result<PutOutcome, SinkError> {
        self.prepared().await?;
        let bytes = encode_claim(claim)
            .map_err(|e| SinkError::Refused(format!("claim {number} can't be written: {e}; report this as a bug")))?;
        self.blobs.put_if_absent(&self.keys.claim(number), bytes.into()).await
    }

    async fn get_claim(&self, number: u64) -> Result<Option<Claim>, SinkError> {
        self.prepared().await?;
        let key = self.keys.claim(number);
        let Some(bytes) = self.blobs.get(&key).await? else { return Ok(None) };
        decode_claim(&bytes).map(Some).map_err(|e| {
            SinkError::Refused(format!(
                "claim {key} can't be read: {e}; restore it, or give the sink up with `remove: {{ NAME: forget }}`"
            ))
        })
    }

    async fn list_claims(&self) -> Result<Vec<u64>, SinkError> {
        self.prepared().await?;
        let names = self.blobs.list(&self.keys.claims()).await?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| claim_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    async fn delete_claim(&self, number: u64) -> Result<(), SinkError> {
        self.blobs.delete(&self.keys.claim(number)).await
    }

    async fn put_data(&self, staging: &mut dyn Staging, path: &str, key: &str) -> Result<PutOutcome, SinkError> {
        let stage = staging.as_any().downcast_mut::<Stage>().expect("the core hands back what `stage` made");
        let body: Body = stage.body(path)?.ok_or_else(|| {
            SinkError::Refused(format!("nothing is staged for path {path:?} of key {key:?}; report this as a bug"))
        })?;
        self.blobs.put_if_absent(key, body).await
    }

    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        self.blobs.exists(key).await
    }

    async fn publish_complete(&self, closed: i64) -> Result<(), SinkError> {
        self.blobs.replace(&self.keys.complete(), format!("{closed}\n").into_bytes()).await
    }
}
