//! The appended local file (delivery.md §4.5): append, make durable, journal length and cursors in one record; recovery cuts the
//! file back to the journalled length. The dead-letter sink is one of these, and takes other sinks' letters in the same commit.

use super::letters::{DeadLetters, Letter, Post};
use super::{Sink, Stop, retrying};
use crate::claims::Marks;
use crate::journal::{Mark, Record, SinkFacts};
use crate::mutation;
use crate::ports::{AppendFile, Offer};
use futures_util::future::{Either, select};
use sawlog_record::id::Generation;
use std::pin::pin;

pub(super) async fn run(sink: &Sink, port: &dyn AppendFile) -> Result<(), Stop> {
    recover(sink, port).await?;
    sink.intake.reset(sink.journalled(), None);
    loop {
        if port.due() {
            roll(sink, port).await?;
        }
        let (offers, posts) = next_or_due(sink, port).await;
        if !offers.is_empty() || !posts.is_empty() {
            commit(sink, port, offers, posts).await?;
        }
    }
}

/// What is to be appended next; nothing where the file grows old enough to be rolled before anything comes.
async fn next_or_due(sink: &Sink, port: &dyn AppendFile) -> (Vec<Offer>, Vec<Post>) {
    let Some(wait) = port.due_in() else { return next(sink).await };
    let (next, due) = (pin!(next(sink)), pin!(sink.clock.sleep(wait)));
    match select(next, due).await {
        Either::Left((next, _)) => next,
        Either::Right(_) => Default::default(),
    }
}

/// Gives the file its final name where the sink leaves, and learns which one it is to append to where it goes on.
pub(super) async fn switch(
    sink: &Sink,
    old: &dyn AppendFile,
    new: &dyn AppendFile,
) -> Result<(Marks, SinkFacts), Stop> {
    if !mutation::on("file_left_uncut") {
        recover(sink, old).await?;
        roll(sink, old).await?;
    }
    old.close().await;
    let file = retrying!(sink, new.recover(None));
    Ok((Marks::new(), SinkFacts { file: Some(file), ..SinkFacts::default() }))
}

fn file_state(sink: &Sink) -> Option<(u64, u64)> {
    sink.journal.state().facts.get(&sink.id).and_then(|f| f.file)
}

/// Cuts the file back to what the journal says; tries until it succeeds. Where the file turns out to be another one (the first of
/// all, or behind a roll), that is journalled before anything is appended to it: a crash then finds what it may cut.
async fn recover(sink: &Sink, port: &dyn AppendFile) -> Result<(), Stop> {
    loop {
        let state = file_state(sink);
        match port.recover(state).await {
            Ok(file) if Some(file) == state => break,
            Ok(file) => {
                let facts = SinkFacts { file: Some(file), ..SinkFacts::default() };
                sink.journal.commit(vec![sink.cursor_record(&[], Some(facts))]).await?;
                break;
            }
            Err(error) => sink.back_off(&error).await,
        }
    }
    sink.succeeded();
    Ok(())
}

/// Batches of lanes, letters of other sinks, or both.
async fn next(sink: &Sink) -> (Vec<Offer>, Vec<Post>) {
    let Some(letters) = &sink.letters else { return (sink.next_offers().await, Vec::new()) };
    loop {
        let posted = letters.posted();
        let posts = letters.collect(&sink.journal.state());
        if !posts.is_empty() {
            return (Vec::new(), posts);
        }
        let offers = pin!(sink.next_offers());
        if let Either::Left((offers, _)) = select(offers, posted).await {
            return (offers, Vec::new());
        }
    }
}

async fn commit(sink: &Sink, port: &dyn AppendFile, offers: Vec<Offer>, posts: Vec<Post>) -> Result<(), Stop> {
    let letters: Vec<Letter> = posts.iter().flat_map(|p| &p.letters).cloned().collect();
    let file = loop {
        match port.append(&offers, &letters).await {
            Ok(file) => break file,
            Err(error) => {
                sink.back_off(&error).await;
                recover(sink, port).await?;
            }
        }
    };
    let marks = sink.moved_on(&offers);
    let facts = SinkFacts { file: Some(file), ..SinkFacts::default() };
    let mut records = vec![sink.cursor_record(&marks, Some(facts))];
    records.extend(posts.iter().map(feeder_cursor));
    records.extend(DeadLetters::late_letters(&sink.journal.state(), &posts));
    // One record: letters without their feeder's cursor would come again.
    sink.journal.commit(vec![Record::Together(records)]).await?;
    sink.settled(&marks);
    if let Some(letters) = &sink.letters {
        letters.done(&posts);
    }
    sink.succeeded();
    Ok(())
}

fn feeder_cursor(post: &Post) -> Record {
    let marks: Vec<(Generation, Mark)> = post.upto.iter().map(|(g, c)| (*g, Mark::at(*c))).collect();
    Record::Cursor { sink: DeadLetters::feeder_cursor(&post.feeder), marks, facts: None }
}

/// The final name first, then the journal: recovery of the old number finds the final name and goes on behind it.
async fn roll(sink: &Sink, port: &dyn AppendFile) -> Result<(), Stop> {
    let file = loop {
        match port.roll().await {
            Ok(file) => break file,
            Err(error) => {
                sink.back_off(&error).await;
                recover(sink, port).await?;
            }
        }
    };
    let facts = SinkFacts { file: Some(file), ..SinkFacts::default() };
    sink.journal.commit(vec![sink.cursor_record(&[], Some(facts))]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Waiting};
    use crate::journal::Destination;
    use crate::ports::{SinkError, SinkPort};
    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    /// Notes what it is cut back to.
    #[derive(Default)]
    struct Cut(Mutex<Vec<Option<(u64, u64)>>>);

    #[async_trait]
    impl AppendFile for Cut {
        async fn place(&self) -> Result<String, SinkError> {
            Ok("here".to_owned())
        }
        async fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
            self.0.lock().unwrap().push(state);
            Ok(state.unwrap_or_default())
        }
        async fn append(&self, _: &[Offer], _: &[Letter]) -> Result<(u64, u64), SinkError> {
            Err(SinkError::Unavailable("nothing is appended".to_owned()))
        }
        fn due(&self) -> bool {
            false
        }
        async fn roll(&self) -> Result<(u64, u64), SinkError> {
            Err(SinkError::Unavailable("nothing is rolled".to_owned()))
        }
        async fn close(&self) {}
    }

    #[test]
    fn a_successor_touches_no_file_on_the_word_of_a_record_that_is_not_durable() {
        let (clock, syncs) = (Arc::new(Waiting::default()), Arc::new(AtomicBool::new(true)));
        let (journal, port) = (fakes::journal_on(syncs.clone(), clock.clone()), Arc::new(Cut::default()));
        let sink = fakes::sink("file", SinkPort::Append(port.clone()), &journal, &clock);
        // It has been at this place for long: nothing is to be journalled of that.
        let destination = Some(Destination { place: "here".to_owned(), config: [0; 32] });
        let arrived = SinkFacts { destination, file: Some((0, 16)), ..SinkFacts::default() };
        journal.commit(vec![sink.cursor_record(&[], Some(arrived))]).now_or_never().unwrap().unwrap();
        // Who was there before has appended up to here, and ended while it waited for the disk.
        syncs.store(false, Ordering::Relaxed);
        let facts = SinkFacts { file: Some((0, 20)), ..SinkFacts::default() };
        let ended = journal.commit(vec![sink.cursor_record(&[], Some(facts))]).now_or_never();
        assert!(ended.is_none(), "it was not durable");

        let mut running = Box::pin(sink.run());
        assert!(running.as_mut().now_or_never().is_none());
        assert!(port.0.lock().unwrap().is_empty(), "a crash now would take the record back");
        syncs.store(true, Ordering::Relaxed);
        assert!(running.as_mut().now_or_never().is_none());
        assert_eq!(*port.0.lock().unwrap(), [Some((0, 20))]);
    }
}
