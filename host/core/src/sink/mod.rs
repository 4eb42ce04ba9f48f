//! Sinks as the core sees them: an intake that lanes feed, a protocol that makes what was taken visible exactly once, and the
//! rows that a sink refuses. Each protocol is a file of its own; connectors only execute its port.

mod append;
mod audit;
mod documents;
pub mod intake;
mod letters;
mod objects;
mod status;
mod switch;
mod transaction;

pub use audit::{Books, Delivered, Flow, Observer};
pub use intake::{Accept, Intake, IntakeLimits, Limits, Seat};
pub use letters::{DeadLetters, Letter};
pub use status::{Circuit, SinkStatus};

use crate::budget::Budget;
use crate::claims::{Marks, advance};
use crate::input::Inputs;
use crate::journal::{Journal, JournalState, Mark, PartitionState, Record, SinkFacts};
use crate::mutation;
use crate::ports::{Chains, Clock, FormerSinks, Offer, SinkPort};
use crate::stream::Place;
use crate::tasks::Tasks;
use crate::watch::Watch;
use crate::{SinkId, SourceId};
use event_listener::Event;
use futures_util::future::select;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Calls until it succeeds, with pauses between.
macro_rules! retrying {
    ($sink:expr, $call:expr) => {
        loop {
            match $call.await {
                Ok(value) => break value,
                Err(error) => $sink.back_off(&error).await,
            }
        }
    };
}
use retrying;

/// When a sink sends what it has taken.
#[derive(Clone, Copy, Debug)]
pub struct SinkTuning {
    /// Input bytes of one request, transaction or append.
    pub batch_bytes_max: usize,
    /// Input records of the same; what a lane has made at once is not divided.
    pub batch_records_max: u64,
    /// Between two batches, so that the first row of a batch waits no longer.
    pub batch_age_max: Duration,
    /// Staged bytes at which an object sink seals.
    pub roll_bytes_max: u64,
    /// Age of the first staged row at which an object sink seals.
    pub roll_age_max: Duration,
    /// Paths (and so objects) of one claim.
    pub paths_max: usize,
    /// Decisions (PLAN entries, and verdicts on records) at which an object sink seals: a claim holds them, and what is too large to
    /// be read again would never be finished.
    pub decisions_max: usize,
    /// What readers of object sinks call an hour; a simulation has shorter ones.
    pub hour: Duration,
    /// Every so many claims one carries all cursors.
    pub full_vector_every: u64,
    /// At least so many claims are kept.
    pub claims_kept_min: u64,
    /// No claim is deleted before this age: a request under way could still meet the free number.
    pub claim_life: Duration,
    /// An object sink that has failed for longer lists the claims anew before it writes one.
    pub outage_max: Duration,
    /// First pause after a failure; doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// Longest pause after a failure.
    pub backoff_max: Duration,
    /// Failures in a row that open the circuit.
    pub open_circuit_after: u32,
    /// Rows that it refuses are dropped and counted; else they go to the dead letters.
    pub drop_refused: bool,
    /// Letters that it hands over in a second, in the long run; one second's worth at once. `None` = no limit.
    pub letters_per_second: Option<NonZeroU32>,
    /// How far it may fall behind before it gives up the oldest; `None` = it waits, and never gives anything up.
    pub drop_oldest: Option<Budget>,
}

impl Default for SinkTuning {
    fn default() -> Self {
        Self {
            batch_bytes_max: 4 << 20,
            batch_records_max: u64::MAX,
            batch_age_max: Duration::from_millis(200),
            roll_bytes_max: 128 << 20,
            roll_age_max: Duration::from_secs(300),
            paths_max: 256,
            decisions_max: 100_000,
            hour: Duration::from_secs(3600),
            full_vector_every: 64,
            claims_kept_min: 1_000,
            claim_life: Duration::from_secs(7 * 24 * 3600),
            outage_max: Duration::from_secs(3600),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            open_circuit_after: 5,
            drop_refused: false,
            letters_per_second: None,
            drop_oldest: None,
        }
    }
}

/// One sink: its registration, its intake, its protocol.
pub struct Sink {
    /// Its key in the configuration.
    pub id: SinkId,
    /// What lanes feed.
    pub intake: Intake,
    /// When it sends, and what it gives up.
    pub tuning: SinkTuning,
    port: SinkPort,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    dead_letters: Option<Arc<DeadLetters>>,
    /// Letters that other sinks hand to this one, where it is the dead-letter sink.
    letters: Option<Arc<DeadLetters>>,
    facts: SinkIdentity,
    /// Opens the place that it leaves.
    former: Arc<dyn FormerSinks>,
    /// The sources that feed it.
    feeders: Mutex<BTreeMap<SourceId, Feeder>>,
    status: Mutex<SinkStatus>,
    /// Cursors that it holds of generations that the journal does not know, once it has said so.
    held: Mutex<Option<Marks>>,
    flush: Event,
    /// When letters that were handed over so far are paid for.
    letters_paid_at: Mutex<Duration>,
    /// When it took the batch before.
    taken_at: Mutex<Option<Duration>>,
    tasks: Tasks,
    flushing: std::sync::atomic::AtomicBool,
    /// A loss is being journalled: until it is durable nothing is passed over.
    giving_up: std::sync::atomic::AtomicU32,
}

/// A source that feeds a sink, with the chains between them.
#[derive(Clone)]
pub(crate) struct Feeder {
    /// What it reads.
    pub(crate) inputs: Arc<Inputs>,
    /// All configurations at hand.
    pub(crate) chains: Arc<dyn Chains>,
}

/// What a sink says of itself in claims and in the journal.
#[derive(Clone, Debug, Default)]
pub struct SinkIdentity {
    /// Id of the data directory.
    pub directory: String,
    /// Hash of the sink's destination, path and format settings.
    pub sink_epoch: String,
    /// The configuration that names its place; kept until the sink delivers elsewhere, see [`FormerSinks`].
    pub config: Arc<Vec<u8>>,
    /// It is of a partition that moves between agents: whoever else writes there is an owner of it, and no twin.
    pub moves: bool,
    /// What ends the process.
    pub watch: Arc<Watch>,
    /// Who hears of every batch that it has delivered.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Sink {
    /// A sink that has not begun to run.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        id: SinkId,
        port: SinkPort,
        limits: IntakeLimits,
        tuning: SinkTuning,
        facts: SinkIdentity,
        former: Arc<dyn FormerSinks>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        dead_letters: Option<Arc<DeadLetters>>,
        letters: Option<Arc<DeadLetters>>,
        reseated: Arc<Event>,
    ) -> Self {
        Self {
            intake: Intake::new(id.clone(), limits, reseated),
            id,
            tuning,
            port,
            journal,
            clock,
            dead_letters,
            letters,
            facts,
            former,
            feeders: Mutex::default(),
            status: Mutex::default(),
            held: Mutex::default(),
            flush: Event::new(),
            letters_paid_at: Mutex::default(),
            taken_at: Mutex::default(),
            tasks: Tasks::default(),
            flushing: std::sync::atomic::AtomicBool::new(false),
            giving_up: std::sync::atomic::AtomicU32::new(0),
        }
    }

    /// Recovers and then delivers; returns when the sink has stopped for good or was retired.
    pub async fn run(&self) {
        self.tasks.run(self.deliver()).await;
    }

    /// Ends a sink that the configuration no longer names, or names with other settings. Nothing is lost by ending anywhere: it
    /// may crash anywhere, and whoever takes its place recovers. When this returns nothing of it runs any more.
    pub async fn retire(&self) {
        self.intake.stop("taken out of the configuration".into());
        self.tasks.end().await;
        if let SinkPort::Append(port) = &self.port {
            port.close().await;
        }
    }

    async fn deliver(&self) {
        if let Err(stop) = self.arrive_and_deliver().await {
            self.intake.stop(stop.0);
        }
    }

    async fn arrive_and_deliver(&self) -> Result<(), Stop> {
        // Whoever it takes the place of may have ended between a record and its durability: nothing is done outside on the word of
        // a record that a crash takes back.
        if !mutation::on("arrived_by_hints") {
            self.journal.settle().await?;
        }
        switch::arrive(self).await?;
        match &self.port {
            SinkPort::Transaction(port) => transaction::run(self, port.as_ref()).await,
            SinkPort::Documents(port) => documents::run(self, port.as_ref()).await,
            SinkPort::Objects(port) => objects::run(self, port.as_ref()).await,
            SinkPort::Append(port) => append::run(self, port.as_ref()).await,
        }
    }

    /// Sends or seals what is open without waiting for size or age; stays so until the process ends.
    pub fn flush_always(&self) {
        self.flushing.store(true, std::sync::atomic::Ordering::Relaxed);
        self.flush.notify(usize::MAX);
    }

    fn flushes(&self) -> bool {
        self.flushing.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Says that a loss of this sink is being journalled, or that it is durable. Its budget and a person may both have it give
    /// something up at a time.
    pub(crate) fn set_giving_up(&self, is_giving_up: bool) {
        match is_giving_up {
            true => self.giving_up.fetch_add(1, std::sync::atomic::Ordering::SeqCst),
            false => self.giving_up.fetch_sub(1, std::sync::atomic::Ordering::SeqCst),
        };
    }

    /// Whether a loss of this sink is not durable yet.
    pub(crate) fn is_giving_up(&self) -> bool {
        self.giving_up.load(std::sync::atomic::Ordering::SeqCst) > 0
    }

    /// Notes that `feeder` feeds it from now on, or no longer does.
    pub(crate) fn set_fed(&self, feeder: Feeder, is_fed: bool) {
        let mut feeders = self.feeders.lock().unwrap_or_else(PoisonError::into_inner);
        match is_fed {
            true => _ = feeders.insert(feeder.inputs.id.clone(), feeder),
            false => _ = feeders.remove(&feeder.inputs.id),
        }
    }

    fn feeders(&self) -> BTreeMap<SourceId, Feeder> {
        self.feeders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the sink itself, and not the journal, holds its cursors.
    pub(crate) fn holds_cursors(&self) -> bool {
        matches!(self.port, SinkPort::Transaction(_) | SinkPort::Objects(_))
    }

    /// Tells what the sink holds, committed or promised by a claim: sources find files again by it. Where cursors of another
    /// journal are among it that is journalled before: the next life's sources wait for them too.
    async fn tell_held(&self, marks: &Marks) -> Result<(), Stop> {
        self.adopt(marks).await?;
        let unknown = {
            let state = self.journal.state();
            let is_unknown = |g: &Generation| !state.dropped.contains(g) && !state.generations.contains_key(g);
            marks.iter().filter(|(g, _)| is_unknown(g)).map(|(g, mark)| (*g, mark.clone())).collect()
        };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(unknown);
        Ok(())
    }

    /// What the sink has told that it holds.
    pub(crate) fn held(&self) -> Option<Marks> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Journals that cursors of this sink need be no prefix of this journal's streams.
    async fn note_adopted(&self) -> Result<(), Stop> {
        let facts = SinkFacts { adopted: true, ..SinkFacts::default() };
        Ok(self.journal.commit(vec![self.cursor_record(&[], Some(facts))]).await?)
    }

    /// Before cursors that the sink itself holds are believed: where this journal cannot have made them, that is journalled.
    async fn adopt(&self, truth: &Marks) -> Result<(), Stop> {
        let is_foreign = {
            let state = self.journal.state();
            let is_known = state.facts.get(&self.id).is_some_and(|f| f.adopted);
            let planned = |g: &Generation| state.generations.get(g).map(|known| known.planned);
            let beyond = |(g, mark): (&Generation, &Mark)| planned(g).is_none_or(|planned| mark.cursor > planned);
            // A first commit whose hint was lost looks the same, and is none the worse for it.
            let is_new = state.cursors.get(&self.id).is_none_or(Marks::is_empty) && !truth.is_empty();
            !is_known
                && (is_new
                    || truth.iter().filter(|(g, _)| !state.dropped.contains(g)).any(beyond)
                    || self.is_in_another_order(&state, truth))
        };
        if is_foreign {
            self.note_adopted().await?;
        }
        Ok(())
    }

    /// Whether these cursors cover an entry of a stream behind one that they do not: a twin may have planned all that is planned
    /// here, and in another order.
    fn is_in_another_order(&self, state: &JournalState, truth: &Marks) -> bool {
        let at = |g| truth.get(&g).map_or_else(|| state.start(&self.id, g), |mark| mark.cursor);
        let is_another = |known: &PartitionState| known.stream.place_of(at).is_err();
        !mutation::on("adopted_by_reach") && state.partitions.values().any(is_another)
    }

    /// The durable cursors by the journal.
    fn journalled(&self) -> Marks {
        self.journal.state().cursors.get(&self.id).cloned().unwrap_or_default()
    }

    /// Whether it has taken everything up to every end; where there is nothing left to feed, nobody offers anything.
    fn has_reached(&self, ends: &BTreeMap<PartitionId, Place>) -> Result<bool, Stop> {
        let state = self.journal.state();
        for (partition, end) in ends {
            let seat = self.intake.seat(&state, *partition);
            if seat.map_err(|e| Stop(format!("sink {}: {e}", self.id)))?.is_none_or(|seat| seat.next < *end) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The cursors after `offers`, and of those only the ones that moved.
    fn moved(truth: &Marks, offers: &[Offer]) -> Vec<(Generation, Mark)> {
        let mut moved = Marks::new();
        for offer in offers {
            let before = moved.get(&offer.generation).or_else(|| truth.get(&offer.generation));
            let mark = advance(before, &offer.mark);
            moved.insert(offer.generation, mark);
        }
        moved.into_iter().collect()
    }

    /// The same of a sink whose cursors the journal holds, and nobody but the sink moves.
    fn moved_on(&self, offers: &[Offer]) -> Vec<(Generation, Mark)> {
        let state = self.journal.state();
        Self::moved(state.cursors.get(&self.id).unwrap_or(&Marks::new()), offers)
    }

    /// Generations that the journal has dropped and `truth` still holds.
    fn dropped(&self, truth: &Marks) -> Vec<Generation> {
        let state = self.journal.state();
        truth.keys().filter(|g| state.dropped.contains(g)).copied().collect()
    }

    fn cursor_record(&self, marks: &[(Generation, Mark)], facts: Option<SinkFacts>) -> Record {
        let mut marks = marks.to_vec();
        if mutation::on("cursor_without_slot") {
            marks.iter_mut().for_each(|(_, m)| m.cursor.slot = 0);
        }
        Record::Cursor { sink: self.id.clone(), marks, facts }
    }

    /// Waits for batches: until there is enough or no more would be taken, until `batch_age_max` has passed since the batch before was taken, or until a
    /// flush is asked for. So what comes after a quiet while goes at once, and nothing waits longer than that age.
    async fn next_offers(&self) -> Vec<Offer> {
        loop {
            let (offered, flush) = (self.intake.offered(), self.flush.listen());
            if self.intake.stopped().is_some() {
                std::future::pending::<()>().await;
            }
            if self.intake.backlog().0 > 0 {
                break;
            }
            select(offered, flush).await;
        }
        let before = *self.taken_at.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = before.map_or(Duration::ZERO, |before| before + self.tuning.batch_age_max);
        loop {
            let (offered, flush) = (self.intake.offered(), self.flush.listen());
            let now = self.clock.elapsed();
            // A full intake takes nothing that a batch could wait for.
            if self.intake.has_batch(&self.tuning) || self.flushes() || now >= deadline {
                *self.taken_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                return self.intake.take(&self.tuning);
            }
            let wait = pin!(self.clock.sleep(deadline - now));
            select(select(offered, flush), wait).await;
        }
    }
}

/// Why a sink stopped for good; a sentence for a person.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) String);

impl From<crate::ports::JournalError> for Stop {
    fn from(error: crate::ports::JournalError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{self, Shelf, Waiting};
    use futures_util::FutureExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn nothing_is_done_outside_on_the_word_of_a_record_that_a_crash_takes_back() {
        let (syncs, clock, shelf) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Waiting::default()), Arc::new(Shelf::default()));
        let journal = fakes::journal_on(syncs.clone(), clock.clone());
        let sink = fakes::sink("lake", SinkPort::Objects(shelf.clone()), &journal, &clock);
        // Whoever was here before said so as it ended.
        journal.hint(vec![sink.cursor_record(&[], Some(SinkFacts { next_claim: Some(1), ..SinkFacts::default() }))]);
        let asked = || shelf.asked.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut running = Box::pin(sink.run());
        assert!(running.as_mut().now_or_never().is_none());
        assert_eq!(asked(), 0, "the record is not durable yet");
        syncs.store(true, Ordering::Relaxed);
        assert!(running.as_mut().now_or_never().is_none());
        assert!(asked() > 0);
    }
}
