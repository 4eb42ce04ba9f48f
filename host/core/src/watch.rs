//! What ends the whole process though its journal is well (delivery.md §4.3, §4.7): a second meeting with a process that writes under
//! this agent's id, where some sink is not exact beside it; and having been frozen for so long that others may have let go of what this
//! process still trusts. It decides; whoever runs the process ends it.

use crate::SinkId;
use crate::mutation;
use crate::ports::Clock;
use event_listener::Event;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest time between two looks at the boot-time clock of a process that was not frozen.
pub const FROZEN_MAX: Duration = Duration::from_secs(3600);
/// Two meetings with a twin within this time are no chance.
pub const TWINS_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks of a process that sends nothing.
const TICK: Duration = Duration::from_secs(60);
/// News that nobody has taken yet.
const NEWS_MAX: usize = 16;

/// Another process that writes under this agent's id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Twin {
    /// Where it was met.
    pub sink: SinkId,
    /// Who it is.
    pub other: String,
    /// Who this one is.
    pub own: String,
}

/// Why the process has to end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ending {
    /// Rows would be repeated.
    #[error(
        "another process writes under this agent's id, and was met twice within 10 minutes: in sink {} it is {}, and this one is {}; \
         Kafka and object sinks stay exact beside it, an elasticsearch sink would get rows twice, so this one ends: end one of the \
         two for good, or give it an `agent.id` and a `data_dir` of its own, before it is started again",
        .0.sink, .0.other, .0.own
    )]
    Twins(Twin),
    /// What it knows may not hold any more.
    #[error(
        "the process, or the machine, stood still for {} minutes; what others did meanwhile is not known, so it ends without sending \
         anything: start it again, it then asks its sinks first and nothing is lost", .0.as_secs() / 60
    )]
    Frozen(Duration),
}

/// What whoever runs the process is to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// A twin was met.
    Met(Twin),
    /// It has to end.
    End(Ending),
}

/// One for each process. All times are those of [`Clock::booted`].
#[derive(Debug, Default)]
pub struct Watch {
    state: Mutex<State>,
    more: Event,
}

#[derive(Debug, Default)]
struct State {
    is_fragile: bool,
    met: Option<Duration>,
    looked: Option<Duration>,
    ending: Option<Ending>,
    news: VecDeque<News>,
}

impl State {
    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX || matches!(news, News::End(_)) {
            self.news.push_back(news);
        }
    }

    fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending.clone());
            self.tell(News::End(ending));
        }
    }
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some sink is not exact beside a twin.
    pub fn set_fragile(&self, is_fragile: bool) {
        self.state().is_fragile = is_fragile;
    }

    /// A twin was met in a write of this life.
    pub fn meet(&self, twin: Twin, now: Duration) {
        let mut state = self.state();
        let before = state.met.replace(now);
        let is_again = before.is_some_and(|before| now.saturating_sub(before) <= TWINS_WITHIN);
        state.tell(News::Met(twin.clone()));
        if is_again && state.is_fragile && !mutation::on("twin_endured") {
            state.end(Ending::Twins(twin));
        }
        drop(state);
        self.more.notify(usize::MAX);
    }

    /// Looks at the clock, before every send; `false` where nothing may be sent any more.
    pub fn look(&self, now: Duration) -> bool {
        let mut state = self.state();
        let gap = state.looked.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        state.looked = state.looked.max(Some(now));
        if gap > FROZEN_MAX {
            state.end(Ending::Frozen(gap));
            self.more.notify(usize::MAX);
        }
        state.ending.is_none()
    }

    /// Looks at the clock also while nothing is sent, for as long as the process lives.
    pub async fn keep(&self, clock: &dyn Clock) {
        loop {
            self.look(clock.booted());
            clock.sleep(TICK).await;
        }
    }

    /// The next news, in the order in which they came; waits where there are none.
    pub async fn news(&self) -> News {
        loop {
            let more = self.more.listen();
            let next = self.state().news.pop_front();
            match next {
                Some(news) => return news,
                None => more.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn at(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    fn twin(other: &str) -> Twin {
        Twin { sink: SinkId::new("lake"), other: other.to_owned(), own: "me".to_owned() }
    }

    fn news(watch: &Watch) -> Vec<News> {
        std::iter::from_fn(|| watch.news().now_or_never()).collect()
    }

    #[test]
    fn the_second_meeting_within_ten_minutes_ends_a_process_that_is_not_exact_beside_a_twin() {
        let watch = Watch::default();
        watch.set_fragile(true);
        watch.meet(twin("a"), at(0));
        watch.meet(twin("a"), at(11));
        assert_eq!(news(&watch), [News::Met(twin("a")), News::Met(twin("a"))], "11 minutes lie between");
        assert!(watch.look(at(11)));
        watch.meet(twin("b"), at(21));
        assert_eq!(news(&watch), [News::Met(twin("b")), News::End(Ending::Twins(twin("b")))]);
        assert!(!watch.look(at(21)), "nothing is sent any more");
        let said = Ending::Twins(twin("b")).to_string();
        assert!(said.contains("in sink lake it is b, and this one is me") && said.contains("`agent.id`"), "{said}");
    }

    #[test]
    fn twins_of_sinks_that_stay_exact_end_nothing() {
        let watch = Watch::default();
        (0..100).for_each(|n| watch.meet(twin("a"), at(n)));
        assert!(watch.look(at(100)));
        let news = news(&watch);
        assert_eq!(news.len(), NEWS_MAX, "what nobody takes is bounded");
        assert!(news.iter().all(|one| *one == News::Met(twin("a"))));
    }

    #[test]
    fn whoever_looks_first_after_a_freeze_ends_the_process_for_all() {
        let watch = Watch::default();
        assert!([at(5), at(64), at(124)].into_iter().all(|now| watch.look(now)), "an hour is not over an hour");
        assert_eq!(news(&watch), []);
        let later = at(124) + FROZEN_MAX + Duration::from_millis(1);
        assert!(!watch.look(later) && !watch.look(later), "also who looks behind the one that noticed");
        assert_eq!(news(&watch), [News::End(Ending::Frozen(FROZEN_MAX + Duration::from_millis(1)))]);
    }

    #[test]
    fn a_process_that_sends_nothing_is_not_frozen() {
        let (watch, clock) = (Watch::default(), crate::fakes::Waiting::default());
        let mut keeping = Box::pin(watch.keep(&clock));
        while clock.elapsed() < FROZEN_MAX * 3 {
            assert!(keeping.as_mut().now_or_never().is_none());
        }
        drop(keeping);
        assert!(watch.look(clock.booted()));
    }
}
