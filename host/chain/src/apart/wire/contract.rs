//! Types of the contract on their way.

use super::{cases, fields};
use crate::wit::sawlog::plugin::types::{
    Added, Batch, Column, Edit, Edits, Emitted, Failure, LogRecord, Registration, Update, Value,
};

fields! {
    Column { offsets, data, present, json }
    Batch { count, input, time, watermark, timestamps, columns }
    Update { field, rows, values }
    LogRecord { timestamp, fields }
    Added { parent, inherit, route, row }
    Emitted { route, row }
    Edits { keep, edits, routes, added, dropped, absorbed, dead, wake_at }
    Registration { name, version, columns, timestamps, routes, drop_reasons, state_version, lateness }
}

cases! {
    Value {
        0 => Null, 1 => Boolean(value), 2 => Integer(value), 3 => Number(value), 4 => Text(value), 5 => Bytes(value),
        6 => Json(value)
    }
    Edit { 0 => SetAll(edit), 1 => Rename(edit), 2 => Remove(edit), 3 => Update(edit), 4 => Timestamps(edit) }
    Failure { 0 => Rejected(text) }
}
