//! What became of one seed, and whether it counts.

use crate::world::Outside;
use sawlog_record::id::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

/// What a run showed.
pub struct Outcome {
    /// Empty = the protocol held.
    pub failures: BTreeSet<String>,
    /// How often each kind of fault and event happened.
    pub census: BTreeMap<&'static str, u64>,
    /// Input records.
    pub records: usize,
    /// Partitions that they belong to.
    pub partitions: usize,
}

impl Outcome {
    /// What became of a world into which `records` were written.
    pub fn of(outside: &Outside, records: usize) -> Self {
        let partitions: BTreeSet<PartitionId> = outside.files.iter().map(|file| file.partition).collect();
        let (failures, census) = (outside.failures.clone(), outside.census.clone());
        Self { failures, census, records, partitions: partitions.len() }
    }

    /// Why the seed does not count, where it proves too little. Three sinks at least every scenario has.
    pub fn too_little(&self) -> Option<String> {
        let crashes = self.census.get("crash").unwrap_or(&0) + self.census.get("kill").unwrap_or(&0);
        let is_thin = self.records < 200 || crashes < 8 || self.partitions < 2;
        is_thin.then(|| format!("{} records, {crashes} crashes, {} partitions", self.records, self.partitions))
    }
}
