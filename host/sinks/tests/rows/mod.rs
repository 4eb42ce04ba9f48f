//! Offers of numbered rows: row n lies at position n and is `{"team":"blue","n":n}`.

use sawlog_core::journal::Mark;
use sawlog_core::ports::Offer;
use sawlog_core::stream::Place;
use sawlog_core::{EpochId, SourceId};
use sawlog_record::batch::{Batch, Field, Output, Row, ValueKind};
use sawlog_record::id::{Cursor, Generation, PartitionId, RowId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub struct Rows {
    generation: Generation,
    padding: BTreeMap<u64, usize>,
    /// Event time of all rows, unix nanoseconds.
    pub time: i64,
    /// Rows whose `n` is a text.
    pub texts: BTreeSet<u64>,
}

impl Rows {
    pub fn of(generation: Generation) -> Self {
        Self { generation, padding: BTreeMap::new(), time: 1_000_000_000, texts: BTreeSet::new() }
    }

    /// Row `n` gets `bytes` more.
    pub fn padded(mut self, n: u64, bytes: usize) -> Self {
        self.padding.insert(n, bytes);
        self
    }

    /// The rows of `range`.
    pub fn offer(&self, range: Range<u64>) -> Offer {
        let mut batch = Batch::new(self.generation);
        for n in range.clone() {
            self.push(&mut batch, n, u32::try_from(n - range.start).unwrap());
        }
        let rows = (0..batch.rows.len() as u32).collect();
        let place = |offset| Place { entry: 0, offset };
        Offer {
            partition: PartitionId([1; 16]),
            source: SourceId::new("app"),
            generation: self.generation,
            from: place(range.start),
            to: place(range.end),
            cursor_from: Cursor::at(range.start),
            mark: Mark::at(Cursor::at(range.end)),
            records: range.end - range.start,
            received: self.time,
            time: self.time,
            epoch: EpochId([0; 16]),
            output: Output { batch: Arc::new(batch), rows },
        }
    }

    fn push(&self, batch: &mut Batch, n: u64, parent: u32) {
        let fields_start = batch.fields.len() as u32;
        let padding: String =
            (0..self.padding.get(&n).copied().unwrap_or(0)).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
        let (number, kind) = if self.texts.contains(&n) {
            (format!("text {n}"), ValueKind::Text)
        } else {
            (n.to_string(), ValueKind::Json)
        };
        let mut members = vec![("team", "blue".to_owned(), ValueKind::Text)];
        if !padding.is_empty() {
            members.push(("padding", padding, ValueKind::Text));
        }
        members.push(("n", number, kind));
        for (key, value, kind) in &members {
            let field =
                Field { key: batch.push_bytes(key.as_bytes()), value: batch.push_bytes(value.as_bytes()), kind: *kind };
            batch.fields.push(field);
        }
        let input = batch.push_bytes(format!("line {n}").as_bytes());
        batch.rows.push(Row {
            id: RowId { pos: n, slot: 0, k: 0 },
            parent,
            time: self.time,
            received: 1_000_000_000,
            input,
            text: None,
            fields_start,
            fields_len: members.len() as u32,
            flags: 0,
        });
    }

    /// The same without one row, by its index.
    #[allow(dead_code)]
    pub fn without(&self, mut offer: Offer, row: u32) -> Offer {
        offer.output.rows.retain(|r| *r != row);
        offer
    }
}

/// How often each number was read.
#[allow(dead_code)]
pub fn values(read: &[impl AsRef<str>]) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for value in read {
        let value: serde_json::Value = serde_json::from_str(value.as_ref()).expect("every message is JSON");
        *seen.entry(value["n"].as_u64().expect("every row has a number")).or_default() += 1;
    }
    seen
}
