//! Windows of every kind in the host, by the golden suite that all SDKs share: one plugin in two languages between a source and its
//! sinks, as the core runs it. However batches are cut, wherever it crashes, and whoever lags behind, each window comes once, of the
//! same row, with the same id.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::pipeline::PipelineChain;
use sawlog_chain::{Allow, PluginConfig};
use sawlog_core::SinkId;
use sawlog_core::plan::ComponentId;
use sawlog_core::ports::{Applied, Chain as _, ChainInstance, Context};
use sawlog_record::id::{Cursor, Generation, PartitionId, RowId};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::through::{COMPONENT, chain_to, finished, input};

const SECOND: i64 = 1_000_000_000;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: BTreeMap<String, BTreeMap<String, i64>>,
    lateness: i64,
    late: Vec<u64>,
    rows: Vec<(i64, String)>,
    #[serde(default)]
    idle_at: Vec<(usize, i64)>,
    closed: Vec<Window>,
}

/// A window that closed after row `after`.
#[derive(Deserialize, Debug, PartialEq)]
struct Window {
    after: u64,
    key: String,
    start: i64,
    end: i64,
    count: u64,
}

/// What comes upon a partition.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    Row(usize),
    /// It was silent until this time, and goes on behind so many rows.
    Idle(usize, i64),
    End,
}

impl Case {
    fn all() -> Vec<Self> {
        let path = support::repository().join("sdk/windows/golden.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// What the plugin is configured with; the suite's unit of time is a second.
    fn config(&self) -> String {
        let (name, of) = self.kind.first_key_value().unwrap();
        let kind = match name.as_str() {
            "tumbling" => format!(r#""window_seconds":{}"#, of["length"]),
            "sliding" => format!(r#""window_seconds":{},"slide_seconds":{}"#, of["length"], of["step"]),
            "session" => format!(r#""gap_seconds":{}"#, of["gap"]),
            "count" => format!(r#""records":{}"#, of["rows"]),
            kind => panic!("{}: {kind} is no kind of window", self.name),
        };
        format!(r#"{{"key":"key","absorb":true,"lateness_seconds":{},{kind}}}"#, self.lateness)
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for number in 0..self.rows.len() {
            let idle = self.idle_at.iter().filter(|(row, _)| *row == number);
            events.extend(idle.map(|(row, now)| Event::Idle(*row, now * SECOND)));
            events.push(Event::Row(number));
        }
        events.push(Event::End);
        events
    }

    fn line(&self, row: usize) -> String {
        let (time, key) = &self.rows[row];
        format!(r#"{{"at":{time},"key":"{key}"}}"#)
    }
}

/// A row at a sink: behind which row of the input it came, its id, its text.
type Delivered = (u64, RowId, String);

/// One process's life with a partition, and one lane of it.
struct Life<'c> {
    case: &'c Case,
    instance: Box<dyn ChainInstance>,
    /// Whether others ran all this before, and this lane obeys what they planned.
    lags: bool,
    windows: Vec<Delivered>,
    late: Vec<Delivered>,
}

type States = BTreeMap<ComponentId, Vec<u8>>;

impl<'c> Life<'c> {
    fn begin(case: &'c Case, chain: &Arc<PipelineChain>, lags: bool) -> Self {
        let instance = chain.instance(PartitionId::derive("windows", &[]));
        Self { case, instance, lags, windows: Vec::new(), late: Vec::new() }
    }

    fn restored(case: &'c Case, chain: &Arc<PipelineChain>, states: States) -> Self {
        let mut life = Self::begin(case, chain, true);
        finished(life.instance.restore(states)).unwrap();
        life
    }

    fn snapshot(&mut self) -> States {
        finished(self.instance.snapshot()).unwrap()
    }

    /// What happens, in batches of at most `rows_max` rows.
    fn live(&mut self, events: &[Event], rows_max: usize) {
        let mut at = 0;
        while at < events.len() {
            let rows: Vec<usize> = events[at..]
                .iter()
                .map_while(|event| if let Event::Row(row) = event { Some(*row) } else { None })
                .take(rows_max)
                .collect();
            match rows.first() {
                Some(first) => {
                    self.rows(*first, &rows);
                    at += rows.len();
                }
                None => {
                    self.silence(events[at]);
                    at += 1;
                }
            }
        }
    }

    fn context(&self) -> Context {
        let partition = PartitionId::derive("windows", &[]);
        Context { partition, time: 1, poison: Vec::new(), first_run: !self.lags, generous: false }
    }

    fn rows(&mut self, first: usize, rows: &[usize]) {
        let lines: Vec<String> = rows.iter().map(|row| self.case.line(*row)).collect();
        let applied = finished(self.instance.apply(input(first as u64, &lines), &self.context())).unwrap();
        self.deliver(&applied, |row| row.pos);
    }

    /// As the core does it: where nobody asked to be woken by then, nobody is.
    fn silence(&mut self, event: Event) {
        let (next, after, now) = match event {
            Event::Idle(row, now) => (row, row as u64 - 1, now),
            _ => (self.case.rows.len(), self.case.rows.len() as u64, i64::MAX),
        };
        if event != Event::End && !self.instance.wake_at().iter().any(|(_, wake_at)| *wake_at <= now) {
            return;
        }
        let (generation, at) = (Generation([1; 16]), Cursor { pos: next as u64, slot: 0 });
        let applied = finished(self.instance.flush(COMPONENT, generation, at, now, &self.context())).unwrap();
        self.deliver(&applied, |_| after);
    }

    fn deliver(&mut self, applied: &Applied, after: impl Fn(RowId) -> u64) {
        for (sink, rows) in [("windows", &mut self.windows), ("late", &mut self.late)] {
            let output = &applied.outputs[&SinkId::new(sink)].output;
            for row in &output.rows {
                let (row, mut text) = (output.batch.rows[*row as usize], Vec::new());
                sawlog_chain::apply::write_record(&output.batch, &row, &mut text);
                rows.push((after(row.id), row.id, String::from_utf8(text).unwrap()));
            }
        }
        let dead = applied.outputs.get(&SinkId::new("dead"));
        assert!(dead.is_none_or(|dead| dead.output.rows.is_empty()), "{}", self.case.name);
    }

    /// What it gave holds against the suite.
    fn assert_golden(&self) {
        let window = |(after, _, text): &Delivered| {
            let row: serde_json::Value = serde_json::from_str(text).unwrap();
            let seconds = |name: &str| row[name].as_i64().unwrap() / SECOND;
            let (key, count) = (row["key"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap());
            Window { after: *after, key, start: seconds("window_start"), end: seconds("window_end"), count }
        };
        let windows: Vec<Window> = self.windows.iter().map(window).collect();
        assert_eq!(windows, self.case.closed, "{}", self.case.name);
        let late: Vec<u64> = self.late.iter().map(|(after, ..)| *after).collect();
        assert_eq!(late, self.case.late, "{}", self.case.name);
    }
}

/// All cases, through the component at `path` below the folder of components; how many lives were lived.
fn suite(path: &str) -> usize {
    let bytes = support::component(path);
    let (engine, mut lives) = (support::engine(), 0);
    for case in Case::all() {
        let allow = Allow { state: true, timers: true, ..Allow::default() };
        let config = PluginConfig { config_json: case.config(), allow, ..Default::default() };
        let plugin = engine.load("count-window", &bytes, config).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        lives += hold(&case, &chain_to(&plugin, &["late", "windows"]));
    }
    lives
}

fn hold(case: &Case, chain: &Arc<PipelineChain>) -> usize {
    let events = case.events();
    let mut first = Life::begin(case, chain, false);
    let mut snapshots = Vec::new();
    for event in &events {
        let before = (first.windows.len(), first.late.len());
        snapshots.push((before, first.snapshot()));
        first.live(&[*event], 1);
    }
    first.assert_golden();

    // A sink that lags has a lane of its own, which comes later and in other batches.
    for rows_max in [usize::MAX, 2] {
        let mut lane = Life::begin(case, chain, true);
        lane.live(&events, rows_max);
        assert_eq!((&lane.windows, &lane.late), (&first.windows, &first.late), "{}: {rows_max} a batch", case.name);
    }

    // A crash at every record, in one life after the other: what comes of the rest is what came of it.
    let mut lives = 3;
    for (kept, ((windows, late), states)) in snapshots.iter().enumerate() {
        let mut again = Life::restored(case, chain, states.clone());
        assert_eq!(again.snapshot(), *states, "{}: a state comes back as it was", case.name);
        again.live(&events[kept..], usize::MAX);
        let rest = (&first.windows[*windows..], &first.late[*late..]);
        assert_eq!((&again.windows[..], &again.late[..]), rest, "{}: a crash before event {kept}", case.name);
        lives += 1;
    }
    lives
}

#[test]
fn every_kind_in_rust_is_the_golden_suites_in_the_host() {
    println!("{} lives", suite("count-window"));
}

#[test]
fn every_kind_in_go_is_the_golden_suites_in_the_host() {
    if !support::is_built("tidy/count-window-go") {
        println!("NOT RUN: the windows in Go were not built; they need Go 1.24 or newer");
        return;
    }
    println!("{} lives", suite("tidy/count-window-go"));
}
