//! What a plugin said of itself at `configure`, checked. Knows the limits of the contract.

use crate::wit::sawlog::plugin::types::Registration as Raw;

/// Columns, routes and drop reasons are numbered by one byte.
const NAMES_MAX: usize = 255;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Names that the host makes columns for.
const PSEUDO_COLUMNS: [&str; 4] = ["$record", "$rid", "$received", "$source"];

/// What the plugin wants and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Name of the plugin, as its author gave it.
    pub name: String,
    /// Version of the plugin, as its author gave it.
    pub version: String,
    /// Field paths and pseudo-columns, in the order that `process` gets them.
    pub columns: Vec<String>,
    /// Whether event times are wanted.
    pub timestamps: bool,
    /// Names of routes 1, 2, …; route 0 is the default output.
    pub routes: Vec<String>,
    /// Names of drop reasons 1, 2, …; reason 0 is "filtered".
    pub drop_reasons: Vec<String>,
    /// Version of the snapshot format.
    pub state_version: u32,
    /// How far event time may run behind the newest row, nanoseconds.
    pub lateness: i64,
}

impl Registration {
    /// Checks what `configure` returned; the error says what is wrong with it.
    pub(crate) fn check(raw: Raw) -> Result<Self, String> {
        for (what, names) in [("column", &raw.columns), ("route", &raw.routes), ("drop reason", &raw.drop_reasons)] {
            check_names(what, names)?;
        }
        for column in &raw.columns {
            check_column(column)?;
        }
        if raw.lateness < 0 {
            return Err(format!("lateness is {} ns, but must not be negative", raw.lateness));
        }
        Ok(Self {
            name: raw.name,
            version: raw.version,
            columns: raw.columns,
            timestamps: raw.timestamps,
            routes: raw.routes,
            drop_reasons: raw.drop_reasons,
            state_version: raw.state_version,
            lateness: raw.lateness,
        })
    }

    /// The name of a drop reason, for the ledger.
    pub fn drop_reason(&self, reason: u8) -> &str {
        reason.checked_sub(1).and_then(|i| self.drop_reasons.get(usize::from(i))).map_or("filtered", String::as_str)
    }
}

fn check_names(what: &str, names: &[String]) -> Result<(), String> {
    if names.len() > NAMES_MAX {
        return Err(format!("{} {what}s registered, at most {NAMES_MAX} can be numbered", names.len()));
    }
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(format!("{what} {i} has a name of {} bytes, 1 to {NAME_BYTES_MAX} are allowed", name.len()));
        }
        if names[..i].contains(name) {
            return Err(format!("{what} {name:?} is registered twice"));
        }
    }
    Ok(())
}

fn check_column(column: &str) -> Result<(), String> {
    if column.starts_with('$') {
        if PSEUDO_COLUMNS.contains(&column) {
            return Ok(());
        }
        return Err(format!("column {column:?} is none of {}", PSEUDO_COLUMNS.join(", ")));
    }
    sawlog_record::path::Path::parse(column).map(|_| ()).map_err(|e| format!("column {column:?}: {e}"))
}
