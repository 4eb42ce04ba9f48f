//! `sawlog loss`: the ledger. Every input record of a source has, for each sink, exactly one outcome, or is in flight.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use sawlog_core::SinkId;
use sawlog_core::journal::JournalState;
use sawlog_core::operator::AGAIN;
use sawlog_core::sink::{Books, Sink};
use sawlog_core::status::settled;
use serde::{Deserialize, Serialize};

use super::Format;
use super::missing::{self, Missing, Sum};
use super::place::{ControlError, Place, Reach};
use super::table::{by_reason, table};
use crate::run::Handle;
use crate::verbs::print;

/// Options of `loss`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// Only this sink.
    #[arg(long)]
    sink: Option<String>,
    /// How the ledger is written.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// One line: a sink and a source. All but `behind` and `lost_bytes` are input records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The sink.
    pub sink: String,
    /// The source.
    pub source: String,
    /// As the source gave them to the sink's lane: delivered + absorbed + dropped + dead_lettered + lost + in_flight + imbalance.
    pub read: u64,
    /// At least one row is in the sink.
    pub delivered: u64,
    /// Live on in a plugin's state.
    pub absorbed: u64,
    /// By reason.
    pub dropped: BTreeMap<String, u64>,
    /// Went to the dead letters.
    pub dead_lettered: u64,
    /// By reason.
    pub lost: BTreeMap<String, u64>,
    /// Taken and not committed; 0 where no agent runs.
    pub in_flight: u64,
    /// Records without outcome: 0, or something is wrong.
    pub imbalance: i64,
    /// Bytes that vanished unread, by reason: nobody can count records in them.
    pub lost_bytes: BTreeMap<String, u64>,
    /// Positions (bytes, offsets) that are planned and that the sink has not finished.
    pub behind: u64,
    /// Rows in the sink.
    pub rows: u64,
    /// Of the records with an outcome, those that came again because an operator said so.
    #[serde(default)]
    pub repeated: u64,
}

/// The ledger, line by line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// Whether every record has an outcome or is in flight.
    pub balanced: bool,
    /// By sink and source.
    pub lines: Vec<Line>,
    /// What operators said about delivery, the newest last.
    #[serde(default)]
    pub said: Vec<Said>,
    /// Ranges of input that a sink lacks, the newest last.
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// What older ranges add up to.
    #[serde(default)]
    pub missing_earlier: Vec<Sum>,
}

/// What an operator said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// When, unix nanoseconds.
    pub time: i64,
    /// The verb with what it was said of.
    pub what: String,
    /// How many positions (bytes, offsets) sinks lost by it.
    pub positions: u64,
    /// How many they are sent again.
    #[serde(default)]
    pub again: u64,
}

impl Said {
    fn of(operator: &sawlog_core::operator::Operator) -> Self {
        let positions = operator.ranges.iter().map(|(.., from, to)| to.pos.saturating_sub(from.pos)).sum();
        let (positions, again) = if operator.verb == AGAIN { (0, positions) } else { (positions, 0) };
        Self { time: operator.time, what: format!("{} {}", operator.verb, operator.arguments), positions, again }
    }
}

/// The ledger as the journal and, where they run, the sinks' books have it.
pub fn ledger(state: &JournalState, sinks: &BTreeMap<SinkId, Arc<Sink>>) -> Ledger {
    let books: BTreeMap<&SinkId, _> = sinks.iter().map(|(id, sink)| (id, sink.intake.books(state))).collect();
    let line = |((sink, source), settled): (&(SinkId, sawlog_core::SourceId), &sawlog_core::status::Settled)| {
        let books = books.get(sink).and_then(|books| books.get(source)).copied().unwrap_or(Books::default());
        let counts = &settled.counts;
        Line {
            sink: sink.to_string(),
            source: source.to_string(),
            read: (counts.records() + books.in_flight).saturating_add_signed(books.imbalance),
            delivered: counts.delivered,
            absorbed: counts.absorbed,
            dropped: counts.dropped.to_map(),
            dead_lettered: counts.dead_lettered,
            lost: counts.lost.to_map(),
            in_flight: books.in_flight,
            imbalance: books.imbalance,
            lost_bytes: counts.lost_bytes.to_map(),
            behind: settled.behind,
            rows: counts.rows,
            repeated: settled.repeated,
        }
    };
    let lines: Vec<Line> = settled(state).iter().map(line).collect();
    let said = state.later.operators.iter().map(Said::of).collect();
    let balanced = lines.iter().all(|line| line.imbalance == 0);
    let (missing, missing_earlier) = missing::told(state);
    Ledger { balanced, lines, said, missing, missing_earlier }
}

/// The ledger of the whole agent: the node's own journal, and those of the partitions of groups that it has now.
pub fn of_agent(handle: &Handle) -> Ledger {
    let mut lines: BTreeMap<(String, String), Line> = BTreeMap::new();
    // Two engines may be out of balance and their sum not.
    let mut balanced = true;
    let (mut said, mut missing, mut earlier) = (Vec::new(), Vec::new(), Vec::new());
    for engine in handle.engines() {
        let one = ledger(&engine.journal().state(), &engine.sinks());
        balanced &= one.balanced;
        said.extend(one.said);
        missing.extend(one.missing);
        missing::add(&mut earlier, one.missing_earlier);
        for line in one.lines {
            match lines.entry((line.sink.clone(), line.source.clone())) {
                Entry::Vacant(first) => _ = first.insert(line),
                Entry::Occupied(mut sum) => sum.get_mut().add(&line),
            }
        }
    }
    said.sort();
    missing.sort_by_key(|missing| missing.time);
    Ledger { balanced, lines: lines.into_values().collect(), said, missing, missing_earlier: earlier }
}

impl Line {
    /// Adds the same sink and source in another engine.
    fn add(&mut self, other: &Self) {
        let numbers = [
            (&mut self.read, other.read),
            (&mut self.delivered, other.delivered),
            (&mut self.absorbed, other.absorbed),
            (&mut self.dead_lettered, other.dead_lettered),
            (&mut self.in_flight, other.in_flight),
            (&mut self.behind, other.behind),
            (&mut self.rows, other.rows),
            (&mut self.repeated, other.repeated),
        ];
        numbers.into_iter().for_each(|(mine, theirs)| *mine += theirs);
        self.imbalance += other.imbalance;
        let maps = [
            (&mut self.dropped, &other.dropped),
            (&mut self.lost, &other.lost),
            (&mut self.lost_bytes, &other.lost_bytes),
        ];
        for (mine, theirs) in maps {
            theirs.iter().for_each(|(reason, n)| *mine.entry(reason.clone()).or_default() += n);
        }
    }
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/loss", get(answer)).route("/v1/ledger", get(answer))
}

async fn answer(State(handle): State<Arc<Handle>>) -> Json<Ledger> {
    Json(of_agent(&handle))
}

/// `sawlog loss`: fails where the ledger does not balance.
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let (mut ledger, runs) = match options.place.reach()? {
        Reach::Running(client) => (serde_json::from_value(client.get("/v1/loss")?)?, true),
        Reach::Down(down) => (ledger(&down.journal.state(), &BTreeMap::new()), false),
    };
    if let Some(wanted) = &options.sink {
        refuse_unknown(wanted, &ledger)?;
        ledger.lines.retain(|line| line.sink == *wanted);
        let is_wanted = |sink: &Option<String>| sink.as_ref().is_none_or(|sink| sink == wanted);
        ledger.missing.retain(|missing| is_wanted(&missing.sink));
        ledger.missing_earlier.retain(|sum| is_wanted(&sum.sink));
    }
    match options.format {
        Format::Json => print(&serde_json::to_string_pretty(&ledger)?)?,
        Format::Text => print(&text(&ledger, runs))?,
    }
    Ok(if ledger.balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse_unknown(wanted: &str, ledger: &Ledger) -> Result<(), ControlError> {
    let mut known: Vec<&str> = ledger.lines.iter().map(|line| line.sink.as_str()).collect();
    known.dedup();
    match known.contains(&wanted) {
        true => Ok(()),
        false => Err(ControlError::Refused(format!(
            "there is no sink `{wanted}` in the ledger; the sinks are: {}",
            if known.is_empty() { "none yet".to_owned() } else { known.join(", ") }
        ))),
    }
}

fn text(ledger: &Ledger, runs: bool) -> String {
    let row = |line: &Line| {
        let numbers = [line.read, line.delivered, line.absorbed];
        let mut row = vec![line.sink.clone(), line.source.clone()];
        row.extend(numbers.map(|n| n.to_string()));
        row.extend([by_reason(&line.dropped), line.dead_lettered.to_string(), by_reason(&line.lost)]);
        row.extend([line.in_flight.to_string(), line.imbalance.to_string(), line.behind.to_string()]);
        row
    };
    let headings = [
        "sink",
        "source",
        "read",
        "delivered",
        "absorbed",
        "dropped",
        "dead_lettered",
        "lost",
        "in_flight",
        "imbalance",
        "behind",
    ];
    let rows: Vec<Vec<String>> = ledger.lines.iter().map(row).collect();
    let mut lines = vec![table(&headings, &rows)];
    lines.extend(ledger.lines.iter().filter(|line| !line.lost_bytes.is_empty()).map(|line| {
        format!("{} lost of {}, in bytes that nobody read: {}", line.sink, line.source, by_reason(&line.lost_bytes))
    }));
    lines.extend(ledger.missing_earlier.iter().map(Sum::told));
    lines.extend(ledger.missing.iter().map(Missing::told));
    lines.extend(ledger.lines.iter().filter(|line| line.repeated > 0).map(|line| {
        format!("{} has {} records of {} once more, because an operator said so", line.sink, line.repeated, line.source)
    }));
    lines.extend(ledger.said.iter().map(|said| {
        let at = missing::rfc3339(said.time);
        let cost = match said.again {
            0 => format!("{} positions lost", said.positions),
            again => format!("{again} positions sent again"),
        };
        format!("{at} an operator said `{}`: {cost}", said.what)
    }));
    if !runs {
        lines.push("no agent runs: nothing is in flight; `behind` is what the next start goes on with".to_owned());
    }
    lines.push(match ledger.balanced {
        true => "balanced: every record that was read has an outcome or is in flight".to_owned(),
        false => "NOT balanced: records have no outcome; keep the data directory and report it".to_owned(),
    });
    lines.join("\n")
}
