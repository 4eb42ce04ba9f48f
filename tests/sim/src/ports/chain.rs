//! The simulated chain behind the core's port: the plugin of [`crate::plugin`], routes to all sinks, dead letters.

use crate::plugin::{Counter, Numbers, State, numbers, routed};
use crate::world::{SimRecord, World};
use async_trait::async_trait;
use sawlog_core::journal::Journal;
use sawlog_core::ledger::Counts;
use sawlog_core::plan::UpgradeOutcome;
use sawlog_core::ports::{Applied, Chain, ChainFailure, ChainInstance, Chains, Context, SinkOutput};
use sawlog_core::{EpochId, SinkId, SourceId};
use sawlog_record::batch::{Batch, Input, Output, Row, flag};
use sawlog_record::id::{Cursor, Generation, PartitionId, RowId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Which plugin version an epoch runs for a source: the epoch's number is in its first bytes, and some epochs share a version. The
/// second source has a plugin of its own under the same number.
pub fn version_of(epoch: EpochId, source: &str) -> u64 {
    match source {
        "more" => 1_000 + number_of(epoch) / 3,
        _ => number_of(epoch) / 2,
    }
}

/// The number of an epoch.
pub fn number_of(epoch: EpochId) -> u64 {
    u64::from_le_bytes(epoch.0[..8].try_into().expect("eight bytes"))
}

/// The id of epoch `number`.
pub fn epoch_id(number: u64) -> EpochId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    EpochId(id)
}

/// The digest that the journal knows a version by.
pub fn digest_of(version: u64) -> [u8; 32] {
    sawlog_record::id::hash("version", &[&version.to_le_bytes()])
}

/// Digests and names of the stateful components of `source` under an epoch.
pub fn stateful(epoch: EpochId, source: &str) -> (BTreeMap<u8, [u8; 32]>, BTreeMap<u8, String>) {
    let Numbers { main, counter } = numbers(number_of(epoch));
    // It has versions too, and each takes over the state of all others.
    let counting = 1_000_000 + number_of(epoch) / 6;
    let all = [(Some(main), version_of(epoch, source), "main"), (counter, counting, "counter")];
    let all = all.into_iter().filter_map(|(number, version, name)| Some((number?, version, name)));
    let digests = all.clone().map(|(number, version, _)| (number, digest_of(version))).collect();
    (digests, all.map(|(number, _, name)| (number, name.to_owned())).collect())
}

/// The configurations that a process has at hand.
#[derive(Default)]
pub struct AtHand(Mutex<BTreeSet<EpochId>>);

impl AtHand {
    /// It begins, or is given another one: at hand is what its journal names, and that one.
    pub fn given(&self, journal: &Journal, next: EpochId) {
        let named = journal.state().epochs.iter().map(|epoch| epoch.id).chain([next]).collect();
        *self.0.lock().expect("one thread") = named;
    }
}

/// The configurations of a process; of all there are where nobody keeps count.
pub struct SimChains(pub World, pub Option<Arc<AtHand>>);

impl Chains for SimChains {
    fn chain(&self, epoch: EpochId, source: &SourceId) -> Option<Arc<dyn Chain>> {
        if self.1.as_ref().is_some_and(|known| !known.0.lock().expect("one thread").contains(&epoch)) {
            return None;
        }
        let version = version_of(epoch, source.as_str());
        Some(Arc::new(SimChain { world: self.0.clone(), epoch, version, source: source.clone() }))
    }
}

struct SimChain {
    world: World,
    epoch: EpochId,
    source: SourceId,
    version: u64,
}

impl Chain for SimChain {
    fn instance(&self, partition: PartitionId) -> Box<dyn ChainInstance> {
        Box::new(SimInstance {
            world: self.world.clone(),
            epoch: self.epoch,
            version: self.version,
            partition,
            numbers: numbers(number_of(self.epoch)),
            state: State::fresh(self.version),
            counter: Counter::default(),
        })
    }

    fn stateful(&self) -> BTreeMap<u8, [u8; 32]> {
        stateful(self.epoch, self.source.as_str()).0
    }
}

struct SimInstance {
    world: World,
    epoch: EpochId,
    version: u64,
    partition: PartitionId,
    numbers: Numbers,
    state: State,
    counter: Counter,
}

/// A row's fields, as they stand in the batch's arena: content, refused, dead, origin.
fn push_row(batch: &mut Batch, id: RowId, parent: u32, (content, origin): (u64, u64), time: i64, flags: [bool; 2]) {
    let start = batch.arena.len() as u32;
    let [refused, dead] = flags;
    batch.arena.extend_from_slice(&content.to_le_bytes());
    batch.arena.extend_from_slice(&[u8::from(refused), u8::from(dead)]);
    batch.arena.extend_from_slice(&origin.to_le_bytes());
    let input = sawlog_record::batch::Span { start, len: 18 };
    let flags = if dead { flag::UNDECODED } else { 0 };
    batch.rows.push(Row { id, parent, time, received: time, input, text: None, fields_start: 0, fields_len: 0, flags });
}

/// Sinks that take every row, the one that is routed to, and the dead letters.
fn distribute(batch: Batch, parents: u32) -> Applied {
    let batch = Arc::new(batch);
    let mut applied = Applied::default();
    let content = |row: &Row| u64::from_le_bytes(row.input.of(&batch.arena)[..8].try_into().expect("eight bytes"));
    let is_dead = |row: &Row| row.flags & flag::UNDECODED != 0;
    let choose = |wanted: &dyn Fn(&Row) -> bool| -> Vec<u32> {
        (0..batch.rows.len() as u32).filter(|i| wanted(&batch.rows[*i as usize])).collect()
    };
    for sink in ["log", "documents", "objects", "second", "file"] {
        let rows = choose(&|row| !is_dead(row) && (sink != "file" || routed(content(row))));
        let dead = choose(&is_dead);
        applied.outputs.insert(SinkId::new(sink), sink_output(&batch, rows, &dead, parents, "not_routed"));
    }
    let rows = choose(&is_dead);
    applied.outputs.insert(SinkId::new("dead"), sink_output(&batch, rows, &[], parents, "not_dead"));
    applied
}

fn sink_output(batch: &Arc<Batch>, rows: Vec<u32>, dead: &[u32], parents: u32, reason: &str) -> SinkOutput {
    let mut hit: Vec<u32> = rows.iter().map(|i| batch.rows[*i as usize].parent).collect();
    hit.dedup();
    let delivered = hit.len() as u64;
    let mut counts =
        Counts { delivered, dead_lettered: dead.len() as u64, rows: rows.len() as u64, ..Counts::default() };
    let dropped = u64::from(parents) - delivered.min(u64::from(parents)) - dead.len() as u64;
    if dropped > 0 {
        counts.dropped.add(reason, dropped);
    }
    SinkOutput { output: Output { batch: batch.clone(), rows }, counts }
}

#[async_trait]
impl ChainInstance for SimInstance {
    async fn apply(&mut self, input: Input, context: &Context) -> Result<Applied, ChainFailure> {
        let mut batch = Batch::new(input.generation);
        let ends = (input.records.first().map(|r| r.pos), input.records.last().map(|r| r.end));
        self.world.trace(|| {
            format!(
                "apply {:?} {:?} {ends:?} epoch {} state {:?}",
                self.partition,
                input.generation,
                number_of(self.epoch),
                self.state
            )
        });
        for (parent, record) in input.records.iter().enumerate() {
            let bytes = record.text.of(&input.arena);
            let value = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
            // Half of the poison is a matter of fuel: with four times as much it passes. Only its verdict makes it fail again.
            let poison = bytes[8] == 1 && !(context.generous && value % 2 == 0);
            let sim = SimRecord { value, poison, refused: bytes[9] == 1, void: None, is_late: false };
            let id = |k| RowId { pos: record.pos, slot: 0, k };
            if context.poison.iter().any(|(pos, slot, _)| *pos == record.pos && *slot == 0) {
                push_row(&mut batch, id(0), parent as u32, (0, value), context.time, [false, true]);
                continue;
            }
            let Some(rows) = self.state.feed(&sim, number_of(self.epoch), context.time) else {
                self.world.count("poison");
                let poison = (record.pos, 0, self.numbers.main, "simulated trap".into());
                return Err(ChainFailure::Poison(vec![poison]));
            };
            if self.numbers.counter.is_some() {
                self.counter.feed(value);
            }
            for (k, content) in rows {
                push_row(
                    &mut batch,
                    id(k),
                    parent as u32,
                    (content, value),
                    context.time,
                    [sim.refused && k == 0, false],
                );
            }
        }
        Ok(distribute(batch, input.records.len() as u32))
    }

    async fn flush(
        &mut self,
        component: u8,
        generation: Generation,
        at: Cursor,
        now: i64,
        context: &Context,
    ) -> Result<Applied, ChainFailure> {
        self.world.count("flush");
        let mut batch = Batch::new(generation);
        let epoch = number_of(self.epoch);
        let rows = match component == self.numbers.main {
            true => self.state.flush(epoch, now, context.time),
            false => self.counter.flush(epoch, now, context.time),
        };
        for (k, content) in rows {
            let id = RowId { pos: at.pos, slot: at.slot + 1, k };
            push_row(&mut batch, id, 0, (content, 0), context.time, [false; 2]);
        }
        let mut applied = distribute(batch, 0);
        applied.outputs.values_mut().for_each(|o| o.counts = Counts { rows: o.counts.rows, ..Counts::default() });
        Ok(applied)
    }

    async fn snapshot(&mut self) -> Result<BTreeMap<u8, Vec<u8>>, ChainFailure> {
        let counter = self.numbers.counter.map(|number| (number, self.counter.save()));
        Ok(BTreeMap::from_iter(counter.into_iter().chain([(self.numbers.main, self.state.save())])))
    }

    async fn restore(&mut self, states: BTreeMap<u8, Vec<u8>>) -> Result<(), ChainFailure> {
        if let Some(bytes) = states.get(&self.numbers.main) {
            self.state = State::load(bytes);
            let want = self.version;
            if self.state.digest != want {
                self.world.fail(format!("state of version {} restored into version {want}", self.state.digest));
            }
        }
        if let Some(bytes) = self.numbers.counter.and_then(|number| states.get(&number)) {
            self.counter = Counter::load(bytes);
        }
        self.world.trace(|| format!("restore {:?} state {:?} {:?}", self.partition, self.state, self.counter));
        Ok(())
    }

    async fn upgrade(&mut self, component: u8, old: Vec<u8>) -> Result<UpgradeOutcome, ChainFailure> {
        if component != self.numbers.main {
            self.counter = Counter::load(&old);
            return Ok(UpgradeOutcome::Carried);
        }
        let mut old = State::load(&old);
        let version = self.version;
        if !old.can_upgrade(version) {
            return Ok(UpgradeOutcome::Fresh);
        }
        old.upgrade(version);
        self.state = old;
        Ok(UpgradeOutcome::Carried)
    }

    fn wake_at(&self) -> Vec<(u8, i64)> {
        let counter = self.numbers.counter.filter(|_| self.counter.holds());
        self.state.holds().then_some(self.numbers.main).into_iter().chain(counter).map(|number| (number, 0)).collect()
    }
}
