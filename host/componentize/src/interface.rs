//! What a component imports and exports, read without running it.

use crate::encode::EncodeError;
use wasmparser::{Parser, Payload};

/// The names on the outside of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// What it wants of its host.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// The interface of `component`.
pub fn interface(component: &[u8]) -> Result<Interface, EncodeError> {
    let damaged = |e: wasmparser::BinaryReaderError| EncodeError::NotWasm(e.to_string());
    let mut found = Interface::default();
    // Only the outermost names: inner modules and components import from each other.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(damaged)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    found.imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    found.exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(found)
}
