//! `/livez` and `/readyz`. Alive: the process answers, and its loop turns. Ready: it takes input and keeps it. A sink that is down makes an agent no
//! less ready, because what it can't take yet is kept: input would be turned away, or a node's agent restarted, for nothing.
//! What is wrong is said all the same, and `/readyz?strict=true` answers 503 to any of it, for alerts and careful roll-outs.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sawlog_core::sink::{Circuit, Sink};
use serde::{Deserialize, Serialize};

use crate::run::figures::Figures;
use crate::run::{Handle, pulse};

/// Something that keeps the agent from its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The component, or `agent`.
    pub component: String,
    /// One word for programs.
    pub what: &'static str,
    /// A sentence for a person.
    pub detail: String,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// Whether input is taken.
    pub ready: bool,
    /// Why it is not.
    pub reasons: Vec<Reason>,
    /// What is wrong and keeps no input out.
    pub degraded: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    strict: bool,
}

/// The probes.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/livez", get(alive)).route("/readyz", get(ready))
}

async fn alive(State(handle): State<Arc<Handle>>) -> (StatusCode, String) {
    let still = handle.pulse.still();
    match pulse::is_alive(still, handle.config().sections.shutdown.grace.as_duration()) {
        true => (StatusCode::OK, "alive\n".to_owned()),
        false => {
            let said =
                format!("its loop has stood still for {} s: restart it, nothing is lost by it\n", still.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, said)
        }
    }
}

async fn ready(State(handle): State<Arc<Handle>>, Query(asked): Query<Asked>) -> Response {
    let readiness = readiness(&handle);
    let well = readiness.ready && (!asked.strict || readiness.degraded.is_empty());
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Everything that is wrong now.
pub fn readiness(handle: &Handle) -> Readiness {
    let agent = |what, detail: &str| Reason { component: "agent".to_owned(), what, detail: detail.to_owned() };
    let mut reasons = Vec::new();
    if handle.is_ending() {
        reasons.push(agent("winding_down", "no input is taken any more; what was taken is being delivered"));
    }
    if let Some(error) = handle.engine.journal().failed() {
        reasons.push(agent("journal_failing", &format!("{error}; the process ends and starts again")));
    }
    if handle.store.is_holding() {
        reasons.push(agent("disk_full", "the journal waits for space below `data_dir`; free some"));
    }
    let mut degraded: Vec<Reason> = Vec::new();
    if handle.store.is_on_reserve() && !handle.store.is_holding() {
        degraded.push(agent("disk_full", "the journal lives on its reserve below `data_dir`; free some space"));
    }
    for engine in handle.engines() {
        degraded.extend(engine.sinks().values().filter_map(|sink| sink_trouble(sink)));
        degraded.extend(engine.sinks().values().filter_map(|sink| hidden(sink)));
        degraded.extend(engine.stopped().into_iter().map(|(partition, detail)| Reason {
            component: format!("partition {partition}"),
            what: "partition_stopped",
            detail,
        }));
    }
    degraded.extend(handle.engine.sinks().values().filter_map(|sink| twin(handle, sink)));
    // A sink that several partitions of a group feed fails in each of them for the same reason.
    let mut told = BTreeSet::new();
    degraded.retain(|reason| told.insert((reason.component.clone(), reason.what)));
    let troubles = handle.groups.troubles().into_iter();
    degraded.extend(troubles.map(|t| Reason { component: t.source, what: t.what, detail: t.detail }));
    degraded.extend(handle.figures().iter().filter_map(|(name, figures)| source_trouble(name, figures)));
    degraded.extend(handle.plugins().iter().filter_map(|(name, plugin)| nondeterministic(name, plugin)));
    if let Some(detail) = handle.reloads().trouble {
        degraded.push(Reason { component: "agent".to_owned(), what: "reload_refused", detail });
    }
    Readiness { ready: reasons.is_empty(), reasons, degraded }
}

/// What keeps a sink from taking rows, if something does.
pub fn sink_trouble(sink: &Sink) -> Option<Reason> {
    let status = sink.status();
    let error = status.last_error.clone().unwrap_or_default();
    let (what, detail) = if let Some(reason) = sink.intake.stopped() {
        ("stopped", reason)
    } else if let Some((from, to)) = &status.switching {
        let why = if error.is_empty() { String::new() } else { format!("; the last failure: {error}") };
        let from =
            format!("it switches from {from} to {to}, and what is under way ends at the first before anything goes on");
        ("switching", from + &why)
    } else if status.waiting_for_letters {
        ("waiting_for_dead_letters", "refused rows wait for the dead-letter sink, which is full or down".to_owned())
    } else if status.failures_in_a_row > 0 && status.last_kind == Some("refused") {
        ("refused", error)
    } else if status.circuit() != Circuit::Closed {
        ("circuit_open", error)
    } else if status.failures_in_a_row > 0 {
        ("retrying", error)
    } else if !status.recovered && sink.intake.is_closed() {
        ("not_recovered", "it has not learnt yet where it stands".to_owned())
    } else {
        return None;
    };
    Some(Reason { component: sink.id.to_string(), what, detail })
}

/// Another process that writes with this agent's id: this sink stays exact, an Elasticsearch sink may not.
fn twin(handle: &Handle, sink: &Sink) -> Option<Reason> {
    let status = sink.status();
    let (other, own) = status.twin?;
    let detail = format!(
        "another agent with the id {} writes here too, {} times so far: it is {other}, this one is {own}; give each an \
         `agent.id` of its own",
        handle.agent, status.twins
    );
    Some(Reason { component: sink.id.to_string(), what: "twin", detail })
}

/// Rows that were delivered and that readers don't see: the sink itself takes what comes.
fn hidden(sink: &Sink) -> Option<Reason> {
    let hidden = sink.status().hidden?;
    Some(Reason { component: sink.id.to_string(), what: "hidden", detail: hidden.detail })
}

/// A plugin that gave something else when it was run again: sinks that write at once and with their cursor lose nothing by it.
fn nondeterministic(name: &str, plugin: &sawlog_chain::Plugin) -> Option<Reason> {
    let (rechecked, disagreed) = (plugin.figures().rechecked, plugin.figures().disagreed);
    let detail = format!(
        "{disagreed} of {rechecked} batches gave something else when they were run again: rows behind it that a crash repeats to \
         Elasticsearch may differ or come twice, and sinks may disagree record by record; `sawlog plugin test` shows where"
    );
    (disagreed > 0).then(|| Reason { component: name.to_owned(), what: "nondeterministic", detail })
}

fn source_trouble(name: &str, figures: &Figures) -> Option<Reason> {
    let detail = figures.kafka_trouble()?;
    Some(Reason { component: name.to_owned(), what: "source_down", detail })
}
