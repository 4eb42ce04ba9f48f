//! Whether two components made the same of a record: the same rows for the same outputs, or the same end, in the words of the contract
//! and not by the numbers that a component gives its routes and reasons.

use crate::apply::{Applied, write_record};
use crate::plugin::Plugin;
use crate::registration::Registration;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What became of a batch, by input record.
type Fates = BTreeMap<u32, DefaultHasher>;

/// Compares what two components made of the same batch.
#[derive(Debug)]
pub(super) struct Judge {
    present: Registration,
    candidate: Registration,
}

impl Judge {
    pub(super) fn between(present: &Plugin, candidate: &Plugin) -> Self {
        Self { present: present.registration().clone(), candidate: candidate.registration().clone() }
    }

    /// Of how many of these input records the candidate made something else.
    pub(super) fn differing(&self, records: &BTreeSet<u32>, present: &Applied, candidate: &Applied) -> u64 {
        let (present, candidate) = (fates(present, &self.present), fates(candidate, &self.candidate));
        let fate = |fates: &Fates, record: &u32| fates.get(record).map(Hasher::finish);
        records.iter().filter(|record| fate(&present, record) != fate(&candidate, record)).count() as u64
    }
}

fn fates(applied: &Applied, registration: &Registration) -> Fates {
    let mut fates = Fates::new();
    let mut record = Vec::new();
    for (row, route) in applied.batch.rows.iter().zip(&applied.routes) {
        record.clear();
        write_record(&applied.batch, row, &mut record);
        let route = route.checked_sub(1).and_then(|i| registration.routes.get(usize::from(i)));
        ("row", row.id.k, row.time, route, &record).hash(fates.entry(row.parent).or_default());
    }
    for (parent, reason) in &applied.dropped {
        ("dropped", registration.drop_reason(*reason)).hash(fates.entry(*parent).or_default());
    }
    for parent in &applied.absorbed {
        "absorbed".hash(fates.entry(*parent).or_default());
    }
    for (row, death) in &applied.dead {
        ("dead", death.text()).hash(fates.entry(row.parent).or_default());
    }
    fates
}
