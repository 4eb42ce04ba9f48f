//! Which sinks of a config would deliver elsewhere than the agent of its data directory does, from where to where, and what that
//! costs. It asks the running agent, or reads the directory; it changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::place::{ControlError, Down, Reach};
use crate::config::Config;
use crate::run::changes::{Destination, switch};
use crate::run::{Handle, epochs};

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

/// A line for each sink that would be switched, or could not be; none where the config's data directory does not exist yet. What
/// can't be told is said too.
pub fn of(config: &Config) -> Vec<String> {
    let data_dir = &config.sections.data_dir;
    if !data_dir.exists() {
        return Vec::new();
    }
    let at = match at(data_dir) {
        Ok(at) => at,
        Err(error) => return vec![format!("whether a sink switches can't be told: {error}")],
    };
    let one = |(name, sink): (&String, _)| match at.get(name)? {
        Ok(before) => {
            switch(name, before, sink).unwrap_or_else(|refused| Some(format!("a reload refuses this: {refused}")))
        }
        Err(reason) => Some(format!("{name}: whether it switches can't be told: {reason}")),
    };
    config.sinks.iter().filter_map(one).collect()
}

fn at(data_dir: &Path) -> Result<Known, ControlError> {
    match Reach::of(data_dir) {
        Ok(Reach::Running(client)) => {
            let told: Destinations = serde_json::from_value(client.get("/v1/destinations")?)?;
            Ok(told.into_iter().map(|(name, destination)| (name, Ok(destination))).collect())
        }
        Ok(Reach::Down(down)) => down_at(&down),
        // Nobody ever ran there.
        Err(ControlError::NoDirectory { .. }) => Ok(Known::new()),
        Err(error) => Err(error),
    }
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
