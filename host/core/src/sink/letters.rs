//! Rows that a sink refuses: verdict first, then the letter, then the sink's cursor. The dead-letter sink keeps one cursor per
//! (feeding sink, generation), in the same commit as the letters, so that a letter is there exactly once.
//!
//! A sink may refuse a row only after letters of its batch were posted, or of a larger batch in an earlier life or by who had its
//! place before: the cursor of its letters has passed it then. Such a verdict is journalled with a second one that says so, under
//! [`DeadLetters::late`], and the commit that holds its letter with a third, under [`DeadLetters::late_posted`].

use super::{Sink, Stop};
use crate::SinkId;
use crate::journal::{JournalState, Judge, Record, Verdict};
use crate::pace;
use crate::ports::Offer;
use event_listener::Event;
use sawlog_record::batch::{Output, Row};
use sawlog_record::id::{Cursor, Generation, RowId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One refused row on its way to the dead letters.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Who refused it.
    pub feeder: SinkId,
    /// The batch it came from; only `row` of it is meant.
    pub offer: Offer,
    /// Index into the batch's rows.
    pub row: u32,
    /// The sink's own reason.
    pub reason: String,
}

impl Letter {
    fn row_id(&self) -> RowId {
        self.offer.output.batch.rows[self.row as usize].id
    }

    fn verdict(&self, judge: SinkId) -> Record {
        let RowId { pos, slot, k } = self.row_id();
        Record::Verdict(Verdict { generation: self.offer.generation, pos, slot, judge: Judge::Sink(judge, k) })
    }

    fn is_judged(&self, state: &JournalState, judge: &SinkId) -> bool {
        let RowId { pos, slot, k } = self.row_id();
        state.refused(judge, self.offer.generation, pos, slot, k)
    }

    /// Whether the dead-letter sink has it durably.
    fn is_posted(&self, state: &JournalState) -> bool {
        is_covered(state, &self.feeder, self.offer.generation, self.row_id())
            && (!self.is_judged(state, &DeadLetters::late(&self.feeder))
                || self.is_judged(state, &DeadLetters::late_posted(&self.feeder)))
    }
}

/// Whether the cursor of a feeder's letters has passed this row.
fn is_covered(state: &JournalState, feeder: &SinkId, generation: Generation, row: RowId) -> bool {
    let cursors = state.cursors.get(&DeadLetters::feeder_cursor(feeder));
    cursors.and_then(|c| c.get(&generation)).is_some_and(|mark| mark.cursor.covers(row))
}

/// Letters of one commit of a feeder: all or none become visible, and the feeder's cursor with them.
#[derive(Clone, Debug)]
pub struct Post {
    /// Who refused.
    pub feeder: SinkId,
    /// In the order of their records.
    pub letters: Vec<Letter>,
    /// Up to where the feeder's letters are complete, per generation.
    pub upto: BTreeMap<Generation, Cursor>,
    ticket: u64,
}

#[derive(Default)]
struct Office {
    waiting: VecDeque<Post>,
    tickets: u64,
    done: u64,
}

/// The way from refusing sinks to the dead-letter sink.
#[derive(Default)]
pub struct DeadLetters {
    office: Mutex<Office>,
    posted: Event,
    delivered: Event,
}

/// What the ids of feeders' cursors begin with; no name in a configuration does.
const FEEDER: &str = "dead_letter<";

impl DeadLetters {
    /// Under which id the cursors of `feeder`'s letters stand in the journal.
    pub fn feeder_cursor(feeder: &SinkId) -> SinkId {
        SinkId::new(&format!("{FEEDER}{feeder}"))
    }

    /// Whether this is such an id.
    pub(crate) fn is_feeder_cursor(id: &SinkId) -> bool {
        id.as_str().starts_with(FEEDER)
    }

    /// Under which id a verdict says that `feeder`'s letters had passed this row when it was refused.
    fn late(feeder: &SinkId) -> SinkId {
        SinkId::new(&format!("late<{feeder}"))
    }

    /// Under which id a verdict says that the letter of such a row is durable.
    fn late_posted(feeder: &SinkId) -> SinkId {
        SinkId::new(&format!("late_posted<{feeder}"))
    }

    /// What a commit of these posts journals besides the feeders' cursors.
    pub(super) fn late_letters(state: &JournalState, posts: &[Post]) -> Vec<Record> {
        let letters = posts.iter().flat_map(|post| &post.letters);
        let late = letters.filter(|letter| letter.is_judged(state, &Self::late(&letter.feeder)));
        late.map(|letter| letter.verdict(Self::late_posted(&letter.feeder))).collect()
    }

    /// Hands letters over and waits until they are durable.
    async fn deliver(&self, feeder: SinkId, letters: Vec<Letter>, upto: BTreeMap<Generation, Cursor>) {
        let ticket = {
            let mut office = self.office.lock().unwrap_or_else(PoisonError::into_inner);
            office.tickets += 1;
            let ticket = office.tickets;
            office.waiting.push_back(Post { feeder, letters, upto, ticket });
            ticket
        };
        self.posted.notify(usize::MAX);
        loop {
            let delivered = self.delivered.listen();
            if self.office.lock().unwrap_or_else(PoisonError::into_inner).done >= ticket {
                return;
            }
            delivered.await;
        }
    }

    /// Posts that wait, for the dead-letter sink; they wait until [`Self::done`]. A feeder that was replaced before its letters
    /// were durable posts them again: each is given out once.
    pub(super) fn collect(&self, state: &JournalState) -> Vec<Post> {
        let mut posts: Vec<Post> =
            self.office.lock().unwrap_or_else(PoisonError::into_inner).waiting.iter().cloned().collect();
        if crate::mutation::on("letters_posted_twice") {
            return posts;
        }
        let mut given: BTreeMap<(SinkId, Generation), Cursor> = BTreeMap::new();
        let mut out: BTreeSet<(SinkId, Generation, RowId)> = BTreeSet::new();
        for post in &mut posts {
            let feeder = Self::feeder_cursor(&post.feeder);
            post.letters.retain(|letter| {
                !letter.is_posted(state) && out.insert((post.feeder.clone(), letter.offer.generation, letter.row_id()))
            });
            for (generation, upto) in &mut post.upto {
                let durable = state.cursors.get(&feeder).and_then(|c| c.get(generation)).map(|m| m.cursor);
                let given = given.entry((post.feeder.clone(), *generation)).or_default();
                // What stands never falls, however the feeder cut its batches this time.
                *given = (*given).max(*upto).max(durable.unwrap_or_default());
                *upto = *given;
            }
        }
        posts
    }

    /// Whether the cursor of `feeder`'s letters passes this row once what waits is durable: who had the feeder's place before may
    /// have posted more than is refused now, and less of it.
    fn will_cover(&self, feeder: &SinkId, generation: Generation, row: RowId) -> bool {
        let office = self.office.lock().unwrap_or_else(PoisonError::into_inner);
        let mut posts = office.waiting.iter().filter(|post| post.feeder == *feeder);
        posts.any(|post| post.upto.get(&generation).is_some_and(|upto| upto.covers(row)))
    }

    pub(super) fn posted(&self) -> event_listener::EventListener {
        self.posted.listen()
    }

    /// All posts up to this one are durable.
    pub(super) fn done(&self, posts: &[Post]) {
        let Some(last) = posts.last() else { return };
        let mut office = self.office.lock().unwrap_or_else(PoisonError::into_inner);
        office.done = last.ticket;
        office.waiting.retain(|post| post.ticket > last.ticket);
        drop(office);
        self.delivered.notify(usize::MAX);
    }
}

impl Sink {
    /// Takes out of `offers` every row that this sink has refused, now (`fresh`) or in an earlier life, and corrects the counts.
    pub(super) fn split_refused(&self, offers: &mut [Offer], fresh: &BTreeMap<(usize, u32), String>) -> Vec<Letter> {
        let state = self.journal.state();
        let mut letters = Vec::new();
        for (index, offer) in offers.iter_mut().enumerate() {
            let batch = offer.output.batch.clone();
            let is_refused = |row: &Row| state.refused(&self.id, offer.generation, row.id.pos, row.id.slot, row.id.k);
            let (refused, kept): (Vec<u32>, Vec<u32>) =
                offer.output.rows.iter().partition(|i| is_refused(&batch.rows[**i as usize]));
            if refused.is_empty() {
                continue;
            }
            let mut parents: Vec<u32> = refused.iter().map(|i| batch.rows[*i as usize].parent).collect();
            parents.dedup();
            let whole = offer.clone();
            offer.mark.counts.refuse(parents.len() as u64, refused.len() as u64, self.tuning.drop_refused);
            offer.output = Output { batch, rows: kept };
            if self.tuning.drop_refused {
                continue;
            }
            for row in refused {
                let reason = fresh.get(&(index, row)).cloned().unwrap_or_else(|| "refused before a restart".into());
                letters.push(Letter { feeder: self.id.clone(), offer: whole.clone(), row, reason });
            }
        }
        letters
    }

    /// Makes verdicts about these rows durable. One whose letter the cursor of letters has passed already is marked first: the
    /// mark alone means nothing.
    pub(super) async fn judge(&self, offers: &[Offer], rows: &BTreeMap<(usize, u32), String>) -> Result<(), Stop> {
        let mut verdicts = Vec::new();
        {
            let state = self.journal.state();
            for (index, row) in rows.keys() {
                let Some(offer) = offers.get(*index) else { continue };
                let Some(RowId { pos, slot, k }) = offer.output.batch.rows.get(*row as usize).map(|row| row.id) else {
                    continue;
                };
                let generation = offer.generation;
                let by = |judge| Record::Verdict(Verdict { generation, pos, slot, judge: Judge::Sink(judge, k) });
                let row = RowId { pos, slot, k };
                let waits = self.dead_letters.as_ref().is_some_and(|l| l.will_cover(&self.id, generation, row));
                let is_late = waits || is_covered(&state, &self.id, generation, row);
                if is_late && !crate::mutation::on("late_letter_dropped") {
                    verdicts.push(by(DeadLetters::late(&self.id)));
                }
                verdicts.push(by(self.id.clone()));
            }
        }
        if crate::mutation::on("verdict_not_durable") {
            self.journal.hint(verdicts);
            return Ok(());
        }
        Ok(self.journal.commit(verdicts).await?)
    }

    /// Delivers letters before the sink's cursor passes them. Letters that the dead-letter sink has already are left out.
    pub(super) async fn post(&self, letters: Vec<Letter>, offers: &[Offer]) {
        let Some(dead_letters) = &self.dead_letters else { return };
        let feeder = DeadLetters::feeder_cursor(&self.id);
        let (new, upto) = {
            let state = self.journal.state();
            let have = |g| state.cursors.get(&feeder).and_then(|c| c.get(&g)).map(|m| m.cursor).unwrap_or_default();
            let new: Vec<Letter> = letters.into_iter().filter(|letter| !letter.is_posted(&state)).collect();
            // An earlier life may have posted a larger batch: a cursor never falls.
            let upto = offers.iter().map(|o| (o.generation, o.mark.cursor.max(have(o.generation))));
            (new, upto.collect::<BTreeMap<_, _>>())
        };
        if new.is_empty() || crate::mutation::on("dead_letter_after_cursor") {
            return;
        }
        self.note(|s| s.waiting_for_letters = true);
        let began = self.clock.elapsed();
        if let Some(pause) = self.pause_before_letters(new.len(), began) {
            self.clock.sleep(pause).await;
        }
        dead_letters.deliver(self.id.clone(), new, upto).await;
        let waited = self.clock.elapsed().saturating_sub(began);
        self.note(|s| {
            s.waiting_for_letters = false;
            s.waited_for_letters += waited;
        });
    }

    /// How long `letters` wait at `now`: a sink that refuses everything must not pour it all into the dead letters.
    fn pause_before_letters(&self, letters: usize, now: Duration) -> Option<Duration> {
        let rate = self.tuning.letters_per_second?;
        let mut paid_at = self.letters_paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_at = pace::letters_paid_at(*paid_at, now, letters, rate);
        paid_at.checked_sub(now).filter(|pause| !pause.is_zero())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fakes::{self, Waiting};
    use crate::journal::Mark;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::{Batch, Span};
    use std::sync::Arc;

    const GENERATION: Generation = Generation([1; 16]);

    /// A batch up to 100 with rows at 20 and 40.
    fn offer() -> Offer {
        let row = |pos| Row {
            id: RowId { pos, slot: 0, k: 0 },
            parent: 0,
            time: 0,
            received: 0,
            input: Span { start: 0, len: 0 },
            text: None,
            fields_start: 0,
            fields_len: 0,
            flags: 0,
        };
        let batch = Batch { rows: vec![row(20), row(40)], ..Batch::new(GENERATION) };
        fakes::offer(batch, Cursor::at(0), Cursor::at(100))
    }

    fn letter(feeder: &Sink, row: u32) -> Letter {
        Letter { feeder: feeder.id.clone(), offer: offer(), row, reason: "too large".to_owned() }
    }

    #[test]
    fn what_a_successor_refuses_besides_is_posted_also_behind_letters_of_its_predecessor() {
        let clock = Arc::new(Waiting::default());
        let journal = fakes::journal(clock.clone());
        let office = Arc::new(DeadLetters::default());
        let feeder = fakes::feeder("log", &office, &journal, &clock);
        // Its predecessor refused the second row only, and was replaced while the letter waited.
        let upto = BTreeMap::from([(GENERATION, Cursor::at(100))]);
        let before = office.deliver(feeder.id.clone(), vec![letter(&feeder, 1)], upto).now_or_never();
        assert!(before.is_none(), "nobody has taken the letter yet");

        let refused = BTreeMap::from([((0, 0), "too large".to_owned())]);
        feeder.judge(&[offer()], &refused).now_or_never().unwrap().unwrap();
        let posts = office.collect(&journal.state());
        assert_eq!(posts[0].letters.len(), 1);
        let marks = vec![(GENERATION, Mark::at(posts[0].upto[&GENERATION]))];
        let cursor = Record::Cursor { sink: DeadLetters::feeder_cursor(&feeder.id), marks, facts: None };
        journal.commit(vec![cursor]).now_or_never().unwrap().unwrap();
        office.done(&posts);

        let posting = feeder.post(vec![letter(&feeder, 0)], &[offer()]).now_or_never();
        assert!(posting.is_none(), "it waits until its letter is durable");
        assert_eq!(office.collect(&journal.state())[0].letters[0].row, 0);
    }
}
