//! What an agent tells an operator: the ledger, and how sources and sinks fare. The sums are made here, not believed.

use crate::agent::ask;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// What the agent's log says of a reload.
pub const TAKEN: &str = "the configuration was reloaded";
/// Seconds that a scrape may take.
const SCRAPE_SECONDS_MAX: u64 = 5;
/// What it says of one that it does not take.
pub const REFUSED: &str = "the old one goes on";

fn json(folder: &Path, arguments: &[&str]) -> Result<Value> {
    let said = ask(folder, &[arguments, &["--format", "json"]].concat())?;
    ensure!(said.done, "{arguments:?}: {}", said.complaints);
    serde_json::from_str(&said.out).with_context(|| format!("{arguments:?} is no JSON: {}", said.out))
}

fn sum(count: &Value) -> u64 {
    match count {
        Value::Object(by_reason) => by_reason.values().map(sum).sum(),
        count => count.as_u64().unwrap_or(0),
    }
}

/// The ledger.
pub struct Ledger(Value);

impl Ledger {
    /// The ledger of the agent of `folder`, whether it runs or not; fails where a line does not balance.
    pub fn of(folder: &Path) -> Result<Self> {
        let ledger = json(folder, &["loss"])?;
        for line in ledger["lines"].as_array().context("a ledger has lines")? {
            let outcomes = ["delivered", "absorbed", "dropped", "dead_lettered", "lost", "in_flight"];
            let accounted: u64 = outcomes.iter().map(|outcome| sum(&line[*outcome])).sum();
            ensure!(sum(&line["read"]) == accounted, "the ledger does not balance: {line}");
        }
        Ok(Self(ledger))
    }

    /// Records of `source` that met `outcome` at `sink`, for whatever reason.
    pub fn count(&self, sink: &str, source: &str, outcome: &str) -> u64 {
        let lines = self.0["lines"].as_array().into_iter().flatten();
        lines.filter(|line| line["sink"] == sink && line["source"] == source).map(|line| sum(&line[outcome])).sum()
    }
}

/// Whether an agent runs there and answers.
pub fn answers(folder: &Path) -> bool {
    json(folder, &["status"]).is_ok_and(|status| status["sinks"].is_array())
}

/// Why a sink does not take rows, in the agent's own words; `None` where it does.
pub fn sink_trouble(folder: &Path, sink: &str) -> Result<Option<String>> {
    let status = json(folder, &["status"])?;
    let sinks = status["sinks"].as_array().context("a status has sinks")?;
    let view = sinks.iter().find(|view| view["name"] == sink).with_context(|| format!("no sink {sink}: {status}"))?;
    Ok((view["state"] != "ok").then(|| format!("{}: {}", view["state"], view["detail"])))
}

/// Whether the agent has a sink of that name; one that drains is there until that is done.
pub fn has_sink(folder: &Path, sink: &str) -> Result<bool> {
    let status = json(folder, &["status"])?;
    Ok(status["sinks"].as_array().context("a status has sinks")?.iter().any(|view| view["name"] == sink))
}

/// Everything that the agent says is wrong, as one text.
pub fn troubles(folder: &Path) -> Result<String> {
    Ok(json(folder, &["status"])?["readiness"].to_string())
}

/// The value of a series; `None` where there is none.
pub fn metric(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?.parse().ok()
}

/// Input records that the agent at `api` (`HOST:PORT`) calls delivered; `None` where it does not answer.
pub fn delivered(api: &str) -> Option<u64> {
    let answer = minreq::get(format!("http://{api}/metrics")).with_timeout(SCRAPE_SECONDS_MAX).send().ok()?;
    let lines = answer.as_str().ok()?.lines();
    let delivered =
        lines.filter(|line| line.starts_with("sawlog_ledger_records_total{") && line.contains("outcome=\"delivered\""));
    Some(delivered.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
}
