//! Sinks that commit rows and cursors in one transaction (delivery.md §4.1): fence and barrier, read the cursors, then
//! commit; after any doubt the same again. Everything taken but not committed is dropped and fed anew from the cursors.

use super::{Sink, Stop, retrying};
use crate::claims::Marks;
use crate::journal::SinkFacts;
use crate::mutation;
use crate::ports::{Offer, TransactionLog};
use std::collections::BTreeMap;

pub(super) async fn run(sink: &Sink, port: &dyn TransactionLog) -> Result<(), Stop> {
    loop {
        let mut truth = recover(sink, port).await?;
        while commit_next(sink, port, &mut truth).await? {}
        sink.intake.close();
    }
}

async fn recover(sink: &Sink, port: &dyn TransactionLog) -> Result<Marks, Stop> {
    let truth = finish(sink, port).await?;
    // Not in `finish`: who leaves a place holds, before anything is read, also what the next place knows.
    sink.tell_held(&truth).await?;
    sink.intake.reset(truth.clone(), None);
    sink.succeeded();
    Ok(truth)
}

/// Ends whatever transaction is under way, either way, and learns what is committed.
pub(super) async fn finish(sink: &Sink, port: &dyn TransactionLog) -> Result<Marks, Stop> {
    let mut truth = recovered(sink, port).await;
    recall_dropped(sink, &mut truth);
    refuse_lost_cursors(sink, &truth)?;
    sink.adopt(&truth).await?;
    let marks: Vec<_> = truth.iter().map(|(g, m)| (*g, m.clone())).collect();
    sink.journal.hint(vec![sink.cursor_record(&marks, None)]);
    Ok(truth)
}

async fn recovered(sink: &Sink, port: &dyn TransactionLog) -> Marks {
    let truth = retrying!(sink, port.recover());
    if let Some(names) = port.twin() {
        sink.note_twin(names);
    }
    truth
}

/// The first transaction at a place where the sink goes on: its cursors alone, none of them lower than what is there.
pub(super) async fn carry(sink: &Sink, port: &dyn TransactionLog, marks: Marks) -> (Marks, SinkFacts) {
    let mut marks = marks;
    loop {
        let there = recovered(sink, port).await;
        sink.raise_known(&mut marks, there.clone());
        let lacking: Vec<_> = marks.iter().filter(|(g, mark)| there.get(*g) != Some(*mark)).collect();
        let lacking: Vec<_> = lacking.into_iter().map(|(g, mark)| (*g, mark.clone())).collect();
        if lacking.is_empty() || mutation::on("cursors_left_behind") {
            return (marks, SinkFacts::default());
        }
        sink.may_send().await;
        // What became of it is read, not believed.
        if let Err(error) = port.commit(&[], &lacking, &[]).await {
            sink.back_off(&error).await;
        }
    }
}

/// An older journal may know histories that were done with, and forgotten by the sink, since: where the sink holds cursors, but
/// none of such a history, it had passed at least what that journal knows.
fn recall_dropped(sink: &Sink, truth: &mut Marks) {
    let state = sink.journal.state();
    let is_older = state.facts.get(&sink.id).is_some_and(|facts| facts.adopted);
    if is_older && !truth.is_empty() && !mutation::on("forgotten_is_lost") {
        for (generation, hint) in state.cursors.get(&sink.id).into_iter().flatten() {
            truth.entry(*generation).or_insert_with(|| hint.clone());
        }
    }
}

/// W6: a cursor below what the journal knows to be committed means that the sink lost data.
fn refuse_lost_cursors(sink: &Sink, truth: &Marks) -> Result<(), Stop> {
    let state = sink.journal.state();
    for (generation, hint) in state.cursors.get(&sink.id).into_iter().flatten() {
        let Some(known) = state.generations.get(generation) else { continue };
        let kept =
            state.partitions.get(&known.partition).is_some_and(|p| p.stream.generations().any(|g| g == *generation));
        let at = truth.get(generation).map(|m| m.cursor).unwrap_or_else(|| state.start(&sink.id, *generation));
        if kept && at < hint.cursor {
            return Err(Stop(format!(
                "sink {id} lost data: in source {} its cursor topic has position {} of generation {generation}, and position {} \
                 was committed there; restore the cursor topic and start again, or give the sink up with \
                 `remove: {{ {id}: forget }}`",
                known.source,
                at.pos,
                hint.cursor.pos,
                id = sink.id,
            )));
        }
    }
    Ok(())
}

/// A sink that was at this place before, under the same name, goes on with these cursors. `None` where it never was.
pub(super) async fn begin_again(sink: &Sink, port: &dyn TransactionLog, marks: &Marks) -> Option<(Marks, SinkFacts)> {
    if retrying!(sink, port.recover()).is_empty() {
        return None;
    }
    Some(carry(sink, port, marks.clone()).await)
}

/// One transaction; `false` where its outcome is unknown and the cursors must be learnt anew.
async fn commit_next(sink: &Sink, port: &dyn TransactionLog, truth: &mut Marks) -> Result<bool, Stop> {
    let mut offers = sink.next_offers().await;
    if offers.is_empty() {
        return Ok(true);
    }
    let letters = sink.split_refused(&mut offers, &BTreeMap::new());
    sink.post(letters, &offers).await;
    let forget = sink.dropped(truth);
    loop {
        let marks = Sink::moved(truth, &offers);
        sink.may_send().await;
        match port.commit(&offers, &marks, &forget).await {
            Ok(refused) if refused.is_empty() => {
                truth.extend(marks.iter().cloned());
                truth.retain(|g, _| !forget.contains(g));
                sink.journal.hint(vec![sink.cursor_record(&marks, None)]);
                sink.settled(&marks);
                sink.succeeded();
                return Ok(true);
            }
            Ok(refused) => {
                let rows = refused.into_iter().map(|r| ((r.offer, r.row), r.reason)).collect();
                set_aside(sink, &mut offers, &rows).await?;
            }
            Err(error) => {
                sink.back_off(&error).await;
                return Ok(false);
            }
        }
    }
}

async fn set_aside(sink: &Sink, offers: &mut [Offer], rows: &BTreeMap<(usize, u32), String>) -> Result<(), Stop> {
    sink.judge(offers, rows).await?;
    let letters = sink.split_refused(offers, rows);
    sink.post(letters, offers).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Waiting};
    use crate::journal::Mark;
    use crate::ports::{RefusedRow, SinkError, SinkPort};
    use crate::watch::{Ending, News, Watch};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sawlog_record::id::Generation;
    use std::sync::{Arc, Mutex};

    /// Cursors, where a twin is met at each recovery.
    #[derive(Default)]
    struct Beside(Mutex<BTreeMap<Generation, Mark>>);

    #[async_trait]
    impl TransactionLog for Beside {
        async fn place(&self) -> Result<String, SinkError> {
            Ok("here".to_owned())
        }
        async fn recover(&self) -> Result<BTreeMap<Generation, Mark>, SinkError> {
            Ok(self.0.lock().unwrap().clone())
        }
        fn twin(&self) -> Option<(String, String)> {
            Some(("another".to_owned(), "me".to_owned()))
        }
        async fn commit(
            &self,
            _: &[Offer],
            marks: &[(Generation, Mark)],
            _: &[Generation],
        ) -> Result<Vec<RefusedRow>, SinkError> {
            self.0.lock().unwrap().extend(marks.iter().cloned());
            Ok(Vec::new())
        }
    }

    /// What a process hears that meets a twin twice, and whether it commits anything after that.
    fn met_twice(is_fragile: bool) -> (Vec<News>, bool) {
        let (clock, port) = (Arc::new(Waiting::default()), Arc::new(Beside::default()));
        let journal = fakes::journal(clock.clone());
        let sink = fakes::sink("out", SinkPort::Transaction(port.clone()), &journal, &clock);
        let watch: Arc<Watch> = sink.facts.watch.clone();
        watch.set_fragile(is_fragile);
        recover(&sink, port.as_ref()).now_or_never().unwrap().unwrap();
        recover(&sink, port.as_ref()).now_or_never().unwrap().unwrap();
        let marks = Marks::from([(Generation([1; 16]), Mark::default())]);
        let is_carried = carry(&sink, port.as_ref(), marks).now_or_never().is_some();
        assert_eq!(is_carried, !port.0.lock().unwrap().is_empty());
        (std::iter::from_fn(|| watch.news().now_or_never()).collect(), is_carried)
    }

    #[test]
    fn a_second_meeting_ends_a_process_that_is_not_exact_beside_a_twin_and_no_other() {
        let (news, commits) = met_twice(true);
        assert!(matches!(news.as_slice(), [News::Met(_), News::Met(_), News::End(Ending::Twins(_)), ..]), "{news:?}");
        assert!(!commits, "nothing is sent any more");
        let (news, commits) = met_twice(false);
        assert!(news.iter().all(|one| matches!(one, News::Met(_))) && commits, "{news:?}");
    }
}
