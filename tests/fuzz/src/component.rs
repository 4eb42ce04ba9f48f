//! A plugin that fails, made of one that works.

use std::ops::Range;

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// What a plugin exports to take a batch, as its core module names it.
const PROCESS: &str = "sawlog:plugin/transform@0.1.0#process";
const UNREACHABLE: u8 = 0x00;
const NOP: u8 = 0x01;
const END: u8 = 0x0b;

/// What `component` is, but for its `process`, which traps.
///
/// # Panics
/// Where it is no component of a plugin.
pub fn trapping(component: &[u8]) -> Vec<u8> {
    let code = process(component).expect("a component of a plugin that takes columns");
    let mut changed = component.to_vec();
    changed[code.clone()].fill(NOP);
    changed[code.start] = UNREACHABLE;
    changed[code.end - 1] = END;
    changed
}

/// Where the instructions of `process` lie.
fn process(component: &[u8]) -> Option<Range<usize>> {
    let (mut imported, mut exported) = (0, None);
    let mut bodies: Vec<Range<usize>> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            // What follows the plugin's own module are adapters.
            Payload::Version { .. } if exported.is_some() => break,
            Payload::Version { .. } => {
                imported = 0;
                bodies.clear();
            }
            Payload::ImportSection(imports) => {
                let imports = imports.into_imports().filter_map(Result::ok);
                imported += imports.filter(|import| matches!(import.ty, TypeRef::Func(_))).count();
            }
            Payload::ExportSection(exports) => {
                let mut exports = exports.into_iter().filter_map(Result::ok);
                let process = exports.find(|export| export.kind == ExternalKind::Func && export.name == PROCESS);
                exported = process.map(|export| export.index as usize);
            }
            Payload::CodeSectionEntry(body) => {
                let first = body.get_operators_reader().ok()?.original_position();
                bodies.push(first..body.range().end);
            }
            _ => {}
        }
    }
    bodies.get(exported?.checked_sub(imported)?).cloned()
}
