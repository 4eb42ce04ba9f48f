//! Ports of sinks for a partition that moves between agents: whoever recovers makes certain first that the partition is still
//! its own. A process that was frozen while another took over finds out here, before it writes anything.

use crate::claims::Claim;
use crate::journal::Mark;
use crate::mutation;
use crate::ports::{
    AppendFile, Hidden, JournalError, ObjectStore, Offer, Ownership, PutOutcome, ReadLimits, RefusedRow, RescueQueue,
    SinkError, SinkPort, Staging, TransactionLog,
};
use crate::sink::Letter;
use async_trait::async_trait;
use sawlog_record::batch::Input;
use sawlog_record::id::Generation;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A port that asks whose the partition is.
struct Owned<P: ?Sized> {
    port: Arc<P>,
    owner: Arc<dyn Ownership>,
}

/// The port of a sink of a partition that moves.
pub fn guard(port: SinkPort, owner: &Arc<dyn Ownership>) -> SinkPort {
    let owner = owner.clone();
    match port {
        SinkPort::Transaction(port) => SinkPort::Transaction(Arc::new(Owned { port, owner })),
        SinkPort::Objects(port) => SinkPort::Objects(Arc::new(Owned { port, owner })),
        SinkPort::Append(port) => SinkPort::Append(Arc::new(LeftBehind(port))),
        // Cursors lie in the journal, and what a former owner still creates are the same documents.
        port @ SinkPort::Documents(_) => port,
    }
}

impl<P: ?Sized> Owned<P> {
    async fn confirm(&self) -> Result<(), SinkError> {
        if mutation::on("adopted_unconfirmed") {
            return Ok(());
        }
        self.owner.confirm().await.map_err(|error| SinkError::Fenced(error.to_string()))
    }
}

#[async_trait]
impl TransactionLog for Owned<dyn TransactionLog> {
    async fn place(&self) -> Result<String, SinkError> {
        self.port.place().await
    }

    /// After the fencing, not before: who is not the owner any more may have fenced the new one, and sends nothing then.
    async fn recover(&self) -> Result<BTreeMap<Generation, Mark>, SinkError> {
        let marks = self.port.recover().await?;
        self.confirm().await?;
        Ok(marks)
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
        self.port.commit(offers, marks, forget).await
    }
}

#[async_trait]
impl ObjectStore for Owned<dyn ObjectStore> {
    async fn place(&self) -> Result<String, SinkError> {
        self.port.place().await
    }

    fn stage(&self) -> Box<dyn Staging> {
        self.port.stage()
    }

    fn data_key(&self, path: &str, number: u64, attempt: &str, index: usize) -> String {
        self.port.data_key(path, number, attempt, index)
    }

    async fn put_claim(&self, number: u64, claim: &Claim) -> Result<PutOutcome, SinkError> {
        self.port.put_claim(number, claim).await
    }

    /// A claim is adopted only by the owner: its decisions lie in the journal that the owner has read.
    async fn get_claim(&self, number: u64) -> Result<Option<Claim>, SinkError> {
        let claim = self.port.get_claim(number).await?;
        if claim.is_some() {
            self.confirm().await?;
        }
        Ok(claim)
    }

    async fn list_claims(&self) -> Result<Vec<u64>, SinkError> {
        self.port.list_claims().await
    }

    async fn delete_claim(&self, number: u64) -> Result<(), SinkError> {
        self.port.delete_claim(number).await
    }

    async fn put_data(&self, staging: &mut dyn Staging, path: &str, key: &str) -> Result<PutOutcome, SinkError> {
        self.port.put_data(staging, path, key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        self.port.exists(key).await
    }

    async fn publish_complete(&self, closed: i64) -> Result<(), SinkError> {
        self.port.publish_complete(closed).await
    }
}

/// A file on one node, of a partition that comes and goes: where the journal tells of a file that lies on another node, a new
/// one is begun. Rows that the former owner appended and did not journal come again: at least once, as `validate` says.
struct LeftBehind(Arc<dyn AppendFile>);

#[async_trait]
impl AppendFile for LeftBehind {
    async fn place(&self) -> Result<String, SinkError> {
        self.0.place().await
    }

    async fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
        match self.0.recover(state).await {
            Err(SinkError::Refused(_)) if state.is_some() => self.0.recover(None).await,
            outcome => outcome,
        }
    }

    async fn append(&self, offers: &[Offer], letters: &[Letter]) -> Result<(u64, u64), SinkError> {
        self.0.append(offers, letters).await
    }

    fn due(&self) -> bool {
        self.0.due()
    }

    fn due_in(&self) -> Option<Duration> {
        self.0.due_in()
    }

    async fn roll(&self) -> Result<(u64, u64), SinkError> {
        self.0.roll().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// Messages of a topic don't vanish from under a reader's hands, so nothing of a Kafka partition is ever rescued.
pub struct NothingToRescue;

#[async_trait]
impl RescueQueue for NothingToRescue {
    async fn put(&self, _: Input, _: u64, _: u64) -> Result<(), JournalError> {
        Err(JournalError("a Kafka partition is not rescued; report this as a bug".to_owned()))
    }

    async fn read(&self, _: Generation, _: u64, _: u64, _: ReadLimits) -> Result<Option<Input>, JournalError> {
        Ok(None)
    }

    async fn release(&self, _: Generation) {}
}
