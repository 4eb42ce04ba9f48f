//! The fields that a source gives its rows, behind names: chains of older configurations ask by name, whichever source has it
//! now. It keeps no source alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sawlog_chain::pipeline::FieldsOf;

/// One name.
#[derive(Clone)]
struct Slot(Arc<RwLock<FieldsOf>>);

/// The names of all sources that ever were.
#[derive(Clone, Default)]
pub struct Slots(Arc<Mutex<BTreeMap<String, Slot>>>);

impl Slots {
    fn slot(&self, name: &str) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || Slot(Arc::new(RwLock::new(Arc::new(|_| Default::default()))));
        slots.entry(name.to_owned()).or_insert_with(empty).clone()
    }

    /// From now on `name` gives these fields.
    pub fn fill(&self, name: &str, fields: FieldsOf) {
        *self.slot(name).0.write().unwrap_or_else(PoisonError::into_inner) = fields;
    }

    /// The fields of whoever has the name when a row is made.
    pub fn of(&self, name: &str) -> FieldsOf {
        let slot = self.slot(name);
        Arc::new(move |partition| {
            let fields = slot.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            fields(partition)
        })
    }
}
