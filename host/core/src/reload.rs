//! What a changed configuration means for delivery: which sinks begin where, which drain, which are refused. Pure: the facts are
//! the journal's state and the two configurations; the effect is one EPOCH record.

use crate::budget;
use crate::journal::{Epoch, JournalState, Names, Record, Registration, Stateful, histories};
use crate::operator;
use crate::{EpochId, SinkId, SourceId, mutation};
use sawlog_record::id::{Cursor, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to a sink that the new configuration does not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// It delivers what was planned while it was there, then goes.
    Drain,
    /// What it has not delivered is given up; the ledger says so.
    Forget,
}

/// The part of a configuration that delivery depends on.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Hash of everything that F depends on.
    pub id: EpochId,
    /// Digests of the stateful components.
    pub stateful: Stateful,
    /// What they are called: what a component has become in another configuration is told by that.
    pub names: Names,
    /// Blobs that must be kept while an entry names the epoch.
    pub blobs: Vec<[u8; 32]>,
    /// Sinks by name, each with the sources whose records can reach it.
    pub sinks: BTreeMap<SinkId, BTreeSet<SourceId>>,
    /// What the sinks want that say `from: oldest`; of use to those that are new.
    pub from_oldest: BTreeMap<SinkId, Oldest>,
    /// Sources that can't tell what of them can be read still.
    pub untold: BTreeSet<SourceId>,
    /// What the configuration says of sinks that it no longer names.
    pub remove: BTreeMap<SinkId, Removal>,
}

/// A new sink wants everything that can still be read, not only what comes from now on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Oldest {
    /// Of these sources.
    pub sources: BTreeSet<SourceId>,
    /// The sink that takes the dead letters of what it gets.
    pub letters: Option<SinkId>,
}

/// Why a configuration is not taken; the old one goes on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A removed sink would be back before it is done.
    #[error("sink {0} is still draining since it was removed: wait until it is done, or add it under another name")]
    Draining(SinkId),
    /// A sink would go with data undelivered and nobody said what to do about it.
    #[error(
        "sink {0} is removed with undelivered data: say `remove: {{ {0}: drain }}` or `remove: {{ {0}: forget }}`, or keep it"
    )]
    Undelivered(SinkId),
    /// A source can't tell what of it can still be read.
    #[error(
        "sink {sink} is added with `from: oldest` to source {source_id}, which has planned input already and can't tell what it can \
         still read: leave `from` out, and send what lies before again to all sinks with \
         `sawlog source seek {source_id} --to POSITION --accept-duplicates`"
    )]
    Oldest {
        /// The sink.
        sink: SinkId,
        /// The source.
        source_id: SourceId,
    },
}

/// The records that begin `wanted`: what sinks that are to be forgotten give up, then the EPOCH, and what new sinks get of what was
/// read before; none where nothing changes.
pub fn records(state: &JournalState, wanted: &Wanted, now: i64) -> Result<Vec<Record>, Refusal> {
    let Some(epoch) = decide(state, wanted)? else { return Ok(Vec::new()) };
    let named = state.epoch().into_iter().flat_map(|old| old.sinks.keys());
    let forgotten: Vec<&SinkId> = named.filter(|sink| !epoch.sinks.contains_key(*sink)).collect();
    let mut records = Vec::new();
    for sink in &forgotten {
        records.extend(operator::forget(sink, budget::undelivered(state, sink, operator::FORGOTTEN), now));
    }
    if !wanted.stateful.is_empty() {
        records.push(Record::Stateful { epoch: epoch.id, digests: wanted.stateful.clone() });
        records.push(Record::Named { epoch: epoch.id, names: wanted.names.clone() });
    }
    let histories = histories::begin(state, &epoch, &added(state, wanted), now);
    records.push(Record::Epoch(epoch));
    let is_apart = !histories.is_empty() && mutation::on("history_apart");
    records.extend(histories.into_iter().map(|(partition, history)| Record::History { partition, history }));
    records.extend(forgotten.into_iter().map(|sink| Record::Removed { sink: sink.clone() }));
    Ok(if records.len() == 1 || is_apart { records } else { vec![Record::Together(records)] })
}

/// The EPOCH record that begins `wanted`, or `None` where nothing changes.
pub fn decide(state: &JournalState, wanted: &Wanted) -> Result<Option<Epoch>, Refusal> {
    let old = state.epoch();
    let mut sinks: BTreeMap<SinkId, Registration> = BTreeMap::new();
    for (sink, sources) in &wanted.sinks {
        let known = old.and_then(|e| e.sinks.get(sink));
        if known.is_some_and(|r| r.until.is_some()) {
            return Err(Refusal::Draining(sink.clone()));
        }
        let registration = match known {
            Some(registration) => joined_by(state, registration, sources),
            None => {
                let starts = if old.is_some() { frontier(state) } else { BTreeMap::new() };
                Registration { starts, until: None, sources: sources.clone() }
            }
        };
        sinks.insert(sink.clone(), registration);
    }
    for (sink, oldest) in added(state, wanted) {
        let mut planned = state.partitions.keys().filter_map(|partition| state.source_of(*partition));
        let untold = planned.find(|source| oldest.sources.contains(*source) && wanted.untold.contains(*source));
        if let Some(source_id) = untold.cloned() {
            return Err(Refusal::Oldest { sink: sink.clone(), source_id });
        }
    }
    for (sink, registration) in old.into_iter().flat_map(|e| &e.sinks) {
        if wanted.sinks.contains_key(sink) {
            continue;
        }
        let delivered = is_delivered(state, sink);
        match (registration.until.is_some(), wanted.remove.get(sink)) {
            (_, Some(Removal::Forget)) => {}
            (true, _) => _ = sinks.insert(sink.clone(), registration.clone()),
            (false, policy) if delivered || policy == Some(&Removal::Drain) => {
                let until = frontier(state);
                sinks.insert(sink.clone(), Registration { until: Some(until), ..registration.clone() });
            }
            (false, _) => return Err(Refusal::Undelivered(sink.clone())),
        }
    }
    if old.is_some_and(|e| e.id == wanted.id && e.sinks == sinks) {
        return Ok(None);
    }
    let stateful = wanted.stateful.values().flatten().map(|(component, digest)| (*component, *digest)).collect();
    Ok(Some(Epoch { id: wanted.id, stateful, blobs: wanted.blobs.clone(), sinks }))
}

/// Sinks that are not there yet and get what was read before too.
fn added<'a>(state: &JournalState, wanted: &'a Wanted) -> BTreeMap<&'a SinkId, &'a Oldest> {
    let Some(old) = state.epoch() else { return BTreeMap::new() };
    let is_new = |sink: &SinkId| wanted.sinks.contains_key(sink) && !old.sinks.contains_key(sink);
    wanted.from_oldest.iter().filter(|(sink, _)| is_new(sink)).collect()
}

/// Whether the sink's durable cursors have reached every frontier, or the end of its drain, and have come through what it was to
/// have of what was read before.
pub fn is_delivered(state: &JournalState, sink: &SinkId) -> bool {
    let mut answered = state.generations.iter().filter(|(_, known)| state.feeds(&known.source, sink));
    state.has_histories(sink, None)
        && answered.all(|(generation, known)| {
            state.cursor(sink, *generation) >= end_for(state, sink, *generation, known.planned)
        })
}

/// The registration of a sink that goes on, with sources that feed it from now on: in what they have planned already it begins
/// at the frontier, as a new sink would.
fn joined_by(state: &JournalState, registration: &Registration, sources: &BTreeSet<SourceId>) -> Registration {
    let mut joined = registration.clone();
    let new: BTreeSet<&SourceId> = sources.difference(&registration.sources).collect();
    let planned = state.generations.iter().filter(|(_, known)| new.contains(&known.source));
    if mutation::on("joined_from_the_start") {
        joined.sources.extend(sources.iter().cloned());
        return joined;
    }
    joined.starts.extend(planned.map(|(generation, known)| (*generation, known.planned)));
    joined.sources.extend(sources.iter().cloned());
    joined
}

/// Whether every sink has durably passed everything that was planned of a source.
pub fn is_source_delivered(state: &JournalState, source: &SourceId) -> bool {
    let fed: Vec<&SinkId> = state.sinks().filter(|sink| state.feeds(source, sink)).collect();
    let mut mine = state.generations.iter().filter(|(_, known)| known.source == *source);
    let has_all = mine.all(|(generation, known)| {
        fed.iter().all(|sink| state.cursor(sink, *generation) >= end_for(state, sink, *generation, known.planned))
    });
    has_all && fed.iter().all(|sink| state.has_histories(sink, Some(source)))
}

/// Where `sink` is done with a generation: the frontier, or the end of its drain.
pub fn end_for(state: &JournalState, sink: &SinkId, generation: Generation, planned: Cursor) -> Cursor {
    match state.epoch().and_then(|e| e.sinks.get(sink)).and_then(|r| r.until.as_ref()) {
        Some(until) => until.get(&generation).copied().unwrap_or_default(),
        None => planned,
    }
}

fn frontier(state: &JournalState) -> BTreeMap<Generation, Cursor> {
    let own = state.generations.iter().filter(|(generation, _)| state.history_of(**generation).is_none());
    own.map(|(generation, known)| (*generation, known.planned)).collect()
}
