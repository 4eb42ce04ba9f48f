//! Decides about all records of a key once they are all there: if one of them is of interest all are kept, of the other keys one
//! in so many. Records are held back until their key has been silent for a while.

mod held;

use held::{Held, Outbox};
use sawlog_plugin::windows::{Closed, Kind, Windows};
use sawlog_plugin::{
    Batch, Columns, Config, Edits, Emitted, Fate, Registration, Row, Stateful, Transform, Watermark, hash64, host,
};
use serde::Deserialize;

const SECOND: i64 = 1_000_000_000;
/// A record larger than this is not held: what one record may give rise to is bounded by the host.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Bytes of held records that one record may bring out, for the same reason.
const OUT_BYTES_PER_RECORD: usize = 32 << 10;

#[derive(Deserialize)]
struct KeepIf {
    field: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Settings {
    key: String,
    gap_seconds: i64,
    keep_if: KeepIf,
    keep_one_in: u64,
    #[serde(default)]
    lateness_seconds: i64,
    #[serde(default = "ten_thousand")]
    keys_max: usize,
    #[serde(default = "four_mebibytes")]
    held_bytes_max: usize,
}

fn ten_thousand() -> usize {
    10_000
}

fn four_mebibytes() -> usize {
    4 << 20
}

/// The plugin. Columns: the key, the whole record, the field of `keep_if`.
pub struct SampleTail {
    settings: Settings,
    interest: usize,
    windows: Windows<Held>,
    held_bytes: usize,
    outbox: Outbox,
}

impl SampleTail {
    fn is_of_interest(&self, row: Row<'_>) -> bool {
        let word = row.words(self.interest);
        word.is_some_and(|word| self.settings.keep_if.values.iter().any(|value| value.eq_ignore_ascii_case(&word)))
    }

    /// Holds the record; false if it goes on by itself: it has no key, is late or large, or there is no room.
    fn hold(&mut self, row: Row<'_>, watermark: i64) -> bool {
        let (Some(key), Some(record)) = (row.words(0), row.words(1)) else { return false };
        let of_interest = self.is_of_interest(row);
        let fits = record.len() <= RECORD_BYTES_MAX
            && self.held_bytes + self.outbox.bytes() + record.len() <= self.settings.held_bytes_max;
        // A record that is not held still decides for its key.
        let taken = self.windows.add(&key, row.time(), watermark, |held: &mut Held| {
            held.take(of_interest, fits.then(|| (row.time(), record.as_ref())));
        });
        if taken && fits {
            self.held_bytes += record.len();
        }
        taken && fits
    }

    fn decide(&mut self, closed: Closed<Held>) -> u64 {
        let chosen = hash64(closed.key.as_bytes()).is_multiple_of(self.settings.keep_one_in);
        let records = closed.gathered.records;
        self.held_bytes -= records.iter().map(|(_, record)| record.len()).sum::<usize>();
        if closed.gathered.of_interest || chosen {
            self.outbox.put(records);
            return 0;
        }
        records.len() as u64
    }
}

impl Transform for SampleTail {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let mut columns = Columns::default();
        columns.of(&settings.key);
        columns.of("$record");
        let interest = columns.of(&settings.keep_if.field);
        let registration = Registration {
            timestamps: true,
            state_version: 1,
            lateness: settings.lateness_seconds * SECOND,
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns)
        };
        let windows = Windows::new(Kind::Session { gap: settings.gap_seconds * SECOND }, settings.keys_max);
        Ok((Self { settings, interest, windows, held_bytes: 0, outbox: Outbox::default() }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut watermark = Watermark::before(batch, self.settings.lateness_seconds * SECOND);
        let mut sampled_out = 0;
        for row in batch.rows() {
            if self.hold(row, watermark.now()) {
                edits.decide(row.index(), Fate::Absorb);
            }
            watermark.pass(row);
            for closed in self.windows.close(watermark.now(), usize::MAX) {
                sampled_out += self.decide(closed);
            }
            for record in self.outbox.take(OUT_BYTES_PER_RECORD)? {
                edits.add(row.index(), 0, record);
            }
        }
        if sampled_out > 0 {
            host::count("sampled_out_records", sampled_out);
        }
        // What waits to come out is due at once.
        edits.wake_at(if self.outbox.is_empty() { self.windows.first_end() } else { Some(watermark.now()) });
        Ok(())
    }
}

impl Stateful for SampleTail {
    fn snapshot(&self) -> Vec<u8> {
        held::to_bytes(&self.windows, &self.outbox)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.held_bytes = held::read(snapshot, &mut self.windows, &mut self.outbox)?;
        Ok(())
    }

    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String> {
        for closed in self.windows.close(now, usize::MAX) {
            self.decide(closed);
        }
        let records = self.outbox.take(usize::MAX)?;
        Ok(records.into_iter().map(|row| Emitted { route: 0, row }).collect())
    }
}

sawlog_plugin::export_stateful!(SampleTail);
