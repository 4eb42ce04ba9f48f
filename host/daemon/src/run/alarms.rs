//! Alarms in the agent's own log: records that went to the dead letters, input that was lost, and rows that were delivered and that
//! readers don't see. Each sink is told of at most once a minute, with how much it was since it was told of last; the ledger has the
//! rest.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use sawlog_core::SinkId;
use sawlog_core::ports::Hidden;
use sawlog_core::sink::SinkStatus;

use super::handle::{Fed, Handle};
use crate::control::loss::{self, Line};

/// How often the ledger is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Between two alarms of the same kind and sink.
const PAUSE: Duration = Duration::from_secs(60);

/// What an alarm is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// Records went to the dead letters.
    Refused,
    /// Records were lost, with a reason.
    Lost,
    /// Input that nobody read was lost, in bytes or offsets.
    Unread,
}

type Counts = BTreeMap<(Kind, String), u64>;

/// What was told of, and when.
#[derive(Default)]
struct Alarms {
    told: BTreeMap<(Kind, String), (Option<Instant>, u64)>,
}

/// Tells them until the agent has gone.
pub async fn tell(handle: Weak<Handle>) {
    let mut looks = tokio::time::interval(LOOK);
    let mut alarms: Option<Alarms> = None;
    let (mut seen, mut known) = (None, Counts::new());
    let mut veiled = Veiled::default();
    loop {
        looks.tick().await;
        let Some(handle) = handle.upgrade() else { return };
        veiled.due(&hidden(&handle), Instant::now()).into_iter().for_each(Veil::say);
        // The ledger of ten thousand files is no small sum: where the journals took nothing it is what it was.
        let taken: Vec<u64> = handle.engines().iter().map(|engine| engine.journal().taken()).collect();
        if seen.as_ref() != Some(&taken) {
            (seen, known) = (Some(taken), counts(&loss::of_agent(&handle).lines));
        }
        // What came before this process was told by the one before, or stands in the ledger.
        let Some(alarms) = &mut alarms else {
            alarms = Some(Alarms::knowing(known.clone()));
            continue;
        };
        alarms.due(&known, Instant::now()).iter().for_each(|((kind, sink), more)| say(*kind, sink, *more));
    }
}

fn counts(lines: &[Line]) -> Counts {
    let mut counts = Counts::new();
    for line in lines {
        let (lost, unread) = (line.lost.values().sum(), line.lost_bytes.values().sum());
        for (kind, n) in [(Kind::Refused, line.dead_lettered), (Kind::Lost, lost), (Kind::Unread, unread)] {
            *counts.entry((kind, line.sink.clone())).or_default() += n;
        }
    }
    counts
}

/// What sinks have delivered and readers don't see, by sink.
fn hidden(handle: &Handle) -> BTreeMap<String, Hidden> {
    let status = |(id, engines): (SinkId, Vec<Fed>)| {
        let status = engines.iter().map(|(_, sink)| sink.status()).reduce(SinkStatus::merged)?;
        Some((id.to_string(), status.hidden?))
    };
    handle.sinks().into_iter().filter_map(status).collect()
}

/// What is told of rows that readers don't see.
#[derive(Debug, PartialEq)]
enum Veil<'a> {
    /// They don't.
    Lies(&'a str, &'a Hidden),
    /// They do again.
    Lifted(String),
}

impl Veil<'_> {
    fn say(self) {
        match self {
            Self::Lies(sink, hidden) => {
                tracing::error!(sink, "rows were delivered and readers don't see them: {}", hidden.detail);
            }
            Self::Lifted(sink) => tracing::info!(sink, "readers see again what was delivered"),
        }
    }
}

/// When sinks were told of whose rows readers don't see.
#[derive(Default)]
struct Veiled(BTreeMap<String, Instant>);

impl Veiled {
    fn due<'a>(&mut self, hidden: &'a BTreeMap<String, Hidden>, now: Instant) -> Vec<Veil<'a>> {
        let mut due = Vec::new();
        for (sink, hidden) in hidden {
            if self.0.get(sink).is_none_or(|at| now.duration_since(*at) >= PAUSE) {
                self.0.insert(sink.clone(), now);
                due.push(Veil::Lies(sink, hidden));
            }
        }
        let lifted = self.0.extract_if(.., |sink, _| !hidden.contains_key(sink));
        due.extend(lifted.map(|(sink, _)| Veil::Lifted(sink)));
        due
    }
}

fn say(kind: Kind, sink: &str, more: u64) {
    match kind {
        Kind::Refused => tracing::warn!(
            sink,
            records = more,
            "records went to the dead letters; `sawlog dlq list` has them with the reason"
        ),
        Kind::Lost => tracing::error!(sink, records = more, "records were lost; `sawlog loss` has the reason"),
        Kind::Unread => tracing::error!(
            sink,
            positions = more,
            "input was lost before it was read (positions are bytes, or offsets of topics); `sawlog loss` has the reason"
        ),
    }
}

impl Alarms {
    fn knowing(counts: Counts) -> Self {
        Self { told: counts.into_iter().map(|(what, n)| (what, (None, n))).collect() }
    }

    /// What is to be told of now, with how much is new. A count that fell (partitions went to another agent) begins there.
    fn due(&mut self, counts: &Counts, now: Instant) -> Vec<((Kind, String), u64)> {
        let mut due = Vec::new();
        for (what, n) in counts {
            let (at, known) = self.told.entry(what.clone()).or_default();
            *known = (*known).min(*n);
            let has_rested = at.is_none_or(|at| now.duration_since(at) >= PAUSE);
            if *n > *known && has_rested {
                due.push((what.clone(), *n - *known));
                (*at, *known) = (Some(now), *n);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_is_told_of_once_a_minute_with_what_came_since() {
        let of = |n: u64| Counts::from([((Kind::Refused, "search".to_owned()), n)]);
        let told = |due: Vec<((Kind, String), u64)>| due.into_iter().map(|(_, more)| more).collect::<Vec<_>>();
        let (mut alarms, begin) = (Alarms::knowing(of(3)), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(told(alarms.due(&of(3), at(0))).is_empty(), "what was there before");
        assert_eq!(told(alarms.due(&of(5), at(5))), [2]);
        assert!(told(alarms.due(&of(9), at(10))).is_empty(), "it was told of just now");
        assert_eq!(told(alarms.due(&of(10), at(65))), [5]);
        assert!(told(alarms.due(&of(4), at(130))).is_empty(), "partitions went away");
        assert_eq!(told(alarms.due(&of(6), at(200))), [2]);
        let lost = Counts::from([((Kind::Lost, "search".to_owned()), 1)]);
        assert_eq!(told(alarms.due(&lost, at(201))), [1], "another kind has its own");
    }

    #[test]
    fn hidden_rows_are_told_of_once_a_minute_and_that_they_are_seen_again_once() {
        let one = Hidden { age: Duration::from_secs(80), detail: "topic logs".to_owned() };
        let hidden = BTreeMap::from([("search".to_owned(), one.clone())]);
        let (mut veiled, begin) = (Veiled::default(), Instant::now());
        let mut due = |hidden, seconds| {
            let due = veiled.due(hidden, begin + Duration::from_secs(seconds));
            due.into_iter().map(|veil| matches!(veil, Veil::Lies(..))).collect::<Vec<_>>()
        };
        let none = BTreeMap::new();
        assert!(due(&none, 0).is_empty());
        assert_eq!(due(&hidden, 5), [true]);
        assert!(due(&hidden, 64).is_empty());
        assert_eq!(due(&hidden, 65), [true]);
        assert_eq!(due(&none, 70), [false]);
        assert!(due(&none, 75).is_empty());
        assert_eq!(due(&hidden, 80), [true], "it is hidden anew");
    }
}
