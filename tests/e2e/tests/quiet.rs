//! Ten thousand quiet files behind the whole agent: at most 60 MB resident and 1 % of a core, by the kernel's own figures. `cargo xtask
//! test --full` builds the agent with optimisation for that. A build without it maps twice as much of itself: of such a one, what is the
//! agent's own is held.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::service;
use sawlog_e2e::told::Ledger;
use std::fs;
use std::time::{Duration, Instant};

const FILES: u64 = 10_000;
const LINES: u64 = 20;
/// How long it is left alone before it is measured.
const REST: Duration = Duration::from_secs(40);
/// How long it is measured: once a minute everything is looked at.
const MEASURED: Duration = Duration::from_secs(60);

/// Of the agent's own, KiB, in a build without optimisation.
const OWN_KIB_MAX: u64 = 60_000;
/// All that is resident, bytes, in one with it.
const RESIDENT_BYTES_MAX: u64 = 60_000_000;

/// Memory that is the agent's own, and all that is resident, in KiB.
fn memory_kib(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (value("RssAnon:"), value("VmRSS:"))
}

/// Time on a core, in ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn ten_thousand_quiet_files_cost_little() {
    let Some(unoptimised) = service("ten thousand quiet files", "SAWLOG_TEST_BINARY") else { return };
    if std::env::var_os("SAWLOG_TEST_FULL").is_none() {
        println!("NOT RUN: ten thousand quiet files: it takes three minutes; `cargo xtask test --full` runs it");
        return;
    }
    let optimised = std::env::var("SAWLOG_TEST_RELEASE_BINARY").ok();
    let binary = optimised.as_ref().unwrap_or(&unoptimised);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let here = path.display();
    let config = format!(
        "version: 1\nagent: {{ id: quiet }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\n\
         sources:\n  app: {{ type: file, include: [\"{here}/logs/*/*.log\"] }}\n\
         sinks:\n  out: {{ type: blackhole, inputs: [app] }}\n"
    );
    fs::write(path.join("sawlog.yaml"), config).unwrap();
    for file in 0..FILES {
        let folder = path.join(format!("logs/app{}", file % 100));
        fs::create_dir_all(&folder).unwrap();
        let line = |n| format!("2026-11-24T12:00:00 file {file:05} line {n:03} of an application with little to say\n");
        fs::write(folder.join(format!("{file}.log")), (0..LINES).map(line).collect::<String>()).unwrap();
    }
    let begun = Instant::now();
    let mut agent = Agent::start_build(binary, path).unwrap();
    // While it starts it answers nobody.
    let whole = || Ok(Ledger::of(path).map_or(0, |ledger| ledger.count("out", "app", "delivered")) == FILES * LINES);
    agent.wait_until("every line", Duration::from_secs(300), whole).unwrap();
    let read = begun.elapsed();
    std::thread::sleep(REST);
    let (ticks, measured) = (cpu_ticks(agent.pid()), Instant::now());
    std::thread::sleep(MEASURED);
    let percent = (cpu_ticks(agent.pid()) - ticks) as f64 / measured.elapsed().as_secs_f64();
    let (own, resident) = memory_kib(agent.pid());
    println!(
        "{binary}, {FILES} files: read in {read:?}, {own} KiB of its own, {resident} KiB resident, {percent:.2} % of a core"
    );
    assert!(percent <= 1.0, "{percent:.2} % of a core for {FILES} quiet files");
    assert!(own <= OWN_KIB_MAX, "{own} KiB of its own for {FILES} quiet files");
    if optimised.is_some() {
        assert!(resident * 1024 <= RESIDENT_BYTES_MAX, "{resident} KiB resident for {FILES} quiet files");
    }
    agent.terminate().unwrap();
}
