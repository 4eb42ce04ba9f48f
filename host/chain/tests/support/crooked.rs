//! Plugins written by hand, in the text form of WASM, that break what no SDK lets an author break: pointers, lengths, tags, what the
//! allocator answers, code that runs before any export is called.

/// Parts of a module that a case puts in the place of honest ones.
#[derive(Clone, Copy, Default)]
pub struct Parts {
    /// Fields of the module: imports first, then tables, globals, functions, a start.
    pub module: &'static str,
    /// Body of `configure`, before it gives the registration at 2048.
    pub configure: &'static str,
    /// Body of `process`, which gives where the result is.
    pub process: Option<&'static str>,
    /// Body of `cabi_realloc` (old address, old size, alignment, new size).
    pub realloc: Option<&'static str>,
    /// Bodies of the exports of a plugin with state, where they differ from those that do nothing.
    pub state: Option<State>,
}

/// Bodies of `snapshot`, `restore`, `upgrade` and `flush`; empty: the honest one.
#[derive(Clone, Copy, Default)]
pub struct State {
    pub snapshot: &'static str,
    pub restore: &'static str,
    pub upgrade: &'static str,
    pub flush: &'static str,
}

/// An allocator that gives one piece after the other, and grows.
const REALLOC: &str = r#"
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get 2))))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (block $fits (loop $grow
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.const 1)))
      (br $grow)))
    (local.get $at)"#;

/// The address of a result that is all zeroes: it went well, and there is nothing in it.
const EMPTY: &str = "(i32.const 4096)";

/// What `configure` does to register the column `crooked`.
macro_rules! one_column {
    () => {
        "(i32.store (i32.const 3072) (i32.const 1024)) (i32.store (i32.const 3076) (i32.const 7))
         (i32.store (i32.const 2072) (i32.const 3072)) (i32.store (i32.const 2076) (i32.const 1)) "
    };
}

/// A component of these parts. Zeroes at 4096, a registration at 2048, a name at 1024, the allocator's from 65536 on.
pub fn component(parts: Parts) -> Vec<u8> {
    let or = |own: &'static str, honest: &'static str| if own.is_empty() { honest } else { own };
    let state = parts.state.map(|state| {
        format!(
            r#"
            (func (export "sawlog:plugin/state@0.1.0#snapshot") (result i32) {})
            (func (export "sawlog:plugin/state@0.1.0#restore") (param i32 i32) (result i32) {})
            (func (export "sawlog:plugin/state@0.1.0#upgrade") (param i32 i32 i32) (result i32) {})
            (func (export "sawlog:plugin/state@0.1.0#flush") (param i64) (result i32) {})"#,
            or(state.snapshot, EMPTY),
            or(state.restore, EMPTY),
            or(state.upgrade, EMPTY),
            or(state.flush, EMPTY),
        )
    });
    let text = format!(
        r#"(module
        {module}
        (memory (export "memory") 2)
        (global $next (mut i32) (i32.const 65536))
        (data (i32.const 1024) "crooked\ff")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
        (func (export "sawlog:plugin/lifecycle@0.1.0#configure") (param i32 i32 i32 i32) (result i32)
          (i32.store (i32.const 2056) (i32.const 1024)) (i32.store (i32.const 2060) (i32.const 7))
          (i32.store (i32.const 2064) (i32.const 1024)) (i32.store (i32.const 2068) (i32.const 7))
          (i32.store (i32.const 2100) (i32.const 1))
          {configure}
          (i32.const 2048))
        (func (export "sawlog:plugin/transform@0.1.0#process")
          (param i32 i32 i32 i64 i64 i32 i32 i32 i32) (result i32) {process})
        {state})"#,
        module = parts.module,
        realloc = parts.realloc.unwrap_or(REALLOC),
        configure = parts.configure,
        process = parts.process.unwrap_or(EMPTY),
        state = state.unwrap_or_default(),
    );
    let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    sawlog_componentize::component(&module, None).unwrap_or_else(|error| panic!("{error}"))
}
