//! `sawlog agent retire`: what another agent holds in the sinks of this config ends, by the running agent where one runs. An agent
//! never retires itself; where it is down its id can be retired, and its journal then keeps it from starting under it.

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::{Args, Subcommand};
use hyper::Method;
use sawlog_core::journal::{Journal, JournalState};
use sawlog_core::operator;
use sawlog_core::ports::{Clock as _, JournalError};
use sawlog_core::reload::is_delivered;
use serde_json::{Value, json};

use super::place::{ControlError, Down, Place, Reach};
use crate::agent_id;
use crate::api::Refusal;
use crate::config::Config;
use crate::config::references::Machine;
use crate::retire::{self, Order, Part, RetireError};
use crate::run::{Handle, SystemClock};
use crate::verbs::print;

/// Options of `agent`.
#[derive(Debug, Args)]
pub struct Agent {
    #[command(subcommand)]
    what: AgentVerb,
}

#[derive(Debug, Subcommand)]
enum AgentVerb {
    /// End the claim logs and cursors of an agent that does not come back, in every sink of the config: it holds no hour back any
    /// more, and is refused if it is started again. It can't be taken back.
    Retire {
        /// Whose config: its sinks are asked.
        #[command(flatten)]
        place: Place,
        /// The `agent.id` of the agent that does not come back.
        id: String,
        /// Also if it wrote within the last hour, or owes rows: they are given up. Be certain that it does not run.
        #[arg(long)]
        force: bool,
    },
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/agents/retire", post(asked))
}

async fn asked(State(handle): State<Arc<Handle>>, Json(order): Json<Order>) -> Result<Json<Value>, Refusal> {
    if order.agent == handle.agent {
        let reason = format!(
            "`{}` is the id of the agent that runs here; stop it, wait an hour, and say this again, here or with the config of \
             another agent",
            order.agent
        );
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let parts = retire::run(&handle.config(), &handle.agent, &order, SystemClock.now()).await;
    let parts = parts.map_err(|error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    note(handle.engine.journal(), &order).await.map_err(Refusal::internal)?;
    tracing::warn!(agent = order.agent, forced = order.force, "an operator has retired an agent");
    Ok(Json(json!({ "parts": parts })))
}

/// Journals what a person said.
async fn note(journal: &Journal, order: &Order) -> Result<(), JournalError> {
    let ((), durable) = journal.append_with(true, |_, now| (vec![operator::retire(&order.agent, now)], ()));
    journal.checked(durable.await)
}

/// `sawlog agent …`
pub fn run(options: &Agent) -> Result<ExitCode, ControlError> {
    let AgentVerb::Retire { place, id, force } = &options.what;
    let order = Order { agent: id.clone(), force: *force };
    let config = place.config()?;
    let parts: Vec<Part> = match place.reach() {
        Ok(Reach::Running(client)) => {
            let answer = client.ask(Method::POST, "/v1/agents/retire", Some(&serde_json::to_value(&order)?))?;
            serde_json::from_value(answer["parts"].clone())?
        }
        Ok(Reach::Down(down)) => by_directory(&down, &config, &order)?,
        // Whoever has the config and no agent of it may say so too.
        Err(ControlError::NoDirectory { .. }) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(by_config(&config, &order))?
        }
        Err(error) => return Err(error),
    };
    print(&retire::text(&order, &parts))?;
    Ok(ExitCode::SUCCESS)
}

fn own_id(config: &Config) -> Result<String, ControlError> {
    agent_id::resolve(&config.sections.agent.id, &Machine).map_err(|error| ControlError::Refused(error.to_string()))
}

async fn by_config(config: &Config, order: &Order) -> Result<Vec<Part>, ControlError> {
    let parts = retire::run(config, &own_id(config)?, order, SystemClock.now()).await;
    parts.map_err(|error: RetireError| ControlError::Refused(error.to_string()))
}

/// Under the lock of the data directory: its agent does not start meanwhile.
fn by_directory(down: &Down, config: &Config, order: &Order) -> Result<Vec<Part>, ControlError> {
    if order.agent == own_id(config)? && !order.force {
        refuse_owing(&down.journal.state(), &order.agent)?;
    }
    down.runtime.block_on(async {
        let parts = by_config(config, order).await?;
        let noted = note(&down.journal, order).await;
        noted.map_err(|error| {
            ControlError::Refused(format!(
                "the sinks are done, and the journal has no word of it: {error}; say it again"
            ))
        })?;
        Ok(parts)
    })
}

fn refuse_owing(state: &JournalState, agent: &str) -> Result<(), ControlError> {
    let owing: Vec<String> = state.sinks().filter(|sink| !is_delivered(state, sink)).map(ToString::to_string).collect();
    match owing.is_empty() {
        true => Ok(()),
        false => Err(ControlError::Refused(format!(
            "agent `{agent}` has not delivered everything to {}: start it once more and stop it with `sawlog drain --wait`; or say \
             `--force`, and what it has not delivered is given up",
            owing.join(", ")
        ))),
    }
}
