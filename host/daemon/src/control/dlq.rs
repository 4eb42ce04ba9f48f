//! `sawlog dlq`: the dead letters. They are read where they lie, by whoever asks; replaying goes through the running agent, or
//! into its queue where none runs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::Format;
use super::place::{ControlError, Down, Place, Reach};
use super::table::table;
use crate::api::Refusal;
use crate::config::Config;
use crate::letters::{self, Feeder, Letter};
use crate::run::replay::{self, Query, Report};
use crate::run::{Handle, RunError};
use crate::verbs::print;
use crate::words;

/// Longest reason in a list, in characters.
const REASON_CHARS_MAX: usize = 80;

/// Options of `dlq`.
#[derive(Debug, Args)]
pub struct Options {
    /// What about them.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List dead letters, the oldest file first.
    List {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// Which letters.
        #[command(flatten)]
        which: Which,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// How the list is written.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show letters whole, as JSON: who could not take the row and why, the row, and the record as it was read.
    Show {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// Record ids, as `dlq list` has them.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Send letters again: to the sink that refused them, or into the plugin that failed on them. Twice delivers once.
    Replay {
        /// Which agent.
        #[command(flatten)]
        place: Place,
        /// Which letters.
        #[command(flatten)]
        which: Which,
        /// Record ids, as `dlq list` has them.
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All letters, or all that the other options leave.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// Which letters.
#[derive(Debug, Args)]
struct Which {
    /// Only letters of this sink or plugin.
    #[arg(long = "of", value_name = "SINK|PLUGIN")]
    feeder: Option<String>,
    /// Only letters that lie in this dead-letter sink.
    #[arg(long)]
    sink: Option<String>,
}

impl Which {
    fn query(&self, ids: &[String]) -> Query {
        Query { ids: ids.iter().cloned().collect(), feeder: self.feeder.clone(), sink: self.sink.clone() }
    }
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/dlq/replay", post(answer))
}

async fn answer(State(handle): State<Arc<Handle>>, Json(query): Json<Query>) -> Result<Json<Report>, Refusal> {
    let intake = handle.ask(|running| Box::pin(running.replay())).await?.map_err(Refusal::internal)?;
    let config = handle.config();
    // Also where whoever asked goes away: what is begun is told to the source.
    let putting = tokio::spawn(async move { replay::put(config, query, &intake).await });
    let report = putting.await.map_err(Refusal::internal)?;
    let report = report.map_err(|error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    tracing::info!(replayed = report.replayed, known = report.known, "dead letters were replayed");
    Ok(Json(report))
}

/// `sawlog dlq`
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    match &options.what {
        What::List { place, which, limit, format } => list(&place.config()?, &which.query(&[]), *limit, *format),
        What::Show { place, ids } => show(&place.config()?, ids),
        What::Replay { place, which, ids, all: _ } => resend(place, which.query(ids)),
    }
}

fn list(config: &Config, query: &Query, limit: usize, format: Format) -> Result<ExitCode, ControlError> {
    let (mut found, mut unreadable, mut more) = (Vec::new(), 0, 0);
    read(config, query, |sink, letter| match letter {
        Some(letter) if found.len() < limit => found.push(summary(sink, &letter)),
        Some(_) => more += 1,
        None => unreadable += 1,
    })?;
    if format == Format::Json {
        let list = json!({ "letters": found, "more": more, "unreadable": unreadable });
        print(&serde_json::to_string_pretty(&list)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["id", "of", "source", "position", "received", "reason"];
    let cell = |letter: &Value, key: &str| {
        let text = letter[key].as_str().unwrap_or_default().replace(['\n', '\r', '\t'], " ");
        let text = words::in_line(&text).into_owned();
        if text.chars().count() <= REASON_CHARS_MAX {
            return text;
        }
        text.chars().take(REASON_CHARS_MAX - 1).chain(['…']).collect()
    };
    let rows: Vec<Vec<String>> =
        found.iter().map(|letter| columns.iter().map(|key| cell(letter, key)).collect()).collect();
    let mut text = if rows.is_empty() { "no dead letters".to_owned() } else { table(&columns, &rows) };
    if more > 0 {
        text.push_str(&format!("\n{more} more; `--limit` shows more, `--of` only those of one sink or plugin"));
    }
    if unreadable > 0 {
        text.push_str(&format!("\n{unreadable} lines are no letters"));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn read(config: &Config, query: &Query, mut each: impl FnMut(&str, Option<Letter>)) -> Result<(), ControlError> {
    letters::read(config, query.sink.as_deref(), |sink, letter| {
        match letter {
            Ok(letter) if query.takes(&letter) => each(sink, Some(letter)),
            Ok(_) => {}
            Err(_) => each(sink, None),
        }
        true
    })
    .map_err(|error| ControlError::Refused(error.to_string()))
}

fn time(at: i64) -> String {
    let mut text = Vec::new();
    sawlog_record::time::write_rfc3339(at, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn summary(sink: &str, letter: &Letter) -> Value {
    let of = match &letter.feeder {
        Feeder::Sink(name) => name.clone(),
        Feeder::Plugin(stage) => format!("{} ({})", stage.plugin, stage.place),
    };
    json!({
        "id": letter.id.as_str(), "of": of, "source": letter.source, "position": letter.position,
        "generation": letter.generation, "received": time(letter.received), "reason": letter.reason, "in": sink,
    })
}

fn show(config: &Config, ids: &[String]) -> Result<ExitCode, ControlError> {
    let query = Query { ids: ids.iter().cloned().collect(), ..Query::default() };
    let (mut missing, mut shown) = (query.ids.clone(), Vec::new());
    read(config, &query, |sink, letter| {
        let Some(letter) = letter else { return };
        missing.remove(letter.id.as_str());
        let mut whole = summary(sink, &letter);
        whole["time"] = time(letter.time).into();
        // A row may hold numbers that this program would round: then its text is shown. Members may change places.
        let row = String::from_utf8_lossy(&letter.row).into_owned();
        let read = serde_json::from_str::<Value>(&row).ok().filter(|value| value.to_string().len() == row.len());
        whole["row"] = read.unwrap_or(Value::String(row));
        if !letter.record.is_empty() {
            whole["record"] = String::from_utf8_lossy(&letter.record).into_owned().into();
        }
        shown.push(whole);
    })?;
    print(&serde_json::to_string_pretty(&shown)?)?;
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
    Err(ControlError::Refused(format!("there is no letter {missing}; `sawlog dlq list` shows what there is")))
}

fn resend(place: &Place, query: Query) -> Result<ExitCode, ControlError> {
    let (report, runs) = match place.reach()? {
        Reach::Running(client) => {
            let report = client.ask(Method::POST, "/v1/dlq/replay", Some(&serde_json::to_value(&query)?))?;
            (serde_json::from_value(report)?, true)
        }
        Reach::Down(down) => (into_queue(&down, place.config()?, query)?, false),
    };
    print(&text(&report, runs))?;
    let is_done = report.refused.is_empty() && report.missing.is_empty();
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where no agent runs the letters are stored in its queue; the next start delivers them.
fn into_queue(down: &Down, config: Config, query: Query) -> Result<Report, ControlError> {
    let refuse = |error: RunError| ControlError::Refused(error.to_string());
    let stored = down.runtime.block_on(async {
        // Who is asked for does not matter to what is stored.
        let intake = replay::open(down.disk(), "", config.disk_shares().replay).map_err(refuse)?;
        let report = replay::put(Arc::new(config), query, &intake).await;
        report.map_err(|error| ControlError::Refused(error.to_string()))
    })?;
    Ok(stored)
}

fn text(report: &Report, runs: bool) -> String {
    let mut lines = vec![format!("{} replayed, {} had been replayed before", report.replayed, report.known)];
    let reasons: BTreeMap<&String, &u64> = report.refused.iter().collect();
    lines.extend(reasons.iter().map(|(reason, n)| format!("{n} not replayed: {reason}")));
    if report.unreadable > 0 {
        lines.push(format!("{} lines are no letters", report.unreadable));
    }
    if !report.missing.is_empty() {
        lines.push(format!("no letters: {}; `sawlog dlq list` shows what there is", report.missing.join(", ")));
    }
    if !runs && report.replayed > 0 {
        lines.push("no agent runs: its next start delivers them".to_owned());
    }
    lines.join("\n")
}
