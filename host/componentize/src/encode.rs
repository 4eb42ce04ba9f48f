//! Core module → component. A module made with an SDK carries its world; for others the world follows from what it exports.

use crate::SCHEMA_SECTION;
use crate::preview1::{self, Import};
use std::borrow::Cow;
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{CompositeInnerType, Parser, Payload, TypeRef};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Version of the contract that modules without an SDK are bound to.
const CONTRACT: &str = "0.1.0";
/// The contract's files, so that a build needs no folder of ours.
pub(crate) const WIT: [(&str, &str); 4] = [
    ("types.wit", include_str!("../../../wit/0.1.0/types.wit")),
    ("host.wit", include_str!("../../../wit/0.1.0/host.wit")),
    ("lifecycle.wit", include_str!("../../../wit/0.1.0/lifecycle.wit")),
    ("worlds.wit", include_str!("../../../wit/0.1.0/worlds.wit")),
];

/// Why no component came out.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The input is no WASM.
    #[error("the compiler's output is not WASM: {0}")]
    NotWasm(String),
    /// It exports none of the contract's functions.
    #[error("the module exports [{}], but a plugin exports sawlog:plugin/lifecycle@{CONTRACT}#configure and sawlog:plugin/transform@{CONTRACT}#process (or transform-records); use an SDK or export them by hand", found.join(", "))]
    NoWorld {
        /// What it exports.
        found: Vec<String>,
    },
    /// Imports or exports don't have the contract's types.
    #[error("the module does not fit the contract: {0}; imports of `env` come from code that was never linked")]
    Misfit(String),
    /// The schema is no JSON.
    #[error("the config schema is not JSON: {0}")]
    Schema(String),
}

/// A component of `wasm`, a core module or already a component, with `schema` (JSON text) inside. The same input gives the
/// same bytes.
pub fn component(wasm: &[u8], schema: Option<&str>) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = if Parser::is_component(wasm) { wasm.to_vec() } else { encode(wasm)? };
    if let Some(schema) = schema {
        let value: serde_json::Value = serde_json::from_str(schema).map_err(|e| EncodeError::Schema(e.to_string()))?;
        let data = Cow::Owned(value.to_string().into_bytes());
        CustomSection { name: Cow::Borrowed(SCHEMA_SECTION), data }.append_to_component(&mut bytes);
    }
    Ok(bytes)
}

fn encode(module: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let facts = Facts::of(module)?;
    let mut module = Cow::Borrowed(module);
    if !facts.has_world {
        embed(module.to_mut(), facts.world()?)?;
    }
    let text = |e| EncodeError::Misfit(format!("{e:#}"));
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).map_err(text)?;
    if !facts.preview1.is_empty() {
        encoder = encoder.adapter(preview1::MODULE, &preview1::adapter(&facts.preview1)).map_err(text)?;
    }
    encoder.encode().map_err(text)
}

fn embed(module: &mut Vec<u8>, world: &str) -> Result<(), EncodeError> {
    let text = |e| EncodeError::Misfit(format!("{e:#}"));
    let mut resolve = Resolve::default();
    let mut map = wit_parser::SourceMap::default();
    for (name, content) in WIT {
        map.push_str(name, content);
    }
    let group = map.parse().map_err(|(_, e)| text(e.into()))?;
    let package = resolve.push_group(group).map_err(|e| text(e.into()))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(text)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(text)
}

/// An import of preview 1 and its type.
fn wanted(name: &str, ty: TypeRef, types: &[CompositeInnerType]) -> Option<Import> {
    let TypeRef::Func(index) = ty else { return None };
    let CompositeInnerType::Func(function) = types.get(index as usize)? else { return None };
    let value = |ty: &wasmparser::ValType| match ty {
        wasmparser::ValType::I64 => wasm_encoder::ValType::I64,
        _ => wasm_encoder::ValType::I32, // preview 1 has no other
    };
    let parameters = function.params().iter().map(value).collect();
    Some(Import { name: name.to_owned(), parameters, returns: !function.results().is_empty() })
}

/// What decides how a module is encoded.
struct Facts {
    has_world: bool,
    exports: Vec<String>,
    /// What its runtime wants of WASI preview 1.
    preview1: Vec<Import>,
}

impl Facts {
    fn of(module: &[u8]) -> Result<Self, EncodeError> {
        let mut facts = Self { has_world: false, exports: Vec::new(), preview1: Vec::new() };
        let mut types = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(|e| EncodeError::NotWasm(e.to_string()))? {
                // A world without exports only says what an SDK's library imports: the module's own exports decide then.
                Payload::CustomSection(s) if s.name().starts_with("component-type") => {
                    facts.has_world |= !s.name().ends_with("exports-removed");
                }
                Payload::TypeSection(groups) => {
                    for group in groups {
                        let group = group.map_err(|e| EncodeError::NotWasm(e.to_string()))?;
                        types.extend(group.into_types().map(|ty| ty.composite_type.inner));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(|e| EncodeError::NotWasm(e.to_string()))?;
                        if import.module == preview1::MODULE {
                            // Go imports some of them twice.
                            if facts.preview1.iter().all(|known| known.name != import.name) {
                                facts.preview1.extend(wanted(import.name, import.ty, &types));
                            }
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    let names = exports.into_iter().filter_map(Result::ok).map(|e| e.name.to_owned());
                    facts.exports.extend(names);
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    fn world(&self) -> Result<&'static str, EncodeError> {
        let exports = |name: &str| {
            let (interface, function) = name.split_once('#').unwrap_or((name, ""));
            self.exports.iter().any(|e| *e == format!("sawlog:plugin/{interface}@{CONTRACT}#{function}"))
        };
        if !exports("lifecycle#configure") {
            return Err(EncodeError::NoWorld { found: self.exports.clone() });
        }
        match (exports("transform#process"), exports("transform-records#process"), exports("state#snapshot")) {
            (true, _, true) => Ok("stateful-transformer"),
            (true, _, false) => Ok("transformer"),
            (false, true, _) => Ok("record-transformer"),
            (false, false, _) => Err(EncodeError::NoWorld { found: self.exports.clone() }),
        }
    }
}
