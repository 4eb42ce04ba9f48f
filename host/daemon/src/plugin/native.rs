//! A plugin's own tests, natively: by the tool of its language and without WASM. Which tool follows from the sources.

use std::path::Path;
use std::process::Command;

use super::PluginError;
use super::sdk::FOLDER;

/// What became of them.
#[derive(Debug)]
pub enum Native {
    /// They passed; what was run.
    Passed(&'static str),
    /// They failed; what was run, and what it wrote.
    Failed(&'static str, String),
    /// There is nothing to run, or nothing to run it with.
    NotRun(&'static str),
}

/// Runs the tests of the plugin in `folder`.
pub fn test(folder: &Path) -> Result<Native, PluginError> {
    let has = |file: &str| folder.join(file).exists();
    if has("Cargo.toml") {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // Plugins are their own workspaces: settings of an outer build must not reach them.
        command.args(["test", "--quiet"]).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        return run(folder, command, "cargo test", "no `cargo` answers; install Rust, https://rustup.rs");
    }
    if has("go.mod") {
        if !is_any(folder, |name| name.ends_with("_test.go"))? {
            return Ok(Native::NotRun("there is no *_test.go"));
        }
        let mut command = Command::new("go");
        command.args(["test", "./..."]).env("GOFLAGS", "-mod=mod");
        return run(folder, command, "go test", "no `go` answers; install Go 1.24 or newer");
    }
    if has("app.py") {
        if !is_any(folder, |name| name.starts_with("test") && name.ends_with(".py"))? {
            return Ok(Native::NotRun("there is no test*.py"));
        }
        let mut command = Command::new("python3");
        command.args(["-m", "unittest"]).env("PYTHONPATH", Path::new(FOLDER).join("sdk/python"));
        return run(folder, command, "python3 -m unittest", "no `python3` answers; install Python 3.10 or newer");
    }
    if has("plugin.js") || has("plugin.ts") {
        if !is_any(folder, |name| name.contains(".test."))? {
            return Ok(Native::NotRun("there is no *.test.js"));
        }
        if !has("node_modules/@sawlog/sdk") && !link_sdk(folder)? {
            return Ok(Native::NotRun("the SDK can't be imported here; `npm install` in this folder links it"));
        }
        let mut command = Command::new("node");
        command.arg("--test");
        return run(folder, command, "node --test", "no `node` answers; install Node.js 20 or newer");
    }
    Ok(Native::NotRun("plugins in C are tested in the host alone"))
}

/// Links the JavaScript SDK that the plugin was made with to where it is imported from, as npm does for a dependency on a folder;
/// false where there is none.
fn link_sdk(folder: &Path) -> Result<bool, PluginError> {
    let sdk = Path::new(FOLDER).join("sdk/javascript");
    if !folder.join(&sdk).is_dir() {
        return Ok(false);
    }
    let scope = folder.join("node_modules/@sawlog");
    std::fs::create_dir_all(&scope).map_err(PluginError::io(&scope))?;
    std::os::unix::fs::symlink(Path::new("../..").join(sdk), scope.join("sdk")).map_err(PluginError::io(&scope))?;
    Ok(true)
}

fn run(folder: &Path, mut command: Command, what: &'static str, missing: &'static str) -> Result<Native, PluginError> {
    let output = match command.current_dir(folder).output() {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Native::NotRun(missing)),
        Err(e) => return Err(PluginError::io(folder)(e)),
    };
    if output.status.success() {
        return Ok(Native::Passed(what));
    }
    let said = [output.stdout, output.stderr].concat();
    Ok(Native::Failed(what, String::from_utf8_lossy(&said).into_owned()))
}

/// Whether there is a file in `folder` of such a name.
fn is_any(folder: &Path, is_one: impl Fn(&str) -> bool) -> Result<bool, PluginError> {
    for entry in std::fs::read_dir(folder).map_err(PluginError::io(folder))? {
        if is_one(&entry.map_err(PluginError::io(folder))?.file_name().to_string_lossy()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::sdk::Language;

    /// The templates' own tests, in languages that need nothing built for them.
    #[test]
    fn templates_pass_their_own_tests_and_fail_them_when_they_are_spoiled() {
        for (language, file, right, wrong) in [
            (Language::Python, "test_app.py", "0b110", "0b111"),
            (Language::Javascript, "plugin.test.js", "[false, true", "[true, true"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let sdk = language.sdk().iter().map(|(path, content)| (Path::new(FOLDER).join(path), content));
            let own = language.template().iter().map(|(path, content)| (Path::new(path).to_owned(), content));
            for (path, content) in sdk.chain(own) {
                let path = folder.path().join(path);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                std::fs::write(path, content.replace("NAME", "mine")).expect("written");
            }
            match test(folder.path()) {
                Ok(Native::Passed(_)) => {}
                Ok(Native::NotRun(why)) if why.starts_with("no `") => println!("NOT RUN: {language:?}: {why}"),
                other => panic!("{language:?}: {other:?}"),
            }
            let path = folder.path().join(file);
            let spoiled = std::fs::read_to_string(&path).expect("a test").replace(right, wrong);
            std::fs::write(&path, spoiled).expect("written");
            assert!(!matches!(test(folder.path()), Ok(Native::Passed(_))), "{language:?}");
        }
    }

    #[test]
    fn sources_without_tests_and_a_tool_that_is_missing_are_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let reason = || match test(folder) {
            Ok(Native::NotRun(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(), "plugins in C are tested in the host alone");
        for (source, expected) in [
            ("plugin.ts", "there is no *.test.js"),
            ("app.py", "there is no test*.py"),
            ("go.mod", "there is no *_test.go"),
        ] {
            std::fs::write(folder.join(source), "").expect("written");
            assert_eq!(reason(), expected, "{source}");
        }
        let missing = run(folder, Command::new("no-such-tool"), "no-such-tool test", "install it");
        assert!(matches!(missing, Ok(Native::NotRun("install it"))));
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo why; exit 1"]);
        assert!(matches!(run(folder, failing, "sh", ""), Ok(Native::Failed("sh", said)) if said == "why\n"));
    }
}
