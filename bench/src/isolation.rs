//! Isolation: three sinks at half of what they can take together; then one of them goes down, refusing connections or hanging, or
//! comes back and catches up, and the others' latency is held against what it was while all were well. The memory that a dead sink costs while a lot of
//! input passes it is measured too. Afterwards the dead sink comes back and must get every record exactly once.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::agent::{Agent, Running};
use crate::load::percentile;
use crate::probe::{self, Feed, Probes, Reader};
use crate::store::{Health, Store};

/// The others' p99 may grow by so much while a sink is down.
const RATIO_MAX: f64 = 1.5;
/// And by so much while one that was down catches up: it takes processor time that they would have had.
const RATIO_MAX_REJOINS: f64 = 3.0;
/// Nothing is measured before.
const WARM_UP: Duration = Duration::from_secs(3);
/// Longest time until all is delivered after the dead sink came back.
const DRAIN_MAX: Duration = Duration::from_secs(1_800);
/// Disk that the journal may take while a sink is down.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// What a run may be asked for.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// The agent's binary
    #[arg(long)]
    agent: PathBuf,
    /// Folder for data; emptied
    #[arg(long)]
    folder: PathBuf,
    /// Seconds of each measurement of latency; 0 leaves that out
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Megabytes (10^6 bytes) that pass a dead sink; 0 leaves that out
    #[arg(long, default_value_t = 10_000)]
    megabytes: u64,
    /// Memory that the agent may hold while a sink is down, MiB: its `limits.memory`
    #[arg(long, default_value_t = 384)]
    memory: u64,
}

/// Measures, prints, and fails where a promise is broken.
pub fn run(options: &Options) -> Result<()> {
    // Paths in a configuration are absolute.
    let options = &Options { folder: std::path::absolute(&options.folder)?, ..options.clone() };
    fs::create_dir_all(&options.folder)?;
    if options.seconds > 0 {
        isolation(options)?;
    }
    if options.megabytes > 0 {
        memory(options)?;
    }
    Ok(fs::remove_dir_all(&options.folder)?)
}

// ---------------------------------------------------------------- latency of the others

fn isolation(options: &Options) -> Result<()> {
    let rate = calibrate(options)? / 2.0;
    println!("three sinks (file, two document stores), {:.1} MB/s, half of what they take together", rate / 1e6);
    println!("| third sink | file p50 | p99 | documents p50 | p99 |\n|---|---|---|---|---|");
    let mut usual = None;
    let mut broken = Vec::new();
    for third in [Third::Is(Health::Well), Third::Is(Health::Refuses), Third::Is(Health::Hangs), Third::Rejoins] {
        let others = Phase::begin(options)?.run(rate, third, Duration::from_secs(options.seconds))?;
        let [file, documents] = others;
        let ms = |value: f64| format!("{:.0} ms", value * 1e3);
        println!("| {third:?} | {} | {} | {} | {} |", ms(file.0), ms(file.1), ms(documents.0), ms(documents.1));
        let usual = *usual.get_or_insert(others);
        let ratio_max = if matches!(third, Third::Rejoins) { RATIO_MAX_REJOINS } else { RATIO_MAX };
        for ((name, now), before) in ["file", "documents"].iter().zip(others).zip(usual) {
            if now.1 > before.1 * ratio_max {
                broken.push(format!(
                    "{name}: p99 {} while the third {third:?}, {} while it is well",
                    ms(now.1),
                    ms(before.1)
                ));
            }
        }
    }
    ensure!(broken.is_empty(), "a dead sink delays others: {}", broken.join("; "));
    println!("every record reached each of the three exactly once");
    Ok(())
}

/// Bytes per second that the three sinks take together.
fn calibrate(options: &Options) -> Result<f64> {
    let phase = Phase::begin(options)?;
    let (lines, bytes) = write(&phase.input(), (options.seconds * 5_000_000).clamp(20_000_000, 200_000_000))?;
    let begin = Instant::now();
    let running = phase.agent().start()?;
    phase.wait(lines, &running)?;
    let took = begin.elapsed().as_secs_f64();
    running.end()?;
    Ok(bytes as f64 / took)
}

/// The sink that fails while the others are measured.
#[derive(Clone, Copy, Debug)]
enum Third {
    /// It is so all the while.
    Is(Health),
    /// It was down for as long as it is measured, is back, and catches up.
    Rejoins,
}

/// Three sinks, fresh.
struct Phase {
    binary: PathBuf,
    folder: PathBuf,
    reader: Reader,
    second: Store,
    third: Store,
}

impl Phase {
    fn begin(options: &Options) -> Result<Self> {
        let folder = options.folder.join("isolation");
        let agent = Agent { binary: &options.agent, folder: folder.clone() };
        let (second, third) = (Store::start()?, Store::start()?);
        let batch = "batch: { age: 100ms }, retry: { max: 1s }";
        let store = |name: &str, store: &Store| {
            format!(
                "  {name}: {{ type: elasticsearch, inputs: [parsed], endpoints: [\"http://{}\"], index: logs, all: true, \
                 gzip: false, {batch} }}\n",
                store.address()
            )
        };
        agent.prepare_with(
            &format!("sources:\n  app: {{ type: file, include: [\"{}/app.log\"], read_from: beginning }}\n{PARSE}", folder.display()),
            &format!(
                "  out: {{ type: file, inputs: [parsed], path: ./out.jsonl, roll: {{ size: 1TiB, age: 24h }}, {batch} }}\n{}{}",
                store("second", &second),
                store("third", &third)
            ),
        )?;
        let reader = Reader::start(folder.join("out.jsonl"));
        Ok(Self { binary: options.agent.clone(), folder, reader, second, third })
    }

    fn agent(&self) -> Agent<'_> {
        Agent { binary: &self.binary, folder: self.folder.clone() }
    }

    fn input(&self) -> PathBuf {
        self.folder.join("app.log")
    }

    /// Latencies (p50, p99) of the file and of the second store while the third is as `third` says.
    fn run(self, rate: f64, third: Third, length: Duration) -> Result<[(f64, f64); 2]> {
        let running = self.agent().start()?;
        let feed = Feed::start(&self.input(), rate)?;
        thread::sleep(WARM_UP);
        match third {
            Third::Is(health) => self.third.set(health),
            Third::Rejoins => {
                self.third.set(Health::Refuses);
                thread::sleep(length);
                self.third.set(Health::Well);
            }
        }
        let from = probe::now();
        thread::sleep(length);
        let to = probe::now();
        self.third.set(Health::Well);
        let lines = feed.end()?;
        self.wait(lines, &running)?;
        running.end()?;
        let documents = self.second.probes();
        let figures = |probes: &Probes| -> Result<(f64, f64)> {
            let took = probe::latencies(probes, (from, to));
            ensure!(took.len() > 100, "only {} probes arrived", took.len());
            Ok((percentile(&took, 50), percentile(&took, 99)))
        };
        Ok([figures(&self.reader.end()?)?, figures(&documents)?])
    }

    /// Until each sink has all `lines`, and no more.
    fn wait(&self, lines: u64, running: &Running) -> Result<()> {
        let until = Instant::now() + DRAIN_MAX;
        loop {
            let have = [self.reader.rows(), self.second.documents(), self.third.documents()];
            ensure!(have.iter().all(|rows| *rows <= lines), "of {lines} lines came out {have:?}");
            if have == [lines; 3] {
                return Ok(());
            }
            ensure!(Instant::now() < until, "of {lines} lines came out {have:?}");
            ensure!(running.resident_bytes().is_some(), "the agent ended by itself: see agent.log");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

const PARSE: &str = "transforms:\n  parsed: { type: parse, inputs: [app], try: [json, text] }\n";

/// Writes lines until there are `bytes` bytes; how many lines and bytes it became.
fn write(path: &Path, bytes: u64) -> Result<(u64, u64)> {
    let (pool, mut out) = (probe::pool(), BufWriter::with_capacity(1 << 20, File::create(path)?));
    let (mut lines, mut written) = (0, 0);
    for line in pool.iter().cycle() {
        if written >= bytes {
            break;
        }
        out.write_all(line)?;
        (lines, written) = (lines + 1, written + line.len() as u64);
    }
    out.flush()?;
    Ok((lines, written))
}

// ---------------------------------------------------------------- memory of a dead sink

/// Files of the input.
const FILES: u64 = 4;

fn memory(options: &Options) -> Result<()> {
    for health in [Health::Refuses, Health::Hangs] {
        let folder = options.folder.join("memory");
        let agent = Agent { binary: &options.agent, folder: folder.clone() };
        let third = Store::start()?;
        third.set(health);
        let api = crate::rows::free_address()?;
        agent.prepare_with(
            &format!(
                "limits: {{ memory: {}MiB }}\nsources:\n  app: {{ type: file, include: [\"{}/logs/*.log\"], read_from: beginning }}\n{PARSE}",
                options.memory,
                folder.display()
            ),
            &format!(
                "  out: {{ type: blackhole, inputs: [parsed] }}\n  third: {{ type: elasticsearch, inputs: [parsed], \
                 endpoints: [\"http://{}\"], index: logs, all: true, retry: {{ max: 1s }}, gzip: false }}\n",
                third.address()
            ),
        )?;
        agent.listen(api)?;
        fs::create_dir_all(folder.join("logs"))?;
        let (mut lines, mut bytes) = (0, 0);
        for file in 0..FILES {
            let written = write(&folder.join(format!("logs/{file}.log")), options.megabytes * 1_000_000 / FILES)?;
            (lines, bytes) = (lines + written.0, bytes + written.1);
        }
        let running = agent.start()?;
        let (passed, until) = (Instant::now(), Instant::now() + DRAIN_MAX);
        while delivered(api, "out").unwrap_or(0) < lines {
            ensure!(Instant::now() < until, "the other sink did not get all that passed the dead one");
            thread::sleep(Duration::from_millis(200));
        }
        let seconds = passed.elapsed().as_secs_f64();
        let peak = running.peak_bytes().context("the agent ended by itself")?;
        let disk = size(&folder.join("data"))?;
        third.set(Health::Well);
        wait(&third, lines, &running)?;
        let peak_after = running.peak_bytes().context("the agent ended by itself")?;
        running.end()?;
        println!(
            "third sink {health:?} while {:.1} GB pass it in {seconds:.0} s: at most {:.0} MB resident ({:.0} MB while it catches up), \
             data directory {:.1} MB; then it got all {lines} records exactly once, {} came again and were refused",
            bytes as f64 / 1e9,
            peak as f64 / 1e6,
            peak_after as f64 / 1e6,
            disk as f64 / 1e6,
            third.conflicts()
        );
        ensure!(peak_after <= options.memory << 20, "that is more than limits.memory, {} MiB", options.memory);
        ensure!(disk <= JOURNAL_BYTES_MAX, "that is more disk than a journal needs");
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn wait(third: &Store, lines: u64, running: &Running) -> Result<()> {
    let until = Instant::now() + DRAIN_MAX;
    while third.documents() < lines {
        ensure!(Instant::now() < until, "the sink that was dead got {} of {lines} records", third.documents());
        ensure!(running.resident_bytes().is_some(), "the agent ended by itself");
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(third.documents() == lines, "the sink that was dead got {} of {lines} records", third.documents());
    Ok(())
}

/// Input records that a sink has delivered, by the agent's own metrics.
pub fn delivered(api: SocketAddr, sink: &str) -> Result<u64> {
    let mut stream = TcpStream::connect(api)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let label = format!("sink=\"{sink}\"");
    let mut sum = 0;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.starts_with("sawlog_ledger_records") && line.contains(&label) {
            let value = line.rsplit(' ').next().context("a metric without a value")?;
            sum += value.parse::<f64>()? as u64;
        }
    }
    Ok(sum)
}

/// Bytes of the files below a folder; one that goes meanwhile counts or not.
pub fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => sum += size(&entry.path())?,
            Ok(meta) => sum += meta.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sum)
}
