//! The ring of the binary against real services: what tests need besides, and the lanes in which they run.
//!
//! Knows no test by name; what each needs is in [`super::needs`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use super::beside::{self, Program};
use super::needs::{self, Needs};
use super::ring::{self, Step};
use super::tally::Tally;
use super::tools;
use crate::services::{Run, Service};
use crate::{plugins, workspace};

/// How many test programs run at a time: most of their time they wait, for timeouts and for services that come back.
const LANES: usize = 2;
/// After this a program is killed and counts as failed.
const MINUTES_MAX: u64 = 30;

/// Starts the services while the tests are compiled, and runs the tests.
pub fn run(full: bool, run: &Run, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let missing = tools::missing(&tools::FOR_SERVICES);
    if !missing.is_empty() {
        return Ok(Tally::of_not_run("all tests with services", &missing.join("; ")));
    }
    let jobs = thread::scope(|scope| {
        let started = scope.spawn(|| start(full, run));
        let jobs = compile(variables);
        started.join().map_err(|_| anyhow!("the start of the services panicked"))??;
        jobs
    })?;
    let mut variables = variables.clone();
    variables.extend(run.environment()?);
    variables.extend(plugins::tools(full)?);
    let mut tally = Tally::default();
    if full {
        let binary = workspace::build_with_optimisation("sawlog")?;
        let binary = binary.to_str().context("the target folder's path is not UTF-8")?;
        variables.insert("SAWLOG_TEST_RELEASE_BINARY".into(), binary.into());
    } else {
        let how = "`cargo xtask test --full` starts them";
        tally += Tally::of_not_run("the second dialects, OpenSearch and MinIO", how);
    }
    tally += dead_sink(full, &variables)?;
    let log = ring::logs()?.join("services.log");
    let log = Mutex::new(File::create(&log).with_context(|| format!("cannot create {}", log.display()))?);
    tally += beside::in_lanes(LANES, jobs, Needs::bear, |program, needs| one(program, needs, &log, &variables));
    Ok(tally)
}

fn start(full: bool, run: &Run) -> Result<()> {
    run.start(&Service::DEFAULT)?;
    if full { run.start(&Service::FULL) } else { Ok(()) }
}

/// The programs of the ring in their order. Cargo knows tests by names that others have too.
fn compile(variables: &BTreeMap<String, String>) -> Result<VecDeque<(Program, Needs)>> {
    let mut wanted = needs::programs()?;
    let tests: BTreeSet<&str> = wanted.iter().filter_map(|name| Some(name.split_once('/')?.1)).collect();
    let arguments: Vec<&str> = tests.into_iter().fold(vec!["--workspace"], |mut all, test| {
        all.extend(["--test", test]);
        all
    });
    let mut programs: Vec<_> = beside::compile(&arguments, variables)?
        .into_iter()
        .map(|program| (needs::of(&program.name()), program))
        .collect();
    programs.retain(|(_, program)| wanted.remove(&program.name()));
    ensure!(wanted.is_empty(), "cargo has not compiled {wanted:?}");
    programs.sort_by_key(|((place, _), _)| *place);
    Ok(programs.into_iter().map(|((_, needs), program)| (program, needs)).collect())
}

/// Runs one program. What it says is shown once it has ended, and is then a part of the ring's log, so that no two are mixed.
fn one(program: &Program, needs: &Needs, log: &Mutex<File>, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let step = program.step("services", &["--test-threads", needs.threads], MINUTES_MAX);
    let begin = Instant::now();
    let (tally, shown) = step.run_in(&program.folder, variables)?;
    let head = format!("     Ran {} in {:.0} s", program.name(), begin.elapsed().as_secs_f64());
    println!("{head}\n{}", shown.join("\n"));
    let path = step.log_path()?;
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(log, "{head}").and_then(|()| log.write_all(&text)).context("cannot write the log of the ring")?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(tally)
}

/// Memory, disk and the others' latency while a sink is dead. Latency is measured by `--full` alone: it needs a machine that does
/// nothing else.
fn dead_sink(full: bool, variables: &BTreeMap<String, String>) -> Result<Tally> {
    workspace::build(&["sawlog-bench"])?;
    let binaries = workspace::binaries()?;
    let path = |name: &str| binaries.join(name).to_str().map(String::from).context("a path is not UTF-8");
    let (seconds, megabytes) = if full { ("60", "10000") } else { ("0", "60") };
    let mut command = vec![path("sawlog-bench")?, "isolation".to_string()];
    let folder = path("dead-sink")?;
    let given = [
        ("--agent", path("sawlog")?),
        ("--folder", folder),
        ("--seconds", seconds.into()),
        ("--megabytes", megabytes.into()),
    ];
    given.into_iter().for_each(|(name, value)| command.extend([name.to_string(), value]));
    Step { name: "dead-sink".into(), command, minutes_max: 60 }.run(variables)
}
