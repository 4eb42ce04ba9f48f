//! `sawlog drain`: no input is planned any more, and sinks send what they hold at once. A node's last word before it goes; only a
//! new start takes input again.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::post;
use axum::{Json, Router};
use clap::Args;
use hyper::Method;
use sawlog_settings::Period;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::place::{ControlError, Place};
use crate::run::Handle;
use crate::verbs::print;

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(25);

/// Options of `drain`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// Return when everything is delivered.
    #[arg(long)]
    wait: bool,
    /// Wait at most so long; for ever where nothing is said.
    #[arg(long, requires = "wait", value_name = "PERIOD", value_parser = period)]
    timeout: Option<Period>,
}

fn period(written: &str) -> Result<Period, String> {
    written.parse().map_err(|error| format!("{error}"))
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    wait: bool,
    timeout_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    delivered: bool,
    /// What is not finished: sinks, and partitions of groups that are being opened.
    open: Vec<String>,
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/drain", post(drain))
}

async fn drain(State(handle): State<Arc<Handle>>, Query(asked): Query<Asked>) -> Json<Answer> {
    handle.wind_down();
    tracing::info!(wait = asked.wait, "draining: no input is planned any more");
    let until = asked.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    while asked.wait && !handle.is_delivered() && until.is_none_or(|until| Instant::now() < until) {
        tokio::time::sleep(LOOK).await;
    }
    let open = open(&handle);
    Json(Answer { delivered: open.is_empty(), open })
}

/// Sinks that have not finished what is planned, in any engine, and partitions of groups that are still being opened.
fn open(handle: &Handle) -> Vec<String> {
    let mut open = BTreeSet::new();
    for engine in handle.engines() {
        let state = engine.journal().state();
        let sinks = state.sinks().filter(|sink| !sawlog_core::reload::is_delivered(&state, sink));
        open.extend(sinks.map(ToString::to_string));
    }
    open.into_iter().chain(handle.groups.unsettled()).collect()
}

/// `sawlog drain`: with `--wait` it fails where something is left.
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let client = options.place.running(": without a running agent nothing can be delivered")?;
    let timeout = options.timeout.map(|period| format!("&timeout_ms={}", period.as_duration().as_millis()));
    let path = format!("/v1/drain?wait={}{}", options.wait, timeout.unwrap_or_default());
    let answer: Value = client.ask(Method::POST, &path, None)?;
    let answer: Answer = serde_json::from_value(answer)?;
    match answer.delivered {
        true => print("everything that was planned is delivered")?,
        false => print(&format!("not everything is delivered yet: {}", answer.open.join(", ")))?,
    }
    Ok(if answer.delivered || !options.wait { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
