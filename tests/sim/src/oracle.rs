//! What must be in the sinks at the end, computed from the durable record of decisions and the world's own files, and how
//! that compares with what is there. It shares the plugin's pure functions with the chain, and nothing else with the core.

mod order;

use crate::histories;
use crate::plugin::{Counter, Numbers, SimRow, State, numbers, refuser, routed};
use crate::ports::chain::{number_of, version_of};
use crate::ports::sinks::sink_of;
use crate::syncs;
use crate::world::{Outside, RECORD_BYTES, SimFile, SimJournal, SimRecord};
use sawlog_core::SinkId;
use sawlog_core::journal::{JournalState, Judge, Record, Registration};
use sawlog_core::plan::{Entry, Planned, UpgradeOutcome};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

type RowKey = (Generation, u64, u16, u32);
type LostRange = (Generation, Cursor, Cursor, String, usize);

/// The decisions of a whole run.
#[derive(Default)]
struct Decisions {
    streams: BTreeMap<PartitionId, Vec<Planned>>,
    poison: BTreeSet<(Generation, u64)>,
    lost: BTreeMap<SinkId, Vec<LostRange>>,
    /// What comes again, because a person wanted it.
    repeats: BTreeSet<Generation>,
    /// The histories that repeats consist of.
    originals: BTreeMap<Generation, Generation>,
    /// By partition that is read for an added sink, the one that was read before.
    before: BTreeMap<PartitionId, PartitionId>,
    /// Those at whose end plugins give out what they hold back.
    flushed: BTreeSet<PartitionId>,
    /// Histories that the journal knew.
    opened: BTreeSet<Generation>,
    /// How far each was planned, rescued, or written off.
    reached: BTreeMap<Generation, u64>,
    /// Histories of which something was written off, and the number of the record that first did.
    written_off: BTreeMap<Generation, usize>,
    /// Bytes that went away before they were planned, by the sinks that would have had them.
    unplanned: BTreeMap<SinkId, u64>,
    /// The sinks of the present configuration.
    sinks: BTreeMap<SinkId, Registration>,
    /// Per sink the part of each stream that is its own: from, and to where it drains.
    spans: BTreeMap<SinkId, Span>,
}

/// Entry numbers by partition.
type Lengths = BTreeMap<PartitionId, usize>;

/// The part of each stream that is a sink's own.
#[derive(Clone, Default, PartialEq)]
struct Span {
    /// What was read before the sink was added and is read again for it.
    histories: BTreeSet<PartitionId>,
    /// By source: where it began to feed the sink.
    from: BTreeMap<String, Lengths>,
    until: Option<Lengths>,
}

impl Span {
    /// Whether entry `number` of the partition is the sink's.
    fn holds(&self, outside: &Outside, partition: PartitionId, number: usize) -> bool {
        if self.histories.contains(&partition) {
            return true;
        }
        let source = outside.files.iter().find(|f| f.partition == partition).map_or("", |f| f.source);
        let Some(from) = self.from.get(source) else { return false };
        let until = self.until.as_ref().map(|u| u.get(&partition).copied().unwrap_or(0));
        number >= from.get(&partition).copied().unwrap_or(0) && until.is_none_or(|until| number < until)
    }
}

/// A row with the number of its entry.
type Placed = (usize, SimRow);

/// The records that one stands for.
pub fn parts(record: &Record) -> Vec<&Record> {
    match record {
        Record::Together(records) => records.iter().collect(),
        one => vec![one],
    }
}

impl Decisions {
    /// The file whose bytes a history consists of.
    fn file<'a>(&self, outside: &'a Outside, generation: Generation) -> Option<&'a SimFile> {
        let original = self.originals.get(&generation).unwrap_or(&generation);
        outside.files.iter().find(|file| file.generation == *original)
    }

    /// Whether any sink lost anything of a stream.
    fn is_lossy(&self, stream: &[Planned]) -> bool {
        let mut lost = self.lost.values().flatten();
        lost.any(|(generation, ..)| stream.iter().any(|planned| planned.entry.generation() == *generation))
    }

    fn reach(&mut self, generation: Generation, pos: u64) {
        let reached = self.reached.entry(generation).or_default();
        *reached = pos.max(*reached);
    }

    /// What nobody had planned of a history that went away is lost to all that it would have fed.
    fn write_off(&mut self, outside: &Outside, number: usize, generation: Generation, end: u64) {
        let source = self.file(outside, generation).map_or("", |file| file.source);
        let unplanned = end - self.reached.get(&generation).copied().unwrap_or(0).min(end);
        let is_fed = |r: &Registration| r.until.is_none() && r.sources.iter().any(|s| s.as_str() == source);
        if unplanned > 0 {
            self.written_off.entry(generation).or_insert(number);
        }
        for (sink, _) in self.sinks.iter().filter(|(_, registration)| is_fed(registration)) {
            *self.unplanned.entry(sink.clone()).or_default() += unplanned;
        }
        self.reach(generation, end);
    }
}

fn decisions(outside: &Outside, archive: &[Record]) -> Decisions {
    let mut d = Decisions::default();
    let numbered =
        archive.iter().enumerate().flat_map(|(n, record)| parts(record).into_iter().map(move |part| (n, part)));
    for (number, record) in numbered {
        match record {
            Record::Plan { entries } => {
                for (partition, planned) in entries {
                    d.reach(planned.entry.generation(), planned.entry.end().pos);
                    d.streams.entry(*partition).or_default().push(planned.clone());
                }
            }
            Record::Generation { generation, .. } => _ = d.opened.insert(*generation),
            Record::Rescue { generation, hi, .. } => d.reach(*generation, *hi),
            Record::Vanished { generation, whereabouts, .. } => {
                d.write_off(outside, number, *generation, whereabouts.end)
            }
            Record::Removed { sink } => _ = d.sinks.remove(sink),
            Record::Verdict(v) if matches!(v.judge, Judge::Component(_)) => _ = d.poison.insert((v.generation, v.pos)),
            Record::Lost { sink, generation, from, to, reason } => {
                d.lost.entry(sink.clone()).or_default().push((*generation, *from, *to, reason.clone(), number));
            }
            Record::Repeat { generation, repeat } => {
                d.repeats.insert(*generation);
                d.originals.insert(*generation, repeat.of);
            }
            Record::History { partition, history } => {
                d.originals.extend(history.parts.iter().map(|part| (part.name, part.of)));
                d.before.insert(*partition, history.of);
                d.flushed.extend(history.flushed.map(|_| *partition));
                for sink in &history.sinks {
                    d.spans.entry(sink.clone()).or_default().histories.insert(*partition);
                }
            }
            Record::Epoch(epoch) => {
                d.sinks.clone_from(&epoch.sinks);
                let lengths: Lengths = d.streams.iter().map(|(p, s)| (*p, s.len())).collect();
                for (sink, registration) in &epoch.sinks {
                    let span = d.spans.entry(sink.clone()).or_default();
                    for source in &registration.sources {
                        span.from.entry(source.to_string()).or_insert_with(|| lengths.clone());
                    }
                    if registration.until.is_some() && span.until.is_none() {
                        span.until = Some(lengths.clone());
                    }
                }
            }
            _ => {}
        }
    }
    d
}

/// The plugins of a partition as they should be.
struct Plugins {
    state: State,
    counter: Counter,
}

impl Plugins {
    /// An entry without rows, or the configuration of any: what becomes of state. Gives what must not be.
    fn change(&mut self, entry: &Entry, numbers: &Numbers, version: u64) -> Option<&'static str> {
        let mut wrong = None;
        if numbers.counter.is_none() {
            wrong = self.counter.holds().then_some("a row was held back by what is not there any more");
            self.counter = Counter::default();
        }
        match entry {
            Entry::Range { .. } if self.state.digest != version => {
                return Some("input follows state of another version");
            }
            Entry::Upgrade { component, .. } if *component != numbers.main => {}
            Entry::Upgrade { outcome: UpgradeOutcome::Carried, .. } => self.state.upgrade(version),
            Entry::Upgrade { .. } => {
                wrong = wrong.or(self.state.holds().then_some("rows held back were dropped at an upgrade"));
                self.state = State::fresh(version);
            }
            Entry::Reset { .. } => (self.state, self.counter) = (State::fresh(version), Counter::default()),
            _ => {}
        }
        wrong
    }
}

/// All rows that the decisions give, in the order of the partition's stream.
fn rows_of(
    outside: &Outside,
    d: &Decisions,
    partition: PartitionId,
    stream: &[Planned],
    failures: &mut Vec<String>,
) -> Vec<Placed> {
    let mut rows = Vec::new();
    let Some(first) = stream.first() else { return rows };
    let of = d.before.get(&partition).copied().unwrap_or(partition);
    let source = outside.files.iter().find(|f| f.partition == of).map_or("", |f| f.source);
    let mut plugins = Plugins { state: State::fresh(version_of(first.epoch, source)), counter: Counter::default() };
    for (number, planned) in stream.iter().enumerate() {
        let (epoch, time, version) = (number_of(planned.epoch), planned.time, version_of(planned.epoch, source));
        let numbers = numbers(epoch);
        let holds = plugins.state.holds() || plugins.counter.holds();
        if matches!(planned.entry, Entry::Reset { .. })
            && holds
            && d.flushed.contains(&partition)
            && !d.is_lossy(stream)
        {
            failures.push(format!("{partition:?} ends, and what was given out before is held back"));
        }
        let wrong = plugins.change(&planned.entry, &numbers, version);
        failures.extend(wrong.map(|wrong| format!("{partition:?} entry {number}: {wrong}")));
        let row = |generation, pos, slot, k, content, refused, dead, origin| {
            (number, SimRow { partition, generation, pos, slot, k, content, time, refused, dead, origin })
        };
        match planned.entry {
            Entry::Range { generation, lo, hi } => {
                let Some(file) = d.file(outside, generation) else { continue };
                for pos in (lo..hi).step_by(RECORD_BYTES as usize) {
                    let Some(record) = file.records.get((pos / RECORD_BYTES) as usize) else { continue };
                    if record.void.is_some() {
                        continue;
                    }
                    if d.poison.contains(&(generation, pos)) {
                        rows.push(row(generation, pos, 0, 0, 0, false, true, record.value));
                        continue;
                    }
                    // Without a verdict it passed, perhaps with more fuel in a later life.
                    let passed = SimRecord { poison: false, ..*record };
                    let made = plugins.state.feed(&passed, epoch, time).unwrap_or_default();
                    numbers.counter.into_iter().for_each(|_| plugins.counter.feed(record.value));
                    let row = |(k, content)| {
                        row(generation, pos, 0, k, content, record.refused && k == 0, false, record.value)
                    };
                    rows.extend(made.into_iter().map(row));
                }
            }
            Entry::Flush { generation, at, now, component } => {
                let made = match component == numbers.main {
                    true => plugins.state.flush(epoch, now, time),
                    false => plugins.counter.flush(epoch, now, time),
                };
                let row = |(k, content)| row(generation, at.pos, at.slot + 1, k, content, false, false, 0);
                rows.extend(made.into_iter().map(row));
            }
            _ => {}
        }
    }
    rows
}

/// Whether the cursor covers the input that a row belongs to.
fn covers(cursor: Cursor, row: &SimRow) -> bool {
    match row.slot {
        0 => cursor.pos > row.pos,
        slot => cursor >= Cursor { pos: row.pos, slot },
    }
}

fn key(row: &SimRow) -> RowKey {
    (row.generation, row.pos, row.slot, row.k)
}

/// One sink's rows against what they should be.
struct Comparison<'a> {
    outside: &'a Outside,
    sink: &'a str,
    lost: &'a [LostRange],
    span: Span,
    failures: &'a mut Vec<String>,
}

impl Comparison<'_> {
    fn is_responsible(&self, (number, row): &Placed) -> bool {
        self.span.holds(self.outside, row.partition, *number)
    }

    fn is_lost(&self, row: &SimRow) -> bool {
        self.lost.iter().any(|(g, from, to, ..)| *g == row.generation && !covers(*from, row) && covers(*to, row))
    }

    fn compare(&mut self, expected: &[Placed], got: &[SimRow], ordered: bool) {
        let wanted: Vec<SimRow> = expected.iter().filter(|r| self.is_responsible(r)).map(|r| r.1).collect();
        let order: BTreeMap<RowKey, (usize, SimRow)> =
            wanted.iter().enumerate().map(|(i, r)| (key(r), (i, *r))).collect();
        let mut seen: BTreeMap<RowKey, usize> = BTreeMap::new();
        let mut last: BTreeMap<PartitionId, usize> = BTreeMap::new();
        for row in got {
            *seen.entry(key(row)).or_default() += 1;
            match order.get(&key(row)) {
                None => self.failures.push(format!("{}: phantom {row:?}", self.sink)),
                Some((_, want)) if want != row => {
                    self.failures.push(format!("{}: content {row:?} instead of {want:?}", self.sink));
                }
                Some((index, _)) if ordered => {
                    if last.insert(row.partition, *index).is_some_and(|before| before >= *index) {
                        self.failures.push(format!("{}: reordered {row:?}", self.sink));
                    }
                }
                Some(_) => {}
            }
        }
        for (key, n) in seen.iter().filter(|(_, n)| **n > 1) {
            self.failures.push(format!("{}: {n} times {key:?}", self.sink));
        }
        let missing: Vec<&SimRow> = wanted.iter().filter(|r| !seen.contains_key(&key(r)) && !self.is_lost(r)).collect();
        self.failures.extend(missing.into_iter().map(|row| format!("{}: lost {row:?}", self.sink)));
    }
}

/// Sinks that hold their own cursors stay exact when the data directory is lost: whatever the new decisions are, the first row of
/// each record that is still on disk, and read by a source of the new life, is there once. More can't be asked, because nobody
/// knows the old decisions any more.
pub fn check_once(outside: &Outside, state: &JournalState, sinks: &[&str]) -> Vec<String> {
    let mut failures = Vec::new();
    let archive = outside.journal.archive.iter().flat_map(parts).chain(&outside.old_losses);
    let losses: Vec<&Record> = archive.filter(|record| matches!(record, Record::Lost { .. })).collect();
    for sink in sinks {
        let rows = if *sink == "log" { outside.log.clone() } else { objects(outside, sink) };
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.slot == 0 && row.k == 0) {
            *seen.entry(row.origin).or_default() += 1;
        }
        for (file, pos, record) in records(outside) {
            // A source that was removed again is read to where it was planned.
            let planned = state.generations.get(&file.generation).map_or(0, |known| known.planned.pos);
            let times = seen.remove(&record.value).unwrap_or(0);
            let refused = record.refused && refuser(pos) == *sink;
            let owed = file.exists && !record.poison && !refused && pos < planned;
            if times > 1 && !file.unsure {
                failures.push(format!("{sink}: {times} times {file:?} at {pos} around a lost directory or a twin"));
            }
            if times == 0 && owed && !losses.iter().any(|loss| is_counted(loss, sink, file, pos)) {
                failures.push(format!("{sink}: lost {file:?} at {pos} around a lost directory or a twin"));
            }
        }
        failures.extend(seen.into_keys().map(|value| format!("{sink}: phantom of {value}")));
    }
    failures
}

/// All records that were accepted, with their positions.
pub fn records(outside: &Outside) -> impl Iterator<Item = (&SimFile, u64, &SimRecord)> {
    let all = outside.files.iter().flat_map(|file| {
        let placed = file.records.iter().zip((0..).step_by(RECORD_BYTES as usize));
        placed.map(move |(record, pos)| (file, pos, record))
    });
    all.filter(|(.., record)| record.void.is_none())
}

/// Whether a counted loss of a sink names the record at `pos` of a file.
fn is_counted(loss: &Record, who: &str, file: &SimFile, pos: u64) -> bool {
    let Record::Lost { sink, generation, from, to, .. } = loss else { return false };
    sink.as_str() == who && *generation == file.generation && from.pos <= pos && pos < to.pos
}

/// Everything that is wrong at the end of a run.
pub fn check(outside: &Outside, state: &JournalState) -> Vec<String> {
    let d = decisions(outside, &outside.journal.archive);
    let mut failures = Vec::new();
    let mut all = Vec::new();
    for (partition, stream) in &d.streams {
        all.extend(rows_of(outside, &d, *partition, stream, &mut failures));
    }
    check_losses(outside, &d, &mut failures);
    order::check(outside, &d, &mut failures);
    check_time(&outside.journal.archive, &mut failures);
    check_files(outside, state, &mut failures);
    check_vanished(outside, &d, &mut failures);
    failures.extend(histories::check(outside));
    let alive: Vec<Placed> = all.iter().filter(|r| !r.1.dead).copied().collect();
    for sink in ["log", "documents", "objects", "second", "file", "dead"] {
        let id = SinkId::new(sink);
        let Some(span) = d.spans.get(&id).cloned() else { continue };
        let none = Vec::new();
        let lost = d.lost.get(&id).unwrap_or(&none);
        let (expected, got, ordered) = match sink {
            "log" => (alive.iter().filter(|r| !r.1.refused_by("log")).copied().collect(), outside.log.clone(), true),
            "documents" => (
                alive.iter().filter(|r| !r.1.refused_by("documents")).copied().collect(),
                outside.documents.values().copied().collect(),
                false,
            ),
            "file" => (
                alive.iter().filter(|r| routed(r.1.content)).copied().collect(),
                appended(outside, sink),
                // Which of two places came first is not written in them.
                !outside.appended.iter().any(|((of, _), (rows, _))| of.as_str() == "file~1" && !rows.is_empty()),
            ),
            "dead" => (dead_letters(outside, &d, &all), appended(outside, sink), false),
            _ => (alive.clone(), objects(outside, sink), false),
        };
        // Letters of sinks come by way of their own cursors: their losses excuse them too.
        let mut excused = lost.clone();
        if sink == "dead" {
            let of = |feeder: &&str| d.lost.get(&SinkId::new(feeder));
            excused.extend(["documents", "log"].iter().filter_map(of).flatten().cloned());
        }
        let mut comparison = Comparison { outside, sink, lost: &excused, span: span.clone(), failures: &mut failures };
        comparison.compare(&expected, &got, ordered);
        let got_rows = got.len();
        let counts_rows = matches!(sink, "log" | "file" | "objects") && lost.iter().all(|l| l.3 != "input_gone");
        if counts_rows {
            check_rows(state, &id, got_rows, &mut failures);
        }
        if sink != "dead" {
            check_ledger(outside, state, &d, &id, &mut failures);
        }
    }
    failures
}

fn appended(outside: &Outside, sink: &str) -> Vec<SimRow> {
    outside.appended.iter().filter(|((of, _), _)| sink_of(of) == sink).flat_map(|(_, (rows, _))| rows.clone()).collect()
}

fn objects(outside: &Outside, sink: &str) -> Vec<SimRow> {
    let mine = |key: &String| sink_of(key.split('/').next().unwrap_or_default()) == sink;
    outside.objects.iter().filter(|(key, _)| mine(key)).flat_map(|(_, rows)| rows.clone()).collect()
}

/// What plugins fail on, and what the document store and the log refuse, each of its own.
fn dead_letters(outside: &Outside, d: &Decisions, all: &[Placed]) -> Vec<Placed> {
    let refuses = |sink: &str, n: usize, row: &SimRow| {
        let span = d.spans.get(&SinkId::new(sink));
        row.refused_by(sink) && span.is_some_and(|span| span.holds(outside, row.partition, n))
    };
    let is_letter = |(n, row): &&Placed| row.dead || refuses("documents", *n, row) || refuses("log", *n, row);
    all.iter().filter(is_letter).copied().collect()
}

/// Loss may be counted only where input really went away.
fn check_losses(outside: &Outside, d: &Decisions, failures: &mut Vec<String>) {
    // State that came from what is gone takes what follows along: any file of the partition is reason enough.
    let is_gone = |partition, at| outside.files.iter().any(|f| f.partition == partition && f.is_unreadable_at(at));
    for (sink, ranges) in &d.lost {
        for (generation, from, to, reason, number) in ranges {
            if is_allowed(outside, sink, reason) || gave_up(ranges, *generation, *from, *to) {
                continue;
            }
            let partition = d.file(outside, *generation).map(|f| f.partition);
            if partition.is_none_or(|partition| !is_gone(partition, *number)) {
                failures.push(format!("{sink}: false loss of {generation:?} {from:?}..{to:?}"));
            }
        }
    }
}

/// Sinks with a budget may lose what is beyond it, and any sink what a person had it forget.
fn is_allowed(outside: &Outside, sink: &SinkId, reason: &str) -> bool {
    match reason {
        "budget" => outside.budgets.contains_key(sink.as_str()),
        _ => reason == "forgotten",
    }
}

/// Whether the sink had given all of this up before: input of it may be gone.
fn gave_up(ranges: &[LostRange], generation: Generation, from: Cursor, to: Cursor) -> bool {
    let mut mine: Vec<_> =
        ranges.iter().filter(|(g, _, _, reason, _)| *g == generation && reason != "input_gone").collect();
    mine.sort_by_key(|(_, from, ..)| *from);
    let mut at = from;
    for (_, from, to, ..) in mine {
        if *from <= at {
            at = at.max(*to);
        }
    }
    at >= to
}

/// PLAN times never fall over the whole journal, whatever the clock does: hours are closed by them.
fn check_time(archive: &[Record], failures: &mut Vec<String>) {
    let mut newest = i64::MIN;
    for planned in archive.iter().flat_map(parts).filter_map(|record| match record {
        Record::Plan { entries } => Some(entries),
        _ => None,
    }) {
        for (_, planned) in planned {
            if planned.time < newest {
                failures.push(format!("PLAN time {} follows {newest}", planned.time));
            }
            newest = newest.max(planned.time);
        }
    }
}

/// Everything that is still there was planned, of sources that are in the configuration.
fn check_files(outside: &Outside, state: &JournalState, failures: &mut Vec<String>) {
    for file in outside.files.iter().filter(|f| f.exists && !f.records.is_empty() && outside.sources.contains(f.source))
    {
        let planned = state.generations.get(&file.generation).map_or(0, |g| g.planned.pos);
        if planned != file.end() {
            failures.push(format!("{:?} is planned to {planned} of {}", file.generation, file.end()));
        }
    }
}

/// Whether the journal says that a file can't be read any more, or all of it is rescued.
pub fn is_done_with(journal: &SimJournal, file: &SimFile) -> bool {
    let mut rescued: Vec<(u64, u64)> = Vec::new();
    for record in journal.archive.iter().flat_map(parts) {
        match record {
            Record::Gone { generation } if *generation == file.generation => return true,
            Record::Rescue { generation, lo, hi } if *generation == file.generation => rescued.push((*lo, *hi)),
            _ => {}
        }
    }
    rescued.sort_unstable();
    rescued.into_iter().fold(0, |at, (lo, hi)| if lo <= at { at.max(hi) } else { at }) >= file.end()
}

/// Everything that went away was planned, rescued, or written off by name; nothing of it before it could not be read any more.
fn check_vanished(outside: &Outside, d: &Decisions, failures: &mut Vec<String>) {
    let is_undue = |f: &&SimFile| d.written_off.get(&f.generation).is_some_and(|number| !f.is_unreadable_at(*number));
    for file in outside.files.iter().filter(is_undue) {
        failures.push(format!("{:?} was written off, and could have been read", file.generation));
    }
    // Where nothing can be rescued, what the newest saved state comes from is kept as it is.
    let is_kept = |f: &&SimFile| {
        !f.exists && f.held_by == Some(outside.life) && outside.sources.contains(f.source) && !outside.rescue_is_full
    };
    for file in outside.files.iter().filter(is_kept) {
        failures.push(format!("{:?} went away, and is not let go though all of it is delivered", file.generation));
    }
    let is_known = |f: &&SimFile| !f.exists && d.opened.contains(&f.generation) && outside.sources.contains(f.source);
    for file in outside.files.iter().filter(is_known) {
        let reached = d.reached.get(&file.generation).copied().unwrap_or(0);
        if reached != file.end() {
            failures.push(format!("{:?} went away at {}, known up to {reached}", file.generation, file.end()));
        }
    }
}

/// The rows that a sink counts are those that are there: nothing arrives that is counted as lost.
fn check_rows(state: &JournalState, sink: &SinkId, got: usize, failures: &mut Vec<String>) {
    let marks = state.cursors.get(sink).into_iter().flat_map(|c| c.values()).map(|m| &m.counts);
    let bases = state.base_counts.iter().filter(|((s, _), _)| s == sink).map(|(_, c)| c);
    let rows: u64 = marks.chain(bases).map(|counts| counts.rows).sum();
    if rows != got as u64 {
        failures.push(format!("{sink}: counts {rows} rows and holds {got}"));
    }
}

/// Bytes of an entry that hold no record: all of them, or those that are not in what the sink lost either.
fn void_bytes(outside: &Outside, d: &Decisions, sink: &SinkId, entry: &Entry, all: bool) -> u64 {
    let Entry::Range { generation, lo, hi } = *entry else { return 0 };
    let Some(file) = d.file(outside, generation) else { return 0 };
    let lost = d.lost.get(sink).map_or(&[][..], Vec::as_slice);
    let is_lost =
        |pos| !all && lost.iter().any(|(g, from, to, ..)| *g == generation && from.pos <= pos && pos < to.pos);
    syncs::void_bytes(file, (lo, hi), is_lost)
}

/// read = delivered + absorbed + dropped + dead-lettered + lost, at this quiet point.
fn check_ledger(outside: &Outside, state: &JournalState, d: &Decisions, sink: &SinkId, failures: &mut Vec<String>) {
    let Some(span) = d.spans.get(sink) else { return };
    let numbered = d.streams.iter().flat_map(|(p, s)| s.iter().enumerate().map(move |(n, planned)| (*p, n, planned)));
    let mine: Vec<&Entry> = numbered.filter(|(p, n, _)| span.holds(outside, *p, *n)).map(|(.., p)| &p.entry).collect();
    let bytes: u64 = mine.iter().map(|entry| entry.len()).sum();
    let void = |counted| mine.iter().map(|entry| void_bytes(outside, d, sink, entry, counted)).sum::<u64>();
    // What is void and was given up may count as lost, or lie where the sink had passed before it gave up.
    let (most, least) = (bytes - void(false), bytes - void(true));
    let marks = state.cursors.get(sink).into_iter().flat_map(|c| c.values()).map(|m| &m.counts);
    let bases = state.base_counts.iter().filter(|((s, _), _)| s == sink).map(|(_, c)| c);
    let counts: Vec<_> = marks.chain(bases).collect();
    let records: u64 = counts.iter().map(|c| c.records()).sum();
    let lost: u64 = counts.iter().map(|c| c.lost_bytes.sum()).sum();
    let unplanned = d.unplanned.get(sink).copied().unwrap_or(0);
    if !(least + unplanned..=most + unplanned).contains(&(records * RECORD_BYTES + lost)) {
        failures.push(format!(
            "{sink}: ledger has {records} records and {lost} lost bytes of {least} to {most} bytes planned and {unplanned} written off"
        ));
    }
}
