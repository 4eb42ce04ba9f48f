//! The examples in languages without an SDK, which speak the contract's binary interface by hand: Zig and AssemblyScript.

use sawlog_componentize::component;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// The variable that names a folder with `node_modules/assemblyscript`.
pub const ASSEMBLYSCRIPT_TOOL: &str = "SAWLOG_ASSEMBLYSCRIPT";

/// Builds both examples below `sdk` into `out` where their tools are; `c_compiler` is that of Zig where Zig is there.
pub fn build(sdk: &Path, c_compiler: &[String], out: &Path) -> Result<(), Box<dyn Error>> {
    match zig(c_compiler) {
        Some((program, arguments)) => {
            let module = out.join("no-debug-zig.core.wasm");
            let mut command = Command::new(program);
            command.args(arguments).arg("build-exe").arg(sdk.join("zig/no_debug.zig"));
            command.args(["-target", "wasm32-freestanding", "-fno-entry", "-rdynamic", "-O", "ReleaseFast", "-fstrip"]);
            make(command.arg(format!("-femit-bin={}", module.display())), &module, &out.join("no-debug-zig.wasm"))?;
        }
        None => println!("NOT BUILT the example in Zig: the C compiler for WASM is not that of Zig"),
    }
    match std::env::var_os(ASSEMBLYSCRIPT_TOOL) {
        Some(tool) => {
            let (tool, source) = (Path::new(&tool), sdk.join("assemblyscript"));
            // The compiler finds what it is extended by, and that the compiler, beside its own package.
            for name in ["no_debug.ts", "names.mjs"] {
                std::fs::copy(source.join(name), tool.join(name))?;
            }
            let module = out.join("no-debug-assemblyscript.core.wasm");
            let mut command = Command::new("node");
            command.current_dir(tool).args(["node_modules/assemblyscript/bin/asc.js", "no_debug.ts"]);
            command.args(["--runtime", "stub", "-O3", "--noAssert", "--transform", "./names.mjs", "--outFile"]);
            make(command.arg(std::path::absolute(&module)?), &module, &out.join("no-debug-assemblyscript.wasm"))?;
        }
        None => println!("NOT BUILT the example in AssemblyScript: {ASSEMBLYSCRIPT_TOOL} names no folder of it"),
    }
    Ok(())
}

/// The program and first arguments by which Zig is called, where the C compiler is a part of it.
fn zig(c_compiler: &[String]) -> Option<(&String, &[String])> {
    let cc = c_compiler.iter().position(|word| word == "cc")?;
    let zig = &c_compiler[..cc];
    let is_zig = zig.last().is_some_and(|word| word == "ziglang" || word.ends_with("zig"));
    zig.split_first().filter(|_| is_zig)
}

/// Has `compiler` make the core module `module`, and writes its component to `path`.
fn make(compiler: &mut Command, module: &Path, path: &Path) -> Result<(), Box<dyn Error>> {
    let output = compiler.output()?;
    if !output.status.success() {
        return Err(format!("{compiler:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    std::fs::write(path, component(&std::fs::read(module)?, None)?)?;
    println!("{}", path.display());
    Ok(())
}
