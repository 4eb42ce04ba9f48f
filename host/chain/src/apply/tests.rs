//! Edits applied to rows, seen through the rows' JSON.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::trial;
use crate::view::Column;
use crate::wit::sawlog::plugin::types::{Edit, LogRecord, Update, Value};

fn no_edits() -> Edits {
    Edits {
        keep: vec![],
        edits: vec![],
        routes: vec![],
        added: vec![],
        dropped: vec![],
        absorbed: vec![],
        dead: vec![],
        wake_at: None,
    }
}

fn whole(batch: &Batch, edits: Edits) -> Outcome {
    let end = batch.rows.len() as u32;
    Outcome { parts: vec![Part { start: 0, end, edits: Checked(edits) }], poison: vec![] }
}

fn shown(applied: &Applied) -> Vec<String> {
    applied.batch.rows.iter().map(|row| json(&applied.batch, row)).collect()
}

fn json(batch: &Batch, row: &Row) -> String {
    let mut out = Vec::new();
    write_record(batch, row, &mut out);
    String::from_utf8(out).unwrap()
}

fn update(field: &str, rows: &[u32], values: &[(&str, bool)]) -> Edit {
    let mut column = Column { offsets: vec![0], data: vec![], present: vec![], json: vec![0] };
    for (i, (value, is_json)) in values.iter().enumerate() {
        column.data.extend_from_slice(value.as_bytes());
        column.offsets.push(column.data.len() as u32);
        column.json[0] |= u64::from(*is_json) << i;
    }
    Edit::Update(Update { field: field.into(), rows: rows.to_vec(), values: column })
}

fn record(time: i64, fields: &[(&str, Value)]) -> LogRecord {
    LogRecord { timestamp: time, fields: fields.iter().map(|(n, v)| ((*n).into(), v.clone())).collect() }
}

#[test]
fn edits_run_in_order_and_untouched_rows_keep_their_bytes() {
    let batch = trial::read("{\"a\":1.0, \"b\":\"x\\u0041\"}\n{\"a\": 2,\"c\":{\"d\":[1]}}\n{ \"z\":null }").unwrap();
    let before: Vec<String> = batch.rows.iter().map(|row| json(&batch, row)).collect();
    let edits = vec![
        update("b", &[1], &[("new \"b\"", false)]),
        update("c.e", &[1], &[("3", true)]),
        Edit::Rename(("b".into(), "renamed".into())),
        update("c.d", &[1], &[("[]", true)]),
    ];
    let applied = apply(batch, &whole(&trial::read("{}\n{}\n{}").unwrap(), Edits { edits, ..no_edits() }), 1);
    let found = shown(&applied);
    assert_eq!(found[0], r#"{"a":1.0,"renamed":"x\u0041"}"#);
    assert_eq!(found[1], r#"{"a":2,"c":{"d":[],"e":3},"renamed":"new \"b\""}"#);
    assert_eq!(found[2], before[2]);
    assert!(applied.batch.rows[2].text.is_some(), "writers may still copy it");
}

#[test]
fn adding_a_field_keeps_the_text_and_changing_one_does_not() {
    let batch = trial::read("{\"a\":1}\n{\"a\":1}").unwrap();
    let edits = vec![Edit::SetAll(("host.name".into(), "n1".into())), update("a", &[1], &[("2", true)])];
    let outcome = whole(&batch, Edits { edits, ..no_edits() });
    let applied = apply(batch, &outcome, 1);
    assert_eq!(shown(&applied), [r#"{"a":1,"host.name":"n1"}"#, r#"{"a":2,"host.name":"n1"}"#]);
    assert_eq!(applied.batch.rows.iter().map(|r| r.text.is_some()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_replaced_record_is_what_later_edits_see() {
    let batch = trial::read("{\"a\":1}\n{\"a\":2}").unwrap();
    let edits = vec![
        update("$record", &[0], &[(r#" {"k\u0065y":[1, 2],"b":true} "#, true)]),
        Edit::Remove("b".into()),
        Edit::Timestamps((vec![1], vec![77])),
    ];
    let outcome = whole(&batch, Edits { edits, ..no_edits() });
    let applied = apply(batch, &outcome, 1);
    assert_eq!(shown(&applied), [r#"{"key":[1, 2]}"#, r#"{"a":2}"#]);
    assert_eq!(applied.batch.rows[1].time, 77);
}

#[test]
fn every_row_has_one_fate_and_dead_rows_stay_as_they_came() {
    let batch = trial::read(&(0..8).map(|i| format!("{{\"i\":{i}}}")).collect::<Vec<_>>().join("\n")).unwrap();
    let part = |start, end, edits| Part { start, end, edits: Checked(edits) };
    let first = Edits {
        keep: vec![0b1101],
        dropped: vec![(1, 2)],
        dead: vec![(2, "why".into())],
        edits: vec![Edit::Remove("i".into())],
        ..no_edits()
    };
    let second = Edits { absorbed: vec![0b10], routes: vec![3, 0, 0], ..no_edits() };
    let outcome = Outcome { parts: vec![part(0, 4, first), part(5, 8, second)], poison: vec![(4, CallFailure::Fuel)] };
    let applied = apply(batch, &outcome, 1);
    assert_eq!(shown(&applied), ["{}", "{}", r#"{"i":5}"#, r#"{"i":7}"#]);
    assert_eq!(applied.routes, [0, 0, 3, 0]);
    assert_eq!((&applied.dropped[..], &applied.absorbed[..]), (&[(1, 2)][..], &[6][..]));
    let dead: Vec<_> = applied.dead.iter().map(|(row, d)| (json(&applied.batch, row), d.code(), d.text())).collect();
    assert_eq!(dead[0], (r#"{"i":2}"#.into(), "dead", "why".into()));
    assert_eq!((&dead[1].0[..], dead[1].1), (r#"{"i":4}"#, "fuel"));
}

#[test]
fn ordinals_count_the_rows_of_one_input_record_kept_before_added() {
    let mut batch = trial::read("{\"i\":0}\n{\"i\":1}\n{\"i\":2}").unwrap();
    // Rows 1 and 2 come from one input record.
    batch.rows[2].parent = 1;
    batch.rows[2].id = RowId { k: 5, ..batch.rows[1].id };
    let added = |parent, inherit, fields: &[(&str, Value)]| Added { parent, inherit, route: 1, row: record(9, fields) };
    let edits = Edits {
        keep: vec![0b101],
        added: vec![
            added(0, true, &[("more", Value::Number(0.5))]),
            added(0, false, &[("only", Value::Text("x".into()))]),
            added(1, true, &[("i", Value::Json("[9]".into()))]),
        ],
        ..no_edits()
    };
    let outcome = whole(&batch, edits);
    let applied = apply(batch, &outcome, 7);
    let expected = [r#"{"i":0}"#, r#"{"i":0,"more":0.5}"#, r#"{"only":"x"}"#, r#"{"i":[9]}"#, r#"{"i":2}"#];
    assert_eq!(shown(&applied), expected);
    let ids: Vec<_> = applied.batch.rows.iter().map(|r| (r.parent, r.id.k)).collect();
    let k = |ordinal: u32| 7 << 16 | ordinal;
    assert_eq!(ids, [(0, k(0)), (0, k(1)), (0, k(2)), (1, k(0)), (1, k(1))]);
    assert!(applied.batch.rows.is_sorted_by_key(|r| r.id), "in the order of their ids");
    assert_eq!(applied.batch.rows[2].time, 9);
}

#[test]
fn rows_beyond_what_can_be_named_are_dead_not_lost() {
    let mut batch = trial::read("{}").unwrap();
    batch.rows = vec![batch.rows[0]; 65_540];
    let outcome = whole(&batch, no_edits());
    let applied = apply(batch, &outcome, 1);
    assert_eq!((applied.batch.rows.len(), applied.dead.len()), (65_536, 4));
    assert_eq!(applied.dead[0].1, Death::TooManyRows);
}
