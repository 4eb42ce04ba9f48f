//! Read-only views of the running agent as JSON. They hold names, positions and counts: no secret, no content of a record.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use sawlog_core::SinkId;
use sawlog_core::status::{Progress, progress};
use sawlog_settings::secret::HIDDEN;
use serde_json::{Value, json};

use super::Refusal;
use crate::control::checkpoint::cursors;
use crate::control::status::sink_view;
use crate::run::Handle;
use crate::run::canary;
use crate::run::figures::Figures;
use crate::run::handle::Reading;
use crate::run::hex;
use crate::run::overrides::Override;

/// All views; what a verb shows is beside the verb.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new()
        .route("/v1/topology", get(topology))
        .route("/v1/config", get(config))
        .route("/v1/plugins", get(plugins))
        .route("/v1/files", get(files))
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

/// Secrets show how they were written; what a plugin is configured with may hold any, and is not shown.
async fn config(State(handle): State<Arc<Handle>>) -> Result<Json<Value>, Refusal> {
    let config = handle.config();
    let mut view = json!({
        "file": handle.config_path, "sections": config.sections, "plugins": config.plugins, "sources": config.sources,
        "transforms": config.transforms, "sinks": config.sinks,
    });
    for plugin in view["plugins"].as_object_mut().into_iter().flat_map(|plugins| plugins.values_mut()) {
        if plugin["config"].as_object().is_none_or(|config| !config.is_empty()) {
            plugin["config"] = HIDDEN.into();
        }
    }
    Ok(Json(view))
}

async fn plugins(State(handle): State<Arc<Handle>>) -> Json<Value> {
    let overrides = handle.overrides();
    let canaries = canary::views(&handle.canaries(), &handle.returned(), Some(&handle.plugins()));
    let one = |(name, plugin): (&String, &sawlog_chain::Plugin)| {
        let (registration, figures) = (plugin.registration(), plugin.figures());
        json!({
            "name": name, "digest": format!("blake3:{}", hex(&plugin.digest().0)), "stateful": plugin.stateful(),
            "override": overrides.get(name).map(Override::view), "canary": canaries[name],
            "registered": {
                "name": registration.name, "version": registration.version, "columns": registration.columns,
                "routes": registration.routes, "drop_reasons": registration.drop_reasons,
                "state_version": registration.state_version,
            },
            "figures": {
                "calls": figures.calls, "seconds": figures.time.as_secs_f64(), "fuel": figures.fuel,
                "failures": figures.failures, "memory_bytes_max": figures.memory_bytes_max,
                "rechecked": figures.rechecked, "disagreed": figures.disagreed,
            },
            "processes": figures.processes.map(|processes| json!({
                "running": processes.running, "ended": processes.ended, "newest_end": processes.newest_end,
                "without_namespaces": processes.without_namespaces,
            })),
        })
    };
    Json(handle.plugins().iter().map(one).collect())
}

async fn files(State(handle): State<Arc<Handle>>) -> Json<Value> {
    let one = |(name, figures): (String, Figures)| Some((name, figures.files()?));
    Json(Value::Object(handle.figures().into_iter().filter_map(one).collect()))
}

async fn sources(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(Value::Array(source_views(&handle)))
}

/// Every source: how far it has been planned, and its own figures.
pub fn source_views(handle: &Handle) -> Vec<Value> {
    let (config, figures) = (handle.config(), handle.figures());
    let one = |(name, engines): (&String, &Vec<Reading>)| {
        let mut sum = Progress::default();
        engines.iter().for_each(|(engine, shared)| sum.add(progress(&engine.journal().state(), &shared.inputs)));
        json!({
            "name": name,
            "type": config.sources.get(name).map(|source| source.r#type),
            "partitions": sum.partitions,
            "generations": sum.generations,
            "planned": sum.planned,
            "unplanned": sum.unplanned,
            "finished": engines.iter().all(|(_, shared)| shared.inputs.is_finished()),
            "figures": figures.get(name).map(Figures::view),
        })
    };
    handle.sources().iter().map(one).collect()
}

async fn sinks(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(handle.sinks().values().map(|engines| sink_view(&handle, engines)).collect())
}

async fn sink(State(handle): State<Arc<Handle>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let sinks = handle.sinks();
    let Some(engines) = sinks.get(&SinkId::new(&name)) else {
        let known: Vec<&str> = sinks.keys().map(SinkId::as_str).collect();
        let known = known.join(", ");
        return Err(Refusal(StatusCode::NOT_FOUND, format!("there is no sink `{name}`; the sinks are {known}")));
    };
    let mut view = sink_view(&handle, engines);
    let cursors = engines.iter().flat_map(|(engine, sink)| cursors(&engine.journal().state(), &sink.id));
    view["cursors"] = cursors.collect();
    Ok(Json(view))
}

async fn epoch(State(handle): State<Arc<Handle>>) -> Json<Value> {
    Json(crate::control::checkpoint::epoch(&handle.engine.journal().state()))
}
