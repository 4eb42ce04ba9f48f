//! Input that goes away: what is needed of it is rescued while it can be read, and what can't be is journalled with its name and
//! its range.

#[cfg(test)]
mod tests;

use super::Inputs;
use crate::journal::{Record, Whereabouts};
use crate::mutation;
use crate::ports::{Clock, JournalError, ReadError, ReadLimits};
use crate::tasks::Tasks;
use event_listener::Event;
use futures_util::future::{BoxFuture, Either, pending, select};
use sawlog_record::id::Generation;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the end of a source waits for input that is to be rescued and can't be read, or is not taken.
pub const RESCUE_AT_END_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to rescue the same; twice as long each time, for each reads the same bytes again and syncs the journal.
const RESCUE_RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest: nobody tells what a sink has read meanwhile, so that nothing is to be rescued any more.
const RESCUE_RETRY_MAX: Duration = Duration::from_secs(5);

/// Input that was to be rescued, and could not be read until its source had to end. Whoever takes the source's place counts it
/// as lost, unless it can be read there again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("positions {lo} to {hi} of {generation} vanished and could not be rescued: {reason}")]
pub struct Unrescued {
    /// Whose.
    pub generation: Generation,
    /// The first position that was not rescued.
    pub lo: u64,
    /// The end.
    pub hi: u64,
    /// Why it could not be read, or was not taken.
    pub reason: String,
}

/// Why a part was not rescued.
#[derive(thiserror::Error, Debug)]
enum Failed {
    /// It could not be read.
    #[error(transparent)]
    Read(ReadError),
    /// The queue did not take it.
    #[error(transparent)]
    Put(JournalError),
}

/// Histories that lost their last name, in the order in which they are let go: beside the events of their source, which has more to
/// tell while a rescue waits for room. One that can't be read keeps none behind it: those are let go before it is tried again.
pub(super) struct Leaving<'a> {
    tasks: &'a Tasks,
    inner: Mutex<Inner>,
    more: Event,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<(Generation, u64)>,
    /// What could not be read. One of them is tried again at a time.
    stuck: VecDeque<(Generation, u64)>,
    /// How many were since one was rescued or let go.
    stuck_in_a_row: u32,
    is_closed: bool,
    /// Since when the source ends and something could not be rescued, by the clock's elapsed time.
    waits_since: Option<Duration>,
}

impl<'a> Leaving<'a> {
    /// Nothing yet, of a source that ends with `tasks`.
    pub(super) fn new(tasks: &'a Tasks) -> Self {
        Self { tasks, inner: Mutex::default(), more: Event::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a history that is known to `end`.
    pub(super) fn push(&self, generation: Generation, end: u64) {
        self.inner().queue.push_back((generation, end));
        self.more.notify(usize::MAX);
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.inner().is_closed = true;
        self.more.notify(usize::MAX);
    }

    /// The next one, or after a pause one that is stuck; `None` when nothing comes any more.
    async fn next(&self, clock: &dyn Clock) -> Option<(Generation, u64)> {
        loop {
            let more = self.more.listen();
            let pause = {
                let mut inner = self.inner();
                let next = inner.queue.pop_front();
                if next.is_some() || (inner.is_closed && inner.stuck.is_empty()) {
                    return next;
                }
                let pause = RESCUE_RETRY_MIN * (1 << inner.stuck_in_a_row.min(7)) / 2;
                (!inner.stuck.is_empty()).then_some(pause.clamp(RESCUE_RETRY_MIN, RESCUE_RETRY_MAX))
            };
            let Some(pause) = pause else {
                more.await;
                continue;
            };
            let paused = Box::pin(self.pause(clock, pause, Box::pin(pending())));
            if self.has_waited(clock.elapsed()) || matches!(select(paused, more).await, Either::Left(_)) {
                return self.inner().stuck.pop_front();
            }
        }
    }

    /// One that can't be read goes behind the others.
    fn set_aside(&self, generation: Generation, end: u64) {
        let mut inner = self.inner();
        inner.stuck.push_back((generation, end));
        inner.stuck_in_a_row = inner.stuck_in_a_row.saturating_add(1);
    }

    /// Something can be read.
    fn got_on(&self) {
        self.inner().stuck_in_a_row = 0;
    }

    /// Waits until the same is tried again: for `pause`, or until there is room, or the source ends. Gives the pause after this one.
    async fn pause(&self, clock: &dyn Clock, pause: Duration, freed: BoxFuture<'static, ()>) -> Duration {
        if self.tasks.is_ending() {
            clock.sleep(RESCUE_RETRY_MIN).await;
        } else {
            self.tasks.until_ending(select(clock.sleep(pause), freed)).await;
        }
        (pause * 2).min(RESCUE_RETRY_MAX)
    }

    /// Whether the source ends, and what could not be rescued was waited for long enough.
    fn has_waited(&self, now: Duration) -> bool {
        let mut inner = self.inner();
        self.tasks.is_ending() && now.saturating_sub(*inner.waits_since.get_or_insert(now)) >= RESCUE_AT_END_MAX
    }
}

impl Inputs {
    /// What could not be rescued before the source ended.
    pub fn unrescued(&self) -> Vec<Unrescued> {
        self.unrescued.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of what leaves, one after the other, until nothing is added any more, and nothing is stuck.
    pub(super) async fn let_go_of(&self, leaving: &Leaving<'_>) -> Result<(), JournalError> {
        while let Some((generation, end)) = leaving.next(self.clock.as_ref()).await {
            self.let_go(generation, end, leaving).await?;
        }
        Ok(())
    }

    /// Rescues what is needed of a history that loses its last name, part by part, then lets it go. Meanwhile sinks may come to need
    /// less of it, and a person may have more of it come again. What can't be read is set aside, what is not taken tried again, and
    /// both are given up where the source ends and has waited long enough.
    pub(super) async fn let_go(
        &self,
        generation: Generation,
        mut end: u64,
        leaving: &Leaving<'_>,
    ) -> Result<(), JournalError> {
        if mutation::on("never_let_go") {
            return Ok(());
        }
        let (mut pause, mut oldest) = (RESCUE_RETRY_MIN, 0);
        loop {
            let (letting_go, freed) = (self.letting_go.lock().await, self.rescue.freed());
            let floor = self.floor_on_disk(generation).await?.max(oldest);
            let part = self.part_to_rescue(generation, floor, end).filter(|_| !mutation::on("rescue_skipped"));
            let Some((lo, hi)) = part else {
                self.extend(generation, |e| e.vanished = true);
                self.source.release(generation).await;
                return Ok(());
            };
            drop(letting_go);
            if mutation::on("written_off_unrescued") {
                self.lose(generation).await?;
                self.source.release(generation).await;
                return Ok(());
            }
            match self.rescue(generation, lo, hi).await {
                Ok(hi) => {
                    self.journal.commit(vec![Record::Rescue { generation, lo, hi }]).await?;
                    pause = RESCUE_RETRY_MIN;
                    leaving.got_on();
                }
                // Sinks came to need less of it meanwhile, and the source let go of that: what lies behind is still to be had.
                Err(Failed::Read(ReadError::Gone)) if self.journal.state().replay_floor(generation) > lo => {}
                // Where a sink may come to want all of it, what it has begun with may long be gone: the rest is still to be had.
                Err(Failed::Read(ReadError::Gone)) => match self.source.oldest(generation).await {
                    Some(at) if at > lo && !mutation::on("rescue_gives_up") => oldest = at,
                    _ => end = lo,
                },
                Err(failed) if leaving.has_waited(self.clock.elapsed()) => {
                    let given_up = Unrescued { generation, lo, hi: end, reason: failed.to_string() };
                    self.unrescued.lock().unwrap_or_else(PoisonError::into_inner).push(given_up);
                    return Ok(());
                }
                Err(Failed::Read(_)) => {
                    leaving.set_aside(generation, end);
                    return Ok(());
                }
                Err(Failed::Put(_)) => pause = leaving.pause(self.clock.as_ref(), pause, freed).await,
            }
        }
    }

    /// The first part of `[from, end)` that is not rescued.
    fn part_to_rescue(&self, generation: Generation, from: u64, end: u64) -> Option<(u64, u64)> {
        let state = self.journal.state();
        let rescued = state.generations.get(&generation).map_or(&[][..], |known| &known.rescued);
        let mut lo = from;
        while let Some((_, hi)) = rescued.iter().find(|(from, hi)| *from <= lo && lo < *hi) {
            lo = *hi;
        }
        let next = rescued.iter().map(|(from, _)| *from).filter(|from| *from > lo).min();
        (lo < end).then(|| (lo, next.map_or(end, |next| next.min(end))))
    }

    /// Up to where no sink will read a history again, also after a crash: what moves the floor, such as a saved state, may be a
    /// hint that is not durable yet.
    pub(super) async fn floor_on_disk(&self, generation: Generation) -> Result<u64, JournalError> {
        let floor = self.journal.state().replay_floor(generation);
        if !mutation::on("let_go_by_hints") {
            self.journal.settle().await?;
        }
        // A sink that was added meanwhile may begin below it.
        Ok(floor.min(self.journal.state().replay_floor(generation)))
    }

    /// Copies what one read gives of a range to the queue; up to where. What the queue does not take (it is full, its fsync failed)
    /// stays where it is.
    async fn rescue(&self, generation: Generation, lo: u64, hi: u64) -> Result<u64, Failed> {
        let limits = ReadLimits { bytes_max: 1 << 20, records_max: 16_384 };
        let input = self.source.read(generation, lo, hi, limits).await.map_err(Failed::Read)?;
        let hi = input.records.last().map(|r| r.end).ok_or(Failed::Read(ReadError::Gone))?;
        match self.rescue.put(input, lo, hi).await {
            Err(error) if !mutation::on("rescued_unsynced") => Err(Failed::Put(error)),
            _ => Ok(hi),
        }
    }

    /// A history can't be read any more. What was never planned of it is lost from here on.
    pub(super) async fn lose(&self, generation: Generation) -> Result<(), JournalError> {
        let whereabouts = self.whereabouts(generation);
        let ((), durable) = self.journal.append_with(true, |_, time| {
            let named = whereabouts.clone().map(|whereabouts| Record::Vanished { generation, time, whereabouts });
            (vec![Record::Together(std::iter::once(Record::Gone { generation }).chain(named).collect())], ())
        });
        // Nobody plans what is written off, from now on: a lane that is offered it would ask for it again and again.
        if whereabouts.is_some() {
            let planned = self.journal.state().reaches(generation);
            self.extend(generation, |e| e.end = e.end.min(planned));
        }
        self.journal.checked(durable.await)?;
        self.extend(generation, |e| e.vanished = true);
        Ok(())
    }

    /// Histories whose rescue did not come to its end before the process did: the rest of them is nowhere.
    pub(super) async fn lose_unrescued(&self) -> Result<(), JournalError> {
        let rescued: Vec<Generation> = {
            let state = self.journal.state();
            let mine =
                state.generations.iter().filter(|(_, g)| g.source == self.id && !g.gone && !g.rescued.is_empty());
            mine.map(|(generation, _)| *generation).collect()
        };
        for generation in rescued {
            let Some(whereabouts) = self.whereabouts(generation) else { continue };
            let ((), durable) = self.journal.append_with(true, |state, time| {
                let rescued = state.generations.get(&generation).into_iter().flat_map(|known| &known.rescued);
                let is_whole = rescued.map(|(_, hi)| *hi).max() >= Some(whereabouts.end);
                let named = Record::Vanished { generation, time, whereabouts };
                ((!is_whole && !state.missing.names(generation)).then_some(named).into_iter().collect(), ())
            });
            self.journal.checked(durable.await)?;
        }
        Ok(())
    }

    /// What the source knew of a history, as the journal has it.
    fn whereabouts(&self, generation: Generation) -> Option<Whereabouts> {
        let identity = self.journal.state().generations.get(&generation)?.identity.clone();
        self.source.whereabouts(&identity).filter(|_| !mutation::on("vanished_unnamed"))
    }
}
