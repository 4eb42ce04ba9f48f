//! Runs the test programs of a workspace side by side: most of their time they wait, and cargo runs one after the other.
//!
//! Knows what cargo says of what it compiled; counting belongs to [`super::tally`].

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ring::Step;
use super::tally::Tally;
use crate::workspace;

/// How many test programs run at a time; each has as many threads as the machine has cores.
const PROGRAMS: usize = 3;
/// After this a program is killed and counts as failed.
const MINUTES_MAX: u64 = 20;

/// A line of `cargo --message-format json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A test program, and the folder of its package, where cargo would run it.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// Compiles the tests that `cargo test` with these arguments selects, runs them side by side, and then those in the comments.
pub fn run(name: &str, arguments: &[&str], variables: &BTreeMap<String, String>) -> Result<Tally> {
    let queue = Mutex::new(compile(arguments, variables)?);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = || {
        let mut sum = Tally::default();
        while let Some(program) = next() {
            sum += program.run(name, variables)?;
        }
        Ok(sum)
    };
    let sums: Vec<Result<Tally>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..PROGRAMS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Ok(Tally::of_check(false)))).collect()
    });
    let mut sum = Tally::default();
    for tally in sums {
        sum += tally?;
    }
    let comments = [&["test", "--doc", "--no-fail-fast"], arguments].concat();
    sum += Step::cargo(&format!("{name}-comments"), &comments, MINUTES_MAX).run(variables)?;
    Ok(sum)
}

/// What cargo compiles goes to the terminal as it is; what it says of it in JSON is read.
fn compile(arguments: &[&str], variables: &BTreeMap<String, String>) -> Result<VecDeque<Program>> {
    let output = workspace::cargo()
        .args(["test", "--no-run", "--message-format", "json-render-diagnostics"])
        .args(arguments)
        .envs(variables)
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not compile");
    programs(&output.stdout)
}

/// The test programs that cargo's messages name.
fn programs(messages: &[u8]) -> Result<VecDeque<Program>> {
    let mut found = VecDeque::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Message = serde_json::from_slice(line).context("cargo's message is not as expected")?;
        if message.reason != "compiler-artifact" || !message.profile.is_some_and(|profile| profile.test) {
            continue;
        }
        let folder = message.manifest_path.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        if let (Some(path), Some(folder)) = (message.executable, folder) {
            found.push_back(Program { path, folder });
        }
    }
    ensure!(!found.is_empty(), "cargo named no test program among what it compiled");
    Ok(found)
}

impl Program {
    /// Shows nothing before the end: what several programs say would be mixed.
    fn run(&self, ring: &str, variables: &BTreeMap<String, String>) -> Result<Tally> {
        let file = self.path.file_name().context("a test program has no name")?.to_string_lossy();
        let name = file.rsplit_once('-').map_or(&*file, |(name, _)| name);
        let package = self.folder.file_name().context("a package lies in no folder")?.to_string_lossy();
        let command = vec![self.path.to_string_lossy().into_owned(), "--show-output".to_string()];
        let step = Step { name: format!("{ring}-{package}-{name}"), command, minutes_max: MINUTES_MAX };
        let (tally, shown) = step.run_in(&self.folder, variables)?;
        println!("     Ran {name} of {package}\n{}", shown.join("\n"));
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_cargo_compiled_as_a_test_is_run_and_in_the_folder_of_its_package() {
        let messages = br#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","profile":{"test":false},"executable":"/t/a"}
{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","profile":{"test":true},"executable":"/t/deps/a-0123"}
{"reason":"compiler-artifact","manifest_path":"/w/b/Cargo.toml","profile":{"test":true},"executable":null}
{"reason":"build-script-executed","package_id":"c"}
{"reason":"build-finished","success":true}
"#;
        let found = programs(messages).unwrap();
        assert_eq!(found, [Program { path: "/t/deps/a-0123".into(), folder: "/w/a".into() }]);
        assert!(programs(b"{\"reason\":1}").is_err());
        assert!(programs(br#"{"reason":"build-finished","success":true}"#).is_err(), "no test is no test that passed");
    }
}
