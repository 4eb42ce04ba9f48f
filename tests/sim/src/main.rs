//! The simulator: the real core through its ports, under faults drawn from a seed. `run` for many seeds with a census,
//! `trace` for one, `mutations` to see that each planted mistake is caught.
#![forbid(unsafe_code)]

mod exec;
mod oracle;
mod plugin;
mod ports;
mod rng;
mod run;
mod world;

use sawlog_core::mutation::NAMES;
use std::collections::BTreeMap;
use std::process::ExitCode;

fn usage() -> ExitCode {
    eprintln!(
        "usage: sawlog-sim run [--seeds N] [--from SEED] | trace SEED [MUTATION] | mutations [--seeds N] [--from SEED]"
    );
    ExitCode::from(2)
}

fn option(args: &[String], name: &str, default: u64) -> Option<u64> {
    match args.iter().position(|a| a == name) {
        None => Some(default),
        Some(at) => args.get(at + 1)?.parse().ok(),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(seeds), Some(from)) = (option(&args, "--seeds", 200), option(&args, "--from", 1)) else { return usage() };
    match args.first().map(String::as_str) {
        Some("run") => run_many(from, seeds),
        Some("mutations") => mutations(from, seeds),
        Some("trace") => match args.get(1).and_then(|s| s.parse().ok()) {
            Some(seed) => {
                let planted = args.get(2).and_then(|m| NAMES.iter().find(|n| *n == m)).copied();
                let outcome = run::run(seed, planted, true);
                println!("{:#?}", outcome.failures);
                ExitCode::from(u8::from(!outcome.failures.is_empty()))
            }
            None => usage(),
        },
        _ => usage(),
    }
}

/// Runs seeds with no mistake planted; prints failures with the command that replays each, and the census.
fn run_many(from: u64, seeds: u64) -> ExitCode {
    let (mut bad, mut thin) = (0u64, 0u64);
    let mut census: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in from..from + seeds {
        let outcome = run::run(seed, None, false);
        let crashes = ["crash", "kill"].iter().filter_map(|k| outcome.census.get(k)).sum::<u64>();
        if outcome.records < 200 || crashes < 8 {
            thin += 1;
        }
        for (what, n) in &outcome.census {
            *census.entry(what).or_default() += n;
        }
        if !outcome.failures.is_empty() {
            bad += 1;
            println!("seed {seed} FAILED; replay: cargo run -p sawlog-sim -- trace {seed}");
            outcome.failures.iter().take(3).for_each(|f| println!("    {}", f.chars().take(400).collect::<String>()));
        }
    }
    println!("census of {seeds} seeds: {census:?}");
    println!("seeds below 200 records or 8 crashes (do not count): {thin}");
    println!("sim: {} passed, {bad} failed, {thin} skipped", seeds - bad - thin.min(seeds - bad));
    ExitCode::from(u8::from(bad > 0))
}

/// Plants each mistake in turn and looks for the first seed that the unchanged oracle fails on.
fn mutations(from: u64, seeds: u64) -> ExitCode {
    let mut missed = 0;
    for name in NAMES {
        let caught = (from..from + seeds).find(|seed| !run::run(*seed, Some(name), false).failures.is_empty());
        match caught {
            Some(seed) => println!("mutation {name}: caught by seed {seed} ({} seeds)", seed - from + 1),
            None => {
                missed += 1;
                println!("mutation {name}: NOT CAUGHT in {seeds} seeds");
            }
        }
    }
    println!("mutations: {} passed, {missed} failed", NAMES.len() - missed);
    ExitCode::from(u8::from(missed > 0))
}
