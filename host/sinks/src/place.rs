//! Names of the places that sinks deliver to: readable, and different wherever rows would lie elsewhere or look otherwise. What is
//! under way to a place is found again only under the options that its name stands for.

use sawlog_settings::format::{Column, ObjectFormat};
use serde::Serialize;
use std::fmt::Write as _;

/// A store of objects: where, and what an object holds.
pub fn objects(at: &str, format: ObjectFormat, columns: &[Column]) -> String {
    let mut place = format!("{at} ({}", format.extension());
    if !columns.is_empty() {
        place.push_str(&format!(" with columns {}", digest(&columns)));
    }
    place + ")"
}

/// Eight hexadecimal digits for options that would be too long to read.
pub fn digest(options: &impl Serialize) -> String {
    let json = serde_json::to_vec(options).expect("options are written to memory, and their types serialise");
    let mut digits = String::new();
    for byte in &sawlog_record::id::hash("sawlog.place", &[&json])[..4] {
        write!(digits, "{byte:02x}").expect("a string takes whatever is written");
    }
    digits
}
