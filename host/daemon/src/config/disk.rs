//! How `limits.disk` is divided among all that is kept below `data_dir`.

use sawlog_settings::ByteSize;
use sawlog_settings::decode::Complaint;
use sawlog_sources::registry::SourceOptions;

use super::parsed::Parsed;
use super::sections::Limits;

/// Size of a segment of the queue of a source: three and one more of them per shard are taken in advance.
pub const QUEUE_SEGMENT_BYTES: u64 = 8 << 20;
/// The journal has a tenth, and no less than this.
const JOURNAL_BYTES_MIN: u64 = 32 << 20;
/// Bytes of dead letters that wait to be delivered again, at least and at most.
const REPLAY_BYTES: (u64, u64) = (20 << 20, 256 << 20);
/// Least bytes of rescued, and of unpacked, input.
const PART_BYTES_MIN: u64 = 32 << 20;
/// What is proposed is a multiple of this.
const STEP_BYTES: u64 = 32 << 20;

/// Bytes on the disk for each purpose; together they are `limits.disk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskShares {
    /// The journal.
    pub journal: u64,
    /// The write-ahead queue of each source that is pushed to.
    pub queue: u64,
    /// Records of files that vanish before all sinks have them.
    pub rescue: u64,
    /// Contents of compressed files while they are read.
    pub unpacked: u64,
    /// Dead letters that are delivered again.
    pub replay: u64,
}

impl DiskShares {
    /// The division for so many queues: each has two parts, rescued and unpacked input one each. `None` where `limit` bytes are too
    /// few for that.
    pub fn of(limit: u64, queues: u64) -> Option<Self> {
        let journal = (limit / 10).max(JOURNAL_BYTES_MIN);
        let rest = limit.checked_sub(journal)?;
        let replay = (rest / 16).clamp(REPLAY_BYTES.0, REPLAY_BYTES.1);
        let rest = rest.checked_sub(replay)?;
        let part = (rest / (2 * queues + 2)).max(PART_BYTES_MIN);
        let queue = rest.checked_sub(2 * part)?.checked_div(queues).unwrap_or_default();
        Some(Self { journal, queue, rescue: part, unpacked: part, replay })
    }

    /// The division of what a configuration allows, whose check has found it enough.
    pub fn of_config<'a>(limits: &Limits, sources: impl Iterator<Item = &'a SourceOptions>) -> Self {
        let queues = shards(limits, sources).len() as u64;
        let enough = Self::of(limits.disk.as_bytes(), queues).or_else(|| Self::of(least(&[]), 0));
        enough.unwrap_or(Self { journal: JOURNAL_BYTES_MIN, queue: 0, rescue: 0, unpacked: 0, replay: 0 })
    }
}

/// Complains where the disk is too small for what the sources keep on it.
pub fn check(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let Some(sections) = &parsed.sections else { return };
    let limits = &sections.limits;
    let sources = parsed.sources.iter().filter_map(|source| source.options.as_ref());
    let shards = shards(limits, sources);
    if is_enough(limits.disk.as_bytes(), &shards) {
        return;
    }
    let queues = match shards.as_slice() {
        [] => String::new(),
        [one] => format!(" and a queue of pushed input, shards: {one}"),
        more => format!(" and {} queues of pushed input, shards: {}", more.len(), more.iter().sum::<u64>()),
    };
    let reason = format!(
        "{} is too little for a journal{queues}; write at least {}",
        limits.disk,
        ByteSize::bytes(least(&shards))
    );
    let place = parsed.tree.place_of("limits.disk").unwrap_or(parsed.tree.place);
    complaints.push(Complaint::error(place, reason));
}

/// The shards of each queue.
fn shards<'a>(limits: &Limits, sources: impl Iterator<Item = &'a SourceOptions>) -> Vec<u64> {
    let of_http = |source: &SourceOptions| match source {
        SourceOptions::Http(http) => Some(http.shards.map_or(limits.workers() as u64, u64::from).max(1)),
        _ => None,
    };
    sources.filter_map(of_http).collect()
}

fn is_enough(limit: u64, shards: &[u64]) -> bool {
    let needed = shards.iter().map(|shards| (shards * 4 + 2) * QUEUE_SEGMENT_BYTES).max().unwrap_or_default();
    DiskShares::of(limit, shards.len() as u64).is_some_and(|division| division.queue >= needed)
}

/// The least that is enough, in whole steps.
fn least(shards: &[u64]) -> u64 {
    let mut limit = STEP_BYTES;
    while !is_enough(limit, shards) {
        limit += STEP_BYTES;
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_are_the_limit() {
        for limit in [128 << 20, 1 << 30, 8 << 30, 1 << 40] {
            for queues in 0..5 {
                let Some(division) = DiskShares::of(limit, queues) else { continue };
                let DiskShares { journal, queue, rescue, unpacked, replay } = division;
                let sum = journal + queues * queue + rescue + unpacked + replay;
                assert!(sum <= limit, "{queues} queues in {limit}: {division:?}");
                assert!(sum + queues >= limit || queues == 0, "{queues} queues in {limit}: {division:?}");
            }
        }
        assert_eq!(DiskShares::of(64 << 20, 0), None);
    }

    #[test]
    fn what_is_proposed_is_enough_and_a_step_less_is_not() {
        for shards in [vec![], vec![1], vec![16, 2], vec![2; 5], vec![64; 20]] {
            let least = least(&shards);
            assert!(is_enough(least, &shards) && !is_enough(least - STEP_BYTES, &shards), "{shards:?}: {least}");
        }
    }
}
