//! What a sink takes from lanes: a seat per partition, a bounded buffer, and a refusal for everything that does not begin
//! exactly where the sink stands. It knows nothing of protocols.

use super::SinkTuning;
use super::audit::{Audit, Books, Delivered};
use crate::claims::Marks;
use crate::journal::{JournalState, LostRange, Mark, end_of};
use crate::memory::{Member, Share, pack};
use crate::ports::Offer;
use crate::stream::{NotAPrefix, Place};
use crate::{SinkId, SourceId, mutation};
use event_listener::{Event, EventListener};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much a sink may hold in memory beyond what it has sealed.
#[derive(Clone, Debug)]
pub struct IntakeLimits {
    /// Memory of buffered batches at which the sink is full; it takes again at half. Divided among all sinks of that name.
    pub memory: Arc<Share>,
    /// Buffered batches at which the sink is full.
    pub batches_max: usize,
}

/// The answer to an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accept {
    /// It is the sink's now.
    Taken,
    /// The sink does not stand where the batch begins.
    NotHere,
}

/// Whether something in the batch is covered by `have`. Slots at its first position are those of FLUSHes before it.
fn is_behind(offer: &Offer, have: Cursor) -> bool {
    let (from, to) = (offer.cursor_from, offer.mark.cursor);
    have.pos > from.pos || (to.pos == from.pos && have > from)
}

/// Where a sink wants to be fed in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The place at which the next batch must begin.
    pub next: Place,
    /// Nothing beyond this place is taken for now.
    pub limit: Option<Place>,
}

/// The only ranges that a sink takes while it makes again what a claim says, or finishes what it began elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// How far each partition is fed; the others are not.
    pub ends: BTreeMap<PartitionId, Place>,
    /// What was lost by the claim's own word, and nothing else is passed over; `None`: what the journal says.
    pub lost: Option<Vec<(Generation, Cursor, Cursor)>>,
}

#[derive(Default)]
struct Inner {
    /// `None` while the sink learns where it stands.
    truth: Option<Marks>,
    limits: Option<Limits>,
    /// Cursors behind what was taken since it learnt where it stands.
    taken: BTreeMap<Generation, Cursor>,
    /// Where the next batch must begin in each partition, and beyond which place nothing is taken where there is such a limit.
    next: BTreeMap<PartitionId, Place>,
    ends: BTreeMap<PartitionId, Place>,
    buffer: VecDeque<Offer>,
    bytes: usize,
    records: u64,
    /// What the buffered batches take in memory, bytes.
    memory: usize,
    full: bool,
    stopped: Option<String>,
    audit: Audit,
}

impl Inner {
    fn seat(&self, partition: PartitionId) -> Option<Seat> {
        let limit = self.ends.get(&partition).copied();
        self.next.get(&partition).map(|next| Seat { next: *next, limit })
    }

    fn set_seat(&mut self, partition: PartitionId, Seat { next, limit }: Seat) {
        self.next.insert(partition, next);
        match limit {
            Some(end) => _ = self.ends.insert(partition, end),
            None => _ = self.ends.remove(&partition),
        }
    }

    fn leave_seats(&mut self) {
        self.next.clear();
        self.ends.clear();
    }
}

/// The receiving side of one sink.
pub struct Intake {
    sink: SinkId,
    memory: Member,
    batches_max: usize,
    inner: Mutex<Inner>,
    offered: Event,
    freed: Event,
    /// Shared by all sinks: some sink's seats changed.
    reseated: Arc<Event>,
}

impl Intake {
    /// An intake that takes nothing until [`Intake::reset`].
    /// `reseated` is notified whenever lanes must look where this sink stands.
    pub fn new(sink: SinkId, limits: IntakeLimits, reseated: Arc<Event>) -> Self {
        let IntakeLimits { memory, batches_max } = limits;
        let (memory, inner) = (memory.join(), Mutex::default());
        Self { sink, memory, batches_max, inner, offered: Event::new(), freed: Event::new(), reseated }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ------------------------------------------------------------ the lane's side

    /// Where the sink stands in `partition`; `None` while it takes nothing there, also where what lies before comes to it first.
    pub fn seat(&self, state: &JournalState, partition: PartitionId) -> Result<Option<Seat>, NotAPrefix> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let registration = state.epoch().and_then(|epoch| epoch.sinks.get(&self.sink));
        let Some(registration) = registration.filter(|_| inner.stopped.is_none()) else { return Ok(None) };
        let Some(truth) = &inner.truth else { return Ok(None) };
        let Some(known) = state.partitions.get(&partition).filter(|_| state.takes(&self.sink, partition)) else {
            return Ok(None);
        };
        let taken = |g: Generation| inner.taken.get(&g).copied().or_else(|| Some(truth.get(&g)?.cursor));
        if state.comes_later(&self.sink, partition, taken) {
            return Ok(None);
        }
        let at = |g| truth.get(&g).map_or_else(|| state.start(&self.sink, g), |m: &Mark| m.cursor);
        let next = match inner.next.get(&partition) {
            // What is gone from the stream is covered, or given up: nobody feeds it any more.
            Some(next) => (*next).max(known.stream.base()),
            None => state.place_by(&self.sink, &known.stream, at)?,
        };
        let next = match mutation::on("adopted_cursor_ignored") {
            true => next,
            false => known.stream.skip_covered(next, at),
        };
        let mut limit = inner.limits.as_ref().map(|limits| limits.ends.get(&partition).copied().unwrap_or(next));
        if let Some(until) = registration.until.as_ref().filter(|_| state.history(partition).is_none()) {
            let end = known.stream.place_of(|g| until.get(&g).copied().unwrap_or_default()).unwrap_or(next);
            limit = Some(limit.map_or(end, |l| l.min(end)));
        }
        let seat = Seat { next, limit };
        inner.set_seat(partition, seat);
        Ok(Some(seat))
    }

    /// Whether another batch would be taken now.
    pub fn has_room(&self) -> bool {
        let inner = self.lock();
        inner.truth.is_some() && !inner.full && inner.stopped.is_none()
    }

    /// Hands a batch over; room is asked for before a batch is made, so the limit is passed by what is being made at most. Exactly one lane feeds a seat, because only a batch that begins at the seat is taken.
    pub fn accept(&self, offer: Offer) -> Accept {
        let mut inner = self.lock();
        // What was taken before it stopped is dropped: a batch behind that would leave a gap, which a task that has not ended yet
        // could still commit.
        if inner.stopped.is_some() {
            return Accept::NotHere;
        }
        let Some(seat) = inner.seat(offer.partition) else { return Accept::NotHere };
        // Cursors of a life whose directory was lost may lie ahead of what has just been planned.
        let have = inner.truth.as_ref().and_then(|t| t.get(&offer.generation)).map(|mark| mark.cursor);
        if have.is_some_and(|have| is_behind(&offer, have)) && !mutation::on("adopted_cursor_ignored") {
            return Accept::NotHere;
        }
        let beyond = seat.limit.is_some_and(|limit| offer.to > limit);
        if (seat.next != offer.from && !mutation::on("accept_anywhere")) || beyond || inner.truth.is_none() {
            return Accept::NotHere;
        }
        inner.next.insert(offer.partition, offer.to);
        inner.taken.insert(offer.generation, offer.mark.cursor);
        inner.bytes += offer.output.batch.arena.len();
        inner.records += offer.records;
        inner.memory += offer.output.memory_bytes();
        inner.audit.book(&offer);
        inner.buffer.push_back(offer);
        // Only `take` ends it, which says so: lanes that wait would not be told here.
        inner.full |= inner.memory >= self.memory.bytes_max() || inner.buffer.len() >= self.batches_max;
        drop(inner);
        self.offered.notify(usize::MAX);
        Accept::Taken
    }

    /// The cursor behind what was taken of `generation`; `None` where nothing was, ever.
    pub fn taken(&self, generation: Generation) -> Option<Cursor> {
        let inner = self.lock();
        let durable = || inner.truth.as_ref()?.get(&generation).map(|mark| mark.cursor);
        inner.taken.get(&generation).copied().or_else(durable)
    }

    /// Where the loss ends in which `cursor` lies, for what the sink does now: by the journal, or by the claim that is made again.
    pub fn lost_end(&self, state: &JournalState, generation: Generation, cursor: Cursor) -> Option<Cursor> {
        match self.lock().limits.as_ref().and_then(|limits| limits.lost.as_ref()) {
            None => state.lost_end(&self.sink, generation, cursor),
            Some(_) if mutation::on("claim_lost_ignored") => None,
            Some(lost) => {
                let mine = lost.iter().filter(|(g, ..)| *g == generation);
                let ranges: Vec<LostRange> = mine.map(|(_, from, to)| (*from, *to, String::new())).collect();
                end_of(&ranges, cursor)
            }
        }
    }

    /// Where the next loss begins behind `cursor`, for what the sink does now.
    pub fn next_loss(&self, state: &JournalState, generation: Generation, cursor: Cursor) -> Option<Cursor> {
        let inner = self.lock();
        let next = |starts: &mut dyn Iterator<Item = Cursor>| starts.filter(|start| *start > cursor).min();
        match inner.limits.as_ref().and_then(|limits| limits.lost.as_ref()) {
            None => next(&mut state.losses_of(&self.sink, generation).iter().map(|(from, ..)| *from)),
            Some(lost) => next(&mut lost.iter().filter(|(g, ..)| *g == generation).map(|(_, from, _)| *from)),
        }
    }

    /// Resolves when there may be room again; listen first, look then.
    pub fn freed(&self) -> EventListener {
        self.freed.listen()
    }

    // ------------------------------------------------------------ the sink's side

    /// The sink stands at `truth` now: everything buffered is dropped and lanes are told where to go on. `limits` = `None`: all
    /// is fed, for ever.
    pub fn reset(&self, truth: Marks, limits: Option<Limits>) {
        let mut inner = self.lock();
        if !mutation::on("leave_keeps_buffer") {
            inner.buffer.clear();
            (inner.bytes, inner.records, inner.memory) = (0, 0, 0);
        }
        inner.leave_seats();
        inner.taken.clear();
        inner.full = false;
        inner.audit.begin(&truth);
        inner.truth = Some(truth);
        inner.limits = limits;
        drop(inner);
        self.freed.notify(usize::MAX);
        self.reseated.notify(usize::MAX);
    }

    /// Takes nothing until the next reset.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.truth = None;
        inner.audit.close();
        if !mutation::on("leave_keeps_buffer") {
            inner.buffer.clear();
            (inner.bytes, inner.records, inner.memory) = (0, 0, 0);
        }
        inner.leave_seats();
        drop(inner);
        self.freed.notify(usize::MAX);
        self.reseated.notify(usize::MAX);
    }

    /// Stops for good, for a reason that a person must read.
    pub fn stop(&self, reason: String) {
        let mut inner = self.lock();
        inner.stopped = Some(reason);
        inner.buffer.clear();
        (inner.bytes, inner.records, inner.memory) = (0, 0, 0);
        drop(inner);
        self.freed.notify(usize::MAX);
        self.reseated.notify(usize::MAX);
        self.offered.notify(usize::MAX);
    }

    /// What is kept of seats and cursors takes no more room than it needs.
    pub(crate) fn pack(&self) {
        let inner = &mut *self.lock();
        inner.truth.iter_mut().for_each(pack);
        pack(&mut inner.taken);
        pack(&mut inner.next);
        inner.audit.pack();
    }

    /// Why the sink stopped, if it did.
    pub fn stopped(&self) -> Option<String> {
        self.lock().stopped.clone()
    }

    /// Buffered batches and bytes.
    pub fn backlog(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.buffer.len(), inner.bytes)
    }

    /// Memory that buffered batches take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.lock().memory
    }

    /// Whether a batch is full with what is buffered.
    pub fn has_batch(&self, tuning: &SinkTuning) -> bool {
        let inner = self.lock();
        inner.bytes >= tuning.batch_bytes_max || inner.records >= tuning.batch_records_max || inner.full
    }

    /// Takes buffered batches as far as one batch of the sink goes (at least one); empty where there is none.
    pub fn take(&self, tuning: &SinkTuning) -> Vec<Offer> {
        let mut inner = self.lock();
        let mut taken: Vec<Offer> = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        while let Some(offer) = inner.buffer.front() {
            let (size, memory) = (offer.output.batch.arena.len(), offer.output.memory_bytes());
            let fits = bytes + size <= tuning.batch_bytes_max && records + offer.records <= tuning.batch_records_max;
            if !taken.is_empty() && !fits {
                break;
            }
            (bytes, records) = (bytes + size, records + offer.records);
            inner.memory = inner.memory.saturating_sub(memory);
            taken.extend(inner.buffer.pop_front());
        }
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.records = inner.records.saturating_sub(records);
        let half = inner.memory * 2 <= self.memory.bytes_max() && inner.buffer.len() * 2 <= self.batches_max;
        // The share may have become smaller than any one batch.
        let freed = inner.full && (half || inner.buffer.is_empty());
        if freed {
            inner.full = false;
        }
        drop(inner);
        if freed {
            self.freed.notify(usize::MAX);
        }
        taken
    }

    /// Resolves when a batch may have been offered; listen first, look then.
    pub fn offered(&self) -> EventListener {
        self.offered.listen()
    }

    /// Books a commit; gives the batches that it finishes.
    pub(super) fn settle(&self, marks: &[(Generation, Mark)]) -> Vec<Delivered> {
        self.lock().audit.settle(marks)
    }

    /// What is in flight and what does not add up, by source.
    pub fn books(&self, state: &JournalState) -> BTreeMap<SourceId, Books> {
        self.lock().audit.books(&self.sink, state)
    }

    /// Whether the sink takes nothing because it does not know where it stands.
    pub fn is_closed(&self) -> bool {
        self.lock().truth.is_none()
    }

    /// The partitions' seats, for status.
    pub fn seats(&self) -> BTreeMap<PartitionId, Seat> {
        let inner = self.lock();
        inner.next.keys().filter_map(|partition| Some((*partition, inner.seat(*partition)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EpochId;
    use futures_util::FutureExt as _;
    use sawlog_record::batch::{Batch, Output};

    fn intake(bytes_max: usize) -> Intake {
        let limits = IntakeLimits { memory: Share::new(bytes_max), batches_max: 100 };
        let intake = Intake::new(SinkId::new("out"), limits, Arc::default());
        intake.reset(Marks::new(), None);
        intake.lock().next.insert(PartitionId([0; 16]), Place::default());
        intake
    }

    fn offer(entry: u64, bytes: usize) -> Offer {
        let generation = Generation([0; 16]);
        let batch = Arc::new(Batch { arena: vec![0; bytes], ..Batch::new(generation) });
        Offer {
            partition: PartitionId([0; 16]),
            source: SourceId::new("app"),
            generation,
            from: Place { entry, offset: 0 },
            to: Place { entry: entry + 1, offset: 0 },
            cursor_from: Cursor::at(entry),
            mark: Mark::at(Cursor::at(entry + 1)),
            records: 1,
            received: 0,
            time: 0,
            epoch: EpochId([0; 16]),
            output: Output { batch, rows: Vec::new() },
        }
    }

    fn up_to(batch_bytes_max: usize) -> SinkTuning {
        SinkTuning { batch_bytes_max, ..SinkTuning::default() }
    }

    #[test]
    fn a_batch_ends_at_the_first_limit_that_it_meets() {
        let intake = intake(1_000);
        for entry in 0..10 {
            assert_eq!(intake.accept(offer(entry, 10)), Accept::Taken);
        }
        let tuning = SinkTuning { batch_records_max: 2, ..up_to(500) };
        assert!(intake.has_batch(&tuning) && !intake.has_batch(&up_to(500)));
        assert_eq!(intake.take(&tuning).len(), 2);
        assert_eq!(intake.take(&SinkTuning { batch_bytes_max: 30, ..tuning }).len(), 2);
        assert_eq!(intake.take(&SinkTuning { batch_records_max: 100, ..up_to(30) }).len(), 3);
        assert_eq!(intake.take(&up_to(500)).len(), 3);
        assert!(!intake.has_batch(&tuning));
    }

    #[test]
    fn lanes_that_wait_are_told_of_room_also_where_one_was_late_with_its_batch() {
        let intake = intake(100);
        for entry in 0..10 {
            assert_eq!(intake.accept(offer(entry, 10)), Accept::Taken);
        }
        assert!(intake.lock().full);
        let freed = intake.freed();
        assert_eq!(intake.take(&up_to(30)).len(), 3);
        // A lane that had asked before the sink was full hands over what it made meanwhile.
        assert_eq!(intake.accept(offer(10, 10)), Accept::Taken);
        assert!(!intake.has_room(), "a sink that was full has room from half on");
        assert_eq!(intake.take(&up_to(30)).len(), 3);
        assert!(intake.has_room() && freed.now_or_never().is_some());
    }

    #[test]
    fn a_share_that_shrinks_below_one_batch_still_passes_one_at_a_time() {
        let share = Share::new(100);
        let limits = IntakeLimits { memory: share.clone(), batches_max: 100 };
        let intake = Intake { memory: limits.memory.join(), ..intake(1) };
        share.set_bytes_max(10);
        for entry in 0..3 {
            assert!(intake.has_room());
            assert_eq!(intake.accept(offer(entry, 50)), Accept::Taken);
            assert!(intake.lock().full && intake.memory_bytes() >= 50);
            let freed = intake.freed();
            assert_eq!(intake.take(&up_to(1)).len(), 1);
            assert!(freed.now_or_never().is_some());
        }
    }
}
