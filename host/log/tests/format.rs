//! Format version 1 as it lies on a disk, damage at the level of a whole log, and the group commit on real threads.
#![allow(clippy::unwrap_used)]

use sawlog_log::sim::SimDisk;
use sawlog_log::{Disk, Drive, Gather, Log, LogError, LogOptions, OnDamage, OnFull, RealDisk, SharedLog};
use std::sync::Arc;
use std::time::Duration;

const SAMPLE_NAME: &str = "0000000001-0000000000000000.seg";
const SAMPLE: &[u8] = include_bytes!("data/v1-0000000001-0000000000000000.seg");

fn options() -> LogOptions {
    let mut options = LogOptions::new([0x5a; 16]);
    options.segment_bytes = 2048;
    options
}

fn read_back(disk: &SimDisk, options: LogOptions) -> Result<(Log, sawlog_log::Opening, Vec<Vec<u8>>), LogError> {
    let mut seen = Vec::new();
    let (log, opening) = Log::open(Arc::new(disk.clone()), "log", options, |_, payload| seen.push(payload.to_vec()))?;
    Ok((log, opening, seen))
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.create_dir("log").unwrap();
    disk.create(&format!("log/{name}")).unwrap().write_at(0, bytes).unwrap();
}

/// What the sample holds: "first", "second" in one commit, "third" in the next.
fn write_sample(disk: &SimDisk) {
    let (mut log, ..) = read_back(disk, options()).unwrap();
    log.append(b"first").unwrap();
    log.append(b"second").unwrap();
    log.commit().unwrap();
    log.append(b"third").unwrap();
    log.commit().unwrap();
}

#[test]
fn the_sample_of_version_1_loads_and_is_still_what_we_write() {
    let disk = SimDisk::new(1);
    put(&disk, SAMPLE_NAME, SAMPLE);
    let (_, opening, seen) = read_back(&disk, options()).unwrap();
    assert_eq!(seen, [&b"first"[..], b"second", b"third"]);
    assert_eq!(opening.incarnation, [0x5a; 16]);
    let fresh = SimDisk::new(2);
    write_sample(&fresh);
    let written = sawlog_log::disk::read_all(&*fresh.open(&format!("log/{SAMPLE_NAME}")).unwrap()).unwrap();
    assert!(written == SAMPLE, "the writer of version 1 changed; raise the version instead");
}

/// Four segments of several frames each.
fn four_segments() -> (SimDisk, Vec<Vec<u8>>, Vec<String>) {
    let disk = SimDisk::new(1);
    let (mut log, ..) = read_back(&disk, options()).unwrap();
    let payloads = (0..12u8).map(|n| vec![n; 450]).collect::<Vec<_>>();
    for payload in &payloads {
        log.append(payload).unwrap();
        log.commit().unwrap();
    }
    let segments = disk.list("log").unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect::<Vec<_>>();
    assert_eq!(segments.len(), 4);
    (disk, payloads, segments.iter().map(|name| format!("log/{name}")).collect())
}

#[test]
fn damage_refuses_or_is_reported_and_costs_no_other_frame() {
    let (disk, payloads, segments) = four_segments();
    disk.flip_bit(&segments[1], (512 + 100) * 8).unwrap();
    assert!(matches!(read_back(&disk, options()), Err(LogError::Corrupt(_))));
    for _ in 0..2 {
        let report = LogOptions { on_damage: OnDamage::Report, ..options() };
        let (mut log, opening, seen) = read_back(&disk, report).unwrap();
        assert_eq!(opening.damage.len(), 1);
        assert!(seen.len() == payloads.len() - 1 && seen.iter().all(|payload| payloads.contains(payload)));
        assert_eq!(log.trim(0).unwrap(), 0);
    }
    // Trimmed, the damaged segment is put aside instead of recycled, and nothing is reported any more.
    let (mut log, ..) = read_back(&disk, LogOptions { on_damage: OnDamage::Report, ..options() }).unwrap();
    log.trim(log.durable()).unwrap();
    assert_eq!(disk.list("log").unwrap().iter().filter(|name| name.ends_with(".bad")).count(), 1);
    assert!(read_back(&disk, options()).is_ok());
}

#[test]
fn a_lost_header_costs_no_frame_and_a_lost_segment_is_told() {
    let (disk, payloads, segments) = four_segments();
    disk.flip_bit(&segments[2], 100).unwrap();
    assert!(matches!(read_back(&disk, options()), Err(LogError::Corrupt(_))));
    let report = LogOptions { on_damage: OnDamage::Report, ..options() };
    let (_, opening, seen) = read_back(&disk, report.clone()).unwrap();
    assert!(seen == payloads && opening.damage.len() == 1, "{:?}", opening.damage);
    disk.remove(&segments[2]).unwrap();
    assert!(matches!(read_back(&disk, options()), Err(LogError::Corrupt(_))));
    let (_, opening, seen) = read_back(&disk, report).unwrap();
    assert_eq!((opening.damage.len(), seen.len()), (1, payloads.len() - 3));
    assert_eq!(opening.damage[0].hi - opening.damage[0].lo, 3 * (450 + 24));
}

#[test]
fn a_log_without_any_sound_header_never_opens() {
    let (disk, _, segments) = four_segments();
    segments.iter().for_each(|segment| disk.flip_bit(segment, 100).unwrap());
    let report = LogOptions { on_damage: OnDamage::Report, ..options() };
    assert!(matches!(read_back(&disk, report), Err(LogError::Corrupt(_))));
}

#[test]
fn a_misdirected_read_is_an_error_and_not_another_frame() {
    let (disk, payloads, _) = four_segments();
    let (log, ..) = read_back(&disk, options()).unwrap();
    let reader = log.reader();
    disk.misdirect_read_after(0);
    assert!(reader.read(0, 1000).is_err());
    assert_eq!(reader.read(0, 1000).unwrap().frames[0].payload, payloads[0]);
}

#[test]
fn a_segment_of_a_later_version_is_told_from_damage() {
    let disk = SimDisk::new(1);
    let mut newer = SAMPLE.to_vec();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..508]);
    newer[508..512].copy_from_slice(&crc.to_le_bytes());
    put(&disk, SAMPLE_NAME, &newer);
    assert!(matches!(read_back(&disk, options()), Err(LogError::NewerFormat { found: 2, known: 1, .. })));
}

#[test]
fn segments_are_recycled_and_stale_frames_in_them_never_count() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = read_back(&disk, options()).unwrap();
    for round in 0..200u32 {
        let lsn = log.append(&round.to_le_bytes().repeat(112)).unwrap();
        log.commit().unwrap();
        log.trim(lsn).unwrap();
        assert!(log.reader().disk_bytes() <= 4 * 2048, "trimmed segments pile up");
        if round % 7 == 0 {
            drop(log);
            let (again, _, seen) = read_back(&disk, options()).unwrap();
            assert_eq!(seen.last().unwrap(), &round.to_le_bytes().repeat(112));
            assert!(seen.len() <= 4);
            log = again;
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn many_writers_share_syncs_and_each_finds_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let mut options = LogOptions::new([1; 16]);
    options.segment_bytes = 256 << 10;
    let (log, _) = Log::open(disk.clone(), "wal", options.clone(), |_, _| {}).unwrap();
    let gather = Gather { bytes: 1 << 20, time: Duration::from_millis(2) };
    let shared = SharedLog::start(log, Drive::Thread, gather, OnFull::Refuse, "test-wal").unwrap();
    let payload = |i: u32| i.to_le_bytes().repeat(100);
    let lazy = shared.append(vec![b"lazy".to_vec()], false);
    let appends = (0..2000u32).map(|i| shared.append(vec![payload(i)], true)).collect::<Vec<_>>();
    let committed = futures_util::future::join_all(appends).await;
    assert_eq!(lazy.await.unwrap().lsns, [0]);
    for (i, committed) in committed.into_iter().enumerate() {
        let lsn = committed.unwrap().lsns[0];
        assert_eq!(shared.reader().read(lsn, 1).unwrap().frames[0].payload, payload(i as u32));
        assert_eq!(shared.reader().frame_start(lsn + 200).unwrap(), lsn);
    }
    shared.close().await.unwrap();
    assert!(matches!(shared.append(Vec::new(), true).await, Err(LogError::Closed { .. })));
    let mut frames = 0;
    Log::open(disk, "wal", options, |_, _| frames += 1).unwrap();
    assert_eq!(frames, 2001);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_not_urgent_becomes_durable_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let (log, _) = Log::open(disk, "wal", LogOptions::new([1; 16]), |_, _| {}).unwrap();
    let shared = SharedLog::start(log, Drive::Thread, Gather::default(), OnFull::Refuse, "test-wal").unwrap();
    assert_eq!(shared.append(vec![b"hint".to_vec()], false).await.unwrap().lsns, [0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_sync_is_told_to_everyone_in_the_group_and_the_next_group_goes_on() {
    let disk = SimDisk::new(1);
    let (log, ..) = read_back(&disk, options()).unwrap();
    let shared = SharedLog::start(log, Drive::Inline, Gather::default(), OnFull::Refuse, "").unwrap();
    shared.append(vec![b"kept".to_vec()], true).await.unwrap();
    disk.fail_sync_after(0);
    let group = (0..3u8).map(|i| shared.append(vec![vec![i]], true)).collect::<Vec<_>>();
    for result in futures_util::future::join_all(group).await {
        assert!(matches!(result, Err(LogError::Void { .. })));
    }
    let after = shared.append(vec![b"after".to_vec()], true).await.unwrap().lsns[0];
    disk.crash();
    let (log, opening, seen) = read_back(&disk, options()).unwrap();
    assert_eq!(seen, [&b"kept"[..], b"after"]);
    assert!(opening.damage.is_empty());
    // The reader steps over the void.
    let chunk = log.reader().read(28, 1000).unwrap();
    assert_eq!(chunk.frames[0].lsn, after);
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_holds_or_refuses_and_either_way_the_order_stays() {
    let disk = SimDisk::new(1);
    let (log, ..) = read_back(&disk, options()).unwrap();
    let shared = SharedLog::start(log, Drive::Thread, Gather::default(), OnFull::Hold, "test-wal").unwrap();
    // The active segment and the spare hold six frames of this size; the rest has to wait.
    disk.limit_space(Some(4096));
    let appends = (0..9u8).map(|n| shared.append(vec![vec![n; 450]], true)).collect::<Vec<_>>();
    while !shared.is_holding() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(shared.reader().durable(), 6 * (450 + 24), "the space taken in advance was not used");
    disk.limit_space(None);
    for committed in futures_util::future::join_all(appends).await {
        committed.unwrap();
    }
    assert!(!shared.is_holding());
    shared.close().await.unwrap();
    disk.crash();
    let (log, _, seen) = read_back(&disk, options()).unwrap();
    assert_eq!(seen.iter().map(|payload| payload[0]).collect::<Vec<_>>(), (0..9).collect::<Vec<u8>>());
    let refusing = SharedLog::start(log, Drive::Thread, Gather::default(), OnFull::Refuse, "test-wal").unwrap();
    disk.limit_space(Some(0));
    let results = (0..20u8).map(|n| refusing.append(vec![vec![n; 450]], true)).collect::<Vec<_>>();
    let results = futures_util::future::join_all(results).await;
    assert!(matches!(results[19], Err(LogError::Disk { .. })), "{:?}", results[19]);
    disk.limit_space(None);
    refusing.append(vec![b"again".to_vec()], true).await.unwrap();
}
