//! The log under a simulated disk: crashes at every effect, torn and reordered sectors, lost names, failing syncs, a full disk.
//! The oracle: what was acknowledged is there after recovery, in order and byte for byte; what is there beyond was appended
//! by us, whole, in order, and in the group that was under way.
#![allow(clippy::unwrap_used)]

use sawlog_log::sim::SimDisk;
use sawlog_log::{Disk, Log, LogError, LogOptions, Lsn};
use std::sync::Arc;

fn options(seed: u64) -> LogOptions {
    let mut options = LogOptions::new([seed as u8; 16]);
    options.segment_bytes = 4096;
    options
}

/// Every payload tells its number, so order, loss and invention all show. Half of the runs use frames of exactly one sector:
/// there a stale frame behind a torn tail sits just where the next one will be looked for.
fn payload(random: &mut fastrand::Rng, number: u64, even: bool) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    if even {
        bytes.resize(512 - sawlog_log::FRAME_HEADER_BYTES, number as u8);
        return bytes;
    }
    let limit = if random.u8(..20) == 0 { 6000 } else { 900 };
    bytes.resize(8 + random.usize(..limit), number as u8);
    bytes
}

#[derive(Default)]
struct Oracle {
    even: bool,
    acknowledged: Vec<(Lsn, Vec<u8>)>,
    /// Appended after the last acknowledgement; may or may not have survived.
    unknown: Vec<(Lsn, Vec<u8>)>,
    first: Lsn,
}

impl Oracle {
    /// Opens the log and compares; what survived counts as acknowledged from now on.
    fn open(&mut self, disk: &SimDisk, seed: u64) -> Result<Log, LogError> {
        let mut seen = Vec::new();
        let (log, opening) =
            Log::open(Arc::new(disk.clone()), "wal", options(seed), |lsn, bytes| seen.push((lsn, bytes.to_vec())))?;
        assert!(opening.first <= self.first, "seed {seed}: trimmed what nobody gave back");
        let kept = self.acknowledged.iter().filter(|(lsn, _)| *lsn >= opening.first).cloned().collect::<Vec<_>>();
        assert!(seen.len() >= kept.len(), "seed {seed}: lost {} frames", kept.len() - seen.len());
        assert!(seen[..kept.len()] == kept[..], "seed {seed}: an acknowledged frame is another one");
        let extra = &seen[kept.len()..];
        assert!(self.unknown.starts_with(extra), "seed {seed}: a frame appears that was never the next one");
        assert_eq!(log.end(), opening.end);
        self.acknowledged = seen;
        self.unknown.clear();
        Ok(log)
    }

    fn group(&mut self, log: &mut Log, random: &mut fastrand::Rng, number: &mut u64) -> Result<(), LogError> {
        for _ in 0..random.usize(1..6) {
            let bytes = payload(random, *number, self.even);
            let lsn = log.append(&bytes)?;
            self.unknown.push((lsn, bytes));
            *number += 1;
        }
        let outcome = log.commit();
        let durable = match &outcome {
            Err(LogError::Void { lo, .. }) => *lo,
            _ => log.durable(),
        };
        let done = self.unknown.iter().take_while(|(lsn, bytes)| lsn + 24 + bytes.len() as u64 <= durable).count();
        self.acknowledged.extend(self.unknown.drain(..done));
        match outcome {
            Ok(_) => Ok(()),
            // Void and withdrawn frames must never show again; frames in doubt may.
            Err(error @ (LogError::Void { .. } | LogError::Disk { .. })) if !in_doubt(&error) => {
                self.unknown.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn trim(&mut self, log: &mut Log, random: &mut fastrand::Rng) -> Result<(), LogError> {
        if let Some((floor, _)) = self.acknowledged.get(random.usize(..=self.acknowledged.len())) {
            self.first = self.first.max(*floor);
            let first = log.trim(*floor)?;
            assert!(first <= *floor);
            self.acknowledged.retain(|(lsn, _)| *lsn >= first);
        }
        Ok(())
    }
}

/// Whether the machine itself went away, so that nothing is known.
fn in_doubt(error: &LogError) -> bool {
    match error {
        LogError::Disk { source, .. } | LogError::Void { source, .. } => {
            matches!(source, sawlog_log::DiskError::Crashed)
        }
        _ => true,
    }
}

fn run(seed: u64) -> (u64, std::collections::BTreeMap<&'static str, u64>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = SimDisk::new(seed ^ 0x5eed);
    let (mut oracle, mut number, mut crashes) = (Oracle { even: seed.is_multiple_of(2), ..Oracle::default() }, 0, 0);
    for _life in 0..8 {
        disk.crash_after(random.u64(1..60));
        if random.u8(..3) == 0 {
            disk.fail_sync_after(random.u64(..12));
        }
        if random.u8(..4) == 0 {
            disk.limit_space(Some(random.u64(8_000..60_000)));
        }
        if let Ok(mut log) = oracle.open_tolerant(&disk, seed) {
            for _ in 0..random.usize(1..20) {
                let step = if random.u8(..4) == 0 {
                    oracle.trim(&mut log, &mut random)
                } else {
                    oracle.group(&mut log, &mut random, &mut number)
                };
                if step.is_err() {
                    break;
                }
            }
        }
        disk.crash();
        crashes += 1;
    }
    let log = oracle.open(&disk, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let reader = log.reader();
    let (mut at, mut read) = (reader.first(), Vec::new());
    loop {
        let chunk = reader.read(at, random.usize(1..3000)).unwrap();
        if chunk.frames.is_empty() {
            break;
        }
        read.extend(chunk.frames.into_iter().map(|frame| (frame.lsn, frame.payload.to_vec())));
        at = chunk.next;
    }
    assert!(read == oracle.acknowledged, "seed {seed}: the reader sees other frames than recovery");
    (crashes, disk.faults_fired())
}

impl Oracle {
    /// Opening may meet the crash or the full disk itself; it must not meet damage.
    fn open_tolerant(&mut self, disk: &SimDisk, seed: u64) -> Result<Log, LogError> {
        let before = (self.acknowledged.clone(), self.unknown.clone());
        let opened = self.open(disk, seed);
        match &opened {
            Err(LogError::Corrupt(damage)) => panic!("seed {seed}: {damage:?}"),
            Err(_) => (self.acknowledged, self.unknown) = before,
            Ok(_) => {}
        }
        opened
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_void_returns() {
    let seeds = std::env::var("SAWLOG_SEEDS").map_or(2_000, |text| text.parse().unwrap());
    let (mut crashes, mut fired) = (0, std::collections::BTreeMap::<&str, u64>::new());
    for seed in 0..seeds {
        let (more, faults) = run(seed);
        crashes += more;
        for (fault, times) in faults {
            *fired.entry(fault).or_default() += times;
        }
    }
    println!("{seeds} seeds, {crashes} crashes, {fired:?}");
    for fault in ["crash", "failed sync", "no space"] {
        assert!(fired.get(fault).is_some_and(|times| *times > seeds / 20), "{fault} hardly ever fired: {fired:?}");
    }
}

#[test]
fn a_crash_at_every_effect_of_one_run_and_again_at_every_effect_of_its_recovery() {
    let script = |disk: &SimDisk, oracle: &mut Oracle| -> Result<(), LogError> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut log = oracle.open_tolerant(disk, 1)?;
        let mut number = 0;
        for round in 0..12 {
            oracle.group(&mut log, &mut random, &mut number)?;
            if round == 8 {
                oracle.trim(&mut log, &mut random)?;
            }
        }
        Ok(())
    };
    let whole = SimDisk::new(0);
    script(&whole, &mut Oracle::default()).unwrap();
    let mut points = 0;
    for first in 0..whole.effects() {
        for second in 0..12 {
            let (disk, mut oracle) = (SimDisk::new(first * 100 + second), Oracle::default());
            disk.crash_after(first);
            assert!(script(&disk, &mut oracle).is_err());
            disk.crash();
            disk.crash_after(second);
            drop(oracle.open_tolerant(&disk, 1));
            disk.crash();
            oracle.open(&disk, 1).unwrap_or_else(|error| panic!("crash at {first}, then {second}: {error}"));
            points += 1;
        }
    }
    println!("{points} pairs of crash points over {} effects", whole.effects());
}

#[test]
fn a_log_whose_void_frame_cannot_be_written_is_dead_until_reopened() {
    let disk = SimDisk::new(3);
    let mut oracle = Oracle::default();
    let mut log = oracle.open(&disk, 3).unwrap();
    let lsn = log.append(b"kept").unwrap();
    log.commit().unwrap();
    oracle.acknowledged.push((lsn, b"kept".to_vec()));
    log.append(b"void").unwrap();
    disk.fail_sync_after(0);
    // The spare that the void frame would go to is taken away.
    for name in disk.list("wal").unwrap().iter().filter(|name| name.ends_with(".spare")) {
        disk.remove(&format!("wal/{name}")).unwrap();
    }
    assert!(matches!(log.commit(), Err(LogError::Dead { .. })));
    assert!(matches!(log.append(b"more"), Err(LogError::Dead { .. })));
    oracle.unknown.push((lsn + 28, b"void".to_vec()));
    disk.crash();
    oracle.open(&disk, 3).unwrap();
}

/// A refused frame never shows up later, also where half of its group had reached the file when the disk was full.
#[test]
fn what_a_full_disk_refused_does_not_come_back() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let open = || {
            let mut seen = Vec::new();
            let opened = Log::open(Arc::new(disk.clone()), "wal", options(1), |_, bytes| seen.push(bytes.to_vec()));
            (opened.unwrap().0, seen)
        };
        let (mut log, _) = open();
        log.append(&[1; 488]).unwrap();
        log.commit().unwrap();
        // Leftovers behind the end make the next opening cut the file; there is no room to take the space again.
        let segment = disk.open("wal/0000000001-0000000000000000.seg").unwrap();
        segment.write_at(2000, b"stale").unwrap();
        segment.datasync().unwrap();
        disk.limit_space(Some(4096 + 1024 + 512));
        let (mut log, _) = open();
        log.append(&[2; 488]).unwrap();
        log.append(&[3; 488]).unwrap();
        assert!(matches!(log.commit(), Err(LogError::Disk { .. })));
        assert_eq!(log.end(), log.durable());
        disk.crash();
        assert_eq!(open().1, [vec![1; 488]], "seed {seed}");
    }
}
