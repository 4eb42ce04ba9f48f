//! Lets so many records of a key pass in a time, by event time. A bucket of tokens per key, in whole nanoseconds: no rounding,
//! no clock.

use sawlog_plugin::{Batch, Config, Edits, Emitted, Fate, Keyed, Registration, Stateful, Transform, host};
use serde::{Deserialize, Serialize};

const SECOND: u64 = 1_000_000_000;
/// Drop reason 1 of the registration.
const THROTTLED: u8 = 1;
/// What records without the key count as.
const NO_KEY: &str = "(none)";

#[derive(Deserialize)]
struct Settings {
    key: String,
    records: u64,
    #[serde(default = "one")]
    seconds: u64,
    burst: Option<u64>,
    #[serde(default = "ten_thousand")]
    keys_max: usize,
}

fn one() -> u64 {
    1
}

fn ten_thousand() -> usize {
    10_000
}

/// What a key has left.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Bucket {
    /// Time that was not spent yet, nanoseconds; a record costs an interval.
    credit: u64,
    /// Event time of the newest record, unix nanoseconds.
    newest: i64,
}

/// The plugin.
pub struct Throttle {
    /// What a record costs, nanoseconds.
    interval: u64,
    /// The most that is saved up, nanoseconds.
    credit_max: u64,
    buckets: Keyed<Bucket>,
}

impl Throttle {
    fn lets_pass(&mut self, key: &str, time: i64) -> bool {
        let full = Bucket { credit: self.credit_max, newest: time };
        let mut bucket = self.buckets.get(key).copied().unwrap_or(full);
        let passed = u64::try_from(time.saturating_sub(bucket.newest)).unwrap_or(0); // an older record brings no time
        bucket.credit = bucket.credit.saturating_add(passed).min(self.credit_max);
        bucket.newest = bucket.newest.max(time);
        let passes = bucket.credit >= self.interval;
        if passes {
            bucket.credit -= self.interval;
        }
        self.buckets.set(key, time, bucket);
        passes
    }
}

impl Transform for Throttle {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        if settings.records == 0 || settings.seconds == 0 {
            return Err("records and seconds must be 1 or more".into());
        }
        let interval = (settings.seconds * SECOND / settings.records).max(1);
        let credit_max = settings.burst.unwrap_or(settings.records).max(1).saturating_mul(interval);
        let registration = Registration {
            timestamps: true,
            drop_reasons: vec!["throttled".into()],
            state_version: 1,
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.key])
        };
        Ok((Self { interval, credit_max, buckets: Keyed::new(settings.keys_max) }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut throttled = 0;
        for row in batch.rows() {
            if !self.lets_pass(row.words(0).as_deref().unwrap_or(NO_KEY), row.time()) {
                edits.decide(row.index(), Fate::Drop(THROTTLED));
                throttled += 1;
            }
        }
        if throttled > 0 {
            host::count("throttled_records", throttled);
        }
        Ok(())
    }
}

impl Stateful for Throttle {
    fn snapshot(&self) -> Vec<u8> {
        self.buckets.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.buckets.read(snapshot)
    }

    fn flush(&mut self, _: i64) -> Result<Vec<Emitted>, String> {
        Ok(Vec::new()) // nothing is held back
    }
}

sawlog_plugin::export_stateful!(Throttle);
