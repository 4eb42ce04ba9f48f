//! What a sink that is added with `from: oldest` must have of what was read before: everything that could be read when it was
//! added, before anything else. Computed from the durable record of decisions and from what the world saw when they became durable.

use crate::oracle::parts;
use crate::world::Outside;
use sawlog_core::journal::{Epoch, History, Part, Record, Registration};
use sawlog_core::plan::Entry;
use sawlog_core::{SinkId, SourceId};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

/// The sink that is added, and whether it says `from: oldest`.
pub const ADDED: &str = "second";

/// From where on the parts of a history could be read when it became durable; `None` where nobody can tell.
pub type Readable = BTreeMap<Generation, Option<u64>>;

/// A record became durable: what it promises of the files is as they are now.
pub fn note(outside: &mut Outside, record: &Record) {
    let histories: Vec<History> = parts(record)
        .into_iter()
        .filter_map(|one| match one {
            Record::History { history, .. } => Some(history.clone()),
            _ => None,
        })
        .collect();
    for part in histories.iter().flat_map(|history| &history.parts) {
        let life = outside.life;
        let mut files = outside.files.iter().filter(|file| file.generation == part.of);
        let is_there = files.any(|file| file.exists || file.held_by == Some(life));
        let from = is_there.then(|| outside.trimmed.get(&part.of).copied().unwrap_or(0));
        outside.readable.insert(part.name, from);
    }
}

#[derive(Default)]
struct Walk {
    added: BTreeSet<SinkId>,
    registration: Registration,
    is_begun: bool,
    partitions: BTreeMap<Generation, (PartitionId, SourceId)>,
    planned: BTreeMap<Generation, u64>,
    /// Up to when plugins had given out what they held back, where that came last in a partition.
    flushed: BTreeMap<PartitionId, i64>,
    repeats: BTreeSet<Generation>,
    /// Partitions whose history was to begin with the EPOCH before.
    owed: BTreeSet<PartitionId>,
    histories: BTreeMap<PartitionId, History>,
    starts: BTreeMap<Generation, u64>,
    cursors: BTreeMap<Generation, Cursor>,
    /// What any sink lost something of.
    lost: BTreeSet<Generation>,
    /// Histories whose state ended before they did.
    cut: Vec<History>,
    failures: Vec<String>,
}

/// Everything that is wrong with what the added sink has of what was read before.
pub fn check(outside: &Outside) -> Vec<String> {
    let mut walk = Walk::default();
    for record in outside.journal.archive.iter().flat_map(parts) {
        walk.take(outside, record);
    }
    let owed = walk.owed.iter().map(|partition| format!("{ADDED}: nothing of {partition:?} before it was added"));
    let mut failures: Vec<String> = owed.collect();
    for part in walk.histories.values().flat_map(|history| &history.parts) {
        let Some(from) = walk.starts.get(&part.name).copied() else {
            failures.push(format!("{ADDED}: what was read of {:?} before it was added never began", part.of));
            continue;
        };
        let is_lossy = outside.files.iter().any(|file| file.generation == part.of && file.unreadable_since.is_some());
        let readable = outside.readable.get(&part.name).copied().flatten().filter(|_| !is_lossy);
        if readable.is_some_and(|readable| readable.min(part.to) < from) {
            failures.push(format!("{ADDED}: {:?} begins at {from}, and could be read from {readable:?} on", part.of));
        }
        let planned = walk.planned.get(&part.name).copied().unwrap_or(from);
        if planned != part.to {
            failures.push(format!("{ADDED}: {:?} was read again to {planned} of {}", part.of, part.to));
        }
    }
    // What is lost ends state where it was.
    let is_whole = |history: &&History| !history.parts.iter().any(|part| walk.lost.contains(&part.name));
    let cut = walk.cut.iter().filter(is_whole);
    failures.extend(cut.map(|history| format!("{ADDED}: state of {:?} ends within what was read before", history.of)));
    failures.extend(walk.failures);
    failures
}

impl Walk {
    fn take(&mut self, outside: &Outside, record: &Record) {
        match record {
            Record::Generation { generation, partition, source, .. } => {
                self.partitions.insert(*generation, (*partition, source.clone()));
            }
            Record::Repeat { generation, .. } => _ = self.repeats.insert(*generation),
            Record::Plan { entries } => {
                for (partition, planned) in entries {
                    match planned.entry {
                        Entry::Flush { now, .. } => {
                            let newest = self.flushed.entry(*partition).or_insert(now);
                            *newest = now.max(*newest);
                        }
                        _ => _ = self.flushed.remove(partition),
                    }
                    if let Entry::Reset { .. } = planned.entry {
                        self.note_end(*partition);
                    }
                    self.planned.insert(planned.entry.generation(), planned.entry.end().pos);
                }
            }
            Record::Epoch(epoch) => self.begin(outside, epoch),
            Record::Removed { sink } => {
                self.added.remove(sink);
                if sink.as_str() == ADDED {
                    self.histories.clear();
                }
            }
            Record::Lost { generation, .. } => _ = self.lost.insert(*generation),
            Record::History { partition, history } => self.add(*partition, history),
            Record::HistoryBegins { from, .. } => self.starts.extend(from.iter().copied()),
            Record::Cursor { sink, marks, .. } if sink.as_str() == ADDED => {
                self.cursors.extend(marks.iter().map(|(generation, mark)| (*generation, mark.cursor)));
                marks.iter().for_each(|(generation, _)| self.check_order(*generation));
            }
            _ => {}
        }
    }

    /// State ends with all of a history, and not with one of its parts.
    fn note_end(&mut self, partition: PartitionId) {
        let Some(history) = self.histories.get(&partition) else { return };
        let is_open = |part: &Part| {
            let from = self.starts.get(&part.name).copied().unwrap_or(0);
            self.planned.get(&part.name).copied().unwrap_or(from) < part.to
        };
        if history.parts.iter().any(is_open) {
            self.cut.push(history.clone());
        }
    }

    fn begin(&mut self, outside: &Outside, epoch: &Epoch) {
        let sink = SinkId::new(ADDED);
        if let Some(registration) = epoch.sinks.get(&sink) {
            if self.is_begun && !self.added.contains(&sink) && outside.adds_from_oldest {
                let was_planned = |(generation, _): &(&Generation, &(PartitionId, SourceId))| {
                    self.planned.contains_key(*generation)
                        && registration.sources.contains(&self.partitions[*generation].1)
                };
                let planned = self.partitions.iter().filter(was_planned);
                self.owed = planned.map(|(_, (partition, _))| *partition).collect();
            }
            self.registration = registration.clone();
        }
        self.is_begun = true;
        self.added = epoch.sinks.keys().cloned().collect();
    }

    fn add(&mut self, partition: PartitionId, history: &History) {
        self.owed.remove(&history.of);
        let mine = self.partitions.iter().filter(|(_, (of, _))| *of == history.of);
        let was_planned =
            mine.filter_map(|(generation, _)| Some((*generation, self.planned.get(generation).copied()?)));
        let owed: BTreeMap<Generation, u64> = was_planned.filter(|(_, to)| *to > 0).collect();
        let has: BTreeMap<Generation, u64> = history.parts.iter().map(|part| (part.of, part.to)).collect();
        let is_there = |generation: &Generation| has.contains_key(generation);
        // What was dropped is nowhere any more.
        let wrong = owed.iter().filter(|(g, to)| is_there(g) && has.get(*g) != Some(to));
        self.failures.extend(wrong.map(|(g, to)| format!("{ADDED}: {g:?} is read again to {:?} of {to}", has.get(g))));
        if history.flushed != self.flushed.get(&history.of).copied() {
            self.failures.push(format!("{ADDED}: {history:?} does not end as {:?} did", history.of));
        }
        self.histories.insert(partition, history.clone());
    }

    /// What comes after the frontier comes after what was read before.
    fn check_order(&mut self, generation: Generation) {
        let Some((partition, _)) = self.partitions.get(&generation) else { return };
        let start = self.registration.starts.get(&generation).copied().unwrap_or_default();
        let at = self.cursors.get(&generation).copied().unwrap_or_default();
        let before = self.histories.values().filter(|history| history.of == *partition);
        let mut parts = before.flat_map(|history| &history.parts);
        let is_open = |part: &Part| {
            let from = self.starts.get(&part.name).copied().unwrap_or(0);
            from < part.to && self.cursors.get(&part.name).is_none_or(|cursor| cursor.pos < part.to)
        };
        if at > start && parts.any(is_open) {
            self.failures.push(format!("{ADDED}: {generation:?} came to {at:?} before what was read before"));
        }
    }
}
