//! A folder of JavaScript or TypeScript sources → a plugin file, by `componentize-js` under Node.js. That tool makes a module of
//! the contract, without any import of WASI; the last step is ours, as for other languages.

use crate::encode::WIT;
use crate::rust::{BuildError, write_component};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The worlds without native kernels, which would need a permission that a plugin may have no use for.
const WORLDS: &str = "world plain-transformer { import host; export lifecycle; export transform; }\n\
    world plain-stateful-transformer { import host; export lifecycle; export transform; export state; }\n";

/// The variable that names the folder of `build.mjs` of the SDK, with its packages or room for them. Without it every plugin has
/// its own.
pub const JAVASCRIPT_TOOL: &str = "SAWLOG_COMPONENTIZE_JS";

/// The files that a plugin may begin with, in the order in which they are looked for.
const ENTRIES: [&str; 2] = ["plugin.ts", "plugin.js"];

/// The file that the plugin in `folder` begins with, if it is one in JavaScript or TypeScript.
pub fn javascript_entry(folder: &Path) -> Option<PathBuf> {
    ENTRIES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Builds the plugin whose `entry` imports the SDK in `library`, by the `build.mjs` in the folder `tool`, and writes
/// `<out>/<name>.wasm`, with `schema.json` of `schema` inside if there is one.
pub fn build_javascript(
    entry: &Path,
    library: &Path,
    name: &str,
    schema: &Path,
    tool: &Path,
    out: &Path,
) -> Result<PathBuf, BuildError> {
    install(tool)?;
    std::fs::create_dir_all(out).map_err(io(out))?;
    // Node resolves what it is given from its own folder.
    let absolute = |path: &Path| std::fs::canonicalize(path).map_err(io(path));
    let (entry, library, out) = (absolute(entry)?, absolute(library)?, absolute(out)?);
    let wit = out.join(format!("{name}.wit"));
    std::fs::create_dir_all(&wit).map_err(io(&wit))?;
    for (file, content) in WIT.into_iter().chain([("plain.wit", WORLDS)]) {
        std::fs::write(wit.join(file), content).map_err(io(&wit))?;
    }
    let module = out.join(format!("{name}.core.wasm"));
    let mut node = Command::new("node");
    node.arg("build.mjs").args([&entry, &library, &wit, &module]).current_dir(tool);
    run(node, &entry)?;
    let written = write_component(schema, &module, &out.join(format!("{name}.wasm")))?;
    std::fs::remove_file(&module).map_err(io(&module))?;
    std::fs::remove_dir_all(&wit).map_err(io(&wit))?;
    Ok(written)
}

/// Installs the packages that `tool` needs, held against the digests of its `package-lock.json`, unless they are there.
fn install(tool: &Path) -> Result<(), BuildError> {
    // npm writes this file when all others are there.
    if tool.join("node_modules/.package-lock.json").is_file() {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(tool);
    run(npm, tool)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { path, source }
}

fn run(mut command: Command, source: &Path) -> Result<(), BuildError> {
    let program = PathBuf::from(command.get_program());
    let failed = |output| BuildError::JavaScript { source_path: source.to_owned(), program: program.clone(), output };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Err(failed(error.to_string())),
    };
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_node_says_is_shown_with_the_file() {
        let missing = std::env::temp_dir().join("sawlog-no-such-plugin.js");
        let mut node = Command::new("sh");
        node.args(["-c", "echo Unexpected token >&2; exit 1"]);
        let error = run(node, &missing).expect_err("it fails").to_string();
        assert!(error.contains("sawlog-no-such-plugin.js") && error.contains("Unexpected token"), "{error}");
        let error = run(Command::new("sawlog-no-such-program"), &missing).expect_err("it is not there").to_string();
        assert!(error.contains("sawlog-no-such-program") && error.contains("Node.js 20"), "{error}");
    }
}
