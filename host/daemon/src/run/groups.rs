//! Sources that share their partitions with other agents: membership in their groups, and which partitions run here. Each
//! partition that the group gives is opened by [`super::partition`], opened anew when its journal fails, and dropped when it is
//! taken: dropping an engine's tasks at any moment is safe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sawlog_core::SinkId;
use sawlog_core::shared::Common;
use sawlog_core::sink::Flow;
use sawlog_core::status::HeldUp;
use sawlog_kafka::PartitionRef;
use sawlog_kafka::journal::TopicJournal;
use sawlog_sources::kafka::config::KafkaSource;
use sawlog_sources::kafka::group::{Floors, GroupMember, Ownership, Troubles};
use sawlog_sources::registry::SourceOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::epochs::{Epoch, Epochs};
use super::figures::Figures;
use super::memory::Memory;
use super::partition::Running;
use super::pipelines::PluginBytes;
use super::slots::Slots;
use super::{LOOK, Options, RunError};
use crate::config::Config;
use crate::config::files::Files;
use crate::telemetry::hearer::Hearer;

/// Pause before a partition that failed is opened again: long enough for the group to say that it is another's now, or the one
/// who was fenced would fence the new owner in turn.
const BACK_OFF: Duration = Duration::from_secs(4);
/// Longest time for leaving the groups.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// How often a partition's floor is told to the group.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The configuration that partitions run under.
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// Its text, for the blobs.
    pub files: Files,
    /// Its plugins.
    pub bytes: PluginBytes,
    /// Its epoch.
    pub epoch: Epoch,
}

/// What all partitions share.
pub struct Base {
    /// The agent's id.
    pub agent: String,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// Chains of all configurations at hand.
    pub epochs: Arc<Epochs>,
    /// Where plugins run.
    pub plugins: sawlog_chain::Engine,
    /// Fields of each source's rows.
    pub fields: Slots,
    /// What all engines share.
    pub common: Common,
    /// The budget of memory.
    pub memory: Arc<Memory>,
    /// What `run` was asked for.
    pub options: Options,
    /// Who hears of delivered batches.
    pub hearer: Arc<Hearer>,
    /// Whether the agent is on its way out: what is opened from then on plans nothing.
    pub ending: AtomicBool,
}

/// A partition that the group gave.
#[derive(Default)]
struct Held {
    /// What runs, once it does.
    running: Option<Running>,
    /// Why the last attempt to run it failed.
    trouble: Option<String>,
}

/// What partitions counted since the process began that are another agent's now, or were opened anew: counters never fall.
#[derive(Debug, Clone, Default)]
pub struct Departed {
    /// Records and bytes that were planned.
    pub received: (u64, u64),
    /// How long lanes waited, by sink.
    pub waited: BTreeMap<SinkId, Duration>,
    /// How long lanes waited, by what else held them up.
    pub held_up: BTreeMap<HeldUp, Duration>,
    /// What each sink took.
    pub flows: BTreeMap<SinkId, Flow>,
    /// Failures of each sink by kind.
    pub failures: BTreeMap<SinkId, BTreeMap<&'static str, u64>>,
}

impl Departed {
    fn add(&mut self, partition: &Running) {
        for shared in partition.engine.sources() {
            let (records, bytes) = shared.figures().received();
            self.received = (self.received.0 + records, self.received.1 + bytes);
            for (sink, time) in shared.figures().backpressure() {
                *self.waited.entry(sink).or_default() += time;
            }
            for (by, time) in shared.figures().hold_ups() {
                *self.held_up.entry(by).or_default() += time;
            }
        }
        for (id, sink) in partition.engine.sinks() {
            for books in sink.intake.books(&partition.engine.journal().state()).into_values() {
                self.flows.entry(id.clone()).or_default().add(books.flow);
            }
            for (kind, n) in sink.status().failures {
                *self.failures.entry(id.clone()).or_default().entry(kind).or_default() += n;
            }
        }
    }
}

/// One source's membership.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) options: KafkaSource,
    pub(super) base: Arc<Base>,
    plan: watch::Receiver<Arc<Plan>>,
    partitions: Mutex<BTreeMap<PartitionRef, Held>>,
    joined: AtomicBool,
    troubles: Troubles,
    departed: Mutex<Departed>,
}

/// A source's membership.
struct Membership {
    group: Arc<Group>,
    /// It ends with the membership; `None` once the agent leaves.
    task: Option<Task>,
}

/// All sources that are members of groups.
pub struct Groups {
    base: Arc<Base>,
    members: Mutex<BTreeMap<String, Membership>>,
    plan: watch::Sender<Arc<Plan>>,
    leaving: watch::Sender<bool>,
}

/// What keeps partitions of a group from being read here.
#[derive(Debug)]
pub struct Trouble {
    /// The source.
    pub source: String,
    /// One word for programs.
    pub what: &'static str,
    /// A sentence for a person.
    pub detail: String,
}

/// The options of a source that shares its partitions with other agents.
pub fn shared_source(options: &SourceOptions) -> Option<&KafkaSource> {
    match options {
        SourceOptions::Kafka(kafka) if kafka.partitions.is_empty() => Some(kafka),
        _ => None,
    }
}

/// All sources of a configuration that share their partitions, by name.
pub fn shared_sources(config: &Config) -> impl Iterator<Item = (&str, &KafkaSource)> {
    config.sources.iter().filter_map(|(name, source)| Some((name.as_str(), shared_source(&source.options)?)))
}

impl Groups {
    /// Joins the groups of all sources that have one.
    pub fn join(base: Base, plan: Plan) -> Result<Self, RunError> {
        let (plan, leaving) = (watch::channel(Arc::new(plan)).0, watch::channel(false).0);
        let groups = Self { base: Arc::new(base), members: Mutex::default(), plan, leaving };
        let config = groups.plan.borrow().config.clone();
        for (name, options) in shared_sources(&config) {
            groups.join_one(name, options)?;
        }
        Ok(groups)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Membership>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> Vec<Arc<Group>> {
        self.lock().values().map(|member| member.group.clone()).collect()
    }

    /// Joins the group of one source, in place of the membership that it may have: what that one runs goes on from its journal.
    fn join_one(&self, name: &str, options: &KafkaSource) -> Result<(), RunError> {
        let member = GroupMember::join(options, &self.base.agent, name)?;
        let former = self.lock().remove(name);
        let group = Arc::new(Group {
            name: name.to_owned(),
            options: options.clone(),
            base: self.base.clone(),
            plan: self.plan.subscribe(),
            partitions: Mutex::default(),
            joined: AtomicBool::new(false),
            troubles: member.troubles(),
            departed: Mutex::new(former.map(Membership::end).unwrap_or_default()),
        });
        let task = Task(tokio::spawn(group.clone().follow(member, self.leaving.subscribe())));
        self.lock().insert(name.to_owned(), Membership { group, task: Some(task) });
        Ok(())
    }

    /// Delivers what partitions owe that `config` does not read any more; their input stays in its topics, and another agent of
    /// the group may go on with it. The sources that plan nothing more there; where a sink does not take it in time, all goes on
    /// as it was, and the error says who waits.
    pub async fn drain_what_goes(&self, config: &Config, max: Duration) -> Result<BTreeSet<String>, String> {
        let goes = |source: &str, place: &PartitionRef| match shared_sources(config).find(|(name, _)| *name == source) {
            None => true,
            Some((_, options)) => options.topics_pattern.is_none() && !options.topics.contains(&place.topic),
        };
        let going: Vec<_> = self.running().into_iter().filter(|(source, place, _)| goes(source, place)).collect();
        going.iter().for_each(|(_, _, partition)| partition.engine.wind_down());
        let sources: BTreeSet<String> = going.iter().map(|(source, ..)| source.clone()).collect();
        let until = tokio::time::Instant::now() + max;
        while let Some((source, place, _)) = going.iter().find(|(_, _, partition)| !partition.engine.is_delivered()) {
            if tokio::time::Instant::now() >= until {
                self.begin_again(&sources);
                return Err(format!(
                    "{source}: {place} is not read any more and still owes rows that a sink has not taken within {max:?}; \
                     mend the sink first, `sawlog status` names it"
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(sources)
    }

    /// Has sources go on that were drained for a configuration which was then refused.
    pub fn begin_again(&self, sources: &BTreeSet<String>) {
        for name in sources {
            let options = self.lock().get(name).map(|member| member.group.options.clone());
            if let Some(Err(error)) = options.map(|options| self.join_one(name, &options)) {
                tracing::error!(source = name, %error, "it can't join its group again; restart the agent: nothing is lost by it");
            }
        }
    }

    /// Joins groups that are new or whose options changed, and leaves those that are gone.
    pub fn change(&self, config: &Config) -> Result<(), RunError> {
        let gone: Vec<Membership> = {
            let mut members = self.lock();
            let wanted: BTreeSet<&str> = shared_sources(config).map(|(name, _)| name).collect();
            let names: Vec<String> = members.keys().filter(|name| !wanted.contains(name.as_str())).cloned().collect();
            names.iter().filter_map(|name| members.remove(name)).collect()
        };
        drop(gone); // without the lock
        for (name, options) in shared_sources(config) {
            let is_same = self.lock().get(name).is_some_and(|member| member.group.options == *options);
            if !is_same {
                self.join_one(name, options)?;
            }
        }
        Ok(())
    }

    /// The names of their sources.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Has every partition go on under another configuration; where only its addresses changed, as it is.
    pub fn take(&self, plan: Plan) {
        if self.plan.borrow().epoch.id != plan.epoch.id || self.plan.borrow().config.sinks != plan.config.sinks {
            self.plan.send_replace(Arc::new(plan));
        }
    }

    /// The configuration that partitions run under, which is the agent's own.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.borrow().clone()
    }

    /// Has every partition begin anew, as after a change of the configuration.
    pub fn open_anew(&self) {
        self.plan.send_modify(|_| {});
    }

    /// Every partition that runs here, with the name of its source.
    pub fn running(&self) -> Vec<(String, PartitionRef, Running)> {
        let of = |group: &Arc<Group>| {
            let partitions = group.lock();
            let running = partitions.iter().filter_map(|(place, held)| Some((place.clone(), held.running.clone()?)));
            running.map(|(place, one)| (group.name.clone(), place, one)).collect::<Vec<_>>()
        };
        self.groups().iter().flat_map(of).collect()
    }

    /// What the source of each group counts about itself, over its partitions here.
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        let of = |group: &Arc<Group>| {
            let partitions = group.lock();
            let sources = partitions.values().filter_map(|held| Some(Arc::downgrade(&held.running.as_ref()?.source)));
            (group.name.clone(), Figures::Kafka(sources.collect()))
        };
        self.groups().iter().map(of).collect()
    }

    /// What the partitions of each group counted that are not here any more, by source.
    pub fn departed(&self) -> BTreeMap<String, Departed> {
        let of = |group: &Arc<Group>| {
            (group.name.clone(), group.departed.lock().unwrap_or_else(PoisonError::into_inner).clone())
        };
        self.groups().iter().map(of).collect()
    }

    /// What is given and does not run yet: partitions, and groups that have not answered.
    pub fn unsettled(&self) -> Vec<String> {
        let of = |group: &Arc<Group>| {
            let silent = (!group.joined.load(Ordering::Relaxed)).then(|| format!("{} (joining its group)", group.name));
            let partitions = group.lock();
            let opening = partitions.iter().filter(|(_, held)| held.running.is_none());
            let opening = opening.map(|(place, _)| format!("{} {place} (being opened)", group.name));
            silent.into_iter().chain(opening).collect::<Vec<_>>()
        };
        self.groups().iter().flat_map(of).collect()
    }

    /// What keeps partitions from being read.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.groups().iter().flat_map(|group| group.troubles()).collect()
    }

    /// From here on, partitions that are opened plan nothing.
    pub fn end(&self) {
        self.base.ending.store(true, Ordering::Relaxed);
    }

    /// How much of a shutdown's `grace` is kept for leaving; none where there is nothing to leave.
    pub fn leaving_time(&self, grace: Duration) -> Duration {
        if self.lock().is_empty() { Duration::ZERO } else { (grace / 4).min(LEAVE_MAX) }
    }

    /// Ends all partitions, each with a last checkpoint, and leaves the groups, so that others need not wait for a session to
    /// run out; at most for `within`.
    pub async fn leave(&self, within: Duration) {
        let mut tasks: Vec<Task> = self.lock().values_mut().filter_map(|member| member.task.take()).collect();
        if tasks.is_empty() {
            return;
        }
        let leave = async {
            let partitions = self.running();
            join_all(partitions.iter().map(|(_, place, partition)| last_checkpoint(place, partition))).await;
            self.leaving.send_replace(true);
            join_all(tasks.iter_mut().map(|task| &mut task.0)).await
        };
        match tokio::time::timeout(within, leave).await {
            Ok(_) => tracing::info!("the consumer groups are left"),
            Err(_) => tracing::warn!(
                ?within,
                "a consumer group was not left in time; its partitions go to others when the session has run out"
            ),
        }
    }
}

impl Membership {
    /// Ends it, with all partitions that it runs: as a kill would. What they counted.
    fn end(mut self) -> Departed {
        drop(self.task.take());
        let held = std::mem::take(&mut *self.group.lock());
        held.into_values().for_each(|held| self.group.depart(Some(held)));
        self.group.departed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn last_checkpoint(place: &PartitionRef, partition: &Running) {
    if let Err(error) = partition.engine.keep_checkpoint().await {
        tracing::warn!(partition = %place, %error, "no last checkpoint; the next owner goes on from the one before");
    }
}

/// Ends a task with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionRef, Held>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many partitions are here.
    pub(super) fn partitions(&self) -> usize {
        self.lock().len()
    }

    fn troubles(&self) -> Vec<Trouble> {
        let trouble = |what, detail| Trouble { source: self.name.clone(), what, detail };
        let group = &self.options.group_id;
        let mut troubles = Vec::new();
        if let Some(error) = self.troubles.newest() {
            // The client says which kind of right is missing, and not on which topic.
            let topics = match &self.options.topics_pattern {
                Some(pattern) => format!("topics that match {}", pattern.as_str()),
                None => self.options.topics.join(", "),
            };
            troubles.push(trouble("group_down", format!("consumer group {group}, reading {topics}: {error}")));
        } else if !self.joined.load(Ordering::Relaxed) {
            let detail = format!("consumer group {group} has not answered yet: no partition is read");
            troubles.push(trouble("group_joining", detail));
        }
        for (place, held) in self.lock().iter().filter(|(_, held)| held.running.is_none()) {
            let Some(error) = &held.trouble else { continue };
            let again = format!("{place} can't be opened: {error}; it is tried again every {} s", BACK_OFF.as_secs());
            troubles.push(trouble("partition_waits", again));
        }
        troubles
    }

    /// Starts and ends partitions as the group says, until the agent leaves the group.
    async fn follow(self: Arc<Self>, mut member: GroupMember, mut leaving: watch::Receiver<bool>) {
        let mut tasks: BTreeMap<PartitionRef, Task> = BTreeMap::new();
        loop {
            let change = tokio::select! {
                change = member.change() => change,
                // The sender goes with the agent.
                _ = leaving.wait_for(|leaving| *leaving) => break,
            };
            match change {
                None => return,
                Some(Ownership::Given(places)) => {
                    for place in places {
                        self.lock().insert(place.clone(), Held::default());
                        let keep = self.clone().keep(place.clone(), member.floors());
                        tasks.insert(place, Task(tokio::spawn(keep)));
                    }
                    self.joined.store(true, Ordering::Relaxed);
                }
                Some(Ownership::Taken(places)) => {
                    for place in places {
                        tasks.remove(&place);
                        let held = self.lock().remove(&place);
                        self.depart(held);
                    }
                }
            }
        }
        let floors = member.floors();
        for (place, held) in self.lock().iter() {
            held.running.iter().for_each(|running| running.tell(place, &floors));
        }
        drop(tasks);
        self.lock().clear();
        member.leave().await;
    }

    /// Runs one partition until it is taken; after a failure from its journal again.
    async fn keep(self: Arc<Self>, place: PartitionRef, floors: Floors) {
        let mut plan = self.plan.clone();
        loop {
            let present = plan.borrow_and_update().clone();
            let trouble = match Running::open(&self, &place, &present).await {
                Ok((running, journal, _tasks)) => {
                    self.note(&place, Some(running.clone()), None);
                    let why = self.watch(&place, &running, &journal, &mut plan, &floors).await;
                    tracing::info!(partition = %place, why, "the partition is opened anew");
                    None
                }
                Err(error) => {
                    tracing::warn!(partition = %place, %error, "the partition can't be opened; trying again");
                    Some(error.to_string())
                }
            };
            self.note(&place, None, trouble);
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    /// Notes how a partition fares, where the group has not taken it meanwhile.
    fn note(&self, place: &PartitionRef, running: Option<Running>, trouble: Option<String>) {
        let before = self.lock().get_mut(place).map(|held| std::mem::replace(held, Held { running, trouble }));
        self.depart(before);
    }

    /// Keeps what a partition counted that does not run here any more.
    fn depart(&self, held: Option<Held>) {
        if let Some(running) = held.and_then(|held| held.running) {
            self.departed.lock().unwrap_or_else(PoisonError::into_inner).add(&running);
        }
    }

    /// Until the partition must be opened anew, and why.
    async fn watch(
        &self,
        place: &PartitionRef,
        running: &Running,
        journal: &TopicJournal,
        plan: &mut watch::Receiver<Arc<Plan>>,
        floors: &Floors,
    ) -> String {
        loop {
            tokio::select! {
                error = journal.failure() => return error.to_string(),
                error = running.engine.failure() => return error.to_string(),
                _ = plan.changed() => return "the configuration changed".to_owned(),
                () = tokio::time::sleep(TELL_EVERY) => running.tell(place, floors),
            }
        }
    }
}
