//! Sinks where writing an id twice is harmless (delivery.md §4.2): every item is tried until it is done or refused, and the
//! cursor is journalled after that. Only items that failed are tried again.

use super::{Limits, Sink, Stop};
use crate::claims::Marks;
use crate::mutation;
use crate::ports::{DocumentOutcome, DocumentStore, Offer, SinkError};
use crate::stream::Place;
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn run(sink: &Sink, port: &dyn DocumentStore) -> Result<(), Stop> {
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
                let mut busy = None;
                for (item, outcome) in items.iter().zip(outcomes) {
                    match outcome {
                        DocumentOutcome::Done => _ = open.remove(item),
                        DocumentOutcome::Again(reason) => busy = Some(reason),
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

async fn exists(sink: &Sink, port: &dyn DocumentStore, offer: &Offer, row: u32) -> bool {
    loop {
        match port.exists(offer, row).await {
            Ok(exists) => return exists,
            Err(error) => sink.back_off(&error).await,
        }
    }
}
