//! `sawlog status`: sources, sinks and lag on one screen.

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use sawlog_core::sink::{Circuit, SinkStatus};
use sawlog_core::status::settled;
use sawlog_settings::component::Layer;
use serde_json::{Value, json};

use super::Format;
use super::place::{ControlError, Place, Reach};
use super::table::table;
use crate::api::{probes, source_views};
use crate::run::Handle;
use crate::run::handle::Fed;
use crate::run::{canary, epochs, overrides, shadow};
use crate::verbs::print;
use crate::words;

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// How it is written.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/status", get(answer))
}

async fn answer(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(report(&handle))
}

/// Everything at a glance.
pub fn report(handle: &Handle) -> Value {
    let readiness = probes::readiness(handle);
    let reloads = handle.reloads();
    json!({
        "agent": handle.agent,
        "version": env!("CARGO_PKG_VERSION"),
        "directory": handle.directory,
        "lost_directory": handle.anew.cost(&handle.config()),
        "uptime_seconds": handle.started.elapsed().as_secs(),
        "received_bytes_per_second": received_bytes_per_s(handle),
        "readiness": readiness,
        "overrides": overrides::views(&handle.overrides()),
        "canaries": canary::views(&handle.canaries(), &handle.returned(), Some(&handle.plugins())),
        "shadows": shadow::views(&handle.shadows(), &handle.plugins()),
        "sources": source_views(handle),
        "sinks": handle.sinks().values().map(|engines| sink_view(handle, engines)).collect::<Vec<_>>(),
        "checkpoint": super::checkpoint::newest(handle),
        "journal_bytes": handle.store.disk_bytes(),
        "reloads": {
            "taken": reloads.taken, "refused": reloads.refused, "trouble": reloads.trouble, "after_restart": reloads.waiting,
        },
    })
}

/// What sources have received since the start, on average.
fn received_bytes_per_s(handle: &Handle) -> f64 {
    let sources = handle.sources();
    let received: u64 = sources.values().flatten().map(|(_, shared)| shared.figures().received().1).sum();
    received as f64 / handle.started.elapsed().as_secs_f64().max(1.0)
}

/// How a sink fares, over the engines that feed it: its circuit, what it holds, how far behind it is.
pub fn sink_view(handle: &Handle, engines: &[Fed]) -> Value {
    let (mut backlog, mut in_flight, mut behind) = ((0, 0), 0, 0);
    for (engine, sink) in engines {
        let (batches, bytes) = sink.intake.backlog();
        backlog = (backlog.0 + batches, backlog.1 + bytes);
        let state = engine.journal().state();
        in_flight += sink.intake.books(&state).values().map(|books| books.in_flight).sum::<u64>();
        behind +=
            settled(&state).iter().filter(|((id, _), _)| *id == sink.id).map(|(_, line)| line.behind).sum::<u64>();
    }
    let status = engines.iter().map(|(_, sink)| sink.status()).reduce(SinkStatus::merged).unwrap_or_default();
    let trouble = engines.iter().find_map(|(_, sink)| probes::sink_trouble(sink));
    let name = engines.first().map_or("", |(_, sink)| sink.id.as_str());
    json!({
        "name": name,
        "type": handle.config().sinks.get(name).map(|sink| sink.r#type),
        "layer": handle.config().sinks.get(name).and_then(|sink| sink.common.layer).map(Layer::word),
        "state": trouble.as_ref().map_or("ok", |reason| reason.what),
        "detail": trouble.map(|reason| reason.detail),
        "circuit": circuit(status.circuit()),
        "failures_in_a_row": status.failures_in_a_row,
        "failures": status.failures,
        "backlog_batches": backlog.0,
        "backlog_bytes": backlog.1,
        "in_flight": in_flight,
        "behind": behind,
    })
}

/// The word for a circuit's state.
pub fn circuit(circuit: Circuit) -> &'static str {
    match circuit {
        Circuit::Closed => "closed",
        Circuit::HalfOpen => "half_open",
        Circuit::Open => "open",
    }
}

/// `sawlog status`
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let report = match options.place.reach()? {
        Reach::Running(client) => client.get("/v1/status")?,
        Reach::Down(down) => {
            let state = down.journal.state();
            let line = |((sink, source), line): (
                &(sawlog_core::SinkId, sawlog_core::SourceId),
                &sawlog_core::status::Settled,
            )| {
                json!({ "sink": sink.as_str(), "source": source.as_str(), "behind": line.behind,
                    "delivered": line.counts.delivered })
            };
            let behind: Vec<Value> = settled(&state).iter().map(line).collect();
            drop(state);
            let (overrides, canaries) = down.runtime.block_on(epochs::present_overrides(&down.journal));
            let canaries = canary::views(&canaries, &canary::Returns::new(), None);
            json!({ "running": false, "behind": behind, "overrides": overrides::views(&overrides), "canaries": canaries })
        }
    };
    match options.format {
        Format::Json => print(&serde_json::to_string_pretty(&report)?)?,
        Format::Text if report["running"] == false => print(&text_down(&report))?,
        Format::Text => print(&text(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(value: &Value, keys: &[&str]) -> Vec<String> {
    let cell = |key: &&str| match &value[*key] {
        Value::String(text) => words::in_line(text).into_owned(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    keys.iter().map(cell).collect()
}

fn rows(report: &Value, of: &str, keys: &[&str]) -> Vec<Vec<String>> {
    report[of].as_array().into_iter().flatten().map(|value| cells(value, keys)).collect()
}

/// Which plugins are overridden, and of which another component takes a share, a line for each.
fn overridden(report: &Value) -> Option<String> {
    let lines = [overrides::lines(&report["overrides"]), canary::lines(&report["canaries"])].concat();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn text_down(report: &Value) -> String {
    let keys = ["sink", "source", "delivered", "behind"];
    let stopped = table(&keys, &rows(report, "behind", &keys));
    let overridden = overridden(report).map(|lines| format!("\n\n{lines}")).unwrap_or_default();
    format!("no agent runs; where it stopped:\n{stopped}{overridden}")
}

fn text(report: &Value) -> String {
    let age =
        report["checkpoint"]["age_seconds"].as_f64().map_or("none yet".to_owned(), |age| format!("{age:.1} s old"));
    let ready = if report["readiness"]["ready"] == true { "ready" } else { "NOT ready" };
    let head = format!(
        "agent {} ({}) {ready}, up {} s, checkpoint {age}",
        report["agent"].as_str().unwrap_or_default(),
        report["version"].as_str().unwrap_or_default(),
        report["uptime_seconds"]
    );
    let lost = report["lost_directory"].as_str().map(|cost| format!("\n{cost}")).unwrap_or_default();
    let sources = ["name", "type", "partitions", "generations", "planned", "unplanned"];
    let sinks = ["name", "type", "state", "circuit", "in_flight", "backlog_bytes", "behind", "detail"];
    let mut parts = vec![
        head + &lost,
        String::new(),
        table(&sources.map(|key| if key == "name" { "source" } else { key }), &rows(report, "sources", &sources)),
        String::new(),
        table(&sinks.map(|key| if key == "name" { "sink" } else { key }), &rows(report, "sinks", &sinks)),
    ];
    parts.extend(overridden(report).into_iter().flat_map(|lines| [String::new(), lines]));
    let shadows = shadow::lines(&report["shadows"]);
    if !shadows.is_empty() {
        parts.extend([String::new(), shadows.join("\n")]);
    }
    let reasons = ["reasons", "degraded"]
        .into_iter()
        .flat_map(|key| rows(&report["readiness"], key, &["component", "what", "detail"]));
    let reasons: Vec<String> = reasons.map(|row| row.join(": ")).collect();
    if !reasons.is_empty() {
        parts.extend([String::new(), reasons.join("\n")]);
    }
    parts.join("\n")
}
