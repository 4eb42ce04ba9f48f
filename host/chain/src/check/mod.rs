//! Is what a plugin returned well formed and within its bounds? Nothing a plugin says is used before it passed here. Knows
//! the contract; changes nothing and knows nothing of records.
//!
//! Every rule looks at one row or at the shape of the whole, so a verdict can't depend on where a batch was cut.

mod columns;
mod rows;

use rows::{KEPT_SLACK_BYTES, RECORD_BYTES_MIN_MAX};

use crate::registration::Registration;
use crate::view::RowFacts;
use crate::wit::sawlog::plugin::types::{Added, Edit, Edits, Emitted, Update};
use columns::{ascending, check_column, check_mask};

/// Edits of one call. Each is applied to all rows, so their number must be bounded by itself.
const EDITS_MAX: usize = 1_024;
/// Longest field path, bytes.
const FIELD_BYTES_MAX: usize = 1_024;
/// Longest reason of a dead row, bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// What a flush may give out, bytes.
pub const FLUSH_BYTES_MAX: u64 = 8 << 20;

/// Why an answer was not used; for the verdict and the plugin's author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOutput(pub String);

fn bad<T>(text: impl Into<String>) -> Result<T, BadOutput> {
    Err(BadOutput(text.into()))
}

/// What the answer is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The rows that the plugin saw.
    pub rows: &'a [RowFacts],
    /// What the plugin said of itself.
    pub registration: &'a Registration,
    /// Whether the plugin may hold rows back until a time.
    pub timers: bool,
}

/// Edits that passed every check: masks, row numbers, offsets and texts in them can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked(pub(crate) Edits);

impl Checked {
    /// The edits.
    pub fn edits(&self) -> &Edits {
        &self.0
    }

    /// Rows are held back until event time passes this, unix nanoseconds.
    pub fn wake_at(&self) -> Option<i64> {
        self.0.wake_at
    }
}

/// Checks the answer of one `process` call.
pub fn check_edits(edits: Edits, expected: Expected<'_>) -> Result<Checked, BadOutput> {
    let n = expected.rows.len();
    check_mask("keep", &edits.keep, n)?;
    check_mask("absorbed", &edits.absorbed, n)?;
    check_routes(&edits.routes, expected)?;
    check_fates(&edits, expected)?;
    if edits.wake_at.is_some() && !expected.timers {
        return bad("wake-at is set, but the plugin is not allowed timers; add `timers` to its `allow`");
    }
    if edits.edits.len() > EDITS_MAX {
        return bad(format!("{} edits, but at most {EDITS_MAX} are taken from one call", edits.edits.len()));
    }
    for edit in &edits.edits {
        check_edit(edit, n)?;
    }
    check_added(&edits.added, expected)?;
    rows::check_sizes(&edits, expected.rows)?;
    Ok(Checked(edits))
}

/// Checks what `flush` gave out.
pub fn check_emitted(emitted: &[Emitted], registration: &Registration) -> Result<(), BadOutput> {
    if emitted.len() > usize::from(u16::MAX) {
        return bad(format!("a flush gave out {} rows, but at most {} can be named", emitted.len(), u16::MAX));
    }
    let mut bytes = 0;
    for (i, row) in emitted.iter().enumerate() {
        check_route(row.route, registration)?;
        let size = rows::check_record(&row.row).map_err(|e| BadOutput(format!("row {i} of the flush: {e}")))?;
        if size > RECORD_BYTES_MIN_MAX {
            return bad(format!("row {i} of the flush has {size} bytes, a record may have {RECORD_BYTES_MIN_MAX}"));
        }
        bytes += size;
    }
    if bytes > FLUSH_BYTES_MAX {
        return bad(format!("a flush gave out {bytes} bytes, at most {FLUSH_BYTES_MAX} are taken"));
    }
    Ok(())
}

fn check_route(route: u8, registration: &Registration) -> Result<(), BadOutput> {
    if usize::from(route) > registration.routes.len() {
        return bad(format!("route {route} was never registered, there are {}", registration.routes.len()));
    }
    Ok(())
}

fn check_routes(routes: &[u8], expected: Expected<'_>) -> Result<(), BadOutput> {
    if !routes.is_empty() && routes.len() != expected.rows.len() {
        return bad(format!("{} routes for {} rows", routes.len(), expected.rows.len()));
    }
    // The highest stands for all: one pass that the compiler makes wide.
    routes.iter().max().map_or(Ok(()), |route| check_route(*route, expected.registration))
}

fn check_fates(edits: &Edits, expected: Expected<'_>) -> Result<(), BadOutput> {
    let n = expected.rows.len();
    ascending("dropped", edits.dropped.iter().map(|(row, _)| *row), n)?;
    ascending("dead", edits.dead.iter().map(|(row, _)| *row), n)?;
    let reasons = expected.registration.drop_reasons.len();
    if let Some((row, reason)) = edits.dropped.iter().find(|(_, reason)| usize::from(*reason) > reasons) {
        return bad(format!("row {row} is dropped for reason {reason}, but {reasons} reasons were registered"));
    }
    match edits.dead.iter().find(|(_, reason)| reason.len() > REASON_BYTES_MAX) {
        Some((row, _)) => bad(format!("row {row}: the reason of a dead row may have {REASON_BYTES_MAX} bytes")),
        None => Ok(()),
    }
}

fn check_edit(edit: &Edit, n: usize) -> Result<(), BadOutput> {
    match edit {
        Edit::SetAll((field, text)) => {
            check_field(field)?;
            if text.len() > KEPT_SLACK_BYTES as usize {
                return bad(format!("set-all {field:?} with {} bytes", text.len()));
            }
            Ok(())
        }
        Edit::Rename((from, to)) => check_field(from).and_then(|()| check_field(to)),
        Edit::Remove(field) => check_field(field),
        Edit::Update(update) => check_update(update, n),
        Edit::Timestamps((rows, times)) => {
            ascending("timestamps", rows.iter().copied(), n)?;
            let expected = if rows.is_empty() { n } else { rows.len() };
            if times.len() != expected {
                return bad(format!("{} event times for {expected} rows", times.len()));
            }
            Ok(())
        }
    }
}

fn check_update(update: &Update, n: usize) -> Result<(), BadOutput> {
    ascending(&update.field, update.rows.iter().copied(), n)?;
    let rows = if update.rows.is_empty() { n } else { update.rows.len() };
    if update.field == RECORD {
        return columns::check_records(&update.values, rows);
    }
    check_field(&update.field)?;
    check_column(&update.field, &update.values, rows)
}

/// The pseudo-column that stands for the whole record.
pub const RECORD: &str = "$record";

fn check_field(field: &str) -> Result<(), BadOutput> {
    if field.starts_with('$') {
        return bad(format!("{field} is read-only"));
    }
    if field.is_empty() || field.len() > FIELD_BYTES_MAX {
        return bad(format!("a field path has 1 to {FIELD_BYTES_MAX} bytes, this has {}", field.len()));
    }
    match sawlog_record::path::Path::parse(field) {
        Ok(_) => Ok(()),
        Err(e) => bad(format!("field {field:?}: {e}")),
    }
}

fn check_added(added: &[Added], expected: Expected<'_>) -> Result<(), BadOutput> {
    let n = expected.rows.len();
    let mut last = 0;
    for row in added {
        if row.parent as usize >= n {
            return bad(format!("an added row names parent {}, but the batch has {n} rows", row.parent));
        }
        if row.parent < last {
            return bad(format!("added rows must ascend by parent, {} follows {last}", row.parent));
        }
        last = row.parent;
        check_route(row.route, expected.registration)?;
    }
    Ok(())
}
