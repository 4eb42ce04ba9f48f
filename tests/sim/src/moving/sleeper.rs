//! An agent is away with rows in its hands: it sleeps for two hours, or does not reach its store. Another one delivers them meanwhile,
//! and the claims that would stop the first are gone when it is back. A sleeper must send nothing, and after an outage the claims are
//! listed before one is written.

use super::Group;
use crate::tuning::sink_tuning;
use sawlog_core::SinkId;
use std::time::Duration;

/// How long it sleeps; claims are let go much later than it may, and are let go here at once.
const SLEEP: Duration = Duration::from_secs(2 * 3600);
/// Longest way to having rows in hand, and to having them delivered by the other, in polls.
const POLLS_MAX: usize = 20_000;
/// Polls of the agent that is back.
const POLLS_BACK: usize = 600;

/// Why it is away.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Absence {
    Sleep,
    Outage,
}

impl Group {
    /// What the owner of partition 0 sent after its absence; nothing where it sent nothing, or had nothing in hand.
    pub(super) fn leave_and_come_back(&mut self, absence: Absence) -> Vec<String> {
        let Some(away) = self.owners[0] else { return Vec::new() };
        let others: Vec<usize> = (0..self.agents.len()).filter(|agent| *agent != away).collect();
        if !self.takes_rows_in_hand() || (absence == Absence::Outage && !self.loses_touch()) {
            return Vec::new();
        }
        self.agents[away].frozen = true;
        self.give(0, others[0]);
        if !self.goes_on_until(|group| group.is_drained(0)) {
            return vec!["partition 0: nobody delivers what an absent agent has in hand".to_owned()];
        }
        self.world.count(if absence == Absence::Sleep { "slept" } else { "lost_touch" });
        others.iter().for_each(|agent| self.agents[*agent].frozen = true);
        let before = {
            let mut outside = self.world.get();
            let log = "objects@0";
            let newest = outside.claims.keys().filter(|(of, _)| of == log).map(|(_, number)| *number).max();
            outside.claims.retain(|(of, number), _| of != log || Some(*number) == newest);
            outside.elapsed += if absence == Absence::Sleep { SLEEP } else { Duration::ZERO };
            outside.objects.len()
        };
        self.agents[away].frozen = false;
        (0..POLLS_BACK).for_each(|_| _ = self.step());
        let sent = self.world.get().objects.len() - before;
        match sent {
            0 => Vec::new(),
            _ => vec![format!("partition 0: {sent} objects of an agent that was away, behind those of its successor")],
        }
    }

    /// Its store is down until it has failed for longer than an outage may last.
    fn loses_touch(&mut self) -> bool {
        self.world.get().down.insert("objects");
        let is_long = self.goes_on_until(|group| {
            let sinks = group.engine(0).map(|engine| engine.sinks()).unwrap_or_default();
            let since = sinks.get(&SinkId::new("objects")).and_then(|sink| sink.status().failing_since);
            since.is_some_and(|since| group.world.get().elapsed > since + sink_tuning().outage_max)
        });
        self.world.get().down.clear();
        is_long
    }

    /// Writes records to partition 0, and goes on until all of them are planned and none is in an object.
    fn takes_rows_in_hand(&mut self) -> bool {
        let objects = self.world.get().objects.len();
        let file_end = {
            let mut outside = self.world.get();
            let record = outside.files[0].records.last().copied();
            outside.files[0].records.extend(record);
            outside.file_wakers.drain(..).for_each(std::task::Waker::wake);
            outside.files[0].end()
        };
        self.goes_on_until(|group| {
            let Some(engine) = group.engine(0) else { return false };
            let generation = group.world.get().files[0].generation;
            engine.journal().state().generations.get(&generation).is_some_and(|known| known.planned.pos == file_end)
        }) && self.world.get().objects.len() == objects
    }

    fn goes_on_until(&mut self, is: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..POLLS_MAX {
            if is(self) {
                return true;
            }
            self.step();
        }
        false
    }
}
