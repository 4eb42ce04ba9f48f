//! Drops records that say again what another one said within a window of event time.

use sawlog_plugin::{
    Batch, Config, Edits, Emitted, Fate, Hasher, Keyed, Registration, Row, Stateful, Transform, Watermark, host,
};
use serde::Deserialize;

const SECOND: i64 = 1_000_000_000;
/// Drop reason 1 of the registration.
const DUPLICATE: u8 = 1;

#[derive(Deserialize)]
struct Settings {
    #[serde(default = "body")]
    fields: Vec<String>,
    window_seconds: i64,
    #[serde(default = "hundred_thousand")]
    keys_max: usize,
}

fn body() -> Vec<String> {
    vec!["body".into()]
}

fn hundred_thousand() -> usize {
    100_000
}

/// The plugin.
pub struct Dedupe {
    fields: usize,
    /// Nanoseconds.
    window: i64,
    /// When each key was first seen, unix nanoseconds.
    seen: Keyed<i64>,
}

/// What makes records the same: all values, each with whether it is there and whether it is text. Two hashes of 64 bits.
fn key(row: Row<'_>, fields: usize) -> Option<String> {
    let mut hashes = [Hasher::default(); 2];
    hashes[1].write(b"second");
    let mut any = false;
    for column in 0..fields {
        let (mark, bytes): (&[u8], &[u8]) = match row.get(column) {
            Some(sawlog_plugin::Value::Text(text)) => (b"t", text),
            Some(sawlog_plugin::Value::Json(token)) => (b"j", token),
            None => (b"-", b""),
        };
        any |= mark != b"-";
        for hash in &mut hashes {
            hash.write(mark);
            hash.write(bytes);
            hash.end_part();
        }
    }
    any.then(|| format!("{:016x}{:016x}", hashes[0].finish(), hashes[1].finish()))
}

impl Dedupe {
    fn is_repeated(&mut self, key: &str, time: i64) -> bool {
        let first = self.seen.get(key).copied();
        if first.is_some_and(|first| time.abs_diff(first) < self.window.unsigned_abs()) {
            return true;
        }
        let newest = first.map_or(time, |first| first.max(time));
        self.seen.set(key, newest, newest);
        false
    }
}

impl Transform for Dedupe {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let registration = Registration {
            timestamps: true,
            drop_reasons: vec!["duplicate".into()],
            state_version: 1,
            lateness: settings.window_seconds * SECOND,
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), settings.fields.clone())
        };
        let plugin = Self {
            fields: settings.fields.len(),
            window: settings.window_seconds * SECOND,
            seen: Keyed::new(settings.keys_max),
        };
        Ok((plugin, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut watermark = Watermark::before(batch, self.window);
        let mut duplicates = 0;
        for row in batch.rows() {
            // A record with none of the fields is like no other.
            if let Some(key) = key(row, self.fields)
                && self.is_repeated(&key, row.time())
            {
                edits.decide(row.index(), Fate::Drop(DUPLICATE));
                duplicates += 1;
            }
            if let Some(now) = watermark.pass(row) {
                // Nothing in order can repeat what is older.
                while self.seen.pop_before(now.saturating_sub(self.window)).is_some() {}
            }
        }
        if duplicates > 0 {
            host::count("duplicate_records", duplicates);
        }
        Ok(())
    }
}

impl Stateful for Dedupe {
    fn snapshot(&self) -> Vec<u8> {
        self.seen.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.seen.read(snapshot)
    }

    fn flush(&mut self, _: i64) -> Result<Vec<Emitted>, String> {
        Ok(Vec::new()) // nothing is held back
    }
}

sawlog_plugin::export_stateful!(Dedupe);
