//! `sawlog reload`: what SIGHUP does, and how it went.

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::place::{ControlError, Place};
use crate::api::Refusal;
use crate::run::Handle;
use crate::verbs::print;

/// Options of `reload`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/reload", post(reload))
}

async fn reload(State(handle): State<Arc<Handle>>) -> Result<Json<Value>, Refusal> {
    let noting = handle.clone();
    let outcome = handle.ask(move |running| {
        Box::pin(async move {
            let outcome = running.reload(&noting.config_path).await;
            noting.reloaded(&outcome, running);
            outcome
        })
    });
    match outcome.await? {
        Ok(()) => Ok(Json(json!({ "reloaded": true }))),
        Err(reason) => Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{}\nthe configuration was not reloaded; the old one goes on", reason.trim_end()),
        )),
    }
}

/// `sawlog reload`: waits for the outcome.
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let client = place_running(&options.place)?;
    client.ask(Method::POST, "/v1/reload", None)?;
    print("the configuration was reloaded")?;
    Ok(ExitCode::SUCCESS)
}

/// A broken config must not keep one from asking: the directory may be named instead.
fn place_running(place: &Place) -> Result<super::place::Client, ControlError> {
    place.running("; it takes its config then")
}
