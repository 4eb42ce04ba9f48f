//! What was answered 2xx comes out exactly once, at positions that stay.

use super::super::config::Ack;
use super::super::queue::RequestQueue as _;
use super::*;
use std::collections::BTreeSet;
use std::io::Write;

/// Headers and body of a request, and how many records it holds.
type Case<'a> = (Vec<(&'a str, &'a str)>, Vec<u8>, u64);

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_and_coding_is_taken() {
    let queue = StandIn::empty(2, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let json = ("content-type", "application/json; charset=utf-8");
    let text = ("content-type", "text/plain");
    let (gz, zst) = (("content-encoding", "gzip"), ("content-encoding", "zstd"));
    let sent: Vec<Case<'_>> = vec![
        (vec![NDJSON], b"{\"n\":1}\n{\"n\":2}\n".to_vec(), 2),
        (vec![json], b"[{\"n\":3},\n {\"n\":4}]".to_vec(), 2),
        (vec![json], b"{\"n\":5}".to_vec(), 1),
        (vec![text], b"plain 6\r\nplain 7".to_vec(), 2),
        (vec![NDJSON, gz], gzip(b"{\"n\":8}\n"), 1),
        (vec![text, zst], zstd::encode_all(&b"plain 9\n"[..], 3).unwrap(), 1),
        (vec![json], b"[]".to_vec(), 0),
    ];
    for (headers, body, records) in sent {
        let told = post(&source, &headers, body).await;
        assert_eq!((told.status, &told.body["accepted"]), (200, &records.into()), "{headers:?}: {told:?}");
    }
    let expected =
        ["plain 6", "plain 7", "plain 9", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}", "{\"n\":5}", "{\"n\":8}"];
    assert_eq!(texts(&source).await, expected);
    assert_eq!(queue.reserved_bytes(), 0, "room comes back");
    assert_eq!((source.counts().requests, source.counts().records), (6, 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_can_wait_is_answered_when_every_sink_has_its_request() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&HttpOptions { ack: Ack::AfterSinks, ..options() }, &queue).await;
    let generation = events(&source).into_iter().find_map(|event| match event {
        SourceEvent::Opened { generation, .. } => Some(generation),
        _ => None,
    });
    let poster = source.clone();
    let key = [NDJSON, ("idempotency-key", "one")];
    let posted = tokio::spawn(async move { post(&poster, &key, "{\"n\":1}\n").await });
    while texts(&source).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, end) = queue.extent(0).unwrap();
    source.trim(generation.unwrap(), end - 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!posted.is_finished(), "a part of it is on this node alone");
    source.trim(generation.unwrap(), end).await;
    assert_eq!(posted.await.unwrap().status, 200);
    assert_eq!(post(&source, &key, "{\"n\":1}\n").await.status, 200, "sent again, it was delivered before");
    // The agent ends while another waits.
    let poster = source.clone();
    let posted = tokio::spawn(async move { post(&poster, &[NDJSON], "{\"n\":2}\n").await });
    while queue.extent(0).unwrap().1 == end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    source.stop(Duration::from_secs(5)).await;
    let told = posted.await.unwrap();
    assert!(told.status == 504 && told.head.contains_key("retry-after"), "{told:?}");
    assert!(told.body["error"].as_str().unwrap().contains("stored on this node and will be delivered"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_every_acknowledged_record_is_there_once_at_the_same_position() {
    let queue = StandIn::empty(3, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let mut sent = BTreeSet::new();
    for n in 0..40 {
        let body: String = (0..=n % 4).map(|i| format!("{{\"n\":\"{n}.{i}\"}}\n")).collect();
        assert_eq!(post(&source, &[NDJSON], body.clone()).await.status, 200);
        sent.extend(body.lines().map(str::to_owned));
    }
    let before = all(&source, LIMITS).await;
    drop(source);
    let queue = queue.reopened();
    let source = begun(&options(), &queue).await;
    let after = all(&source, ReadLimits { bytes_max: 40, records_max: 3 }).await;
    assert_eq!(before, after, "positions, accept times and order don't depend on how it is read");
    assert_eq!(after.len(), sent.len());
    assert_eq!(after.into_iter().map(|(.., text)| text).collect::<BTreeSet<_>>(), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_journal_knows_is_not_opened_again_and_what_is_lost_is_said_to_be_gone() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    post(&source, &[NDJSON], "{\"n\":1}\n{\"n\":2}\n").await;
    let found = events(&source);
    let [SourceEvent::Opened { generation, partition, identity, start: 0 }, SourceEvent::Available { end, .. }] =
        &found[..]
    else {
        panic!("{found:?}")
    };
    let read = source.read(*generation, 0, *end, LIMITS).await.unwrap();
    let floor = read.records[0].end;
    assert!(read.records.iter().all(|record| record.received > 0));
    let source =
        HttpIntake::open(&options(), "agent-1", "push", queue.reopened(), sawlog_core::memory::Pool::unbounded())
            .unwrap();
    let lost = Generation([9; 16]);
    let known = (*generation, *partition, identity.clone(), floor);
    source.restore(vec![known, (lost, *partition, [].into(), 0)]).await;
    let again =
        vec![SourceEvent::Gone { generation: lost }, SourceEvent::Available { generation: *generation, end: *end }];
    assert_eq!(events(&source), again);
    let rest = source.read(*generation, floor, *end, LIMITS).await.unwrap();
    assert_eq!(
        rest.records,
        read.records[1..].iter().map(|r| InputRecord { text: rest.records[0].text, ..*r }).collect::<Vec<_>>()
    );
    assert_eq!(source.anchor(*generation, floor).await, [0; 16]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_read_in_parts_and_ranges_end_where_they_were_planned() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let body: String = (0..5_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for _ in 0..2 {
        assert_eq!(post(&source, &[NDJSON], body.clone()).await.status, 200);
    }
    let whole = all(&source, ReadLimits { bytes_max: 1 << 30, records_max: 1 << 20 }).await;
    assert_eq!(whole.len(), 10_000);
    let (generation, from, to) = (whole[0].0, whole[1_233].1.end, whole[6_000].1.end);
    let mut at = from;
    let mut part = Vec::new();
    while at < to {
        let input = source.read(generation, at, to, ReadLimits { bytes_max: 700, records_max: 77 }).await.unwrap();
        at = input.records.last().unwrap().end;
        part.extend(input.records.into_iter().map(|record| record.pos));
    }
    assert_eq!(part, whole[1_234..=6_000].iter().map(|(_, record, _)| record.pos).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_takes_one_body_once() {
    let queue = StandIn::empty(2, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let key = ("idempotency-key", "k-1");
    for _ in 0..3 {
        let told = post(&source, &[NDJSON, key], "{\"n\":1}\n").await;
        assert_eq!((told.status, &told.body["accepted"]), (200, &1.into()));
    }
    let told = post(&source, &[NDJSON, key], "{\"n\":2}\n").await;
    assert_eq!(told.status, 422, "{told:?}");
    assert!(told.body["error"].as_str().unwrap().contains("new key"));
    assert_eq!(texts(&source).await, ["{\"n\":1}"]);
    assert_eq!(source.counts().repeated, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accept_times_above_the_floor_hold_the_bound() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    post(&source, &[NDJSON], "{\"n\":1}\n").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    post(&source, &[NDJSON], "{\"n\":2}\n").await;
    let all = all(&source, LIMITS).await;
    assert_eq!(source.oldest_unplanned(), Some(all[0].1.received));
    source.trim(all[0].0, all[0].1.end).await;
    assert_eq!(source.oldest_unplanned(), Some(all[1].1.received));
    source.trim(all[0].0, all[1].1.end).await;
    assert!(source.oldest_unplanned() > Some(all[1].1.received));
    assert_eq!(queue.trimmed(), [(0, all[0].1.end), (0, all[1].1.end)]);
    let again = begun(&options(), &queue.reopened()).await;
    assert_eq!(again.oldest_unplanned(), Some(all[0].1.received), "also of what an earlier run stored");
}
