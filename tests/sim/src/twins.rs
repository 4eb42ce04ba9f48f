//! Twins: two processes under one agent id, each with a data directory of its own, over the same files and the same destinations
//! (delivery.md §4.7). Each plans for itself. The log and the object stores must stay exact beside any number of them. Documents
//! may come again, where their index comes from the PLAN's time, but none may be missing; and a process that has them to send, and
//! meets the other twice, must end. At the end one of the two is ended for good, or both go on until both have delivered.

use crate::at_the_end::describe;
use crate::exec::{Executor, Spawned};
use crate::moving::{Nowhere, Opened, SkewedClock};
use crate::narrow;
use crate::oracle;
use crate::plugin::{SimRow, refuser};
use crate::ports::SimClock;
use crate::ports::chain::{SimChains, epoch_id, stateful};
use crate::ports::documents::SimDocuments;
use crate::ports::sinks::{SimLog, SimObjects};
use crate::ports::source::{SimSource, file_number};
use crate::ports::topic::SimTopicJournal;
use crate::run::{LOOKS, Outcome, QUIET, SimSpawner, new_file, partition_id};
use crate::tuning::{IDLE_TIMEOUT, sink_limits, sink_tuning, tuning};
use crate::world::{Producer, SimRecord, World};
use async_trait::async_trait;
use event_listener::Event;
use futures_util::FutureExt as _;
use sawlog_core::engine::{Engine, Parts, Route};
use sawlog_core::journal::{GenerationState, Journal, JournalState, Record};
use sawlog_core::moving::NothingToRescue;
use sawlog_core::ports::{Clock, DocumentOutcome, DocumentStore, Offer, SinkError, SinkPort};
use sawlog_core::reload::Wanted;
use sawlog_core::sink::{Sink, SinkIdentity, SinkTuning};
use sawlog_core::watch::{News, Watch};
use sawlog_core::{SinkId, SourceId};
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOURCE: &str = "files";
/// Partitions, all read by both.
const PARTITIONS: usize = 3;
/// Sinks that stay exact.
const EXACT: [&str; 3] = ["log", "objects", "second"];
/// What is down, or slow, now and then.
const FAILING: [&str; 5] = ["log", "documents", "objects", "second", "journal"];
const RECORDS_MAX: usize = 220;
/// Pause before a process that ended is started again.
const BACK_OFF: Duration = Duration::from_millis(60);
/// Polls of both while faults strike, at least; it goes on until they were struck down often enough.
const POLLS: usize = 10_000;
const STRIKES_MIN: u64 = 8;

/// One in ten seeds has twins.
pub fn is_one(seed: u64) -> bool {
    seed % 10 == 7
}

/// A document store that counts what it is asked to create.
struct Counted(SimDocuments, Arc<AtomicU64>);

#[async_trait]
impl DocumentStore for Counted {
    async fn place(&self) -> Result<String, SinkError> {
        self.0.place().await
    }

    fn admit(&self, names: &BTreeSet<u64>) {
        self.0.admit(names);
    }

    async fn create(&self, items: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.create(items).await
    }

    async fn exists(&self, offer: &Offer, row: u32) -> Result<bool, SinkError> {
        self.0.exists(offer, row).await
    }
}

/// A running process.
struct Process {
    executor: Executor,
    store: Arc<SimTopicJournal>,
    opened: Arc<Mutex<Opened>>,
    watch: Arc<Watch>,
    epoch: u64,
    /// Requests for documents so far.
    asked: Arc<AtomicU64>,
    /// Requests at the moment when it had met the other twice.
    asked_at_end: Option<u64>,
}

impl Process {
    fn engine(&self) -> Option<Arc<Engine>> {
        self.opened.lock().expect("one thread").engine.clone()
    }

    fn has_failed(&self) -> bool {
        let engine_failed = self.engine().is_some_and(|engine| engine.journal().failed().is_some());
        self.store.has_failed() || self.opened.lock().expect("one thread").failed || engine_failed
    }

    /// How often its sinks met the other.
    fn meetings(&self) -> u64 {
        let sinks = self.engine().map(|engine| engine.sinks()).unwrap_or_default();
        sinks.values().map(|sink| sink.status().twins).sum()
    }
}

/// One of the two.
struct Twin {
    number: usize,
    /// How many data directories it has lost.
    lost: u8,
    process: Option<Process>,
    frozen: bool,
    /// When it is started again.
    starts_at: Option<Duration>,
}

impl Twin {
    /// The name of its journal, and so of its data directory.
    fn directory(&self) -> PartitionId {
        PartitionId::derive("sim.twin", &[&[self.number as u8, self.lost]])
    }
}

struct Pair {
    world: World,
    twins: [Twin; 2],
    has_documents: bool,
    epoch: u64,
    written: usize,
}

fn names(has_documents: bool) -> Vec<&'static str> {
    EXACT.into_iter().chain(has_documents.then_some("documents")).collect()
}

fn wanted(epoch: u64, has_documents: bool) -> Wanted {
    let id = epoch_id(epoch);
    let (digests, called) = stateful(id, SOURCE);
    let fed = |sink: &str| (SinkId::new(sink), BTreeSet::from([SourceId::new(SOURCE)]));
    Wanted {
        id,
        stateful: BTreeMap::from([(SourceId::new(SOURCE), digests)]),
        names: BTreeMap::from([(SourceId::new(SOURCE), called)]),
        blobs: Vec::new(),
        sinks: names(has_documents).into_iter().map(fed).collect(),
        from_oldest: BTreeMap::new(),
        untold: BTreeSet::new(),
        remove: BTreeMap::new(),
    }
}

/// What the parts of one process share.
struct Ground {
    world: World,
    directory: PartitionId,
    skew: i64,
    store: Arc<SimTopicJournal>,
    watch: Arc<Watch>,
    asked: Arc<AtomicU64>,
    tasks: Spawned,
}

impl Ground {
    fn port(&self, name: &'static str) -> SinkPort {
        let (world, log) = (self.world.clone(), name.to_owned());
        match name {
            "log" => {
                let producer = Producer { id: log.clone(), cursors: log, writer: format!("{:?}", self.directory) };
                SinkPort::Transaction(Arc::new(SimLog::new(world, producer)))
            }
            "documents" => SinkPort::Documents(Arc::new(Counted(SimDocuments::new(world, 0), self.asked.clone()))),
            _ => SinkPort::Objects(Arc::new(SimObjects { world, sink: name, log })),
        }
    }

    fn sink(&self, name: &'static str, journal: &Arc<Journal>, clock: &Arc<dyn Clock>, more: &Arc<Event>) -> Arc<Sink> {
        // The dead letters of two processes are two files: refused rows are dropped here, and counted.
        // Claims outlive whoever is frozen, however clocks jump meanwhile.
        let tuning = SinkTuning { drop_refused: true, claim_life: Duration::from_secs(86_400), ..sink_tuning() };
        let (directory, watch) = (format!("{:?}", self.directory), self.watch.clone());
        let facts = SinkIdentity { directory, sink_epoch: "1".into(), watch, ..SinkIdentity::default() };
        let (id, limits, port) = (SinkId::new(name), sink_limits(&self.world), self.port(name));
        let (journal, clock, more) = (journal.clone(), clock.clone(), more.clone());
        Arc::new(Sink::new(id, port, limits, tuning, facts, Arc::new(Nowhere), journal, clock, None, None, more))
    }

    /// `None` where the journal failed.
    async fn start(self, epoch: u64, has_documents: bool) -> Option<Arc<Engine>> {
        let world = self.world.clone();
        let clock: Arc<dyn Clock> = Arc::new(SkewedClock { clock: SimClock(world.clone()), skew: self.skew });
        let journal = Arc::new(Journal::open(self.store.clone(), clock.clone()).await.ok()?);
        let reseated = Arc::new(Event::new());
        let made = |name: &'static str| (SinkId::new(name), self.sink(name, &journal, &clock, &reseated));
        let sinks = names(has_documents).into_iter().map(made).collect();
        let source = Arc::new(SimSource::new(world.clone(), SOURCE));
        let parts = Parts {
            journal,
            clock,
            chains: Arc::new(SimChains(world.clone(), None)),
            rescue: Arc::new(NothingToRescue),
            routes: vec![Route { id: SourceId::new(SOURCE), source, retired: None, idle_timeout: IDLE_TIMEOUT }],
            sinks,
            reseated,
            tuning: tuning(&world),
            common: narrow::common(&world),
            checkpoint_interval: Duration::from_millis(300),
            spawner: Arc::new(SimSpawner(self.tasks.clone())),
        };
        Engine::start(parts, wanted(epoch, has_documents)).await.ok()
    }
}

impl Pair {
    fn new(world: &World, has_documents: bool) -> Self {
        (0..PARTITIONS).for_each(|number| new_file(world, number, SOURCE));
        world.get().sources = BTreeSet::from([SOURCE]);
        let twin = |number| Twin { number, lost: 0, process: None, frozen: false, starts_at: Some(Duration::ZERO) };
        Self { world: world.clone(), twins: [twin(0), twin(1)], has_documents, epoch: 2, written: 0 }
    }

    fn start(&mut self, number: usize) {
        let (twin, spawned) = (&mut self.twins[number], Spawned::default());
        let (opened, watch) = (Arc::<Mutex<Opened>>::default(), Arc::<Watch>::default());
        watch.set_fragile(self.has_documents);
        let (directory, skew) = (twin.directory(), number as i64 * 1_700_000_000);
        let store = Arc::new(SimTopicJournal::new(&self.world, directory));
        let (asked, executor) = (Arc::<AtomicU64>::default(), Executor::new(spawned.clone()));
        let (world, tasks) = (self.world.clone(), spawned.clone());
        let ground =
            Ground { world, directory, skew, store: store.clone(), watch: watch.clone(), asked: asked.clone(), tasks };
        let (result, epoch, has_documents) = (opened.clone(), self.epoch, self.has_documents);
        spawned.push(Box::pin(async move {
            let engine = ground.start(epoch, has_documents).await;
            let mut opened = result.lock().expect("one thread");
            (opened.failed, opened.engine) = (engine.is_none(), engine);
        }));
        twin.starts_at = None;
        twin.process = Some(Process { executor, store, opened, watch, epoch, asked, asked_at_end: None });
        self.world.trace(|| format!("twin {number} starts in {directory:?}"));
    }

    /// How often one of them died in the middle of something; who ends by itself has no need to.
    fn strikes(&self) -> u64 {
        let outside = self.world.get();
        ["crash", "kill"].iter().filter_map(|what| outside.census.get(what)).sum()
    }

    /// The process is gone; something starts it again.
    fn end(&mut self, number: usize) {
        let now = self.world.get().elapsed;
        let twin = &mut self.twins[number];
        (twin.process, twin.frozen, twin.starts_at) = (None, false, Some(now + BACK_OFF));
        self.world.trace(|| format!("twin {number} ends"));
    }

    // ------------------------------------------------------------ the environment

    fn act(&mut self) {
        let number = self.world.rng(|r| r.below(2));
        match self.world.rng(|r| r.below(1_000)) {
            0..12 => self.write(),
            12..14 => self.rotate(),
            14 => {
                self.world.count("kill");
                self.end(number);
            }
            16..18 => self.twins[number].frozen = self.twins[number].process.is_some(),
            18..24 => self.twins[number].frozen = false,
            24..26 => self.toggle(),
            26..32 => self.world.land_late(),
            32..33 => {
                let jump = self.world.rng(|r| r.below(20_000)) as i64 - 10_000;
                self.world.get().wall_offset += jump * 1_000_000;
                self.world.count("clock_jump");
            }
            33..34 => self.epoch += 1 + self.world.rng(|r| r.below(2)) as u64,
            34..36 => self.reload(number),
            36..37 if self.world.rng(|r| r.hits(150)) => {
                self.end(number);
                self.twins[number].lost += 1;
                self.world.count("lost_directory");
            }
            _ => {}
        }
    }

    /// It is started again under the newest configuration.
    fn reload(&mut self, number: usize) {
        let is_old = |process: &Process| process.epoch < self.epoch;
        if self.twins[number].process.as_ref().is_some_and(is_old) {
            self.end(number);
            self.world.count("reload");
        }
    }

    fn write(&mut self) {
        if self.written >= RECORDS_MAX {
            return;
        }
        let (p, n) = self.world.rng(|r| (partition_id(r.below(PARTITIONS)), 1 + r.below(8)));
        let mut outside = self.world.get();
        let Some(file) = outside.files.iter().rposition(|file| file.partition == p) else { return };
        for _ in 0..n {
            let value = outside.rng.next();
            let (poison, refused) = (outside.rng.hits(25), outside.rng.hits(25));
            outside.files[file].records.push(SimRecord { value, poison, refused, void: None, is_late: false });
        }
        self.written += n;
        outside.file_wakers.drain(..).for_each(std::task::Waker::wake);
    }

    fn rotate(&self) {
        let number = self.world.rng(|r| r.below(PARTITIONS));
        let of_it = |file: &&crate::world::SimFile| file.partition == partition_id(number);
        if self.world.get().files.iter().filter(of_it).count() < 3 {
            new_file(&self.world, number, SOURCE);
            self.world.count("rotation");
        }
    }

    fn toggle(&self) {
        let (sink, slow) = self.world.rng(|r| (FAILING[r.below(FAILING.len())], r.hits(300)));
        let mut outside = self.world.get();
        if slow {
            outside.slow = if outside.slow.is_some() { None } else { Some(sink) };
        } else if !outside.down.remove(sink) {
            outside.down.insert(sink);
            *outside.census.entry("outage").or_default() += 1;
        }
    }

    // ------------------------------------------------------------ going on

    /// Starts who is due, ends whose journal failed and who says that it has to end.
    fn supervise(&mut self) {
        let now = self.world.get().elapsed;
        for number in 0..2 {
            if self.twins[number].starts_at.is_some_and(|at| now >= at) {
                self.start(number);
            }
            let Some(process) = &mut self.twins[number].process else { continue };
            let news: Vec<News> = std::iter::from_fn(|| process.watch.news().now_or_never()).collect();
            let (has_failed, mut has_to_end) = (process.has_failed(), false);
            for one in news {
                match one {
                    News::Met(_) => self.world.count("twin_met"),
                    News::End(_) => has_to_end = true,
                }
            }
            if has_to_end {
                self.world.count("twin_ended");
            }
            // A failure is noticed after a while; what runs until then runs on.
            if has_to_end || (has_failed && self.world.rng(|r| r.hits(20))) {
                self.end(number);
            }
        }
    }

    /// Polls one task of one process that is not frozen, or lets time pass; `false` where nothing can go on.
    fn step(&mut self) -> bool {
        self.supervise();
        let mut ready = Vec::new();
        for twin in self.twins.iter_mut().filter(|twin| !twin.frozen) {
            if twin.process.as_mut().is_some_and(|process| process.executor.can_step()) {
                ready.push(twin.number);
            }
        }
        if ready.is_empty() {
            return self.pass_time();
        }
        let number = ready[self.world.rng(|r| r.below(ready.len()))];
        if let Some(process) = &mut self.twins[number].process {
            process.executor.step(&self.world);
        }
        self.watch_meetings(number);
        if self.world.has_crashed() {
            self.world.crash_over();
            self.end(number);
        }
        true
    }

    fn pass_time(&self) -> bool {
        let waits = |twin: &Twin| twin.starts_at.is_some() || twin.process.as_ref().is_some_and(Process::has_failed);
        let passed = self.world.pass_time();
        if !passed && self.twins.iter().any(waits) {
            self.world.get().elapsed += BACK_OFF;
            return true;
        }
        passed
    }

    /// Whoever has documents to send and has met the other twice asks for none any more.
    fn watch_meetings(&mut self, number: usize) {
        let Some(process) = self.twins[number].process.as_mut().filter(|_| self.has_documents) else { return };
        if process.asked_at_end.is_none() && process.meetings() < 2 {
            return;
        }
        let asked = process.asked.load(Ordering::Relaxed);
        if asked > *process.asked_at_end.get_or_insert(asked) {
            self.world.fail(format!("documents: twin {number} met the other twice and goes on"));
        }
    }

    /// No fault strikes any more, and everything is written. Where there are documents, or by chance, somebody ends one for good.
    fn heal(&mut self) {
        while self.written < RECORDS_MAX {
            self.write();
        }
        {
            let mut outside = self.world.get();
            outside.faults = false;
            outside.down.clear();
            outside.slow = None;
        }
        self.twins.iter_mut().for_each(|twin| twin.frozen = false);
        let (ends, number) = self.world.rng(|r| (r.hits(500), r.below(2)));
        if ends || self.has_documents {
            self.end(number);
            self.twins[number].starts_at = None;
        }
        while !self.world.get().late.is_empty() {
            self.world.land_late();
        }
    }

    /// Engines of those who live, where each has delivered everything.
    fn drained(&self) -> Option<Vec<Arc<Engine>>> {
        let mut engines = Vec::new();
        for twin in &self.twins {
            match &twin.process {
                None if twin.starts_at.is_some() => return None,
                None => continue,
                Some(process) => engines.push(process.engine().filter(|_| !process.has_failed())?),
            }
        }
        let outside = self.world.get();
        let are_known = |engine: &Arc<Engine>| {
            let names = names_of(&engine.journal().state());
            let mut files = outside.files.iter().filter(|file| !file.records.is_empty());
            files.all(|file| names.contains_key(&file.number))
        };
        let is_done = !engines.is_empty() && engines.iter().all(are_known);
        drop(outside);
        (is_done && engines.iter().all(|engine| engine.is_drained())).then_some(engines)
    }

    fn drain(&mut self) -> Option<Vec<Arc<Engine>>> {
        let mut since = None;
        for poll in 0..400_000 {
            if u64::is_multiple_of(poll, LOOKS) {
                let now = self.world.get().elapsed;
                let drained = self.drained();
                since = drained.is_some().then(|| since.unwrap_or(now));
                if since.is_some_and(|since: Duration| now >= since + QUIET) {
                    return drained;
                }
            }
            if !self.step() {
                break;
            }
        }
        let processes = self.twins.iter().filter_map(|twin| twin.process.as_ref());
        let all: Vec<String> = processes.map(|process| describe(process.engine())).collect();
        self.world.fail(format!("stuck: twins: {all:#?}"));
        None
    }

    // ------------------------------------------------------------ what must be there

    fn check(&self, engines: &[Arc<Engine>]) -> Vec<String> {
        let mut outside = self.world.get();
        let archives = outside.topics.values().flat_map(|topic| &topic.archive).flat_map(oracle::parts);
        // Windows that the plugin held back may go with a state that only the other had: they are no input.
        let losses = archives.filter(|record| matches!(record, Record::Lost { from, to, .. } if from.pos < to.pos));
        let mut failures: Vec<String> = losses.map(|loss| format!("false loss: {loss:?}")).collect();
        for engine in engines {
            let state = engine.journal().state();
            let names = names_of(&state);
            for file in &mut outside.files {
                file.generation = names.get(&file.number).copied().unwrap_or(file.generation);
            }
            failures.extend(oracle::check_once(&outside, &state, &EXACT));
        }
        let documents: BTreeSet<u64> =
            outside.documents.values().filter(|row| is_first(row)).map(|r| r.origin).collect();
        for (file, pos, record) in oracle::records(&outside).filter(|_| self.has_documents) {
            let has_none = record.poison || (record.refused && refuser(pos) == "documents");
            if !has_none && !documents.contains(&record.value) {
                failures.push(format!("documents: lost {file:?} at {pos} beside a twin"));
            }
        }
        failures
    }
}

/// What a twin calls each file: who lost its directory while a sink was silent may give it a name of its own.
fn names_of(state: &JournalState) -> BTreeMap<u64, Generation> {
    let named =
        |(generation, known): (&Generation, &GenerationState)| Some((file_number(&known.identity)?, *generation));
    state.generations.iter().filter_map(named).collect()
}

/// The row that every record has that is not poison.
fn is_first(row: &SimRow) -> bool {
    row.slot == 0 && row.k == 0
}

/// Runs `seed`.
pub fn run(seed: u64, planted: Option<&'static str>, trace: bool) -> Outcome {
    let world = World::new(seed, planted, trace);
    {
        let mut outside = world.get();
        (outside.narrow, outside.syncs_fail, outside.calm) = (false, false, Some("journal"));
        // Whoever dies at every turn meets nobody twice.
        outside.crash_per_mille = outside.crash_per_mille.min(4);
    }
    let mut pair = Pair::new(&world, world.rng(|r| r.hits(850)));
    let mut polls = 0;
    while polls < POLLS || (pair.strikes() < STRIKES_MIN && polls < 10 * POLLS) {
        pair.act();
        pair.step();
        polls += 1;
    }
    pair.heal();
    let failures = pair.drain().map(|engines| pair.check(&engines)).unwrap_or_default();
    if trace {
        let outside = world.get();
        outside.topics.values().flat_map(|topic| &topic.archive).for_each(|record| println!("journal: {record:?}"));
    }
    world.get().failures.extend(failures);
    let outside = world.get();
    Outcome::of(&outside, pair.written)
}
