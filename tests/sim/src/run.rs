//! One run: a world drawn from the seed, lives of the process that end in crashes, an environment that writes, rotates and
//! removes files, breaks sinks, turns clocks and reloads the configuration; then healing, draining, and the oracle.

mod desire;
mod operator;
mod outcome;
mod returning;

use desire::Desire;
pub use outcome::Outcome;

use crate::at_the_end::{check_books, describe};
use crate::directory::{back_up, lose_directory};
use crate::exec::{End, Executor, Spawned};
use crate::narrow;
use crate::oracle;
use crate::outages::{draw_budgets, toggle_crowded, toggle_down, toggle_rescue, toggle_slow};
use crate::places::{SimFormer, port};
use crate::ports::SimClock;
use crate::ports::chain::{AtHand, SimChains, epoch_id};
use crate::ports::journal::{self, SimJournalStore};
use crate::ports::source::{SimRescue, SimSource};
use crate::retired;
use crate::syncs;
use crate::tuning::{IDLE_TIMEOUT, sink_limits, sink_tuning, tuning};
use crate::world::{Outside, SimFile, SimRecord, World};
use event_listener::Event;
use futures_util::future::BoxFuture;
use sawlog_core::engine::{Change, Engine, Parts, Route, Spawner, StartError};
use sawlog_core::journal::Journal;
use sawlog_core::ports::Clock;
use sawlog_core::sink::{DeadLetters, Sink, SinkIdentity, SinkTuning};
use sawlog_core::{EpochId, SinkId, SourceId};
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tasks of a simulated process.
pub struct SimSpawner(pub Spawned);

impl Spawner for SimSpawner {
    fn spawn(&self, _: Option<PartitionId>, task: BoxFuture<'static, ()>) {
        self.0.push(task);
    }
}

/// What a life is made of, kept so that a reload can add to it.
struct Life {
    world: World,
    spawned: Spawned,
    engine: Arc<Mutex<Option<Arc<Engine>>>>,
    reseated: Arc<Event>,
    letters: Arc<DeadLetters>,
    /// The configurations that can be run.
    at_hand: Arc<AtHand>,
    /// The journal failed before there was an engine.
    failed: Arc<AtomicBool>,
    /// What the newest reload brought, the sources that it left, and the lock that makes reloads come one by one.
    desire: Arc<futures_util::lock::Mutex<(Desire, BTreeSet<&'static str>)>>,
}

impl Life {
    fn begin(world: &World, desire: &Desire) -> (Self, Executor) {
        world.begin_life();
        let life = Self {
            desire: Arc::new(futures_util::lock::Mutex::new((desire.clone(), desire.sources()))),
            world: world.clone(),
            spawned: Spawned::default(),
            engine: Arc::default(),
            reseated: Arc::default(),
            letters: Arc::default(),
            at_hand: Arc::default(),
            failed: Arc::default(),
        };
        let (world, engine, spawned) = (world.clone(), life.engine.clone(), life.spawned.clone());
        let (reseated, letters, desire) = (life.reseated.clone(), life.letters.clone(), desire.clone());
        let (failed, at_hand) = (life.failed.clone(), life.at_hand.clone());
        life.spawned.push(Box::pin(async move {
            let clock: Arc<dyn Clock> = Arc::new(SimClock(world.clone()));
            let journal = Journal::open(Arc::new(SimJournalStore(world.clone())), clock.clone()).await;
            let journal = Arc::new(journal.expect("what the core wrote reads back"));
            let wanted = desire.wanted(world.get().adds_from_oldest);
            at_hand.given(&journal, wanted.id);
            let known: BTreeSet<SinkId> =
                journal.state().sinks().cloned().chain(wanted.sinks.keys().cloned()).collect();
            let place = |id: &SinkId| desire.place(id);
            let make = |id: &SinkId| (id.clone(), sink(&world, (id, place(id)), &journal, &clock, &letters, &reseated));
            let sinks: BTreeMap<SinkId, Arc<Sink>> = known.iter().map(make).collect();
            let routes = routes(&world, &journal, &desire);
            let parts = Parts {
                journal,
                clock,
                // Where its directory is lost, a person brings configurations back.
                chains: Arc::new(SimChains(world.clone(), Some(at_hand).filter(|_| !world.get().keeps_all))),
                rescue: Arc::new(SimRescue(world.clone())),
                routes,
                sinks,
                reseated,
                tuning: tuning(&world),
                common: narrow::common(&world),
                checkpoint_interval: Duration::from_millis(if world.get().checks_often { 20 } else { 300 }),
                spawner: Arc::new(SimSpawner(spawned)),
            };
            let started = match Engine::start(parts, wanted).await {
                Ok(started) => started,
                Err(StartError::Journal(_)) => return failed.store(true, Ordering::Relaxed),
                Err(StartError::Refused(refusal)) => {
                    panic!("the environment asks for nothing that is refused: {refusal}")
                }
            };
            *engine.lock().expect("one thread") = Some(started);
        }));
        let executor = Executor::new(life.spawned.clone());
        (life, executor)
    }

    fn reload(&self, desire: &Desire) {
        let Some(engine) = self.engine.lock().expect("one thread").clone() else { return };
        let (world, letters, reseated) = (self.world.clone(), self.letters.clone(), self.reseated.clone());
        let (newest, desire, at_hand) = (self.desire.clone(), desire.clone(), self.at_hand.clone());
        self.spawned.push(Box::pin(async move {
            let mut guard = newest.lock().await;
            let (newest, running) = &mut *guard;
            if desire.epoch < newest.epoch {
                return;
            }
            let has_moved = |id: &SinkId| newest.place(id) != desire.place(id);
            let moved: BTreeSet<SinkId> = engine.sinks().into_keys().filter(has_moved).collect();
            moved.iter().for_each(|_| world.count("switch"));
            *newest = desire;
            let (wanted, anew) = (newest.wanted(world.get().adds_from_oldest), std::mem::take(&mut newest.anew));
            at_hand.given(engine.journal(), wanted.id);
            let have = engine.sinks();
            let clock: Arc<dyn Clock> = Arc::new(SimClock(world.clone()));
            let is_new = |id: &&SinkId| !have.contains_key(*id) || anew.contains(id.as_str()) || moved.contains(*id);
            let place = |id: &SinkId| newest.place(id);
            let make = |id: &SinkId| sink(&world, (id, place(id)), engine.journal(), &clock, &letters, &reseated);
            let sinks = wanted.sinks.keys().filter(is_new).map(make).collect();
            let mut routes = Vec::new();
            for name in newest.sources() {
                if running.contains(name) && !anew.contains(name) {
                    continue;
                }
                engine.end_source(&SourceId::new(name)).await;
                routes.push(route(&world, name, None));
            }
            *running = newest.sources();
            world.count("reload");
            anew.into_iter().for_each(|_| world.count("begun_anew"));
            let sources = newest.sources().into_iter().map(SourceId::new).collect();
            let change = Change { wanted, sources, sinks, routes };
            let before = engine.journal().state().histories.known.len();
            // A journal that failed takes no configuration; the process ends of it.
            if let Err(StartError::Refused(refusal)) = engine.reload(change).await {
                panic!("the environment asks for nothing that is refused: {refusal}");
            }
            let begun = engine.journal().state().histories.known.len().saturating_sub(before);
            (0..begun).for_each(|_| world.count("history"));
        }));
    }

    /// Whether the journal failed: whoever runs the process sees that it ends.
    fn has_failed(&self) -> bool {
        let engine = self.engine.lock().expect("one thread").clone();
        self.failed.load(Ordering::Relaxed) || engine.is_some_and(|engine| engine.journal().failed().is_some())
    }

    fn is_drained(&self) -> bool {
        let Some(engine) = self.engine.lock().expect("one thread").clone() else { return false };
        // A source that has just begun may not have said yet what it has.
        let (outside, state) = (self.world.get(), engine.journal().state());
        let is_read = |f: &&SimFile| f.exists && !f.records.is_empty() && outside.sources.contains(f.source);
        let are_known = outside.files.iter().filter(is_read).all(|f| state.generations.contains_key(&f.generation));
        drop((outside, state));
        are_known && engine.is_drained()
    }
}

fn route(world: &World, name: &'static str, retired: Option<EpochId>) -> Route {
    Route {
        id: SourceId::new(name),
        source: Arc::new(SimSource::next(world.clone(), name)),
        retired,
        idle_timeout: IDLE_TIMEOUT,
    }
}

/// The sources of the configuration, and a removed one that the journal still knows: under the newest configuration that has it.
fn routes(world: &World, journal: &Journal, desire: &Desire) -> Vec<Route> {
    let mut routes: Vec<Route> = desire.sources().into_iter().map(|name| route(world, name, None)).collect();
    let state = journal.state();
    let is_known = state.generations.values().any(|g| g.source.as_str() == "more");
    if is_known && !desire.more {
        let has =
            |id: &EpochId| state.third.stateful.get(id).is_some_and(|of| of.keys().any(|id| id.as_str() == "more"));
        let newest = state.epochs.iter().rev().map(|epoch| epoch.id).find(has);
        // Where it is not kept, what it has accepted can't be run.
        routes.push(route(world, "more", Some(newest.unwrap_or(epoch_id(0)))));
    }
    routes
}

fn sink(
    world: &World,
    (id, place): (&SinkId, usize),
    journal: &Arc<Journal>,
    clock: &Arc<dyn Clock>,
    letters: &Arc<DeadLetters>,
    reseated: &Arc<Event>,
) -> Arc<Sink> {
    let limits = sink_limits(world);
    let drop_oldest = world.get().budgets.get(id.as_str()).copied();
    let port = port(world, id.as_str(), place);
    // Fewer claims than a full vector lives for: whoever deletes by number alone deletes what is needed.
    let tuning = SinkTuning { drop_oldest, claims_kept_min: 1, ..sink_tuning() };
    let config = Arc::new(vec![place as u8]);
    let directory = format!("directory {}", world.get().directory);
    let facts = SinkIdentity { directory, sink_epoch: "1".into(), config, ..SinkIdentity::default() };
    let feeds_letters = id.as_str() == "dead";
    Arc::new(Sink::new(
        id.clone(),
        port,
        limits,
        tuning,
        facts,
        Arc::new(SimFormer(world.clone())),
        journal.clone(),
        clock.clone(),
        (!feeds_letters).then(|| letters.clone()),
        feeds_letters.then(|| letters.clone()),
        reseated.clone(),
    ))
}

// ---------------------------------------------------------------- the environment

struct Environment {
    partitions: usize,
    records_max: usize,
    written: usize,
    desire: Desire,
    /// A person has a sink forget what it owes.
    forgets: bool,
    /// A person has a source deliver again what it has delivered.
    seeks: bool,
    /// Places of sinks change in the configuration.
    moves: bool,
    /// The second source comes back while it ends by itself, with a file to rescue that there is no room for.
    returns: bool,
}

impl Environment {
    fn new(world: &World) -> Self {
        let partitions = 3 + world.rng(|r| r.below(2));
        let (more, file_joined) = (world.rng(|r| r.hits(500)), false);
        let desire =
            Desire { epoch: 2, second: None, more, file_joined, anew: BTreeSet::new(), elsewhere: BTreeSet::new() };
        let environment = Self {
            partitions,
            records_max: 220,
            written: 0,
            desire,
            forgets: false,
            seeks: false,
            moves: false,
            returns: false,
        };
        world.get().sources = environment.desire.sources();
        (0..partitions).for_each(|p| new_file(world, p, source_of(p)));
        environment
    }

    /// Perhaps does something; tells whether a reload is wanted.
    fn act(&mut self, world: &World) -> bool {
        if self.returns && returning::is_due(world, self.desire.more) {
            return self.toggle_more(world);
        }
        match world.rng(|r| r.below(1000)) {
            0..16 => self.write(world),
            16..18 => self.rotate(world),
            18..19 => _ = vanish(world, |_, _| true),
            19..22 if self.returns && !self.desire.more => {}
            19..21 => toggle_down(world),
            21..22 => toggle_slow(world),
            22..23 => {
                let jump = world.rng(|r| r.below(20_000)) as i64 - 10_000;
                world.get().wall_offset += jump * 1_000_000;
                world.count("clock_jump");
            }
            23..27 => world.land_late(),
            27..28 => return self.change(world),
            28..30 => toggle_crowded(world),
            30..31 => self.forgets = world.rng(|r| r.hits(300)),
            33..34 => self.seeks = world.rng(|r| r.hits(300)),
            31..33 if self.moves => return self.switch(world),
            34..36 => toggle_rescue(world),
            _ => {}
        }
        false
    }

    fn write(&mut self, world: &World) {
        if self.written >= self.records_max {
            return;
        }
        let p = partition_id(world.rng(|r| r.below(self.partitions)));
        let n = 1 + world.rng(|r| r.below(8));
        let mut outside = world.get();
        let late_bytes = outside.rng.hits(100);
        let files: Vec<usize> =
            (0..outside.files.len()).filter(|i| outside.files[*i].partition == p && outside.files[*i].exists).collect();
        let Some(index) = (if late_bytes { files.first() } else { files.last() }).copied() else { return };
        let is_late = outside.files[index + 1..].iter().any(|file| file.partition == p);
        let records = (0..n).map(|_| {
            let value = outside.rng.next();
            let (poison, refused) = (outside.rng.hits(25), outside.rng.hits(25));
            SimRecord { value, poison, refused, void: None, is_late }
        });
        let records = records.collect();
        syncs::push(&mut outside, index, records);
        self.written += n;
        outside.file_wakers.drain(..).for_each(std::task::Waker::wake);
    }

    fn rotate(&self, world: &World) {
        let partition = world.rng(|r| r.below(self.partitions));
        if world.get().files.iter().filter(|f| f.partition == partition_id(partition)).count() < 5 {
            new_file(world, partition, source_of(partition));
            world.count("rotation");
        }
    }

    /// Some sinks are to deliver at their other place.
    fn switch(&mut self, world: &World) -> bool {
        self.desire.anew.clear();
        for sink in ["log", "documents", "objects", "second", "file", "dead"] {
            if world.rng(|r| r.hits(400)) && !self.desire.elsewhere.remove(sink) {
                self.desire.elsewhere.insert(sink);
            }
        }
        self.desire.epoch += 1;
        true
    }

    /// The second source goes, or comes: it may find itself as it was, on its way out.
    fn toggle_more(&mut self, world: &World) -> bool {
        self.desire.anew.clear();
        self.desire.more = !self.desire.more;
        if self.returns && !self.desire.more {
            returning::leave(world);
        }
        self.desire.epoch += 1;
        world.get().sources = self.desire.sources();
        true
    }

    fn change(&mut self, world: &World) -> bool {
        self.desire.anew.clear();
        match world.rng(|r| r.below(7)) {
            0 => self.desire.epoch += 1,
            1 => self.desire.epoch += 2,
            2 => {
                self.desire.second = Some(self.desire.second.is_none());
                // What it may want of what was read before goes in this moment, the beginning of it long gone.
                if world.rng(|r| r.hits(300)) {
                    let trimmed = world.get().trimmed.clone();
                    vanish(world, |file, _| trimmed.get(&file.generation).is_some_and(|floor| *floor < file.end()));
                }
            }
            3 => return self.toggle_more(world),
            4 => self.desire.file_joined = true,
            _ => {
                let names = ["log", "documents", "objects", "file", "dead", "files", "more"];
                self.desire.anew = names.into_iter().filter(|_| world.rng(|r| r.hits(350))).collect();
            }
        }
        self.desire.epoch += 1;
        world.get().sources = self.desire.sources();
        true
    }
}

/// The second partition is the second source's.
fn source_of(partition: usize) -> &'static str {
    if partition == 1 { "more" } else { "files" }
}

/// The partition of this number.
pub fn partition_id(number: usize) -> PartitionId {
    PartitionId::derive("sim", &[&[number as u8]])
}

/// A partition's next file.
pub fn new_file(world: &World, partition: usize, source: &'static str) {
    let mut outside = world.get();
    let number = outside.files.len() as u64;
    outside.files.push(SimFile {
        number,
        // Until it is opened it is nobody's.
        generation: Generation::derive("sim", &[&number.to_le_bytes()]),
        unsure: false,
        partition: partition_id(partition),
        source,
        records: Vec::new(),
        exists: true,
        held_by: None,
        unreadable_since: None,
    });
}

/// An old file loses its name, one of those that may go in this life; `false` where there is none.
fn vanish(world: &World, may_go: impl Fn(&SimFile, u64) -> bool) -> bool {
    let mut outside = world.get();
    let newest: BTreeMap<PartitionId, usize> =
        outside.files.iter().enumerate().map(|(i, f)| (f.partition, i)).collect();
    let can_go = |f: &SimFile| f.exists && may_go(f, outside.life);
    let old: Vec<usize> =
        (0..outside.files.len()).filter(|i| can_go(&outside.files[*i]) && !newest.values().any(|n| n == i)).collect();
    if old.is_empty() {
        return false;
    }
    let index = old[outside.rng.below(old.len())];
    let Outside { life, journal, files, .. } = &mut *outside;
    files[index].exists = false;
    if files[index].held_by != Some(*life) {
        files[index].lose(journal);
    }
    let vanished = format!("{:?} vanishes", files[index]);
    outside.file_wakers.drain(..).for_each(std::task::Waker::wake);
    *outside.census.entry("vanished").or_default() += 1;
    drop(outside);
    world.trace(|| vanished);
    true
}

// ---------------------------------------------------------------- the run

/// Files that vanished while the dead process held them, and were neither let go nor rescued to their end, can't be read any more. What
/// it had written off while it held them was no loss: it could have read them.
fn after_crash(world: &World) {
    journal::crash(world);
    let mut outside = world.get();
    let Outside { life, journal, files, .. } = &mut *outside;
    for file in files.iter_mut().filter(|f| !f.exists) {
        let is_held = file.held_by.take() == Some(*life);
        if is_held && !oracle::is_done_with(journal, file) {
            file.lose(journal);
        }
    }
}

/// The lives behind which the data directory is lost, and copied. Three seeds of sixteen lose it, not their id; most of these late:
/// histories then end behind the backup.
fn loss_of(world: &World, seed: u64, lives: usize) -> (Option<usize>, Option<usize>) {
    let loses = [0, 5, 8].contains(&(seed % 16));
    let has_backup = loses && seed % 32 != 8;
    let loses_in = if has_backup { lives - 3..lives - 1 } else { 2..lives - 2 };
    let loses_at = loses.then(|| loses_in.start + world.rng(|r| r.below(loses_in.len())));
    let backs_up_at = loses_at.filter(|_| has_backup).map(|at| at - (2 + world.rng(|r| r.below(4))));
    (loses_at, backs_up_at)
}

/// Runs `seed`: one of five has partitions that move between agents, one of ten two processes under one id.
pub fn run(seed: u64, planted: Option<&'static str>, trace: bool) -> Outcome {
    sawlog_core::mutation::plant(planted);
    if seed % 5 == 3 {
        return crate::moving::run(seed, planted, trace);
    }
    if crate::twins::is_one(seed) {
        return crate::twins::run(seed, planted, trace);
    }
    let world = World::new(seed, planted, trace);
    let mut environment = Environment::new(&world);
    draw_budgets(&world, seed);
    let lives = 10 + world.rng(|r| r.below(6));
    let (loses_at, backs_up_at) = loss_of(&world, seed, lives);
    world.get().keeps_all = loses_at.is_some();
    // With a lost directory nothing is promised where places change too.
    world.get().adds_from_oldest = loses_at.is_none() && seed % 4 != 1;
    environment.returns = seed % 11 == 3;
    if environment.returns {
        returning::calm(&world);
    }
    environment.moves = loses_at.is_none() && seed.is_multiple_of(2);
    for number in 0..lives {
        let (life, mut executor) = Life::begin(&world, &environment.desire);
        if seed % 9 == 4 && number > 0 && world.rng(|r| r.hits(800)) {
            world.crash_in_recovery();
        }
        let polls = 600 + world.rng(|r| r.below(2_500));
        let end = executor.run(&world, polls, |world| {
            if environment.act(world) {
                life.reload(&environment.desire);
            }
            if std::mem::take(&mut environment.forgets) && loses_at.is_none() {
                life.forget();
            }
            if std::mem::take(&mut environment.seeks) && loses_at.is_none() {
                life.seek_back();
            }
            // It is noticed after a while; what runs until then runs on.
            life.has_failed() && world.rng(|r| r.hits(50))
        });
        if end != End::Crashed {
            world.count("kill");
        }
        drop(executor);
        after_crash(&world);
        if backs_up_at == Some(number) {
            back_up(&world);
        }
        if loses_at == Some(number) {
            lose_directory(&world);
        }
    }
    heal(&world, &mut environment);
    let records = environment.written;
    let drained = drain(&world, &environment);
    let failures = match drained {
        Some(engine) if loses_at.is_some() => {
            oracle::check_once(&world.get(), &engine.journal().state(), &["log", "objects"])
        }
        Some(engine) => oracle::check(&world.get(), &engine.journal().state()),
        None => Vec::new(),
    };
    let failures = failures.into_iter().chain(start_retired(&world, &mut environment, seed)).collect::<Vec<_>>();
    let mut outside = world.get();
    if trace {
        outside.journal.archive.iter().for_each(|record| println!("journal: {record:?}"));
    }
    outside.failures.extend(failures);
    Outcome::of(&outside, records)
}

/// In some seeds the id is retired when everything is delivered, and the process starts all the same, with more to deliver.
fn start_retired(world: &World, environment: &mut Environment, seed: u64) -> Vec<String> {
    after_crash(world);
    let Some(ended) = retired::end(world, seed, environment.desire.place(&SinkId::new("objects"))) else {
        return Vec::new();
    };
    environment.records_max += 20;
    heal(world, environment);
    let (_life, mut executor) = Life::begin(world, &environment.desire);
    executor.run(world, retired::POLLS, |_| false);
    retired::check(world, &ended)
}

fn heal(world: &World, environment: &mut Environment) {
    while environment.written < environment.records_max {
        environment.write(world);
    }
    let mut outside = world.get();
    outside.faults = false;
    outside.down.clear();
    outside.slow = None;
    outside.crowded = false;
    // Nothing waits for ever for that, whatever goes away.
    outside.rescue_is_full = outside.rng.hits(250);
}

/// How long nothing must be left to do, in virtual time.
pub const QUIET: Duration = Duration::from_millis(400);

/// Polls between two looks at whether everything is drained: a look takes longer than a poll.
pub const LOOKS: u64 = 8;

/// The last life: everything must drain in bounded time.
fn drain(world: &World, environment: &Environment) -> Option<Arc<Engine>> {
    while !world.get().late.is_empty() {
        world.land_late();
    }
    let (life, mut executor) = Life::begin(world, &environment.desire);
    let (mut drained, mut since, mut polls) = (false, None, 0u64);
    // Whoever is not struck by anything saves what goes away under its hands.
    let mut is_to_vanish = world.rng(|r| r.hits(500));
    let end = executor.run(world, 400_000, |_| {
        is_to_vanish = is_to_vanish && !vanish(world, |f, life| f.held_by == Some(life));
        polls += 1;
        if !polls.is_multiple_of(LOOKS) {
            return false;
        }
        // For a moment it may seem so: what a source is about to find is nobody's yet.
        let now = world.get().elapsed;
        since = life.is_drained().then(|| since.unwrap_or(now));
        drained = since.is_some_and(|since: Duration| now >= since + QUIET);
        drained
    });
    if !drained {
        world.fail(format!("stuck ({end:?}): {}", describe(life.engine.lock().expect("one thread").clone())));
    }
    let engine = life.engine.lock().expect("one thread").clone().filter(|_| drained);
    engine.iter().for_each(|engine| check_books(world, engine));
    engine
}
