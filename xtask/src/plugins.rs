//! `cargo xtask plugins`: from the sources below `plugins/` to components that the agent loads.
//!
//! Knows where plugins are and where components go; how one is made is known to `host/componentize`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::test::tools;
use crate::{services, workspace};

/// The variable by which `host/componentize` is told the C compiler.
const C_COMPILER: &str = "SAWLOG_WASM_CC";

/// The variable by which it is told `componentize-py`.
const PYTHON_TOOL: &str = "SAWLOG_COMPONENTIZE_PY";

/// The variable by which it is told where `componentize-js` is.
const JAVASCRIPT_TOOL: &str = "SAWLOG_COMPONENTIZE_JS";

/// The variable by which it is told where AssemblyScript is.
const ASSEMBLYSCRIPT_TOOL: &str = "SAWLOG_ASSEMBLYSCRIPT";

/// What can be done with the plugins of this repository.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Compile every plugin and make a component of it
    Build {
        /// Also what takes minutes: the examples in Python, JavaScript and AssemblyScript
        #[arg(long)]
        full: bool,
    },
}

/// Runs one verb.
pub fn run(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Build { full } => build(*full).map(|()| ExitCode::SUCCESS),
    }
}

/// The folder into which components are built; tests find it in `SAWLOG_TEST_PLUGINS`.
pub fn folder() -> PathBuf {
    workspace::root().join("plugins/target/components")
}

/// Builds every plugin, and the example of every SDK; those in Python, JavaScript and AssemblyScript with `full` alone.
pub fn build(full: bool) -> Result<()> {
    workspace::build(&["sawlog-componentize"])?;
    let mut componentize = Command::new(workspace::binaries()?.join("sawlog-componentize"));
    let status = componentize.arg(workspace::root()).envs(tools(full)?).status();
    let status = status.context("cannot run the plugins' builder")?;
    ensure!(status.success(), "not every plugin could be built");
    Ok(())
}

/// What names the tools of languages: what the environment names is taken (`SAWLOG_WASM_CC`, `SAWLOG_COMPONENTIZE_PY`,
/// `SAWLOG_COMPONENTIZE_JS`), else a pinned one that is fetched once. A machine without Node.js builds nothing in JavaScript.
pub fn tools(full: bool) -> Result<BTreeMap<String, String>> {
    let mut named = BTreeMap::new();
    if std::env::var_os(C_COMPILER).is_none() {
        let python = services::python_with("ziglang")?;
        named.insert(C_COMPILER.into(), format!("{} -m ziglang cc -target wasm32-freestanding", python.display()));
    }
    if full && std::env::var_os(PYTHON_TOOL).is_none() {
        let python = services::python_with("componentize-py")?;
        named.insert(PYTHON_TOOL.into(), python.with_file_name("componentize-py").display().to_string());
    }
    for (tool, folder) in [(JAVASCRIPT_TOOL, "sdk/javascript/build"), (ASSEMBLYSCRIPT_TOOL, "sdk/assemblyscript")] {
        if full && std::env::var_os(tool).is_none() && tools::missing(&tools::FOR_JAVASCRIPT).is_empty() {
            let path = services::node_tool(&workspace::root().join(folder))?;
            named.insert(tool.into(), path.display().to_string());
        }
    }
    Ok(named)
}
