//! Builds every plugin of the repository, whose root is the first argument, into `plugins/target/components`, for its tests and
//! its demo. Users build theirs with `sawlog plugin build`, which calls the same library.

mod by_hand;

use sawlog_componentize::{
    BuildError, C_COMPILER, JAVASCRIPT_TOOL, PYTHON_TOOL, TARGET, build_c, build_crate, build_go, build_javascript,
    build_python, c_compiler,
};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let repository = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    match build_all(Path::new(&repository)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build_all(repository: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (plugins, out) = (repository.join("plugins"), repository.join("plugins/target/components"));
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(&plugins)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    folders.sort();
    warm_up(&plugins)?;
    for folder in folders {
        if folder.join("src/lib.rs").exists() {
            println!("{}", build_crate(&folder, TARGET, &out)?.display());
        } else if folder.join("schema.json").exists() {
            match c_compiler() {
                Some(compiler) => {
                    println!("{}", build_c(&folder, &repository.join("sdk/c"), &compiler, &out)?.display());
                }
                None => println!(
                    "NOT BUILT {}: no C compiler for WASM; install clang and lld, or the Python package ziglang, or set {C_COMPILER}",
                    folder.display()
                ),
            }
        }
    }
    build_examples(repository, &out)?;
    by_hand::build(&repository.join("sdk"), &c_compiler().unwrap_or_default(), &out.join("tidy"))?;
    // Once with a runtime that insists on WASI, which the host virtualises.
    println!("{}", build_crate(&plugins.join("hostile"), "wasm32-wasip2", &out.join("wasi"))?.display());
    Ok(())
}

/// The example of every SDK, each from its own sources, into `tidy/<language>.wasm`.
fn build_examples(repository: &Path, out: &Path) -> Result<(), BuildError> {
    let (sdk, out) = (repository.join("sdk"), out.join("tidy"));
    let schema = sdk.join("example");
    let rust = build_crate(&sdk.join("rust/example"), TARGET, &out)?;
    let renamed = out.join("rust.wasm");
    std::fs::rename(&rust, &renamed).map_err(|source| BuildError::Io { path: rust, source })?;
    println!("{}", renamed.display());
    if let Some(compiler) = c_compiler() {
        for (folder, name) in [("example", "c"), ("example-cpp", "cpp")] {
            let path = build_c(&sdk.join("c").join(folder), &sdk.join("c"), &compiler, &out)?;
            let renamed = out.join(format!("{name}.wasm"));
            std::fs::rename(&path, &renamed).map_err(|source| BuildError::Io { path, source })?;
            println!("{}", renamed.display());
        }
    }
    if Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        println!("{}", build_go(&sdk.join("go/example"), "go", &schema, &out)?.display());
        let (windows, schema) = (sdk.join("go/windows/example"), repository.join("plugins/count-window"));
        println!("{}", build_go(&windows, "count-window-go", &schema, &out)?.display());
    } else {
        println!("NOT BUILT the examples in Go: no `go`; install Go 1.24 or newer");
    }
    match std::env::var(PYTHON_TOOL) {
        Ok(tool) => {
            let (app, library) = (sdk.join("python/example"), sdk.join("python"));
            println!("{}", build_python(&app, &library, "python", &schema, Path::new(&tool), &out)?.display());
        }
        Err(_) => println!("NOT BUILT the example in Python: {PYTHON_TOOL} does not name `componentize-py`"),
    }
    match std::env::var(JAVASCRIPT_TOOL) {
        Ok(tool) => {
            let (library, entry) = (sdk.join("javascript"), sdk.join("javascript/example/plugin.js"));
            let tool = Path::new(&tool);
            println!("{}", build_javascript(&entry, &library, "javascript", &schema, tool, &out)?.display());
        }
        Err(_) => {
            println!(
                "NOT BUILT the example in JavaScript: {JAVASCRIPT_TOOL} does not name the folder of build.mjs; `cargo xtask plugins build` \
                 makes one where Node.js 20 or newer and npm are installed"
            )
        }
    }
    Ok(())
}

/// Compiles all crates at once, on all cores; what follows finds them made.
fn warm_up(plugins: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--release", "--workspace", "--target", TARGET]).current_dir(plugins);
    let status = build.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").status()?;
    if status.success() { Ok(()) } else { Err("the plugins do not compile; cargo says why above".into()) }
}
