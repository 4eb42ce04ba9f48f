//! Rows on their way between stages: a shared batch and the numbers of the rows that are meant. Merging several ways keeps the
//! order of record ids and takes each row once.

use sawlog_record::batch::{Batch, Field, Row, Span};
use std::sync::Arc;

/// An output of a stage, or the source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct From {
    /// Index of the stage; `None` = the source.
    pub node: Option<usize>,
    /// 0 = the default output.
    pub output: u8,
}

/// Rows of a batch.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub batch: Arc<Batch>,
    /// Ascending.
    pub rows: Vec<u32>,
}

impl Flow {
    /// All rows of a batch.
    pub fn whole(batch: Batch) -> Self {
        let rows = (0..batch.rows.len() as u32).collect();
        Self { batch: Arc::new(batch), rows }
    }

    /// The rows as a batch of their own; without a copy where nobody else holds the batch.
    pub fn into_batch(self) -> Batch {
        let Self { batch, rows } = self;
        let mut batch = Arc::try_unwrap(batch).unwrap_or_else(|shared| (*shared).clone());
        if rows.len() != batch.rows.len() {
            batch.rows = rows.iter().map(|row| batch.rows[*row as usize]).collect();
        }
        batch
    }
}

/// One flow of all rows of several, each once, in the order of their ids. `None` for no flow.
pub(super) fn merge(flows: Vec<Flow>) -> Option<Flow> {
    let mut merged: Vec<Flow> = Vec::new();
    for flow in flows {
        match merged.iter_mut().find(|known| Arc::ptr_eq(&known.batch, &flow.batch)) {
            Some(known) => {
                known.rows.extend(flow.rows);
                known.rows.sort_unstable();
                known.rows.dedup();
            }
            None => merged.push(flow),
        }
    }
    let first = merged.pop()?;
    if merged.is_empty() {
        return Some(first);
    }
    let mut batch = first.into_batch();
    for flow in merged {
        append(&mut batch, &flow);
    }
    batch.rows.sort_by_key(|row| row.id);
    batch.rows.dedup_by_key(|row| row.id);
    Some(Flow::whole(batch))
}

/// Copies rows of another batch behind those of `batch`.
pub(super) fn append(batch: &mut Batch, flow: &Flow) {
    let base = batch.arena.len() as u32;
    batch.arena.extend_from_slice(&flow.batch.arena);
    let moved = |span: Span| Span { start: span.start + base, len: span.len };
    for row in &flow.rows {
        let row = flow.batch.rows[*row as usize];
        let fields_start = batch.fields.len() as u32;
        let fields = flow.batch.fields_of(&row).iter();
        batch.fields.extend(fields.map(|f| Field { key: moved(f.key), value: moved(f.value), kind: f.kind }));
        batch.rows.push(Row { input: moved(row.input), text: row.text.map(moved), fields_start, ..row });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_record::batch::ValueKind;
    use sawlog_record::id::{Generation, RowId};

    fn batch(positions: &[u64]) -> Batch {
        let mut batch = Batch::new(Generation([1; 16]));
        for pos in positions {
            let value = batch.push_bytes(pos.to_string().as_bytes());
            let key = batch.push_bytes(b"pos");
            let fields_start = batch.fields.len() as u32;
            batch.fields.push(Field { key, value, kind: ValueKind::Json });
            let id = RowId { pos: *pos, slot: 0, k: 0 };
            let row = Row {
                id,
                parent: 0,
                time: 0,
                received: 0,
                input: value,
                text: None,
                fields_start,
                fields_len: 1,
                flags: 0,
            };
            batch.rows.push(row);
        }
        batch
    }

    #[test]
    fn merging_keeps_order_and_takes_each_row_once() {
        let shared = Arc::new(batch(&[1, 4, 6]));
        let flows = vec![
            Flow { batch: shared.clone(), rows: vec![0, 2] },
            Flow { batch: shared, rows: vec![1, 2] },
            Flow::whole(batch(&[2, 4, 9])),
        ];
        let merged = merge(flows).expect("there are flows");
        let seen: Vec<(u64, String)> = merged
            .rows
            .iter()
            .map(|i| {
                let row = merged.batch.rows[*i as usize];
                let value = merged.batch.fields_of(&row)[0].value.of(&merged.batch.arena);
                (row.id.pos, String::from_utf8_lossy(value).into_owned())
            })
            .collect();
        let expected: Vec<(u64, String)> = [1u64, 2, 4, 6, 9].iter().map(|p| (*p, p.to_string())).collect();
        assert_eq!(seen, expected);
    }
}
