//! Simulated sinks: a transactional log, an object store and an appended file (the document store is beside it), each with the faults that
//! its real counterpart shows: lost, late, doubled and dropped requests, conflicts, refused connections, long answers.

use super::documents;
use crate::plugin::SimRow;
use crate::world::{Fault, Late, Producer, RECORD_BYTES, World};
use async_trait::async_trait;
use sawlog_core::claims::Claim;
use sawlog_core::journal::Mark;
use sawlog_core::ports::{AppendFile, ObjectStore, Offer, PutOutcome, RefusedRow, SinkError, Staging, TransactionLog};
use sawlog_core::sink::Letter;
use sawlog_record::batch::{Row, flag};
use sawlog_record::id::Generation;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Nanoseconds of the time-named index and path.
pub const HOUR: i64 = 2_000_000_000;

pub(super) fn row_of(offer: &Offer, row: &Row) -> SimRow {
    let bytes = row.input.of(&offer.output.batch.arena);
    SimRow {
        partition: offer.partition,
        generation: offer.generation,
        pos: row.id.pos,
        slot: row.id.slot,
        k: row.id.k,
        content: u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
        time: row.time,
        refused: bytes[8] == 1,
        dead: row.flags & flag::UNDECODED != 0,
        origin: u64::from_le_bytes(bytes[10..18].try_into().expect("eight bytes")),
    }
}

fn rows_of(offer: &Offer) -> impl Iterator<Item = SimRow> + '_ {
    offer.output.iter().map(|row| row_of(offer, row))
}

/// The name of a sink's store at one of its places.
pub fn store(sink: &str, place: usize) -> String {
    if place == 0 { sink.to_owned() } else { format!("{sink}~{place}") }
}

/// The sink whose store this is.
pub fn sink_of(store: &str) -> &str {
    store.split('~').next().unwrap_or_default()
}

/// A server that is asked which one it is.
pub(super) fn named(world: &World, sink: &'static str, place: String) -> Result<String, SinkError> {
    match world.draw_fault(sink) {
        Fault::Down if world.get().planted == Some("place_by_address") => Ok(format!("{place} by its address")),
        Fault::Down => Err(down()),
        _ => Ok(place),
    }
}

pub(super) fn unknown() -> SinkError {
    SinkError::Unknown("simulated time-out".into())
}

pub(super) fn down() -> SinkError {
    SinkError::Unavailable("connection refused".into())
}

/// A late effect takes effect, if it still may.
pub fn land(world: &World, late: Late) {
    match late {
        Late::Commit(producer, epoch, rows, marks) => _ = commit(world, &producer, epoch, rows, marks),
        Late::Documents(place, rows) => rows.into_iter().for_each(|row| documents::create(world, place, row)),
        Late::Claim(log, number, claim) => _ = put_claim(world, &log, number, *claim),
        Late::Data(key, rows) => _ = put_data(world, key, rows),
        Late::Journal(partition, epoch, records) => _ = super::topic::commit(world, partition, epoch, records),
    }
}

// ---------------------------------------------------------------- transactional log

/// The transactional log.
pub struct SimLog {
    /// The world.
    pub world: World,
    /// Whose transactions these are.
    pub producer: Producer,
    /// This life's producer epoch.
    epoch: std::sync::atomic::AtomicU64,
    /// Commits of others that this life has learnt of.
    others: Mutex<Option<u64>>,
    /// Who wrote beside it, and it, until it is told.
    twin: Mutex<Option<(String, String)>>,
}

impl SimLog {
    /// A log of which nothing is learnt yet.
    pub fn new(world: World, producer: Producer) -> Self {
        Self { world, producer, epoch: Default::default(), others: Mutex::default(), twin: Mutex::default() }
    }

    /// Whoever committed since this life last learnt the cursors is a twin; before, it was an earlier life.
    fn learn(&self) {
        let (me, outside) = (&self.producer.writer, self.world.get());
        let commits = outside.commits.get(&self.producer.cursors);
        let others = commits.into_iter().flatten().filter(|(writer, _)| *writer != me);
        let (n, last) = others.fold((0, None), |(n, _), (writer, more)| (n + more, Some(writer)));
        let before = self.others.lock().expect("one thread").replace(n);
        if let Some(writer) = last.filter(|_| before.is_some_and(|before| before < n)) {
            *self.twin.lock().expect("one thread") = Some((writer.clone(), me.clone()));
        }
    }
}

/// The last row that the log refuses.
fn last_refused(offers: &[Offer]) -> Option<RefusedRow> {
    let mut rows = offers.iter().enumerate().flat_map(|(at, of)| of.output.rows.iter().map(move |row| (at, of, *row)));
    let is_refused = |of: &Offer, row: u32| row_of(of, &of.output.batch.rows[row as usize]).refused_by("log");
    let (offer, _, row) = rows.rfind(|(_, of, row)| is_refused(of, *row))?;
    Some(RefusedRow { offer, row, reason: "too large".into() })
}

fn commit(world: &World, producer: &Producer, epoch: u64, rows: Vec<SimRow>, marks: Vec<(Generation, Mark)>) -> bool {
    let mut outside = world.get();
    if outside.producers.get(&producer.id) != Some(&epoch) {
        return false;
    }
    outside.stale_cursors = outside.log_cursors.clone();
    let commits = outside.commits.entry(producer.cursors.clone()).or_default();
    *commits.entry(producer.writer.clone()).or_default() += 1;
    outside.log.extend(rows);
    outside.log_cursors.extend(marks.into_iter().map(|(g, mark)| ((producer.cursors.clone(), g), mark)));
    true
}

#[async_trait]
impl TransactionLog for SimLog {
    async fn place(&self) -> Result<String, SinkError> {
        named(&self.world, "log", self.producer.cursors.clone())
    }

    async fn recover(&self) -> Result<BTreeMap<Generation, Mark>, SinkError> {
        self.world.dawdle("log").await;
        if self.world.draw_fault("log") == Fault::Down {
            return Err(down());
        }
        self.world.gate().await;
        let epoch = {
            let mut outside = self.world.get();
            let epoch = outside.producers.entry(self.producer.id.clone()).or_default();
            *epoch += 1;
            *epoch
        };
        self.epoch.store(epoch, std::sync::atomic::Ordering::Relaxed);
        self.world.gate().await;
        self.learn();
        let outside = self.world.get();
        let skipped = outside.planted == Some("barrier_skipped");
        let cursors = if skipped { &outside.stale_cursors } else { &outside.log_cursors };
        let mine = cursors.iter().filter(|((name, _), _)| *name == self.producer.cursors);
        Ok(mine.map(|((_, g), mark)| (*g, mark.clone())).collect())
    }

    fn twin(&self) -> Option<(String, String)> {
        self.twin.lock().expect("one thread").take()
    }

    async fn commit(
        &self,
        offers: &[Offer],
        marks: &[(Generation, Mark)],
        forget: &[Generation],
    ) -> Result<Vec<RefusedRow>, SinkError> {
        self.world.dawdle("log").await;
        let fault = self.world.draw_fault("log");
        self.world.gate().await;
        // Of several rows that it never takes it names one at a time, the last first: a broker answers in an order of its own.
        if let Some(refused) = last_refused(offers).filter(|_| fault == Fault::None) {
            return Ok(vec![refused]);
        }
        let rows: Vec<SimRow> = offers.iter().flat_map(rows_of).collect();
        if rows.iter().any(|row| row.refused_by("log")) {
            return Err(unknown());
        }
        let epoch = self.epoch.load(std::sync::atomic::Ordering::Relaxed);
        match fault {
            Fault::Down => return Err(down()),
            Fault::Dropped | Fault::Conflict => return Err(unknown()),
            Fault::Late => {
                self.world.get().late.push(Late::Commit(self.producer.clone(), epoch, rows, marks.to_vec()));
                return Err(unknown());
            }
            Fault::None | Fault::LostReply | Fault::Duplicated => {}
        }
        let committed = commit(&self.world, &self.producer, epoch, rows, marks.to_vec());
        if committed {
            let mut outside = self.world.get();
            outside.log_cursors.retain(|(name, g), _| *name != self.producer.cursors || !forget.contains(g));
        }
        self.world.gate().await;
        match (committed, fault) {
            (false, _) => Err(SinkError::Fenced("simulated".into())),
            (true, Fault::LostReply) => Err(unknown()),
            (true, _) => Ok(Vec::new()),
        }
    }
}

// ---------------------------------------------------------------- object store

/// An object store.
pub struct SimObjects {
    /// The world.
    pub world: World,
    /// The sink's name.
    pub sink: &'static str,
    /// The name of its claim log.
    pub log: String,
}

/// Most paths of one simulated claim.
const PATHS_MAX: usize = 5;
/// The path that takes what would make too many.
const OTHER: &str = "hour=other";

/// Rows by path, at most [`PATHS_MAX`] of them.
#[derive(Default)]
struct SimStaging {
    rows: BTreeMap<String, Vec<SimRow>>,
    named: Option<BTreeSet<String>>,
}

impl SimStaging {
    fn path(&self, row: &SimRow, floor: i64, fresh: &BTreeSet<String>) -> String {
        let path = format!("hour={:020}/part={}", row.time.max(floor) / HOUR, row.pos / RECORD_BYTES % 3);
        let is_taken = match &self.named {
            Some(named) => named.contains(&path),
            None => {
                self.rows.contains_key(&path) || fresh.contains(&path) || self.rows.len() + fresh.len() + 1 < PATHS_MAX
            }
        };
        if is_taken { path } else { OTHER.to_owned() }
    }

    fn fresh(&self, offer: &Offer, floor: i64) -> BTreeSet<String> {
        let mut fresh = BTreeSet::new();
        for row in rows_of(offer) {
            let path = self.path(&row, floor, &fresh);
            if !self.rows.contains_key(&path) {
                fresh.insert(path);
            }
        }
        fresh
    }
}

impl Staging for SimStaging {
    fn add(&mut self, offer: &Offer, floor: i64) -> Result<(), SinkError> {
        for row in rows_of(offer) {
            let path = self.path(&row, floor, &BTreeSet::new());
            self.rows.entry(path).or_default().push(row);
        }
        Ok(())
    }

    fn fits(&mut self, offer: &Offer, floor: i64) -> bool {
        let fresh = self.fresh(offer, floor).len();
        fresh == 0 || self.rows.is_empty() || self.rows.len() + fresh < PATHS_MAX
    }

    fn restrict(&mut self, paths: &[String]) {
        self.named = Some(paths.iter().cloned().collect());
        self.rows.extend(paths.iter().map(|path| (path.clone(), Vec::new())));
    }

    fn paths(&self) -> Vec<String> {
        self.rows.keys().cloned().collect()
    }

    fn bytes(&self) -> u64 {
        self.rows.values().map(|rows| rows.len() as u64 * 100).sum()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

fn put_claim(world: &World, log: &str, number: u64, claim: Claim) -> PutOutcome {
    world.trace(|| {
        let moved: Vec<_> = claim.moved.iter().map(|m| (m.generation, m.from, m.to.cursor)).collect();
        format!("{log} claim {number} attempt {} moved {moved:?} passed {}", claim.attempt, claim.passed)
    });
    let mut outside = world.get();
    let key = (log.to_owned(), number);
    if outside.claims.contains_key(&key) {
        // As of a rename that failed, while the target is there and the source is gone: another may have swept it away.
        let is_taken_for_own = outside.planted == Some("rename_taken_for_own");
        return if is_taken_for_own { PutOutcome::Created } else { PutOutcome::Exists };
    }
    outside.claims.insert(key, claim);
    PutOutcome::Created
}

fn put_data(world: &World, key: String, rows: Vec<SimRow>) -> PutOutcome {
    world.trace(|| {
        let rows: Vec<_> = rows.iter().map(|r| (r.generation, r.pos, r.slot, r.k)).collect();
        format!("{} data {key}: {rows:?}", sink_of(key.split('/').next().unwrap_or_default()))
    });
    let mut outside = world.get();
    if outside.objects.contains_key(&key) {
        return PutOutcome::Exists;
    }
    // `<log>/hour=<number>/…`: an hour that was said to be closed gets no object any more, at none of
    // the sink's places.
    let mut parts = key.split('/');
    let (log, hour) = (parts.next().unwrap_or_default(), parts.next().and_then(|path| path.strip_prefix("hour=")));
    let end = hour.and_then(|hour| hour.parse::<i64>().ok()).map_or(i64::MAX, |hour| (hour + 1).saturating_mul(HOUR));
    let places = outside.complete.iter().filter(|(other, _)| sink_of(other) == sink_of(log));
    let closed = places.map(|(_, closed)| *closed).max().unwrap_or(i64::MIN);
    outside.objects.insert(key.clone(), rows);
    drop(outside);
    if end <= closed {
        world.fail(format!("{key} lands in an hour that was closed by {closed}"));
    }
    PutOutcome::Created
}

impl SimObjects {
    async fn before(&self) -> Result<Fault, SinkError> {
        self.world.dawdle(self.sink).await;
        let fault = self.world.draw_fault(self.sink);
        self.world.gate().await;
        if fault == Fault::Down { Err(down()) } else { Ok(fault) }
    }
}

#[async_trait]
impl ObjectStore for SimObjects {
    async fn place(&self) -> Result<String, SinkError> {
        Ok(self.log.clone())
    }

    fn stage(&self) -> Box<dyn Staging> {
        Box::new(SimStaging::default())
    }

    fn data_key(&self, path: &str, number: u64, attempt: &str, index: usize) -> String {
        format!("{}/{path}/{number:020}-{attempt}-{index}", self.log)
    }

    async fn put_claim(&self, number: u64, claim: &Claim) -> Result<PutOutcome, SinkError> {
        match self.before().await? {
            Fault::Conflict => return Ok(PutOutcome::Conflict),
            Fault::Dropped => return Err(unknown()),
            Fault::Late if self.sink == "objects" => {
                self.world.get().late.push(Late::Claim(self.log.clone(), number, Box::new(claim.clone())));
                return Err(unknown());
            }
            Fault::LostReply => {
                put_claim(&self.world, &self.log, number, claim.clone());
                self.world.gate().await;
                return Err(unknown());
            }
            _ => {}
        }
        self.world.count("claim");
        let outcome = put_claim(&self.world, &self.log, number, claim.clone());
        self.world.gate().await;
        Ok(outcome)
    }

    async fn get_claim(&self, number: u64) -> Result<Option<Claim>, SinkError> {
        self.before().await?;
        Ok(self.world.get().claims.get(&(self.log.clone(), number)).cloned())
    }

    async fn list_claims(&self) -> Result<Vec<u64>, SinkError> {
        self.before().await?;
        self.world.trace(|| format!("{} lists claims", self.log));
        let outside = self.world.get();
        Ok(outside.claims.keys().filter(|(log, _)| *log == self.log).map(|(_, n)| *n).collect())
    }

    async fn delete_claim(&self, number: u64) -> Result<(), SinkError> {
        self.before().await?;
        self.world.get().claims.remove(&(self.log.clone(), number));
        Ok(())
    }

    async fn put_data(&self, staging: &mut dyn Staging, path: &str, key: &str) -> Result<PutOutcome, SinkError> {
        let rows = staging.as_any().downcast_mut::<SimStaging>().and_then(|s| s.rows.get(path).cloned());
        let rows = rows.unwrap_or_default();
        match self.before().await? {
            Fault::Conflict => return Ok(PutOutcome::Conflict),
            Fault::Dropped => return Err(unknown()),
            Fault::Late => {
                self.world.get().late.push(Late::Data(key.to_owned(), rows));
                return Err(unknown());
            }
            Fault::LostReply => {
                put_data(&self.world, key.to_owned(), rows);
                self.world.gate().await;
                return Err(unknown());
            }
            Fault::Duplicated => self.world.get().late.push(Late::Data(key.to_owned(), rows.clone())),
            Fault::None | Fault::Down => {}
        }
        let outcome = put_data(&self.world, key.to_owned(), rows);
        self.world.gate().await;
        Ok(outcome)
    }

    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        self.before().await?;
        Ok(self.world.get().objects.contains_key(key))
    }

    async fn publish_complete(&self, closed: i64) -> Result<(), SinkError> {
        let fault = self.before().await?;
        if matches!(fault, Fault::Dropped | Fault::Conflict) {
            return Err(unknown());
        }
        {
            let mut outside = self.world.get();
            let highest = outside.complete.entry(self.log.clone()).or_insert(closed);
            *highest = (*highest).max(closed);
        }
        self.world.count("complete");
        self.world.trace(|| format!("{} is complete below {closed}", self.log));
        self.world.gate().await;
        Ok(())
    }
}

// ---------------------------------------------------------------- appended file

/// An appended file.
pub struct SimAppend {
    /// The world.
    pub world: World,
    /// The sink's name.
    pub sink: &'static str,
    /// Which of its places.
    pub place: usize,
}

impl SimAppend {
    fn store(&self) -> String {
        store(self.sink, self.place)
    }
}

#[async_trait]
impl AppendFile for SimAppend {
    async fn place(&self) -> Result<String, SinkError> {
        Ok(self.store())
    }

    async fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
        self.world.gate().await;
        let (number, len) = {
            let mut outside = self.world.get();
            let present = outside.append_number.get(&self.store()).copied().unwrap_or(0);
            // Who never was here before, or comes back, begins behind everything that is here.
            let held = outside.appended.get(&(self.store(), present)).is_some_and(|file| !file.0.is_empty());
            let fresh = present + u64::from(held);
            if state.is_none() {
                outside.append_number.insert(self.store(), fresh);
            }
            let (number, len) = state.unwrap_or((fresh, 0));
            let present = outside.append_number.get(&self.store()).copied().unwrap_or(0);
            // The final name of `number` exists: the roll happened before the journal heard of it.
            let (number, len) = if present > number { (number + 1, 0) } else { (number, len) };
            let file = outside.appended.entry((self.store(), number)).or_default();
            file.0.truncate(len as usize);
            file.1 = len as usize;
            let is_short = file.0.len() < len as usize;
            drop(outside);
            self.world.trace(|| format!("{} recovers {state:?}: {number} {len}", self.store()));
            if is_short {
                self.world.fail(format!("file {} is shorter than journalled", self.sink));
            }
            (number, len)
        };
        self.world.gate().await;
        Ok((number, len))
    }

    async fn append(&self, offers: &[Offer], letters: &[Letter]) -> Result<(u64, u64), SinkError> {
        self.world.dawdle(self.sink).await;
        self.world.gate().await;
        let mut rows: Vec<SimRow> = offers.iter().flat_map(rows_of).collect();
        rows.extend(letters.iter().map(|l| row_of(&l.offer, &l.offer.output.batch.rows[l.row as usize])));
        let number = self.world.get().append_number.get(&self.store()).copied().unwrap_or(0);
        let torn = self.world.get().faults && self.world.rng(|r| r.hits(30));
        self.world.trace(|| format!("{} appends to {number}: {} rows, torn {torn}", self.store(), rows.len()));
        let keep = if torn { self.world.rng(|r| r.below(rows.len() + 1)) } else { rows.len() };
        self.world.get().appended.entry((self.store(), number)).or_default().0.extend_from_slice(&rows[..keep]);
        if torn {
            self.world.count("torn_append");
            return Err(SinkError::Unavailable("no space left".into()));
        }
        self.world.gate().await;
        let len = {
            let mut outside = self.world.get();
            let file = outside.appended.entry((self.store(), number)).or_default();
            file.1 = file.0.len();
            file.1
        };
        self.world.gate().await;
        Ok((number, len as u64))
    }

    fn due(&self) -> bool {
        self.world.rng(|r| r.hits(60))
    }

    async fn roll(&self) -> Result<(u64, u64), SinkError> {
        self.world.gate().await;
        let number = {
            let mut outside = self.world.get();
            let number = outside.append_number.entry(self.store()).or_default();
            *number += 1;
            *number
        };
        self.world.count("roll");
        self.world.trace(|| format!("{} rolls to {number}", self.store()));
        self.world.gate().await;
        Ok((number, 0))
    }
}
