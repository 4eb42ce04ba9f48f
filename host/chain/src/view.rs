//! What one call of a plugin sees: columns of a batch, by value, and what the host must know beside them to cut the batch
//! and to bound its outcome. Knows nothing of where columns come from.

use crate::wit::sawlog::plugin::types::Batch;

pub use crate::wit::sawlog::plugin::types::Column;

/// A batch as a plugin sees it. Cheap to keep for a replay behind an `Arc`; cut with [`BatchView::part`].
#[derive(Clone, Debug, PartialEq)]
pub struct BatchView {
    pub(crate) batch: Batch,
    rows: Vec<RowFacts>,
    /// How the watermark follows event time, nanoseconds behind it; `None` = it does not.
    lateness: Option<i64>,
}

/// What the host knows of a row whether or not the plugin asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowFacts {
    /// Event time, unix nanoseconds.
    pub time: i64,
    /// Size of the row at this component's input, bytes: what it gives rise to is bounded by it.
    pub bytes: u32,
}

/// Everything but rows and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// Id of the component that the records come from.
    pub input: String,
    /// The PLAN's time, unix nanoseconds.
    pub time: i64,
    /// Event-time watermark before row 0, unix nanoseconds, `i64::MIN` before any row; `None` for stateless plugins, which
    /// see the smallest at every row.
    pub watermark: Option<i64>,
    /// How far event time may run behind the newest row, nanoseconds (of the registration).
    pub lateness: i64,
    /// Whether the plugin asked for event times.
    pub timestamps: bool,
}

/// Rows of one view: with what each may give rise to, an arena stays far below its 4 GiB.
pub const BATCH_ROWS_MAX: usize = 16_384;

impl BatchView {
    /// A view of `rows`. Every column must have one value a row: `None` if one has not, or if there are more than
    /// [`BATCH_ROWS_MAX`] rows.
    pub fn new(facts: BatchFacts, rows: Vec<RowFacts>, columns: Vec<Column>) -> Option<Self> {
        if rows.len() > BATCH_ROWS_MAX {
            return None;
        }
        let words = rows.len().div_ceil(64);
        let fits = |mask: &Vec<u64>| mask.is_empty() || mask.len() == words;
        let whole = columns.iter().all(|c| {
            c.offsets.len() == rows.len() + 1 && fits(&c.present) && fits(&c.json) && c.offsets[0] == 0 // not empty: n + 1
        });
        if !whole {
            return None;
        }
        let timestamps = if facts.timestamps { rows.iter().map(|r| r.time).collect() } else { Vec::new() };
        let batch = Batch {
            count: u32::try_from(rows.len()).ok()?,
            input: facts.input,
            time: facts.time,
            watermark: facts.watermark.unwrap_or(i64::MIN),
            timestamps,
            columns,
        };
        Some(Self { batch, rows, lateness: facts.watermark.map(|_| facts.lateness) })
    }

    /// What a plugin sees of a view, for the side that makes the call and checks nothing.
    pub(crate) fn shown(batch: Batch) -> Self {
        Self { batch, rows: Vec::new(), lateness: None }
    }

    /// Number of rows.
    pub fn count(&self) -> u32 {
        self.batch.count
    }

    /// The rows, in order.
    pub fn rows(&self) -> &[RowFacts] {
        &self.rows
    }

    /// The PLAN's time, unix nanoseconds.
    pub fn time(&self) -> i64 {
        self.batch.time
    }

    /// The columns, in the order of the registration.
    pub fn columns(&self) -> &[Column] {
        &self.batch.columns
    }

    /// The watermark before row `row` (`count` = after the last), unix nanoseconds: it is a matter of the rows before it,
    /// not of where a batch is cut.
    pub fn watermark_before(&self, row: u32) -> i64 {
        let before = self.batch.watermark;
        let Some(lateness) = self.lateness else { return before };
        let newest = self.rows[..row as usize].iter().map(|r| r.time).max();
        newest.map_or(before, |time| before.max(time.saturating_sub(lateness)))
    }

    /// Bytes that a call copies into the plugin.
    pub fn bytes(&self) -> usize {
        let column = |c: &Column| c.data.len() + 4 * c.offsets.len() + 8 * (c.present.len() + c.json.len());
        self.batch.columns.iter().map(column).sum::<usize>() + 8 * self.batch.timestamps.len()
    }

    /// Rows `start..end` as a batch of their own.
    pub fn part(&self, start: u32, end: u32) -> Self {
        let range = start as usize..end as usize;
        let batch = &self.batch;
        Self {
            batch: Batch {
                count: end - start,
                input: batch.input.clone(),
                time: batch.time,
                watermark: self.watermark_before(start),
                timestamps: batch.timestamps.get(range.clone()).map(<[i64]>::to_vec).unwrap_or_default(),
                columns: batch.columns.iter().map(|c| column_part(c, start, end)).collect(),
            },
            rows: self.rows[range].to_vec(),
            lateness: self.lateness,
        }
    }
}

fn column_part(column: &Column, start: u32, end: u32) -> Column {
    let offsets = &column.offsets[start as usize..=end as usize];
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    Column {
        offsets: offsets.iter().map(|o| o - first).collect(),
        data: column.data[first as usize..last as usize].to_vec(),
        present: mask_part(&column.present, start, end),
        json: mask_part(&column.json, start, end),
    }
}

fn mask_part(mask: &[u64], start: u32, end: u32) -> Vec<u64> {
    if mask.is_empty() {
        return Vec::new();
    }
    let mut part = vec![0; (end - start).div_ceil(64) as usize];
    for (i, row) in (start..end).enumerate() {
        set_bit(&mut part, i, bit(mask, row as usize));
    }
    part
}

/// Bit `row` of `mask`; an empty mask has no bits set.
pub fn bit(mask: &[u64], row: usize) -> bool {
    mask.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
}

/// Bit `row` of a mask whose empty form means "all".
pub fn bit_or_all(mask: &[u64], row: usize) -> bool {
    mask.is_empty() || bit(mask, row)
}

/// Sets bit `row` of `mask` if `on`.
pub fn set_bit(mask: &mut [u64], row: usize, on: bool) {
    mask[row / 64] |= u64::from(on) << (row % 64);
}

/// Value `row` of `column`, whether or not it is present.
pub fn value(column: &Column, row: usize) -> &[u8] {
    &column.data[column.offsets[row] as usize..column.offsets[row + 1] as usize]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn view(watermark: i64) -> BatchView {
        let facts =
            BatchFacts { input: "in".into(), time: 1, watermark: Some(watermark), lateness: 10, timestamps: true };
        let rows = (0..100).map(|i| RowFacts { time: (i * 7) % 50, bytes: 3 }).collect();
        let mut column = Column { offsets: vec![0], data: Vec::new(), present: vec![0; 2], json: vec![0; 2] };
        for i in 0..100usize {
            column.data.extend_from_slice(i.to_string().as_bytes());
            column.offsets.push(column.data.len() as u32);
            set_bit(&mut column.present, i, i % 3 != 0);
            set_bit(&mut column.json, i, i % 5 == 0);
        }
        BatchView::new(facts, rows, vec![column]).unwrap()
    }

    #[test]
    fn a_part_holds_what_the_whole_holds_there() {
        let whole = view(0);
        for (start, end) in [(0, 100), (1, 2), (63, 66), (40, 100), (7, 7)] {
            let part = whole.part(start, end);
            for i in 0..(end - start) as usize {
                let (a, b) = (&whole.columns()[0], &part.columns()[0]);
                let row = start as usize + i;
                assert_eq!(value(a, row), value(b, i));
                assert_eq!((bit(&a.present, row), bit(&a.json, row)), (bit(&b.present, i), bit(&b.json, i)));
            }
            assert_eq!(part.batch.timestamps.len(), (end - start) as usize);
        }
    }

    #[test]
    fn the_watermark_is_the_same_however_a_batch_is_cut() {
        let whole = view(-3);
        let (a, b) = (whole.part(0, 30), whole.part(30, 100));
        assert_eq!(a.watermark_before(30), b.batch.watermark);
        assert_eq!(whole.watermark_before(100), b.watermark_before(70));
        assert_eq!(b.part(5, 70).batch.watermark, whole.watermark_before(35));
    }

    #[test]
    fn a_column_of_another_length_is_no_view() {
        let facts = BatchFacts { input: String::new(), time: 0, watermark: None, lateness: 0, timestamps: false };
        let column = Column { offsets: vec![0, 0], data: vec![], present: vec![], json: vec![] };
        assert_eq!(BatchView::new(facts, Vec::new(), vec![column]), None);
    }
}
