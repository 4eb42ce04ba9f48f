//! `sawlog reload`: what SIGHUP does, and how it went.

use std::process::ExitCode;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::place::{ControlError, Place};
use crate::api::Refusal;
use crate::run::{Handle, KeptOverrides, epochs};
use crate::verbs::print;

/// Options of `reload`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// Take the components that the config names again where `sawlog plugin swap` has put others in their places.
    #[arg(long)]
    discard_overrides: bool,
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    discard_overrides: bool,
}

/// Most bytes of a config that is to be weighed.
const CHECKED_BYTES_MAX: usize = 64 << 20;

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/reload", post(reload))
}

/// What it answers on its socket alone: a config may name files and secrets of the agent, and complaints may quote them.
pub fn local_routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/reload/check", post(check).layer(DefaultBodyLimit::max(CHECKED_BYTES_MAX)))
}

/// What a reload would make of the files that are sent; it touches nothing.
async fn check(State(handle): State<Arc<Handle>>, packed: Bytes) -> Result<Json<Value>, Refusal> {
    let files = epochs::unpack_files(&packed)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("these are no files of a config: {error}")))?;
    let weighed = handle.ask(move |running| Box::pin(async move { running.weigh(files).await }));
    match weighed.await? {
        Ok(taken) => Ok(Json(json!({ "taken": true, "done": taken.done, "after_restart": taken.waiting }))),
        Err(reason) => Ok(Json(json!({ "taken": false, "reason": reason.trim_end() }))),
    }
}

async fn reload(State(handle): State<Arc<Handle>>, Query(asked): Query<Asked>) -> Result<Json<Value>, Refusal> {
    let kept = if asked.discard_overrides { KeptOverrides::None } else { KeptOverrides::All };
    let noting = handle.clone();
    let outcome = handle.ask(move |running| {
        Box::pin(async move {
            let outcome = running.reload(&noting.config_path, kept).await;
            noting.reloaded(&outcome, running);
            outcome
        })
    });
    match outcome.await? {
        Ok(taken) => Ok(Json(json!({ "reloaded": true, "done": taken.done, "after_restart": taken.waiting }))),
        Err(reason) => Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{}\nthe configuration was not reloaded; the old one goes on", reason.trim_end()),
        )),
    }
}

/// `sawlog reload`: waits for the outcome.
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let client = place_running(&options.place)?;
    let path = format!("/v1/reload?discard_overrides={}", options.discard_overrides);
    let answer = client.ask(Method::POST, &path, None)?;
    print(&format!("the configuration was reloaded: {}", answer["done"].as_str().unwrap_or_default()))?;
    let waiting: Vec<&str> =
        answer["after_restart"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        print(&format!("in effect after a restart only: {}", waiting.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A broken config must not keep one from asking: the directory may be named instead.
fn place_running(place: &Place) -> Result<super::place::Client, ControlError> {
    place.running("; it takes its config then")
}
