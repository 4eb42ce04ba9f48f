//! Run a plugin natively in unit tests: build a batch, call it, look at the edits.

use crate::bindings::types;
use crate::{Batch, Config, Edits, Registration, Transform};

/// Builds a batch of text and JSON columns, column by column.
#[derive(Debug)]
pub struct BatchBuilder {
    raw: types::Batch,
}

impl BatchBuilder {
    /// A batch of `count` rows at time 0.
    pub fn new(count: usize) -> Self {
        let raw = types::Batch {
            count: count as u32,
            input: "test".into(),
            time: 0,
            watermark: i64::MIN,
            timestamps: Vec::new(),
            columns: Vec::new(),
        };
        Self { raw }
    }

    /// Adds a column; `None` = the row has no such field.
    pub fn text(mut self, values: &[Option<&str>]) -> Self {
        assert_eq!(values.len(), self.raw.count as usize, "a column has a value per row");
        let mut column = types::Column {
            offsets: vec![0],
            data: Vec::new(),
            present: vec![0; values.len().div_ceil(64)],
            json: Vec::new(),
        };
        for (row, value) in values.iter().enumerate() {
            column.present[row / 64] |= u64::from(value.is_some()) << (row % 64);
            column.data.extend_from_slice(value.unwrap_or_default().as_bytes());
            column.offsets.push(column.data.len() as u32);
        }
        self.raw.columns.push(column);
        self
    }

    /// Event times, unix nanoseconds.
    pub fn times(mut self, times: &[i64]) -> Self {
        self.raw.timestamps = times.to_vec();
        self
    }

    /// The watermark before row 0, unix nanoseconds.
    pub fn watermark(mut self, watermark: i64) -> Self {
        self.raw.watermark = watermark;
        self
    }

    /// The batch.
    pub fn build(self) -> types::Batch {
        self.raw
    }
}

/// Configures a plugin with JSON text.
pub fn configure<T: Transform>(json: &str) -> Result<(T, Registration), String> {
    T::configure(Config { json, files: &[] })
}

/// Runs one batch.
pub fn process<T: Transform>(plugin: &mut T, batch: &types::Batch) -> Result<types::Edits, String> {
    let batch = Batch::new(batch);
    let mut edits = Edits::new(batch.len());
    plugin.process(batch, &mut edits)?;
    Ok(edits.into_raw())
}
