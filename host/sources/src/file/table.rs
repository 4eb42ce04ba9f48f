//! Everything that the source knows of its files, found by generation, by file, by partition and by folder. It decides
//! nothing and opens nothing.

use super::hold::Hold;
use super::open::Refusal;
use super::record::Identity;
use super::tracked::Tracked;
use super::unpack::Unpackable;
use sawlog_core::identity::{Disambs, FileId, Held, Known};
use sawlog_core::memory::pack;
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thin_vec::ThinVec;

/// Generations of a partition that are remembered after they are gone.
const GONE_MAX: usize = 16;

/// What belongs together.
#[derive(Debug, Default)]
struct Partition {
    /// In the order in which they were opened.
    generations: ThinVec<Generation>,
    /// What is gone, the latest: copies of it turn up late.
    gone: ThinVec<Known>,
}

/// Everything known of the files.
#[derive(Debug, Default)]
pub(super) struct Table {
    generations: BTreeMap<Generation, Box<Tracked>>,
    partitions: BTreeMap<Arc<Path>, Partition>,
    names: BTreeMap<PartitionId, Arc<Path>>,
    owners: BTreeMap<FileId, Generation>,
    /// Partitions that have files in a folder.
    folders: BTreeMap<PathBuf, BTreeSet<Arc<Path>>>,
    /// Files that are copies, by their size and change time when they were found to be.
    pub aliases: BTreeMap<FileId, (u64, i64)>,
    /// Packed files that could not be unpacked.
    pub unpackable: BTreeMap<FileId, Unpackable>,
    pub disambs: Disambs,
    /// What sinks hold of generations that the journal does not know.
    pub held: Held,
    pub refused: BTreeMap<PathBuf, Refusal>,
    /// Generations for which the passing of time matters.
    pub awake: BTreeSet<Generation>,
    /// Fragments whose rest is waited for: nothing behind them is announced meanwhile.
    pub holds: BTreeMap<Generation, Vec<Hold>>,
    /// A read found other bytes than were consumed.
    pub doubt: bool,
    /// Whether the journal knew nothing, and nothing has been looked at yet.
    pub first_start: bool,
    /// Something was added since it was packed.
    grown: bool,
}

impl Table {
    /// Adds a generation of the partition `id`.
    pub fn insert(&mut self, id: PartitionId, tracked: Tracked) {
        let generation = tracked.generation;
        let partition = self.partitions.entry(tracked.partition_name.clone()).or_default();
        partition.generations.reserve_exact(1);
        partition.generations.push(generation);
        self.grown = true;
        self.names.insert(id, tracked.partition_name.clone());
        self.awake.insert(generation);
        self.index(&tracked);
        self.generations.insert(generation, Box::new(tracked));
    }

    fn index(&mut self, tracked: &Tracked) {
        if let Some(file) = tracked.file {
            self.owners.insert(file, tracked.generation);
        }
        if let Some(folder) = tracked.path.parent() {
            self.folders.entry(folder.to_owned()).or_default().insert(tracked.partition_name.clone());
        }
    }

    /// A generation that the journal knows.
    pub fn restore(
        &mut self,
        generation: Generation,
        id: PartitionId,
        cri: bool,
        (identity, encoded): (Identity, Arc<[u8]>),
        floor: u64,
        boot: [u8; 8],
    ) {
        self.disambs.note(identity.evidence.first_line().hash, identity.disamb);
        let booted = identity.boot_id != boot;
        let mut tracked = Tracked::restored(generation, cri, floor, (identity, encoded));
        tracked.booted = booted;
        self.insert(id, tracked);
    }

    /// Generations were restored in the order of their ids; what is known of their births puts them in order. What was carried
    /// away is said by the file that has it, also where the other one was not journalled any more.
    pub fn order(&mut self) {
        let carried = self.generations.values().filter_map(|t| t.passage.carried.as_ref());
        for (from, rest) in carried.map(|c| (Generation(c.from), c.rest)).collect::<Vec<_>>() {
            if let Some(older) = self.generations.get_mut(&from) {
                Arc::make_mut(&mut older.passage).gone_on = Some(rest);
            }
        }
        let Self { partitions, generations, .. } = self;
        for partition in partitions.values_mut() {
            partition.generations.sort_by_key(|g| generations.get(g).map(|t| (t.file.and_then(|f| f.btime), t.disamb)));
        }
    }

    /// Lets go of a generation's file; what it was like is remembered a while.
    pub fn release(&mut self, generation: Generation) -> Option<Box<Tracked>> {
        let tracked = self.generations.remove(&generation)?;
        self.awake.remove(&generation);
        self.holds.remove(&generation);
        if let Some(file) = tracked.file.filter(|file| self.owners.get(file) == Some(&generation)) {
            self.owners.remove(&file);
        }
        let partition = self.partitions.entry(tracked.partition_name.clone()).or_default();
        partition.generations.retain(|g| *g != generation);
        partition.gone.push(Known { file: None, ..tracked.known() });
        if partition.gone.len() > GONE_MAX {
            partition.gone.remove(0);
        }
        Some(tracked)
    }

    /// A generation.
    pub fn get(&self, generation: Generation) -> Option<&Tracked> {
        self.generations.get(&generation).map(Box::as_ref)
    }

    /// A generation, to be changed; its file and path are changed by [`Self::place`] only.
    pub fn get_mut(&mut self, generation: Generation) -> Option<&mut Tracked> {
        self.generations.get_mut(&generation).map(Box::as_mut)
    }

    /// Changes a generation's file or name.
    pub fn place(&mut self, generation: Generation, change: impl FnOnce(&mut Tracked)) {
        let Some(mut tracked) = self.generations.remove(&generation) else { return };
        if let Some(file) = tracked.file.filter(|file| self.owners.get(file) == Some(&generation)) {
            self.owners.remove(&file);
        }
        change(&mut tracked);
        self.index(&tracked);
        self.awake.insert(generation);
        self.generations.insert(generation, tracked);
    }

    /// The generation that a file holds.
    pub fn owner(&self, file: FileId) -> Option<&Tracked> {
        self.get(*self.owners.get(&file)?)
    }

    /// Generations of a partition, in order.
    pub fn own(&self, partition: &Path) -> Vec<Generation> {
        self.partitions.get(partition).map(|p| p.generations.to_vec()).unwrap_or_default()
    }

    /// What the judgement of a partition's files is held against.
    pub fn known(&self, partition: &Path) -> Vec<Known> {
        let Some(partition) = self.partitions.get(partition) else { return Vec::new() };
        let own = partition.generations.iter().filter_map(|g| self.get(*g)).map(Tracked::known);
        own.chain(partition.gone.iter().cloned()).collect()
    }

    /// What a partition is called.
    pub fn name(&self, partition: PartitionId) -> Option<Arc<Path>> {
        self.names.get(&partition).cloned()
    }

    /// Names of all partitions with files.
    pub fn partition_names(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.partitions.iter().filter(|(_, p)| !p.generations.is_empty()).map(|(name, _)| name)
    }

    /// Partitions that had files in a folder.
    pub fn partitions_in(&self, folder: &Path) -> impl Iterator<Item = &Arc<Path>> {
        self.folders.get(folder).into_iter().flatten()
    }

    /// What was added since the last time takes no more room than it needs.
    pub fn pack(&mut self) {
        if !std::mem::take(&mut self.grown) {
            return;
        }
        pack(&mut self.generations);
        pack(&mut self.partitions);
        pack(&mut self.names);
        pack(&mut self.owners);
        self.disambs.pack();
    }

    /// All generations.
    pub fn all(&self) -> impl Iterator<Item = &Tracked> {
        self.generations.values().map(Box::as_ref)
    }

    /// Closes files that are read to their end, the quietest first, until no more than `max` are open.
    pub fn close_surplus(&mut self, max: usize) {
        let open = self.generations.values_mut().map(Box::as_mut).filter(|t| t.content.is_some());
        let mut open: Vec<&mut Tracked> = open.collect();
        let surplus = open.len().saturating_sub(max);
        open.retain(|t| t.may_close());
        open.sort_by_key(|t| std::cmp::Reverse(t.grown_at.elapsed()));
        open.into_iter().take(surplus).for_each(|t| t.content = None);
    }
}
