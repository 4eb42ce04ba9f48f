//! Answers that no plugin of good will gives: what the checks let through is applied, and every row has a fate.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::check::{Checked, Expected, check_edits};
use crate::registration::Registration;
use crate::trial;
use crate::view::{Column, RowFacts};
use crate::wit::sawlog::plugin::types::{Edit, LogRecord, Update, Value};
use sawlog_fuzz::Choices;

const ROWS: &str =
    "{\"a\":1,\"b\":{\"c\":\"x\"}}\n{\"a\":\"\\u0041\",\"d\":[1,2]}\n{}\n{\"b\":null,\"long name\":true}";
const FIELDS: [&str; 9] = ["a", "b", "b.c", "b.c.d", "d[1]", "new", "long name", "$record", ""];

fn registration() -> Registration {
    Registration {
        name: "fuzz".into(),
        version: "1".into(),
        columns: vec!["a".into()],
        timestamps: true,
        routes: vec!["one".into(), "two".into()],
        drop_reasons: vec!["why".into()],
        state_version: 0,
        lateness: 0,
    }
}

fn mask(from: &mut Choices<'_>) -> Vec<u64> {
    (0..from.below(3)).map(|_| from.number()).collect()
}

/// Row numbers, mostly such as ascend.
fn rows(from: &mut Choices<'_>) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..from.below(5)).map(|_| from.below(5) as u32).collect();
    if from.byte() < 200 {
        rows.sort_unstable();
        rows.dedup();
    }
    rows
}

fn field(from: &mut Choices<'_>) -> String {
    match from.below(12) {
        known if known < FIELDS.len() => FIELDS[known].to_owned(),
        _ => from.text(12),
    }
}

/// A column of `rows` values, mostly one that holds together.
fn column(from: &mut Choices<'_>, rows: usize) -> Column {
    let tokens = ["1", "\"t\"", "[{}]", "null", "{\"k\":1}", "", "tr", "\u{e9}"];
    let mut column = Column { offsets: vec![0], data: vec![], present: mask(from), json: mask(from) };
    for _ in 0..rows {
        column.data.extend_from_slice(tokens[from.below(tokens.len())].as_bytes());
        column.offsets.push(column.data.len() as u32);
    }
    match from.byte() {
        0 => column.offsets.push(from.number() as u32),
        1 => column.data.push(0xff),
        _ => {}
    }
    column
}

fn value(from: &mut Choices<'_>) -> Value {
    match from.below(7) {
        0 => Value::Null,
        1 => Value::Boolean(from.byte() & 1 == 1),
        2 => Value::Integer(from.number() as i64),
        3 => Value::Number(f64::from_bits(from.number())),
        4 => Value::Text(from.text(20)),
        5 => Value::Bytes(from.bytes(20)),
        _ => Value::Json(["[1]", "{\"x\":\"y\"}", "nul", "\"\\ud800\""][from.below(4)].to_owned()),
    }
}

fn record(from: &mut Choices<'_>) -> LogRecord {
    let fields = (0..from.below(4)).map(|_| (field(from), value(from))).collect();
    LogRecord { timestamp: from.number() as i64, fields }
}

fn edit(from: &mut Choices<'_>, count: usize) -> Edit {
    match from.below(5) {
        0 => Edit::SetAll((field(from), from.text(12))),
        1 => Edit::Rename((field(from), field(from))),
        2 => Edit::Remove(field(from)),
        3 => {
            let rows = rows(from);
            let values = column(from, if rows.is_empty() { count } else { rows.len() });
            Edit::Update(Update { field: field(from), rows, values })
        }
        _ => {
            let rows = rows(from);
            let times = if rows.is_empty() { count } else { rows.len() };
            Edit::Timestamps((rows, (0..times).map(|_| from.number() as i64).collect()))
        }
    }
}

fn edits(from: &mut Choices<'_>, count: usize) -> Edits {
    let (keep, absorbed) = (mask(from), mask(from));
    let routes = if from.byte() < 100 { (0..count).map(|_| from.byte() & 3).collect() } else { vec![] };
    let edits = (0..from.below(5)).map(|_| edit(from, count)).collect();
    let dropped = rows(from).into_iter().map(|row| (row, from.byte() & 1)).collect();
    let dead = rows(from).into_iter().map(|row| (row, from.text(9))).collect();
    let mut parents = rows(from);
    parents.sort_unstable();
    let added = parents.into_iter().map(|parent| {
        let (inherit, route) = (from.byte() & 1 == 1, from.byte() & 3);
        Added { parent, inherit, route, row: record(from) }
    });
    let added = added.collect();
    Edits { keep, edits, routes, added, dropped, absorbed, dead, wake_at: None }
}

#[test]
fn fuzz_plugin_answers() {
    let examples: [&[u8]; 3] =
        [&[0; 200], &std::array::from_fn::<u8, 256, _>(|n| n as u8), b"\x00\x01\x80\x00\x02\x00\x03\x00\x01"];
    let (mut taken, mut refused) = (0, 0);
    let drawn = sawlog_fuzz::hammer("plugin_answers", &examples, |bytes| {
        let batch = trial::read(ROWS).unwrap();
        let count = batch.rows.len();
        let facts = vec![RowFacts { time: 0, bytes: 100 }; count];
        let registration = registration();
        let expected = Expected { rows: &facts, registration: &registration, timers: false };
        match check_edits(edits(&mut Choices(bytes), count), expected) {
            Err(_) => refused += 1,
            Ok(edits) => {
                taken += 1;
                every_row_has_a_fate(batch, edits);
            }
        }
    });
    assert!(!drawn || (taken > 0 && refused > 0), "{taken} taken, {refused} refused");
}

fn every_row_has_a_fate(batch: Batch, edits: Checked) {
    let count = batch.rows.len();
    let outcome = Outcome { parts: vec![Part { start: 0, end: count as u32, edits }], poison: vec![] };
    let applied = apply(batch, &outcome, 1);
    assert_eq!(applied.routes.len(), applied.batch.rows.len());
    assert!(applied.batch.rows.windows(2).all(|pair| pair[0].id < pair[1].id), "ids ascend");
    for row in &applied.batch.rows {
        let mut json = Vec::new();
        write_record(&applied.batch, row, &mut json);
        let read = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json);
        assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(&json));
    }
    let mut parents: Vec<u32> = applied.batch.rows.iter().map(|row| row.parent).collect();
    parents.extend(applied.dropped.iter().map(|(parent, _)| *parent));
    parents.extend(&applied.absorbed);
    parents.extend(applied.dead.iter().map(|(row, _)| row.parent));
    assert!((0..count as u32).all(|parent| parents.contains(&parent)), "a row has no fate: {applied:?}");
}
