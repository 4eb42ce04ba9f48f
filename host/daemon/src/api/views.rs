//! Read-only views of the running agent as JSON. They hold names, positions and counts: no secret, no content of a record.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use sawlog_core::SinkId;
use sawlog_core::status::progress;
use serde_json::{Value, json};

use super::Refusal;
use crate::control::status::sink_view;
use crate::run::Handle;

/// All views; what a verb shows is beside the verb.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new()
        .route("/v1/topology", get(topology))
        .route("/v1/sources", get(sources))
        .route("/v1/sinks", get(sinks))
        .route("/v1/sinks/{name}", get(sink))
        .route("/v1/epoch", get(epoch))
}

async fn topology(State(handle): State<Arc<Handle>>) -> Json<Value> {
    let config = handle.config();
    let inputs = |inputs: &[crate::config::graph::Input]| inputs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sources: Vec<Value> =
        config.sources.iter().map(|(name, s)| json!({ "name": name, "type": s.r#type })).collect();
    let transforms: Vec<Value> = config
        .transforms
        .iter()
        .map(|(name, t)| json!({ "name": name, "type": t.r#type, "inputs": inputs(&t.inputs) }))
        .collect();
    let sinks: Vec<Value> = config
        .sinks
        .iter()
        .map(|(name, s)| {
            json!({
                "name": name, "type": s.r#type, "inputs": inputs(&s.inputs), "dead_letter": s.dead_letter,
            })
        })
        .collect();
    Json(json!({ "sources": sources, "transforms": transforms, "sinks": sinks, "routes": config.routes() }))
}

async fn sources(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(Value::Array(source_views(&handle)))
}

/// Every source: how far it has been planned, and its own figures.
pub fn source_views(handle: &Handle) -> Vec<Value> {
    let (config, figures) = (handle.config(), handle.figures());
    let one = |inputs: &Arc<sawlog_core::input::Inputs>| {
        let name = inputs.id.as_str();
        let progress = progress(&handle.engine.journal().state(), inputs);
        json!({
            "name": name,
            "type": config.sources.get(name).map(|source| source.r#type),
            "partitions": progress.partitions,
            "generations": progress.generations,
            "planned": progress.planned,
            "unplanned": progress.unplanned,
            "finished": inputs.is_finished(),
            "figures": figures.get(name).map(|figures| figures.view()),
        })
    };
    handle.engine.inputs().iter().map(one).collect()
}

async fn sinks(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(handle.engine.sinks().values().map(|sink| sink_view(&handle, sink)).collect())
}

async fn sink(State(handle): State<Arc<Handle>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let sinks = handle.engine.sinks();
    let Some(sink) = sinks.get(&SinkId::new(&name)) else {
        let known: Vec<&str> = sinks.keys().map(SinkId::as_str).collect();
        let known = known.join(", ");
        return Err(Refusal(StatusCode::NOT_FOUND, format!("there is no sink `{name}`; the sinks are {known}")));
    };
    let mut view = sink_view(&handle, sink);
    view["cursors"] = crate::control::checkpoint::cursors(&handle.engine.journal().state(), &sink.id);
    Ok(Json(view))
}

async fn epoch(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(crate::control::checkpoint::epoch(&handle.engine.journal().state()))
}
