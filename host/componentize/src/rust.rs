//! A folder of Rust sources → a plugin file, by `cargo`.

use crate::encode::{EncodeError, component};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that asks nothing of the host: no WASI is imported.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Why a folder gave no plugin.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or program can't be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or program.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Cargo failed; its own output says why.
    #[error("{folder}: cargo build failed:\n{output}\nif the target is missing: rustup target add {target}")]
    Cargo {
        /// The target.
        target: String,
        /// The folder.
        folder: PathBuf,
        /// What cargo wrote.
        output: String,
    },
    /// The C compiler failed; its own output says why.
    #[error(
        "{folder}: the C compiler failed:\n{output}\nit must know the target wasm32: clang with lld, or `python3 -m ziglang cc`"
    )]
    Compiler {
        /// The folder.
        folder: PathBuf,
        /// What the compiler wrote.
        output: String,
    },
    /// Go failed; its own output says why.
    #[error("{folder}: go build failed:\n{output}\nGo 1.24 or newer is needed")]
    Go {
        /// The folder.
        folder: PathBuf,
        /// What Go wrote.
        output: String,
    },
    /// The tool for Python failed; its own output says why.
    #[error(
        "{folder}: componentize-py failed:\n{output}\nversion 0.25 is known to work: pip install componentize-py==0.25.1"
    )]
    Python {
        /// The folder.
        folder: PathBuf,
        /// What the tool wrote.
        output: String,
    },
    /// Node.js, npm or the tool for JavaScript failed; its own output says why.
    #[error(
        "{source_path}: {program} failed:\n{output}\nNode.js 20 or newer with npm is needed; npm fetches the tool's packages once"
    )]
    JavaScript {
        /// The plugin's first file, or the folder of the tool.
        source_path: PathBuf,
        /// What was run.
        program: PathBuf,
        /// What it wrote.
        output: String,
    },
    /// Cargo built no `cdylib`.
    #[error("{folder}: cargo built no WASM; set `crate-type = [\"cdylib\"]` below `[lib]`")]
    NoModule {
        /// The folder.
        folder: PathBuf,
    },
    /// The module is no plugin.
    #[error("{folder}: {source}")]
    Encode {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: EncodeError,
    },
}

/// Builds the crate in `folder` for `target` in release mode and writes `<out>/<package>.wasm`, with `<folder>/schema.json` inside if
/// there is one. Gives the path that it wrote.
pub fn build_crate(folder: &Path, target: &str, out: &Path) -> Result<PathBuf, BuildError> {
    let module = cargo_build(folder, target)?;
    let name = module.file_name().map(|n| n.to_string_lossy().replace('_', "-")).unwrap_or_default();
    std::fs::create_dir_all(out).map_err(|source| BuildError::Io { path: out.to_owned(), source })?;
    write_component(folder, &module, &out.join(name))
}

/// Writes the component of the core module at `module` to `path`, with the schema of `folder` inside.
pub(crate) fn write_component(folder: &Path, module: &Path, path: &Path) -> Result<PathBuf, BuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    let core = std::fs::read(module).map_err(io(module))?;
    let schema_path = folder.join("schema.json");
    let schema = match std::fs::read_to_string(&schema_path) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(io(&schema_path)(e)),
    };
    let bytes = component(&core, schema.as_deref())
        .map_err(|source| BuildError::Encode { folder: folder.to_owned(), source })?;
    std::fs::write(path, bytes).map_err(io(path))?;
    Ok(path.to_owned())
}

/// Runs cargo and finds the module in its messages.
fn cargo_build(folder: &Path, target: &str) -> Result<PathBuf, BuildError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(&cargo)
        .args(["build", "--release", "--target", target, "--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        // Plugins are their own workspaces: settings of an outer build must not reach them.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()
        .map_err(|source| BuildError::Io { path: cargo.into(), source })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Cargo { target: target.to_owned(), folder: folder.to_owned(), output });
    }
    let manifest = std::fs::canonicalize(folder.join("Cargo.toml"))
        .map_err(|source| BuildError::Io { path: folder.join("Cargo.toml"), source })?;
    let artefact = |line: &[u8]| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        let own = message["manifest_path"].as_str() == manifest.to_str();
        let files = message["filenames"].as_array().filter(|_| own)?;
        files.iter().filter_map(|f| f.as_str()).find(|f| f.ends_with(".wasm")).map(PathBuf::from)
    };
    let found = output.stdout.split(|b| *b == b'\n').find_map(artefact);
    found.ok_or_else(|| BuildError::NoModule { folder: folder.to_owned() })
}
