//! What sinks are made on, those of a start and those of later reloads: each under its name, with what it shares with the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use event_listener::Event;
use sawlog_checkpoint::DataDir;
use sawlog_core::SinkId;
use sawlog_core::journal::Journal;
use sawlog_core::ports::{Clock, FormerSinks};
use sawlog_core::shared::Common;
use sawlog_core::sink::{DeadLetters, Sink, SinkIdentity};
use sawlog_core::watch::Watch;

use super::memory::Memory;
use super::parts::{RunError, hex, sink_epoch};
use super::{epochs, former, sinks, timed};
use crate::config::files::Files;
use crate::config::{self, Config};
use crate::telemetry::hearer::Hearer;

/// What sinks are made on.
pub(super) struct Ground {
    pub(super) agent: String,
    pub(super) directory: DataDir,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) memory: Arc<Memory>,
    pub(super) reseated: Arc<Event>,
    watch: Arc<Watch>,
    pub(super) hearer: Arc<Hearer>,
    /// The configuration that runs, packed for its sinks.
    packed: Mutex<Arc<Vec<u8>>>,
    /// The ways to the sinks that take dead letters.
    letters: Mutex<BTreeMap<String, Arc<DeadLetters>>>,
}

impl Ground {
    /// Of an agent under its id, on its data directory and the journal there, under the configuration of `files`.
    pub(super) fn new(
        (agent, directory): (String, DataDir),
        (journal, clock): (Arc<Journal>, Arc<dyn Clock>),
        memory: Arc<Memory>,
        common: &Common,
        files: &Files,
    ) -> Result<Self, RunError> {
        let (packed, watch) = (Mutex::new(Arc::new(epochs::pack(files)?)), common.watch.clone());
        let (reseated, hearer, letters) = Default::default();
        Ok(Self { agent, directory, journal, clock, memory, reseated, watch, hearer, packed, letters })
    }

    /// The way to a sink that takes dead letters, the same for all who feed it and all who are it in turn.
    fn letters(&self, name: &str) -> Arc<DeadLetters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
    }

    /// From now on this configuration runs.
    pub(super) fn take(&self, packed: Arc<Vec<u8>>) {
        *self.packed.lock().unwrap_or_else(PoisonError::into_inner) = packed;
    }

    /// The configuration that runs, as its sinks keep it.
    pub(super) fn packed(&self) -> Arc<Vec<u8>> {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the places that sinks leave.
    fn former(&self, data_dir: &Path) -> Arc<dyn FormerSinks> {
        let (agent, data_dir, memory) = (self.agent.clone(), data_dir.to_owned(), self.memory.clone());
        let open = move |name: &str, sink: &config::validated::Sink| {
            sinks::open(name, sink, &agent, &data_dir, &memory.sink(name))
        };
        Arc::new(sinks::Former { open })
    }

    /// All sinks of a configuration, and those of former ones that still owe.
    pub(super) fn sinks(
        &self,
        former: &former::Former,
        config: &Config,
    ) -> Result<BTreeMap<SinkId, Arc<Sink>>, RunError> {
        let named = config.sinks.keys().map(|name| (name.clone(), config, self.packed()));
        // What drains stays where it is: the configuration that led there is kept already.
        let draining = former::sinks(&self.journal, former, config).into_iter();
        let draining = draining.map(|(name, config)| (name, config, Arc::default()));
        let made = named.chain(draining).map(|(name, config, packed)| {
            let sink = self.sink(config, &name, packed)?;
            Ok((SinkId::new(&name), sink))
        });
        made.collect()
    }

    /// The sink `name` of `config`, which has not begun; `packed` is what leads to its place again, see [`epochs::pack`].
    pub(super) fn sink(&self, config: &Config, name: &str, packed: Arc<Vec<u8>>) -> Result<Arc<Sink>, RunError> {
        let sink = &config.sinks[name];
        let shares = self.memory.sink(name);
        let port = sinks::open(name, sink, &self.agent, &config.sections.data_dir, &shares)?;
        let port = timed::sink(port, &SinkId::new(name), &self.hearer.stages);
        let identity = SinkIdentity {
            directory: hex(&self.directory.uuid()),
            sink_epoch: sink_epoch(sink)?,
            config: packed,
            moves: false,
            watch: self.watch.clone(),
            observer: Some(self.hearer.clone()),
        };
        let to = sink.dead_letter.as_ref().map(|to| self.letters(to));
        let letters = config.is_dead_letter_sink(name).then(|| self.letters(name));
        Ok(Arc::new(Sink::new(
            SinkId::new(name),
            port,
            sinks::limits(&shares),
            sinks::tuning(sink),
            identity,
            self.former(&config.sections.data_dir),
            self.journal.clone(),
            self.clock.clone(),
            to,
            letters,
            self.reseated.clone(),
        )))
    }
}
