//! `sawlog plugin end-trial`: what takes a share of a plugin's records ends, and what runs beside it; its own component goes on.

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::delete;
use axum::{Json, Router};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::place::{ControlError, Place};
use super::swap::{check_name, refusal};
use crate::api::Refusal;
use crate::digest::ContentDigest;
use crate::run::Handle;
use crate::verbs::print;

/// Options of `plugin end-trial`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// The plugin, by its name in the config.
    name: String,
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/plugins/{name}/trial", delete(end))
}

async fn end(State(handle): State<Arc<Handle>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let (noting, plugin) = (handle.clone(), name.clone());
    let outcome = handle.ask(move |running| {
        Box::pin(async move {
            let outcome = running.end_trial(&plugin).await;
            noting.show(running);
            outcome
        })
    });
    let ended = outcome.await?.map_err(refusal)?;
    let [canary, shadow] = [&ended.canary, &ended.shadow].map(|one| one.as_ref().map(ContentDigest::as_str));
    Ok(Json(json!({ "plugin": name, "canary": canary, "shadow": shadow })))
}

/// `sawlog plugin end-trial`: waits for the outcome.
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let name = &options.name;
    check_name(name)?;
    let client = options.place.running("; no other component runs in it then")?;
    let answer = client.ask(Method::DELETE, &format!("/v1/plugins/{name}/trial"), None)?;
    let (canary, shadow) = (answer["canary"].as_str(), answer["shadow"].as_str());
    if let Some(digest) = canary {
        print(&format!("{digest} takes no records of {name} any more"))?;
    }
    if let Some(digest) = shadow {
        print(&format!("{digest} runs beside {name} no more"))?;
    }
    if canary.or(shadow).is_none() {
        print(&format!("no other component runs for {name} or beside it; nothing was changed"))?;
    }
    Ok(ExitCode::SUCCESS)
}
