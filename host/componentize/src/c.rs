//! A folder of C or C++ sources → a plugin file, by any compiler that knows the WASM target.

use crate::rust::{BuildError, write_component};
use std::path::{Path, PathBuf};
use std::process::Command;

/// No C library, no start function: what a plugin needs is in `sawlog_plugin.h`.
const FLAGS: [&str; 6] = ["-O2", "-Wall", "-Wextra", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all"];
/// Which C.
const C_FLAGS: &[&str] = &["-std=c17"];
/// Which C++; what needs a library of its own is left out.
const CPP_FLAGS: &[&str] = &["-std=c++20", "-fno-exceptions", "-fno-rtti"];

/// The variable that names a C compiler for WASM: a command and its first arguments.
pub const C_COMPILER: &str = "SAWLOG_WASM_CC";

/// Compiles every `.c` file of `folder`, or every `.cpp` file where there is one, with `compiler` (a command and its first arguments: `clang --target=wasm32`, or
/// `python3 -m ziglang cc -target wasm32-freestanding`) and writes `<out>/<folder's name>.wasm`, with
/// `<folder>/schema.json` inside if there is one. `include` is the folder of `sawlog_plugin.h`.
pub fn build_c(folder: &Path, include: &Path, compiler: &[String], out: &Path) -> Result<PathBuf, BuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    let mut sources: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .map_err(io(folder))?;
    let ends = |path: &Path, ending: &str| path.extension().is_some_and(|e| e == ending);
    let is_cpp = sources.iter().any(|path| ends(path, "cpp"));
    sources.retain(|path| ends(path, if is_cpp { "cpp" } else { "c" }));
    sources.sort(); // the order of a folder is not the same everywhere
    let Some((program, arguments)) = compiler.split_first() else {
        return Err(BuildError::NoModule { folder: folder.to_owned() });
    };
    std::fs::create_dir_all(out).map_err(io(out))?;
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let module = out.join(format!("{name}.core.wasm"));
    let output = Command::new(program)
        .args(arguments)
        .args(FLAGS)
        .args(if is_cpp { CPP_FLAGS } else { C_FLAGS })
        .arg("-I")
        .arg(include)
        .args(&sources)
        .arg("-o")
        .arg(&module)
        .output()
        .map_err(io(Path::new(program)))?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Compiler { folder: folder.to_owned(), output });
    }
    write_component(folder, &module, &out.join(format!("{name}.wasm")))
}

/// The first C compiler for WASM that answers: the one that [`C_COMPILER`] names, clang, or the one of the Python package ziglang.
pub fn c_compiler() -> Option<Vec<String>> {
    let split = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let named = std::env::var(C_COMPILER).ok().map(split);
    let usual = ["clang --target=wasm32", "python3 -m ziglang cc -target wasm32-freestanding"].map(|c| split(c.into()));
    named.into_iter().chain(usual).find(|compiler| answers(compiler))
}

/// Whether the compiler is there and knows the target.
fn answers(compiler: &[String]) -> bool {
    let Some((program, arguments)) = compiler.split_first() else { return false };
    let version = Command::new(program).args(arguments).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}
