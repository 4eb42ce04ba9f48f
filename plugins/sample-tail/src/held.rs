//! Records that wait: for their key's end, then for their turn to come out.

use sawlog_plugin::windows::{Gather, Windows};
use sawlog_plugin::{LogRecord, record};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The records of one key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Whether one of them is of interest.
    pub of_interest: bool,
    /// Event time (unix nanoseconds) and JSON text, in the order in which they came.
    pub records: Vec<(i64, String)>,
}

impl Held {
    /// Takes a record in, if it is held.
    pub fn take(&mut self, of_interest: bool, record: Option<(i64, &str)>) {
        self.of_interest |= of_interest;
        self.records.extend(record.map(|(time, text)| (time, text.to_owned())));
    }
}

impl Gather for Held {
    fn merge(&mut self, later: Self) {
        self.of_interest |= later.of_interest;
        self.records.extend(later.records);
    }
}

/// Records that were chosen and go out a few at a time.
#[derive(Debug, Default)]
pub struct Outbox {
    records: VecDeque<(i64, String)>,
    bytes: usize,
}

impl Outbox {
    /// Adds `records` behind what is there.
    pub fn put(&mut self, records: Vec<(i64, String)>) {
        self.bytes += records.iter().map(|(_, record)| record.len()).sum::<usize>();
        self.records.extend(records);
    }

    /// Takes out records of together at most `bytes_max` bytes.
    pub fn take(&mut self, bytes_max: usize) -> Result<Vec<LogRecord>, String> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        while let Some((time, record)) = self.records.pop_front_if(|(_, record)| bytes + record.len() <= bytes_max) {
            bytes += record.len();
            self.bytes -= record.len();
            out.push(record::parse(record.as_bytes(), time)?);
        }
        Ok(out)
    }

    /// Bytes of what is there.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// The state; the same records give the same bytes.
pub fn to_bytes(windows: &Windows<Held>, outbox: &Outbox) -> Vec<u8> {
    let windows = windows.to_bytes();
    let mut bytes = (windows.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&windows);
    for (time, record) in &outbox.records {
        bytes.extend_from_slice(&time.to_le_bytes());
        bytes.extend_from_slice(&(record.len() as u64).to_le_bytes());
        bytes.extend_from_slice(record.as_bytes());
    }
    bytes
}

/// Takes over what [`to_bytes`] gave; the bytes of records in `windows`.
pub fn read(bytes: &[u8], windows: &mut Windows<Held>, outbox: &mut Outbox) -> Result<usize, String> {
    let short = || "the state is cut off".to_owned();
    let (length, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let (of_windows, mut rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(short)?;
    windows.read(of_windows)?;
    let held_bytes = windows.gathered().flat_map(|held| &held.records).map(|(_, record)| record.len()).sum();
    *outbox = Outbox::default();
    while !rest.is_empty() {
        let (time, behind) = rest.split_first_chunk().ok_or_else(short)?;
        let (length, behind) = behind.split_first_chunk().ok_or_else(short)?;
        let (record, behind) = behind.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(short)?;
        let record = String::from_utf8(record.to_vec()).map_err(|e| e.to_string())?;
        outbox.put(vec![(i64::from_le_bytes(*time), record)]);
        rest = behind;
    }
    Ok(held_bytes)
}
