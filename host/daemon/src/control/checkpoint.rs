//! `sawlog checkpoint`: the snapshots of what has been delivered, and what is in one.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::{Args, Subcommand};
use hyper::Method;
use sawlog_checkpoint::{CheckpointInfo, DiskJournal};
use sawlog_core::SinkId;
use sawlog_core::journal::JournalState;
use serde_json::{Value, json};

use super::Format;
use super::place::{ControlError, Place, Reach};
use super::restore::{self, From};
use super::table::table;
use crate::api::Refusal;
use crate::backup::age;
use crate::run::Handle;
use crate::verbs::print;

/// Options of `checkpoint`.
#[derive(Debug, Args)]
pub struct Options {
    /// What about them.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the checkpoints on the disk.
    List {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// How the list is written.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show where every sink stood, as JSON.
    Show {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// The checkpoint's number; what is durable now where none is given.
        number: Option<u64>,
    },
    /// Write one now.
    Now {
        /// Which agent.
        #[command(flatten)]
        place: Place,
    },
    /// Copy the newest one to `checkpoint.backup` now.
    Backup {
        /// Which agent.
        #[command(flatten)]
        place: Place,
    },
    /// Begin again with the newest backup, or with the cursors that sinks keep, on an empty or damaged data directory.
    Restore {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// Where from.
        #[arg(long, value_enum)]
        from: From,
    },
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new()
        .route("/v1/checkpoints", get(list).post(write))
        .route("/v1/checkpoints/{number}", get(show))
        .route("/v1/checkpoint", get(now))
        .route("/v1/checkpoint/backup", post(back_up))
}

async fn list(State(handle): State<Arc<Handle>>) -> Result<Json<Value>, Refusal> {
    let found = handle.store.checkpoints().await.map_err(Refusal::internal)?;
    let backup = handle.outward.keeper.as_ref().map(|keeper| {
        let fared = keeper.fared();
        json!({ "age_seconds": fared.newest.map(|b| age(b.taken_at_ms).as_secs_f64()), "trouble": fared.trouble })
    });
    Ok(Json(json!({ "checkpoints": listed(&found), "newest": newest(&handle), "backup": backup })))
}

async fn back_up(State(handle): State<Arc<Handle>>) -> Result<Json<Value>, Refusal> {
    let refuse = |reason: String| Refusal(StatusCode::CONFLICT, reason);
    let keeper = handle.outward.keeper.as_ref().ok_or_else(|| refuse(restore::NO_BACKUP.to_owned()))?;
    handle.engine.keep_checkpoint().await.map_err(Refusal::internal)?;
    let copied = keeper.take().await.map_err(|error| refuse(error.to_string()))?;
    Ok(Json(restore::told(&copied)))
}

async fn write(State(handle): State<Arc<Handle>>) -> Result<Json<Value>, Refusal> {
    for engine in handle.engines() {
        engine.keep_checkpoint().await.map_err(Refusal::internal)?;
    }
    list(State(handle)).await
}

async fn show(State(handle): State<Arc<Handle>>, Path(number): Path<u64>) -> Result<Json<Value>, Refusal> {
    let refuse = |error: ControlError| Refusal(StatusCode::NOT_FOUND, error.to_string());
    Ok(Json(view(&read(&handle.store, number).await.map_err(refuse)?)))
}

async fn now(State(handle): State<Arc<Handle>>) -> Json<Value> {
    let mut now = view(&handle.engine.journal().state());
    let moving = handle.groups.running().into_iter();
    let moving = moving.map(|(source, place, one)| (format!("{source} {place}"), view(&one.engine.journal().state())));
    now["moving"] = moving.collect::<serde_json::Map<_, _>>().into();
    Json(now)
}

fn listed(found: &[CheckpointInfo]) -> Value {
    let one = |info: &CheckpointInfo| json!({ "number": info.number, "lsn": info.lsn, "bytes": info.state_bytes });
    found.iter().map(one).collect()
}

/// Age and duration of the newest, in seconds; of the engine whose newest is the oldest.
pub fn newest(handle: &Handle) -> Value {
    let checkpoints = handle.checkpoints();
    let age = checkpoints.at.map(|at| handle.engine.elapsed().saturating_sub(at));
    json!({
        "age_seconds": age.map(|age: Duration| age.as_secs_f64()), "took_seconds": checkpoints.took.as_secs_f64(),
        "kept": checkpoints.kept, "failures": checkpoints.failures,
    })
}

async fn read(store: &DiskJournal, number: u64) -> Result<JournalState, ControlError> {
    let found = store.checkpoints().await?;
    if !found.iter().any(|info| info.number == number) {
        let numbers: Vec<String> = found.iter().map(|info| info.number.to_string()).collect();
        let numbers = if numbers.is_empty() { "none yet".to_owned() } else { numbers.join(", ") };
        return Err(ControlError::Refused(format!("there is no checkpoint {number}; on the disk are: {numbers}")));
    }
    let bytes = store.checkpoint(number).await?;
    JournalState::decode(&bytes).map_err(|error| ControlError::Refused(error.to_string()))
}

/// What is in a journal's state.
fn view(state: &JournalState) -> Value {
    let sinks: serde_json::Map<String, Value> =
        state.sinks().map(|sink| (sink.to_string(), cursors(state, sink).into())).collect();
    json!({
        "time": state.time, "epoch": epoch(state), "partitions": state.partitions.len(),
        "generations": state.generations.len(), "verdicts": state.verdicts.len(), "sinks": sinks,
    })
}

/// Where `sink` stands in every generation.
pub fn cursors(state: &JournalState, sink: &SinkId) -> Vec<Value> {
    let one = |(generation, known): (&sawlog_record::id::Generation, &sawlog_core::journal::GenerationState)| {
        let cursor = state.cursor(sink, *generation);
        json!({
            "source": known.source.as_str(), "partition": known.partition.to_string(),
            "generation": generation.to_string(), "position": cursor.pos, "slot": cursor.slot,
            "planned": known.planned.pos, "gone": known.gone,
        })
    };
    state.generations.iter().map(one).collect()
}

/// The present configuration by its digests, and how many older ones are still needed.
pub fn epoch(state: &JournalState) -> Value {
    let digest = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let present = state.epoch();
    json!({
        "id": present.map(|epoch| digest(&epoch.id.0)),
        "stateful": present.map(|epoch| {
            epoch.stateful.iter().map(|(c, d)| (c.to_string(), Value::from(digest(d)))).collect::<serde_json::Map<_, _>>()
        }),
        "sinks": present.map(|epoch| epoch.sinks.keys().map(|sink| sink.as_str()).collect::<Vec<_>>()),
        "draining": present.map(|epoch| {
            epoch.sinks.iter().filter(|(_, r)| r.until.is_some()).map(|(sink, _)| sink.as_str()).collect::<Vec<_>>()
        }),
        "kept": state.epochs.len(),
    })
}

/// `sawlog checkpoint`
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    match &options.what {
        What::List { place, format } => print_list(
            &match place.reach()? {
                Reach::Running(client) => client.get("/v1/checkpoints")?,
                Reach::Down(down) => {
                    json!({ "checkpoints": listed(&down.runtime.block_on(down.store.checkpoints())?) })
                }
            },
            *format,
        )?,
        What::Show { place, number } => {
            let view = match (place.reach()?, number) {
                (Reach::Running(client), None) => client.get("/v1/checkpoint")?,
                (Reach::Running(client), Some(number)) => client.get(&format!("/v1/checkpoints/{number}"))?,
                (Reach::Down(down), None) => view(&down.journal.state()),
                (Reach::Down(down), Some(number)) => view(&down.runtime.block_on(read(&down.store, *number))?),
            };
            print(&serde_json::to_string_pretty(&view)?)?;
        }
        What::Now { place } => {
            let client = place.running("; a stopped agent's last checkpoint is as new as its journal")?;
            print_list(&client.ask(Method::POST, "/v1/checkpoints", None)?, Format::Text)?;
        }
        What::Backup { place } => restore::back_up(place)?,
        What::Restore { place, from } => restore::run(place, *from)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_list(list: &Value, format: Format) -> Result<(), ControlError> {
    if format == Format::Json {
        return Ok(print(&serde_json::to_string_pretty(list)?)?);
    }
    let one = |info: &Value| ["number", "lsn", "bytes"].map(|key| info[key].to_string()).to_vec();
    let rows: Vec<Vec<String>> = list["checkpoints"].as_array().into_iter().flatten().map(one).collect();
    let mut text = table(&["number", "lsn", "bytes"], &rows);
    if let Some(age) = list["newest"]["age_seconds"].as_f64() {
        let took = list["newest"]["took_seconds"].as_f64().unwrap_or_default();
        text.push_str(&format!("\nthe newest is {age:.1} s old and took {:.1} ms", took * 1000.0));
    }
    if let Some(age) = list["backup"]["age_seconds"].as_f64() {
        text.push_str(&format!("\nthe newest backup is {age:.1} s old"));
    }
    if let Some(trouble) = list["backup"]["trouble"].as_str() {
        text.push_str(&format!("\nthe last attempt at a backup failed: {trouble}"));
    }
    Ok(print(&text)?)
}
