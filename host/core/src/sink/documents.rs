//! Sinks where writing an id twice is harmless (delivery.md §4.2): every item is tried until it is done or refused, and the
//! cursor is journalled after that. Only items that failed are tried again.

use super::{Limits, Sink, Stop};
use crate::claims::Marks;
use crate::journal::Record;
use crate::mutation;
use crate::ports::{DocumentOutcome, DocumentStore, Offer, SinkError};
use crate::stream::Place;
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn run(sink: &Sink, port: &dyn DocumentStore) -> Result<(), Stop> {
    port.admit(&admitted(sink));
    sink.intake.reset(sink.journalled(), None);
    loop {
        let offers = sink.next_offers().await;
        commit(sink, port, offers).await?;
    }
}

/// Delivers everything that is planned so far to a place that the sink leaves: nobody knows what of it was sent there and not
/// answered, and nothing was sent that was not planned.
pub(super) async fn finish(sink: &Sink, port: &dyn DocumentStore) -> Result<Marks, Stop> {
    if mutation::on("documents_left_under_way") {
        return Ok(sink.journalled());
    }
    port.admit(&admitted(sink));
    let ends = planned(sink);
    sink.intake.reset(sink.journalled(), Some(Limits { ends: ends.clone(), lost: None }));
    while !sink.has_reached(&ends)? || sink.intake.backlog().0 > 0 {
        let offered = sink.intake.offered();
        let offers = sink.intake.take(&sink.tuning);
        if offers.is_empty() && !sink.has_reached(&ends)? {
            offered.await;
        }
        commit(sink, port, offers).await?;
    }
    Ok(sink.journalled())
}

/// Up to where each partition is planned for the sink.
fn planned(sink: &Sink) -> BTreeMap<PartitionId, Place> {
    let state = sink.journal.state();
    let mine = state.partitions.iter().filter(|(partition, _)| state.sinks_of(**partition).any(|id| *id == sink.id));
    // What waits for what was read before is not the sink's yet.
    let is_its = |partition: PartitionId| {
        !state.comes_later(&sink.id, partition, |generation| Some(state.cursor(&sink.id, generation)))
    };
    let mine = mine.filter(|(partition, _)| is_its(**partition));
    let end = |partition: &PartitionId, frontier: Place| match state.end_of_drain(&sink.id, *partition) {
        Some(end) => end.min(frontier),
        None => frontier,
    };
    mine.map(|(partition, known)| (*partition, end(partition, known.stream.frontier()))).collect()
}

async fn commit(sink: &Sink, port: &dyn DocumentStore, mut offers: Vec<Offer>) -> Result<(), Stop> {
    if offers.is_empty() {
        return Ok(());
    }
    let known = sink.split_refused(&mut offers, &BTreeMap::new());
    let early = mutation::on("cursor_before_ack").then(|| sink.journalled());
    if let Some(truth) = &early {
        let marks = Sink::moved(truth, &offers);
        sink.journal.commit(vec![sink.cursor_record(&marks, None)]).await?;
    }
    let mut letters = known;
    letters.extend(deliver(sink, port, &mut offers).await?);
    letters.sort_by_key(|l| (l.offer.from, l.offer.output.batch.rows[l.row as usize].id));
    sink.post(letters, &offers).await;
    let marks = early.map_or_else(|| sink.moved_on(&offers), |truth| Sink::moved(&truth, &offers));
    sink.journal.commit(vec![sink.cursor_record(&marks, None)]).await?;
    sink.settled(&marks);
    sink.succeeded();
    Ok(())
}

/// Sends every row until it is done or refused; gives the refused ones back as letters.
async fn deliver(sink: &Sink, port: &dyn DocumentStore, offers: &mut [Offer]) -> Result<Vec<super::Letter>, Stop> {
    let mut open: BTreeSet<(usize, u32)> =
        offers.iter().enumerate().flat_map(|(i, o)| o.output.rows.iter().map(move |r| (i, *r))).collect();
    let mut refused: BTreeMap<(usize, u32), String> = BTreeMap::new();
    // After an answer that never came, or a restart, a refusal may hide that the document is there.
    let mut ambiguous = true;
    while !open.is_empty() {
        let items: Vec<(usize, u32)> = open.iter().copied().collect();
        let request: Vec<(&Offer, u32)> = items.iter().map(|(i, r)| (&offers[*i], *r)).collect();
        sink.may_send().await;
        match port.create(&request).await {
            Ok(outcomes) => {
                let (mut busy, mut fresh) = (None, BTreeSet::new());
                for (item, outcome) in items.iter().zip(outcomes) {
                    match outcome {
                        DocumentOutcome::Done => _ = open.remove(item),
                        DocumentOutcome::Again(reason) => busy = Some(reason),
                        DocumentOutcome::NewName(name) => _ = fresh.insert(name),
                        DocumentOutcome::Refused(reason) => {
                            if ambiguous && exists(sink, port, &offers[item.0], item.1).await {
                                open.remove(item);
                                continue;
                            }
                            open.remove(item);
                            refused.insert(*item, reason);
                        }
                    }
                }
                if !fresh.is_empty() {
                    admit(sink, port, fresh).await?;
                }
                if let Some(reason) = busy {
                    sink.back_off(&SinkError::Unavailable(reason)).await;
                }
            }
            Err(error) => {
                ambiguous = true;
                sink.back_off(&error).await;
            }
        }
    }
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    sink.judge(offers, &refused).await?;
    Ok(sink.split_refused(offers, &refused))
}

/// Names that rows may go to, by the journal.
fn admitted(sink: &Sink) -> BTreeSet<u64> {
    sink.journal.state().admitted.get(&sink.id).cloned().unwrap_or_default()
}

/// Which names there are is a decision like any other: it is durable before a row goes where it says, so that the next life sends the
/// same row to the same name.
async fn admit(sink: &Sink, port: &dyn DocumentStore, names: BTreeSet<u64>) -> Result<(), Stop> {
    if !mutation::on("names_not_durable") {
        let names = names.iter().copied().collect();
        sink.journal.commit(vec![Record::Admitted { sink: sink.id.clone(), names }]).await?;
    }
    port.admit(&names);
    Ok(())
}

async fn exists(sink: &Sink, port: &dyn DocumentStore, offer: &Offer, row: u32) -> bool {
    loop {
        match port.exists(offer, row).await {
            Ok(exists) => return exists,
            Err(error) => sink.back_off(&error).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Waiting};
    use crate::journal::{Destination, SinkFacts};
    use crate::ports::SinkPort;
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::{Batch, Row};
    use sawlog_record::id::{Cursor, Generation, RowId};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    /// A store whose only row makes a name.
    #[derive(Default)]
    struct Store {
        admitted: Mutex<BTreeSet<u64>>,
        created: AtomicBool,
    }

    #[async_trait]
    impl DocumentStore for Store {
        async fn place(&self) -> Result<String, SinkError> {
            Ok("here".to_owned())
        }
        fn admit(&self, names: &BTreeSet<u64>) {
            self.admitted.lock().unwrap().extend(names);
        }
        async fn create(&self, items: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError> {
            let is_admitted = self.admitted.lock().unwrap().contains(&7);
            self.created.fetch_or(is_admitted, Ordering::Relaxed);
            let outcome = if is_admitted { DocumentOutcome::Done } else { DocumentOutcome::NewName(7) };
            Ok(vec![outcome; items.len()])
        }
        async fn exists(&self, _: &Offer, _: u32) -> Result<bool, SinkError> {
            Ok(false)
        }
    }

    fn offer() -> Offer {
        let mut batch = Batch::new(Generation([1; 16]));
        let input = batch.push_bytes(b"row");
        batch.rows.push(Row {
            id: RowId { pos: 0, slot: 0, k: 0 },
            parent: 0,
            time: 0,
            received: 0,
            input,
            text: None,
            fields_start: 0,
            fields_len: 0,
            flags: 0,
        });
        fakes::offer(batch, Cursor::at(0), Cursor::at(3))
    }

    #[test]
    fn a_new_name_is_durable_before_a_row_goes_there_and_counts_until_the_sink_delivers_elsewhere() {
        let (clock, syncs) = (Arc::new(Waiting::default()), Arc::new(AtomicBool::new(false)));
        let journal = fakes::journal_on(syncs.clone(), clock.clone());
        let store = Arc::new(Store::default());
        let sink = fakes::sink("search", SinkPort::Documents(store.clone()), &journal, &clock);
        let mut sending = Box::pin(commit(&sink, store.as_ref(), vec![offer()]));
        assert!(sending.as_mut().now_or_never().is_none());
        assert!(!store.created.load(Ordering::Relaxed), "the name is not durable yet");
        syncs.store(true, Ordering::Relaxed);
        sending.as_mut().now_or_never().unwrap().unwrap();
        drop(sending);
        assert!(store.created.load(Ordering::Relaxed));
        assert_eq!(admitted(&sink), BTreeSet::from([7]), "the next life begins with it");
        let at = |place: &str| {
            let destination = Some(Destination { place: place.to_owned(), config: [0; 32] });
            let facts = Some(SinkFacts { destination, ..SinkFacts::default() });
            journal.commit(vec![sink.cursor_record(&[], facts)]).now_or_never().unwrap().unwrap();
            admitted(&sink).len()
        };
        assert_eq!(at("there"), 0);
        journal
            .commit(vec![Record::Admitted { sink: sink.id.clone(), names: vec![8] }])
            .now_or_never()
            .unwrap()
            .unwrap();
        assert_eq!([at("there"), at("elsewhere")], [1, 0]);
    }
}
