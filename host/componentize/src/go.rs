//! A folder of Go sources → a plugin file, by the standard Go toolchain.

use crate::rust::{BuildError, write_component};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the program in `folder` (package `main`, a module around it) and writes `<out>/<name>.wasm`, with `schema.json` of
/// `schema` inside if there is one.
pub fn build_go(folder: &Path, name: &str, schema: &Path, out: &Path) -> Result<PathBuf, BuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    std::fs::create_dir_all(out).map_err(io(out))?;
    let out = std::fs::canonicalize(out).map_err(io(out))?;
    let module = out.join(format!("{name}.core.wasm"));
    let output = Command::new("go")
        .args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"])
        .arg(&module)
        .arg(".")
        .current_dir(folder)
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .env("GOFLAGS", "-mod=mod")
        .output()
        .map_err(io(Path::new("go")))?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Go { folder: folder.to_owned(), output });
    }
    write_component(schema, &module, &out.join(format!("{name}.wasm")))
}
