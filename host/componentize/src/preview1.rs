//! WASI preview 1 without a host: what a language's runtime asks of it at its start is answered inside the component, so that the
//! plugin imports nothing and every instance sees the same. No file, no environment, no arguments; what is printed goes nowhere;
//! clocks stand at 1970 and move on by a microsecond each time they are asked (a runtime that measures itself must not see time
//! stand still); random numbers are a fixed sequence.

use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, InstructionSink, MemArg, MemoryType, Module, TypeSection, ValType,
};

/// The module that runtimes import.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Errors of preview 1.
const EBADF: i32 = 8;
const ENOSYS: i32 = 52;
/// What a clock moves on by, nanoseconds.
const TICK: i64 = 1_000;

/// Globals of the adapter.
const TIME: u32 = 0;
const RANDOM: u32 = 1;

/// A function that a module imports: its name, parameters, and whether it gives an error number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Name in [`MODULE`].
    pub name: String,
    /// Types of its parameters.
    pub parameters: Vec<ValType>,
    /// Whether it returns an `i32`.
    pub returns: bool,
}

/// A module that answers `imports`, over the memory of the module that has them.
pub fn adapter(imports: &[Import]) -> Vec<u8> {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for (index, import) in (0u32..).zip(imports) {
        let results = import.returns.then_some(ValType::I32);
        types.ty().function(import.parameters.iter().copied(), results);
        functions.function(index);
        exports.export(&import.name, ExportKind::Func, index);
        code.function(&body(import));
    }
    let mut memories = ImportSection::new();
    let memory = MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    memories.import("env", "memory", EntityType::Memory(memory));
    let mut globals = GlobalSection::new();
    let number = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    globals.global(number, &ConstExpr::i64_const(0));
    globals.global(number, &ConstExpr::i64_const(0x5eed));
    let mut module = Module::new();
    module.section(&types).section(&memories).section(&functions).section(&globals).section(&exports).section(&code);
    module.finish()
}

fn body(import: &Import) -> Function {
    let parameters = import.parameters.len() as u32;
    // Two locals of its own, behind the parameters.
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    match import.name.as_str() {
        "clock_time_get" => clock(&mut code),
        "clock_res_get" => {
            code.local_get(1).i64_const(TICK).i64_store(at(0));
            code.i32_const(0);
        }
        "random_get" => random(&mut code, parameters),
        "fd_write" => write(&mut code, parameters),
        "args_sizes_get" | "environ_sizes_get" => {
            code.local_get(0).i32_const(0).i32_store(at(0));
            code.local_get(1).i32_const(0).i32_store(at(0));
            code.i32_const(0);
        }
        "args_get" | "environ_get" | "sched_yield" => {
            code.i32_const(0);
        }
        "fd_prestat_get" | "fd_prestat_dir_name" => {
            code.i32_const(EBADF); // there is no folder
        }
        _ if import.returns => {
            code.i32_const(ENOSYS);
        }
        _ => {
            code.unreachable(); // `proc_exit`
        }
    }
    code.end();
    function
}

fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

/// (clock, precision, out)
fn clock(code: &mut InstructionSink<'_>) {
    code.global_get(TIME).i64_const(TICK).i64_add().global_set(TIME);
    code.local_get(2).global_get(TIME).i64_store(at(0));
    code.i32_const(0);
}

/// (buffer, length): bytes of a linear congruential sequence.
fn random(code: &mut InstructionSink<'_>, i: u32) {
    code.i32_const(0).local_set(i);
    code.block(wasm_encoder::BlockType::Empty).loop_(wasm_encoder::BlockType::Empty);
    code.local_get(i).local_get(1).i32_ge_u().br_if(1);
    code.global_get(RANDOM).i64_const(6_364_136_223_846_793_005).i64_mul();
    code.i64_const(1_442_695_040_888_963_407).i64_add().global_set(RANDOM);
    code.local_get(0).local_get(i).i32_add();
    code.global_get(RANDOM).i64_const(56).i64_shr_u().i32_wrap_i64().i32_store8(at(0));
    code.local_get(i).i32_const(1).i32_add().local_set(i);
    code.br(0).end().end();
    code.i32_const(0);
}

/// (file, vectors, count, out): says that all was written.
fn write(code: &mut InstructionSink<'_>, i: u32) {
    let sum = i + 1;
    code.i32_const(0).local_set(i).i32_const(0).local_set(sum);
    code.block(wasm_encoder::BlockType::Empty).loop_(wasm_encoder::BlockType::Empty);
    code.local_get(i).local_get(2).i32_ge_u().br_if(1);
    code.local_get(1).local_get(i).i32_const(8).i32_mul().i32_add().i32_load(at(4));
    code.local_get(sum).i32_add().local_set(sum);
    code.local_get(i).i32_const(1).i32_add().local_set(i);
    code.br(0).end().end();
    code.local_get(3).local_get(sum).i32_store(at(0));
    code.i32_const(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adapter_is_valid_whatever_is_imported() {
        let import = |name: &str, parameters: usize, returns| Import {
            name: name.into(),
            parameters: vec![ValType::I32; parameters],
            returns,
        };
        let mut clock = import("clock_time_get", 3, true);
        clock.parameters[1] = ValType::I64;
        let imports = [
            clock,
            import("clock_res_get", 2, true),
            import("random_get", 2, true),
            import("fd_write", 4, true),
            import("args_sizes_get", 2, true),
            import("environ_get", 2, true),
            import("fd_prestat_get", 2, true),
            import("poll_oneoff", 4, true),
            import("proc_exit", 1, false),
        ];
        wasmparser::Validator::new().validate_all(&adapter(&imports)).expect("valid");
        wasmparser::Validator::new().validate_all(&adapter(&[])).expect("valid");
    }
}
