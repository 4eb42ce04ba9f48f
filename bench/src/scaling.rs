//! How the cost per GB grows with files, bytes and plugins: tail → JSON → blackhole, input in the page cache.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::agent::Agent;
use crate::data::{self, Form};
use crate::measure::{Cost, median};
use crate::table::Figures;

/// One shape of the work.
#[derive(Clone, Copy)]
struct Shape {
    files: u64,
    megabytes: u64,
    plugins: usize,
    /// Worker threads; as many as cores where none is given.
    workers: Option<u32>,
}

/// What each row compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 1 to 1,000 files of the same bytes together.
    Files,
    /// 100 MB to 10 GB in one file.
    Bytes,
    /// No plugin to five in a chain, each of which looks at one field.
    Plugins,
    /// One worker and two over two partitions, by the clock.
    Cores,
}

/// A row of figures: CPU-seconds per GB of each shape, medians of interleaved runs.
pub fn row(
    kind: Kind,
    agent: &Agent<'_>,
    input: &Path,
    plugins: &Path,
    (megabytes, runs): (u64, usize),
) -> Result<Figures> {
    let shape = Shape { files: 1, megabytes, plugins: 0, workers: None };
    let shapes: Vec<(String, Shape)> = match kind {
        Kind::Files => [1, 10, 100, 1_000].map(|files| (format!("{files} files"), Shape { files, ..shape })).into(),
        Kind::Bytes => {
            [100, 1_000, 10_000].map(|megabytes| (format!("{megabytes} MB"), Shape { megabytes, ..shape })).into()
        }
        Kind::Plugins => (0..=5).map(|plugins| (format!("{plugins} plugins"), Shape { plugins, ..shape })).collect(),
        Kind::Cores => [1, 2].map(|w| (format!("{w} workers"), Shape { files: 2, workers: Some(w), ..shape })).into(),
    };
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); shapes.len()];
    for _ in 0..runs {
        for (at, (_, shape)) in shapes.iter().enumerate() {
            costs[at].push(run(*shape, agent, input, plugins)?);
        }
    }
    let mut note = String::new();
    for ((name, shape), costs) in shapes.iter().zip(&costs) {
        let of = |value: fn(&Cost) -> f64| median(costs.iter().map(value).collect());
        let gigabytes = shape.megabytes as f64 / 1e3;
        let (cpu, wall) = (of(|c| c.cpu_seconds) / gigabytes, of(|c| c.wall_seconds) / gigabytes);
        let peak = of(|c| c.peak_bytes as f64) / 1e6;
        let sep = if note.is_empty() { "" } else { "; " };
        write!(note, "{sep}{name}: {cpu:.2} CPU-s/GB, {wall:.2} s/GB, {peak:.0} MB")?;
    }
    Ok(Figures::alone(
        match kind {
            Kind::Files => "files, tail → JSON → blackhole",
            Kind::Bytes => "bytes, tail → JSON → blackhole",
            Kind::Plugins => "chained plugins, tail → JSON → plugins → blackhole",
            Kind::Cores => "two partitions on one worker and two, tail → JSON → blackhole",
        },
        note,
    ))
}

fn run(shape: Shape, agent: &Agent<'_>, input: &Path, plugins: &Path) -> Result<Cost> {
    let wanted = input.join(format!("{}-{}", shape.files, shape.megabytes));
    if !wanted.exists() {
        if input.exists() {
            fs::remove_dir_all(input)?;
        }
        fs::create_dir_all(&wanted)?;
        for file in 0..shape.files {
            data::write(Form::Json, &wanted.join(format!("{file}.log")), shape.megabytes * 1_000_000 / shape.files)?;
        }
    }
    let names: Vec<String> = (0..shape.plugins).map(|n| format!("p{n}")).collect();
    let declared: String = names
        .iter()
        .map(|name| {
            format!(
                "  {name}: {{ source: \"file:{}/level-filter.wasm\", config: {{ at_least: debug }} }}\n",
                plugins.display()
            )
        })
        .collect();
    let declared = if names.is_empty() { String::new() } else { format!("plugins:\n{declared}") };
    let chain = match names.is_empty() {
        true => String::new(),
        false => format!("  kept: {{ type: wasm, inputs: [parsed], chain: [{}] }}\n", names.join(", ")),
    };
    let limits = shape.workers.map_or(String::new(), |workers| format!("limits: {{ cpu: {workers} }}\n"));
    agent.prepare_with(
        &format!(
            "{limits}{declared}sources:\n  app: {{ type: file, include: [\"{}/*.log\"], read_from: beginning }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n{chain}",
            wanted.display()
        ),
        &format!("  out: {{ type: blackhole, inputs: [{}] }}\n", if names.is_empty() { "parsed" } else { "kept" }),
    )?;
    let cost = agent.until_eof()?;
    ensure!(cost.wall_seconds < Duration::from_secs(600).as_secs_f64(), "it took too long");
    Ok(cost)
}
