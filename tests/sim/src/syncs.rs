//! Syncs that fail: the disk drops what it was to make durable and says so once. The journal of such a life is spent, and the process
//! ends soon; the queue of rescued input and that of pushed input go on behind what is void. Whether a world has them is told by its
//! seed's number, and nothing is drawn in the others: they go as they always went.

use crate::world::{Outside, SimFile, SimRecord};

/// Every so many seeds.
const EVERY: u64 = 8;
/// Which of them.
const WHICH: [u64; 2] = [2, 7];
/// Of a thousand syncs of the journal so many fail.
const JOURNAL_PER_MILLE: usize = 6;
/// Of a thousand reads of a blob: no sync, and it does no harm beyond that.
const BLOB_PER_MILLE: usize = 30;
/// Of a thousand syncs of a queue.
const QUEUE_PER_MILLE: usize = 200;

/// Whether syncs fail in the world of this seed.
pub fn fail(seed: u64) -> bool {
    WHICH.contains(&(seed % EVERY))
}

fn draw(outside: &mut Outside, per_mille: usize, what: &'static str) -> bool {
    let fails = outside.syncs_fail && outside.faults && outside.rng.hits(per_mille);
    if fails {
        *outside.census.entry(what).or_default() += 1;
    }
    fails
}

/// Whether this sync of the journal fails. Then some of what was written is gone though reads would show it, the rest may be found
/// after a crash.
pub fn journal_fails(outside: &mut Outside) -> bool {
    if !draw(outside, JOURNAL_PER_MILLE, "journal_fsync") {
        return false;
    }
    // Whoever goes on writing, and believes the next sync, has a hole in the middle.
    let goes_on = outside.planted == Some("journal_goes_on");
    let kept = if goes_on { 0 } else { outside.rng.below(outside.journal.pending.len() + 1) };
    outside.journal.pending.truncate(kept);
    outside.journal.spent = !goes_on;
    outside.journal.wakers.drain(..).for_each(std::task::Waker::wake);
    true
}

/// Whether this read of a blob fails; another one may not.
pub fn blob_fails(outside: &mut Outside) -> bool {
    draw(outside, BLOB_PER_MILLE, "blob_unread")
}

/// Whether this sync of the rescue queue fails; nothing of the range is there then.
pub fn rescue_fails(outside: &mut Outside) -> bool {
    draw(outside, QUEUE_PER_MILLE, "rescue_fsync")
}

/// A client's request of these records reaches the queue that is `file`. Where its sync fails, their places are void, and the client
/// that hears of it sends the same again.
pub fn push(outside: &mut Outside, file: usize, records: Vec<SimRecord>) {
    if outside.files[file].source == "more" && draw(outside, QUEUE_PER_MILLE, "queue_fsync") {
        let life = outside.life;
        let void = records.iter().map(|record| SimRecord { void: Some(life), ..*record });
        outside.files[file].records.extend(void);
    }
    outside.files[file].records.extend(records);
}

/// Whether a reader is shown this record: never what is void, but for the mistake of showing what the page cache has.
pub fn shows(outside: &Outside, record: &SimRecord) -> bool {
    let is_cached = || outside.planted == Some("queue_read_unsynced") && record.void == Some(outside.life);
    record.void.is_none() || is_cached()
}

/// Bytes of a file's void places from `lo` to `hi` of which `is_counted` says nothing.
pub fn void_bytes(file: &SimFile, (lo, hi): (u64, u64), is_counted: impl Fn(u64) -> bool) -> u64 {
    let places = (0..).step_by(crate::world::RECORD_BYTES as usize).zip(&file.records);
    let mine = places.filter(|(pos, record)| (lo..hi).contains(pos) && record.void.is_some() && !is_counted(*pos));
    mine.count() as u64 * crate::world::RECORD_BYTES
}
