//! The rows of the table: what is fed, with which configuration, beside which floor.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use crate::Options;
use crate::agent::Agent;
use crate::check::{self, Number};
use crate::data::{self, Form};
use crate::kafka;
use crate::latency;
use crate::load;
use crate::measure::{self, Cost, median};
use crate::plugins::{self, Steps};
use crate::recovery;
use crate::scaling::{self, Kind};
use crate::table::{Figures, Table};

/// One row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Row {
    /// Tail → decode JSON → file.
    Json,
    /// The same with half of the records dropped, a field added and addresses redacted: natively, by WASM plugins with a byte loop,
    /// and by WASM plugins with the host's kernels.
    Plugins,
    /// And by plugins with a byte loop in processes of their own.
    Apart,
    /// Lines of a web server → fields → file.
    Nginx,
    /// Lines of a container runtime → file.
    Cri,
    /// NDJSON posts → file.
    Http,
    /// A hundred quiet files, a plugin, nothing to do.
    Idle,
    /// Tail → JSON → Kafka; only where it is named.
    Kafka,
    /// From written to read at half load, and what each stage adds; only where it is named.
    Latency,
    /// `kill -9` under load with 1,000 files.
    Recovery,
    /// 1 to 1,000 files.
    Files,
    /// 100 MB to 10 GB; only where it is named.
    Bytes,
    /// No plugin to five.
    Chain,
    /// One worker and two.
    Cores,
}

/// The rows of a run that names none.
const USUAL: [Row; 11] = [
    Row::Json,
    Row::Plugins,
    Row::Apart,
    Row::Nginx,
    Row::Cri,
    Row::Http,
    Row::Idle,
    Row::Recovery,
    Row::Files,
    Row::Chain,
    Row::Cores,
];
/// Longest time for one floor.
pub const FLOOR_MAX: Duration = Duration::from_secs(300);
/// Files of the idle row.
const QUIET_FILES: usize = 100;

/// Runs the rows that are asked for, and prints the table.
pub fn run(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.folder)?;
    let mut table = Table::new(options.megabytes, options.runs);
    let rows = if options.only.is_empty() { USUAL.to_vec() } else { options.only.clone() };
    for row in rows {
        eprintln!("{row:?} …");
        let bench = Bench { options, folder: options.folder.join(format!("{row:?}").to_lowercase()) };
        if bench.folder.exists() {
            fs::remove_dir_all(&bench.folder)?;
        }
        fs::create_dir_all(&bench.folder)?;
        let figures = match row {
            Row::Http => bench.http()?,
            Row::Idle => bench.idle()?,
            Row::Kafka => kafka::row(&bench.agent(), &bench.folder, options.megabytes, options.runs)?,
            Row::Latency => {
                latency::rows(&bench.agent(), options.megabytes)?.into_iter().for_each(|figures| table.add(figures));
                continue;
            }
            Row::Plugins => {
                plugins::rows(options, &bench.folder)?.into_iter().for_each(|figures| table.add(figures));
                fs::remove_dir_all(&bench.folder)?;
                continue;
            }
            Row::Recovery => recovery::row(&bench.agent(), &bench.folder.join("logs"), options.runs)?,
            Row::Files => bench.scaling(Kind::Files)?,
            Row::Bytes => bench.scaling(Kind::Bytes)?,
            Row::Chain => bench.scaling(Kind::Plugins)?,
            Row::Cores => bench.scaling(Kind::Cores)?,
            _ => bench.tail(row)?,
        };
        fs::remove_dir_all(&bench.folder)?;
        table.add(figures);
    }
    table.print(&options.folder)
}

struct Bench<'a> {
    options: &'a Options,
    folder: PathBuf,
}

/// A container's log folder, where the agent knows lines of a container runtime by their path. Dropping it removes it.
struct Pods {
    pod: PathBuf,
    container: PathBuf,
}

impl Pods {
    fn of(row: Row) -> Result<Option<Self>> {
        if row != Row::Cri {
            return Ok(None);
        }
        let pod = PathBuf::from(format!("/var/log/pods/bench_bench_{}", std::process::id()));
        let container = pod.join("app");
        fs::create_dir_all(&container).with_context(|| format!("row cri needs to write to {}", container.display()))?;
        Ok(Some(Self { pod, container }))
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.pod) {
            eprintln!("{} is left: {error}", self.pod.display());
        }
    }
}

/// What a row that reads a file is made of.
struct Tail {
    name: &'static str,
    form: Form,
    floor: &'static str,
    transforms: String,
    last: &'static str,
    number: Number,
    keep: fn(u64) -> bool,
}

impl Bench<'_> {
    fn agent(&self) -> Agent<'_> {
        Agent { binary: &self.options.agent, folder: self.folder.join("agent") }
    }

    fn scaling(&self, kind: Kind) -> Result<Figures> {
        let size = (self.options.megabytes, self.options.runs);
        scaling::row(kind, &self.agent(), &self.folder.join("input"), &self.options.plugins, size)
    }

    fn tail(&self, row: Row) -> Result<Figures> {
        let tail = tail_of(row, &self.options.plugins);
        let pods = Pods::of(row)?;
        let input = pods.as_ref().map_or(self.folder.join("input.log"), |pods| pods.container.join("0.log"));
        let (records, bytes) = data::write(tail.form, &input, self.options.megabytes * 1_000_000)?;
        let sources = format!(
            "sources:\n  app: {{ type: file, include: [\"{}\"], read_from: beginning }}\n{}",
            input.display(),
            tail.transforms
        );
        let (mut floors, mut agents) = (Vec::new(), Vec::new());
        for _ in 0..self.options.runs {
            let out = self.folder.join("floor.out");
            floors.push(measure::run(&mut floor(&["floor", "--work", tail.floor], &[&input, &out])?, FLOOR_MAX)?);
            check::exactly_once(&out, records, tail.number, tail.keep).context("the floor's own rows")?;
            fs::remove_file(&out)?;
            let agent = self.agent();
            agent.prepare(&sources, tail.last)?;
            agents.push(agent.until_eof()?);
            check::exactly_once(&agent.output(), records, tail.number, tail.keep)?;
        }
        Ok(Figures::beside(tail.name, bytes, &floors, &agents))
    }

    fn http(&self) -> Result<Figures> {
        let bytes = self.options.megabytes * 1_000_000;
        let (mut floors, mut agents) = (Vec::new(), Vec::new());
        let (mut slow, mut floor_slow, mut synced) = (Vec::new(), Vec::new(), Vec::new());
        let mut sent = bytes;
        for _ in 0..self.options.runs {
            synced.push(load::fsync_p99(&self.folder.join("fsync"))? * 1e3);
            let at = free_address()?;
            let out = self.folder.join("floor.out");
            let mut serve = floor(&["serve", &at.to_string()], &[&out])?;
            let served = thread::spawn(move || measure::run(&mut serve, FLOOR_MAX));
            let posted = load::post(at, bytes)?;
            floors.push(served.join().expect("measuring does not panic")?);
            check::exactly_once(&out, posted.records, Number::Seq, |_| true).context("the floor's own rows")?;
            floor_slow.push(load::percentile(&posted.answers, 99) * 1e3);
            fs::remove_file(&out)?;
            let (cost, posted) = self.http_agent(bytes)?;
            sent = posted.bytes;
            slow.push(load::percentile(&posted.answers, 99) * 1e3);
            agents.push(cost);
        }
        let mut figures = Figures::beside("HTTP NDJSON, 64 KiB posts, 8 connections → file", sent, &floors, &agents);
        figures.note = format!(
            "2xx p99 {:.1} ms; the floor's {:.1} ms; fdatasync alone {:.1} ms",
            median(slow),
            median(floor_slow),
            median(synced)
        );
        Ok(figures)
    }

    fn http_agent(&self, bytes: u64) -> Result<(Cost, load::Posted)> {
        let at = free_address()?;
        let agent = self.agent();
        agent.prepare(&format!("sources:\n  web: {{ type: http, listen: \"{at}\", path: /logs }}\n"), "web")?;
        let running = agent.start()?;
        let posted = load::post(at, bytes)?;
        let until = Instant::now() + FLOOR_MAX;
        while check::count(&agent.output())? < posted.records {
            ensure!(Instant::now() < until, "not every record came out");
            thread::sleep(Duration::from_millis(200));
        }
        let cost = running.end()?;
        check::exactly_once(&agent.output(), posted.records, Number::Seq, |_| true)?;
        Ok((cost, posted))
    }

    fn idle(&self) -> Result<Figures> {
        let logs = self.folder.join("logs");
        fs::create_dir_all(&logs)?;
        (0..QUIET_FILES).try_for_each(|n| data::write(Form::Json, &logs.join(format!("{n}.log")), 1).map(|_| ()))?;
        let (mut resident, mut first) = (Vec::new(), Vec::new());
        for _ in 0..self.options.runs {
            let agent = self.agent();
            let plugins = self.options.plugins.display();
            agent.prepare(
                &format!(
                    "plugins:\n  level: {{ source: \"file:{plugins}/level-filter.wasm\", config: {{ at_least: info }} }}\n\
                     sources:\n  app: {{ type: file, include: [\"{}/*.log\"] }}\n\
                     transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n  \
                     kept: {{ type: wasm, inputs: [parsed], chain: [level] }}\n",
                    logs.display()
                ),
                "kept",
            )?;
            let running = agent.start()?;
            while check::count(&agent.output())? == 0 {
                ensure!(running.begin.elapsed() < FLOOR_MAX, "no record came out");
                thread::sleep(Duration::from_micros(500));
            }
            first.push(running.begin.elapsed().as_secs_f64() * 1e3);
            thread::sleep(Duration::from_secs(3));
            resident.push(running.resident_bytes().context("the agent ended by itself")? as f64 / 1e6);
            running.end()?;
        }
        Ok(Figures::alone(
            "idle on 100 quiet files, one plugin",
            format!("{:.1} MB resident; start to first record {:.0} ms", median(resident), median(first)),
        ))
    }
}

fn tail_of(row: Row, plugins: &Path) -> Tail {
    let json = "transforms:\n  parsed: { type: parse, inputs: [app], try: [json, text] }\n";
    let all: fn(u64) -> bool = |_| true;
    match row {
        Row::Apart => Tail {
            name: "the plugins with a byte loop, with `isolation: process`",
            form: Form::Json,
            floor: "redact",
            transforms: Steps::Within.config(plugins, "isolation: process"),
            last: plugins::LAST,
            number: Number::Seq,
            keep: plugins::is_kept,
        },
        Row::Nginx => Tail {
            name: "nginx combined lines → fields → file",
            form: Form::Nginx,
            floor: "nginx",
            transforms: "transforms:\n  parsed: { type: parse, inputs: [app], try: [nginx, text] }\n".into(),
            last: "parsed",
            number: Number::User,
            keep: all,
        },
        Row::Cri => Tail {
            name: "CRI lines, every fifth in two parts → JSON → file",
            form: Form::Cri,
            floor: "cri",
            transforms: "transforms:\n  parsed: { type: parse, inputs: [app], try: [cri, json, text] }\n".into(),
            last: "parsed",
            number: Number::Seq,
            keep: all,
        },
        _ => Tail {
            name: "tail → JSON → file",
            form: Form::Json,
            floor: "json",
            transforms: json.into(),
            last: "parsed",
            number: Number::Seq,
            keep: all,
        },
    }
}

/// The floor as a process of its own.
pub fn floor(arguments: &[&str], paths: &[&Path]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).args(paths);
    Ok(command)
}

/// An address of this machine where nobody listens.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
