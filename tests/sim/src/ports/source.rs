//! Simulated files as a source, and the rescue queue. What the process knows of the files dies with it; a file that lost its
//! name stays readable to the life that holds it open.

use crate::syncs;
use crate::world::{Outside, RECORD_BYTES, SimFile, World};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sawlog_core::identity::{Anchor, Disambs, FileId, FirstLine, Held, Name, Newcomer, Recognised, file_hash};
use sawlog_core::journal::Whereabouts;
use sawlog_core::ports::{JournalError, ReadError, ReadLimits, RescueQueue, Source, SourceEvent};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Poll;

/// Inode numbers of the simulated file system.
const INODES: u64 = 3;

#[derive(Default)]
struct Seen {
    held: Held,
    disambs: Disambs,
    /// The generation that each file is to this process, and the number of that. A twin may know it by another.
    known: BTreeMap<u64, (Generation, u32)>,
    ends: BTreeMap<Generation, u64>,
    told: BTreeSet<Generation>,
    /// Files that had a name when it began: it has them open, whatever becomes of the name.
    begun_with: BTreeSet<u64>,
    restored: bool,
    met: bool,
}

impl Seen {
    /// Finds out which generation a file is that the journal does not know.
    fn open(&mut self, file: &mut SimFile) -> SourceEvent {
        let newcomer = Newcomer {
            first_line: FirstLine { hash: file.partition.0, bytes: 0 },
            file: file_id(file),
            name: Name::Primary,
            size: file.end(),
        };
        let names = ("agent", file.source);
        let found = self.held.recognise(names, &mut self.disambs, &newcomer, &mut |pos| file.hash_before(pos));
        let Recognised { generation, disamb, start } = found.expect("what is not longer than the file can be read");
        file.generation = generation;
        file.unsure |= self.held.is_partial() && start.is_none();
        self.known.insert(file.number, (generation, disamb));
        let identity = [file.number.to_le_bytes().as_slice(), &disamb.to_le_bytes()].concat().into();
        SourceEvent::Opened { generation, partition: file.partition, identity, start: 0 }
    }

    /// The file that is `generation` to this process.
    fn file<'a>(&self, files: &'a [SimFile], generation: Generation) -> Option<&'a SimFile> {
        let number = self.known.iter().find(|(_, (known, _))| *known == generation).map(|(number, _)| *number);
        files.get(number? as usize)
    }
}

/// Inode numbers are used again, and this file system has no births: contents alone tell.
fn file_id(file: &SimFile) -> FileId {
    FileId { dev: 0, ino: file.number % INODES, btime: None }
}

/// The number of the file that an identity in the journal stands for.
pub fn file_number(identity: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(identity.get(..8)?.try_into().ok()?))
}

/// The file source of one life.
pub struct SimSource {
    world: World,
    name: &'static str,
    /// Which one of its name it is in its process.
    number: u64,
    seen: Mutex<Seen>,
}

impl SimSource {
    /// A source that knows nothing yet.
    pub fn new(world: World, name: &'static str) -> Self {
        Self { world, name, number: 0, seen: Mutex::default() }
    }

    /// One that takes the place of those of its name that ran in this process: they have to have ended.
    pub fn next(world: World, name: &'static str) -> Self {
        let number = {
            let mut outside = world.get();
            outside.sources_begun += 1;
            outside.sources_begun
        };
        Self { number, ..Self::new(world, name) }
    }

    /// It lets go of its histories, or is asked what is new: who has taken its place does so already.
    fn has_to_be_the_last(&self) {
        let newest = self.world.get().newest_source.get(self.name).copied().unwrap_or(self.number);
        if newest > self.number {
            self.world.fail(format!("{} goes on beside the one that has taken its place", self.name));
        }
    }

    /// The next thing about the files that the core has not been told.
    fn news(&self) -> Option<SourceEvent> {
        let mut seen = self.seen.lock().expect("one thread");
        if !seen.restored {
            return None;
        }
        let mut outside = self.world.get();
        let (life, trace) = (outside.life, outside.trace);
        for file in outside.files.iter_mut().filter(|f| f.source == self.name) {
            let readable = file.exists || file.held_by == Some(life);
            let is_found = file.exists || seen.begun_with.contains(&file.number);
            if !seen.known.contains_key(&file.number) && readable && is_found {
                file.held_by = Some(life);
                let opened = seen.open(file);
                if trace {
                    println!("opened in life {life}: {file:?} as {:?}", seen.known.get(&file.number));
                }
                let (number, generation) = (file.number, file.generation);
                // Another one was called so in a life that did not come to journal it.
                let others = outside.files.iter_mut().filter(|other| other.number != number);
                others.filter(|other| other.generation == generation).for_each(SimFile::forget_generation);
                return Some(opened);
            }
            let Some((generation, _)) = seen.known.get(&file.number).copied() else { continue };
            if readable && seen.ends.get(&generation).copied().unwrap_or(0) < file.end() {
                file.held_by = Some(life);
                seen.ends.insert(generation, file.end());
                return Some(SourceEvent::Available { generation, end: file.end() });
            }
            if !file.exists && seen.told.insert(generation) {
                return Some(match file.held_by == Some(life) {
                    true => SourceEvent::Vanishing { generation, end: file.end() },
                    false => SourceEvent::Gone { generation },
                });
            }
        }
        (!std::mem::replace(&mut seen.met, true)).then_some(SourceEvent::Met)
    }
}

/// The records of `[from, to)` of a file, at most `count`.
pub(super) fn input(outside: &Outside, file: &SimFile, (from, to): (u64, u64), count: usize) -> Option<Input> {
    let generation = file.generation;
    let mut input = Input { generation, arena: Vec::new(), records: Vec::new(), open: Vec::new() };
    let mut pos = from;
    while pos < to.min(file.end()) && input.records.len() < count {
        let record = file.records.get((pos / RECORD_BYTES) as usize)?;
        if !syncs::shows(outside, record) {
            pos += RECORD_BYTES;
            continue;
        }
        let start = input.arena.len() as u32;
        input.arena.extend_from_slice(&record.value.to_le_bytes());
        input.arena.extend_from_slice(&[u8::from(record.poison), u8::from(record.refused)]);
        let text = Span { start, len: RECORD_BYTES as u32 };
        input.records.push(InputRecord { pos, end: pos + RECORD_BYTES, text, received: 0, flags: 0 });
        pos += RECORD_BYTES;
    }
    (!input.records.is_empty()).then_some(input)
}

#[async_trait]
impl Source for SimSource {
    async fn restore(&self, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {
        self.world.gate().await;
        self.has_to_be_the_last();
        let mut seen = self.seen.lock().expect("one thread");
        seen.restored = true;
        let mut outside = self.world.get();
        outside.newest_source.insert(self.name, self.number);
        outside.ending.remove(self.name);
        for (generation, partition, identity, _) in known {
            let number = file_number(&identity).expect("eight bytes");
            let disamb = u32::from_le_bytes(identity[8..].try_into().expect("four bytes"));
            seen.known.insert(number, (generation, disamb));
            seen.disambs.note(partition.0, disamb);
            // What was opened in a life that did not come to journal it was opened as something else, perhaps.
            outside.files[number as usize].generation = generation;
        }
        let life = outside.life;
        for file in outside.files.iter_mut().filter(|f| f.exists && f.source == self.name) {
            file.held_by = Some(life);
            seen.begun_with.insert(file.number);
        }
    }

    async fn event(&self) -> SourceEvent {
        self.has_to_be_the_last();
        poll_fn(|context| match self.news() {
            Some(event) => Poll::Ready(event),
            None => {
                self.world.get().file_wakers.push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    async fn read(&self, generation: Generation, from: u64, to: u64, _: ReadLimits) -> Result<Input, ReadError> {
        if from >= to {
            self.world.fail(format!("{} is asked for what is nothing: {generation:?} from {from} to {to}", self.name));
        }
        self.world.gate().await;
        let readable = {
            let seen = self.seen.lock().expect("one thread");
            let outside = self.world.get();
            let file = seen.file(&outside.files, generation);
            let is_trimmed = outside.trimmed.get(&generation).is_some_and(|floor| from < *floor);
            !is_trimmed && file.is_some_and(|f| f.exists || f.held_by == Some(outside.life))
        };
        if !readable {
            return Err(ReadError::Gone);
        }
        if self.world.rng(|r| r.hits(20)) {
            return Err(ReadError::Unavailable("simulated".into()));
        }
        let count = 1 + self.world.rng(|r| r.below(5));
        let seen = self.seen.lock().expect("one thread");
        let outside = self.world.get();
        let file = seen.file(&outside.files, generation).ok_or(ReadError::Gone)?;
        let read = input(&outside, file, (from, to), count).ok_or(ReadError::Gone)?;
        Ok(Input { generation, ..read })
    }

    fn recognises(&self) -> bool {
        true
    }

    fn says_met(&self) -> bool {
        true
    }

    async fn hold(&self, held: Held) {
        if held.is_partial() {
            self.world.count("silent_sink");
        }
        self.world.trace(|| format!("{} is told what sinks hold: {held:?}", self.name));
        self.seen.lock().expect("one thread").held = held;
    }

    async fn anchor(&self, generation: Generation, pos: u64) -> Vec<u8> {
        let seen = self.seen.lock().expect("one thread");
        let outside = self.world.get();
        let Some(file) = seen.file(&outside.files, generation) else { return Vec::new() };
        let (hash, known) = (file.hash_before(pos), seen.known.get(&file.number));
        let anchor = |(bytes, (_, disamb)): (u64, &(Generation, u32))| Anchor {
            bytes,
            file: file_hash(file_id(file)),
            disamb: *disamb,
            start: 0,
        };
        hash.zip(known).map(anchor).map(|anchor| anchor.encode()).unwrap_or_default()
    }

    async fn trim(&self, generation: Generation, floor: u64) {
        if self.name != "more" || floor == u64::MAX {
            return;
        }
        let mut outside = self.world.get();
        if outside.keeps_all {
            return;
        }
        let trimmed = outside.trimmed.entry(generation).or_default();
        *trimmed = (*trimmed).max(floor);
    }

    async fn oldest(&self, generation: Generation) -> Option<u64> {
        Some(self.world.get().trimmed.get(&generation).copied().unwrap_or(0))
    }

    async fn written(&self, generation: Generation) -> Option<i64> {
        let outside = self.world.get();
        outside.files.iter().find(|f| f.generation == generation).map(|file| file.number as i64)
    }

    fn whereabouts(&self, identity: &[u8]) -> Option<Whereabouts> {
        let number = file_number(identity)?;
        let outside = self.world.get();
        let file = outside.files.get(number as usize)?;
        let path = format!("{}/{number}", self.name);
        // When it was born tells what is older; identities here are told without.
        let id = FileId { btime: Some(number as i64), ..file_id(file) };
        Some(Whereabouts { path, file: Some(id), base: 0, end: file.end(), at_least: number % 2 == 1 })
    }

    fn surplus_bytes(&self) -> u64 {
        let outside = self.world.get();
        if outside.crowded && self.name == "more" { 100 } else { 0 }
    }

    async fn close(&self) {
        self.world.get().ending.insert(self.name);
    }

    async fn release(&self, generation: Generation) {
        self.world.gate().await;
        self.has_to_be_the_last();
        self.world.trace(|| format!("{} lets go of {generation:?}", self.name));
        let seen = self.seen.lock().expect("one thread");
        let mut outside = self.world.get();
        let number = seen.file(&outside.files, generation).map(|file| file.number);
        if let Some(number) = number {
            outside.files[number as usize].held_by = None;
        }
    }
}

/// The rescue queue: durable, and it remembers ranges only, since the world remembers content.
pub struct SimRescue(pub World);

#[async_trait]
impl RescueQueue for SimRescue {
    async fn put(&self, input: Input, lo: u64, hi: u64) -> Result<(), JournalError> {
        self.0.gate().await;
        if self.0.get().rescue_is_full {
            self.0.count("rescue_refused");
            return Err(JournalError("the rescue queue has no room".into()));
        }
        if syncs::rescue_fails(&mut self.0.get()) {
            return Err(JournalError("the rescue queue could not be made durable".into()));
        }
        self.0.get().rescued.push((input.generation, lo, hi));
        self.0.count("rescued");
        self.0.gate().await;
        Ok(())
    }

    async fn read(
        &self,
        generation: Generation,
        from: u64,
        to: u64,
        _: ReadLimits,
    ) -> Result<Option<Input>, JournalError> {
        self.0.gate().await;
        let upto = {
            let outside = self.0.get();
            outside.rescued.iter().find(|(g, lo, hi)| *g == generation && *lo <= from && from < *hi).map(|r| r.2)
        };
        let count = 1 + self.0.rng(|r| r.below(5));
        let outside = self.0.get();
        let file = outside.files.iter().find(|file| file.generation == generation);
        Ok(upto.zip(file).and_then(|(hi, file)| input(&outside, file, (from, to.min(hi)), count)))
    }

    async fn release(&self, generation: Generation) {
        self.0.gate().await;
        self.0.get().rescued.retain(|(g, ..)| *g != generation);
    }

    fn freed(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.0.get().rescue_freed.listen())
    }
}
