//! A folder of Python sources → a plugin file, by `componentize-py`.

use crate::encode::WIT;
use crate::rust::{BuildError, write_component};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The world of plugins whose language tool imports all that a world offers: without native kernels, which would need a
/// permission that the plugin has no use for.
const WORLD: &str = "plain-transformer";
const WORLD_WIT: &str = "world plain-transformer { import host; export lifecycle; export transform; }\n";

/// The variable that names the program `componentize-py`. What it makes is large and slow to compile, so it is asked for by name.
pub const PYTHON_TOOL: &str = "SAWLOG_COMPONENTIZE_PY";

/// Builds the module `app` of `folder` with the SDK in `library` by `tool`, and writes `<out>/<name>.wasm`, with `schema.json`
/// of `schema` inside if there is one.
pub fn build_python(
    folder: &Path,
    library: &Path,
    name: &str,
    schema: &Path,
    tool: &Path,
    out: &Path,
) -> Result<PathBuf, BuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    std::fs::create_dir_all(out).map_err(io(out))?;
    let wit = out.join(format!("{name}.wit"));
    std::fs::create_dir_all(&wit).map_err(io(&wit))?;
    for (file, content) in WIT.into_iter().chain([("plain.wit", WORLD_WIT)]) {
        std::fs::write(wit.join(file), content).map_err(io(&wit))?;
    }
    let raw = out.join(format!("{name}.raw.wasm"));
    let output = Command::new(tool)
        .arg("--wit-path")
        .arg(&wit)
        .args(["--world", WORLD, "componentize", "--stub-wasi", "--python-path"])
        .arg(folder)
        .arg("--python-path")
        .arg(library)
        .arg("app")
        .arg("--output")
        .arg(&raw)
        .output()
        .map_err(io(tool))?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Python { folder: folder.to_owned(), output });
    }
    let written = write_component(schema, &raw, &out.join(format!("{name}.wasm")))?;
    std::fs::remove_file(&raw).map_err(io(&raw))?;
    std::fs::remove_dir_all(&wit).map_err(io(&wit))?;
    Ok(written)
}
