//! Turns records into figures: counts, sums, least, greatest and quantiles per key and window of event time.

mod figures;

use figures::{Figures, Metric};
use sawlog_plugin::windows::{Closed, Kind, Windows};
use sawlog_plugin::{
    Batch, Columns, Config, Edits, Emitted, Fate, FieldValue, LogRecord, Registration, Row, Stateful, Transform,
    Watermark, host,
};
use serde::Deserialize;

const SECOND: i64 = 1_000_000_000;
/// Route 1 of the registration.
const ROUTE_METRICS: u8 = 1;
/// Closed windows that one record may give rise to: what a row makes is bounded by the host. The rest follow at the next
/// records.
const ROWS_PER_RECORD_MAX: usize = 32;
/// Between the values of a key: no value has it.
const BETWEEN: char = '\u{1f}';
/// The value of a field that a record has not.
const NO_VALUE: &str = "(none)";

#[derive(Deserialize)]
struct Settings {
    by: Vec<String>,
    metrics: Vec<Metric>,
    window_seconds: i64,
    slide_seconds: Option<i64>,
    #[serde(default)]
    lateness_seconds: i64,
    #[serde(default)]
    absorb: bool,
    #[serde(default = "yes")]
    idle_flush: bool,
    #[serde(default = "ten_thousand")]
    keys_max: usize,
}

fn yes() -> bool {
    true
}

fn ten_thousand() -> usize {
    10_000
}

/// The plugin.
pub struct Aggregate {
    by: Vec<String>,
    by_columns: Vec<usize>,
    metrics: Vec<Metric>,
    /// By metric: its column, if it reads a field.
    columns: Vec<Option<usize>>,
    lateness: i64,
    absorb: bool,
    idle_flush: bool,
    windows: Windows<Figures>,
}

impl Aggregate {
    fn key(&self, row: Row<'_>) -> String {
        let values =
            self.by_columns.iter().map(|column| row.words(*column).unwrap_or(NO_VALUE.into()).replace(BETWEEN, " "));
        values.collect::<Vec<_>>().join(&BETWEEN.to_string())
    }

    /// Gathers the row; whether it was in time.
    fn take(&mut self, row: Row<'_>, watermark: i64) -> bool {
        let number = |column: usize| row.words(column)?.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let values: Vec<Option<f64>> = self.columns.iter().map(|column| column.and_then(number)).collect();
        let key = self.key(row);
        self.windows.add(&key, row.time(), watermark, |figures| figures.take(&self.metrics, &values))
    }

    fn record(&self, closed: &Closed<Figures>) -> LogRecord {
        let mut fields = vec![
            ("window_start".to_owned(), FieldValue::Integer(closed.start)),
            ("window_end".to_owned(), FieldValue::Integer(closed.end)),
        ];
        let mut values = closed.key.split(BETWEEN);
        for field in &self.by {
            // What did not fit is gathered under one key.
            let value = values.next().unwrap_or(sawlog_plugin::windows::OTHER_KEY);
            fields.push((field.clone(), FieldValue::Text(value.to_owned())));
        }
        fields.extend(closed.gathered.fields(&self.metrics));
        LogRecord { timestamp: closed.end, fields }
    }
}

impl Transform for Aggregate {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let kind = match settings.slide_seconds {
            Some(step) if step > settings.window_seconds => {
                return Err("slide_seconds is longer than window_seconds".into());
            }
            Some(step) => Kind::Sliding { length: settings.window_seconds * SECOND, step: step * SECOND },
            None => Kind::Tumbling { length: settings.window_seconds * SECOND },
        };
        figures::check(&settings.metrics)?;
        let mut columns = Columns::default();
        let by_columns = columns.of_each(&settings.by);
        let of_metric = settings.metrics.iter().map(|metric| Some(columns.of(metric.field()?))).collect();
        let lateness = settings.lateness_seconds * SECOND;
        let registration = Registration {
            timestamps: true,
            routes: vec!["metrics".into()],
            state_version: 1,
            lateness,
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns)
        };
        let plugin = Self {
            by: settings.by,
            by_columns,
            metrics: settings.metrics,
            columns: of_metric,
            lateness,
            absorb: settings.absorb,
            idle_flush: settings.idle_flush,
            windows: Windows::new(kind, settings.keys_max),
        };
        Ok((plugin, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut watermark = Watermark::before(batch, self.lateness);
        let mut late = 0;
        for row in batch.rows() {
            // The row itself is judged by the watermark before it: it can't be made late by its own time.
            let taken = self.take(row, watermark.now());
            late += u64::from(!taken);
            watermark.pass(row);
            for closed in self.windows.close(watermark.now(), ROWS_PER_RECORD_MAX) {
                edits.add(row.index(), ROUTE_METRICS, self.record(&closed));
            }
            if taken && self.absorb {
                edits.decide(row.index(), Fate::Absorb);
            }
        }
        if late > 0 {
            host::count("late_records", late);
        }
        edits.wake_at(self.windows.first_end().filter(|_| self.idle_flush));
        Ok(())
    }
}

impl Stateful for Aggregate {
    fn snapshot(&self) -> Vec<u8> {
        self.windows.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.windows.read(snapshot)
    }

    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String> {
        let closed = self.windows.close(now, usize::MAX);
        Ok(closed.iter().map(|window| Emitted { route: ROUTE_METRICS, row: self.record(window) }).collect())
    }
}

sawlog_plugin::export_stateful!(Aggregate);
