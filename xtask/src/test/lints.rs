//! Clippy over all of our code without a second compilation of all that it depends on.
//!
//! `cargo clippy` checks dependencies anew, in a way that `cargo build` can't use: on two cores, from nothing, eight minutes. Here
//! cargo builds, with this program in the compiler's place for our own crates: it has clippy look at each, and no code is made.
//! What the tests need of dependencies is compiled once, by whoever comes first.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::ring::Step;
use super::tally::Tally;

/// Set where this program stands in the compiler's place.
const IN_PLACE: &str = "SAWLOG_XTASK_LINTS";
/// How clippy is told to deny warnings, in the encoding of `cargo clippy`.
const CLIPPY_ARGS: (&str, &str) = ("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");

/// Looks at one workspace.
pub fn run(name: &str, manifest: &str, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let this = this.to_str().context("this program's path is not UTF-8")?;
    let mut variables = variables.clone();
    let more = [("RUSTC_WORKSPACE_WRAPPER", this), (IN_PLACE, "1"), CLIPPY_ARGS];
    variables.extend(more.map(|(name, value)| (name.to_string(), value.to_string())));
    let arguments = ["build", "--workspace", "--all-targets", "--manifest-path", manifest];
    Step::cargo(name, &arguments, 30).run(&variables)
}

/// Where cargo calls this program as the compiler: looks at the crate, and tells how that ended.
pub fn in_place_of_the_compiler() -> Option<ExitCode> {
    env::var_os(IN_PLACE)?;
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    Some(look(&arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    }))
}

fn look(arguments: &[OsString]) -> Result<ExitCode> {
    let mut clippy = Command::new("clippy-driver");
    if runs_while_building(arguments) {
        return Err(clippy.args(arguments).exec()).context("cannot run clippy-driver: rustup component add clippy");
    }
    let product = Product::of(arguments);
    clippy.args(only_looked_at(arguments, |path| fs::metadata(path).is_ok_and(|file| file.len() > 0)));
    let Some(Product(product)) = product else {
        return Err(clippy.exec()).context("cannot run clippy-driver: rustup component add clippy");
    };
    let status = clippy.status().context("cannot run clippy-driver: rustup component add clippy")?;
    if status.success() {
        // Cargo looks again at a crate whose product is missing.
        fs::write(&product, b"").with_context(|| format!("cannot write {}", product.display()))?;
    }
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Whether cargo needs the code of a crate in order to build others.
fn runs_while_building(arguments: &[OsString]) -> bool {
    let is = |what: &[&str; 2]| arguments.windows(2).any(|two| two[0] == what[0] && two[1] == what[1]);
    is(&["--crate-name", "build_script_build"]) || is(&["--crate-type", "proc-macro"])
}

/// The library, or the tests' program, that cargo expects of this call of the compiler. Other programs are not stood in for: cargo
/// would put what does over the real ones.
struct Product(PathBuf);

impl Product {
    fn of(arguments: &[OsString]) -> Option<Self> {
        let after = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1)?.to_str()
        };
        let extra =
            arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("extra-filename=")).next()?;
        let name = format!("{}{extra}", after("--crate-name")?);
        let file = match after("--crate-type") {
            _ if arguments.iter().any(|argument| argument == "--test") => name,
            Some("lib") => format!("lib{name}.rlib"),
            _ => return None,
        };
        Some(Self(Path::new(after("--out-dir")?).join(file)))
    }
}

/// The compiler's arguments without the making of code; libraries that were only looked at are known by their metadata.
fn only_looked_at(arguments: &[OsString], has_code: impl Fn(&Path) -> bool) -> Vec<OsString> {
    let one = |(index, argument): (usize, &OsString)| {
        let text = argument.to_str()?;
        if text.starts_with("--emit=") && text.contains("link") {
            return Some("--emit=dep-info,metadata".into());
        }
        let is_extern = index > 0 && arguments[index - 1] == "--extern";
        let (name, path) = text.split_once('=').filter(|_| is_extern)?;
        let path = Path::new(path);
        let is_code = path.extension() == Some(OsStr::new("rlib"));
        let metadata = path.with_extension("rmeta");
        (is_code && !has_code(path)).then(|| format!("{name}={}", metadata.display()).into())
    };
    arguments
        .iter()
        .enumerate()
        .map(|(index, argument)| one((index, argument)).unwrap_or_else(|| argument.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_crate_is_looked_at_and_no_code_is_made() {
        let call = words(
            "rustc --crate-name sawlog_core --crate-type lib --emit=dep-info,metadata,link -C extra-filename=-1 --out-dir deps \
             --extern serde=deps/libserde-2.rlib --extern sawlog_record=deps/libsawlog_record-3.rlib",
        );
        let changed = only_looked_at(&call, |path| path == Path::new("deps/libserde-2.rlib"));
        let expected = words(
            "rustc --crate-name sawlog_core --crate-type lib --emit=dep-info,metadata -C extra-filename=-1 --out-dir deps \
             --extern serde=deps/libserde-2.rlib --extern sawlog_record=deps/libsawlog_record-3.rmeta",
        );
        assert_eq!(changed, expected);
    }

    #[test]
    fn code_that_runs_while_others_are_built_is_made() {
        assert!(runs_while_building(&words("rustc --crate-name build_script_build --crate-type bin")));
        assert!(runs_while_building(&words("rustc --crate-name names --crate-type proc-macro")));
        assert!(!runs_while_building(&words("rustc --crate-name sawlog --crate-type bin")));
    }

    #[test]
    fn libraries_and_tests_are_stood_in_for() {
        let call = |kind: &str| {
            let call = format!("rustc --crate-name sawlog --crate-type {kind} -C extra-filename=-1 --out-dir deps");
            Product::of(&words(&call)).map(|product| product.0)
        };
        assert_eq!(call("lib"), Some(PathBuf::from("deps/libsawlog-1.rlib")));
        assert_eq!(call("lib --test"), Some(PathBuf::from("deps/sawlog-1")));
        assert_eq!(call("bin"), None);
        assert_eq!(call("proc-macro"), None);
        assert!(Product::of(&words("rustc -vV")).is_none());
    }
}
