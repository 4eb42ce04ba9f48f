//! The table: medians, and the ratio of the agent to the floor of the same run.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::measure::{Cost, median, ratio};

/// One row's figures.
pub struct Figures {
    name: &'static str,
    beside: Option<Beside>,
    /// What else was seen.
    pub note: String,
}

struct Beside {
    floor_cpu: f64,
    agent_cpu: f64,
    ratio: f64,
    wall: f64,
    peak_megabytes: f64,
}

impl Figures {
    /// Costs per GB (10^9 bytes of input), and the median of the ratios of each pair of runs.
    pub fn beside(name: &'static str, bytes: u64, floors: &[Cost], agents: &[Cost]) -> Self {
        let gigabytes = bytes as f64 / 1e9;
        let of = |costs: &[Cost], value: fn(&Cost) -> f64| median(costs.iter().map(value).collect());
        let beside = Beside {
            floor_cpu: of(floors, |cost| cost.cpu_seconds) / gigabytes,
            agent_cpu: of(agents, |cost| cost.cpu_seconds) / gigabytes,
            ratio: ratio(floors, agents),
            wall: of(agents, |cost| cost.wall_seconds) / gigabytes,
            peak_megabytes: of(agents, |cost| cost.peak_bytes as f64) / 1e6,
        };
        Self { name, beside: Some(beside), note: String::new() }
    }

    /// A row without a floor.
    pub fn alone(name: &'static str, note: String) -> Self {
        Self { name, beside: None, note }
    }
}

/// All rows of one run.
pub struct Table {
    megabytes: u64,
    runs: usize,
    rows: Vec<Figures>,
}

impl Table {
    /// Nothing yet.
    pub fn new(megabytes: u64, runs: usize) -> Self {
        Self { megabytes, runs, rows: Vec::new() }
    }

    /// One row more.
    pub fn add(&mut self, figures: Figures) {
        self.rows.push(figures);
    }

    /// Prints the table and leaves it in the folder as `table.md`.
    pub fn print(&self, folder: &Path) -> Result<()> {
        let mut text = format!(
            "Medians of {} interleaved runs over {} MB; CPU of the whole process, user and system, start to end. Every run's rows \
             were counted: none lost, none twice.\n\n| work | floor, CPU-s/GB | agent, CPU-s/GB | ratio | wall, s/GB | peak MB | |\n\
             |---|---|---|---|---|---|---|\n",
            self.runs, self.megabytes
        );
        for row in &self.rows {
            match &row.beside {
                Some(b) => writeln!(
                    text,
                    "| {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} | {} |",
                    row.name, b.floor_cpu, b.agent_cpu, b.ratio, b.wall, b.peak_megabytes, row.note
                )?,
                None => writeln!(text, "| {} | – | – | – | – | – | {} |", row.name, row.note)?,
            }
        }
        print!("{text}");
        Ok(std::fs::write(folder.join("table.md"), text)?)
    }
}
