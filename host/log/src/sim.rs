//! A seeded disk that keeps *written* and *durable* apart and forgets the difference when it crashes. Tests only.
//!
//! On [`SimDisk::crash`] every sector written since its file's last sync is kept or lost by itself, also an older one of
//! several versions; lengths and directory entries likewise. Faults are set by name: a failing sync that drops what was
//! written while reads still show it, a full disk at a byte, a misdirected read, flipped bits, a crash at the nth effect.
//! The same seed and calls give the same disk. It knows nothing of logs.

use crate::disk::{Disk, DiskError, DiskFile, SECTOR_BYTES, checked_name};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = SECTOR_BYTES as usize;
type Sector = [u8; SECTOR];

#[derive(Default, Clone)]
struct Content {
    sectors: BTreeMap<u64, Sector>,
    len: u64,
}

impl Content {
    fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let readable = self.len.saturating_sub(offset).min(into.len() as u64) as usize;
        let mut done = 0;
        while done < readable {
            let at = offset + done as u64;
            let within = (at % SECTOR_BYTES) as usize;
            let step = (SECTOR - within).min(readable - done);
            match self.sectors.get(&(at / SECTOR_BYTES)) {
                Some(sector) => into[done..done + step].copy_from_slice(&sector[within..within + step]),
                None => into[done..done + step].fill(0),
            }
            done += step;
        }
        readable
    }

    fn set_len(&mut self, len: u64) {
        self.sectors.retain(|&number, _| number * SECTOR_BYTES < len);
        if let Some(sector) = self.sectors.get_mut(&(len / SECTOR_BYTES)) {
            sector[(len % SECTOR_BYTES) as usize..].fill(0);
        }
        self.len = len;
    }
}

#[derive(Default)]
struct Inode {
    durable: Content,
    cached: Content,
    /// Every version of a sector written since the last sync.
    unsynced: BTreeMap<u64, Vec<Sector>>,
    /// Every length since the last sync.
    lens: Vec<u64>,
}

enum Entry {
    Set { name: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
}

fn apply(entry: &Entry, names: &mut BTreeMap<String, u64>) {
    match entry {
        Entry::Set { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        Entry::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Entry::Remove { name } => {
            names.remove(name);
        }
    }
}

/// What goes wrong and when. Counters run down with each call they concern.
#[derive(Default, Clone)]
struct Faults {
    crash_after_effects: Option<u64>,
    sync_fails_after: Option<u64>,
    space_bytes: Option<u64>,
    misdirect_read_after: Option<u64>,
}

struct State {
    random: fastrand::Rng,
    life: u64,
    crashed: bool,
    effects: u64,
    dirs: BTreeSet<String>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Entry>,
    inodes: BTreeMap<u64, Inode>,
    faults: Faults,
    faults_fired: BTreeMap<&'static str, u64>,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk; everything random about it comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            life: 0,
            crashed: false,
            effects: 0,
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            inodes: BTreeMap::new(),
            faults: Faults::default(),
            faults_fired: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power off and on: what was not durable is kept or lost at random, and all faults are cleared. Handles and disks from
    /// before go on answering [`DiskError::Crashed`]; this disk answers again.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// Crashes by itself: the first `effects` calls that change something succeed, the next one does not happen.
    pub fn crash_after(&self, effects: u64) {
        self.state().faults.crash_after_effects = Some(effects);
    }

    /// Calls so far that changed something (writes, lengths, names, syncs).
    pub fn effects(&self) -> u64 {
        self.state().effects
    }

    /// Whether the machine is off.
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// The first `syncs` file syncs from now succeed, the next one fails: some of what it was to make durable is dropped,
    /// reads go on showing all of it, and later syncs say `Ok`.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().faults.sync_fails_after = Some(syncs);
    }

    /// All files together may take so many bytes; `None` lifts the limit.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.state().faults.space_bytes = bytes;
    }

    /// The first `reads` reads from now are right, the next one returns another sector's bytes.
    pub fn misdirect_read_after(&self, reads: u64) {
        self.state().faults.misdirect_read_after = Some(reads);
    }

    /// Flips one bit of a file, where it is written and where it is durable.
    pub fn flip_bit(&self, name: &str, bit: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let inode = state.inode_of(name)?;
        let (sector, within) = (bit / 8 / SECTOR_BYTES, (bit / 8 % SECTOR_BYTES) as usize);
        let inode = state.inodes.entry(inode).or_default();
        for content in [&mut inode.durable, &mut inode.cached] {
            content.sectors.entry(sector).or_insert([0; SECTOR])[within] ^= 1 << (bit % 8);
        }
        *state.faults_fired.entry("bit flip").or_default() += 1;
        Ok(())
    }

    /// How often each kind of fault has fired, by name.
    pub fn faults_fired(&self) -> BTreeMap<&'static str, u64> {
        self.state().faults_fired.clone()
    }
}

impl State {
    /// Counts a call that changes something; the crash comes before the call that is one too many.
    fn effect(&mut self) -> Result<(), DiskError> {
        self.check_alive()?;
        if let Some(left) = &mut self.faults.crash_after_effects {
            if *left == 0 {
                self.crashed = true;
                self.fired("crash");
                return Err(DiskError::Crashed);
            }
            *left -= 1;
        }
        self.effects += 1;
        Ok(())
    }

    fn check_alive(&self) -> Result<(), DiskError> {
        if self.crashed { Err(DiskError::Crashed) } else { Ok(()) }
    }

    fn fired(&mut self, fault: &'static str) {
        *self.faults_fired.entry(fault).or_default() += 1;
    }

    fn inode_of(&self, name: &str) -> Result<u64, DiskError> {
        self.names.get(name).copied().ok_or_else(|| DiskError::NotFound { name: name.to_owned() })
    }

    fn enter(&mut self, entry: Entry) {
        apply(&entry, &mut self.names);
        self.unsynced_names.push(entry);
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.cached.len).sum()
    }

    /// How far a file may grow before the disk is full.
    fn room(&mut self, inode: u64, len: u64) -> Option<u64> {
        let space = self.faults.space_bytes?;
        let now = self.inodes.get(&inode).map_or(0, |i| i.cached.len);
        let limit = now + space.saturating_sub(self.used_bytes());
        (len > now && len > limit).then(|| {
            self.fired("no space");
            limit
        })
    }

    fn crash(&mut self) {
        self.settle_names();
        for inode in self.inodes.values_mut() {
            settle(inode, &mut self.random);
        }
        let kept = self.durable_names.values().copied().collect::<BTreeSet<_>>();
        self.inodes.retain(|inode, _| kept.contains(inode));
        self.names = self.durable_names.clone();
        self.life += 1;
        self.crashed = false;
        self.faults = Faults::default();
    }

    /// Half of the time a prefix of the changes survives, as on a journalling file system; else any subset.
    fn settle_names(&mut self) {
        let entries = std::mem::take(&mut self.unsynced_names);
        let prefix = self.random.bool().then(|| self.random.usize(..=entries.len()));
        for (i, entry) in entries.iter().enumerate() {
            if prefix.map_or_else(|| self.random.bool(), |kept| i < kept) {
                apply(entry, &mut self.durable_names);
            }
        }
    }
}

fn settle(inode: &mut Inode, random: &mut fastrand::Rng) {
    let kept = random.usize(..=inode.lens.len());
    for len in inode.lens.drain(..).take(kept) {
        inode.durable.set_len(len);
    }
    for (number, versions) in std::mem::take(&mut inode.unsynced) {
        if number * SECTOR_BYTES < inode.durable.len && random.bool() {
            inode.durable.sectors.insert(number, versions[random.usize(..versions.len())]);
        }
    }
    // A kept sector may hold bytes behind a length that was not kept.
    inode.durable.set_len(inode.durable.len);
    inode.cached = inode.durable.clone();
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
    name: String,
}

impl SimFile {
    fn state(&self) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.disk.state();
        if state.life == self.life { Ok(state) } else { Err(DiskError::Crashed) }
    }

    fn no_space(&self) -> DiskError {
        DiskError::NoSpace { name: self.name.clone() }
    }
}

impl Inode {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let position = offset + at as u64;
            let (number, within) = (position / SECTOR_BYTES, (position % SECTOR_BYTES) as usize);
            let step = (SECTOR - within).min(bytes.len() - at);
            let sector = self.cached.sectors.entry(number).or_insert([0; SECTOR]);
            sector[within..within + step].copy_from_slice(&bytes[at..at + step]);
            self.unsynced.entry(number).or_default().push(*sector);
            at += step;
        }
        let end = offset + bytes.len() as u64;
        if end > self.cached.len {
            self.cached.len = end;
            self.lens.push(end);
        }
    }

    fn resize(&mut self, len: u64) {
        self.cached.set_len(len);
        self.lens.push(len);
        if let Some(sector) = self.cached.sectors.get(&(len / SECTOR_BYTES)) {
            self.unsynced.entry(len / SECTOR_BYTES).or_default().push(*sector);
        }
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state()?;
        state.effect()?;
        let room = state.room(self.inode, offset + bytes.len() as u64);
        let part = room.map_or(bytes.len(), |limit| limit.saturating_sub(offset).min(bytes.len() as u64) as usize);
        state.inodes.entry(self.inode).or_default().write(offset, &bytes[..part]);
        if part < bytes.len() { Err(self.no_space()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut state = self.state()?;
        state.check_alive()?;
        let mut at = offset;
        if let Some(left) = &mut state.faults.misdirect_read_after {
            if *left == 0 {
                state.faults.misdirect_read_after = None;
                state.fired("misdirected read");
                at += SECTOR_BYTES * state.random.u64(1..8);
            } else {
                *left -= 1;
            }
        }
        let content = &state.inodes.entry(self.inode).or_default().cached;
        Ok(content.read(at, into))
    }

    fn len(&self) -> Result<u64, DiskError> {
        let state = self.state()?;
        state.check_alive()?;
        Ok(state.inodes.get(&self.inode).map_or(0, |inode| inode.cached.len))
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        let mut state = self.state()?;
        state.effect()?;
        if state.room(self.inode, len).is_some() {
            return Err(self.no_space());
        }
        state.inodes.entry(self.inode).or_default().resize(len);
        Ok(())
    }

    fn preallocate(&self, len: u64) -> Result<(), DiskError> {
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }

    fn datasync(&self) -> Result<(), DiskError> {
        let mut state = self.state()?;
        state.effect()?;
        let failing = match &mut state.faults.sync_fails_after {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let State { inodes, random, faults, .. } = &mut *state;
        let inode = inodes.entry(self.inode).or_default();
        if failing {
            faults.sync_fails_after = None;
            // The pages count as clean from now on: reads show them, no later sync writes them.
            let cached = inode.cached.clone();
            settle(inode, random);
            inode.cached = cached;
            state.fired("failed sync");
            let source = Arc::new(std::io::Error::other("simulated device error"));
            return Err(DiskError::Io { op: "sync", name: self.name.clone(), source });
        }
        for number in std::mem::take(&mut inode.unsynced).into_keys() {
            if let Some(sector) = inode.cached.sectors.get(&number) {
                inode.durable.sectors.insert(number, *sector);
            }
        }
        inode.durable.set_len(inode.cached.len);
        inode.lens.clear();
        Ok(())
    }
}

impl SimDisk {
    fn handle(&self, state: &State, inode: u64, name: &str) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), inode, life: state.life, name: name.to_owned() })
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        checked_name(name)?;
        let mut state = self.state();
        state.effect()?;
        if state.names.contains_key(name) {
            return Err(DiskError::Exists { name: name.to_owned() });
        }
        if !name.rsplit_once('/').is_none_or(|(dir, _)| state.dirs.contains(dir)) {
            return Err(DiskError::NotFound { name: name.to_owned() });
        }
        let inode = state.inodes.last_key_value().map_or(0, |(inode, _)| inode + 1);
        state.inodes.insert(inode, Inode::default());
        state.enter(Entry::Set { name: name.to_owned(), inode });
        Ok(self.handle(&state, inode, name))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let state = self.state();
        state.check_alive()?;
        let inode = state.inode_of(checked_name(name)?)?;
        Ok(self.handle(&state, inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.effect()?;
        state.inode_of(checked_name(from)?)?;
        state.enter(Entry::Rename { from: from.to_owned(), to: checked_name(to)?.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.effect()?;
        state.inode_of(checked_name(name)?)?;
        state.enter(Entry::Remove { name: name.to_owned() });
        Ok(())
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let state = self.state();
        state.check_alive()?;
        if !state.dirs.contains(checked_name(dir)?) {
            return Err(DiskError::NotFound { name: dir.to_owned() });
        }
        let inside = |name: &String| name.strip_prefix(dir)?.strip_prefix('/').map(str::to_owned);
        Ok(state.names.keys().filter_map(inside).filter(|name| !name.contains('/')).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.effect()?;
        let ends = checked_name(dir)?.match_indices('/').map(|(i, _)| i).chain([dir.len()]);
        state.dirs.extend(ends.map(|end| dir[..end].to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.effect()?;
        let below = |name: &str| name.rsplit_once('/').map_or("", |(parent, _)| parent) == dir;
        let entries = std::mem::take(&mut state.unsynced_names);
        for entry in entries {
            let concerned = match &entry {
                Entry::Set { name, .. } | Entry::Remove { name } => below(name),
                Entry::Rename { from, to } => below(from) || below(to),
            };
            if concerned {
                apply(&entry, &mut state.durable_names);
            } else {
                state.unsynced_names.push(entry);
            }
        }
        Ok(())
    }
}
