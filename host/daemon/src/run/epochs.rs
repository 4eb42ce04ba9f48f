//! Configurations at hand: the present one, and older ones that entries of the journal still name, rebuilt from blobs. A blob
//! holds the text of a configuration and the digests of its plugins and their files; their bytes are blobs of their own.

mod present;

pub use present::{present_overrides, present_puts};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sawlog_chain::pipeline::PipelineChain;
use sawlog_chain::{Engine, Plugin};
use sawlog_core::journal::{Journal, Names, Stateful};
use sawlog_core::ports::{Chain, Chains, JournalError};
use sawlog_core::{EpochId, SourceId};
use serde::{Deserialize, Serialize};

use super::RunError;
use super::canary::{self, Canary, Candidate};
use super::former::Former;
use super::overrides::{self, Overrides, Put};
use super::pipelines::{self, PluginBytes, PluginParts};
use super::replay;
use super::runtime;
use super::slots::Slots;
use crate::config::files::{Files, SourceFile};
use crate::config::references::{Kept, Machine};
use crate::config::{self, Config};

/// What an epoch's first blob holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// The version of the build whose configuration it was: it belongs to the epoch's id, under whichever build that is rebuilt.
    #[serde(default = "this_build")]
    build: String,
    folder: PathBuf,
    files: Vec<(PathBuf, String)>,
    /// Files that stand in the place of values.
    #[serde(default)]
    included: Vec<(PathBuf, String)>,
    plugins: BTreeMap<String, [u8; 32]>,
    /// The files of each plugin that has some, by their names.
    #[serde(default)]
    plugin_files: BTreeMap<String, Vec<(String, [u8; 32])>>,
    /// Those of its plugins that the configuration does not name.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    overrides: Overrides,
    /// What takes a share of a plugin's records: its bytes, and what is known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    canaries: BTreeMap<String, ([u8; 32], Canary)>,
    /// What references stood for, but secrets. Earlier builds kept none: then it is what they stand for now.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    kept: Kept,
}

impl Manifest {
    /// A configuration without its plugins.
    fn of(files: &Files) -> Self {
        let texts = |is_included: bool| {
            let some = files.files.iter().filter(|file| file.is_included == is_included);
            some.map(|file| (file.path.clone(), file.text.clone())).collect()
        };
        Self {
            build: this_build(),
            folder: files.folder.clone(),
            files: texts(false),
            included: texts(true),
            plugins: BTreeMap::new(),
            plugin_files: BTreeMap::new(),
            overrides: Overrides::new(),
            canaries: BTreeMap::new(),
            kept: files.kept.clone(),
        }
    }

    /// Its files, as they were read.
    fn files(&self) -> Files {
        let of_config = self.files.iter().map(|file| (file, false));
        let all = of_config.chain(self.included.iter().map(|file| (file, true)));
        let file = |((path, text), is_included): (&(PathBuf, String), bool)| SourceFile {
            path: path.clone(),
            text: text.clone(),
            is_included,
        };
        Files { files: all.map(file).collect(), folder: self.folder.clone(), kept: self.kept.clone() }
    }
}

fn this_build() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// A configuration with everything that its chains need.
pub struct Epoch {
    /// Hash of everything that output depends on.
    pub id: EpochId,
    /// Digests of stateful components.
    pub stateful: Stateful,
    /// What they are called.
    pub names: Names,
    /// Blobs that must be kept while an entry names the epoch.
    pub blobs: Vec<[u8; 32]>,
    /// Its plugins, by the names that the configuration gives them.
    pub plugins: BTreeMap<String, Plugin>,
    chains: Arc<ChainsBySource>,
}

type ChainsBySource = BTreeMap<SourceId, Arc<PipelineChain>>;

impl Epoch {
    /// Compiles the chains of `config`, under the id that is `known` or the one that this build gives it.
    fn build(
        config: &Config,
        bytes: &PluginBytes,
        engine: &Engine,
        fields: &Slots,
        known: Option<EpochId>,
    ) -> Result<Self, RunError> {
        let id = known.map_or_else(|| id_of(config, bytes), Ok)?;
        let plugins = pipelines::load_plugins(config, bytes, engine, &id.0)?;
        let mut chains = BTreeMap::new();
        let (mut stateful, mut names) = (Stateful::new(), Names::new());
        for name in config.sources.keys() {
            let chain = pipelines::build(config, name, fields.of(name), &plugins)?;
            stateful.insert(SourceId::new(name), chain.stateful());
            names.insert(SourceId::new(name), chain.names());
            chains.insert(SourceId::new(name), chain);
        }
        match pipelines::build_replay(config, &plugins) {
            Ok(chain) => {
                stateful.insert(SourceId::new(replay::SOURCE), chain.stateful());
                names.insert(SourceId::new(replay::SOURCE), chain.names());
                chains.insert(SourceId::new(replay::SOURCE), chain);
            }
            Err(error) => tracing::warn!(%error, "dead letters can't be replayed under this configuration"),
        }
        Ok(Self { id, stateful, names, blobs: Vec::new(), plugins, chains: Arc::new(chains) })
    }

    /// The same on a thread of its own: a large plugin takes its time, and signals are to be heard meanwhile.
    pub async fn build_aside(
        config: &Config,
        bytes: &PluginBytes,
        engine: &Engine,
        fields: &Slots,
        known: Option<EpochId>,
    ) -> Result<Self, RunError> {
        let (config, bytes, engine, fields) = (config.clone(), bytes.clone(), engine.clone(), fields.clone());
        runtime::aside(move || Self::build(&config, &bytes, &engine, &fields, known)).await?
    }

    /// Stores the blobs from which the epoch can be built again, in any journal; they have the same names everywhere.
    pub async fn store_blobs(files: &Files, bytes: &PluginBytes, journal: &Journal) -> Result<Vec<[u8; 32]>, RunError> {
        Self::put_blobs(files, bytes, |blob| journal.store().put_blob(blob)).await
    }

    /// The same in a journal whose checkpoints go on meanwhile: the blobs stay until they are released.
    pub async fn hold_blobs(files: &Files, bytes: &PluginBytes, journal: &Journal) -> Result<Vec<[u8; 32]>, RunError> {
        Self::put_blobs(files, bytes, |blob| journal.hold_blob(blob).boxed()).await
    }

    async fn put_blobs<'a>(
        files: &Files,
        bytes: &PluginBytes,
        put: impl Fn(Vec<u8>) -> BoxFuture<'a, Result<[u8; 32], JournalError>>,
    ) -> Result<Vec<[u8; 32]>, RunError> {
        let (mut plugins, mut plugin_files) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        let mut canaries = BTreeMap::new();
        for (name, parts) in bytes {
            plugins.insert(name.clone(), put(parts.component.clone()).await?);
            if let Some(candidate) = &parts.canary {
                let digest = put(candidate.put.component.clone()).await?;
                canaries.insert(name.clone(), (digest, candidate.known()));
            }
            for (file, content) in &parts.files {
                let digest = put(content.clone()).await?;
                plugin_files.entry(name.clone()).or_default().push((file.clone(), digest));
            }
        }
        let overrides = overrides::of(bytes);
        let manifest = Manifest { plugins, plugin_files, overrides, canaries, ..Manifest::of(files) };
        let first = put(serde_json::to_vec(&manifest)?).await?;
        let of_files = manifest.plugin_files.values().flatten().map(|(_, digest)| *digest);
        let of_candidates = manifest.canaries.values().map(|(digest, _)| *digest);
        let of_plugins = manifest.plugins.values().copied().chain(of_candidates);
        Ok(std::iter::once(first).chain(of_plugins).chain(of_files).collect())
    }
}

/// A configuration without its plugins, as sinks keep it while they leave the place that it names.
pub fn pack(files: &Files) -> Result<Vec<u8>, RunError> {
    Ok(serde_json::to_vec(&Manifest::of(files))?)
}

/// Reads what [`pack`] wrote; why it can't be read, in a sentence.
pub fn unpack(packed: &[u8]) -> Result<Config, String> {
    let loaded = config::understand(unpack_files(packed).map_err(|error| error.to_string())?, &Machine);
    loaded.config.ok_or_else(|| crate::diagnostics::text(&loaded.complaints, &loaded.files))
}

/// The files of what [`pack`] wrote.
pub fn unpack_files(packed: &[u8]) -> Result<Files, serde_json::Error> {
    let manifest: Manifest = serde_json::from_slice(packed)?;
    Ok(manifest.files())
}

/// The id of the epoch that a configuration with these plugins is. Addresses and credentials don't belong to it.
fn id_of(config: &Config, bytes: &PluginBytes) -> Result<EpochId, RunError> {
    let inputs: BTreeMap<&String, _> = config.sinks.iter().map(|(name, sink)| (name, &sink.inputs)).collect();
    let dead_letter = config.dead_letter();
    let text = serde_json::to_vec(&(&config.sources, &config.transforms, &config.plugins, inputs, dead_letter))?;
    let of_parts = |parts: &PluginParts| {
        let files = parts.files.iter().flat_map(|(name, content)| [name.as_bytes(), content]);
        sawlog_record::id::hash("plugin", &std::iter::once(parts.component.as_slice()).chain(files).collect::<Vec<_>>())
    };
    let digests: Vec<u8> = bytes.values().flat_map(of_parts).collect();
    // The same component as an override is another configuration, and so is one that another key has signed: what is not another
    // one is not journalled.
    let signed = |(name, p): (&String, &PluginParts)| Some((name.clone(), p.overridden.as_ref()?.signature.clone()));
    let overridden: Vec<(String, Option<String>)> = bytes.iter().filter_map(signed).collect();
    let overridden = if overridden.is_empty() { Vec::new() } else { serde_json::to_vec(&overridden)? };
    // Who takes which share, and when it is returned from: that ends with the epoch, so it is durable with it.
    let canaries =
        canary::of(bytes).into_iter().map(|(name, one)| (name, one.known.digest, one.known.signature, one.terms));
    let canaries: Vec<_> = canaries.collect();
    let canaries = if canaries.is_empty() { Vec::new() } else { serde_json::to_vec(&canaries)? };
    let parts = [&text, digests.as_slice(), env!("CARGO_PKG_VERSION").as_bytes(), &overridden, &canaries];
    let used = match (overridden.is_empty(), canaries.is_empty()) {
        (_, false) => 5,
        (false, true) => 4,
        (true, true) => 3,
    };
    Ok(EpochId::derive(&parts[..used]))
}

/// All configurations at hand.
#[derive(Default)]
pub struct Epochs {
    chains: Mutex<BTreeMap<EpochId, Arc<ChainsBySource>>>,
    /// Those that run now; what they name must be at hand.
    journals: Mutex<Vec<Weak<Journal>>>,
}

impl Epochs {
    fn chains(&self) -> MutexGuard<'_, BTreeMap<EpochId, Arc<ChainsBySource>>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a configuration, and forgets those that no journal names and that nobody is about to journal.
    pub fn add(&self, epoch: &Epoch) {
        let mut named: BTreeSet<EpochId> = BTreeSet::new();
        // Held to the end: a journal whose chains are being built is among them.
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        journals.retain(|journal| {
            let Some(journal) = journal.upgrade() else { return false };
            named.extend(journal.state().epochs.iter().map(|e| e.id));
            true
        });
        let mut chains = self.chains();
        chains.retain(|id, of| named.contains(id) || Arc::strong_count(of) > 1);
        chains.insert(epoch.id, epoch.chains.clone());
    }

    /// What this journal names stays at hand while it is used.
    fn heed(&self, journal: &Arc<Journal>) {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(journal));
    }

    /// Rebuilds every configuration that the journal still names, and gives those back that were not at hand. What can't be
    /// rebuilt is told; the partitions that need it stop with a reason.
    pub async fn restore(&self, journal: &Arc<Journal>, engine: &Engine, fields: &Slots) -> (Former, Vec<String>) {
        self.heed(journal);
        let known: Vec<_> = journal.state().epochs.iter().map(|e| (e.id, e.blobs.clone())).collect();
        let (mut former, mut failures) = (Former::new(), Vec::new());
        for (id, blobs) in known {
            match rebuild(id, &blobs, journal, engine, fields).await {
                Ok((epoch, config)) if epoch.id == id => {
                    self.chains().entry(id).or_insert(epoch.chains);
                    former.push((id, config));
                }
                Ok(_) => failures.push(format!("{id:?} does not come out the same from what was kept of it")),
                Err(error) => failures.push(format!("{id:?} can't be built again: {error}")),
            }
        }
        (former, failures)
    }
}

/// What this build makes of a configuration must come out the same. Of
/// what another build made the id is taken as it was journalled: this build may read more options, and gives it another one.
async fn rebuild(
    id: EpochId,
    blobs: &[[u8; 32]],
    journal: &Journal,
    engine: &Engine,
    fields: &Slots,
) -> Result<(Epoch, Config), RunError> {
    let missing = |what: &str| RunError::Component { name: what.to_owned(), reason: "a blob is missing".to_owned() };
    let first = blobs.first().ok_or_else(|| missing("configuration"))?;
    let manifest = journal.store().get_blob(*first).await?.ok_or_else(|| missing("configuration"))?;
    let manifest: Manifest = serde_json::from_slice(&manifest)?;
    let mut bytes = PluginBytes::new();
    for (name, digest) in &manifest.plugins {
        let component = journal.store().get_blob(*digest).await?.ok_or_else(|| missing(name))?;
        let mut files = Vec::new();
        for (file, digest) in manifest.plugin_files.get(name).into_iter().flatten() {
            files.push((file.clone(), journal.store().get_blob(*digest).await?.ok_or_else(|| missing(file))?));
        }
        let overridden = manifest.overrides.get(name).cloned();
        let canary = match manifest.canaries.get(name).cloned() {
            None => None,
            Some((digest, Canary { known, terms })) => {
                let component = journal.store().get_blob(digest).await?.ok_or_else(|| missing(name))?;
                Some(Candidate { put: Put { component, known }, terms })
            }
        };
        bytes.insert(name.clone(), PluginParts { component, files, overridden, canary });
    }
    let loaded = config::understand(manifest.files(), &Machine);
    let config = loaded.config.ok_or_else(|| RunError::Component {
        name: "configuration".to_owned(),
        reason: crate::diagnostics::text(&loaded.complaints, &loaded.files).trim_end().to_owned(),
    })?;
    let known = (manifest.build != this_build()).then_some(id);
    if known.is_some() {
        tracing::info!(build = manifest.build, epoch = ?id, "input that another build has planned is run by this one");
    }
    Ok((Epoch::build_aside(&config, &bytes, engine, fields, known).await?, config))
}

impl Chains for Epochs {
    fn chain(&self, epoch: EpochId, source: &SourceId) -> Option<Arc<dyn Chain>> {
        let chain = self.chains().get(&epoch)?.get(source)?.clone();
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::digest::ContentDigest;
    use crate::run::SystemClock;
    use crate::run::canary::Terms;
    use crate::run::overrides::Override;
    use sawlog_chain::{EngineLimits, Share};
    use sawlog_checkpoint::{DataDir, DiskJournal, JournalOptions};
    use sawlog_core::journal::Record;
    use sawlog_log::Drive;

    fn id(component: &[u8], files: &[(&str, &[u8])]) -> EpochId {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
        id_with(PluginParts { component: component.to_vec(), files, overridden: None, canary: None })
    }

    fn id_with(parts: PluginParts) -> EpochId {
        let text = "version: 1\nplugins: { p: { source: file:./p.wasm, files: { table: ./t.csv } } }\n\
                    sources: { app: { type: file, include: [/a] } }\nsinks: { out: { type: console, inputs: [app] } }\n";
        let file = SourceFile::of_config(PathBuf::from("c.yaml"), text.to_owned());
        let loaded = config::understand(
            Files { files: vec![file], folder: PathBuf::from("/nowhere"), ..Files::default() },
            &Machine,
        );
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.complaints));
        id_of(&config, &PluginBytes::from([("p".to_owned(), parts)])).unwrap()
    }

    fn overridden(component: &[u8], since: i64) -> PluginParts {
        let known = Override { digest: ContentDigest::of(component), since, signature: None };
        PluginParts { component: component.to_vec(), files: Vec::new(), overridden: Some(known), canary: None }
    }

    #[test]
    fn an_override_is_a_configuration_of_its_own_be_it_by_the_same_component() {
        let mut signed = overridden(b"component", 1);
        signed.overridden.as_mut().unwrap().signature = Some("by a key".to_owned());
        let ids = [
            id(b"component", &[]),
            id_with(overridden(b"component", 1)),
            id_with(overridden(b"another", 1)),
            id(b"another", &[]),
            id_with(signed),
        ];
        assert_eq!(std::collections::BTreeSet::from(ids).len(), ids.len(), "{ids:?}");
        assert_eq!(
            id_with(overridden(b"component", 1)),
            id_with(overridden(b"component", 2)),
            "the time is for people"
        );
    }

    fn candidate(component: &[u8], percent: f64) -> Candidate {
        let put = Put { component: component.to_vec(), known: overridden(component, 1).overridden.unwrap() };
        let share = |percent| Share::of_percent(percent).unwrap();
        Candidate { put, terms: Terms { share: share(percent), failing_max: share(1.0) } }
    }

    #[test]
    fn who_takes_which_share_on_which_terms_belongs_to_the_epoch() {
        let with =
            |candidate: Candidate| id_with(PluginParts { canary: Some(candidate), ..overridden(b"component", 1) });
        let mut strict = candidate(b"next", 5.0);
        strict.terms.failing_max = Share::of_percent(0.5).unwrap();
        let mut later = candidate(b"next", 5.0);
        later.put.known.since = 2;
        let ids = [
            id_with(overridden(b"component", 1)),
            with(candidate(b"next", 5.0)),
            with(candidate(b"next", 6.0)),
            with(candidate(b"other", 5.0)),
            with(strict),
        ];
        assert_eq!(std::collections::BTreeSet::from(ids).len(), ids.len(), "{ids:?}");
        assert_eq!(with(later), ids[1], "the time is for people");
    }

    async fn journal(folder: &Path) -> (DataDir, Arc<Journal>) {
        let directory = DataDir::open(folder).unwrap();
        let store = DiskJournal::open(directory.disk(), JournalOptions::new([7; 16]), Drive::Thread).unwrap();
        let journal = Journal::open(Arc::new(store), Arc::new(SystemClock)).await.unwrap();
        (directory, Arc::new(journal))
    }

    #[tokio::test]
    async fn the_present_epoch_says_what_is_overridden_and_has_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (_directory, journal) = journal(folder.path()).await;
        assert!(present_puts(&journal).await.unwrap().in_place.is_empty(), "there is no epoch yet");
        let plain = PluginParts { overridden: None, ..overridden(b"plain", 0) };
        let put = PluginParts { canary: Some(candidate(b"next", 5.0)), ..overridden(b"put", 7) };
        let bytes = PluginBytes::from([("p".to_owned(), put), ("q".to_owned(), plain)]);
        let files = Files { files: Vec::new(), folder: PathBuf::from("/nowhere"), ..Files::default() };
        let begin = async |bytes: &PluginBytes, number: u8| {
            let blobs = Epoch::hold_blobs(&files, bytes, &journal).await.unwrap();
            // One comes before any record names them.
            journal.checkpoint().await.unwrap();
            let (stateful, sinks) = Default::default();
            let epoch = sawlog_core::journal::Epoch { id: EpochId([number; 16]), stateful, blobs, sinks };
            journal.commit(vec![Record::Epoch(epoch)]).await.unwrap();
            journal.release_blobs();
            journal.checkpoint().await.unwrap();
        };
        begin(&bytes, 1).await;
        let puts = present_puts(&journal).await.unwrap();
        assert_eq!(puts.in_place.keys().chain(puts.canaries.keys()).collect::<Vec<_>>(), ["p", "p"]);
        let (put, canary) = (&puts.in_place["p"], &puts.canaries["p"]);
        assert_eq!((put.component.as_slice(), Some(&put.known)), (&b"put"[..], bytes["p"].overridden.as_ref()));
        assert_eq!(Some(canary), bytes["p"].canary.as_ref());
        assert_eq!(present_overrides(&journal).await, (overrides::of(&bytes), canary::of(&bytes)));
        let without = |parts: &PluginParts| PluginParts { overridden: None, canary: None, ..parts.clone() };
        let plain = bytes.iter().map(|(name, parts)| (name.clone(), without(parts)));
        begin(&plain.collect(), 2).await;
        let puts = present_puts(&journal).await.unwrap();
        assert!(puts.in_place.is_empty() && puts.canaries.is_empty(), "the newest epoch counts");
    }

    #[tokio::test]
    async fn what_no_journal_names_and_nobody_holds_is_forgotten() {
        let epoch = |number: u8| {
            let (stateful, blobs, plugins, chains) = Default::default();
            Epoch { id: EpochId([number; 16]), stateful, names: Names::new(), blobs, plugins, chains }
        };
        let folder = tempfile::tempdir().unwrap();
        let (_directory, journal) = journal(folder.path()).await;
        let (stateful, blobs, sinks) = Default::default();
        let named = sawlog_core::journal::Epoch { id: EpochId([1; 16]), stateful, blobs, sinks };
        journal.commit(vec![Record::Epoch(named)]).await.unwrap();
        let (epochs, held) = (Epochs::default(), epoch(2));
        epochs.heed(&journal);
        let at_hand = || epochs.chains().keys().map(|id| id.0[0]).collect::<Vec<_>>();
        epochs.add(&epoch(1));
        epochs.add(&held);
        epochs.add(&epoch(3));
        epochs.add(&epoch(4));
        assert_eq!(at_hand(), [1, 2, 4], "by the journal, by who is about to journal it, the newest");
        drop((held, journal));
        epochs.add(&epoch(5));
        assert_eq!(at_hand(), [5]);
    }

    #[test]
    fn whatever_a_plugin_is_made_of_belongs_to_the_epoch() {
        let before = id(b"component", &[("table", b"a,b")]);
        assert_eq!(before, id(b"component", &[("table", b"a,b")]));
        let others = [
            id(b"another", &[("table", b"a,b")]),
            id(b"component", &[("table", b"a,c")]),
            id(b"component", &[("tables", b"a,b")]),
            id(b"component", &[]),
            id(b"component", &[("table", b""), ("a,b", b"")]),
        ];
        assert!(others.iter().all(|other| *other != before), "{others:?}");
    }

    /// Whether a start has the chains of a configuration at hand that `build` journalled, and what it complains of. `id` makes the
    /// journalled id of the one that this build gives.
    async fn restored(build: &str, id: impl FnOnce(EpochId) -> EpochId) -> (bool, Vec<String>) {
        let text = "version: 1\nsources: { app: { type: file, include: [/a] } }\nsinks: { out: { type: console, inputs: [app] } }\n";
        let file = SourceFile::of_config(PathBuf::from("c.yaml"), text.to_owned());
        let loaded = config::understand(
            Files { files: vec![file], folder: PathBuf::from("/nowhere"), ..Files::default() },
            &Machine,
        );
        let (config, files) = (loaded.config.unwrap(), loaded.files);
        let folder = tempfile::tempdir().unwrap();
        let (_directory, journal) = journal(folder.path()).await;
        let (engine, fields) = (Engine::new(EngineLimits::default(), None).unwrap(), Slots::default());
        let epoch = Epoch::build_aside(&config, &PluginBytes::new(), &engine, &fields, None).await.unwrap();
        let manifest = Manifest { build: build.to_owned(), ..Manifest::of(&files) };
        let blob = journal.store().put_blob(serde_json::to_vec(&manifest).unwrap()).await.unwrap();
        let (id, stateful, sinks) = (id(epoch.id), BTreeMap::new(), BTreeMap::new());
        let named = sawlog_core::journal::Epoch { id, stateful, blobs: vec![blob], sinks };
        journal.commit(vec![Record::Epoch(named)]).await.unwrap();
        let epochs = Epochs::default();
        let (former, failures) = epochs.restore(&journal, &engine, &fields).await;
        let is_there = epochs.chain(id, &SourceId::new("app")).is_some();
        assert_eq!(is_there, former.iter().any(|(known, _)| *known == id));
        (is_there, failures)
    }

    #[tokio::test]
    async fn a_configuration_of_another_build_keeps_its_id_and_one_of_this_build_must_come_out_the_same() {
        let other = EpochId::derive(&[b"as another build names it"]);
        assert_eq!(restored(&this_build(), |id| id).await, (true, Vec::new()));
        assert_eq!(restored("0.0.1", |_| other).await, (true, Vec::new()), "what it planned is run by this one");
        let (is_there, failures) = restored(&this_build(), |_| other).await;
        assert!(!is_there && failures[0].contains("does not come out the same"), "{failures:?}");
    }

    /// A source whose path is `${file:…}` and whose token is another, a secret: what was planned under the one value of the path is run
    /// under it, also when the file holds another value by now, and the secret is not in what was kept.
    #[tokio::test]
    async fn what_references_stood_for_is_kept_with_a_configuration_and_secrets_are_not() {
        for build in [this_build(), "0.0.1".to_owned()] {
            let folder = tempfile::tempdir().unwrap();
            let (path, token) = (folder.path().join("path"), folder.path().join("token"));
            std::fs::write(&path, "/then/*.log").unwrap();
            std::fs::write(&token, "hush").unwrap();
            let text = format!(
                "version: 1\nsources:\n  app: {{ type: file, include: [\"${{file:{}}}\"] }}\n  \
                 web: {{ type: http, listen: \"127.0.0.1:1\", decode: ndjson, auth: {{ tokens: [\"${{file:{}}}\"] }} }}\n\
                 sinks: {{ out: {{ type: console, inputs: [app, web] }} }}\n",
                path.display(),
                token.display()
            );
            let file = SourceFile::of_config(PathBuf::from("c.yaml"), text);
            let files = Files { files: vec![file], folder: PathBuf::from("/nowhere"), ..Files::default() };
            let loaded = config::understand(files, &Machine);
            let (config, files) = (loaded.config.unwrap(), loaded.files);
            let (_directory, journal) = journal(folder.path()).await;
            let (engine, fields) = (Engine::new(EngineLimits::default(), None).unwrap(), Slots::default());
            let epoch = Epoch::build_aside(&config, &PluginBytes::new(), &engine, &fields, None).await.unwrap();
            let packed = serde_json::to_vec(&Manifest { build, ..Manifest::of(&files) }).unwrap();
            assert!(!String::from_utf8_lossy(&packed).contains("hush"), "a secret was kept");
            let blob = journal.store().put_blob(packed).await.unwrap();
            let named = sawlog_core::journal::Epoch {
                id: epoch.id,
                stateful: BTreeMap::new(),
                blobs: vec![blob],
                sinks: BTreeMap::new(),
            };
            journal.commit(vec![Record::Epoch(named)]).await.unwrap();
            std::fs::write(&path, "/now/*.log").unwrap();
            std::fs::write(&token, "another").unwrap();
            let (former, failures) = Epochs::default().restore(&journal, &engine, &fields).await;
            assert_eq!(failures, Vec::<String>::new());
            assert_eq!(former[0].1.sources["app"], config.sources["app"], "the values of then");
            assert_ne!(former[0].1.sources["web"], config.sources["web"], "the secret of now");
        }
    }

    #[test]
    fn a_config_with_a_file_of_columns_is_understood_from_what_is_kept_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let columns = folder.path().join("columns.yaml");
        std::fs::write(&columns, "- { name: seq, type: int64 }\n").unwrap();
        let text = "version: 1\nsources: { app: { type: file, include: [/a] } }\n\
                    sinks: { out: { type: file, inputs: [app], path: /out/part, format: parquet, columns: ./columns.yaml } }\n";
        let file = SourceFile::of_config(folder.path().join("c.yaml"), text.to_owned());
        let loaded = config::understand(
            Files { files: vec![file], folder: folder.path().to_owned(), ..Files::default() },
            &Machine,
        );
        assert!(loaded.config.is_some(), "{:?}", loaded.complaints);
        let packed = pack(&loaded.files).unwrap();
        std::fs::remove_file(columns).unwrap();
        let kept = unpack(&packed).unwrap();
        assert_eq!(kept.sinks, loaded.config.unwrap().sinks);
        assert_eq!(pack(&unpack_files(&packed).unwrap()).unwrap(), packed);
    }
}
