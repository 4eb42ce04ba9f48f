//! `cargo xtask test`: every ring of tests, in order, as CI runs them.
//!
//! A ring that fails does not stop the others. What could not run is said and counted as skipped, never as passed.
//! Whatever happens, the guard ends what was started.

mod beside;
mod chaos;
mod lints;
mod live;
mod needs;
mod ring;
mod tally;
pub mod tools;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::services::{self, Run, Service};
use crate::{plugins, tidy, workspace};
use ring::Step;
use tally::Tally;

pub use lints::in_place_of_the_compiler;

/// Seeds of the simulator in the default run.
const SEEDS: u64 = 2000;
/// Seeds in `--fast`, which must stay under two minutes.
const SEEDS_FAST: u64 = 300;
/// Seeds in `--full`.
const SEEDS_FULL: u64 = 20_000;

/// What a run of the tests may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Only what needs no service: tidy, format, lints, unit and contract tests, a short simulation
    #[arg(long, conflicts_with = "full")]
    fast: bool,
    /// Also the second dialects (OpenSearch, MinIO) and ten times the seeds
    #[arg(long)]
    full: bool,
    /// Only the simulator, with this many seeds
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["fast", "full", "only"])]
    sim: Option<u64>,
    /// The first seed of the simulator
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only cells under blows that seeds draw: kills, freezes, reloads, kills of the services; adds to docs/chaos.md
    #[arg(long, conflicts_with_all = ["fast", "full", "only", "sim"])]
    chaos: bool,
    #[command(flatten)]
    cells: chaos::Cells,
    /// Only the rings of these names
    #[arg(long, value_name = "RING", value_enum)]
    only: Vec<Ring>,
}

/// A ring of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Ring {
    /// The programs that all others need
    Tools,
    /// The compilation targets of plugins
    Targets,
    /// Walls, lengths, words
    Tidy,
    /// cargo fmt
    Format,
    /// cargo clippy
    Lints,
    /// The plugins of this repository
    Plugins,
    /// Unit and contract tests
    Unit,
    /// The seeded simulator and its planted mistakes
    Simulation,
    /// The binary against real services
    Services,
    /// Licences and sources of what we depend on
    Supply,
}

const RINGS: [Ring; 10] = [
    Ring::Tools,
    Ring::Targets,
    Ring::Tidy,
    Ring::Format,
    Ring::Lints,
    Ring::Plugins,
    Ring::Unit,
    Ring::Simulation,
    Ring::Services,
    Ring::Supply,
];

/// The manifests of all workspaces: ours, and those whose code is compiled for guests too.
const WORKSPACES: [(&str, &str); 3] =
    [("host", "Cargo.toml"), ("sdk", "sdk/rust/Cargo.toml"), ("plugins", "plugins/Cargo.toml")];

/// Runs the rings and prints the sums as the last line.
pub fn run(options: &Options) -> Result<ExitCode> {
    let tally = services::guarded(|run| if options.chaos { run_chaos(options, run) } else { run_rings(options, run) })?;
    println!();
    tally.not_run.iter().for_each(|line| println!("{line}"));
    println!("{}", tally.line());
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_rings(options: &Options, services: &Run) -> Result<Tally> {
    let mut variables = variables(services)?;
    if options.full {
        variables.insert("SAWLOG_TEST_FULL".into(), "1".into());
    }
    let timed = |ring: Ring| {
        println!("\n== {ring:?}");
        let start = Instant::now();
        let tally = run_ring(ring, options, services, &variables).unwrap_or_else(|error| {
            println!("{ring:?} could not be run: {error:#}");
            Tally::of_check(false)
        });
        let tally = if ring == Ring::Unit && options.wants(Ring::Services) { tally.before_services() } else { tally };
        let seconds = start.elapsed().as_secs_f64();
        println!("== {ring:?}: {} after {seconds:.1} s", if tally.failed == 0 { "held" } else { "FAILED" });
        (tally, format!("{ring:?} {seconds:.0} s"))
    };
    let (mut sum, mut times) = (Tally::default(), Vec::new());
    thread::scope(|scope| {
        let mut beside = None;
        for ring in RINGS.into_iter().filter(|ring| options.wants(*ring)) {
            if ring == Ring::Targets && options.wants(Ring::Services) {
                scope.spawn(|| fetch_ahead(options));
            }
            if ring == Ring::Simulation && options.simulates_beside() {
                continue;
            }
            if options.simulates_beside() && ring == options.waits_most() {
                beside = Some(scope.spawn(|| timed(Ring::Simulation)));
            }
            let (tally, time) = timed(ring);
            sum += tally;
            times.push(time);
        }
        if let Some(ring) = beside {
            let (tally, time) = ring.join().unwrap_or_else(|_| (Tally::of_check(false), "Simulation panicked".into()));
            sum += tally;
            times.push(time);
        }
    });
    println!("\nrings: {}; full output in {}", times.join(", "), ring::logs()?.display());
    Ok(sum)
}

/// Fetches what the services are made of while the rings before them keep the compiler busy. What fails here is tried again, and
/// reported, by the ring that needs it.
fn fetch_ahead(options: &Options) {
    if !tools::missing(&tools::FOR_SERVICES).is_empty() {
        return;
    }
    let wanted = Service::DEFAULT.iter().chain(if options.full { Service::FULL.as_slice() } else { &[] });
    if let Err(error) = services::fetch(&wanted.copied().collect::<Vec<_>>()) {
        println!("the services could not be fetched ahead: {error:#}");
    }
}

/// The cells under blows, with the services up.
fn run_chaos(options: &Options, services: &Run) -> Result<Tally> {
    let missing = [tools::missing(&tools::FOR_RUST), tools::missing(&tools::FOR_SERVICES)].concat();
    if !missing.is_empty() {
        missing.iter().for_each(|line| println!("{line}"));
        return Ok(Tally::of_check(false));
    }
    let needed = options.cells.services()?;
    workspace::build(&["sawlog", "xtask"])?;
    services.start(&needed)?;
    chaos::run(&options.cells, &variables(services)?)
}

impl Options {
    fn wants(&self, ring: Ring) -> bool {
        if self.sim.is_some() {
            return ring == Ring::Simulation;
        }
        if !self.only.is_empty() {
            return self.only.contains(&ring);
        }
        match ring {
            Ring::Services => !self.fast,
            Ring::Supply => self.full,
            _ => true,
        }
    }

    /// Tests wait much of the time; the simulator only computes. Where latency is measured, nothing else runs.
    fn simulates_beside(&self) -> bool {
        self.wants(Ring::Simulation) && self.wants(self.waits_most()) && !self.full
    }

    /// The ring beside which the simulator runs.
    fn waits_most(&self) -> Ring {
        if self.wants(Ring::Services) { Ring::Services } else { Ring::Unit }
    }

    fn seeds(&self) -> u64 {
        match (self.sim, self.fast, self.full) {
            (Some(seeds), ..) => seeds,
            (None, true, _) => SEEDS_FAST,
            (None, _, true) => SEEDS_FULL,
            _ => SEEDS,
        }
    }
}

/// What tests are told besides the endpoints: which programs are under test. The state file marks all they start.
fn variables(services: &Run) -> Result<BTreeMap<String, String>> {
    let binaries = workspace::binaries()?;
    let path =
        |name: &str| binaries.join(name).to_str().map(String::from).context("the target folder's path is not UTF-8");
    let mut variables = services.environment()?;
    variables.insert("SAWLOG_TEST_BINARY".into(), path("sawlog")?);
    variables.insert("SAWLOG_TEST_XTASK".into(), path("xtask")?);
    variables.insert("SAWLOG_TEST_PLUGINS".into(), plugins::folder().display().to_string());
    Ok(variables)
}

fn run_ring(ring: Ring, options: &Options, services: &Run, variables: &BTreeMap<String, String>) -> Result<Tally> {
    match ring {
        Ring::Tools => Ok(check_tools(options)),
        Ring::Targets => targets().run(variables),
        Ring::Tidy => tidy::check().map(|problems| Tally::of_check(problems == 0)),
        Ring::Format => {
            each_workspace("format", &WORKSPACES, &["fmt", "--all", "--check"], &["--color", "never"], variables)
        }
        Ring::Lints => lints(variables),
        Ring::Plugins => plugins_and_sdks(options, variables),
        Ring::Unit => unit(variables),
        Ring::Simulation => simulation(options, variables),
        Ring::Services => live::run(options.full, services, variables),
        Ring::Supply => supply(variables),
    }
}

/// Builds the plugins, and runs the native tests of the SDKs that need no WASM.
fn plugins_and_sdks(options: &Options, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let words = |command: &str| command.split(' ').map(String::from).collect();
    let build = this(if options.full { &["plugins", "build", "--full"] } else { &["plugins", "build"] })?;
    let mut tally = Step { name: "plugins".into(), command: build, minutes_max: 20 }.run(variables)?;
    let missing = tools::missing(&tools::FOR_GO);
    if missing.is_empty() {
        let command = words("go -C sdk/go test ./...");
        tally += Step { name: "sdk-go".into(), command, minutes_max: 10 }.run(variables)?;
    } else {
        tally += Tally::of_not_run("the tests of the Go SDK", &missing.join("; "));
    }
    let missing = tools::missing(&tools::FOR_JAVASCRIPT);
    if missing.is_empty() {
        let command = words("node --test sdk/javascript/test/sdk.test.js sdk/javascript/example/tidy.test.js");
        tally += Step { name: "sdk-javascript".into(), command, minutes_max: 5 }.run(variables)?;
        tally += types()?.run(variables)?;
    } else {
        tally += Tally::of_not_run("the JavaScript SDK and its example", &missing.join("; "));
    }
    let python =
        "env PYTHONPATH=sdk/python PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s sdk/python/example";
    tally += Step { name: "sdk-python".into(), command: words(python), minutes_max: 5 }.run(variables)?;
    Ok(tally)
}

/// Holds what the JavaScript SDK says of its types against what plugins in TypeScript write.
fn types() -> Result<Step> {
    let sdk = workspace::root().join("sdk/javascript");
    let compiler = services::node_tool(&sdk.join("types"))?.join("node_modules/typescript/bin/tsc");
    let command =
        ["node".to_string(), compiler.display().to_string(), "-p".into(), sdk.join("test").display().to_string()];
    Ok(Step { name: "sdk-types".into(), command: command.to_vec(), minutes_max: 5 })
}

fn this(arguments: &[&str]) -> Result<Vec<String>> {
    built("xtask", arguments)
}

/// A call of a program that cargo built.
fn built(name: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let program = workspace::binaries()?
        .join(name)
        .to_str()
        .map(String::from)
        .context("the target folder's path is not UTF-8")?;
    Ok(std::iter::once(program).chain(arguments.iter().map(ToString::to_string)).collect())
}

fn check_tools(options: &Options) -> Tally {
    let mut missing = tools::missing(&tools::FOR_RUST);
    if options.wants(Ring::Services) {
        missing.extend(tools::missing(&tools::FOR_SERVICES));
    }
    // What was built before needs no room a second time.
    let fresh = workspace::binaries().ok().filter(|folder| !folder.join("sawlog").exists());
    missing.extend(fresh.and_then(|folder| tools::lack_of_room(&folder)));
    missing.iter().for_each(|line| println!("{line}"));
    Tally::of_check(missing.is_empty())
}

fn targets() -> Step {
    let command = ["rustup", "target", "add", "wasm32-unknown-unknown", "wasm32-wasip2"].map(String::from).to_vec();
    Step { name: "targets".into(), command, minutes_max: 10 }
}

fn lints(variables: &BTreeMap<String, String>) -> Result<Tally> {
    let (workspace, manifest) = WORKSPACES[0];
    let mut sum = lints::run(&format!("lints-{workspace}"), manifest, variables)?;
    // Guests have few dependencies, and crates of kinds that need their code.
    let verb = ["clippy", "--workspace", "--all-targets"];
    sum += each_workspace("lints", &WORKSPACES[1..], &verb, &["-D", "warnings"], variables)?;
    Ok(sum)
}

/// The end-to-end tests have a ring of their own. Output of tests that pass is asked for too: a test that could not run says so
/// there.
fn unit(variables: &BTreeMap<String, String>) -> Result<Tally> {
    let (workspace, manifest) = WORKSPACES[0];
    let host = ["--workspace", "--manifest-path", manifest, "--exclude", "sawlog-e2e"];
    let mut sum = beside::run(&format!("unit-{workspace}"), &host, variables)?;
    for (workspace, manifest) in &WORKSPACES[1..] {
        let verb = ["test", "--workspace", "--no-fail-fast", "--manifest-path", manifest, "--", "--show-output"];
        sum += Step::cargo(&format!("unit-{workspace}"), &verb, 30).run(variables)?;
    }
    Ok(sum)
}

/// Runs the same verb of cargo in each of these workspaces.
fn each_workspace(
    ring: &str,
    workspaces: &[(&str, &str)],
    verb: &[&str],
    last: &[&str],
    variables: &BTreeMap<String, String>,
) -> Result<Tally> {
    let mut sum = Tally::default();
    for (workspace, manifest) in workspaces {
        if !workspace::root().join(manifest).is_file() {
            println!("{manifest} is not there");
            sum += Tally::of_check(false);
            continue;
        }
        let mut arguments = verb.to_vec();
        arguments.extend(["--manifest-path", manifest]);
        if !last.is_empty() {
            arguments.push("--");
            arguments.extend(last);
        }
        sum += Step::cargo(&format!("{ring}-{workspace}"), &arguments, 30).run(variables)?;
    }
    Ok(sum)
}

/// Needs a program of its own, which takes longer to build than all of ours.
fn supply(variables: &BTreeMap<String, String>) -> Result<Tally> {
    let version = Step::cargo("supply-version", &["deny", "--version"], 1).run(variables)?;
    if version.failed > 0 {
        return Ok(Tally::of_not_run(
            "licences and sources",
            "cargo-deny is missing: cargo install --locked cargo-deny",
        ));
    }
    Step::cargo("supply", &["deny", "check", "bans", "licenses", "sources"], 10).run(variables)
}

fn simulation(options: &Options, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let (seeds, from) = (options.seeds().to_string(), options.from.to_string());
    workspace::build(&["sawlog-sim"])?;
    let simulator = |name: &str, arguments: &[&str], minutes_max: u64| {
        let mut command = built("sawlog-sim", arguments)?;
        if options.simulates_beside() {
            command.splice(0..0, ["nice", "-n", "19"].map(String::from));
        }
        let minutes_max = if options.simulates_beside() { 2 * minutes_max } else { minutes_max };
        Step { name: name.into(), command, minutes_max }.run(variables)
    };
    let mut tally = simulator("simulation", &["run", "--seeds", &seeds, "--from", &from], 30)?;
    if options.sim.is_none() {
        let planted: &[&str] = if options.fast { &["mutations", "--short"] } else { &["mutations"] };
        tally += simulator("mutations", planted, 30)?;
    }
    Ok(tally)
}
