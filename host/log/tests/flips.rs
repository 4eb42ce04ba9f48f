//! A full segment with one bit of it changed, and cut at every length: whatever is read back was written, in its order, and nothing
//! panics. Journal and queue have this one format. The usual run tries a part, `--full` every single bit and length.
#![allow(clippy::unwrap_used)]

use sawlog_log::sim::SimDisk;
use sawlog_log::{Disk, Log, LogError, LogOptions, OnDamage};
use std::sync::Arc;

const SEGMENT_BYTES: usize = 64 << 10;
/// Places that the usual run leaves out between two; odd, so that every bit of a byte has its turn.
const STRIDE: usize = 127;

fn options() -> LogOptions {
    let mut options = LogOptions::new([0x5a; 16]);
    options.segment_bytes = SEGMENT_BYTES as u64;
    options.on_damage = OnDamage::Report;
    options
}

fn open(disk: &SimDisk) -> Result<(usize, Vec<Vec<u8>>), LogError> {
    let mut seen = Vec::new();
    let (_, opening) = Log::open(Arc::new(disk.clone()), "log", options(), |_, payload| seen.push(payload.to_vec()))?;
    Ok((opening.damage.len(), seen))
}

/// A segment as a crash left it, its name, and what was written into it: frames of 4 to 600 bytes, some commits of two. The last
/// commit is one frame: whether a damaged one there was ever whole is not known, and it is cut off.
fn written() -> (String, Vec<u8>, Vec<Vec<u8>>) {
    let disk = SimDisk::new(1);
    let (mut log, _) = Log::open(Arc::new(disk.clone()), "log", options(), |_, _| {}).unwrap();
    let (mut payloads, mut bytes) = (Vec::<Vec<u8>>::new(), 1024 + 30);
    for n in 0u32.. {
        let payload = n.to_le_bytes().repeat(1 + (n as usize * 37) % 150);
        bytes += payload.len() + 24;
        if bytes > SEGMENT_BYTES {
            break;
        }
        log.append(&payload).unwrap();
        payloads.push(payload);
        if n % 3 != 0 {
            log.commit().unwrap();
        }
    }
    log.commit().unwrap();
    payloads.push(b"last".to_vec());
    log.append(b"last").unwrap();
    log.commit().unwrap();
    let name = disk.list("log").unwrap().into_iter().min().unwrap();
    let segment = sawlog_log::disk::read_all(&*disk.open(&format!("log/{name}")).unwrap()).unwrap();
    assert_eq!(segment.len(), SEGMENT_BYTES);
    (name, segment, payloads)
}

/// Opens a log of this one segment. What it gives must be some of `payloads` in order; how many.
fn given_back(name: &str, segment: &[u8], payloads: &[Vec<u8>], what: &str) -> Option<usize> {
    let disk = SimDisk::new(1);
    disk.create_dir("log").unwrap();
    disk.create(&format!("log/{name}")).unwrap().write_at(0, segment).unwrap();
    let (_, seen) = open(&disk).ok()?;
    let mut rest = payloads.iter();
    let wrong = seen.iter().find(|payload| !rest.any(|written| written == *payload));
    assert!(wrong.is_none(), "{what}: a frame that nobody wrote: {wrong:?}");
    Some(seen.len())
}

fn stride() -> usize {
    if std::env::var_os("SAWLOG_TEST_FULL").is_some() { 1 } else { STRIDE }
}

/// Runs `check` over `0..end` on every core.
fn over(end: usize, check: impl Fn(usize) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let check = &check;
            scope.spawn(move || (0..end).step_by(stride()).skip(first).step_by(threads).for_each(check));
        }
    });
}

#[test]
fn no_flipped_bit_makes_a_frame_that_nobody_wrote_or_costs_more_than_its_own() {
    let (name, segment, payloads) = written();
    assert_eq!(given_back(&name, &segment, &payloads, "untouched"), Some(payloads.len()));
    over(SEGMENT_BYTES * 8, |bit| {
        let mut damaged = segment.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match given_back(&name, &damaged, &payloads, &format!("bit {bit}")) {
            // A log whose only header is damaged does not open.
            None => assert!(bit / 8 < 512, "bit {bit} closes the whole log"),
            Some(frames) => assert!(frames + 1 >= payloads.len(), "bit {bit}: {frames} of {}", payloads.len()),
        }
    });
}

#[test]
fn no_length_at_which_a_segment_is_cut_makes_a_frame_that_nobody_wrote() {
    let (name, segment, payloads) = written();
    over(SEGMENT_BYTES, |length| {
        given_back(&name, &segment[..length], &payloads, &format!("cut at {length}"));
    });
}
