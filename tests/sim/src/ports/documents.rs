//! The simulated document store: where a row goes depends on its time and on a name that it makes, of which only so many are made.

use super::sinks::{HOUR, down, named, row_of, store, unknown};
use crate::plugin::SimRow;
use crate::world::{Fault, Late, RECORD_BYTES, World};
use async_trait::async_trait;
use sawlog_core::ports::{DocumentOutcome, DocumentStore, Offer, SinkError};
use sawlog_record::id::Generation;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The document store.
pub struct SimDocuments {
    world: World,
    place: usize,
    names: Mutex<BTreeSet<u64>>,
}

/// Names that rows would make.
const NAMES: u64 = 3;
/// Most names that are made; rows of further ones share [`NAMES`].
const NAMES_MAX: usize = 2;

/// A row and the name that it goes to.
pub type Named = (SimRow, u64);

impl SimDocuments {
    /// The store at one of its places, to which no name is known.
    pub fn new(world: World, place: usize) -> Self {
        Self { world, place, names: Mutex::default() }
    }

    /// Where a row goes; an error where that is not known before a further name is admitted.
    fn name(&self, row: &SimRow) -> Result<Named, u64> {
        let names = self.names.lock().expect("one thread");
        let name = row.pos / RECORD_BYTES % NAMES;
        match (names.contains(&name), names.len() < NAMES_MAX) {
            (true, _) => Ok((*row, name)),
            (false, true) => Err(name),
            (false, false) => Ok((*row, NAMES)),
        }
    }
}

fn document(place: usize, (row, name): Named) -> (usize, i64, Generation, u64, u16, u32) {
    let index = row.time / HOUR * (NAMES as i64 + 1) + name as i64;
    (place, index, row.generation, row.pos, row.slot, row.k)
}

pub(super) fn create(world: &World, place: usize, named: Named) {
    let (row, id) = (named.0, document(place, named));
    world.trace(|| format!("document {:?} {} {} {} content {}", row.generation, row.pos, row.slot, row.k, row.content));
    world.get().documents.entry(id).or_insert(row);
}

#[async_trait]
impl DocumentStore for SimDocuments {
    async fn place(&self) -> Result<String, SinkError> {
        named(&self.world, "documents", store("documents", self.place))
    }

    fn admit(&self, names: &BTreeSet<u64>) {
        self.names.lock().expect("one thread").extend(names);
    }

    async fn create(&self, items: &[(&Offer, u32)]) -> Result<Vec<DocumentOutcome>, SinkError> {
        self.world.dawdle("documents").await;
        let fault = self.world.draw_fault("documents");
        self.world.gate().await;
        let rows = items.iter().map(|(offer, i)| row_of(offer, &offer.output.batch.rows[*i as usize]));
        let mut rows: Vec<Result<Named, u64>> = rows.map(|row| self.name(&row)).collect();
        // Of several new names one is admitted at a time: there may be no room for the others.
        if let Some(first) = rows.iter().find_map(|row| row.err()) {
            rows.iter_mut().filter(|row| row.is_err()).for_each(|row| *row = Err(first));
        }
        let good = || rows.iter().flatten().filter(|(r, _)| !r.refused_by("documents")).copied().collect::<Vec<_>>();
        match fault {
            Fault::Down => return Err(down()),
            Fault::Dropped | Fault::Conflict => return Err(unknown()),
            Fault::Late => {
                self.world.get().late.push(Late::Documents(self.place, good()));
                return Err(unknown());
            }
            Fault::Duplicated => self.world.get().late.push(Late::Documents(self.place, good())),
            Fault::None | Fault::LostReply => {}
        }
        let mut outcomes = Vec::new();
        for row in rows {
            let busy = self.world.get().faults && self.world.rng(|r| r.hits(50));
            outcomes.push(match row {
                Err(name) => DocumentOutcome::NewName(name),
                Ok(_) if busy => DocumentOutcome::Again("429".into()),
                Ok((row, _)) if row.refused_by("documents") => DocumentOutcome::Refused("400".into()),
                Ok(named) => {
                    create(&self.world, self.place, named);
                    DocumentOutcome::Done
                }
            });
        }
        self.world.gate().await;
        if fault == Fault::LostReply { Err(unknown()) } else { Ok(outcomes) }
    }

    async fn exists(&self, offer: &Offer, row: u32) -> Result<bool, SinkError> {
        self.world.gate().await;
        if self.world.draw_fault("documents") == Fault::Down {
            return Err(down());
        }
        let named = self.name(&row_of(offer, &offer.output.batch.rows[row as usize]));
        let id = named.map(|named| document(self.place, named));
        Ok(id.is_ok_and(|id| self.world.get().documents.contains_key(&id)))
    }
}
