//! Ending the claim log of an agent that does not come back (delivery.md §4.7): one last claim, behind which no row ever comes, so that
//! the log holds no hour back any more. Pure: what a log shows, and what follows from it.

use crate::claims::{Claim, FOR_EVER, Marks, Vector, raise};
use std::time::Duration;

/// A log whose newest claim is younger may be that of an agent that runs: one without rows claims anew a little after each hour.
pub const QUIET_MIN: Duration = Duration::from_secs(65 * 60);

/// What a claim log shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Number of its newest claim.
    pub number: u64,
    /// That claim.
    pub newest: Claim,
    /// Keys that its claims name and that nobody has made.
    pub unmade: Vec<String>,
}

/// Why a log is not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Its newest claim was written so long ago, by the clocks of writer and reader.
    Young(Duration),
    /// Rows of its newest claim are not written; the agent would write them at its next start.
    Unmade(usize),
}

/// What is to be done with a log.
#[derive(Clone, PartialEq, Debug)]
pub enum Fate {
    /// Nothing: it has ended.
    HasEnded,
    /// Nothing without the word of a person; at least one reason.
    Doubtful(Vec<Doubt>),
    /// This claim is to be written behind the newest one.
    End(Box<Claim>),
}

/// What is to be done with a log that shows `shown`; `now` in unix nanoseconds. `is_forced`: a person answers for it that the agent
/// does not run, and gives up what it has not written.
pub fn judge(shown: &Shown, now: i64, attempt: String, is_forced: bool) -> Fate {
    if shown.newest.is_end() {
        return Fate::HasEnded;
    }
    let doubts = doubts(shown, now);
    if !doubts.is_empty() && !is_forced {
        return Fate::Doubtful(doubts);
    }
    Fate::End(Box::new(end(shown, now, attempt)))
}

/// Whether what was written then may be of an agent that runs. What is of the future is as young as what is of now.
pub fn young(written: i64, now: i64) -> Option<Doubt> {
    let age = Duration::from_nanos(now.saturating_sub(written).max(0).unsigned_abs());
    (age < QUIET_MIN).then_some(Doubt::Young(age))
}

/// What speaks against ending it.
pub fn doubts(shown: &Shown, now: i64) -> Vec<Doubt> {
    let young = young(shown.newest.written, now);
    let unmade = (!shown.unmade.is_empty()).then_some(Doubt::Unmade(shown.unmade.len()));
    young.into_iter().chain(unmade).collect()
}

/// The last claim. It carries the cursors on, and has no keys: whoever reads it need look at nothing before it.
fn end(shown: &Shown, now: i64, attempt: String) -> Claim {
    let mut marks: Marks = shown.newest.vector.marks.iter().cloned().collect();
    raise(&mut marks, shown.newest.moved.iter().map(|moved| (moved.generation, moved.to.clone())));
    Claim {
        directory: "retired".to_owned(),
        attempt,
        sink_epoch: shown.newest.sink_epoch.clone(),
        moved: Vec::new(),
        lost: Vec::new(),
        plans: Vec::new(),
        verdicts: Vec::new(),
        keys: Vec::new(),
        passed: shown.number + 1,
        vector: Vector { since: shown.newest.vector.since, marks: marks.into_iter().collect() },
        closed: FOR_EVER,
        floor: shown.newest.closed,
        written: now,
        switch: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Moved;
    use crate::journal::Mark;
    use sawlog_record::id::{Cursor, Generation, PartitionId};

    const HOUR: i64 = 3_600_000_000_000;

    fn mark(pos: u64) -> Mark {
        Mark::at(Cursor::at(pos))
    }

    fn shown(written: i64, unmade: &[&str]) -> Shown {
        let (g, h) = (Generation([1; 16]), Generation([2; 16]));
        let moved = Moved { generation: g, partition: PartitionId([3; 16]), from: Cursor::at(5), to: mark(9) };
        let newest = Claim {
            directory: "d".into(),
            attempt: "a".into(),
            sink_epoch: "e".into(),
            moved: vec![moved],
            lost: Vec::new(),
            plans: Vec::new(),
            verdicts: Vec::new(),
            keys: Vec::new(),
            passed: 7,
            vector: Vector { since: Some(4), marks: vec![(g, mark(5)), (h, mark(8))] },
            closed: 30,
            floor: 20,
            written,
            switch: None,
        };
        Shown { number: 7, newest, unmade: unmade.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn a_quiet_log_is_ended_behind_everything_that_it_claimed() {
        let Fate::End(claim) = judge(&shown(0, &[]), 2 * HOUR, "x".into(), false) else { panic!("it is not ended") };
        assert!(claim.is_end() && claim.keys.is_empty() && claim.moved.is_empty());
        assert_eq!((claim.passed, claim.floor, claim.written), (8, 30, 2 * HOUR));
        let marks = vec![(Generation([1; 16]), mark(9)), (Generation([2; 16]), mark(8))];
        assert_eq!(claim.vector, Vector { since: Some(4), marks }, "a vector never lowers a cursor");
        let again = Shown { number: 8, newest: *claim, unmade: Vec::new() };
        assert_eq!(judge(&again, HOUR, "y".into(), true), Fate::HasEnded);
    }

    #[test]
    fn a_log_that_may_go_on_or_whose_rows_are_not_written_is_left_unless_a_person_answers_for_it() {
        let doubts = |shown: &Shown, now| match judge(shown, now, String::new(), false) {
            Fate::Doubtful(doubts) => doubts,
            other => panic!("{other:?}"),
        };
        let young = shown(HOUR, &[]);
        let quiet_from = HOUR + QUIET_MIN.as_nanos() as i64;
        assert_eq!(doubts(&young, quiet_from - 1), [Doubt::Young(QUIET_MIN - Duration::from_nanos(1))]);
        assert!(matches!(judge(&young, quiet_from, String::new(), false), Fate::End(_)));
        assert_eq!(doubts(&young, 0), [Doubt::Young(Duration::ZERO)], "the writer's clock is ahead");
        assert_eq!(doubts(&shown(0, &["k"]), 2 * HOUR), [Doubt::Unmade(1)]);
        assert_eq!(doubts(&shown(0, &["k", "l"]), 1), [Doubt::Young(Duration::from_nanos(1)), Doubt::Unmade(2)]);
        assert!(matches!(judge(&young, HOUR, String::new(), true), Fate::End(_)));
    }
}
