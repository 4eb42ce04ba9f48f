//! Rows that a sink refuses: verdict first, then the letter, then the sink's cursor. The dead-letter sink keeps one cursor per
//! (feeding sink, generation), in the same commit as the letters, so that a letter is there exactly once.

use super::{Sink, Stop};
use crate::SinkId;
use crate::journal::{JournalState, Judge, Record, Verdict};
use crate::ports::Offer;
use event_listener::Event;
use sawlog_record::batch::{Output, Row};
use sawlog_record::id::{Cursor, Generation};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

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
        for post in &mut posts {
            let feeder = Self::feeder_cursor(&post.feeder);
            post.letters.retain(|letter| {
                let generation = letter.offer.generation;
                let id = letter.offer.output.batch.rows[letter.row as usize].id;
                let durable = state.cursors.get(&feeder).and_then(|c| c.get(&generation)).map(|m| m.cursor);
                let have = durable.max(given.get(&(post.feeder.clone(), generation)).copied());
                have.is_none_or(|have| !have.covers(id))
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

    /// Makes verdicts about these rows durable.
    pub(super) async fn judge(&self, offers: &[Offer], rows: &BTreeMap<(usize, u32), String>) -> Result<(), Stop> {
        let verdicts = rows.keys().filter_map(|(index, row)| {
            let offer = offers.get(*index)?;
            let id = offer.output.batch.rows.get(*row as usize)?.id;
            let judge = Judge::Sink(self.id.clone(), id.k);
            Some(Record::Verdict(Verdict { generation: offer.generation, pos: id.pos, slot: id.slot, judge }))
        });
        let verdicts: Vec<Record> = verdicts.collect();
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
            let is_new = |l: &Letter| !have(l.offer.generation).covers(l.offer.output.batch.rows[l.row as usize].id);
            let new: Vec<Letter> = letters.into_iter().filter(is_new).collect();
            // An earlier life may have posted a larger batch: a cursor never falls.
            let upto = offers.iter().map(|o| (o.generation, o.mark.cursor.max(have(o.generation))));
            (new, upto.collect::<BTreeMap<_, _>>())
        };
        if new.is_empty() || crate::mutation::on("dead_letter_after_cursor") {
            return;
        }
        self.note(|s| s.waiting_for_letters = true);
        let began = self.clock.elapsed();
        dead_letters.deliver(self.id.clone(), new, upto).await;
        let waited = self.clock.elapsed().saturating_sub(began);
        self.note(|s| {
            s.waiting_for_letters = false;
            s.waited_for_letters += waited;
        });
    }
}
