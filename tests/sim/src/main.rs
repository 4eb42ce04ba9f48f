//! The simulator: the real core through its ports, under faults drawn from a seed. `run` for many seeds with a census,
//! `trace` for one, `mutations` to see that each planted mistake is caught.
#![forbid(unsafe_code)]

mod at_the_end;
mod directory;
mod exec;
mod histories;
mod moving;
mod narrow;
mod oracle;
mod outages;
mod places;
mod plugin;
mod ports;
mod retired;
mod rng;
mod run;
mod syncs;
mod tuning;
mod twins;
mod world;

use sawlog_core::mutation::NAMES;
use std::collections::BTreeMap;
use std::process::ExitCode;

fn usage() -> ExitCode {
    eprintln!(
        "usage: sawlog-sim run [--seeds N] [--from SEED] | trace SEED [MUTATION] | mutations [NAME]… [--seeds N] [--from SEED] [--short]"
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
    // Some mistakes show in one seed of several hundred only.
    let usual = if args.first().is_some_and(|verb| verb == "mutations") { 1_000 } else { 200 };
    let (Some(seeds), Some(from)) = (option(&args, "--seeds", usual), option(&args, "--from", 1)) else {
        return usage();
    };
    match args.first().map(String::as_str) {
        Some("run") => run_many(from, seeds),
        Some("mutations") => mutations(&args[1..], from, seeds),
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

/// Runs seeds on all cores, each on one thread of its own; outcomes in the order of the seeds.
fn each_seed(seeds: std::ops::Range<u64>, planted: Option<&'static str>) -> Vec<(u64, run::Outcome)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut outcomes: Vec<(u64, run::Outcome)> = std::thread::scope(|scope| {
        let part = |thread: u64| {
            let seeds = seeds.clone();
            move || {
                let mine = seeds.skip(thread as usize).step_by(threads as usize);
                mine.map(|seed| (seed, run::run(seed, planted, false))).collect::<Vec<_>>()
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(part(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}

/// What befalls a run; 1,000 seeds that meet one of these too seldom prove nothing of it.
const FAULTS: [&str; 37] = [
    "begun_anew",
    "blob_unread",
    "clock_jump",
    "crash",
    "crash_in_recovery",
    "dropped_request",
    "duplicated_request",
    "forgot",
    "frozen",
    "history",
    "journal_failed",
    "journal_fsync",
    "kill",
    "late",
    "late_landed",
    "lost_directory",
    "lost_reply",
    "lost_touch",
    "moved",
    "outage",
    "poison",
    "queue_fsync",
    "reload",
    "rescue_fsync",
    "rescue_refused",
    "rescued",
    "restored_backup",
    "retired",
    "rotation",
    "slept",
    "slow_call",
    "sought_back",
    "switch",
    "torn_append",
    "twin_ended",
    "twin_met",
    "vanished",
];
/// Least times that each fault fires in 1,000 seeds.
const FIRES_MIN: u64 = 45;

/// Runs seeds with no mistake planted; prints failures with the command that replays each, and the census. Seeds that met too little
/// fail the run: what they passed says nothing.
fn run_many(from: u64, seeds: u64) -> ExitCode {
    let (mut bad, mut thin) = (0u64, 0u64);
    let mut census: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (seed, outcome) in each_seed(from..from + seeds, None) {
        for (what, n) in &outcome.census {
            *census.entry(what).or_default() += n;
        }
        if !outcome.failures.is_empty() {
            bad += 1;
            println!("seed {seed} FAILED; replay: cargo run -p sawlog-sim -- trace {seed}");
            outcome.failures.iter().take(3).for_each(|f| println!("    {}", f.chars().take(400).collect::<String>()));
        } else if let Some(why) = outcome.too_little() {
            thin += 1;
            println!("seed {seed} met too little: {why}");
        }
    }
    println!("census of {seeds} seeds: {census:?}");
    let fires = |fault: &str| census.get(fault).copied().unwrap_or_default();
    let seldom: Vec<&str> = FAULTS.into_iter().filter(|fault| fires(fault) < FIRES_MIN * (seeds / 1_000)).collect();
    if !seldom.is_empty() {
        println!("fired fewer than {FIRES_MIN} times in 1,000 seeds: {}", seldom.join(", "));
    }
    println!("seeds below 200 records, 8 crashes or 2 partitions do not count: {thin}");
    println!("sim: {} passed, {} failed", seeds - bad - thin, bad + thin + seldom.len() as u64);
    ExitCode::from(u8::from(bad + thin > 0 || !seldom.is_empty()))
}

/// Seeds of a mutation that are run before it is asked whether one noticed.
const SEEDS_AT_ONCE: u64 = 16;

/// Mistakes that show only where two rare things meet; how many times the usual number of seeds they get; and near which seed they showed
/// last: that is looked at first, for otherwise these few take half of the time of all.
///
/// What meets: a writer dies between its claim and a PLAN that the claim names; a sink commits what it gave up before anything makes
/// that loss durable, and the process dies there; a process freezes in the middle of a recovery while another takes its partition; what
/// a sink said as it ended is not durable when the process dies, and was acted on; a sink begins anew, to make what a claim says, between
/// two looks at it, and its limit lies where the lane stands; the process dies between the two records of an added sink's histories; a
/// removed source ends by itself, and rescues what its successor, by a reload in that moment, finds in no queue; a file goes by a hint
/// that is not durable when the process dies, and what it had is needed again; a file vanishes that was trimmed before, while a sink is
/// added that may want all of it; a file vanishes of which a sink gave up all, and not what stands before and behind it; two components change
/// with one configuration, and the process dies between the two, when all before is trimmed; a
/// file is rescued before an older one of its partition is read, and the process dies then.
const RARE: [(&str, u64, u64); 13] = [
    ("claim_names_what_follows", 5, 2001),
    ("loss_not_durable", 10, 1),
    ("adopted_by_reach", 10, 2501),
    ("journal_goes_on", 5, 1),
    ("adopted_unconfirmed", 5, 1),
    ("arrived_by_hints", 10, 2001),
    ("history_apart", 5, 1),
    ("hole_is_skipped", 30, 12401),
    ("change_half_begun", 30, 11601),
    ("source_beside", 5, 401),
    ("let_go_by_hints", 15, 5201),
    ("rescue_gives_up", 20, 6001),
    ("rescued_overtakes", 20, 6801),
];

/// Seeds that a mistake gets with `--short`, where one that none of them notices is left to a longer run.
const SEEDS_SHORT: u64 = 8;

/// The first of these seeds on which the unchanged oracle fails while this mistake is planted, and on which it does not otherwise.
fn first_to_notice(name: &'static str, seeds: std::ops::Range<u64>) -> Option<u64> {
    seeds.clone().step_by(SEEDS_AT_ONCE as usize).find_map(|start| {
        let some = each_seed(start..(start + SEEDS_AT_ONCE).min(seeds.end), Some(name));
        let mut failed = some.into_iter().filter(|(_, outcome)| !outcome.failures.is_empty()).map(|(seed, _)| seed);
        // A seed that fails in any case says nothing of the mistake; `run` reports it.
        failed.find(|seed| run::run(*seed, None, false).failures.is_empty())
    })
}

/// Plants each mistake in turn, or those that `args` name, and looks for the first seed that the unchanged oracle fails on.
fn mutations(args: &[String], from: u64, usual: u64) -> ExitCode {
    let (mut missed, mut left) = (0, 0);
    let short = args.iter().any(|arg| arg == "--short");
    let named: Vec<&str> = NAMES.iter().copied().filter(|name| args.iter().any(|arg| arg == name)).collect();
    let names = if named.is_empty() { NAMES.to_vec() } else { named };
    for name in &names {
        let rare = RARE.iter().find(|(rare, ..)| rare == name);
        let seeds = if short { SEEDS_SHORT } else { usual * rare.map_or(1, |(_, times, _)| *times) };
        let near = rare.filter(|_| !short && from == 1).map(|(.., near)| *near..near + usual);
        let caught = near.and_then(|near| first_to_notice(name, near));
        let caught = caught.or_else(|| first_to_notice(name, from..from + seeds));
        match caught {
            Some(seed) => println!("mutation {name}: caught by seed {seed}"),
            None if short => {
                left += 1;
                println!("mutation {name}: needs more than {seeds} seeds, left to a longer run");
            }
            None => {
                missed += 1;
                println!("mutation {name}: NOT CAUGHT in {seeds} seeds");
            }
        }
    }
    println!("mutations: {} passed, {missed} failed, {left} skipped", names.len() - missed - left);
    ExitCode::from(u8::from(missed > 0))
}
