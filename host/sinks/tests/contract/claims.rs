//! Claims as bytes, and claims for other suites.

use sawlog_core::EpochId;
use sawlog_core::SinkId;
use sawlog_core::claims::{Claim, Moved, Vector};
use sawlog_core::journal::{Judge, Mark, Standing, Verdict};
use sawlog_core::ledger::{Counts, Reasons};
use sawlog_core::plan::{Entry, Planned};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use sawlog_sinks::object::{decode_claim, encode_claim};

/// A claim with `entries` decisions and everything else that a claim can hold.
pub fn claim(number: u64, entries: u64) -> Claim {
    let generation = Generation([number as u8; 16]);
    let partition = PartitionId([9; 16]);
    let mark = |pos: u64| {
        let counts = Counts { delivered: u64::MAX, dropped: Reasons::of("a \"b\"", 2), ..Counts::default() };
        let (cursor, open, anchor) = (Cursor { pos, slot: 3 }, vec![pos - 1], vec![0, 255]);
        Mark::from(Standing { cursor, open: open.into(), anchor: anchor.into(), counts })
    };
    let entry = |i: u64| match i % 2 {
        0 => Entry::Range { generation, lo: i, hi: i + 7 },
        _ => Entry::Flush { generation, at: Cursor::at(i), component: 2, now: i64::MAX },
    };
    let planned = |i: u64| (partition, Planned { time: i64::MIN + i as i64, epoch: EpochId([5; 16]), entry: entry(i) });
    let judges = [Judge::Component(4), Judge::Sink(SinkId::new("lake"), 1 << 16)];
    Claim {
        lost: Vec::new(),
        directory: "0123".into(),
        attempt: format!("{number:016x}"),
        sink_epoch: "e".into(),
        moved: vec![Moved { generation, partition, from: Cursor::at(1), to: mark(9) }],
        plans: (0..entries).map(planned).collect(),
        verdicts: judges.into_iter().map(|judge| Verdict { generation, pos: 4, slot: 0, judge }).collect(),
        keys: vec![("dt=2026-01-01".into(), "dt=2026-01-01/x.jsonl".into())],
        passed: number,
        vector: Vector { since: Some(1), marks: vec![(generation, mark(u64::MAX))] },
        closed: i64::MAX,
        floor: -1,
        written: 7,
        switch: Some("s3://new".into()),
    }
}

#[test]
fn claims_come_back_as_they_went() {
    for entries in [0, 3, 20_000] {
        let claim = claim(7, entries);
        assert_eq!(decode_claim(&encode_claim(&claim).unwrap()).unwrap(), claim);
    }
}

#[test]
fn a_small_claim_is_readable_and_a_large_one_is_small() {
    let small = encode_claim(&claim(7, 1)).unwrap();
    assert!(small.starts_with(b"{\"version\":1,"), "{}", String::from_utf8_lossy(&small));
    let large = encode_claim(&claim(7, 20_000)).unwrap();
    assert!(large.len() < 400_000, "{} bytes for 20,000 entries", large.len());
}

#[test]
fn what_is_no_claim_is_refused_with_a_reason() {
    let newer = br#"{"version":2,"anything":0}"#;
    assert!(decode_claim(newer).unwrap_err().to_string().contains("newer sawlog"));
    for wrong in [&b""[..], b"{", b"{\"version\":1}", &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]] {
        let error = decode_claim(wrong).unwrap_err().to_string();
        assert!(error.starts_with("it"), "{error}");
    }
}
