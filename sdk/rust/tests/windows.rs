//! Windows of every kind, by the golden suite that all SDKs share: late rows, rows out of order, idle partitions, and a crash
//! after every row.

use sawlog_plugin::windows::{Closed, Gather, Kind, OTHER_KEY, Windows};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count(u64);

impl Gather for Count {
    fn merge(&mut self, later: Self) {
        self.0 += later.0;
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: Kind,
    lateness: i64,
    late: Vec<usize>,
    rows: Vec<(i64, String)>,
    #[serde(default)]
    idle_at: Vec<(usize, i64)>,
    closed: Vec<Expected>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Expected {
    after: usize,
    key: String,
    start: i64,
    end: i64,
    count: u64,
}

/// A run; with `crashes` the state goes through its bytes after every row.
fn run(case: &Case, crashes: bool) -> (Vec<Expected>, Vec<usize>) {
    let mut windows = Windows::<Count>::new(case.kind, 100);
    let (mut watermark, mut closed, mut late) = (i64::MIN, Vec::new(), Vec::new());
    let show = |after: usize, all: Vec<Closed<Count>>| {
        let one = |c: Closed<Count>| Expected { after, key: c.key, start: c.start, end: c.end, count: c.gathered.0 };
        all.into_iter().map(one).collect::<Vec<_>>()
    };
    for (number, (time, key)) in case.rows.iter().enumerate() {
        if let Some((_, now)) = case.idle_at.iter().find(|(row, _)| *row == number) {
            watermark = watermark.max(*now);
            closed.extend(show(number - 1, windows.close(*now, usize::MAX)));
        }
        if !windows.add(key, *time, watermark, |count| count.0 += 1) {
            late.push(number);
        }
        watermark = watermark.max(time - case.lateness);
        closed.extend(show(number, windows.close(watermark, 64)));
        if crashes {
            let bytes = windows.to_bytes();
            windows = Windows::new(case.kind, 100);
            windows.read(&bytes).expect("reads what it wrote");
            assert_eq!(windows.to_bytes(), bytes, "{}", case.name);
        }
    }
    closed.extend(show(case.rows.len(), windows.close(i64::MAX, usize::MAX)));
    assert!(windows.is_empty(), "{}: windows are left", case.name);
    (closed, late)
}

#[test]
fn every_kind_does_what_the_golden_suite_says_with_and_without_crashes() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../windows/golden.json")).expect("golden cases");
    assert!(cases.len() >= 10);
    for case in &cases {
        for crashes in [false, true] {
            let (closed, late) = run(case, crashes);
            assert_eq!(closed, case.closed, "{} (crashes: {crashes})", case.name);
            assert_eq!(late, case.late, "{} (crashes: {crashes})", case.name);
        }
    }
}

#[test]
fn too_many_keys_share_one_window_in_every_kind() {
    let kinds = [
        Kind::Tumbling { length: 10 },
        Kind::Sliding { length: 10, step: 10 },
        Kind::Session { gap: 10 },
        Kind::Count { rows: 100 },
    ];
    for kind in kinds {
        let mut windows = Windows::<Count>::new(kind, 2);
        for key in ["a", "b", "c", "d", "a"] {
            assert!(windows.add(key, 1, 0, |count| count.0 += 1));
        }
        let mut counts: Vec<_> = windows.close(i64::MAX, 9).into_iter().map(|c| (c.key, c.gathered.0)).collect();
        counts.sort();
        assert_eq!(counts, [(OTHER_KEY.to_owned(), 2), ("a".into(), 2), ("b".into(), 1)], "{kind:?}");
    }
}

#[test]
fn what_a_row_may_close_is_bounded_and_the_rest_follows() {
    let mut windows = Windows::<Count>::new(Kind::Tumbling { length: 10 }, 100);
    for key in ["a", "b", "c"] {
        windows.add(key, 1, 0, |count| count.0 += 1);
    }
    assert_eq!(windows.first_end(), Some(10));
    assert_eq!(windows.close(10, 2).len(), 2);
    assert_eq!(windows.close(10, 2).len(), 1);
    assert_eq!(windows.first_end(), None);
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let kinds = [Kind::Tumbling { length: 10 }, Kind::Sliding { length: 10, step: 3 }, Kind::Session { gap: 10 }];
    for kind in kinds {
        let mut windows = Windows::<Count>::new(kind, 100);
        for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1] {
            windows.add("a", time, i64::MIN, |count| count.0 += 1);
        }
        assert!(!windows.close(i64::MAX, 99).is_empty() && windows.is_empty(), "{kind:?}");
    }
}
