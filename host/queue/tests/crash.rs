//! The queue under a simulated disk, with clients that retry. The oracle: an acknowledged request is there at its address; a
//! request with a key is there exactly once however often it was sent, before and after crashes and after its frame was
//! trimmed; accept times never fall along a shard; nothing is there that was never sent.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::FutureExt as _;
use sawlog_core::ports::{ReadLimits, RescueQueue as _};
use sawlog_log::sim::SimDisk;
use sawlog_log::{DiskError, Drive, LogError};
use sawlog_queue::{Accepted, Queue, QueueError, QueueOptions, Rescue, RescueOptions, Submission};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::id::Generation;
use std::collections::BTreeMap;
use std::sync::Arc;

fn options() -> QueueOptions {
    let mut options = QueueOptions::new([5; 16]);
    (options.shards, options.segment_bytes, options.quota_bytes) = (2, 4096, 1 << 20);
    options
}

#[derive(Default)]
struct Model {
    /// Bodies by number; a number is sent with one body only.
    sent: BTreeMap<u64, Sent>,
    next: u64,
    now: i64,
    /// What trims have asked for, per shard.
    floors: [u64; 2],
    repeats: u64,
    dropped: u64,
}

struct Sent {
    keyed: bool,
    body: Bytes,
    accepted: Option<Accepted>,
}

impl Model {
    fn submission(&self, number: u64) -> Submission {
        let sent = &self.sent[&number];
        let key = sent.keyed.then(|| format!("key-{number}"));
        Submission { accepted: self.now, principal: "p".into(), key, form: 1, body: sent.body.clone() }
    }

    /// Everything that the queue holds, checked against what was sent.
    fn check(&self, queue: &Queue, seed: u64) {
        let mut found = BTreeMap::<u64, Vec<(u32, u64)>>::new();
        for shard in 0..queue.shards() {
            let (mut at, mut newest) = (queue.extent(shard).unwrap().0, i64::MIN);
            assert!(at <= self.floors[shard as usize], "seed {seed}: trimmed what nobody gave back");
            loop {
                let chunk = queue.read(shard, at, 1000).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                if chunk.requests.is_empty() {
                    break;
                }
                for stored in chunk.requests {
                    let number = u64::from_le_bytes(stored.request.body[..8].try_into().unwrap());
                    assert_eq!(stored.request.body, self.sent[&number].body, "seed {seed}: another body");
                    assert!(stored.request.accepted >= newest, "seed {seed}: accept times fall");
                    newest = stored.request.accepted;
                    found.entry(number).or_default().push((shard, stored.lsn));
                    let inside = stored.body_lsn + stored.request.body.len() as u64 - 1;
                    assert_eq!(queue.read(shard, inside, 1).unwrap().requests[0].lsn, stored.lsn);
                }
                at = chunk.next;
            }
        }
        for (number, sent) in &self.sent {
            let places = found.get(number).map_or(&[][..], Vec::as_slice);
            assert!(!sent.keyed || places.len() <= 1, "seed {seed}: request {number} is stored {} times", places.len());
            if let Some(Accepted { shard, lsn, .. }) = sent.accepted {
                let trimmed = lsn < queue.extent(shard).unwrap().0;
                assert!(
                    trimmed || places.contains(&(shard, lsn)),
                    "seed {seed}: acknowledged request {number} is gone"
                );
                assert!(!trimmed || !sent.keyed || places.is_empty(), "seed {seed}: request {number} came back");
            }
        }
    }

    fn send_new(&mut self, random: &mut fastrand::Rng) -> u64 {
        let number = self.next;
        let mut body = number.to_le_bytes().to_vec();
        body.resize(8 + random.usize(..1500), number as u8);
        self.sent.insert(number, Sent { keyed: random.u8(..4) > 0, body: body.into(), accepted: None });
        self.next += 1;
        number
    }

    /// Stops the life on an error that tells of a crash or a dead log.
    async fn step(&mut self, queue: &Queue, random: &mut fastrand::Rng, seed: u64) -> Result<(), QueueError> {
        self.now += random.i64(-50..100);
        if random.u8(..6) == 0 {
            let shard = random.u32(..2);
            let places = self.sent.values().filter_map(|sent| sent.accepted).filter(|a| a.shard == shard);
            let places = places.map(|accepted| accepted.lsn).collect::<Vec<_>>();
            if !places.is_empty() {
                let floor = places[random.usize(..places.len())];
                let known = &mut self.floors[shard as usize];
                *known = floor.max(*known);
                queue.trim(shard, floor).await?;
            }
            return Ok(());
        }
        let again = self.sent.iter().filter(|(_, sent)| sent.keyed).map(|(number, _)| *number).collect::<Vec<_>>();
        let number =
            if again.is_empty() || random.bool() { self.send_new(random) } else { again[random.usize(..again.len())] };
        let submission = self.submission(number);
        let room = queue.reserve(submission.body.len())?;
        let accept = queue.accept(room, submission);
        if random.u8(..5) == 0 {
            // The client goes away at once.
            self.dropped += 1;
            drop(accept.now_or_never());
            return Ok(());
        }
        let accepted = accept.await?;
        let before = self.sent[&number].accepted;
        assert!(
            before
                .is_none_or(|before| (before.shard, before.lsn) == (accepted.shard, accepted.lsn) && accepted.repeated),
            "seed {seed}: request {number} was stored at {before:?} and again at {accepted:?}"
        );
        self.repeats += u64::from(accepted.repeated);
        self.sent.get_mut(&number).unwrap().accepted = Some(accepted);
        Ok(())
    }
}

fn may_go_on(error: &QueueError) -> bool {
    match error {
        QueueError::Full(_) => true,
        QueueError::Log(LogError::Void { source, .. } | LogError::Disk { source, .. }) => {
            !matches!(source, DiskError::Crashed)
        }
        _ => false,
    }
}

async fn run(seed: u64, totals: &mut [u64; 3]) {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = SimDisk::new(seed ^ 0x9e37);
    let mut model = Model::default();
    for _life in 0..7 {
        disk.crash_after(random.u64(1..90));
        if random.u8(..4) == 0 {
            disk.fail_sync_after(random.u64(..12));
        }
        if let Ok((queue, opening)) = Queue::open(Arc::new(disk.clone()), "queue/http", options(), Drive::Inline) {
            assert_eq!(opening.damage, [], "seed {seed}");
            model.check(&queue, seed);
            for _ in 0..random.usize(1..40) {
                match model.step(&queue, &mut random, seed).await {
                    Err(error) if !may_go_on(&error) => break,
                    _ => {}
                }
            }
        }
        disk.crash();
    }
    let (queue, _) = Queue::open(Arc::new(disk.clone()), "queue/http", options(), Drive::Inline).unwrap();
    model.check(&queue, seed);
    // Every client that has a key retries until it is answered; then every request is there exactly once.
    for number in model.sent.iter().filter(|(_, s)| s.keyed).map(|(n, _)| *n).collect::<Vec<_>>() {
        let submission = model.submission(number);
        let room = queue.reserve(submission.body.len()).unwrap();
        let accepted = queue.accept(room, submission).await.unwrap();
        assert!(model.sent[&number].accepted.is_none_or(|before| before.lsn == accepted.lsn), "seed {seed}: {number}");
        model.sent.get_mut(&number).unwrap().accepted = Some(accepted);
    }
    model.check(&queue, seed);
    for (total, more) in totals.iter_mut().zip([model.next, model.repeats, model.dropped]) {
        *total += more;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_is_stored_exactly_once_whatever_happens() {
    let seeds = std::env::var("SAWLOG_SEEDS").map_or(500, |text| text.parse().unwrap());
    let mut totals = [0; 3];
    for seed in 0..seeds {
        run(seed, &mut totals).await;
    }
    let [requests, repeats, dropped] = totals;
    println!(
        "{seeds} seeds, {} crashes, {requests} requests, {repeats} repeats answered, {dropped} clients gone",
        seeds * 7
    );
    assert!(repeats > seeds && dropped > seeds);
}

#[tokio::test(flavor = "current_thread")]
async fn a_key_with_another_body_and_a_full_queue_are_refused() {
    let disk = Arc::new(SimDisk::new(1));
    let (queue, _) = Queue::open(disk, "q", options(), Drive::Inline).unwrap();
    let submission = |body: &'static [u8]| Submission {
        accepted: 1,
        principal: "p".into(),
        key: Some("k".into()),
        form: 0,
        body: Bytes::from_static(body),
    };
    let first = queue.accept(queue.reserve(3).unwrap(), submission(b"one")).await.unwrap();
    let again = queue.accept(queue.reserve(3).unwrap(), submission(b"one")).await.unwrap();
    assert_eq!(again, Accepted { repeated: true, ..first });
    let other = queue.accept(queue.reserve(3).unwrap(), submission(b"two")).await.unwrap_err();
    assert!(matches!(other, QueueError::KeyReused));
    let full = queue.reserve(2 << 20).unwrap_err();
    assert!(full.used_bytes > 0 && full.asked_bytes > 2 << 20, "{full}");
    assert_eq!(queue.quota().reserved_bytes(), 0);
    let mut long = submission(b"x");
    long.principal = "p".repeat(256);
    let room = queue.reserve(1).unwrap();
    assert!(matches!(queue.accept(room, long).await, Err(QueueError::NameTooLong { .. })));
}

#[tokio::test(flavor = "current_thread")]
async fn two_that_send_the_same_at_once_are_answered_alike() {
    let disk = Arc::new(SimDisk::new(1));
    let (queue, _) = Queue::open(disk, "q", options(), Drive::Inline).unwrap();
    let submission = Submission {
        accepted: 1,
        principal: String::new(),
        key: Some("k".into()),
        form: 0,
        body: Bytes::from_static(b"body"),
    };
    let send = || queue.accept(queue.reserve(4).unwrap(), submission.clone());
    let (first, second) = futures_util::future::join(send(), send()).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.repeated, second.repeated), (false, true));
    assert_eq!(first.lsn, second.lsn);
}

#[tokio::test(flavor = "current_thread")]
async fn damage_is_reported_and_the_rest_is_served() {
    let disk = SimDisk::new(1);
    let mut places = Vec::new();
    let open =
        || Queue::open(Arc::new(disk.clone()), "q", QueueOptions { shards: 1, ..options() }, Drive::Inline).unwrap();
    {
        let (queue, _) = open();
        for n in 0..20u8 {
            let body = Bytes::from(vec![n; 100]);
            let submission = Submission { accepted: 1, principal: String::new(), key: None, form: 0, body };
            places.push(queue.accept(queue.reserve(100).unwrap(), submission).await.unwrap().lsn);
        }
    }
    let segment = disk_names(&disk, "q/shard-0000").into_iter().find(|name| name.ends_with(".seg")).unwrap();
    disk.flip_bit(&format!("q/shard-0000/{segment}"), (512 + places[3] + 60) * 8).unwrap();
    for _ in 0..2 {
        let (queue, opening) = open();
        assert_eq!(opening.damage.len(), 1, "{:?}", opening.damage);
        assert_eq!((opening.damage[0].lo, opening.damage[0].hi), (places[3], places[4]));
        let mut served = Vec::new();
        let mut at = 0;
        loop {
            let chunk = queue.read(0, at, 300).unwrap();
            if chunk.requests.is_empty() {
                break;
            }
            served.extend(chunk.requests.iter().map(|stored| stored.lsn));
            at = chunk.next;
        }
        let expected = places.iter().enumerate().filter(|(i, _)| *i != 3).map(|(_, lsn)| *lsn).collect::<Vec<_>>();
        assert_eq!(served, expected);
    }
}

fn disk_names(disk: &SimDisk, dir: &str) -> Vec<String> {
    sawlog_log::Disk::list(disk, dir).unwrap()
}

fn lines(generation: Generation, from: u64, count: u64) -> Input {
    let text = |pos: u64| format!("{pos:>8}");
    let arena = (0..count).flat_map(|i| text(from + i * 9).into_bytes()).collect();
    let record = |i: u64| InputRecord {
        pos: from + i * 9,
        end: from + i * 9 + 9,
        text: Span { start: i as u32 * 8, len: 8 },
        ..InputRecord::default()
    };
    Input { generation, arena, records: (0..count).map(record).collect(), open: Vec::new() }
}

#[tokio::test(flavor = "current_thread")]
async fn a_queue_opens_whatever_is_left_of_its_quota() {
    let disk = SimDisk::new(1);
    let mut model = Model::default();
    let number = model.send_new(&mut fastrand::Rng::with_seed(1));
    let first = Queue::open(Arc::new(disk.clone()), "q", options(), Drive::Inline).unwrap().0;
    let (room, submission) = (first.reserve(2_000).unwrap(), model.submission(number));
    first.accept(room, submission).await.unwrap();
    drop(first);
    let none = QueueOptions { quota_bytes: 0, ..options() };
    let (queue, opening) = Queue::open(Arc::new(disk), "q", none, Drive::Inline).unwrap();
    assert!(opening.damage.is_empty() && queue.quota().limit_bytes() == 2 * 4096);
    assert!((0..2).any(|shard| !queue.read(shard, queue.extent(shard).unwrap().0, 1).unwrap().requests.is_empty()));
}

#[tokio::test(flavor = "current_thread")]
async fn rescued_records_survive_crashes_until_released_and_then_free_their_room() {
    let limits = ReadLimits { bytes_max: 100, records_max: 1000 };
    let mut options = RescueOptions::new([6; 16]);
    (options.segment_bytes, options.quota_bytes) = (4096, 64 << 10);
    for seed in 0..200u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::new(seed);
        let open = || Rescue::open(Arc::new(disk.clone()), "rescue", options.clone(), Drive::Inline);
        let mut kept = BTreeMap::<u8, (u64, u64)>::new();
        for _life in 0..6 {
            disk.crash_after(random.u64(1..60));
            if let Ok(rescue) = open() {
                for _ in 0..random.usize(1..15) {
                    let (name, from, count) = (random.u8(..5), random.u64(..50) * 9, random.u64(1..120));
                    let generation = Generation([name; 16]);
                    if kept.remove(&name).is_some() {
                        // Whether or not this comes through: nobody will ask for it again.
                        rescue.release(generation).await;
                    } else if rescue.put(lines(generation, from, count), from, from + count * 9).await.is_ok() {
                        kept.insert(name, (from, from + count * 9));
                    }
                }
            }
            disk.crash();
            let rescue = open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(rescue.damage(), [], "seed {seed}");
            let known = kept.keys().map(|name| Generation([*name; 16])).collect::<Vec<_>>();
            rescue.retain(&known).await.unwrap();
            for (name, &(lo, hi)) in &kept {
                let (mut at, mut seen) = (lo, 0);
                while let Some(input) = rescue.read(Generation([*name; 16]), at, hi, limits).await.unwrap() {
                    for record in &input.records {
                        assert_eq!(record.pos, at, "seed {seed}: a gap");
                        assert_eq!(record.text.of(&input.arena), format!("{at:>8}").as_bytes());
                        at = record.end;
                        seen += 1;
                    }
                }
                assert_eq!((at, seen), (hi, (hi - lo) / 9), "seed {seed}: rescued records are missing");
            }
        }
        let rescue = open().unwrap();
        rescue.retain(&[]).await.unwrap();
        assert!(rescue.generations().is_empty() && rescue.kept_bytes() < 4096, "seed {seed}: {}", rescue.kept_bytes());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_rescue_queue_tells_when_a_release_has_made_room() {
    let mut options = RescueOptions::new([6; 16]);
    (options.segment_bytes, options.quota_bytes) = (4096, 64 << 10);
    let rescue = Rescue::open(Arc::new(SimDisk::new(1)), "rescue", options, Drive::Inline).unwrap();
    let (old, new) = (Generation([1; 16]), Generation([2; 16]));
    let (mut end, part) = (0, 100 * 9);
    while rescue.put(lines(old, end, 100), end, end + part).await.is_ok() {
        end += part;
    }
    let freed = rescue.freed();
    assert!(rescue.put(lines(new, 0, 100), 0, part).await.is_err());
    assert!(rescue.freed().now_or_never().is_none(), "it is as full as before");
    rescue.release(old).await;
    assert_eq!(freed.now_or_never(), Some(()), "also to whoever began to listen before it asked");
    rescue.put(lines(new, 0, 100), 0, part).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn after_a_failed_sync_the_same_key_is_a_new_request() {
    let disk = SimDisk::new(1);
    let (queue, _) = Queue::open(Arc::new(disk.clone()), "q", options(), Drive::Inline).unwrap();
    let submission = || Submission {
        accepted: 1,
        principal: String::new(),
        key: Some("k".into()),
        form: 0,
        body: Bytes::from_static(b"body"),
    };
    disk.fail_sync_after(0);
    let failed = queue.accept(queue.reserve(4).unwrap(), submission()).await.unwrap_err();
    assert!(matches!(failed, QueueError::Log(LogError::Void { .. })) && !failed.is_final(), "{failed}");
    assert_eq!(queue.quota().reserved_bytes(), 0);
    let stored = queue.accept(queue.reserve(4).unwrap(), submission()).await.unwrap();
    assert!(!stored.repeated);
}
