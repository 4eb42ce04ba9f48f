//! The journal under a simulated disk. The oracle: a load gives a snapshot that stands for records 0..n and the records from n
//! on, in order, at least up to the last one acknowledged; blobs that were acknowledged and not given up are whole.
#![allow(clippy::unwrap_used)]

use futures_util::FutureExt as _;
use sawlog_checkpoint::{CheckpointError, DataDir, DiskJournal, JournalOptions, set_aside};
use sawlog_core::pace::Pressure;
use sawlog_core::ports::{JournalStore, Journalled};
use sawlog_log::Drive;
use sawlog_log::sim::SimDisk;
use std::collections::BTreeSet;
use std::sync::Arc;

fn options() -> JournalOptions {
    let mut options = JournalOptions::new([1; 16]);
    options.segment_bytes = 2048;
    options.reserve_bytes = 2048;
    options.checkpoint_reserve_bytes = 4096;
    options.keep = 2;
    options
}

fn number(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[..8].try_into().unwrap())
}

/// Records are numbered; a snapshot is the number of records it stands for.
#[derive(Default)]
struct Model {
    /// Records appended so far; the next one's number.
    appended: u64,
    /// Records known to be durable.
    durable: u64,
    /// Records that the newest acknowledged snapshot stands for.
    snapshot: u64,
    blobs: BTreeSet<[u8; 32]>,
}

impl Model {
    async fn open(&mut self, disk: &SimDisk, seed: u64) -> Result<DiskJournal, String> {
        let journal = match DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline) {
            Err(error @ (CheckpointError::Corrupt { .. } | CheckpointError::NewerFormat { .. })) => {
                panic!("seed {seed}: {error}")
            }
            opened => opened.map_err(|error| error.to_string())?,
        };
        let Journalled { snapshot, records } = journal.load().await.map_err(|error| error.to_string())?;
        let start = snapshot.map_or(0, |state| number(&state));
        assert!(start >= self.snapshot, "seed {seed}: snapshot of {start} after one of {} was durable", self.snapshot);
        for (i, record) in records.iter().enumerate() {
            assert_eq!(number(record), start + i as u64, "seed {seed}: records out of order");
        }
        let end = start + records.len() as u64;
        assert!(end >= self.durable, "seed {seed}: {end} records of {} that were durable", self.durable);
        assert!(end <= self.appended, "seed {seed}: {end} records, only {} were ever appended", self.appended);
        for digest in &self.blobs {
            let blob = journal.get_blob(*digest).await.map_err(|error| error.to_string())?;
            assert!(blob.is_some(), "seed {seed}: a durable blob is gone");
        }
        (self.appended, self.durable, self.snapshot) = (end, end, start);
        Ok(journal)
    }

    fn records(&mut self, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
        let numbers = self.appended..self.appended + random.u64(1..4);
        self.appended = numbers.end;
        let record = |number: u64| [&number.to_le_bytes()[..], &vec![7; random.usize(..300)]].concat();
        numbers.map(record).collect()
    }

    async fn step(&mut self, journal: &DiskJournal, random: &mut fastrand::Rng) -> Result<(), ()> {
        match random.u8(..10) {
            0 => {
                // Records appended after the call are not in the snapshot, whichever future is polled first; and of two
                // snapshots the later one counts.
                let (first, stands_for) = (journal.snapshot(self.appended.to_le_bytes().to_vec()), self.appended);
                let between = journal.append(self.records(random), true);
                let second =
                    random.bool().then(|| (journal.snapshot(self.appended.to_le_bytes().to_vec()), self.appended));
                between.await.map_err(|_| ())?;
                self.durable = self.appended;
                if let Some((second, stands_for)) = second {
                    second.await.map_err(|_| ())?;
                    self.snapshot = stands_for;
                }
                first.await.map_err(|_| ())?;
                self.snapshot = self.snapshot.max(stands_for);
            }
            1 => {
                let digest = journal.put_blob(vec![random.u8(..4); 1500]).await.map_err(|_| ())?;
                self.blobs.insert(digest);
            }
            2 => {
                let keep = self.blobs.iter().copied().filter(|_| random.bool()).collect::<Vec<_>>();
                self.blobs = keep.iter().copied().collect();
                journal.retain_blobs(keep).await.map_err(|_| ())?;
            }
            _ => {
                // Two calls whose futures are polled the other way round: the order is that of the calls.
                let (first, second) = (self.records(random), self.records(random));
                let lazy = journal.append(first, false);
                let urgent = journal.append(second, true);
                if random.bool() {
                    urgent.await.map_err(|_| ())?;
                    // The lazy one came before, so it is durable by now and its future knows.
                    lazy.now_or_never().expect("durable with the urgent one").map_err(|_| ())?;
                } else {
                    drop(lazy);
                    urgent.await.map_err(|_| ())?;
                }
                self.durable = self.appended;
            }
        }
        Ok(())
    }
}

async fn run(seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = SimDisk::new(seed ^ 0xc0de);
    let (mut model, mut snapshots) = (Model::default(), 0);
    for _life in 0..8 {
        disk.crash_after(random.u64(1..80));
        if random.u8(..4) == 0 {
            disk.fail_sync_after(random.u64(..10));
        }
        if let Ok(journal) = model.open(&disk, seed).await {
            for _ in 0..random.usize(1..30) {
                let before = model.snapshot;
                if model.step(&journal, &mut random).await.is_err() {
                    break;
                }
                snapshots += u64::from(model.snapshot > before);
            }
        }
        disk.crash();
    }
    model.open(&disk, seed).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    snapshots
}

#[tokio::test(flavor = "current_thread")]
async fn a_load_gives_everything_acknowledged_in_order() {
    let seeds = std::env::var("SAWLOG_SEEDS").map_or(1_000, |text| text.parse().unwrap());
    let mut snapshots = 0;
    for seed in 0..seeds {
        snapshots += run(seed).await;
    }
    println!("{seeds} seeds, {} crashes, {snapshots} snapshots", seeds * 8);
    assert!(snapshots > seeds, "hardly any snapshot came about");
}

#[tokio::test(flavor = "current_thread")]
async fn damage_refuses_to_open_and_names_the_way_out() {
    let disk = SimDisk::new(1);
    {
        let journal = DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).unwrap();
        for i in 0..20u64 {
            journal.append(vec![i.to_le_bytes().to_vec()], true).await.unwrap();
        }
        journal.snapshot(20u64.to_le_bytes().to_vec()).await.unwrap();
        journal.append(vec![b"more".to_vec()], true).await.unwrap();
    }
    let refused = |disk: &SimDisk| {
        let error = DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).err().unwrap();
        assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("sawlog checkpoint restore --from"), "{error}");
    };
    let segment = "journal/0000000001-0000000000000000.seg";
    disk.flip_bit(segment, 600 * 8).unwrap();
    refused(&disk);
    disk.flip_bit(segment, 600 * 8).unwrap();
    disk.flip_bit("checkpoints/0000000001.ckpt", 700).unwrap();
    refused(&disk);
    disk.flip_bit("checkpoints/0000000001.ckpt", 700).unwrap();
    DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_damaged_journal_is_set_aside_and_a_restored_snapshot_goes_on() {
    let disk = SimDisk::new(1);
    let blob = {
        let journal = DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).unwrap();
        journal.append(vec![vec![1; 100]], true).await.unwrap();
        journal.append(vec![vec![2; 100]], true).await.unwrap();
        journal.put_blob(b"plugin".to_vec()).await.unwrap()
    };
    disk.flip_bit("journal/0000000001-0000000000000000.seg", 600 * 8).unwrap();
    assert!(DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).is_err());
    assert_eq!(set_aside(&disk).unwrap(), "damaged/1");
    let journal = DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).unwrap();
    assert!(journal.load().await.unwrap().records.is_empty());
    journal.snapshot(b"restored".to_vec()).await.unwrap();
    drop(journal);
    disk.crash();
    let journal = DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Inline).unwrap();
    assert_eq!(journal.load().await.unwrap().snapshot.unwrap(), b"restored");
    assert_eq!(journal.get_blob(blob).await.unwrap().unwrap(), b"plugin");
    assert_eq!(journal.checkpoints().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn the_quota_warns_then_refuses_and_a_snapshot_relieves_it() {
    let disk = SimDisk::new(1);
    let mut options = options();
    (options.quota_bytes, options.reserve_bytes) = (20_000, 4_096);
    let open = || DiskJournal::open(Arc::new(disk.clone()), options.clone(), Drive::Inline).unwrap();
    let journal = open();
    let mut seen = Vec::new();
    let refused = loop {
        seen.push(journal.pressure());
        if let Err(error) = journal.append(vec![vec![0; 500]], true).await {
            break error;
        }
    };
    assert!(refused.to_string().contains("its quota is 20000"), "{refused}");
    seen.dedup();
    assert_eq!(seen, [Pressure::Low, Pressure::Half, Pressure::High]);
    let next = journal.append(vec![vec![0]], true).await.unwrap_err();
    assert_eq!(next.to_string(), refused.to_string(), "what follows from the refused one is refused too");
    drop(journal);
    let journal = open();
    journal.snapshot(b"all of it".to_vec()).await.unwrap();
    assert_eq!(journal.pressure(), Pressure::Low);
    journal.append(vec![vec![0; 500]], true).await.unwrap();
}

/// The lane that hears of the failure ends, but another has appended meanwhile what follows from it: a PLAN of a history, say, whose
/// record was in the failed group. Were it taken, a restart would find the one without the other.
#[tokio::test(flavor = "current_thread")]
async fn after_a_failed_sync_nothing_is_taken_that_follows_from_what_is_void() {
    for drive in [Drive::Inline, Drive::Thread] {
        let disk = SimDisk::new(1);
        let journal = DiskJournal::open(Arc::new(disk.clone()), options(), drive).unwrap();
        journal.append(vec![b"a".to_vec()], true).await.unwrap();
        disk.fail_sync_after(0);
        let history = journal.append(vec![b"b".to_vec()], true);
        let failed = history.await.unwrap_err().to_string();
        let planned = journal.append(vec![b"c".to_vec()], true).await.unwrap_err().to_string();
        assert_eq!(planned, failed);
        assert!(journal.snapshot(b"all of it".to_vec()).await.is_err());
        drop(journal);
        // Without a power cut too: the page cache shows what is not on the disk.
        let journal = DiskJournal::open(Arc::new(disk), options(), Drive::Inline).unwrap();
        let Journalled { snapshot, records } = journal.load().await.unwrap();
        assert_eq!((snapshot, records), (None, vec![b"a".to_vec()]));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_makes_a_real_journal_wait_and_not_fail() {
    let disk = SimDisk::new(1);
    let journal = Arc::new(DiskJournal::open(Arc::new(disk.clone()), options(), Drive::Thread).unwrap());
    disk.limit_space(Some(0));
    let appends = (0..20u64).map(|i| journal.append(vec![i.to_le_bytes().repeat(40)], true)).collect::<Vec<_>>();
    let snapshot = journal.snapshot(vec![9; 3000]);
    while !journal.is_holding() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    disk.limit_space(None);
    for append in appends {
        append.await.unwrap();
    }
    snapshot.await.unwrap();
    assert_eq!(journal.load().await.unwrap().snapshot.unwrap(), vec![9; 3000]);
    journal.close().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_real_directory_keeps_it_all_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let blob = {
        let data = DataDir::open(dir.path()).unwrap();
        let journal = DiskJournal::open(data.disk(), options(), Drive::Thread).unwrap();
        for i in 0..10u64 {
            journal.append(vec![i.to_le_bytes().to_vec()], true).await.unwrap();
        }
        journal.snapshot(10u64.to_le_bytes().to_vec()).await.unwrap();
        journal.append(vec![10u64.to_le_bytes().to_vec()], true).await.unwrap();
        let blob = journal.put_blob(vec![5; 100_000]).await.unwrap();
        journal.close().await.unwrap();
        blob
    };
    let data = DataDir::open(dir.path()).unwrap();
    let journal = DiskJournal::open(data.disk(), options(), Drive::Thread).unwrap();
    let loaded = journal.load().await.unwrap();
    assert_eq!((number(&loaded.snapshot.unwrap()), loaded.records), (10, vec![10u64.to_le_bytes().to_vec()]));
    assert_eq!(journal.get_blob(blob).await.unwrap().unwrap(), vec![5; 100_000]);
    journal.retain_blobs(Vec::new()).await.unwrap();
    assert!(journal.get_blob(blob).await.unwrap().is_none());
}
