//! From what a compiler makes to a plugin: a core WASM module becomes a component of the contract, with the JSON Schema of
//! its configuration inside. What `sawlog plugin build` and the project's own automation call. Knows compilers and the WASM
//! formats; knows no engine and runs nothing of a plugin.

mod c;
mod encode;
mod go;
mod interface;
mod javascript;
mod preview1;
mod python;
mod rust;

pub use c::{C_COMPILER, build_c, c_compiler};
pub use encode::{EncodeError, component};
pub use go::build_go;
pub use interface::{Interface, interface};
pub use javascript::{JAVASCRIPT_TOOL, build_javascript, javascript_entry};
pub use python::{PYTHON_TOOL, build_python};
pub use rust::{BuildError, TARGET, build_crate};

/// The custom section of the configuration's JSON Schema.
pub const SCHEMA_SECTION: &str = "sawlog:config-schema";
