//! Outcomes of records as edits of a batch. Only fields that the plugin changed become edits, so that everything else keeps
//! its bytes.

use super::values::write;
use crate::check::RECORD;
use crate::view::{Column, set_bit};
use crate::wit::sawlog::plugin::types::{Added, Edit, Edits, LogRecord, Outcome, Update, Value};
use sawlog_record::path::Path;
use std::collections::BTreeMap;

/// The edits that `outcomes`, one per record, come to.
pub fn edits(records: &[LogRecord], outcomes: Vec<Outcome>) -> Edits {
    let mut out = Builder::new(records.len());
    for (row, (before, outcome)) in records.iter().zip(outcomes).enumerate() {
        match outcome {
            Outcome::Keep(after) => out.keep(row, 0, before, after),
            Outcome::Route((route, after)) => out.keep(row, route, before, after),
            Outcome::Drop(reason) => out.dropped.push((row as u32, reason)),
            Outcome::Dead(reason) => out.dead.push((row as u32, reason)),
            Outcome::Split(rows) => out.split(row, before, rows),
        }
    }
    out.finish()
}

struct Builder {
    count: usize,
    keep: Vec<u64>,
    routes: Vec<u8>,
    dropped: Vec<(u32, u8)>,
    dead: Vec<(u32, String)>,
    added: Vec<Added>,
    times: (Vec<u32>, Vec<i64>),
    /// Changed values by field path.
    changes: BTreeMap<String, Vec<(u32, Option<Value>)>>,
}

impl Builder {
    fn new(count: usize) -> Self {
        Self {
            count,
            keep: vec![0; count.div_ceil(64)],
            routes: vec![0; count],
            dropped: Vec::new(),
            dead: Vec::new(),
            added: Vec::new(),
            times: Default::default(),
            changes: BTreeMap::new(),
        }
    }

    fn keep(&mut self, row: usize, route: u8, before: &LogRecord, after: LogRecord) {
        set_bit(&mut self.keep, row, true);
        self.routes[row] = route;
        if after.timestamp != before.timestamp {
            self.times.0.push(row as u32);
            self.times.1.push(after.timestamp);
        }
        if after.fields != before.fields {
            self.change(row as u32, before, &after);
        }
    }

    fn change(&mut self, row: u32, before: &LogRecord, after: &LogRecord) {
        let names: Vec<&String> = before.fields.iter().chain(&after.fields).map(|(name, _)| name).collect();
        if names.iter().any(|name| path(name).is_none()) {
            let value = Value::Json(object(after));
            self.changes.entry(RECORD.into()).or_default().push((row, Some(value)));
            return;
        }
        let find = |record: &LogRecord, name: &str| {
            record.fields.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone())
        };
        for (i, name) in names.iter().enumerate() {
            let (old, new) = (find(before, name), find(after, name));
            if old != new && !names[..i].contains(name) {
                self.changes.entry(path(name).unwrap_or_default()).or_default().push((row, new));
            }
        }
    }

    /// The first record takes the place of the row, the others are added to it.
    fn split(&mut self, row: usize, before: &LogRecord, rows: Vec<LogRecord>) {
        let mut rows = rows.into_iter();
        let Some(first) = rows.next() else {
            return self.dropped.push((row as u32, 0)); // split into nothing
        };
        self.keep(row, 0, before, first);
        let parent = row as u32;
        self.added.extend(rows.map(|row| Added { parent, inherit: false, route: 0, row }));
    }

    fn finish(self) -> Edits {
        let mut edits: Vec<Edit> = self.changes.into_iter().map(|(field, rows)| update(field, rows)).collect();
        if !self.times.0.is_empty() {
            edits.push(Edit::Timestamps(self.times));
        }
        // Nothing was routed: the empty list says so for less.
        let routed = self.routes.iter().any(|route| *route != 0);
        debug_assert_eq!(self.routes.len(), self.count);
        Edits {
            keep: self.keep,
            edits,
            routes: if routed { self.routes } else { Vec::new() },
            added: self.added,
            dropped: self.dropped,
            absorbed: Vec::new(),
            dead: self.dead,
            wake_at: None,
        }
    }
}

/// `name` as a path of one name, if it can be written as one.
fn path(name: &str) -> Option<String> {
    let plain = !name.is_empty() && !name.starts_with('$') && !name.contains('"');
    plain.then(|| Path::of(vec![name.to_owned()]).to_string())
}

fn update(field: String, rows: Vec<(u32, Option<Value>)>) -> Edit {
    let words = rows.len().div_ceil(64);
    let mut values = Column { offsets: vec![0], data: Vec::new(), present: vec![0; words], json: vec![0; words] };
    for (i, (_, value)) in rows.iter().enumerate() {
        set_bit(&mut values.present, i, value.is_some());
        match value {
            None => {}
            Some(Value::Text(text)) => values.data.extend_from_slice(text.as_bytes()),
            Some(other) => {
                set_bit(&mut values.json, i, true);
                write(other, &mut values.data);
            }
        }
        values.offsets.push(values.data.len() as u32);
    }
    Edit::Update(Update { field, rows: rows.into_iter().map(|(row, _)| row).collect(), values })
}

fn object(record: &LogRecord) -> String {
    let mut out = b"{".to_vec();
    for (i, (name, value)) in record.fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        sawlog_record::json::quote(name.as_bytes(), &mut out);
        out.push(b':');
        write(value, &mut out);
    }
    out.push(b'}');
    String::from_utf8_lossy(&out).into_owned()
}
