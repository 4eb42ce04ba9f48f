//! Native work over whole columns of the batch in process. Needs `kernels` in the plugin's `allow`. The host does the work,
//! so none of this runs in native tests.

use crate::bindings::kernels;
use crate::bindings::types::{Column, Update};

/// A compiled pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern(u32);

impl Pattern {
    /// Compiles a linear-time regular expression, during `configure` only.
    pub fn new(regex: &str) -> Result<Self, String> {
        kernels::pattern(regex).map(Self)
    }

    /// A bit per row: the row has the field and the pattern occurs in it.
    pub fn matches(self, column: usize) -> Vec<u64> {
        kernels::matches(self.0, column as u32)
    }
}

/// Replaces what the patterns match (`$1` names a group), one rule after the other; `None` if no row changed. Give it to
/// [`Edits::update_raw`](crate::Edits::update_raw).
pub fn replace(rules: &[(Pattern, String)], column: usize) -> Option<Update> {
    let rules: Vec<(u32, String)> = rules.iter().map(|(pattern, with)| (pattern.0, with.clone())).collect();
    kernels::replace(&rules, column as u32)
}

/// Members of the JSON objects in a column, one column per name.
pub fn json(column: usize, names: &[String]) -> Vec<Column> {
    kernels::json(column as u32, names)
}

/// Keyed hash of every value, 64 hexadecimal digits.
pub fn hash(column: usize, key: &[u8]) -> Column {
    kernels::hash(column as u32, key)
}
