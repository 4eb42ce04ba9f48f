//! Partitions of a topic that move between agents of one group. Each agent opens what the group gives it: a journal in the
//! journal topic, sinks under the partition's own name, an engine over them. The group takes partitions from agents that live,
//! from agents that died, and from agents that are frozen and go on later without knowing; agents die at any effect, and their
//! journals fail. At the end the checker of the single node looks at each partition.

mod sleeper;

use crate::at_the_end::check_books;
use crate::exec::{Executor, Spawned};
use crate::narrow;
use crate::oracle;
use crate::plugin::SimRow;
use crate::ports::SimClock;
use crate::ports::chain::{SimChains, epoch_id, stateful};
use crate::ports::documents::SimDocuments;
use crate::ports::sinks::{SimLog, SimObjects};
use crate::ports::topic::{SimTopicJournal, SimTopicSource};
use crate::run::{LOOKS, Outcome, QUIET, SimSpawner};
use crate::tuning::{IDLE_TIMEOUT, sink_limits, sink_tuning, tuning};
use crate::world::{Producer, SimFile, SimRecord, World};
use async_trait::async_trait;
use event_listener::Event;
use sawlog_core::engine::{Engine, Parts, Route};
use sawlog_core::journal::Journal;
use sawlog_core::moving::{NothingToRescue, guard};
use sawlog_core::ports::{Clock, FormerSinks, Ownership, SinkPort};
use sawlog_core::reload::Wanted;
use sawlog_core::sink::{Sink, SinkIdentity, SinkTuning};
use sawlog_core::{SinkId, SourceId};
use sawlog_record::id::{Generation, PartitionId};
use sleeper::Absence;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOURCE: &str = "files";
const SINKS: [&str; 3] = ["log", "documents", "objects"];
/// What is down, or slow, now and then.
const FAILING: [&str; 4] = ["log", "documents", "objects", "journal"];
const RECORDS_MAX: usize = 220;
/// Pause before a partition whose journal failed is opened again.
const BACK_OFF: Duration = Duration::from_millis(60);
/// Polls of all agents while faults strike, at least; it goes on until agents have died often enough.
const POLLS: usize = 12_000;
const DEATHS_MIN: u64 = 10;

/// Agents' clocks differ.
pub struct SkewedClock {
    /// The world's.
    pub clock: SimClock,
    /// Nanoseconds that this one is ahead.
    pub skew: i64,
}

#[async_trait]
impl Clock for SkewedClock {
    fn now(&self) -> i64 {
        self.clock.now() + self.skew
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    fn nonce(&self) -> u64 {
        self.clock.nonce()
    }
}

/// What came of opening a partition, or of a process's start.
#[derive(Default)]
pub struct Opened {
    /// It runs.
    pub engine: Option<Arc<Engine>>,
    /// Its journal failed before.
    pub failed: bool,
}

/// A partition in the hands of an agent.
struct Held {
    executor: Executor,
    journal: Arc<SimTopicJournal>,
    opened: Arc<Mutex<Opened>>,
    epoch: u64,
}

/// A partition that the agent believes to be its own.
enum Share {
    Open(Held),
    /// Its journal failed.
    Waits(Duration),
}

#[derive(Default)]
struct Agent {
    shares: BTreeMap<usize, Share>,
    frozen: bool,
    /// What the group has taken from it and it has not heard of yet.
    taken: BTreeSet<usize>,
}

struct Group {
    world: World,
    agents: Vec<Agent>,
    /// By partition, who has it as the group knows.
    owners: Vec<Option<usize>>,
    epoch: u64,
    written: usize,
    deaths: u64,
}

fn partition_id(number: usize) -> PartitionId {
    PartitionId::derive("sim.topic", &[&[number as u8]])
}

fn wanted(epoch: u64) -> Wanted {
    let id = epoch_id(epoch);
    let (digests, names) = stateful(id, SOURCE);
    let fed = |sink: &str| (SinkId::new(sink), BTreeSet::from([SourceId::new(SOURCE)]));
    Wanted {
        id,
        stateful: BTreeMap::from([(SourceId::new(SOURCE), digests)]),
        names: BTreeMap::from([(SourceId::new(SOURCE), names)]),
        blobs: Vec::new(),
        sinks: SINKS.into_iter().map(fed).collect(),
        from_oldest: BTreeMap::new(),
        untold: BTreeSet::new(),
        remove: BTreeMap::new(),
    }
}

/// Sinks of partitions that move stay where they are.
pub struct Nowhere;

impl FormerSinks for Nowhere {
    fn open(&self, sink: &SinkId, _: &[u8]) -> Result<SinkPort, String> {
        Err(format!("{sink} was never anywhere else"))
    }
}

/// A sink under the partition's own name.
fn sink(
    world: &World,
    name: &'static str,
    (agent, number): (usize, usize),
    (store, journal, clock): (&Arc<SimTopicJournal>, &Arc<Journal>, &Arc<dyn Clock>),
    reseated: &Arc<Event>,
) -> Arc<Sink> {
    let (world, limits) = (world.clone(), sink_limits(world));
    let by_agent = world.get().planted == Some("producer_by_agent");
    let log = format!("{name}@{number}");
    let port = match name {
        "log" => {
            let id = if by_agent { format!("agent {agent}") } else { log.clone() };
            let producer = Producer { id, cursors: log, writer: format!("agent {agent}") };
            SinkPort::Transaction(Arc::new(SimLog::new(world, producer)))
        }
        "documents" => SinkPort::Documents(Arc::new(SimDocuments::new(world, 0))),
        _ => SinkPort::Objects(Arc::new(SimObjects { world, sink: name, log })),
    };
    let owner: Arc<dyn Ownership> = store.clone();
    // There is no dead-letter sink that moves: refused rows are dropped, and counted.
    // Claims outlive whoever is frozen, however clocks jump meanwhile.
    let tuning = SinkTuning { drop_refused: true, claim_life: Duration::from_secs(86_400), ..sink_tuning() };
    let directory = format!("moving {number}");
    let facts = SinkIdentity { directory, sink_epoch: "1".into(), moves: true, ..SinkIdentity::default() };
    let (id, former, reseated) = (SinkId::new(name), Arc::new(Nowhere), reseated.clone());
    let (journal, clock) = (journal.clone(), clock.clone());
    let port = guard(port, &owner);
    Arc::new(Sink::new(id, port, limits, tuning, facts, former, journal, clock, None, None, reseated))
}

impl Held {
    /// Takes the partition from whoever had it.
    fn open(world: &World, agent: usize, number: usize, epoch: u64) -> Self {
        let (spawned, opened) = (Spawned::default(), Arc::<Mutex<Opened>>::default());
        let store = Arc::new(SimTopicJournal::new(world, partition_id(number)));
        let executor = Executor::new(spawned.clone());
        let (world, journal, result, tasks) = (world.clone(), store.clone(), opened.clone(), spawned.clone());
        spawned.push(Box::pin(async move {
            let engine = start(&world, (agent, number), &store, epoch, tasks).await;
            let mut opened = result.lock().expect("one thread");
            (opened.failed, opened.engine) = (engine.is_none(), engine);
        }));
        Self { executor, journal, opened, epoch }
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.opened.lock().expect("one thread").engine.clone()
    }

    fn has_failed(&self) -> bool {
        let opened = self.opened.lock().expect("one thread");
        let engine_failed = opened.engine.as_ref().is_some_and(|engine| engine.journal().failed().is_some());
        self.journal.has_failed() || opened.failed || engine_failed
    }
}

/// `None` where the journal failed.
async fn start(
    world: &World,
    (agent, number): (usize, usize),
    store: &Arc<SimTopicJournal>,
    epoch: u64,
    tasks: Spawned,
) -> Option<Arc<Engine>> {
    let skew = agent as i64 * 1_700_000_000;
    let clock: Arc<dyn Clock> = Arc::new(SkewedClock { clock: SimClock(world.clone()), skew });
    let journal = Arc::new(Journal::open(store.clone(), clock.clone()).await.ok()?);
    let reseated = Arc::new(Event::new());
    let source = Arc::new(SimTopicSource::new(world, partition_id(number), agent));
    let made = |name: &'static str| {
        let one = sink(world, name, (agent, number), (store, &journal, &clock), &reseated);
        (SinkId::new(name), one)
    };
    let sinks = SINKS.into_iter().map(made).collect();
    let parts = Parts {
        journal,
        clock,
        chains: Arc::new(SimChains(world.clone(), None)),
        rescue: Arc::new(NothingToRescue),
        routes: vec![Route { id: SourceId::new(SOURCE), source, retired: None, idle_timeout: IDLE_TIMEOUT }],
        sinks,
        reseated,
        tuning: tuning(world),
        common: narrow::common(world),
        checkpoint_interval: Duration::from_millis(300),
        spawner: Arc::new(SimSpawner(tasks)),
    };
    Engine::start(parts, wanted(epoch)).await.ok()
}

impl Group {
    fn new(world: &World) -> Self {
        let (agents, partitions) = (2 + world.rng(|r| r.below(2)), 2 + world.rng(|r| r.below(2)));
        for number in 0..partitions {
            world.get().files.push(SimFile {
                number: number as u64,
                unsure: false,
                generation: Generation::derive("sim.topic", &[&[number as u8]]),
                partition: partition_id(number),
                source: SOURCE,
                records: Vec::new(),
                exists: true,
                held_by: None,
                unreadable_since: None,
            });
        }
        world.get().sources = BTreeSet::from([SOURCE]);
        let agents = (0..agents).map(|_| Agent::default()).collect();
        Self { world: world.clone(), agents, owners: vec![None; partitions], epoch: 2, written: 0, deaths: 0 }
    }

    // ------------------------------------------------------------ the group

    /// Gives a partition to an agent. Who had it hears of it at once, or, frozen, some time after it goes on.
    fn give(&mut self, number: usize, to: usize) {
        let from = self.owners[number].replace(to);
        if from == Some(to) {
            return;
        }
        self.world.count("moved");
        if let Some(former) = from.map(|from| &mut self.agents[from]) {
            match former.frozen {
                true => _ = former.taken.insert(number),
                false => _ = former.shares.remove(&number),
            }
        }
        let held = Held::open(&self.world, to, number, self.epoch);
        self.agents[to].taken.remove(&number);
        self.agents[to].shares.insert(number, Share::Open(held));
        self.world.trace(|| format!("partition {number} moves from {from:?} to {to}"));
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.agents.len()).filter(|agent| !self.agents[*agent].frozen).collect()
    }

    fn rebalance(&mut self) {
        let (alive, number) = (self.alive(), self.world.rng(|r| r.below(self.owners.len())));
        if alive.is_empty() {
            return;
        }
        let to = alive[self.world.rng(|r| r.below(alive.len()))];
        self.give(number, to);
    }

    /// The agent's process is gone; another begins with nothing, and the group gives its partitions to others one by one.
    fn kill(&mut self, agent: usize) {
        self.agents[agent] = Agent::default();
        self.owners.iter_mut().filter(|owner| **owner == Some(agent)).for_each(|owner| *owner = None);
        self.deaths += 1;
        self.world.trace(|| format!("agent {agent} dies"));
    }

    // ------------------------------------------------------------ the environment

    fn act(&mut self) {
        let agent = self.world.rng(|r| r.below(self.agents.len()));
        match self.world.rng(|r| r.below(1_000)) {
            0..12 => self.write(),
            12..16 => self.rebalance(),
            16..17 => {
                self.world.count("kill");
                self.kill(agent);
            }
            17..20 if !self.agents[agent].frozen => {
                self.world.count("frozen");
                self.agents[agent].frozen = true;
            }
            20..26 => self.agents[agent].frozen = false,
            26..34 => {
                // What was taken while it was frozen is dropped at last.
                let one = &mut self.agents[agent];
                if !one.frozen
                    && let Some(number) = one.taken.pop_first()
                {
                    one.shares.remove(&number);
                }
            }
            34..36 => self.toggle(),
            36..42 => self.world.land_late(),
            42..43 => {
                let jump = self.world.rng(|r| r.below(20_000)) as i64 - 10_000;
                self.world.get().wall_offset += jump * 1_000_000;
                self.world.count("clock_jump");
            }
            43..44 => self.epoch += 1 + self.world.rng(|r| r.below(2)) as u64,
            44..60 => self.own(),
            _ => {}
        }
    }

    /// Somebody gets what nobody has; who has it under an old configuration begins anew under the new one.
    fn own(&mut self) {
        let number = self.world.rng(|r| r.below(self.owners.len()));
        let Some(owner) = self.owners[number] else { return self.rebalance_one(number) };
        let agent = &mut self.agents[owner];
        let is_old = matches!(agent.shares.get(&number), Some(Share::Open(held)) if held.epoch < self.epoch);
        if is_old && !agent.frozen {
            agent.shares.insert(number, Share::Open(Held::open(&self.world, owner, number, self.epoch)));
            self.world.count("reload");
        }
    }

    fn rebalance_one(&mut self, number: usize) {
        let alive = self.alive();
        if !alive.is_empty() {
            let to = alive[self.world.rng(|r| r.below(alive.len()))];
            self.give(number, to);
        }
    }

    fn write(&mut self) {
        if self.written >= RECORDS_MAX {
            return;
        }
        let (file, n) = (self.world.rng(|r| r.below(self.owners.len())), 1 + self.world.rng(|r| r.below(8)));
        let mut outside = self.world.get();
        for _ in 0..n {
            let value = outside.rng.next();
            let (poison, refused) = (outside.rng.hits(25), outside.rng.hits(25));
            outside.files[file].records.push(SimRecord { value, poison, refused, void: None, is_late: false });
        }
        self.written += n;
        outside.file_wakers.drain(..).for_each(std::task::Waker::wake);
    }

    fn toggle(&self) {
        let sink = FAILING[self.world.rng(|r| r.below(FAILING.len()))];
        let slow = self.world.rng(|r| r.hits(300));
        let mut outside = self.world.get();
        if slow {
            outside.slow = if outside.slow.is_some() { None } else { Some(sink) };
        } else if !outside.down.remove(sink) {
            outside.down.insert(sink);
            *outside.census.entry("outage").or_default() += 1;
        }
    }

    // ------------------------------------------------------------ going on

    /// Reopens what failed, after a pause, for as long as the agent believes to have it.
    fn reopen(&mut self) {
        let now = self.world.get().elapsed;
        for (number, agent) in self.agents.iter_mut().enumerate().filter(|(_, agent)| !agent.frozen) {
            for (partition, share) in &mut agent.shares {
                match share {
                    // A failure is noticed after a while; what runs until then runs on.
                    Share::Open(held) if held.has_failed() && self.world.rng(|r| r.hits(20)) => {
                        self.world.count("journal_failed");
                        *share = Share::Waits(now + BACK_OFF);
                    }
                    Share::Waits(until) if now >= *until => {
                        *share = Share::Open(Held::open(&self.world, number, *partition, self.epoch));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Polls one task of one agent that is not frozen, or lets time pass; `false` where nothing can go on.
    fn step(&mut self) -> bool {
        self.reopen();
        let mut ready = Vec::new();
        for (number, agent) in self.agents.iter_mut().enumerate().filter(|(_, agent)| !agent.frozen) {
            for (partition, share) in &mut agent.shares {
                if let Share::Open(held) = share
                    && held.executor.can_step()
                {
                    ready.push((number, *partition));
                }
            }
        }
        if ready.is_empty() {
            let waits = |agent: &Agent| {
                agent.shares.values().any(|share| match share {
                    Share::Waits(_) => true,
                    Share::Open(held) => held.has_failed(),
                })
            };
            let passed = self.world.pass_time();
            if !passed && self.agents.iter().any(waits) {
                self.world.get().elapsed += BACK_OFF;
                return true;
            }
            return passed;
        }
        let (agent, partition) = ready[self.world.rng(|r| r.below(ready.len()))];
        if let Some(Share::Open(held)) = self.agents[agent].shares.get_mut(&partition) {
            held.executor.step(&self.world);
        }
        if self.world.has_crashed() {
            self.world.crash_over();
            self.kill(agent);
        }
        true
    }

    /// No fault strikes any more, everybody hears of everything, and each partition has an owner.
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
        for agent in &mut self.agents {
            agent.frozen = false;
        }
    }

    /// Frozen agents hear at last of what was taken, while the new owners go on.
    fn settle(&mut self) {
        for agent in &mut self.agents {
            for number in std::mem::take(&mut agent.taken) {
                agent.shares.remove(&number);
            }
        }
        for number in 0..self.owners.len() {
            if self.owners[number].is_none() {
                self.rebalance_one(number);
            }
        }
        while !self.world.get().late.is_empty() {
            self.world.land_late();
        }
    }

    fn engine(&self, number: usize) -> Option<Arc<Engine>> {
        match self.agents[self.owners[number]?].shares.get(&number)? {
            Share::Open(held) if !held.has_failed() => held.engine(),
            _ => None,
        }
    }

    fn is_drained(&self, number: usize) -> bool {
        let Some(engine) = self.engine(number) else { return false };
        let knows = {
            let (outside, state) = (self.world.get(), engine.journal().state());
            let file = &outside.files[number];
            file.records.is_empty() || outside.planted.is_some() || state.generations.contains_key(&file.generation)
        };
        knows && engine.is_drained()
    }

    fn drain(&mut self) -> bool {
        let mut since = None;
        for poll in 0..400_000 {
            if u64::is_multiple_of(poll, LOOKS) {
                let now = self.world.get().elapsed;
                let is_drained = (0..self.owners.len()).all(|number| self.is_drained(number));
                since = is_drained.then(|| since.unwrap_or(now));
                if since.is_some_and(|since: Duration| now >= since + QUIET) {
                    return true;
                }
            }
            if !self.step() {
                break;
            }
        }
        let stuck: Vec<usize> = (0..self.owners.len()).filter(|number| !self.is_drained(*number)).collect();
        let engines = stuck.iter().filter_map(|number| self.engine(*number));
        let sinks = engines.flat_map(|engine| engine.sinks().into_values().collect::<Vec<_>>());
        let sinks: Vec<String> =
            sinks.map(|s| format!("{} {:?} {:?}", s.id, s.status().last_error, s.intake.stopped())).collect();
        self.world.fail(format!("stuck: partitions {stuck:?}: {sinks:?}"));
        false
    }

    /// The checker of the single node, on what belongs to one partition.
    fn check(&self, number: usize) -> Vec<String> {
        let Some(engine) = self.engine(number) else { return vec![format!("partition {number} has no engine")] };
        check_books(&self.world, &engine);
        let view = World::new(0, None, false);
        {
            let (mut view, mut outside) = (view.get(), self.world.get());
            let id = partition_id(number);
            let mine = |rows: &[SimRow]| rows.iter().filter(|row| row.partition == id).copied().collect::<Vec<_>>();
            view.sources = outside.sources.clone();
            view.files = outside.files.iter().filter(|file| file.partition == id).cloned().collect();
            view.log = mine(&outside.log);
            view.documents = outside.documents.clone();
            view.documents.retain(|_, row| row.partition == id);
            let log = format!("objects@{number}/");
            let objects = outside.objects.iter().filter_map(|(key, rows)| Some((key.strip_prefix(&log)?, rows)));
            view.objects = objects.map(|(key, rows)| (format!("objects/{key}"), rows.clone())).collect();
            view.journal.archive = std::mem::take(&mut outside.topics.entry(id).or_default().archive);
        }
        let failures = oracle::check(&view.get(), &engine.journal().state());
        failures.into_iter().map(|failure| format!("partition {number}: {failure}")).collect()
    }
}

/// Runs `seed`.
pub fn run(seed: u64, planted: Option<&'static str>, trace: bool) -> Outcome {
    let world = World::new(seed, planted, trace);
    // What moves between agents is trouble enough.
    world.get().narrow = false;
    world.get().syncs_fail = false;
    let mut group = Group::new(&world);
    let mut polls = 0;
    while polls < POLLS || (group.deaths < DEATHS_MIN && polls < 10 * POLLS) {
        group.act();
        group.step();
        polls += 1;
    }
    group.heal();
    // Who was frozen goes on for a while before it hears that its partitions are others'.
    for _ in 0..200 {
        group.step();
    }
    group.settle();
    let is_drained = group.drain();
    if trace {
        let outside = world.get();
        outside.topics.values().flat_map(|topic| &topic.archive).for_each(|record| println!("journal: {record:?}"));
    }
    let mut failures: Vec<String> = Vec::new();
    let absence = if seed.is_multiple_of(2) { Absence::Sleep } else { Absence::Outage };
    if is_drained {
        failures.extend((0..group.owners.len()).flat_map(|n| group.check(n)));
        failures.extend(group.leave_and_come_back(absence));
    }
    world.get().failures.extend(failures);
    let outside = world.get();
    Outcome::of(&outside, group.written)
}
