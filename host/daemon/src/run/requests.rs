//! The write-ahead queue behind the port by which the http source stores and reads its requests. It knows neither.

use std::sync::Arc;

use async_trait::async_trait;
use sawlog_log::LogError;
use sawlog_queue::{Queue, QueueError, Reservation};
use sawlog_sources::http::queue::{Accepted, RequestQueue, Room, Stored, Submission, Trouble};

/// The queue of one source.
pub struct Requests(pub Arc<Queue>);

struct Promised {
    queue: Arc<Queue>,
    room: Reservation,
}

fn trouble(error: QueueError) -> Trouble {
    match error {
        QueueError::Full(full) => Trouble::Full(full.to_string()),
        QueueError::KeyReused => Trouble::KeyReused,
        QueueError::Log(error @ (LogError::Trimmed { .. } | LogError::Corrupt(_))) => Trouble::Gone(error.to_string()),
        other => Trouble::Unavailable(other.to_string()),
    }
}

#[async_trait]
impl RequestQueue for Requests {
    fn shards(&self) -> u32 {
        self.0.shards()
    }

    fn incarnation(&self, shard: u32) -> Result<[u8; 16], Trouble> {
        self.0.incarnation(shard).map_err(trouble)
    }

    fn reserve(&self, body_bytes: usize) -> Result<Box<dyn Room>, Trouble> {
        let room = self.0.reserve(body_bytes).map_err(|full| trouble(full.into()))?;
        Ok(Box::new(Promised { queue: self.0.clone(), room }))
    }

    fn read(&self, shard: u32, from: u64, bytes_max: usize) -> Result<Vec<Stored>, Trouble> {
        let chunk = self.0.read(shard, from, bytes_max).map_err(trouble)?;
        let stored = chunk.requests.into_iter().map(|stored| Stored {
            body_at: stored.body_lsn,
            end: stored.end,
            accepted: stored.request.accepted,
            form: stored.request.form,
            body: stored.request.body,
        });
        Ok(stored.collect())
    }

    fn extent(&self, shard: u32) -> Result<(u64, u64), Trouble> {
        let (first, _) = self.0.extent(shard).map_err(trouble)?;
        // Of stored requests only: what the log itself writes behind them is no input.
        let end = *self.0.ends(shard).map_err(trouble)?.borrow();
        Ok((first, end))
    }

    fn surplus_bytes(&self) -> u64 {
        self.0.surplus_bytes()
    }

    async fn trim(&self, shard: u32, floor: u64) -> Result<(), Trouble> {
        self.0.trim(shard, floor).await.map(|_| ()).map_err(trouble)
    }
}

#[async_trait]
impl Room for Promised {
    async fn store(self: Box<Self>, submission: Submission) -> Result<Accepted, Trouble> {
        let Submission { accepted, principal, key, form, body } = submission;
        let submission = sawlog_queue::Submission { accepted, principal, key, form, body };
        let stored = self.queue.accept(self.room, submission).await.map_err(trouble)?;
        Ok(Accepted { shard: stored.shard, repeated: stored.repeated })
    }
}
