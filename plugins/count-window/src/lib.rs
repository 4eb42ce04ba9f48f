//! Counts records per key in windows: of event time, one after the other or overlapping, of records without a silence between them,
//! or of so many records. A window closes at the record that moves the watermark past its end, wherever batches are cut; the rows
//! that it makes name that record as their parent.

mod counter;
mod kind;

use counter::Counter;
use kind::Cut;
use sawlog_plugin::windows::{Closed, Windows};
use sawlog_plugin::{
    Batch, Config, Edits, Emitted, Fate, FieldValue, LogRecord, Registration, Stateful, Transform, Watermark, host,
};
use serde::Deserialize;

/// 1 was a list of (start, key, count).
const STATE_VERSION: u32 = 2;
const SECOND: i64 = 1_000_000_000;
/// Route 1 of the registration.
const ROUTE_WINDOWS: u8 = 1;
/// What records without the field count as.
const NO_KEY: &str = "(none)";
/// Closed counters that one record may give rise to: what a row makes is bounded by the host. The rest follow at the next
/// records.
const ROWS_PER_RECORD_MAX: usize = 64;

#[derive(Deserialize)]
struct Settings {
    key: String,
    #[serde(flatten)]
    cut: Cut,
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
pub struct CountWindow {
    absorb: bool,
    idle_flush: bool,
    lateness: i64,
    windows: Windows<Counter>,
}

fn record(closed: Closed<Counter>) -> LogRecord {
    let count = i64::try_from(closed.gathered.0).unwrap_or(i64::MAX);
    let fields = vec![
        ("window_start".into(), FieldValue::Integer(closed.start)),
        ("window_end".into(), FieldValue::Integer(closed.end)),
        ("key".into(), FieldValue::Text(closed.key)),
        ("count".into(), FieldValue::Integer(count)),
    ];
    LogRecord { timestamp: closed.end, fields }
}

impl Transform for CountWindow {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let (kind, lateness) = (settings.cut.kind()?, settings.lateness_seconds * SECOND);
        let registration = Registration {
            name: "count-window".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            columns: vec![settings.key],
            timestamps: true,
            routes: vec!["windows".into()],
            state_version: STATE_VERSION,
            lateness,
            ..Default::default()
        };
        let windows = Windows::new(kind, settings.keys_max);
        Ok((Self { absorb: settings.absorb, idle_flush: settings.idle_flush, lateness, windows }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut watermark = Watermark::before(batch, self.lateness);
        let mut late = 0;
        for row in batch.rows() {
            // The row itself is judged by the watermark before it: it can't be made late by its own time.
            let counted =
                self.windows.add(row.words(0).as_deref().unwrap_or(NO_KEY), row.time(), watermark.now(), Counter::take);
            late += u64::from(!counted);
            watermark.pass(row);
            for closed in self.windows.close(watermark.now(), ROWS_PER_RECORD_MAX) {
                edits.add(row.index(), ROUTE_WINDOWS, record(closed));
            }
            if counted && self.absorb {
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

impl Stateful for CountWindow {
    fn snapshot(&self) -> Vec<u8> {
        self.windows.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.windows.read(snapshot)
    }

    fn upgrade(&mut self, version: u32, old: &[u8]) -> Result<(), String> {
        match version {
            1 => counter::read_version_1(old, &mut self.windows),
            _ => Err(format!("state of version {version} is not understood; this plugin reads 1 and {STATE_VERSION}")),
        }
    }

    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String> {
        let closed = self.windows.close(now, usize::MAX);
        Ok(closed.into_iter().map(|window| Emitted { route: ROUTE_WINDOWS, row: record(window) }).collect())
    }
}

sawlog_plugin::export_stateful!(CountWindow);
