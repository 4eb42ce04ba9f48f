//! Simulated files as a source, and the rescue queue. What the process knows of the files dies with it; a file that lost its
//! name stays readable to the life that holds it open.

use crate::world::{RECORD_BYTES, World};
use async_trait::async_trait;
use sawlog_core::ports::{JournalError, ReadError, ReadLimits, RescueQueue, Source, SourceEvent};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::Poll;

#[derive(Default)]
struct Seen {
    opened: BTreeSet<Generation>,
    ends: BTreeMap<Generation, u64>,
    told: BTreeSet<Generation>,
    restored: bool,
}

/// The file source of one life.
pub struct SimSource {
    world: World,
    name: &'static str,
    seen: Mutex<Seen>,
}

impl SimSource {
    /// A source that knows nothing yet.
    pub fn new(world: World, name: &'static str) -> Self {
        Self { world, name, seen: Mutex::default() }
    }

    /// The next thing about the files that the core has not been told.
    fn news(&self) -> Option<SourceEvent> {
        let mut seen = self.seen.lock().expect("one thread");
        if !seen.restored {
            return None;
        }
        let mut outside = self.world.get();
        let life = outside.life;
        for file in outside.files.iter_mut().filter(|f| f.source == self.name) {
            let generation = file.generation;
            let readable = file.exists || file.held_by == Some(life);
            if !seen.opened.contains(&generation) && readable {
                file.held_by = Some(life);
                seen.opened.insert(generation);
                return Some(SourceEvent::Opened { generation, partition: file.partition, identity: vec![], start: 0 });
            }
            if !seen.opened.contains(&generation) {
                continue;
            }
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
        None
    }
}

/// The records of `[from, …)`, at most `count`.
pub(super) fn input(world: &World, generation: Generation, from: u64, to: u64, count: usize) -> Option<Input> {
    let outside = world.get();
    let file = outside.files.iter().find(|f| f.generation == generation)?;
    let mut input = Input { generation, arena: Vec::new(), records: Vec::new(), open: Vec::new() };
    let mut pos = from;
    while pos < to.min(file.end()) && input.records.len() < count {
        let record = file.records.get((pos / RECORD_BYTES) as usize)?;
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
    async fn restore(&self, known: Vec<(Generation, PartitionId, Vec<u8>, u64)>) {
        self.world.gate().await;
        let mut seen = self.seen.lock().expect("one thread");
        seen.opened.extend(known.into_iter().map(|(g, ..)| g));
        seen.restored = true;
        let mut outside = self.world.get();
        let life = outside.life;
        for file in outside.files.iter_mut().filter(|f| f.exists && f.source == self.name) {
            file.held_by = Some(life);
        }
    }

    async fn event(&self) -> SourceEvent {
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
        self.world.gate().await;
        let readable = {
            let outside = self.world.get();
            let file = outside.files.iter().find(|f| f.generation == generation);
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
        input(&self.world, generation, from, to, count).ok_or(ReadError::Gone)
    }

    async fn anchor(&self, _: Generation, _: u64) -> Vec<u8> {
        Vec::new()
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

    fn surplus_bytes(&self) -> u64 {
        let outside = self.world.get();
        if outside.crowded && self.name == "more" { 100 } else { 0 }
    }

    async fn release(&self, generation: Generation) {
        self.world.gate().await;
        let mut outside = self.world.get();
        if let Some(file) = outside.files.iter_mut().find(|f| f.generation == generation) {
            file.held_by = None;
        }
    }
}

/// The rescue queue: durable, and it remembers ranges only, since the world remembers content.
pub struct SimRescue(pub World);

#[async_trait]
impl RescueQueue for SimRescue {
    async fn put(&self, input: Input, lo: u64, hi: u64) -> Result<(), JournalError> {
        self.0.gate().await;
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
        Ok(upto.and_then(|hi| input(&self.0, generation, from, to.min(hi), count)))
    }

    async fn release(&self, generation: Generation) {
        self.0.gate().await;
        self.0.get().rescued.retain(|(g, ..)| *g != generation);
    }
}
