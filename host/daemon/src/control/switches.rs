//! What the agent of a config's data directory says to it: which sinks would deliver elsewhere, from where to where, and what that
//! costs; and how much comes in. It asks the running agent, or reads the directory; it changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use hyper::Method;
use serde_json::Value;

use super::place::{Client, ControlError, Down, Reach};
use crate::config::Config;
use crate::config::files::Files;
use crate::config::references::Kept;
use crate::run::changes::{Destination, switch};
use crate::run::{Handle, canary, epochs, overrides};

/// Where each sink delivers.
type Destinations = BTreeMap<String, Destination>;

/// Where each sink of a directory delivered, or why that can't be told.
type Known = BTreeMap<String, Result<Destination, String>>;

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/destinations", get(answer))
}

async fn answer(State(handle): State<Arc<Handle>>) -> Json<Destinations> {
    Json(of_config(&handle.config()))
}

fn of_config(config: &Config) -> Destinations {
    config.sinks.iter().map(|(name, sink)| (name.clone(), Destination::of(sink))).collect()
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// A line for each sink that would be switched, or could not be; none where the config's data directory does not exist yet. What
    /// can't be told is said too.
    pub switches: Vec<String>,
    /// What its sources have received since it started, bytes a second; where an agent runs and something came.
    pub received_bytes_per_s: Option<u64>,
    /// Plugins of the running agent that turned out not to be deterministic.
    pub nondeterministic: Vec<String>,
    /// Where an agent runs there and says so: what a reload of it would do, or why it would refuse the config.
    pub reload: Option<Result<String, String>>,
    /// A line for each plugin whose component another one stands in the place of.
    pub overrides: Vec<String>,
}

/// Looks.
pub fn of(config: &Config, files: &Files) -> Found {
    let data_dir = &config.sections.data_dir;
    if !data_dir.exists() {
        return Found::default();
    }
    let running = match Reach::of(data_dir) {
        Ok(Reach::Running(client)) => Some(weigh(&client, config, files)),
        _ => None,
    };
    let reload = running.as_ref().and_then(|weighed| weighed.as_ref().ok().cloned());
    let untold =
        running.and_then(Result::err).map(|error| format!("whether a reload takes this can't be told: {error}"));
    let mut found = match at(data_dir) {
        Ok((at, of_running)) => Found { switches: lines(config, &at), reload, ..of_running },
        Err(error) => {
            let switches = vec![format!("whether a sink switches can't be told: {error}")];
            Found { switches, reload, ..Found::default() }
        }
    };
    found.switches.extend(untold);
    found
}

/// How long an agent may take to compile the plugins of a config.
const WEIGHED_WITHIN: Duration = Duration::from_secs(90);

/// Asks the running agent what a reload would make of the config.
fn weigh(client: &Client, config: &Config, files: &Files) -> Result<Result<String, String>, ControlError> {
    // The agent has another present folder, and an environment of its own.
    let files = Files { folder: config.folder.clone(), files: files.files.clone(), kept: Kept::new() };
    let packed = epochs::pack(&files).map_err(|error| ControlError::Refused(error.to_string()))?;
    let packed: Value = serde_json::from_slice(&packed)?;
    let answer = client.ask_within(Some(WEIGHED_WITHIN), Method::POST, "/v1/reload/check", Some(&packed))?;
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    Ok(if answer["taken"] == true { Ok(text("done")) } else { Err(text("reason")) })
}

fn lines(config: &Config, at: &Known) -> Vec<String> {
    let one = |(name, sink): (&String, _)| match at.get(name)? {
        Ok(before) => {
            switch(name, before, sink).unwrap_or_else(|refused| Some(format!("a reload refuses this: {refused}")))
        }
        Err(reason) => Some(format!("{name}: whether it switches can't be told: {reason}")),
    };
    config.sinks.iter().filter_map(one).collect()
}

/// Where each sink delivers, what a running agent has measured, and what is overridden.
fn at(data_dir: &Path) -> Result<(Known, Found), ControlError> {
    match Reach::of(data_dir) {
        Ok(Reach::Running(client)) => {
            let told: Destinations = serde_json::from_value(client.get("/v1/destinations")?)?;
            let known = told.into_iter().map(|(name, destination)| (name, Ok(destination))).collect();
            let status = client.get("/v1/status")?;
            let rate = status["received_bytes_per_second"].as_f64();
            let received_bytes_per_s = rate.map(|rate| rate as u64).filter(|rate| *rate > 0);
            let nondeterministic = disagreeing(&client.get("/v1/plugins")?);
            let overrides = [overrides::lines(&status["overrides"]), canary::lines(&status["canaries"])].concat();
            Ok((known, Found { received_bytes_per_s, nondeterministic, overrides, ..Found::default() }))
        }
        Ok(Reach::Down(down)) => {
            let (overrides, canaries) = down.runtime.block_on(epochs::present_overrides(&down.journal));
            let canaries = canary::lines(&canary::views(&canaries, &canary::Returns::new(), None));
            let overrides = [overrides::lines(&overrides::views(&overrides)), canaries].concat();
            Ok((down_at(&down)?, Found { overrides, ..Found::default() }))
        }
        // Nobody ever ran there.
        Err(ControlError::NoDirectory { .. }) => Ok((Known::new(), Found::default())),
        Err(error) => Err(error),
    }
}

/// Names of the plugins of which a batch gave something else when it was run again.
fn disagreeing(plugins: &Value) -> Vec<String> {
    let disagrees = |plugin: &&Value| plugin["figures"]["disagreed"].as_u64().is_some_and(|batches| batches > 0);
    let named = plugins.as_array().into_iter().flatten().filter(disagrees);
    named.filter_map(|plugin| plugin["name"].as_str()).map(str::to_owned).collect()
}

/// By the configurations that the journal keeps of the sinks' places.
fn down_at(down: &Down) -> Result<Known, ControlError> {
    let known: Vec<_> = {
        let state = down.journal.state();
        let with_place = |(sink, facts): (&sawlog_core::SinkId, &sawlog_core::journal::SinkFacts)| {
            Some((sink.to_string(), facts.destination.clone()?.config))
        };
        state.facts.iter().filter_map(with_place).collect()
    };
    let mut destinations = Known::new();
    for (name, digest) in known {
        let kept = down.runtime.block_on(down.journal.store().get_blob(digest));
        let kept = kept.map_err(sawlog_core::journal::OpenError::from)?;
        let config = match kept {
            None => Err("the configuration of its place was not kept".to_owned()),
            Some(packed) => epochs::unpack(&packed),
        };
        let destination = config.and_then(|config| {
            let sink = config.sinks.get(&name).map(Destination::of);
            sink.ok_or_else(|| "the configuration that was kept of its place does not have it".to_owned())
        });
        destinations.insert(name, destination);
    }
    Ok(destinations)
}
