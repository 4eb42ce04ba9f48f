//! The verbs that get delivery going again at a price: a sink forgets what it owes, a source goes on reading elsewhere, a stopped
//! partition goes on under other conditions. Each is journalled with what it costs, and stands in the ledger.

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::{Args, Subcommand};
use hyper::Method;
use sawlog_core::SourceId;
use sawlog_core::engine::{Engine, Refused};
use sawlog_core::operator::{Resume, To};
use sawlog_record::id::PartitionId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::place::{ControlError, Place};
use crate::api::Refusal;
use crate::run::Handle;
use crate::verbs::print;

/// Options of `sink`.
#[derive(Debug, Args)]
pub struct Sink {
    #[command(subcommand)]
    what: SinkVerb,
}

#[derive(Debug, Subcommand)]
enum SinkVerb {
    /// Give up everything that is planned and that the sink has not delivered, and begin it anew. It can't be taken back.
    Forget {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// The sink.
        name: String,
    },
}

/// Options of `source`.
#[derive(Debug, Args)]
pub struct Source {
    #[command(subcommand)]
    what: SourceVerb,
}

#[derive(Debug, Subcommand)]
enum SourceVerb {
    /// Go on reading further on, where what lies between is lost to every sink, or further back, where it comes to every sink
    /// again. It can't be taken back.
    Seek {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// The source.
        name: String,
        /// The partition, by the beginning of its name, which `checkpoint show` has; all of the source where none is given.
        #[arg(long, value_name = "ID")]
        partition: Option<String>,
        /// A position of the partition's newest file, shard or topic partition, at which a record ends; `end`; or, where it comes
        /// again, `oldest` for all that can still be read.
        #[arg(long, value_name = "POSITION|end|oldest")]
        to: String,
        #[command(flatten)]
        accepted: Accepted,
    },
}

/// What becomes of the input that lies between.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Accepted {
    /// What is skipped is lost, and the ledger says so.
    #[arg(long)]
    accept_loss: bool,
    /// What was read from there on is delivered again, and the ledger says so.
    #[arg(long)]
    accept_duplicates: bool,
}

/// Options of `partition`.
#[derive(Debug, Args)]
pub struct Partition {
    #[command(subcommand)]
    what: PartitionVerb,
}

#[derive(Debug, Subcommand)]
enum PartitionVerb {
    /// Have a partition go on that has stopped.
    Resume {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// The partition, by the beginning of its name, which `checkpoint show` and `/readyz` have.
        id: String,
        /// What was planned under a configuration that is gone runs under the present one: its rows may differ from those that
        /// other sinks have of it.
        #[arg(long, conflicts_with = "discard_state", required_unless_present = "discard_state")]
        accept_skew: bool,
        /// Plugins begin with fresh state behind everything that is planned; sinks lose what they have not delivered of it.
        #[arg(long)]
        discard_state: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Seek {
    partition: Option<String>,
    to: String,
    /// Back, where what lies between is to come again.
    #[serde(default)]
    again: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Resumption {
    how: String,
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new()
        .route("/v1/sinks/{name}/forget", post(forget))
        .route("/v1/sources/{name}/seek", post(seek))
        .route("/v1/partitions/{id}/resume", post(resume))
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::Asked(reason) => Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason),
        Refused::Journal(error) => Refusal::internal(error),
    }
}

async fn forget(State(handle): State<Arc<Handle>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let sink = name.clone();
    let outcome = handle.ask(move |running| Box::pin(async move { running.forget(&sink).await }));
    let positions = outcome.await?.map_err(|reason| Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason))?;
    Ok(Json(json!({ "sink": name, "positions": positions })))
}

async fn seek(
    State(handle): State<Arc<Handle>>,
    Path(name): Path<String>,
    Json(asked): Json<Seek>,
) -> Result<Json<Value>, Refusal> {
    to_the_end(seek_all(handle, name, asked)).await
}

/// Once begun, `work` is done to its end, also where whoever asked has gone.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(Refusal::internal(error)))
}

async fn seek_all(handle: Arc<Handle>, name: String, asked: Seek) -> Result<Json<Value>, Refusal> {
    let unprocessable = |reason: String| Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason);
    let to = match asked.to.as_str() {
        "end" => To::End,
        "oldest" => To::Oldest,
        position => To::Position(position.parse().map_err(|_| {
            unprocessable(format!(
                "`{position}` is neither a position nor `end` nor `oldest`; `sawlog checkpoint show` has positions"
            ))
        })?),
    };
    let source = SourceId::new(&name);
    let reads = |engine: &Arc<Engine>| engine.sources().iter().any(|shared| shared.inputs.id == source);
    let engines: Vec<Arc<Engine>> = handle.engines().into_iter().filter(reads).collect();
    if engines.is_empty() {
        let known: Vec<String> = handle.sources().into_keys().collect();
        return Err(unprocessable(format!(
            "there is no source `{name}` that this agent reads; its sources are: {}",
            known.join(", ")
        )));
    }
    let partition = asked.partition.as_deref().map(|text| named(&engines, text)).transpose()?;
    if let (To::Position(_), None) = (to, partition) {
        let inputs = engines.iter().flat_map(|engine| engine.inputs()).filter(|inputs| inputs.id == source);
        one_partition(&source, inputs.flat_map(|inputs| inputs.partitions()))?;
    }
    let mut ranges = Vec::new();
    for engine in engines.iter().filter(|engine| partition.is_none_or(|id| has(engine, id))) {
        let told = match asked.again {
            true => engine.seek_back(&source, partition, to).await,
            false => engine.seek(&source, partition, to).await,
        };
        for (generation, from, to) in told.map_err(|refused| behind(&ranges, refusal(refused)))? {
            ranges.push(json!({ "generation": generation.to_string(), "from": from, "to": to }));
        }
    }
    Ok(Json(json!({ "source": name, "ranges": ranges })))
}

/// A position belongs to one partition, whichever engine has it: those of a consumer group have an engine each.
fn one_partition(source: &SourceId, partitions: impl Iterator<Item = PartitionId>) -> Result<(), Refusal> {
    let partitions: Vec<String> = partitions.map(|id| id.to_string()).collect();
    if partitions.len() < 2 {
        return Ok(());
    }
    let reason = format!(
        "source `{source}` has {} partitions, and a position belongs to one; name it with --partition: {}",
        partitions.len(),
        partitions.join(", ")
    );
    Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason))
}

/// A refusal that came when other partitions were done already: they must not be asked for again.
fn behind(done: &[Value], Refusal(status, reason): Refusal) -> Refusal {
    if done.is_empty() {
        return Refusal(status, reason);
    }
    let done: Vec<String> =
        done.iter().map(|one| format!("{} from {} to {}", text(&one["generation"]), one["from"], one["to"])).collect();
    let reason = format!(
        "{reason}. Done already, and not to be said again: {}; go on with --partition for the others",
        done.join(", ")
    );
    Refusal(status, reason)
}

async fn resume(
    State(handle): State<Arc<Handle>>,
    Path(id): Path<String>,
    Json(asked): Json<Resumption>,
) -> Result<Json<Value>, Refusal> {
    to_the_end(resume_one(handle, id, asked)).await
}

async fn resume_one(handle: Arc<Handle>, id: String, asked: Resumption) -> Result<Json<Value>, Refusal> {
    let how = match asked.how.as_str() {
        "accept_skew" => Resume::AcceptSkew,
        "discard_state" => Resume::DiscardState,
        other => {
            let reason = format!("`{other}` is no way to resume; write `accept_skew` or `discard_state`");
            return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason));
        }
    };
    let engines = handle.engines();
    let partition = named(&engines, &id)?;
    let engine = engines.iter().find(|engine| has(engine, partition)).unwrap_or(&handle.engine);
    let positions = engine.resume(partition, how).await.map_err(refusal)?;
    Ok(Json(json!({ "partition": partition.to_string(), "positions": positions })))
}

fn has(engine: &Engine, partition: PartitionId) -> bool {
    engine.inputs().iter().any(|inputs| inputs.partitions().contains(&partition))
}

/// The partition whose name begins with `text`.
fn named(engines: &[Arc<Engine>], text: &str) -> Result<PartitionId, Refusal> {
    let known = engines.iter().flat_map(|engine| engine.inputs()).flat_map(|inputs| inputs.partitions());
    let found: Vec<PartitionId> = known.filter(|id| !text.is_empty() && id.to_string().starts_with(text)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        none_or_many => Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "`{text}` is the beginning of {} partitions' names, and must be that of one; `sawlog checkpoint show` has them, \
                 and `sawlog status` those that stopped",
                none_or_many.len()
            ),
        )),
    }
}

const RUNS: &str = "; nothing is given up where nobody runs";

/// `sawlog sink …`
pub fn sink(options: &Sink) -> Result<ExitCode, ControlError> {
    let SinkVerb::Forget { place, name } = &options.what;
    let client = place.running(RUNS)?;
    let answer = client.ask(Method::POST, &format!("/v1/sinks/{name}/forget"), None)?;
    print(&format!(
        "sink {name} gives up {} positions (bytes, or offsets of topics) that it had not delivered, and begins anew; `sawlog loss` \
         has them as lost, reason `forgotten`",
        answer["positions"]
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// `sawlog source …`
pub fn source(options: &Source) -> Result<ExitCode, ControlError> {
    let SourceVerb::Seek { place, name, partition, to, accepted } = &options.what;
    let again = &accepted.accept_duplicates;
    let client = place.running(RUNS)?;
    let body = serde_json::to_value(Seek { partition: partition.clone(), to: to.clone(), again: *again })?;
    let answer = client.ask(Method::POST, &format!("/v1/sources/{name}/seek"), Some(&body))?;
    let ranges: Vec<&Value> = answer["ranges"].as_array().into_iter().flatten().collect();
    let lines = ranges.iter().map(|one| format!("{}: {} to {}", text(&one["generation"]), one["from"], one["to"]));
    let lines = lines.collect::<Vec<_>>().join("\n");
    print(&match (ranges.is_empty(), again) {
        (true, false) => format!("source {name} stands there already: nothing is skipped"),
        (true, true) => format!("source {name} has nothing that was read and can be read again: nothing comes again"),
        (false, false) => {
            format!(
                "source {name} goes on further on; `sawlog loss` has what it skips as lost, reason `skipped`:\n{lines}"
            )
        }
        (false, true) => format!(
            "source {name} delivers again what lies here, to every sink; `sawlog loss` counts it as repeated. An Elasticsearch sink \
             finds it by the same ids: a document that is in its index stays as it is, and only what the index lacks appears:\n{lines}"
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `sawlog partition …`
pub fn partition(options: &Partition) -> Result<ExitCode, ControlError> {
    let PartitionVerb::Resume { place, id, accept_skew, .. } = &options.what;
    let client = place.running(RUNS)?;
    let how = if *accept_skew { "accept_skew" } else { "discard_state" };
    let body = serde_json::to_value(Resumption { how: how.to_owned() })?;
    let answer = client.ask(Method::POST, &format!("/v1/partitions/{id}/resume"), Some(&body))?;
    print(&format!(
        "partition {} goes on; its sinks give up {} positions by it",
        text(&answer["partition"]),
        answer["positions"]
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    #[test]
    fn a_position_is_refused_where_it_could_belong_to_several_partitions() {
        let source = SourceId::new("orders");
        let ids = [1, 2, 3].map(|n| PartitionId([n; 16]));
        assert!(one_partition(&source, ids.into_iter().take(0)).is_ok());
        assert!(one_partition(&source, ids.into_iter().take(1)).is_ok());
        let Refusal(status, reason) = one_partition(&source, ids.into_iter()).unwrap_err();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(reason.contains("source `orders` has 3 partitions") && reason.contains("--partition"), "{reason}");
        assert!(ids.iter().all(|id| reason.contains(&id.to_string())), "{reason}");
    }

    #[test]
    fn a_refusal_behind_partitions_that_are_done_names_them() {
        let refused = || Refusal(StatusCode::UNPROCESSABLE_ENTITY, "no".to_owned());
        assert_eq!(behind(&[], refused()).1, "no");
        let done = [json!({ "generation": "ab", "from": 3, "to": 9 })];
        let Refusal(status, reason) = behind(&done, refused());
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(reason.starts_with("no. Done already") && reason.contains("ab from 3 to 9"), "{reason}");
    }

    #[tokio::test]
    async fn what_was_begun_is_done_to_its_end_though_whoever_asked_has_gone() {
        let ((go, gate), (told, done)) = (oneshot::channel::<()>(), oneshot::channel());
        let work = async move {
            gate.await.unwrap();
            told.send("done").unwrap();
            Ok(())
        };
        let mut asked = Box::pin(to_the_end(work));
        assert!(asked.as_mut().now_or_never().is_none());
        drop(asked);
        go.send(()).unwrap();
        assert_eq!(done.await.unwrap(), "done");
    }
}
