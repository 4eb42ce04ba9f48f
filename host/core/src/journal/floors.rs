//! How far back a history may have to be read again. Where a sink is down for a day there are thousands of histories and hundreds of
//! thousands of entries: what holds for all histories of a partition is found out once.

use super::state::JournalState;
use crate::stream::Place;
use crate::{SinkId, mutation};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::BTreeMap;

/// What a sink needs of a partition.
struct Need {
    place: Place,
    /// Where a lane begins that is to reach it with the state that it had there.
    restart: Place,
    /// Whether plugins with state run here.
    is_stateful: bool,
    /// By generation, how far the stream was there.
    at_restart: BTreeMap<Generation, Cursor>,
}

/// Floors of many histories in one state.
pub(crate) struct Floors<'a> {
    state: &'a JournalState,
    /// `None` where the sink's cursors are no place.
    needs: BTreeMap<(&'a SinkId, PartitionId), Option<Need>>,
    starts: BTreeMap<PartitionId, BTreeMap<Generation, Cursor>>,
}

impl<'a> Floors<'a> {
    /// Nothing is found out yet.
    pub(crate) fn new(state: &'a JournalState) -> Self {
        Self { state, needs: BTreeMap::new(), starts: BTreeMap::new() }
    }

    /// The lowest position of `generation` that any registered sink may have to read again.
    pub(crate) fn of(&mut self, generation: Generation) -> u64 {
        let state = self.state;
        let Some(known) = state.generations.get(&generation) else { return u64::MAX };
        if state.histories.keep_whole(generation) {
            return 0;
        }
        let fed: Vec<&SinkId> = state.sinks().filter(|s| state.feeds(&known.source, s)).collect();
        let mine = std::iter::once(generation).chain(state.repeats_of(generation));
        let placed: Vec<_> = mine.filter_map(|g| Some((g, state.generations.get(&g)?.partition))).collect();
        let mut floor = u64::MAX;
        for (generation, partition) in placed {
            for sink in fed.iter().filter(|sink| state.takes(sink, partition)) {
                floor = floor.min(self.floor_of(sink, partition, generation));
            }
        }
        floor
    }

    fn floor_of(&mut self, sink: &'a SinkId, partition: PartitionId, generation: Generation) -> u64 {
        let state = self.state;
        let (durable, needed) = (state.cursor(sink, generation), state.needed(sink, generation));
        let open = state.cursors.get(sink).and_then(|c| c.get(&generation)).and_then(|m| m.open.iter().min().copied());
        let own = if needed > durable { needed.pos } else { needed.pos.min(open.unwrap_or(needed.pos)) };
        if mutation::on("floor_ignores_snap") {
            return own;
        }
        let need = self.needs.entry((sink, partition)).or_insert_with(|| need(state, sink, partition));
        let Some(need) = need else { return 0 };
        // What was given up in the middle is read all the same: the state of what follows comes from it.
        let is_run_through = need.is_stateful && needed > durable && !mutation::on("hole_is_skipped");
        if need.restart >= need.place && !is_run_through {
            return own;
        }
        let at_restart = need.at_restart.get(&generation).copied();
        let began = || {
            let stream = state.partitions.get(&partition).map(|known| &known.stream);
            let starts = self.starts.entry(partition);
            starts.or_insert_with(|| stream.map(|s| s.starts()).unwrap_or_default()).get(&generation).copied()
        };
        own.min(at_restart.or_else(began).map_or(own, |cursor| cursor.pos))
    }
}

fn need(state: &JournalState, sink: &SinkId, partition: PartitionId) -> Option<Need> {
    let place = state.needed_place(sink, partition).ok()?;
    let restart = state.restart(partition, place);
    let is_stateful = state.partition_is_stateful(partition);
    let stream = state.partitions.get(&partition).map(|known| &known.stream).filter(|_| restart < place || is_stateful);
    let at_restart = stream.map(|s| s.cursors_at(restart)).unwrap_or_default();
    Some(Need { place, restart, is_stateful, at_restart })
}

impl JournalState {
    /// The lowest position of `generation` that any registered sink may have to read again.
    pub fn replay_floor(&self, generation: Generation) -> u64 {
        Floors::new(self).of(generation)
    }
}
