//! Runs test programs side by side: most of their time they wait, and cargo runs one after the other.
//!
//! Knows what cargo says of what it compiled; counting belongs to [`super::tally`], and what may run beside what to whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Condvar, Mutex, PoisonError};
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
pub struct Program {
    path: PathBuf,
    /// Its package's.
    pub folder: PathBuf,
}

/// Compiles the tests that `cargo test` with these arguments selects, runs them side by side, and then those in the comments.
pub fn run(name: &str, arguments: &[&str], variables: &BTreeMap<String, String>) -> Result<Tally> {
    let jobs = compile(arguments, variables)?.into_iter().map(|program| (program, ())).collect();
    let mut sum = in_lanes(
        PROGRAMS,
        jobs,
        |(), ()| true,
        |program, ()| {
            let (tally, shown) = program.step(name, &[], MINUTES_MAX).run_in(&program.folder, variables)?;
            println!("     Ran {}\n{}", program.name(), shown.join("\n"));
            Ok(tally)
        },
    );
    let comments = [&["test", "--doc", "--no-fail-fast"], arguments].concat();
    sum += Step::cargo(&format!("{name}-comments"), &comments, MINUTES_MAX).run(variables)?;
    Ok(sum)
}

/// What waits for a lane, and what runs in one.
struct Lanes<N> {
    waiting: VecDeque<(Program, N)>,
    running: Vec<N>,
}

impl<N: Copy + PartialEq> Lanes<N> {
    /// The first that may run beside what runs.
    fn next(&mut self, bear: impl Fn(&N, &N) -> bool) -> Option<(Program, N)> {
        let place = self.waiting.iter().position(|(_, needs)| self.running.iter().all(|other| bear(needs, other)))?;
        let job = self.waiting.remove(place)?;
        self.running.push(job.1);
        Some(job)
    }

    fn ended(&mut self, needs: &N) {
        if let Some(place) = self.running.iter().position(|other| other == needs) {
            self.running.swap_remove(place);
        }
    }
}

/// Runs programs in so many lanes, in their order as far as those that run at a time `bear` each other. What can't be run at all is
/// said and has failed; the others run.
pub fn in_lanes<N: Copy + PartialEq + Send>(
    lanes: usize,
    jobs: VecDeque<(Program, N)>,
    bear: impl Fn(&N, &N) -> bool + Sync,
    run: impl Fn(&Program, &N) -> Result<Tally> + Sync,
) -> Tally {
    let (state, changed) = (Mutex::new(Lanes { waiting: jobs, running: Vec::new() }), Condvar::new());
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || {
        let mut lanes = lock();
        loop {
            if lanes.waiting.is_empty() {
                return None;
            }
            // What waits bears everything once nothing runs, and whoever ends wakes the others.
            match lanes.next(&bear) {
                None => lanes = changed.wait(lanes).unwrap_or_else(PoisonError::into_inner),
                job => return job,
            }
        }
    };
    let lane = || {
        let mut sum = Tally::default();
        while let Some((program, needs)) = next() {
            sum += run(&program, &needs).unwrap_or_else(|error| {
                println!("{} could not be run: {error:#}", program.name());
                Tally::of_check(false)
            });
            lock().ended(&needs);
            changed.notify_all();
        }
        sum
    };
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().for_each(|lane| sum += lane.join().unwrap_or_else(|_| Tally::of_check(false)));
    });
    sum
}

/// What cargo compiles goes to the terminal as it is; what it says of it in JSON is read.
pub fn compile(arguments: &[&str], variables: &BTreeMap<String, String>) -> Result<VecDeque<Program>> {
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
    /// Its package and its own name, as `e2e/cells`.
    pub fn name(&self) -> String {
        let text = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let file = text(&self.path);
        let name = file.rsplit_once('-').map_or(&*file, |(name, _)| name);
        format!("{}/{name}", text(&self.folder))
    }

    /// A call of it, for the ring of this name. Output of tests that pass is asked for too: a test that could not run says so there.
    pub fn step(&self, ring: &str, more: &[&str], minutes_max: u64) -> Step {
        let path = self.path.to_string_lossy();
        let command = [&*path, "--show-output"].iter().chain(more).map(ToString::to_string).collect();
        Step { name: format!("{ring}-{}", self.name().replace('/', "-")), command, minutes_max }
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

    fn job<N>(name: &str, needs: N) -> (Program, N) {
        (Program { path: format!("/t/deps/{name}-0123").into(), folder: "/w/a".into() }, needs)
    }

    /// Even numbers bear each other, odd ones nobody.
    fn bear(one: &u32, other: &u32) -> bool {
        one.is_multiple_of(2) && other.is_multiple_of(2)
    }

    #[test]
    fn what_bears_nobody_runs_alone_and_all_others_beside_each_other() {
        let running = Mutex::new(Vec::new());
        let together = Mutex::new(0);
        let jobs = [("a", 1), ("b", 2), ("c", 4), ("d", 3), ("e", 6)].map(|(name, needs)| job(name, needs));
        let tally = in_lanes(2, jobs.into(), bear, |_, needs| {
            let beside = {
                let mut running = running.lock().unwrap();
                running.push(*needs);
                running.clone()
            };
            let holds = beside.len() == 1 || (beside.len() == 2 && beside.iter().all(|one| one.is_multiple_of(2)));
            // Whoever may have company waits for it.
            for _ in 0..100 {
                let count = running.lock().unwrap().len();
                let mut most = together.lock().unwrap();
                *most = count.max(*most);
                if !needs.is_multiple_of(2) || *most == 2 {
                    break;
                }
                drop(most);
                thread::sleep(std::time::Duration::from_millis(10));
            }
            running.lock().unwrap().retain(|one| one != needs);
            Ok(Tally::of_check(holds))
        });
        assert_eq!((tally.passed, tally.failed, *together.lock().unwrap()), (5, 0, 2));
    }

    #[test]
    fn what_cannot_be_run_has_failed_and_the_others_run() {
        let tally = in_lanes(2, [job("a", 1), job("b", 3), job("c", 5)].into(), bear, |program, needs| {
            ensure!(*needs != 3, "{} is not there", program.name());
            Ok(Tally::of_check(true))
        });
        assert_eq!((tally.passed, tally.failed), (2, 1));
    }
}
