//! Sources that share their partitions with other agents. Each partition that the group gives is a little agent of its own: a
//! journal in the journal topic, a source, sinks under the partition's name, and an engine over them. It starts by fencing
//! whoever had the partition, goes on where the journal says, and is dropped when the partition is taken: dropping an engine's
//! tasks at any moment is safe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event;
use sawlog_core::engine::{Engine, Parts, Route};
use sawlog_core::journal::Journal;
use sawlog_core::ports::Clock;
use sawlog_core::shared::Tuning;
use sawlog_core::sink::{DeadLetters, Sink, SinkIdentity};
use sawlog_core::{SinkId, SourceId};
use sawlog_kafka::PartitionRef;
use sawlog_kafka::journal::{TopicJournal, TopicJournalOptions};
use sawlog_record::id::hash;
use sawlog_sources::kafka::KafkaTopics;
use sawlog_sources::kafka::config::KafkaSource;
use sawlog_sources::kafka::group::{Floors, GroupMember, Ownership, cluster};
use sawlog_sources::registry::SourceOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::epochs::{Epoch, Epochs};
use super::owned::{NothingToRescue, guard};
use super::parts::wanted;
use super::pipelines::PluginBytes;
use super::runtime::{Bounded, SystemClock};
use super::slots::Slots;
use super::{Options, RunError, sinks};
use crate::config::Config;
use crate::config::files::Files;

/// Time after which the broker aborts a journal's transaction that does not end; a killed owner's holds the next one back.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before a partition that failed is opened again: long enough for the group to say that it is another's now, or the one
/// who was fenced would fence the new owner in turn.
const BACK_OFF: Duration = Duration::from_secs(4);
/// How often a partition's floor is told to the group.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Least room for messages of one partition, in bytes.
const FETCH_BYTES_MIN: u64 = 1 << 20;

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
    /// What `run` was asked for.
    pub options: Options,
}

/// A partition that this agent has.
#[derive(Clone)]
pub struct Running {
    /// Its engine.
    pub engine: Arc<Engine>,
    /// Its source.
    pub source: Arc<KafkaTopics>,
}

type Partitions = BTreeMap<PartitionRef, Option<Running>>;

/// One source's membership.
struct Group {
    name: String,
    options: KafkaSource,
    base: Arc<Base>,
    plan: watch::Receiver<Arc<Plan>>,
    /// Partitions that the group gave; `None` until they run.
    partitions: Mutex<Partitions>,
    joined: AtomicBool,
}

/// All sources that are members of groups.
pub struct Groups {
    groups: Vec<Arc<Group>>,
    tasks: Vec<JoinHandle<()>>,
    plan: watch::Sender<Arc<Plan>>,
}

/// The sinks that rows of a source can reach, the dead letters among them.
fn sinks_of(config: &Config, source: &str) -> BTreeSet<SinkId> {
    config.subgraph(source).sinks.into_iter().chain([config.dead_letter()]).map(SinkId::new).collect()
}

/// The options of a source that shares its partitions with other agents.
pub fn shared_source(options: &SourceOptions) -> Option<&KafkaSource> {
    match options {
        SourceOptions::Kafka(kafka) if kafka.partitions.is_empty() => Some(kafka),
        _ => None,
    }
}

impl Groups {
    /// Joins the groups of all sources that have one.
    pub fn join(base: Base, plan: Plan) -> Result<Self, RunError> {
        let base = Arc::new(base);
        let (plan, watched) = watch::channel(Arc::new(plan));
        let (mut groups, mut tasks) = (Vec::new(), Vec::new());
        let sources = watched.borrow().config.sources.clone();
        for (name, source) in sources {
            let Some(options) = shared_source(&source.options) else { continue };
            let member = GroupMember::join(options, &base.agent, &name)?;
            let group = Arc::new(Group {
                name,
                options: options.clone(),
                base: base.clone(),
                plan: watched.clone(),
                partitions: Mutex::default(),
                joined: AtomicBool::new(false),
            });
            tasks.push(tokio::spawn(group.clone().follow(member)));
            groups.push(group);
        }
        Ok(Self { groups, tasks, plan })
    }

    /// Has every partition go on under another configuration; where only its addresses changed, as it is.
    pub fn take(&self, plan: Plan) {
        if self.plan.borrow().epoch.id != plan.epoch.id || self.plan.borrow().config.sinks != plan.config.sinks {
            self.plan.send_replace(Arc::new(plan));
        }
    }

    /// Every partition that runs here, with the name of its source.
    pub fn running(&self) -> Vec<(String, PartitionRef, Running)> {
        let of = |group: &Arc<Group>| {
            let partitions = group.lock();
            let running = partitions.iter().filter_map(|(place, one)| Some((place.clone(), one.clone()?)));
            running.map(|(place, one)| (group.name.clone(), place, one)).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of).collect()
    }

    /// Whether every partition that was given runs, and each group has given some answer.
    pub fn is_settled(&self) -> bool {
        let settled =
            |group: &Arc<Group>| group.joined.load(Ordering::Relaxed) && group.lock().values().all(Option::is_some);
        self.groups.iter().all(settled)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Ends a task with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tasks of one partition's engine; they end with it.
struct Tasks(Arc<Bounded>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts and ends partitions as the group says.
    async fn follow(self: Arc<Self>, mut member: GroupMember) {
        let mut tasks: BTreeMap<PartitionRef, Task> = BTreeMap::new();
        while let Some(change) = member.change().await {
            match change {
                Ownership::Given(places) => {
                    for place in places {
                        self.lock().insert(place.clone(), None);
                        let keep = self.clone().keep(place.clone(), member.floors());
                        tasks.insert(place, Task(tokio::spawn(keep)));
                    }
                    self.joined.store(true, Ordering::Relaxed);
                }
                Ownership::Taken(places) => {
                    for place in places {
                        tasks.remove(&place);
                        self.lock().remove(&place);
                    }
                }
            }
        }
    }

    /// Runs one partition until it is taken; after a failure from its journal again.
    async fn keep(self: Arc<Self>, place: PartitionRef, floors: Floors) {
        let mut plan = self.plan.clone();
        loop {
            let present = plan.borrow_and_update().clone();
            match self.open(&place, &present).await {
                Ok((running, journal, _tasks)) => {
                    if let Some(here) = self.lock().get_mut(&place) {
                        *here = Some(running.clone());
                    }
                    let why = self.watch(&place, &running, &journal, &mut plan, &floors).await;
                    tracing::info!(partition = %place, why, "the partition is opened anew");
                }
                Err(error) => tracing::warn!(partition = %place, %error, "the partition can't be opened; trying again"),
            }
            if let Some(here) = self.lock().get_mut(&place) {
                *here = None;
            }
            tokio::time::sleep(BACK_OFF).await;
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
                () = tokio::time::sleep(TELL_EVERY) => {}
            }
            if let Some(lag) = running.source.lag().into_iter().next() {
                floors.raise(place, lag.floor);
            }
        }
    }

    async fn open(&self, place: &PartitionRef, plan: &Plan) -> Result<(Running, Arc<TopicJournal>, Tasks), RunError> {
        let (base, group) = (&self.base, &self.options.group_id);
        let options = TopicJournalOptions {
            topic: self.options.journal_topic.clone(),
            name: format!("{group}/{}/{place}", self.name),
            transaction_timeout: TRANSACTION_TIMEOUT,
        };
        let store = Arc::new(TopicJournal::new(cluster(&self.options, &base.agent, &self.name), options)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = Arc::new(Journal::open(store.clone(), clock.clone()).await?);
        let blobs = Epoch::store_blobs(&plan.files, &plan.bytes, &journal).await?;
        let (_, failures) = base.epochs.restore(&journal, &base.plugins, &base.fields).await;
        for failure in failures {
            tracing::error!(failure, partition = %place, "an older configuration is not at hand; the partition stops");
        }
        let source = KafkaTopics::open_given(&self.alone(place), &base.agent, &self.name, base.options.until_eof)?;
        let source = Arc::new(source);
        let reseated = Arc::new(Event::new());
        let sinks = self.sinks(place, plan, &store, &journal, &clock, &reseated)?;
        let tasks = Tasks(Arc::new(Bounded::default()));
        let parts = Parts {
            journal,
            clock,
            chains: base.epochs.clone(),
            rescue: Arc::new(NothingToRescue),
            routes: vec![Route { id: SourceId::new(&self.name), source: source.clone(), retired: None }],
            sinks,
            reseated,
            tuning: Tuning::default(),
            checkpoint_interval: plan.config.sections.checkpoint.interval.as_duration(),
            spawner: tasks.0.clone(),
        };
        let mut wanted = wanted(&plan.config, &plan.epoch);
        let source_id = SourceId::new(&self.name);
        wanted.sinks.retain(|_, sources| sources.contains(&source_id));
        wanted.sinks.values_mut().for_each(|sources| *sources = BTreeSet::from([source_id.clone()]));
        wanted.blobs = blobs;
        let engine = Engine::start(parts, wanted).await?;
        Ok((Running { engine, source }, store, tasks))
    }

    /// The source's options for one partition that it reads without a group.
    fn alone(&self, place: &PartitionRef) -> KafkaSource {
        let share = self.options.fetch_bytes_max.as_bytes() / self.lock().len().max(1) as u64;
        KafkaSource {
            topics: vec![place.topic.clone()],
            topics_pattern: None,
            partitions: vec![place.partition],
            instance_id: None,
            fetch_bytes_max: sawlog_settings::ByteSize::bytes(share.max(FETCH_BYTES_MIN)),
            ..self.options.clone()
        }
    }

    /// Sinks under the partition's own name: claims, cursors and transactional ids move with it.
    fn sinks(
        &self,
        place: &PartitionRef,
        plan: &Plan,
        store: &Arc<TopicJournal>,
        journal: &Arc<Journal>,
        clock: &Arc<dyn Clock>,
        reseated: &Arc<Event>,
    ) -> Result<BTreeMap<SinkId, Arc<Sink>>, RunError> {
        let (config, group) = (&plan.config, &self.options.group_id);
        let names = sinks_of(config, &self.name);
        let letters: BTreeMap<String, Arc<DeadLetters>> = names
            .iter()
            .filter(|name| config.is_dead_letter_sink(name.as_str()))
            .map(|name| (name.as_str().to_owned(), Arc::default()))
            .collect();
        let owner = hash("sawlog.moving", &[group.as_bytes(), self.name.as_bytes(), place.to_string().as_bytes()]);
        let mut made = BTreeMap::new();
        for id in names {
            let sink = &config.sinks[id.as_str()];
            let port = sinks::open_moving(id.as_str(), sink, group, place, &self.base.data_dir)?;
            let identity = SinkIdentity {
                directory: super::parts::hex(&owner[..16]),
                sink_epoch: super::parts::sink_epoch(sink)?,
            };
            let one = Sink::new(
                id.clone(),
                guard(port, store),
                sinks::limits(),
                sinks::tuning(sink),
                identity,
                journal.clone(),
                clock.clone(),
                sink.dead_letter.as_ref().and_then(|to| letters.get(to)).cloned(),
                letters.get(id.as_str()).cloned(),
                reseated.clone(),
            );
            made.insert(id, Arc::new(one));
        }
        Ok(made)
    }
}
