//! The journal's disk: records are written at once and durable at the next fsync; a crash keeps a random prefix of what was
//! written since. After a sync that failed it takes nothing more in this life.

use crate::histories;
use crate::narrow;
use crate::syncs;
use crate::world::{Outside, World};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sawlog_core::journal::Record;
use sawlog_core::journal::record::decode;
use sawlog_core::pace::Pressure;
use sawlog_core::ports::{JournalError, JournalStore, Journalled};
use std::future::poll_fn;
use std::task::Poll;

/// The journal port.
pub struct SimJournalStore(pub World);

/// After a crash: of what was written but not durable a random prefix survives.
pub fn crash(world: &World) {
    let mut outside = world.get();
    let pending = std::mem::take(&mut outside.journal.pending);
    let kept = outside.rng.below(pending.len() + 1);
    for (number, bytes) in pending.into_iter().take(kept) {
        keep(&mut outside, number, bytes);
    }
    outside.journal.spent = false;
    outside.journal.next = outside.journal.durable.last().map_or(outside.journal.durable_below, |(n, _)| n + 1);
}

fn keep(outside: &mut Outside, number: u64, bytes: Vec<u8>) {
    let record: Record = decode(&bytes).expect("the core wrote it");
    histories::note(outside, &record);
    let journal = &mut outside.journal;
    journal.archive.push(record);
    journal.durable.push((number, bytes));
    journal.durable_below = number + 1;
}

fn sync(world: &World) {
    let mut outside = world.get();
    if outside.journal.spent || syncs::journal_fails(&mut outside) {
        return;
    }
    let pending = std::mem::take(&mut outside.journal.pending);
    for (number, bytes) in pending {
        keep(&mut outside, number, bytes);
    }
    for waker in outside.journal.wakers.drain(..) {
        waker.wake();
    }
}

async fn durable(world: World, upto: u64, urgent: bool) -> Result<(), JournalError> {
    if urgent {
        world.gate().await;
        sync(&world);
        let is_durable = world.get().journal.durable_below >= upto;
        world.gate().await;
        return if is_durable { Ok(()) } else { Err(spent()) };
    }
    poll_fn(|context| {
        let mut outside = world.get();
        if outside.journal.durable_below >= upto {
            return Poll::Ready(Ok(()));
        }
        if outside.journal.spent {
            return Poll::Ready(Err(spent()));
        }
        outside.journal.wakers.push(context.waker().clone());
        Poll::Pending
    })
    .await
}

fn spent() -> JournalError {
    JournalError("its file could not be made durable".into())
}

#[async_trait]
impl JournalStore for SimJournalStore {
    async fn load(&self) -> Result<Journalled, JournalError> {
        let outside = self.0.get();
        let records = outside.journal.durable.iter().map(|(_, bytes)| bytes.clone()).collect();
        Ok(Journalled { snapshot: outside.journal.snapshot.clone(), records })
    }

    fn append(&self, records: Vec<Vec<u8>>, urgent: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        let upto = {
            let mut outside = self.0.get();
            // What were written behind a hole might be found after a crash.
            if outside.journal.spent {
                return Box::pin(std::future::ready(Err(spent())));
            }
            for bytes in records {
                let number = outside.journal.next;
                outside.journal.next += 1;
                outside.journal.pending.push((number, bytes));
            }
            outside.journal.next
        };
        Box::pin(durable(self.0.clone(), upto, urgent))
    }

    fn snapshot(&self, state: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        let upto = self.0.get().journal.next;
        let world = self.0.clone();
        Box::pin(async move {
            world.gate().await;
            if world.get().journal.spent {
                return Err(spent());
            }
            {
                // The snapshot replaces everything appended before it, durable or not.
                let mut outside = world.get();
                let pending = std::mem::take(&mut outside.journal.pending);
                let (covered, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(n, _)| *n < upto);
                for (number, bytes) in covered {
                    keep(&mut outside, number, bytes);
                }
                outside.journal.pending = later;
                outside.journal.durable.retain(|(n, _)| *n >= upto);
                outside.journal.durable_below = outside.journal.durable_below.max(upto);
                outside.journal.snapshot = Some(state);
            }
            world.count("journal_snapshot");
            world.gate().await;
            Ok(())
        })
    }

    fn pressure(&self) -> Pressure {
        narrow::pressure(&self.0)
    }

    async fn put_blob(&self, bytes: Vec<u8>) -> Result<[u8; 32], JournalError> {
        self.0.gate().await;
        let digest = *blake3::hash(&bytes).as_bytes();
        self.0.get().journal.blobs.insert(digest, bytes);
        self.0.gate().await;
        Ok(digest)
    }

    async fn get_blob(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        self.0.gate().await;
        if syncs::blob_fails(&mut self.0.get()) {
            return Err(JournalError("too many open files".to_owned()));
        }
        Ok(self.0.get().journal.blobs.get(&digest).cloned())
    }

    async fn retain_blobs(&self, keep: Vec<[u8; 32]>) -> Result<(), JournalError> {
        self.0.gate().await;
        self.0.get().journal.blobs.retain(|digest, _| keep.contains(digest));
        self.0.gate().await;
        Ok(())
    }
}
