//! `sawlog log-level`: the level of the own log, until the next start.

use std::process::ExitCode;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::place::{ControlError, Place};
use crate::api::Refusal;
use crate::config::sections::LogLevel;
use crate::own_log;
use crate::run::Handle;
use crate::verbs::print;

/// Options of `log-level`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// The level to change to; without one the present level is shown.
    #[arg(value_enum)]
    level: Option<LogLevel>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Level {
    level: LogLevel,
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/log-level", get(present).put(change))
}

async fn present() -> Result<Json<Level>, Refusal> {
    own_log::level().map(|level| Json(Level { level })).map_err(Refusal::internal)
}

async fn change(Json(asked): Json<Level>) -> Result<Json<Level>, Refusal> {
    own_log::set_level(asked.level).map_err(Refusal::internal)?;
    tracing::warn!(level = %asked.level, "the level of the own log was changed");
    Ok(Json(asked))
}

/// `sawlog log-level`
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let client = options.place.running(" with the level in `telemetry.log`")?;
    let answer = match options.level {
        None => client.get("/v1/log-level")?,
        Some(level) => client.ask(Method::PUT, "/v1/log-level", Some(&serde_json::to_value(Level { level })?))?,
    };
    let answer: Level = serde_json::from_value(answer)?;
    print(&answer.level.to_string())?;
    Ok(ExitCode::SUCCESS)
}
