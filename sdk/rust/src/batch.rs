//! Reading: a batch as rows over columns, without copies.

use crate::bindings::types;

/// The rows of one call.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    raw: &'a types::Batch,
}

/// One value of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Unescaped text; may hold invalid UTF-8.
    Text(&'a [u8]),
    /// A JSON token as it stood: number, boolean, null, object, array.
    Json(&'a [u8]),
}

impl<'a> Batch<'a> {
    /// The view of what the host gave.
    pub fn new(raw: &'a types::Batch) -> Self {
        Self { raw }
    }

    /// What the host gave, for loops over whole columns.
    pub fn raw(self) -> &'a types::Batch {
        self.raw
    }

    /// Number of rows.
    pub fn len(self) -> usize {
        self.raw.count as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(self) -> bool {
        self.raw.count == 0
    }

    /// Id of the component that the rows come from.
    pub fn input(self) -> &'a str {
        &self.raw.input
    }

    /// The planned time of the batch, unix nanoseconds: the only clock there is.
    pub fn time(self) -> i64 {
        self.raw.time
    }

    /// Row `index`, which must be below `len`.
    pub fn row(self, index: usize) -> Row<'a> {
        assert!(index < self.len(), "row {index} of {}", self.len());
        Row { raw: self.raw, index }
    }

    /// The values of registered column `column`, row by row: the fastest way through a batch.
    pub fn column(self, column: usize) -> impl ExactSizeIterator<Item = Option<&'a [u8]>> {
        let column = &self.raw.columns[column];
        let (data, present) = (column.data.as_slice(), column.present.as_slice());
        column.offsets.windows(2).enumerate().map(move |(row, ends)| {
            let value = &data[ends[0] as usize..ends[1] as usize];
            (present.is_empty() || bit(present, row)).then_some(value)
        })
    }

    /// All rows, in order.
    pub fn rows(self) -> impl ExactSizeIterator<Item = Row<'a>> {
        (0..self.len()).map(move |index| Row { raw: self.raw, index })
    }
}

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    raw: &'a types::Batch,
    index: usize,
}

fn bit(mask: &[u64], row: usize) -> bool {
    mask.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
}

impl<'a> Row<'a> {
    /// Its number in the batch.
    pub fn index(self) -> usize {
        self.index
    }

    /// Event time, unix nanoseconds; 0 unless the registration asks for timestamps.
    pub fn time(self) -> i64 {
        self.raw.timestamps.get(self.index).copied().unwrap_or_default()
    }

    /// The value of registered column `column`; `None` if the row has no such field (which is not the same as null).
    #[inline]
    pub fn get(self, column: usize) -> Option<Value<'a>> {
        let bytes = self.bytes(column)?;
        Some(if bit(&self.raw.columns[column].json, self.index) { Value::Json(bytes) } else { Value::Text(bytes) })
    }

    /// The bytes of column `column`, whether text or a JSON token.
    #[inline]
    pub fn bytes(self, column: usize) -> Option<&'a [u8]> {
        let column = &self.raw.columns[column];
        if !column.present.is_empty() && !bit(&column.present, self.index) {
            return None;
        }
        Some(&column.data[column.offsets[self.index] as usize..column.offsets[self.index + 1] as usize])
    }

    /// What column `column` says in words: text as it is, a JSON token as it stood, invalid UTF-8 replaced.
    pub fn words(self, column: usize) -> Option<std::borrow::Cow<'a, str>> {
        self.bytes(column).map(String::from_utf8_lossy)
    }

    /// The text of column `column`, if it is text and valid UTF-8.
    pub fn text(self, column: usize) -> Option<&'a str> {
        match self.get(column)? {
            Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Value::Json(_) => None,
        }
    }
}
