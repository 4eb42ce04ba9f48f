//! One partition that a group gave: a little agent of its own. A journal in the journal topic, a source, sinks under the
//! partition's name, and an engine over them. It starts by fencing whoever had the partition, and goes on where the journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_listener::Event;
use sawlog_core::engine::{Engine, Parts, Route};
use sawlog_core::journal::Journal;
use sawlog_core::moving::{NothingToRescue, guard};
use sawlog_core::ports::{Clock, FormerSinks, Ownership};
use sawlog_core::sink::{DeadLetters, Sink, SinkIdentity};
use sawlog_core::{SinkId, SourceId};
use sawlog_kafka::PartitionRef;
use sawlog_kafka::journal::{TopicJournal, TopicJournalOptions};
use sawlog_record::id::hash;
use sawlog_sources::kafka::KafkaTopics;
use sawlog_sources::kafka::config::KafkaSource;
use sawlog_sources::kafka::group::{Floors, cluster};

use super::epochs::Epoch;
use super::groups::{Group, Plan};
use super::parts::{tuning, wanted};
use super::runtime::{Bounded, SystemClock};
use super::timed::{self, TimedChains};
use super::{RunError, sinks};
use crate::config::Config;

/// Time after which the broker aborts a journal's transaction that does not end; a killed owner's holds the next one back.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Least room for messages of one partition, in bytes.
const FETCH_BYTES_MIN: u64 = 1 << 20;

/// A partition that runs here.
#[derive(Clone)]
pub struct Running {
    /// Its engine.
    pub engine: Arc<Engine>,
    /// Its source.
    pub source: Arc<KafkaTopics>,
}

/// The tasks of one partition's engine; they end with it.
pub struct Tasks(Arc<Bounded>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The sinks that rows of a source can reach, the dead letters among them.
fn sinks_of(config: &Config, source: &str) -> BTreeSet<SinkId> {
    config.subgraph(source).sinks.into_iter().chain([config.dead_letter()]).map(SinkId::new).collect()
}

impl Running {
    /// Takes the partition from whoever had it, and starts it.
    pub(super) async fn open(
        group: &Group,
        place: &PartitionRef,
        plan: &Plan,
    ) -> Result<(Self, Arc<TopicJournal>, Tasks), RunError> {
        let base = &group.base;
        let options = TopicJournalOptions {
            topic: group.options.journal_topic.clone(),
            name: format!("{}/{}/{place}", group.options.group_id, group.name),
            transaction_timeout: TRANSACTION_TIMEOUT,
        };
        let store = Arc::new(TopicJournal::new(cluster(&group.options, &base.agent, &group.name), options)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = Arc::new(Journal::open(store.clone(), clock.clone()).await?);
        let blobs = Epoch::store_blobs(&plan.files, &plan.bytes, &journal).await?;
        let (_, failures) = base.epochs.restore(&journal, &base.plugins, &base.fields).await;
        for failure in failures {
            tracing::error!(failure, partition = %place, "an older configuration is not at hand; the partition stops");
        }
        let until_eof = base.options.until_eof;
        let source = Arc::new(KafkaTopics::open_given(&alone(group, place), &base.agent, &group.name, until_eof)?);
        let reseated = Arc::new(Event::new());
        let sinks = open_sinks(group, place, plan, (&store, &journal, &clock), &reseated)?;
        let tasks = Tasks(Arc::new(Bounded::default()));
        let source_id = SourceId::new(&group.name);
        let parts = Parts {
            journal,
            clock,
            chains: Arc::new(TimedChains {
                chains: (base.options.between)(base.epochs.clone()),
                stages: base.hearer.stages.clone(),
            }),
            rescue: Arc::new(NothingToRescue),
            routes: vec![Route {
                id: source_id.clone(),
                source: source.clone(),
                retired: None,
                idle_timeout: group.options.idle_timeout.as_duration(),
            }],
            sinks,
            reseated,
            tuning: tuning(&plan.config),
            common: base.common.clone(),
            checkpoint_interval: plan.config.sections.checkpoint.interval.as_duration(),
            spawner: tasks.0.clone(),
        };
        let mut wanted = wanted(&plan.config, &plan.epoch);
        wanted.sinks.retain(|_, sources| sources.contains(&source_id));
        wanted.sinks.values_mut().for_each(|sources| *sources = BTreeSet::from([source_id.clone()]));
        // A reload refuses it; whoever takes a partition over begins where everybody would.
        for (sink, _) in std::mem::take(&mut wanted.from_oldest) {
            let is_added = parts.journal.state().epoch().is_some_and(|epoch| !epoch.sinks.contains_key(&sink));
            if is_added && wanted.sinks.contains_key(&sink) {
                tracing::warn!(%sink, partition = %place, "`from: oldest` is not built for consumer groups: it begins at the frontier");
            }
        }
        wanted.blobs = blobs;
        let engine = Engine::start(parts, wanted).await?;
        if base.ending.load(Ordering::Relaxed) {
            engine.wind_down();
        }
        Ok((Self { engine, source }, store, tasks))
    }

    /// Tells the group how far every sink has finished.
    pub(super) fn tell(&self, place: &PartitionRef, floors: &Floors) {
        if let Some(lag) = self.source.lag().into_iter().next() {
            floors.raise(place, lag.floor);
        }
    }
}

/// The source's options for one partition that it reads without a group.
fn alone(group: &Group, place: &PartitionRef) -> KafkaSource {
    let share = group.options.fetch_bytes_max.as_bytes() / group.partitions().max(1) as u64;
    KafkaSource {
        topics: vec![place.topic.clone()],
        topics_pattern: None,
        partitions: vec![place.partition],
        instance_id: None,
        fetch_bytes_max: sawlog_settings::ByteSize::bytes(share.max(FETCH_BYTES_MIN)),
        ..group.options.clone()
    }
}

/// Sinks under the partition's own name: claims, cursors and transactional ids move with it.
fn open_sinks(
    group: &Group,
    place: &PartitionRef,
    plan: &Plan,
    (store, journal, clock): (&Arc<TopicJournal>, &Arc<Journal>, &Arc<dyn Clock>),
    reseated: &Arc<Event>,
) -> Result<BTreeMap<SinkId, Arc<Sink>>, RunError> {
    let (config, group_id) = (&plan.config, &group.options.group_id);
    let names = sinks_of(config, &group.name);
    let letters: BTreeMap<String, Arc<DeadLetters>> = names
        .iter()
        .filter(|name| config.is_dead_letter_sink(name.as_str()))
        .map(|name| (name.as_str().to_owned(), Arc::default()))
        .collect();
    let owner = hash("sawlog.moving", &[group_id.as_bytes(), group.name.as_bytes(), place.to_string().as_bytes()]);
    let ownership: Arc<dyn Ownership> = store.clone();
    let packed = Arc::new(super::epochs::pack(&plan.files)?);
    let former: Arc<dyn FormerSinks> = {
        let (group_id, place, ownership) = (group_id.clone(), place.clone(), ownership.clone());
        let (data_dir, memory) = (group.base.data_dir.clone(), group.base.memory.clone());
        let open = move |name: &str, sink: &crate::config::validated::Sink| {
            let port = sinks::open_moving(name, sink, &group_id, &place, &data_dir, &memory.sink(name))?;
            Ok(guard(port, &ownership))
        };
        Arc::new(sinks::Former { open })
    };
    let mut made = BTreeMap::new();
    for id in names {
        let sink = &config.sinks[id.as_str()];
        let shares = group.base.memory.sink(id.as_str());
        let port = sinks::open_moving(id.as_str(), sink, group_id, place, &group.base.data_dir, &shares)?;
        let port = timed::sink(port, &id, &group.base.hearer.stages);
        let identity = SinkIdentity {
            directory: super::parts::hex(&owner[..16]),
            sink_epoch: super::parts::sink_epoch(sink)?,
            config: packed.clone(),
            moves: true,
            watch: group.base.common.watch.clone(),
            observer: Some(group.base.hearer.clone()),
        };
        let one = Sink::new(
            id.clone(),
            guard(port, &ownership),
            sinks::limits(&shares),
            sinks::tuning(sink),
            identity,
            former.clone(),
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
