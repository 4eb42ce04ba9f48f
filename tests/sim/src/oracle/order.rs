//! Whether a partition was read in the order of its files: what follows a rotation comes behind what was written before it.

use super::Decisions;
use crate::world::{Outside, RECORD_BYTES, SimFile};
use sawlog_core::plan::{Entry, Planned};
use sawlog_record::id::Generation;

/// What was written to a file before its partition had another is planned before all that the other has. What comes again comes when
/// a person wants it.
pub(super) fn check(outside: &Outside, d: &Decisions, failures: &mut Vec<String>) {
    for stream in d.streams.values() {
        let mut newest: Option<&SimFile> = None;
        let ranges = stream.iter().filter_map(range).filter(|(generation, ..)| !d.repeats.contains(generation));
        for (generation, lo, hi) in ranges {
            let Some(file) = d.file(outside, generation) else { continue };
            let places = (0..).step_by(RECORD_BYTES as usize).zip(&file.records);
            let mut due =
                places.filter(|(pos, record)| (lo..hi).contains(pos) && record.void.is_none() && !record.is_late);
            let newer = newest.filter(|newest| newest.number > file.number);
            if let (Some(newer), Some((pos, _))) = (newer, due.next()) {
                failures.push(format!("{file:?} at {pos} is planned behind {newer:?}, which was made later"));
            }
            newest = newer.or(Some(file));
        }
    }
}

fn range(planned: &Planned) -> Option<(Generation, u64, u64)> {
    let Entry::Range { generation, lo, hi } = planned.entry else { return None };
    Some((generation, lo, hi))
}
