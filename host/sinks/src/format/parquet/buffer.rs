//! The values of one column of the row group in the making. Knows nothing of rows.

use super::super::FormatError;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::writer::SerializedColumnWriter;

/// Values of one column, and for each row whether it has one.
#[derive(Debug)]
pub(super) struct Buffer {
    values: Values,
    /// 1 where the row has a value, else 0: Parquet's definition levels. Unused for required columns.
    defined: Vec<i16>,
    required: bool,
}

#[derive(Debug)]
pub(super) enum Values {
    /// All texts in a row, and where each ends.
    Text(Vec<u8>, Vec<usize>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
}

impl Values {
    pub(super) fn text() -> Self {
        Self::Text(Vec::new(), Vec::new())
    }
}

impl Buffer {
    pub(super) fn new(values: Values, required: bool) -> Self {
        Self { values, defined: Vec::new(), required }
    }

    /// The row has no value.
    pub(super) fn push_null(&mut self) {
        debug_assert!(!self.required, "a required column has a value in every row");
        self.defined.push(0);
    }

    pub(super) fn push_int(&mut self, value: i64) {
        let Values::Int(values) = &mut self.values else { unreachable!("the column's type decides what is pushed") };
        values.push(value);
        self.defined.push(1);
    }

    pub(super) fn push_float(&mut self, value: f64) {
        let Values::Float(values) = &mut self.values else { unreachable!("the column's type decides what is pushed") };
        values.push(value);
        self.defined.push(1);
    }

    pub(super) fn push_bool(&mut self, value: bool) {
        let Values::Bool(values) = &mut self.values else { unreachable!("the column's type decides what is pushed") };
        values.push(value);
        self.defined.push(1);
    }

    /// Appends the text that `write` writes; valid UTF-8.
    pub(super) fn push_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let Values::Text(bytes, ends) = &mut self.values else {
            unreachable!("the column's type decides what is pushed")
        };
        write(bytes);
        ends.push(bytes.len());
        self.defined.push(1);
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Text(bytes, ends) => bytes.len() + ends.len() * 8,
            Values::Int(values) => values.len() * 8,
            Values::Float(values) => values.len() * 8,
            Values::Bool(values) => values.len(),
        };
        values + self.defined.len() * 2
    }

    /// Writes the column of a row group and begins anew.
    pub(super) fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<(), FormatError> {
        let levels = (!self.required).then_some(self.defined.as_slice());
        let written = match &mut self.values {
            Values::Int(values) => column.typed::<Int64Type>().write_batch(values, levels, None),
            Values::Float(values) => column.typed::<DoubleType>().write_batch(values, levels, None),
            Values::Bool(values) => column.typed::<BoolType>().write_batch(values, levels, None),
            Values::Text(bytes, ends) => {
                let texts = slices(std::mem::take(bytes), ends);
                column.typed::<ByteArrayType>().write_batch(&texts, levels, None)
            }
        };
        written.and_then(|_| column.close()).map_err(FormatError::parquet)?;
        match &mut self.values {
            Values::Text(_, ends) => ends.clear(),
            Values::Int(values) => values.clear(),
            Values::Float(values) => values.clear(),
            Values::Bool(values) => values.clear(),
        }
        self.defined.clear();
        Ok(())
    }
}

/// Each text as a slice of one shared buffer.
fn slices(bytes: Vec<u8>, ends: &[usize]) -> Vec<ByteArray> {
    let bytes = bytes::Bytes::from(bytes);
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(start, end)| ByteArray::from(bytes.slice(*start..*end))).collect()
}
