//! Sums up sessions: the records of a key without a longer silence between them. A session leaves on the route `sessions` when
//! its silence is over.

use sawlog_plugin::windows::{Closed, Gather, Kind, Windows};
use sawlog_plugin::{
    Batch, Columns, Config, Edits, Emitted, Fate, FieldValue, Hasher, LogRecord, Registration, Row, Stateful,
    Transform, Watermark, host,
};
use serde::{Deserialize, Serialize};

const SECOND: i64 = 1_000_000_000;
/// Route 1 of the registration.
const ROUTE_SESSIONS: u8 = 1;
/// Closed sessions that one record may give rise to; the rest follow at the next records.
const ROWS_PER_RECORD_MAX: usize = 16;
/// What is kept of a value, bytes.
const VALUE_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
struct Settings {
    key: String,
    gap_seconds: i64,
    #[serde(default)]
    lateness_seconds: i64,
    #[serde(default)]
    first: Vec<String>,
    #[serde(default)]
    last: Vec<String>,
    #[serde(default)]
    absorb: bool,
    #[serde(default = "yes")]
    idle_flush: bool,
    #[serde(default = "ten_thousand")]
    sessions_max: usize,
}

fn yes() -> bool {
    true
}

fn ten_thousand() -> usize {
    10_000
}

/// What a session gathers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Session {
    records: u64,
    /// Event times of the earliest and the latest record, unix nanoseconds.
    from: i64,
    to: i64,
    /// Values of the earliest record, then of the latest.
    first: Vec<Option<String>>,
    last: Vec<Option<String>>,
}

impl Gather for Session {
    fn merge(&mut self, later: Self) {
        if later.records == 0 {
            return;
        }
        if self.records == 0 {
            *self = later;
            return;
        }
        self.records += later.records;
        if later.from < self.from {
            (self.from, self.first) = (later.from, later.first);
        }
        // Of records of one time the one that came later is the last.
        if later.to >= self.to {
            (self.to, self.last) = (later.to, later.last);
        }
    }
}

/// The plugin.
pub struct Sessionize {
    settings: Settings,
    /// Columns of the fields of `first` and of `last`; the key is column 0.
    first: Vec<usize>,
    last: Vec<usize>,
    windows: Windows<Session>,
}

impl Sessionize {
    fn take(&mut self, row: Row<'_>, watermark: i64) -> bool {
        let Some(key) = row.words(0) else { return true }; // a record without the key is in no session
        let value = |column: &usize| {
            row.words(*column).map(|value| value[..value.floor_char_boundary(VALUE_BYTES_MAX)].to_owned())
        };
        let own = Session {
            records: 1,
            from: row.time(),
            to: row.time(),
            first: self.first.iter().map(value).collect(),
            last: self.last.iter().map(value).collect(),
        };
        self.windows.add(&key, row.time(), watermark, |session| session.merge(own.clone()))
    }

    fn record(&self, closed: Closed<Session>) -> LogRecord {
        let session = closed.gathered;
        let mut id = Hasher::default();
        id.write(closed.key.as_bytes());
        id.end_part();
        id.write(&session.from.to_le_bytes());
        let mut fields = vec![
            ("session".to_owned(), FieldValue::Text(format!("{:016x}", id.finish()))),
            (self.settings.key.clone(), FieldValue::Text(closed.key)),
            ("session_start".to_owned(), FieldValue::Integer(session.from)),
            ("session_end".to_owned(), FieldValue::Integer(session.to)),
            ("duration_ms".to_owned(), FieldValue::Integer((session.to - session.from) / 1_000_000)),
            ("records".to_owned(), FieldValue::Integer(session.records as i64)),
        ];
        let values = |prefix: &'static str, names: &[String], values: Vec<Option<String>>| {
            let named: Vec<_> = names.iter().map(|name| format!("{prefix}{name}")).zip(values).collect();
            named.into_iter().filter_map(|(name, value)| Some((name, FieldValue::Text(value?))))
        };
        fields.extend(values("first_", &self.settings.first, session.first));
        fields.extend(values("last_", &self.settings.last, session.last));
        LogRecord { timestamp: session.to, fields }
    }
}

impl Transform for Sessionize {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let mut columns = Columns::default();
        columns.of(&settings.key);
        let (first, last) = (columns.of_each(&settings.first), columns.of_each(&settings.last));
        let registration = Registration {
            timestamps: true,
            routes: vec!["sessions".into()],
            state_version: 1,
            lateness: settings.lateness_seconds * SECOND,
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns)
        };
        let windows = Windows::new(Kind::Session { gap: settings.gap_seconds * SECOND }, settings.sessions_max);
        Ok((Self { settings, first, last, windows }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut watermark = Watermark::before(batch, self.settings.lateness_seconds * SECOND);
        let mut late = 0;
        for row in batch.rows() {
            let taken = self.take(row, watermark.now());
            late += u64::from(!taken);
            watermark.pass(row);
            for closed in self.windows.close(watermark.now(), ROWS_PER_RECORD_MAX) {
                edits.add(row.index(), ROUTE_SESSIONS, self.record(closed));
            }
            if taken && self.settings.absorb && row.bytes(0).is_some() {
                edits.decide(row.index(), Fate::Absorb);
            }
        }
        if late > 0 {
            host::count("late_records", late);
        }
        edits.wake_at(self.windows.first_end().filter(|_| self.settings.idle_flush));
        Ok(())
    }
}

impl Stateful for Sessionize {
    fn snapshot(&self) -> Vec<u8> {
        self.windows.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.windows.read(snapshot)
    }

    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String> {
        let closed = self.windows.close(now, usize::MAX);
        Ok(closed.into_iter().map(|session| Emitted { route: ROUTE_SESSIONS, row: self.record(session) }).collect())
    }
}

sawlog_plugin::export_stateful!(Sessionize);
