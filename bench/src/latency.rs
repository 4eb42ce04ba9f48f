//! End-to-end latency at half of what the agent delivers at most, for each sink by itself: from the moment when a line is written to
//! the moment when a reader sees it, and what each stage adds, by the agent's own histograms of that time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::agent::{Agent, Running};
use crate::isolation;
use crate::kafka;
use crate::load::percentile;
use crate::probe::{self, Feed, Probes, Reader};
use crate::rows::free_address;
use crate::store::Store;
use crate::table::Figures;

/// Nothing is measured before.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long it is measured.
const MEASURED: Duration = Duration::from_secs(20);
/// Longest time until everything is delivered.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// The sink's stages, in the order of a batch's way, and what they are called in the table.
const STAGES: [(&str, &str, &str); 5] = [
    ("app", "chain", "decode and chain"),
    ("out", "plan", "receipt to plan"),
    ("out", "wait", "plan to request (chain included)"),
    ("out", "request", "request"),
    ("out", "cursor", "cursor"),
];

/// Where rows go, and who sees them there.
enum Sink {
    File,
    Documents(Store),
    Kafka(kafka::Watched),
}

/// A row for each sink; Kafka only where the environment names a broker.
pub fn rows(agent: &Agent<'_>, megabytes: u64) -> Result<Vec<Figures>> {
    let mut rows = Vec::new();
    for name in ["file", "documents", "kafka"] {
        let open = || -> Result<Option<Sink>> {
            Ok(match name {
                "file" => Some(Sink::File),
                "documents" => Some(Sink::Documents(Store::start()?)),
                _ => kafka::Watched::begin()?.map(Sink::Kafka),
            })
        };
        // Each run begins with a place of its own.
        let Some(sink) = open()? else { continue };
        let rate = fastest(agent, &sink, megabytes * 1_000_000)? / 2.0;
        sink.end()?;
        let Some(sink) = open()? else { continue };
        rows.push(half_load(agent, sink, name, rate)?);
    }
    Ok(rows)
}

impl Sink {
    fn config(&self) -> String {
        let batch = "batch: { age: 20ms }";
        match self {
            Self::File => format!(
                "  out: {{ type: file, inputs: [parsed], path: ./out.jsonl, roll: {{ size: 1TiB, age: 24h }}, {batch} }}\n"
            ),
            Self::Documents(store) => format!(
                "  out: {{ type: elasticsearch, inputs: [parsed], endpoints: [\"http://{}\"], index: logs, all: true, gzip: false, {batch} }}\n",
                store.address()
            ),
            Self::Kafka(watched) => format!(
                "  out: {{ type: kafka, inputs: [parsed], brokers: [\"{}\"], topic: {}, cursor_topic: {}, {batch} }}\n",
                watched.brokers, watched.topic, watched.cursors
            ),
        }
    }

    fn end(self) -> Result<()> {
        match self {
            Self::Kafka(watched) => watched.end().map(drop),
            Self::File | Self::Documents(_) => Ok(()),
        }
    }
}

/// An agent on an empty input, and where its API is.
fn prepare(agent: &Agent<'_>, sink: &Sink) -> Result<SocketAddr> {
    let api = free_address()?;
    agent.prepare_with(
        &format!(
            "sources:\n  app: {{ type: file, include: [\"{}/app.log\"], read_from: beginning }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n",
            agent.folder.display()
        ),
        &sink.config(),
    )?;
    agent.listen(api)?;
    if matches!(sink, Sink::Kafka(_)) {
        agent.set_up()?;
    }
    Ok(api)
}

/// Bytes per second that come out when they need not wait for one another.
fn fastest(agent: &Agent<'_>, sink: &Sink, bytes: u64) -> Result<f64> {
    let api = prepare(agent, sink)?;
    let (pool, mut out) =
        (probe::pool(), BufWriter::with_capacity(1 << 20, File::create(agent.folder.join("app.log"))?));
    let (mut lines, mut written) = (0, 0);
    for line in pool.iter().cycle() {
        if written >= bytes {
            break;
        }
        out.write_all(line)?;
        (lines, written) = (lines + 1, written + line.len() as u64);
    }
    out.flush()?;
    let (begun, running) = (Instant::now(), agent.start()?);
    wait(api, lines, &running)?;
    let took = begun.elapsed().as_secs_f64();
    running.end()?;
    Ok(written as f64 / took)
}

fn half_load(agent: &Agent<'_>, sink: Sink, name: &'static str, rate: f64) -> Result<Figures> {
    let api = prepare(agent, &sink)?;
    let reader = Reader::start(agent.folder.join("out.jsonl"));
    let running = agent.start()?;
    let feed = Feed::start(&agent.folder.join("app.log"), rate)?;
    thread::sleep(WARM_UP);
    let (from, before) = (probe::now(), stages(api)?);
    thread::sleep(MEASURED);
    let (to, after) = (probe::now(), stages(api)?);
    let lines = feed.end()?;
    wait(api, lines, &running)?;
    running.end()?;
    let from_file = reader.end()?;
    let probes: Probes = match sink {
        Sink::File => from_file,
        Sink::Documents(store) => store.probes(),
        Sink::Kafka(watched) => watched.end()?,
    };
    let took = probe::latencies(&probes, (from, to));
    ensure!(took.len() > 100, "only {} probes arrived", took.len());
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    let mut note = format!(
        "{:.1} MB/s, half of what it takes: p50 {}, p99 {} from written to read",
        rate / 1e6,
        ms(percentile(&took, 50)),
        ms(percentile(&took, 99))
    );
    for (component, stage, called) in STAGES {
        let key = (component.to_owned(), stage.to_owned());
        let figures = after.get(&key).map(|after| after.since(before.get(&key)));
        let Some(figures) = figures.filter(|figures| figures.count > 0.0) else { continue };
        write!(note, "; {called}: {}, p99 ≤ {}", ms(figures.sum / figures.count), ms(figures.percentile(99.0)))?;
    }
    fs::remove_dir_all(&agent.folder)?;
    let name = match name {
        "file" => "latency: tail → JSON → file",
        "documents" => "latency: tail → JSON → documents (a store in memory)",
        _ => "latency: tail → JSON → Kafka",
    };
    Ok(Figures::alone(name, note))
}

fn wait(api: SocketAddr, lines: u64, running: &Running) -> Result<()> {
    let until = Instant::now() + DRAIN_MAX;
    while isolation::delivered(api, "out").unwrap_or(0) < lines {
        ensure!(running.is_alive(), "the agent ended by itself: see agent.log");
        ensure!(Instant::now() < until, "not all of {lines} lines came out");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A histogram: its sum, its count, and how many observations are not above each bound.
#[derive(Clone, Debug, Default)]
struct Histogram {
    sum: f64,
    count: f64,
    upto: Vec<(f64, f64)>,
}

impl Histogram {
    /// What came since `before`.
    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        let upto = self.upto.iter().zip(&before.upto).map(|((bound, now), (_, then))| (*bound, now - then)).collect();
        Self { sum: self.sum - before.sum, count: self.count - before.count, upto }
    }

    /// The bound below which so many percent lie.
    fn percentile(&self, percent: f64) -> f64 {
        let wanted = self.count * percent / 100.0;
        self.upto.iter().find(|(_, count)| *count >= wanted).map_or(f64::INFINITY, |(bound, _)| *bound)
    }
}

/// The agent's histograms of stages, by component and stage.
fn stages(api: SocketAddr) -> Result<BTreeMap<(String, String), Histogram>> {
    let (mut stream, mut text) = (TcpStream::connect(api)?, String::new());
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    stream.read_to_string(&mut text)?;
    parse(&text).context("a histogram of stages can't be read")
}

fn parse(text: &str) -> Option<BTreeMap<(String, String), Histogram>> {
    let mut histograms: BTreeMap<(String, String), Histogram> = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("sawlog_stage_latency_seconds_") else { continue };
        let (what, rest) = rest.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let value: f64 = value.parse().ok()?;
        let label = |name: &str| {
            let rest = labels.split_once(&format!("{name}=\""))?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let histogram = histograms.entry((label("component_id")?, label("stage")?)).or_default();
        match what {
            "sum" => histogram.sum = value,
            "count" => histogram.count = value,
            _ => histogram.upto.push((label("le")?.replace("+Inf", "inf").parse().ok()?, value)),
        }
    }
    Some(histograms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# TYPE sawlog_stage_latency_seconds histogram\n\
        sawlog_stage_latency_seconds_bucket{component_id=\"out\",stage=\"wait\",le=\"0.001\"} 90\n\
        sawlog_stage_latency_seconds_bucket{component_id=\"out\",stage=\"wait\",le=\"0.01\"} 100\n\
        sawlog_stage_latency_seconds_bucket{component_id=\"out\",stage=\"wait\",le=\"+Inf\"} 100\n\
        sawlog_stage_latency_seconds_sum{component_id=\"out\",stage=\"wait\"} 0.2\n\
        sawlog_stage_latency_seconds_count{component_id=\"out\",stage=\"wait\"} 100\n\
        sawlog_uptime_seconds 1\n";

    #[test]
    fn what_came_between_two_scrapes_is_told_by_its_bounds() {
        let key = ("out".to_owned(), "wait".to_owned());
        let before = parse(SCRAPE).unwrap_or_default();
        let later = SCRAPE.replace("} 90", "} 91").replace("} 100", "} 200").replace("} 0.2", "} 1.2");
        let after = parse(&later).unwrap_or_default();
        let came = after[&key].since(before.get(&key));
        assert_eq!((came.count, came.percentile(1.0), came.percentile(99.0)), (100.0, 0.001, 0.01));
        assert!((came.sum - 1.0).abs() < 1e-9);
        assert_eq!(after[&key].since(None).percentile(40.0), 0.001);
    }
}
