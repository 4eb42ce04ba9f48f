//! The world of typed records: `$record` columns become records, outcomes become edits. For languages without an SDK; slow
//! by nature. Knows both shapes; the checks of edits apply to the result as to any other.

mod outcomes;
mod values;

pub use values::write as write_value;

use crate::check::RECORD;
use crate::host::Guest;
use crate::instance::guarded;
use crate::registration::Registration;
use crate::view::value;
use crate::wit::exports::sawlog::plugin::transform_records::Guest as Exports;
use crate::wit::sawlog::plugin::types::{Batch, Edits, Failure, LogRecord};
use wasmtime::Store;

/// A plugin of this world sees the whole record and its event time, whatever it registers.
pub fn widen(registration: &mut Registration) {
    registration.columns = vec![RECORD.to_owned()];
    registration.timestamps = true;
}

/// One call: the outer error is a trap, the inner one the plugin's own refusal.
pub fn process(guest: &Exports, store: &mut Store<Guest>, batch: &Batch) -> wasmtime::Result<Result<Edits, Failure>> {
    let records: Vec<LogRecord> = (0..batch.count as usize)
        .map(|row| LogRecord {
            timestamp: batch.timestamps.get(row).copied().unwrap_or_default(),
            fields: batch.columns.first().map(|c| values::fields(value(c, row))).unwrap_or_default(),
        })
        .collect();
    let answer = guarded(|| guest.call_process(&mut *store, &batch.input, batch.time, &records))?;
    match answer {
        Ok(outcomes) if outcomes.len() != records.len() => {
            Err(wasmtime::Error::msg(format!("{} outcomes for {} records", outcomes.len(), records.len())))
        }
        Ok(outcomes) => Ok(Ok(outcomes::edits(&records, outcomes))),
        Err(failure) => Ok(Err(failure)),
    }
}
