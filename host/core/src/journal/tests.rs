//! When a checkpoint would say nothing new, and which blobs it leaves.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fakes::Waiting;
use crate::ports::Journalled;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use sawlog_record::id::Generation;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

const G: Generation = Generation([3; 16]);

/// A store that has `loaded`, and lacks room or fails to write snapshots where it is told to.
#[derive(Default)]
struct Store {
    loaded: Mutex<Journalled>,
    lacks_room: AtomicBool,
    fails: AtomicBool,
    /// A snapshot takes a turn more to be written.
    is_slow: AtomicBool,
    blobs: Mutex<BTreeSet<[u8; 32]>>,
}

#[async_trait]
impl JournalStore for Store {
    async fn load(&self) -> Result<Journalled, JournalError> {
        Ok(std::mem::take(&mut self.loaded.lock().unwrap()))
    }
    fn append(&self, _: Vec<Vec<u8>>, _: bool) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
    fn snapshot(&self, _: Vec<u8>) -> BoxFuture<'static, Result<(), JournalError>> {
        let fails = self.fails.load(Ordering::Relaxed);
        let mut waits = self.is_slow.load(Ordering::Relaxed);
        Box::pin(async move {
            std::future::poll_fn(|_| if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }).await;
            if fails { Err(JournalError("no".into())) } else { Ok(()) }
        })
    }
    fn is_whole(&self) -> bool {
        !self.lacks_room.load(Ordering::Relaxed)
    }
    async fn put_blob(&self, bytes: Vec<u8>) -> Result<[u8; 32], JournalError> {
        let digest = *blake3::hash(&bytes).as_bytes();
        self.blobs.lock().unwrap().insert(digest);
        Ok(digest)
    }
    async fn get_blob(&self, _: [u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(None)
    }
    async fn retain_blobs(&self, keep: Vec<[u8; 32]>) -> Result<(), JournalError> {
        self.blobs.lock().unwrap().retain(|digest| keep.contains(digest));
        Ok(())
    }
}

fn open(store: &Arc<Store>) -> Journal {
    Journal::open(store.clone(), Arc::new(Waiting::default())).now_or_never().unwrap().unwrap()
}

fn is_written(journal: &Journal) -> bool {
    journal.is_written(&journal.state())
}

fn checkpoint(journal: &Journal) -> Result<(), JournalError> {
    journal.checkpoint().now_or_never().unwrap()
}

#[test]
fn a_checkpoint_is_spared_only_where_the_one_before_holds_everything() {
    let store = Arc::new(Store::default());
    let journal = open(&store);
    assert!(!is_written(&journal), "no snapshot has ever been written");
    checkpoint(&journal).unwrap();
    assert!(is_written(&journal));
    journal.hint(vec![Record::Gone { generation: G }]);
    assert!(!is_written(&journal), "a record was taken, be it a hint");
    store.fails.store(true, Ordering::Relaxed);
    assert!(checkpoint(&journal).is_err() && !is_written(&journal), "it was not written");
    store.fails.store(false, Ordering::Relaxed);
    checkpoint(&journal).unwrap();
    assert!(is_written(&journal));
    store.lacks_room.store(true, Ordering::Relaxed);
    assert!(!is_written(&journal), "the next snapshot gets the room back");
}

#[test]
fn a_snapshot_that_was_loaded_with_nothing_behind_it_need_not_be_written_again() {
    let snapshot = Some(JournalState::default().encode());
    let store =
        Arc::new(Store { loaded: Mutex::new(Journalled { snapshot, ..Journalled::default() }), ..Store::default() });
    assert!(is_written(&open(&store)));
    let (snapshot, records) =
        (Some(JournalState::default().encode()), vec![record::encode(&Record::Gone { generation: G })]);
    *store.loaded.lock().unwrap() = Journalled { snapshot, records };
    assert!(!is_written(&open(&store)), "the records behind it are in none");
}

/// A blob's record comes later than the blob, and a checkpoint between them must leave it: where it comes from may be gone.
#[test]
fn a_blob_that_is_held_outlives_checkpoints_until_it_is_released() {
    let store = Arc::new(Store::default());
    let journal = open(&store);
    let held = journal.hold_blob(b"held".to_vec()).now_or_never().unwrap().unwrap();
    store.put_blob(b"of nobody".to_vec()).now_or_never().unwrap().unwrap();
    checkpoint(&journal).unwrap();
    assert_eq!(*store.blobs.lock().unwrap(), BTreeSet::from([held]));
    journal.release_blobs();
    checkpoint(&journal).unwrap();
    assert!(store.blobs.lock().unwrap().is_empty(), "no record names it");
}

#[test]
fn a_blob_that_is_named_and_released_while_a_snapshot_is_written_stays() {
    let store = Arc::new(Store::default());
    let journal = open(&store);
    let held = journal.hold_blob(b"of the next epoch".to_vec()).now_or_never().unwrap().unwrap();
    store.is_slow.store(true, Ordering::Relaxed);
    let mut writing = Box::pin(journal.checkpoint());
    assert!(writing.as_mut().now_or_never().is_none(), "it holds what was before");
    let epoch = crate::EpochId::derive(&[b"next"]);
    let sinks = Default::default();
    let named = Epoch { id: epoch, stateful: Default::default(), blobs: vec![held], sinks };
    journal.commit(vec![Record::Epoch(named)]).now_or_never().unwrap().unwrap();
    journal.release_blobs();
    writing.as_mut().now_or_never().unwrap().unwrap();
    assert_eq!(*store.blobs.lock().unwrap(), BTreeSet::from([held]));
}
